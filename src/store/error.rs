//! What can go wrong with the store, told to people.

use std::path::PathBuf;

/// An error of the store; its text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another daemon holds the state folder.
    #[error("{state} is used by another daemon ({holder}): stop it first, or take another folder with --state")]
    Locked { state: PathBuf, holder: String },
    /// A record or the database cannot be trusted.
    #[error("the database is damaged ({what}): stop the daemon, then `trimtab restore FILE` with a backup")]
    Damaged { what: String },
    /// Written by a newer trimtab.
    #[error(
        "the state was written by a newer trimtab (schema {found}, this one knows {known}): use that version, or restore an older backup"
    )]
    Newer { found: u8, known: u8 },
    /// The disk refused; nothing of the change is kept.
    #[error("cannot write the state in {path}: {source} (nothing acknowledged is lost; free space or fix permissions)")]
    Io { path: PathBuf, source: std::io::Error },
    /// The disk has so little room left that the database might not be able to finish a write.
    #[error(
        "only {free_mib} MiB are free in {state}: nothing more is written below {needed_mib} MiB (nothing acknowledged is lost; free space)"
    )]
    Full { state: PathBuf, free_mib: u64, needed_mib: u64 },
    /// An earlier write broke off in a way that the database does not come back from by itself.
    #[error(
        "the state is no longer written since an error ({0}): restart the daemon (nothing acknowledged is lost; what serves goes on)"
    )]
    Stopped(String),
    /// A version's number or fingerprint was given out before.
    #[error("{0} is registered already and versions are immutable")]
    Immutable(String),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl From<sled::Error> for StoreError {
    fn from(e: sled::Error) -> Self {
        match e {
            sled::Error::Io(source) => Self::Io { path: "db".into(), source },
            other => Self::Damaged { what: other.to_string() },
        }
    }
}
