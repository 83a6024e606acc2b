//! Backup and restore: one file of checked records.
//!
//! Layout: the line `trimtab backup 1`, then for each record length (u32), crc32 (u32), the key's length (u32), key and value,
//! and at the end a record with an empty key that holds the number of records, so that a cut file is noticed.

use super::{
    StoreError, content,
    journal::{Change, Journal},
    key,
    lockfile::LockFile,
    records::Records,
    tracked::Table,
};
use std::{
    fs::File,
    io::{BufReader, BufWriter, Read, Write},
    path::Path,
};

const MAGIC: &[u8] = b"trimtab backup 1\n";

/// Writes every record beside `file`, then renames.
pub(super) fn write(records: &Records, file: &Path) -> Result<(), StoreError> {
    let io = |source| StoreError::Io { path: file.to_owned(), source };
    let part = file.with_extension("part");
    let out = File::create(&part).map_err(io)?;
    write_to(records, &out, &part)?;
    out.sync_all().map_err(io)?;
    std::fs::rename(&part, file).map_err(io)
}

/// Writes every record to `out`, which errors call `name`.
pub(super) fn write_to(records: &Records, out: &File, name: &Path) -> Result<(), StoreError> {
    let io = |source| StoreError::Io { path: name.to_owned(), source };
    let mut out = BufWriter::new(out);
    out.write_all(MAGIC).map_err(io)?;
    let mut count = 0u64;
    let mut put = |key: &[u8], value: &[u8]| {
        count += 1;
        out.write_all(&frame(key, value)).map_err(io)
    };
    // Commits go on meanwhile. The last number that a registered model gave out is that of its record or of its newest version: with the
    // record read last, none is given again because its version was deleted between the two.
    let last = Table::RegisteredModel.prefix();
    let mut items = records.prefix(b"");
    while let Some((key, value)) = items.next()? {
        if !key.starts_with(last) {
            put(&key, &value)?;
        }
    }
    let mut items = records.prefix(last);
    while let Some((key, value)) = items.next()? {
        put(&key, &value)?;
    }
    out.write_all(&frame(b"", &count.to_le_bytes())).map_err(io)?;
    out.flush().map_err(io)
}

fn frame(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut body = (key.len() as u32).to_le_bytes().to_vec();
    body.extend_from_slice(key);
    body.extend_from_slice(value);
    let mut out = (body.len() as u32).to_le_bytes().to_vec();
    out.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
    out.extend_from_slice(&body);
    out
}

/// Puts the records of a backup in the place of the state folder's; the next opening applies them. The old ones are kept as
/// `db.before-restore`. Killed at any moment, either the old records are in force or, from the next opening, the new.
pub fn restore(file: &Path, state: &Path) -> Result<u64, StoreError> {
    let io = |source| StoreError::Io { path: state.to_owned(), source };
    let records = read(file)?;
    std::fs::create_dir_all(state).map_err(io)?;
    let _lock = LockFile::take(state)?;
    let part = state.join("restored.part");
    if part.exists() {
        std::fs::remove_file(&part).map_err(io)?;
    }
    let (mut journal, _) = Journal::open(&part)?;
    // What the digest of the old database was says nothing of the new one.
    let changes: Vec<Change> =
        records.into_iter().filter(|(k, _)| *k != *key::CONTENT).map(|(k, v)| (k, Some(v))).collect();
    for (group, seq) in changes.chunks(1000).zip(1..) {
        journal.append(seq, group)?;
    }
    std::fs::rename(&part, state.join(RESTORED)).map_err(io)?;
    finish_restore(state)?;
    Ok(changes.len() as u64)
}

/// A journal of all records of a backup, on its way to become the journal.
const RESTORED: &str = "restored";

/// Takes up a restore where it was left. The caller holds the state folder's lock.
pub(super) fn finish_restore(state: &Path) -> Result<(), StoreError> {
    let io = |source| StoreError::Io { path: state.to_owned(), source };
    if !state.join(RESTORED).exists() {
        return Ok(());
    }
    let (db, aside) = (state.join("db"), state.join("db.before-restore"));
    if db.exists() {
        if aside.exists() {
            std::fs::remove_dir_all(&aside).map_err(io)?;
        }
        std::fs::rename(&db, &aside).map_err(io)?;
    }
    let journal = state.join("journal");
    if journal.exists() {
        std::fs::rename(&journal, state.join("journal.before-restore")).map_err(io)?;
    }
    content::forget_durable(state)?;
    std::fs::rename(state.join(RESTORED), journal).and_then(|()| File::open(state)?.sync_all()).map_err(io)
}

type Record = (Vec<u8>, Vec<u8>);

fn read(file: &Path) -> Result<Vec<Record>, StoreError> {
    let io = |source| StoreError::Io { path: file.to_owned(), source };
    let bad = |what: &str| StoreError::Damaged { what: format!("{}: {what}", file.display()) };
    let mut input = BufReader::new(File::open(file).map_err(io)?);
    let mut magic = vec![0; MAGIC.len()];
    input.read_exact(&mut magic).map_err(|_| bad("not a trimtab backup"))?;
    if magic != MAGIC {
        return Err(bad("not a trimtab backup, or of another version"));
    }
    let mut records = Vec::new();
    loop {
        let mut head = [0; 8];
        input.read_exact(&mut head).map_err(|_| bad("it was cut short"))?;
        let (length, crc) = head.split_at(4);
        let length = u32::from_le_bytes(length.try_into().unwrap_or_default());
        let mut body = Vec::new();
        (&mut input).take(length.into()).read_to_end(&mut body).map_err(io)?;
        if body.len() != length as usize || crc32fast::hash(&body).to_le_bytes() != *crc {
            return Err(bad("a record is damaged"));
        }
        let (key_length, rest) = body.split_at_checked(4).ok_or_else(|| bad("a record is too short"))?;
        let key_length = u32::from_le_bytes(key_length.try_into().unwrap_or_default()) as usize;
        let (key, value) = rest.split_at_checked(key_length).ok_or_else(|| bad("a record is too short"))?;
        if key.is_empty() {
            let whole = value == (records.len() as u64).to_le_bytes();
            return whole.then_some(records).ok_or_else(|| bad("records are missing"));
        }
        records.push((key.to_vec(), value.to_vec()));
    }
}
