//! Content-addressed files below `state/artifacts/`: `ab/cdef…` holds the bytes with that blake3 hash, once.

use crate::{model::*, ports::*};
use rayon::prelude::*;
use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use walkdir::WalkDir;

/// Files by content on this machine's disk.
#[derive(Debug, Clone)]
pub struct FileStore {
    root: PathBuf,
}

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

impl FileStore {
    /// Opens the folder, made if it is missing.
    pub fn open(state: &Path) -> PortResult<Self> {
        let root = state.join("artifacts");
        fs::create_dir_all(root.join("tmp")).map_err(failed(&root))?;
        Ok(Self { root })
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.root.join(&hex[..2]).join(&hex[2..])
    }

    /// Whether the content is here.
    pub fn has(&self, digest: &Digest) -> bool {
        self.path(digest).exists()
    }

    /// Moves a finished temporary file to its place.
    fn settle(&self, part: &Path, digest: &Digest) -> io::Result<()> {
        let place = self.path(digest);
        if place.exists() {
            return fs::remove_file(part);
        }
        fs::set_permissions(part, fs::Permissions::from_mode(0o444))?;
        if let Some(dir) = place.parent() {
            fs::create_dir_all(dir)?;
            fs::rename(part, &place)?;
            File::open(dir)?.sync_all()?;
        }
        Ok(())
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
        let mut out = File::create(&part)?;
        let (digest, size) = hash_each(file, |piece| out.write_all(piece))?;
        out.sync_all()?;
        self.settle(&part, &digest)?;
        Ok((digest, size))
    }

    fn entry(&self, file: &Path, name: &str) -> PortResult<FileEntry> {
        let meta = fs::metadata(file).map_err(failed(file))?;
        let (digest, size) = self.take(file).map_err(failed(file))?;
        Ok(FileEntry { path: name.to_owned(), size, digest, executable: meta.permissions().mode() & 0o111 != 0 })
    }
}

impl ArtifactStore for FileStore {
    fn put_folder(&self, folder: &Path) -> PortResult<Manifest> {
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
                let target = item.path().canonicalize().map_err(failed(item.path()))?;
                if !target.starts_with(&root) {
                    return Err(PortError::permanent(format!(
                        "`{name}` is a symbolic link that leads outside the folder"
                    )));
                }
                if target.is_file() {
                    found.push((target, name.to_owned()));
                }
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
            write().map_err(failed(&part))?;
        }
        Ok(FileEntry { path: name.to_owned(), size: bytes.len() as u64, digest, executable: false })
    }

    fn materialise(&self, manifest: &Manifest, folder: &Path, writable: bool) -> PortResult<()> {
        if folder.exists() {
            return Ok(());
        }
        let part = folder.with_extension("part");
        if part.exists() {
            fs::remove_dir_all(&part).map_err(failed(&part))?;
        }
        fs::create_dir_all(&part).map_err(failed(&part))?;
        for file in &manifest.files {
            let (from, to) = (self.path(&file.digest), part.join(&file.path));
            lay(&from, &to, file.executable, writable).map_err(failed(&to))?;
        }
        match fs::rename(&part, folder) {
            // Somebody else was as fast with the same content.
            Err(_) if folder.exists() => Ok(()),
            done => done.map_err(failed(folder)),
        }
    }

    fn read(&self, digest: &Digest) -> PortResult<Vec<u8>> {
        let path = self.path(digest);
        let bytes = fs::read(&path).map_err(failed(&path))?;
        if Digest::of(&bytes) != *digest {
            return Err(PortError::permanent(format!(
                "{} is damaged: its content does not have the hash of its name",
                path.display()
            )));
        }
        Ok(bytes)
    }
}

/// Read-only plain files are hard links; what may be written to, or must be executable, is a copy.
fn lay(from: &Path, to: &Path, executable: bool, writable: bool) -> io::Result<()> {
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir)?;
    }
    if !writable && !executable && fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    fs::copy(from, to)?;
    let mode = match (executable, writable) {
        (true, _) => 0o755,
        (false, true) => 0o644,
        (false, false) => 0o444,
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
        for (n, writable) in [("r", false), ("w", true)] {
            store.materialise(&manifest, &dir.path().join(n), writable).unwrap();
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

        let entry = store.put_bytes(b"good", "x").unwrap();
        let place = store.path(&entry.digest);
        fs::set_permissions(&place, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&place, "evil").unwrap();
        assert!(store.read(&entry.digest).unwrap_err().message.contains("damaged"));
    }
}
