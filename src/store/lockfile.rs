//! One daemon for each state folder.

use super::StoreError;
use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, Write},
    path::Path,
};

/// Held as long as the store is open; the kernel lets go of it when the process dies.
#[derive(Debug)]
pub struct LockFile(#[expect(dead_code, reason = "held for its lock")] File);

impl LockFile {
    /// Takes the folder or names who holds it.
    pub fn take(state: &Path) -> Result<Self, StoreError> {
        let path = state.join("lock");
        let io = |source| StoreError::Io { path: path.clone(), source };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).map_err(io)?;
                return Err(StoreError::Locked { state: state.to_owned(), holder: holder.trim().to_owned() });
            }
            Err(std::fs::TryLockError::Error(source)) => return Err(io(source)),
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(io)?;
        file.write_all(format!("process {}\n", std::process::id()).as_bytes()).map_err(io)?;
        Ok(Self(file))
    }
}
