//! Content-addressed files below `state/artifacts/`: `ab/cdef…` holds the bytes with that blake3 hash, once.

mod disk;
mod upload;

pub use disk::StateDisk;

use crate::{model::*, ports::*};
use rayon::prelude::*;
use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use walkdir::WalkDir;

/// Files by content on this machine's disk.
#[derive(Debug, Clone)]
pub struct FileStore {
    root: PathBuf,
    /// Files that had their digest when they were last given away, as they were then.
    sound: Arc<Mutex<HashMap<Digest, Stat>>>,
    claims: Arc<Claims>,
}

/// Files that are remembered as sound, at most.
const SOUND: usize = 100_000;

/// What changes when a file is written to; not its `ctime`, which a link moves as well.
type Stat = (u64, u64, i64, i64);

/// Held shared by a process beside the daemon that takes files in, and alone by a clean-up.
const LOCK: &str = "lock";

fn failed(path: &Path) -> impl FnOnce(io::Error) -> PortError {
    let path = path.display().to_string();
    move |e| PortError::retryable(format!("{path}: {e}"))
}

/// Read at once: enough for several cores to hash at the same time.
const PIECE: u64 = 4 * 1024 * 1024;

/// Hashes a file, on all cores where it is large, and hands each piece on. Not by a memory map: a file that is cut short meanwhile would
/// end the process.
fn hash_each(path: &Path, mut piece: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<(Digest, u64)> {
    let mut hasher = blake3::Hasher::new();
    let mut file = File::open(path)?;
    let (mut buffer, mut size) = (Vec::new(), 0);
    loop {
        buffer.clear();
        let n = (&mut file).take(PIECE).read_to_end(&mut buffer)?;
        if n == 0 {
            return Ok((Digest::from_bytes(*hasher.finalize().as_bytes()), size));
        }
        hasher.update_rayon(&buffer);
        piece(&buffer)?;
        size += n as u64;
    }
}

/// The digest of a file's bytes, and their number.
pub fn hash_file(path: &Path) -> io::Result<(Digest, u64)> {
    hash_each(path, |_| Ok(()))
}

/// Deletes a file or folder; what stays is told.
fn remove_all(path: &Path) {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(e) if e.kind() != io::ErrorKind::NotFound => tracing::warn!("cannot remove {}: {e}", path.display()),
        _ => {}
    }
}

impl FileStore {
    /// Opens the folder, made if it is missing.
    pub fn open(state: &Path) -> PortResult<Self> {
        let root = state.join("artifacts");
        fs::create_dir_all(root.join("tmp")).map_err(failed(&root))?;
        Ok(Self { root, sound: Arc::default(), claims: Arc::default() })
    }

    /// What is relied on in this process, and so not removed.
    pub fn claims(&self) -> Arc<Claims> {
        self.claims.clone()
    }

    /// Keeps the daemon of this state folder from removing anything while the file is open: its claims tell it nothing of this process.
    pub fn share(&self) -> PortResult<File> {
        let path = self.root.join(LOCK);
        let lock = File::create(&path).map_err(failed(&path))?;
        lock.lock_shared().map_err(failed(&path))?;
        Ok(lock)
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.root.join(&hex[..2]).join(&hex[2..])
    }

    /// Where the content is, once it is known to have its digest. Read again only when the file was written to.
    fn check(&self, digest: &Digest) -> PortResult<PathBuf> {
        let path = self.path(digest);
        let meta = fs::metadata(&path).map_err(failed(&path))?;
        let stat = (meta.len(), meta.ino(), meta.mtime(), meta.mtime_nsec());
        let known = |s: &Self| s.sound.lock().unwrap_or_else(PoisonError::into_inner).get(digest) == Some(&stat);
        if !known(self) {
            if hash_file(&path).map_err(failed(&path))?.0 != *digest {
                return Err(damaged(&path, digest));
            }
            let mut sound = self.sound.lock().unwrap_or_else(PoisonError::into_inner);
            if sound.len() >= SOUND {
                sound.clear();
            }
            sound.insert(*digest, stat);
        }
        Ok(path)
    }

    /// Moves a finished temporary file to its place, unless the content is there.
    fn settle(&self, part: &Path, digest: &Digest) -> io::Result<()> {
        if self.path(digest).exists() {
            fs::remove_file(part)?;
            return self.sync_folder(digest);
        }
        self.place(part, digest)
    }

    /// Moves a finished temporary file to its place, whatever is there.
    fn place(&self, part: &Path, digest: &Digest) -> io::Result<()> {
        let place = self.path(digest);
        fs::set_permissions(part, fs::Permissions::from_mode(0o444))?;
        if let Some(dir) = place.parent() {
            fs::create_dir_all(dir)?;
        }
        fs::rename(part, &place)?;
        self.sync_folder(digest)
    }

    /// Whoever moved the file there may not have come so far yet.
    fn sync_folder(&self, digest: &Digest) -> io::Result<()> {
        self.path(digest).parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    }

