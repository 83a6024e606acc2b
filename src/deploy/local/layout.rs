//! The files that a release is run from, and whether they still are what was laid out.
//!
//! Only files of the version count: what replicas write beside them (caches, logs) is theirs.

use super::lock;
use crate::{
    model::*,
    ports::{ArtifactStore, Lay, PortError, PortResult},
};
use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

/// One release's files, shared by its replicas.
#[derive(Debug, Default)]
pub struct Layout {
    /// Files that had their content, as they were then.
    sound: Mutex<HashMap<PathBuf, Stat>>,
    generation: AtomicU64,
    /// Held by the one replica that is being replaced.
    pub turn: tokio::sync::Mutex<()>,
}

/// What cannot stay the same when a file is written to or another takes its place.
type Stat = (u64, u64, i64, i64, i64, i64);

fn stat(place: &Path) -> io::Result<Stat> {
    let m = fs::symlink_metadata(place)?;
    Ok((m.len(), m.ino(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec()))
}

impl Layout {
    /// Grows whenever files had changed: a process that started at a lower one may run something else than the version.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Lays out what is missing, and anew what is not as it was; returns the first of the files that had changed. Files whose stat stands
    /// are not read.
    pub fn ensure(&self, store: &dyn ArtifactStore, version: &Version, folder: &Path) -> PortResult<Option<String>> {
        let mut sound = lock(&self.sound);
        fs::create_dir_all(folder).map_err(failed(folder))?;
        let mut changed = None;
        let parts = [("code", &version.code_files, Lay::Writable), ("artifact", &version.artifact, Lay::Copied)];
        for (name, manifest, how) in parts {
            let part = folder.join(name);
            let there = fs::symlink_metadata(&part).is_ok_and(|m| m.is_dir());
            if !there {
                if !sound.is_empty() && sound.keys().any(|p| p.starts_with(&part)) {
                    changed.get_or_insert_with(|| name.to_owned());
                }
                // A file or a link in its place; mostly there is nothing.
                let _ = fs::remove_file(&part);
                store.materialise(manifest, &part, how)?;
            }
            for file in &manifest.files {
                let place = part.join(&file.path);
                if stat(&place).is_ok_and(|s| sound.get(&place) == Some(&s)) {
                    continue;
                }
                if there && !is_sound(&place, file) {
                    if let Some(dir) = place.parent() {
                        fs::create_dir_all(dir).map_err(failed(dir))?;
                    }
                    store.replace(file, &place, how)?;
                    changed.get_or_insert_with(|| format!("{name}/{}", file.path));
                }
                sound.insert(place.clone(), stat(&place).map_err(failed(&place))?);
            }
        }
        if changed.is_some() {
            self.generation.fetch_add(1, Ordering::SeqCst);
        }
        Ok(changed)
    }
}

fn is_sound(place: &Path, file: &FileEntry) -> bool {
    let read = || {
        let meta = fs::symlink_metadata(place)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(fs::File::open(place)?)?;
        let executable = meta.permissions().mode() & 0o111 != 0;
        let same = Digest::from_bytes(*hasher.finalize().as_bytes()) == file.digest;
        Ok::<_, io::Error>(meta.is_file() && executable == file.executable && same)
    };
    read().unwrap_or(false)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> PortError {
    let path = path.display().to_string();
    move |e| PortError::retryable(format!("cannot lay out {path}: {e}"))
}
