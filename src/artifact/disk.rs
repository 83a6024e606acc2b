//! The state folder's files and folders, listed and removed.
//!
//! What goes is first moved to `trash/`, in one step, so that nobody finds half of it, and deleted there; a kill between leaves it to the
//! next clean-up.

use super::{FileStore, LOCK, failed};
use crate::{
    model::*,
    ports::*,
    process::{self, State},
};
use std::{
    fs::{self, File, TryLockError},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use walkdir::WalkDir;

/// A state folder on this machine's disk.
pub struct StateDisk {
    state: PathBuf,
    files: FileStore,
    /// Numbers what goes to the trash.
    next: AtomicU64,
}

impl StateDisk {
    /// The folder whose files are in `files`.
    pub fn new(state: &Path, files: FileStore) -> Self {
        Self { state: state.to_owned(), files, next: AtomicU64::new(0) }
    }

    fn folder(&self, place: Place) -> PathBuf {
        match place {
            Place::File => self.files.root.clone(),
            Place::Run => self.state.join("runs"),
            Place::Layout => self.state.join("snapshots"),
            Place::Environment => self.state.join("env"),
            Place::Memory => self.state.join("run-cache"),
        }
    }

    fn path(&self, stored: &Stored) -> PathBuf {
        match stored.place {
            Place::File => self.files.path(&stored.key),
            place => self.folder(place).join(&stored.name),
        }
    }

    fn trash(&self) -> PathBuf {
        self.state.join("trash")
    }

    /// Deletes what an earlier clean-up left, and what processes that are gone were about to take in. The caller is alone.
    fn empty(&self) {
        super::remove_all(&self.trash());
        let mine = format!("{}-", std::process::id());
        for entry in WalkDir::new(self.files.root.join("tmp")).min_depth(1).max_depth(1).into_iter().flatten() {
            let of_a_process = entry.file_name().to_str().is_some_and(|n| n.starts_with(|c: char| c.is_ascii_digit()));
            if of_a_process && !entry.file_name().to_string_lossy().starts_with(&mine) {
                super::remove_all(entry.path());
            }
        }
    }

    /// Out of the way, unless it is claimed; nobody can claim it meanwhile.
    fn throw(&self, stored: &Stored) -> PortResult<Option<PathBuf>> {
        let (from, trash) = (self.path(stored), self.trash());
        fs::create_dir_all(&trash).map_err(failed(&trash))?;
        let to = trash.join(format!("{}-{}", std::process::id(), self.next.fetch_add(1, Ordering::Relaxed)));
        let claims = self.files.claims.freeze();
        if claims.has(&stored.key) {
            return Ok(None);
        }
        fs::rename(&from, &to).map_err(failed(&from))?;
        Ok(Some(to))
    }
}

impl Disk for StateDisk {
    fn each(&self, place: Place, visit: &mut dyn FnMut(Stored)) -> PortResult<()> {
        let (folder, depth) = (self.folder(place), if place == Place::File { 2 } else { 1 });
        for entry in WalkDir::new(&folder).min_depth(depth).max_depth(depth) {
            let entry = match entry {
                Err(e) if e.io_error().is_some_and(|e| e.kind() == std::io::ErrorKind::NotFound) => continue,
                entry => entry.map_err(|e| PortError::retryable(e.to_string()))?,
            };
            let Some(name) = entry.path().strip_prefix(&folder).ok().and_then(Path::to_str) else { continue };
            let Some(key) = key(place, name) else { continue };
            let modified =
                entry.metadata().map_or(WallMs(0), |m| WallMs(m.mtime() * 1000 + m.mtime_nsec() / 1_000_000));
            visit(Stored { place, name: name.to_owned(), key, modified });
        }
        Ok(())
    }

    fn size(&self, stored: &Stored) -> u64 {
        let files = WalkDir::new(self.path(stored)).into_iter().flatten().filter_map(|e| e.metadata().ok());
        let linked = |m: &fs::Metadata| stored.place != Place::File && m.nlink() > 1;
        files.filter(|m| m.is_file() && !linked(m)).map(|m| m.len()).sum()
    }

    fn remove(&self, stored: &Stored) -> PortResult<bool> {
        // Whoever uses an environment, or builds it, holds its lock.
        let used = if stored.place == Place::Environment {
            let path = self.state.join("env").join(format!("{}.lock", stored.key.hex()));
            let lock = File::create(&path).map_err(failed(&path))?;
            match lock.try_lock() {
                Ok(()) => Some(lock),
                Err(TryLockError::WouldBlock) => return Ok(false),
                Err(TryLockError::Error(e)) => return Err(failed(&path)(e)),
            }
        } else {
            None
        };
        let thrown = self.throw(stored)?;
        if thrown.is_some() {
            self.files.sound.lock().unwrap_or_else(PoisonError::into_inner).remove(&stored.key);
        }
        drop(used);
        thrown.iter().for_each(|path| super::remove_all(path));
        Ok(thrown.is_some())
    }

    fn is_alive(&self, run: &Stored) -> bool {
        process::adopt(&self.path(run).join("shim")).is_some_and(|handle| handle.state() == State::Running)
    }

    fn remembered(&self, memory: &Stored) -> Option<Run> {
        serde_json::from_slice(&fs::read(self.path(memory)).ok()?).ok()
    }

    fn drop_late_parts(&self, now: SteadyMs) -> PortResult<()> {
        self.files.drop_late(now)
    }

    fn alone(&self) -> PortResult<Option<Box<dyn Send>>> {
        let path = self.files.root.join(LOCK);
        let lock = File::create(&path).map_err(failed(&path))?;
        match lock.try_lock() {
            Ok(()) => {
                self.empty();
                Ok(Some(Box::new(lock)))
            }
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(failed(&path)(e)),
        }
    }
}

/// What a claim on the thing of this name would name; `None` when it is none of ours. A name may have an ending, of what is about to be made.
fn key(place: Place, name: &str) -> Option<Digest> {
    let stem = name.split('.').next().unwrap_or(name);
    match place {
        Place::File => Digest::try_from(format!("b3:{}", name.replace('/', ""))).ok(),
        Place::Environment if name.contains('.') => None,
        Place::Run => Some(Digest::of(stem.as_bytes())),
        Place::Layout | Place::Environment | Place::Memory => Digest::try_from(format!("b3:{stem}")).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(disk: &StateDisk, place: Place) -> Vec<Stored> {
        let mut found = vec![];
        disk.each(place, &mut |stored| found.push(stored)).unwrap();
        found
    }

    #[test]
    fn what_a_task_claims_stays_until_it_ended_and_the_clean_up_that_overlaps_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let files = FileStore::open(dir.path()).unwrap();
        let disk = StateDisk::new(dir.path(), files.clone());
        let entry = files.put_bytes(b"old", "x").unwrap();
        let found = all(&disk, Place::File);
        assert_eq!(found.iter().map(|s| s.key).collect::<Vec<_>>(), [entry.digest]);
        assert_eq!(disk.size(&found[0]), 3);

        let task = files.claims().hold();
        let clean_up = files.claims().hold_all();
        assert!(files.has(&entry.digest), "it will be used again");
        drop(task);
        assert!(!disk.remove(&found[0]).unwrap(), "the record that refers to it may have come after the marking");
        drop(clean_up);
        assert!(disk.remove(&found[0]).unwrap());
        assert!(!files.has(&entry.digest) && all(&disk, Place::File).is_empty());
        assert_eq!(files.put_bytes(b"old", "x").unwrap(), entry, "it can come back");
    }

    #[test]
    fn an_environment_goes_when_nobody_uses_it_and_files_when_no_other_process_shares_them() {
        let dir = tempfile::tempdir().unwrap();
        let files = FileStore::open(dir.path()).unwrap();
        let disk = StateDisk::new(dir.path(), files.clone());
        let hex = Digest::of(b"requirements").hex();
        fs::create_dir_all(dir.path().join("env").join(&hex).join("bin")).unwrap();
        let user = File::create(dir.path().join("env").join(format!("{hex}.lock"))).unwrap();
        user.lock_shared().unwrap();
        let found = all(&disk, Place::Environment);
        assert_eq!(found.len(), 1, "its lock is none");
        assert!(!disk.remove(&found[0]).unwrap());
        drop(user);
        assert!(disk.remove(&found[0]).unwrap() && all(&disk, Place::Environment).is_empty());

        let shared = files.share().unwrap();
        assert!(disk.alone().unwrap().is_none());
        drop(shared);
        fs::create_dir_all(dir.path().join("trash/1-0/left")).unwrap();
        assert!(disk.alone().unwrap().is_some());
        assert!(!dir.path().join("trash").exists(), "what a kill left is deleted");
    }
}