    fn temporary(&self) -> PathBuf {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        self.root.join("tmp").join(format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// Copies while hashing, so that what is stored is what was hashed, whatever happens to the original.
    fn take(&self, file: &Path) -> io::Result<(Digest, u64)> {
        let (before, size) = hash_file(file)?;
        if self.has(&before) {
            return Ok((before, size));
        }
        let part = self.temporary();
        let copy = || {
            let mut out = File::create(&part)?;
            let (digest, size) = hash_each(file, |piece| out.write_all(piece))?;
            out.sync_all()?;
            self.claims.claim([digest]);
            self.settle(&part, &digest)?;
            Ok((digest, size))
        };
        copy().inspect_err(|_| drop(fs::remove_file(&part)))
    }

    fn entry(&self, file: &Path, name: &str) -> PortResult<FileEntry> {
        let meta = fs::metadata(file).map_err(failed(file))?;
        let (digest, size) = self.take(file).map_err(failed(file))?;
        Ok(FileEntry { path: name.to_owned(), size, digest, executable: meta.permissions().mode() & 0o111 != 0 })
    }
}

impl ArtifactStore for FileStore {
    fn put_folder(&self, folder: &Path) -> PortResult<Manifest> {
        if !fs::symlink_metadata(folder).map_err(failed(folder))?.is_dir() {
            return Err(PortError::permanent(format!("{} was replaced: it is no folder any more", folder.display())));
        }
        let root = folder.canonicalize().map_err(failed(folder))?;
        let mut found = Vec::new();
        for item in WalkDir::new(&root).sort_by_file_name() {
            let item = item.map_err(|e| PortError::retryable(e.to_string()))?;
            let relative = item.path().strip_prefix(&root).unwrap_or(item.path());
            let Some(name) = relative.to_str() else {
                return Err(PortError::permanent(format!("the file name {} is not UTF-8", relative.display())));
            };
            let kind = item.file_type();
            if kind.is_symlink() {
                let target = item.path().canonicalize().map_err(|e| {
                    PortError::permanent(format!("`{name}` is a symbolic link that leads nowhere: {e}"))
                })?;
                if !target.starts_with(&root) {
                    return Err(PortError::permanent(format!(
                        "`{name}` is a symbolic link that leads outside the folder"
                    )));
                }
                if !target.is_file() {
                    return Err(PortError::permanent(format!(
                        "`{name}` is a symbolic link to a folder: copy the folder"
                    )));
                }
                found.push((target, name.to_owned()));
            } else if kind.is_file() {
                found.push((item.path().to_owned(), name.to_owned()));
            } else if !kind.is_dir() {
                return Err(PortError::permanent(format!("`{name}` is neither a file nor a folder")));
            }
        }
        let mut files: Vec<FileEntry> =
            found.par_iter().map(|(path, name)| self.entry(path, name)).collect::<PortResult<_>>()?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Manifest { files })
    }

    fn put_file(&self, file: &Path, name: &str) -> PortResult<FileEntry> {
        self.entry(file, name)
    }

    fn put_bytes(&self, bytes: &[u8], name: &str) -> PortResult<FileEntry> {
        let digest = Digest::of(bytes);
        if !self.has(&digest) {
            let part = self.temporary();
            let write = || {
                let mut out = File::create(&part)?;
                out.write_all(bytes)?;
                out.sync_all()?;
                self.settle(&part, &digest)
            };
            write().inspect_err(|_| drop(fs::remove_file(&part))).map_err(failed(&part))?;
        }
        Ok(FileEntry { path: name.to_owned(), size: bytes.len() as u64, digest, executable: false })
    }

    fn digest(&self, file: &Path) -> PortResult<(Digest, u64)> {
        hash_file(file).map_err(failed(file))
    }

    fn materialise(&self, manifest: &Manifest, folder: &Path, how: Lay) -> PortResult<()> {
        if folder.exists() {
            return Ok(());
        }
        let part = folder.with_extension("part");
        if part.exists() {
            fs::remove_dir_all(&part).map_err(failed(&part))?;
        }
        fs::create_dir_all(&part).map_err(failed(&part))?;
        manifest.files.par_iter().try_for_each(|file| self.check(&file.digest).map(drop))?;
        for file in &manifest.files {
            let (from, to) = (self.path(&file.digest), part.join(&file.path));
            lay(&from, &to, file.executable, how).map_err(failed(&to))?;
        }
        match fs::rename(&part, folder) {
            // Somebody else was as fast with the same content.
            Err(_) if folder.exists() => Ok(()),
            done => done.map_err(failed(folder)),
        }
    }

    fn replace(&self, file: &FileEntry, place: &Path, how: Lay) -> PortResult<()> {
        let from = self.check(&file.digest)?;
        if fs::symlink_metadata(place).is_ok_and(|m| m.is_dir()) {
            fs::remove_dir_all(place).map_err(failed(place))?;
        }
        let mut part = place.as_os_str().to_owned();
        part.push(".trimtab-part");
        let part = PathBuf::from(part);
        match fs::remove_file(&part) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(&part)(e)),
            _ => {}
        }
        lay(&from, &part, file.executable, how).and_then(|()| fs::rename(&part, place)).map_err(failed(place))
    }

    fn read(&self, digest: &Digest) -> PortResult<Vec<u8>> {
        let path = self.path(digest);
        let bytes = fs::read(&path).map_err(failed(&path))?;
        if Digest::of(&bytes) != *digest {
            return Err(damaged(&path, digest));
        }
        Ok(bytes)
    }

    fn has(&self, digest: &Digest) -> bool {
        self.claims.claim([*digest]);
        self.path(digest).exists()
    }
}

