//! Digests of files that did not change since they were read.

use crate::model::*;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// What stands as long as a file's content does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stat {
    size: u64,
    /// Nanoseconds.
    mtime: i128,
    ctime: i128,
    inode: u64,
    device: u64,
}

impl Stat {
    /// A file's stat of now.
    pub fn of(path: &Path) -> std::io::Result<Self> {
        let m = std::fs::metadata(path)?;
        let nanos = |s: i64, n: i64| i128::from(s) * 1_000_000_000 + i128::from(n);
        Ok(Self {
            size: m.len(),
            mtime: nanos(m.mtime(), m.mtime_nsec()),
            ctime: nanos(m.ctime(), m.ctime_nsec()),
            inode: m.ino(),
            device: m.dev(),
        })
    }
}

type Known = BTreeMap<PathBuf, (Stat, FileEntry)>;

/// Files by path, kept in one file beside the store. Losing it costs a reading, never truth.
#[derive(Debug)]
pub struct StatCache {
    file: PathBuf,
    known: Mutex<Known>,
}

impl StatCache {
    /// Reads what was kept; anything unreadable is forgotten.
    pub fn open(file: &Path) -> Self {
        let known: Vec<(PathBuf, (Stat, FileEntry))> =
            std::fs::read(file).ok().and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or_default();
        Self { file: file.to_owned(), known: Mutex::new(known.into_iter().collect()) }
    }

    /// The entry of a file whose stat stands.
    pub fn get(&self, path: &Path, stat: &Stat) -> Option<FileEntry> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(path).filter(|(s, _)| s == stat).map(|(_, e)| e.clone())
    }

    /// Notes a file that was read.
    pub fn put(&self, path: &Path, stat: Stat, entry: FileEntry) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), (stat, entry));
    }

    /// Keeps it on disk.
    pub fn save(&self) {
        // Held until the end: another that saves meanwhile would write to the same temporary file.
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let pairs: Vec<(&PathBuf, &(Stat, FileEntry))> = known.iter().collect();
        let part = self.file.with_extension("part");
        let written = serde_json::to_vec(&pairs)
            .map_err(std::io::Error::other)
            .and_then(|b| std::fs::write(&part, b))
            .and_then(|()| std::fs::rename(&part, &self.file));
        if let Err(e) = written {
            tracing::warn!("cannot keep {}: {e}", self.file.display());
        }
    }
}
