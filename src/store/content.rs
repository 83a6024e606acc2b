//! Proof that sled still holds what it was given.
//!
//! sled 0.34 recovers from a damaged segment by silently dropping what it held (shown by `flipped_bytes_in_the_database_are_said_or_harmless`).
//! So every group carries a digest of all records, and a file beside the database says how many groups were durable.

use super::{StoreError, guarded, journal::Journal, key, record};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

/// The content after a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Number of the newest group.
    pub seq: u64,
    /// Exclusive or over a hash of every record: independent of order, cheap to keep up to date.
    digest: [u64; 2],
}

impl Content {
    /// Takes a record in, or out again.
    pub fn toggle(&mut self, key: &[u8], value: &[u8]) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(key.len() as u64).to_le_bytes()).update(key).update(value);
        let mut bytes = [0; 16];
        hasher.finalize_xof().fill(&mut bytes);
        let number = u128::from_le_bytes(bytes);
        self.digest[0] ^= number as u64;
        self.digest[1] ^= (number >> 64) as u64;
    }
}

/// Reads every record and compares with what was noted. `next` is the first group in the journal.
pub fn verify(db: &sled::Db, state: &Path, next: Option<u64>) -> Result<Content, StoreError> {
    let noted: Content = match guarded(|| db.get(key::CONTENT))? {
        Some(value) => record::decode(key::CONTENT, &value)?,
        None => Content::default(),
    };
    let mut found = Content { seq: noted.seq, ..Content::default() };
    let mut items = db.iter();
    while let Some((key, value)) = guarded(|| items.next().transpose())? {
        if *key != *key::CONTENT {
            record::open(&key, &value)?;
            found.toggle(&key, &value);
        }
    }
    let damaged = |what: String| Err(StoreError::Damaged { what });
    if found != noted {
        return damaged("records are missing or changed".into());
    }
    let durable = durable(state)?;
    if noted.seq < durable {
        return damaged(format!("it went back from change {durable} to change {}", noted.seq));
    }
    if next.is_some_and(|n| n > noted.seq + 1) {
        return damaged(format!("changes after {} are missing", noted.seq));
    }
    Ok(noted)
}

/// Applies changes up to a group, whole or not at all; returns the content after them.
pub fn apply<'a>(
    db: &sled::Db,
    before: &Content,
    seq: u64,
    changes: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
) -> Result<Content, StoreError> {
    let mut batch = sled::Batch::default();
    let mut after = before.clone();
    after.seq = seq;
    for (key, value) in changes {
        if let Some(old) = guarded(|| db.get(key))? {
            after.toggle(key, &old);
        }
        match value {
            Some(value) => {
                after.toggle(key, value);
                batch.insert(key, value);
            }
            None => batch.remove(key),
        }
    }
    batch.insert(key::CONTENT, record::encode(&after)?);
    guarded(|| db.apply_batch(batch))?;
    Ok(after)
}

/// Makes sled durable without the journal, notes how far it got, then empties the journal.
pub fn checkpoint(db: &sled::Db, state: &Path, content: &Content, journal: &mut Journal) -> Result<(), StoreError> {
    guarded(|| db.flush())?;
    note_durable(state, content.seq)?;
    journal.clear()
}

fn path(state: &Path) -> PathBuf {
    state.join("durable")
}

fn durable(state: &Path) -> Result<u64, StoreError> {
    match std::fs::read(path(state)) {
        Ok(bytes) => record::decode(b"durable", &bytes),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(source) => Err(StoreError::Io { path: path(state), source }),
    }
}

/// Waits for the disk to hold sled's files (sled's own flush does not wait for its cache), then notes the group.
fn note_durable(state: &Path, seq: u64) -> Result<(), StoreError> {
    let io = |source| StoreError::Io { path: path(state), source };
    for entry in walkdir::WalkDir::new(state.join("db")).into_iter().flatten() {
        // sled replaces snapshot files while this looks.
        if let Ok(file) = File::open(entry.path()) {
            file.sync_all().map_err(io)?;
        }
    }
    let part = state.join("durable.part");
    let mut file = File::create(&part).map_err(io)?;
    file.write_all(&record::encode(&seq)?).and_then(|()| file.sync_all()).map_err(io)?;
    std::fs::rename(&part, path(state)).map_err(io)?;
    File::open(state).and_then(|f| f.sync_all()).map_err(io)
}

/// After a restore the database counts from the backup.
pub fn forget_durable(state: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path(state)) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::Io { path: path(state), source })
        }
        _ => Ok(()),
    }
}
