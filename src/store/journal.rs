//! The journal that makes a group durable before it is acknowledged.
//!
//! sled 0.34 calls `sync_file_range` at a flush, which survives a killed process but says nothing about the disk's own cache, and a
//! flush costs a segment. So a group is appended here first, with one `fdatasync`, then applied to sled; at open, groups that sled does
//! not hold yet are applied again. Layout of a record: length (u32), crc32 (u32), sequence number (u64), JSON of the changes.

use super::StoreError;
use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// A change as it is kept: key, and value or deletion.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// One group as read back.
#[derive(Debug, PartialEq, Eq)]
pub struct Group {
    pub seq: u64,
    pub changes: Vec<Change>,
}

/// Bytes before the changes: length, checksum, number.
const HEAD: usize = 16;

/// The open journal.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    length: u64,
    /// How far the file has blocks.
    room: u64,
}

impl Journal {
    /// Opens the journal and returns the groups that it holds. A record that was cut short at the end was never acknowledged and is
    /// dropped; damage anywhere before the end is an error.
    pub fn open(path: &Path) -> Result<(Self, Vec<Group>), StoreError> {
        let io = |source| StoreError::Io { path: path.to_owned(), source };
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io)?;
        let (groups, length) = parse(&bytes)?;
        file.set_len(length).map_err(io)?;
        file.seek(SeekFrom::Start(length)).map_err(io)?;
        Ok((Self { path: path.to_owned(), file, length, room: length }, groups))
    }

    /// Bytes.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Appends a group; returns once it is on disk. After an error the journal is as it was before.
    pub fn append(&mut self, seq: u64, changes: &[Change]) -> Result<(), StoreError> {
        let body = body(seq, changes);
        let end = self.length + body.len() as u64;
        let written =
            self.make_room(end).and_then(|()| self.file.write_all(&body)).and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            let _ = self.file.set_len(self.length);
            let _ = self.file.seek(SeekFrom::Start(self.length));
            self.room = self.length;
            return Err(StoreError::Io { path: self.path.clone(), source });
        }
        self.length = end;
        Ok(())
    }

    /// Takes room ahead: a sync that need not write the file's new length is a quarter faster. What is ahead is zeros, which are no record.
    fn make_room(&mut self, end: u64) -> std::io::Result<()> {
        const STEP: u64 = 1024 * 1024;
        if end > self.room {
            let room = end.next_multiple_of(STEP);
            nix::fcntl::posix_fallocate(&self.file, self.length as i64, (room - self.length) as i64)?;
            self.room = room;
        }
        Ok(())
    }

    /// Forgets every group: sled holds them durably.
    pub fn clear(&mut self) -> Result<(), StoreError> {
        let io = |source| StoreError::Io { path: self.path.clone(), source };
        self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0))).map_err(io)?;
        (self.length, self.room) = (0, 0);
        self.file.sync_data().map_err(io)
    }
}

fn body(seq: u64, changes: &[Change]) -> Vec<u8> {
    let length: usize = changes.iter().map(|(key, value)| 8 + key.len() + value.as_ref().map_or(0, Vec::len)).sum();
    let mut out = Vec::with_capacity(HEAD + length);
    out.extend_from_slice(&(length as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&seq.to_le_bytes());
    for (key, value) in changes {
        out.extend_from_slice(&(key.len() as u32).to_le_bytes());
        out.extend_from_slice(key);
        let length = value.as_ref().map_or(u32::MAX, |v| v.len() as u32);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(value.as_deref().unwrap_or_default());
    }
    let crc = crc32fast::hash(&out[8..]);
    out[4..8].copy_from_slice(&crc.to_le_bytes());
    out
}

/// Reads all groups; returns them with the number of good bytes.
fn parse(bytes: &[u8]) -> Result<(Vec<Group>, u64), StoreError> {
    let (mut groups, mut at) = (Vec::new(), 0usize);
    while let Some((group, length)) = one(&bytes[at..]) {
        groups.push(group);
        at += length;
    }
    // A torn tail is the last thing in the file. A good record behind bad bytes means damage in the middle.
    let rest = &bytes[at..];
    if (1..rest.len().saturating_sub(HEAD)).any(|skip| one(&rest[skip..]).is_some()) {
        return Err(StoreError::Damaged { what: format!("journal record at byte {at}") });
    }
    Ok((groups, at as u64))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_le_bytes)
}

fn one(bytes: &[u8]) -> Option<(Group, usize)> {
    let length = u32_at(bytes, 0)? as usize;
    let crc = u32_at(bytes, 4)?;
    let payload = bytes.get(8..HEAD.checked_add(length)?)?;
    if crc32fast::hash(payload) != crc {
        return None;
    }
    let seq = u64::from_le_bytes(payload.get(..8)?.try_into().ok()?);
    let (mut rest, mut changes) = (payload.get(8..)?, Vec::new());
    while !rest.is_empty() {
        let key_len = u32_at(rest, 0)? as usize;
        let key = rest.get(4..4 + key_len)?.to_vec();
        rest = rest.get(4 + key_len..)?;
        let value_len = u32_at(rest, 0)?;
        rest = rest.get(4..)?;
        let value = if value_len == u32::MAX { None } else { Some(rest.get(..value_len as usize)?.to_vec()) };
        rest = rest.get(value.as_ref().map_or(0, Vec::len)..)?;
        changes.push((key, value));
    }
    Some((Group { seq, changes }, HEAD + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(n: u8) -> Change {
        (vec![b'k', n], (!n.is_multiple_of(3)).then(|| vec![n; n as usize]))
    }

    #[test]
    fn cut_at_any_byte_the_whole_groups_before_the_cut_survive() {
        let bodies: Vec<Vec<u8>> = (1..6u8).map(|n| body(n.into(), &[change(n), change(n + 1)])).collect();
        let all = bodies.concat();
        for cut in 0..=all.len() {
            let (groups, good) = parse(&all[..cut]).unwrap();
            let whole = bodies
                .iter()
                .scan(0, |at, b| {
                    *at += b.len();
                    Some(*at)
                })
                .filter(|end| *end <= cut)
                .count();
            assert_eq!(groups.len(), whole, "cut at {cut}");
            assert!(good as usize <= cut);
        }
    }

    #[test]
    fn damage_before_the_end_is_an_error_not_a_guess() {
        let mut all: Vec<u8> = (1..6u8).flat_map(|n| body(n.into(), &[change(n)])).collect();
        all[12] ^= 1;
        assert!(matches!(parse(&all), Err(StoreError::Damaged { .. })));
    }
}