fn damaged(path: &Path, digest: &Digest) -> PortError {
    PortError::permanent(format!(
        "{} is damaged: its content no longer has the digest {digest}; put the file back, or train the version again",
        path.display()
    ))
}

/// A copy, which shares its blocks with the store where the file system can.
fn lay(from: &Path, to: &Path, executable: bool, how: Lay) -> io::Result<()> {
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::copy(from, to)?;
    let mode = match how {
        _ if executable => 0o755,
        Lay::Writable => 0o644,
        Lay::Copied => 0o444,
    };
    fs::set_permissions(to, fs::Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_in_once_and_comes_out_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let store = FileStore::open(dir.path()).unwrap();
        let source = dir.path().join("in");
        fs::create_dir_all(source.join("a/b")).unwrap();
        fs::write(source.join("a/b/x"), "same").unwrap();
        fs::write(source.join("y"), "same").unwrap();
        fs::write(source.join("run.sh"), "#!/bin/sh").unwrap();
        fs::set_permissions(source.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        let manifest = store.put_folder(&source).unwrap();
        assert_eq!(manifest, store.put_folder(&source).unwrap());
        let stored = WalkDir::new(dir.path().join("artifacts"))
            .into_iter()
            .flatten()
            .filter(|e| e.file_type().is_file())
            .count();
        assert_eq!(stored, 2, "equal contents are stored once");
        for (n, how) in [("c", Lay::Copied), ("w", Lay::Writable)] {
            store.materialise(&manifest, &dir.path().join(n), how).unwrap();
            assert_eq!(store.put_folder(&dir.path().join(n)).unwrap(), manifest);
        }
        fs::write(dir.path().join("w/y"), "changed").unwrap();
        assert_eq!(store.read(&Digest::of(b"same")).unwrap(), b"same");
    }

    #[test]
    fn links_that_leave_and_damaged_files_are_said() {
        let dir = tempfile::tempdir().unwrap();
        let store = FileStore::open(dir.path()).unwrap();
        let source = dir.path().join("in");
        fs::create_dir_all(&source).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", source.join("link")).unwrap();
        let error = store.put_folder(&source).unwrap_err();
        assert!(error.message.contains("link") && !error.retryable, "{error}");

        fs::remove_file(source.join("link")).unwrap();
        fs::create_dir(source.join("folder")).unwrap();
        fs::create_dir(dir.path().join("other")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("other"), dir.path().join("moved")).unwrap();
        for (target, said) in [("nowhere", "leads nowhere"), ("folder", "link to a folder"), ("link", "leads nowhere")]
        {
            std::os::unix::fs::symlink(target, source.join("link")).unwrap();
            let error = store.put_folder(&source).unwrap_err();
            assert!(error.message.contains(said) && !error.retryable, "{target}: {error}");
            fs::remove_file(source.join("link")).unwrap();
        }
        let error = store.put_folder(&dir.path().join("moved")).unwrap_err();
        assert!(error.message.contains("no folder any more") && !error.retryable, "{error}");

        let entry = store.put_bytes(b"good", "x").unwrap();
        let place = store.path(&entry.digest);
        fs::set_permissions(&place, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&place, "evil").unwrap();
        let refused = store.read(&entry.digest).unwrap_err();
        assert!(refused.message.contains("is damaged"), "{refused}");

        // Neither is it given away, also when it was sound the last time.
        let place = dir.path().join("laid");
        let entry = store.put_bytes(b"sound", "x").unwrap();
        let manifest = Manifest { files: vec![entry.clone()] };
        store.materialise(&manifest, &place, Lay::Copied).unwrap();
        // What is done to the copy does not reach the store.
        fs::set_permissions(place.join("x"), fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(place.join("x"), "written to the copy").unwrap();
        assert_eq!(store.read(&entry.digest).unwrap(), b"sound");
        let stored = store.path(&entry.digest);
        fs::set_permissions(&stored, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&stored, "written to the store").unwrap();
        for refused in [
            store.materialise(&manifest, &dir.path().join("again"), Lay::Copied).unwrap_err(),
            store.replace(&entry, &place.join("x"), Lay::Copied).unwrap_err(),
        ] {
            assert!(refused.message.contains("is damaged") && !refused.retryable, "{refused}");
            assert!(refused.message.contains(&entry.digest.to_string()), "{refused}");
        }
    }
}
