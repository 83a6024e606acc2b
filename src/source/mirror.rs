//! The mirror of a remote: a bare repository in the state folder. It is a cache: one that is damaged is set aside and fetched anew.

use crate::ports::{PortError, PortResult};
use git2::Repository;
use std::{ffi::OsStr, fs, path::PathBuf};

/// Where a mirror stands, and where it goes when it is damaged.
#[derive(Debug, Clone)]
pub struct Mirror {
    pub path: PathBuf,
    /// Emptied by the next clean-up of the state folder.
    pub trash: PathBuf,
}

impl Mirror {
    /// Makes the mirror when it is missing; returns what was wrong with one that had to be set aside. Locks that a power cut left behind are
    /// taken away: nobody else writes to it.
    pub fn open(&self) -> PortResult<Option<String>> {
        let wrong = match Repository::open_bare(&self.path) {
            Ok(_) => {
                self.unlock();
                return Ok(None);
            }
            Err(_) if !self.path.exists() => None,
            Err(e) => Some(e.message().to_owned()),
        };
        if wrong.is_some() {
            self.set_aside()?;
        }
        self.make()?;
        Ok(wrong)
    }

    fn unlock(&self) {
        let lock = |e: &walkdir::DirEntry| e.file_type().is_file() && e.path().extension() == Some(OsStr::new("lock"));
        for stale in walkdir::WalkDir::new(&self.path).into_iter().flatten().filter(lock) {
            // One that stays is named by the fetch that it stops.
            let _ = fs::remove_file(stale.path());
        }
    }

    fn make(&self) -> PortResult<()> {
        let made = Repository::init_bare(&self.path).map(drop);
        made.map_err(|e| PortError::permanent(format!("cannot make {}: {}", self.path.display(), e.message())))
    }

    fn set_aside(&self) -> PortResult<()> {
        let place = || {
            fs::create_dir_all(&self.trash)?;
            Ok(tempfile::Builder::new().prefix("mirror-").tempdir_in(&self.trash)?.keep().join("mirror"))
        };
        match place().and_then(|place| fs::rename(&self.path, place)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(PortError::retryable(format!(
                "the mirror {} is damaged and cannot be moved away: {e}",
                self.path.display()
            ))),
            _ => Ok(()),
        }
    }

    /// An empty mirror in the place of a damaged one.
    pub fn renew(&self) -> PortResult<()> {
        self.set_aside()?;
        self.make()
    }
}
