//! What a commit is made of: batches to changes, changes to the journal.

use super::{
    Batch, Committed, StoreError,
    batch::Op,
    content::{self, Content},
    guarded,
    journal::{Change, Journal},
    keeper::Signal,
    key, record,
    records::Records,
    writer::{Answer, Request},
};
use crate::model::EventKind;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Room that the disk must have before anything is written: sled cannot be used any more once one of its own writes failed, and a
/// checkpoint of a full journal writes several times its size.
const ROOM: u64 = 16 * 1024 * 1024;

/// Makes groups of batches durable. One at a time holds it.
pub struct Committer {
    records: Arc<Records>,
    signal: Arc<Signal>,
    folder: PathBuf,
    journal: Journal,
    /// Number of the newest group in the journal.
    seq: u64,
    next_event: u64,
    /// The error after which nothing is written any more.
    stopped: Option<String>,
}

impl Committer {
    /// Checks that sled holds what it acknowledged, and applies what the journal holds beyond that. What sled holds then.
    pub fn open(records: &Arc<Records>, signal: &Arc<Signal>, state: &Path) -> Result<(Self, Content), StoreError> {
        let db = records.db();
        let (mut journal, groups) = Journal::open(&state.join("journal"))?;
        let mut content = content::verify(db, state, groups.first().map(|g| g.seq))?;
        let held = content.seq;
        for group in groups.into_iter().filter(|g| g.seq > held) {
            let changes = group.changes.iter().map(|(k, v)| (k.as_slice(), v.as_deref()));
            content = content::apply(db, &content, group.seq, changes)?;
        }
        content::checkpoint(db, state, &content, &mut journal)?;
        let last = guarded(|| db.scan_prefix(key::EVENTS).next_back().transpose())?;
        let next_event = match last {
            Some((k, v)) => record::decode::<crate::model::Event>(&k, &v)?.seq + 1,
            None => 1,
        };
        let (records, signal, folder, seq) = (records.clone(), signal.clone(), state.to_owned(), content.seq);
        Ok((Self { records, signal, folder, journal, seq, next_event, stopped: None }, content))
    }

    /// Nothing is written any more, for the first reason that there was.
    pub fn stop(&mut self, why: &str) {
        self.stopped.get_or_insert_with(|| why.to_owned());
    }

    /// Number of the newest group, where more may be written.
    pub fn seq(&self) -> Result<u64, StoreError> {
        self.room().map(|()| self.seq)
    }

    /// The journal, with all that is in it.
    pub fn journal(&mut self) -> &mut Journal {
        &mut self.journal
    }

    /// Makes a group durable with one flush and answers all of it; whether anything was written.
    pub fn commit(&mut self, group: Vec<Request>) -> bool {
        let mut changes = BTreeMap::new();
        let mut created = BTreeSet::new();
        let mut next_event = self.next_event;
        let mut answers = Vec::new();
        for (batch, reply) in group {
            let answer = self.prepare(batch, &mut created, &mut next_event, &mut changes);
            answers.push((answer, reply));
        }
        let changes: Vec<Change> = changes.into_iter().collect();
        match self.write(changes) {
            Ok(written) => {
                self.next_event = next_event;
                answers.into_iter().for_each(|(answer, reply)| reply.send(answer));
                written
            }
            Err(e) => {
                answers.into_iter().for_each(|(_, reply)| reply.send(Err(again(&e))));
                false
            }
        }
    }

    /// To the journal, then where readers find it; whether there was anything.
    fn write(&mut self, changes: Vec<Change>) -> Result<bool, StoreError> {
        self.room()?;
        // A group whose batches were all refused has no number: sled would never get it, and its absence would read as damage.
        if changes.is_empty() {
            return Ok(false);
        }
        self.journal.append(self.seq + 1, &changes)?;
        self.seq += 1;
        let (before, now) = self.records.take(changes);
        self.signal.committed(before, now);
        Ok(true)
    }

    fn room(&self) -> Result<(), StoreError> {
        match &self.stopped {
            Some(why) => Err(StoreError::Stopped(why.clone())),
            None => room(&self.folder, ROOM),
        }
    }

    /// Turns a batch into changes; a refused batch adds none.
    fn prepare(
        &self,
        batch: Batch,
        created: &mut BTreeSet<Vec<u8>>,
        next_event: &mut u64,
        changes: &mut BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    ) -> Answer {
        for op in &batch.ops {
            if let Op::Create(key, _) = op
                && (created.contains(key) || self.records.get(key)?.is_some())
            {
                return Err(StoreError::Immutable(key.escape_ascii().to_string()));
            }
        }
        let mut committed = Committed::default();
        let mut encoded = Vec::new();
        for (place, event) in (*next_event..).zip(batch.events) {
            let event = event.at(place);
            encoded.push((key::event(event.seq), Some(record::encode(&event)?)));
            if let Some(model) = &event.model {
                encoded.push((key::event_of_model(model, event.seq), Some(record::encode(&event.seq)?)));
                if event.kind == EventKind::Overridden {
                    encoded.push((key::override_of_model(model, event.seq), Some(record::encode(&event.seq)?)));
                }
            }
            if let Some(commit) = &event.commit {
                encoded.push((key::event_of_commit(commit, event.seq), Some(record::encode(&event.seq)?)));
            }
            committed.events.push(event);
        }
        *next_event += committed.events.len() as u64;
        changes.extend(encoded);
        for op in batch.ops {
            changes.extend([match op {
                Op::Put(key, value) => (key, Some(value)),
                Op::Delete(key) => (key, None),
                Op::Create(key, value) => {
                    created.insert(key.clone());
                    (key, Some(value))
                }
            }]);
        }
        Ok(committed)
    }
}

/// Whether the disk has so many bytes of room.
pub fn room(folder: &Path, needed: u64) -> Result<(), StoreError> {
    let io = |e: nix::errno::Errno| StoreError::Io { path: folder.to_owned(), source: e.into() };
    let disk = nix::sys::statvfs::statvfs(folder).map_err(io)?;
    let free = disk.blocks_available().saturating_mul(disk.fragment_size());
    let mib = |bytes: u64| bytes / (1024 * 1024);
    if free < needed {
        let (free_mib, needed_mib) = (mib(free), mib(needed));
        return Err(StoreError::Full { state: folder.to_owned(), free_mib, needed_mib });
    }
    Ok(())
}

/// The same error for every caller of the group.
fn again(e: &StoreError) -> StoreError {
    match e {
        StoreError::Io { path, source } => {
            StoreError::Io { path: path.clone(), source: std::io::Error::new(source.kind(), source.to_string()) }
        }
        StoreError::Full { state, free_mib, needed_mib } => {
            StoreError::Full { state: state.clone(), free_mib: *free_mib, needed_mib: *needed_mib }
        }
        StoreError::Stopped(why) => StoreError::Stopped(why.clone()),
        other => StoreError::Damaged { what: other.to_string() },
    }
}
