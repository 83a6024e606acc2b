//! The observed state on disk: records, group commit, backup. The only folder that names sled.
//!
//! Promise: once [`Store::commit`] returned, the change survives `kill -9` and power loss; before, it is there whole or not at all. What is
//! damaged is said, never guessed over.

mod backup;
mod batch;
mod committer;
mod content;
mod error;
mod journal;
mod keeper;
mod key;
mod lockfile;
mod overrides;
mod prune;
mod record;
mod records;
mod tracked;
mod writer;

pub use backup::restore;
pub use batch::{Batch, NewEvent};
pub use error::StoreError;
pub use tracked::{Step, Table};

use crate::model::*;
use lockfile::LockFile;
use records::Records;
use serde::de::DeserializeOwned;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};
use writer::Writer;

/// What a commit gave a place in the order.
#[derive(Debug, Clone, Default)]
pub struct Committed {
    pub events: Vec<Event>,
}

struct Inner {
    writer: Writer,
    /// Why the newest batch was not kept, when it was not.
    trouble: Mutex<Option<String>>,
    records: Arc<Records>,
    _lock: LockFile,
}

/// The open store; cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

/// sled's page cache, in bytes: records are small and the loop holds what it needs itself.
const CACHE_BYTES: u64 = 4 * 1024 * 1024;

/// Removes snapshots of sled's page table that a kill left half written. sled 0.34 writes `snap.N.generating` and renames it, yet reads what
/// was not renamed as if it were whole (its filter looks for another ending), and then takes the database for damaged. The log holds all.
fn drop_unfinished_snapshots(db: &Path) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(db) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b"snap.") && name.as_encoded_bytes().ends_with(b".generating") {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Opens sled. The caller holds the state folder's lock.
fn open_db(state: &Path) -> Result<sled::Db, StoreError> {
    let folder = state.join("db");
    drop_unfinished_snapshots(&folder).map_err(|source| StoreError::Io { path: folder, source })?;
    let config = sled::Config::new()
        .path(state.join("db"))
        .cache_capacity(CACHE_BYTES)
        .mode(sled::Mode::LowSpace)
        .flush_every_ms(None);
    // sled 0.34 answers some kinds of damage with a panic.
    catch_unwind(AssertUnwindSafe(|| config.open()))
        .map_err(|_| StoreError::Damaged { what: "sled cannot read it".into() })?
        .map_err(Into::into)
}

/// Opens sled anew in the process that had it open: threads of it may hold its file for a moment longer.
#[cfg(test)]
fn reopen_db(state: &Path) -> sled::Db {
    use nix::fcntl::{Flock, FlockArg};
    if let Ok(file) = std::fs::File::open(state.join("db/db")) {
        drop(Flock::lock(file, FlockArg::LockExclusive).unwrap());
    }
    open_db(state).unwrap()
}

impl Store {
    /// Opens the state folder, made if it is missing. Refused while another daemon holds it.
    pub fn open(state: &Path) -> Result<Self, StoreError> {
        let io = |source| StoreError::Io { path: state.to_owned(), source };
        std::fs::create_dir_all(state).map_err(io)?;
        let lock = LockFile::take(state)?;
        backup::finish_restore(state)?;
        let db = open_db(state)?;
        let records = Arc::new(Records::new(db));
        let writer = Writer::start(&records, state)?;
        let store = Self(Arc::new(Inner { writer, trouble: Mutex::default(), records, _lock: lock }));
        if let Err(e) = store.list_overrides() {
            // On a full disk, say: the next start lists them.
            tracing::warn!("what was let through before is not listed yet: {e}");
        }
        Ok(store)
    }

    /// Makes a batch durable. Many callers share one flush.
    pub fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        let committed = self.0.writer.commit(batch);
        self.note(&committed);
        committed
    }

    /// The same without a thread that waits: the batch has its place in the order when this returns, and is durable when the future ends. Work
    /// begins when that is polled or dropped.
    pub fn submit(&self, batch: Batch) -> impl Future<Output = Result<Committed, StoreError>> + Send + use<> {
        let (waiting, this) = (self.0.writer.submit(batch), self.clone());
        async move {
            let committed = waiting.await;
            this.note(&committed);
            committed
        }
    }

    fn note(&self, committed: &Result<Committed, StoreError>) {
        let trouble = match committed {
            // A refused batch says nothing about the disk.
            Err(StoreError::Immutable(_)) => return,
            other => other.as_ref().err().map(ToString::to_string),
        };
        *self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// Why nothing can be written now, as the newest commit found it.
    pub fn trouble(&self) -> Option<String> {
        self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn get<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, StoreError> {
        self.0.records.get(key)?.map(|v| record::decode(key, &v)).transpose()
    }

    fn each(
        &self,
        prefix: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut items = self.0.records.prefix(prefix);
        while let Some((key, value)) = items.next()? {
            visit(&key, &value)?;
        }
        Ok(())
    }

    fn all<T: DeserializeOwned>(&self, prefix: &[u8]) -> Result<Vec<T>, StoreError> {
        let mut out = Vec::new();
        self.each(prefix, |k, v| {
            out.push(record::decode(k, v)?);
            Ok(())
        })?;
        Ok(out)
    }

    /// The newest `limit` records of a range, oldest first.
    fn newest<T: DeserializeOwned>(&self, prefix: &[u8], limit: usize) -> Result<Vec<T>, StoreError> {
        let mut items = self.0.records.prefix_back(prefix);
        let mut out = Vec::new();
        while out.len() < limit
            && let Some((key, value)) = items.next()?
        {
            out.push(record::decode(&key, &value)?);
        }
        out.reverse();
        Ok(out)
    }

    /// Every model.
    pub fn models(&self) -> Result<Vec<ObservedModel>, StoreError> {
        self.all(key::MODELS)
    }
    /// Every model, one at a time.
    pub fn each_model(&self, mut visit: impl FnMut(ObservedModel) -> Result<(), StoreError>) -> Result<(), StoreError> {
        self.each(key::MODELS, |key, value| visit(record::decode(key, value)?))
    }
    /// One model.
    pub fn model(&self, name: &Name) -> Result<Option<ObservedModel>, StoreError> {
        self.get(&key::model(name))
    }
    /// A model's versions by number.
    pub fn versions(&self, model: &Name) -> Result<Vec<Version>, StoreError> {
        self.all(&key::versions(model))
    }
    /// One version.
    pub fn version(&self, model: &Name, number: VersionNumber) -> Result<Option<Version>, StoreError> {
        self.get(&key::version(model, number))
    }
    /// The version of this content that a pipeline made.
    pub fn version_by_fingerprint(&self, model: &Name, fingerprint: &Digest) -> Result<Option<Version>, StoreError> {
        let number: Option<VersionNumber> = self.get(&key::fingerprint(model, fingerprint))?;
        number.map_or(Ok(None), |n| self.version(model, n))
    }
    /// A model's newest runs, newest first.
    pub fn runs(&self, model: &Name, limit: usize) -> Result<Vec<Run>, StoreError> {
        let ids: Vec<RunId> = self.newest(&key::runs_of_model(model), limit)?;
        let runs: Result<Vec<_>, _> = ids.iter().rev().map(|id| self.run(id)).collect();
        Ok(runs?.into_iter().flatten().collect())
    }
    /// One run.
    pub fn run(&self, id: &RunId) -> Result<Option<Run>, StoreError> {
        self.get(&key::run(id))
    }
    /// The newest run that succeeded with this stage key.
    pub fn run_by_key(&self, stage: &Digest) -> Result<Option<Run>, StoreError> {
        let id: Option<RunId> = self.get(&key::stage(stage))?;
        id.map_or(Ok(None), |id| self.run(&id))
    }
    /// One snapshot.
    pub fn snapshot(&self, dataset: &Name, digest: &Digest) -> Result<Option<Snapshot>, StoreError> {
        self.get(&key::snapshot(dataset, digest))
    }
    /// A dataset's snapshots.
    pub fn snapshots(&self, dataset: &Name) -> Result<Vec<Snapshot>, StoreError> {
        self.all(&key::snapshots(dataset))
    }
    /// How the source stood.
    pub fn source(&self) -> Result<Option<SourceStatus>, StoreError> {
        self.get(key::SOURCE)
    }
    /// A small fact of the daemon.
    pub fn fact<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StoreError> {
        self.get(&key::fact(name))
    }

    /// Events after `seq`, oldest first, at most `limit`.
    pub fn events(&self, after: u64, limit: usize) -> Result<Vec<Event>, StoreError> {
        let end = key::event(u64::MAX);
        let mut items = self.0.records.range(&key::event(after.saturating_add(1)), Some(&end));
        let mut out = Vec::new();
        while out.len() < limit
            && let Some((key, value)) = items.next()?
        {
            out.push(record::decode(&key, &value)?);
        }
        Ok(out)
    }
    /// The newest `limit` events, oldest first.
    pub fn newest_events(&self, limit: usize) -> Result<Vec<Event>, StoreError> {
        self.newest(key::EVENTS, limit)
    }
    /// A model's newest `limit` events, oldest first.
    pub fn events_of_model(&self, model: &Name, limit: usize) -> Result<Vec<Event>, StoreError> {
        let seqs: Vec<u64> = self.newest(&key::events_of_model(model), limit)?;
        let events: Result<Vec<Option<Event>>, _> = seqs.iter().map(|s| self.get(&key::event(*s))).collect();
        Ok(events?.into_iter().flatten().collect())
    }
    /// The first events that a commit caused and the newest, oldest first, about `limit` of them; and whether there are others between. Both
    /// ends count: how it began, and how it stands.
    pub fn events_of_commit(&self, commit: &ObjectId, limit: usize) -> Result<(Vec<Event>, bool), StoreError> {
        let (prefix, half) = (key::events_of_commit(commit), limit.div_ceil(2));
        let mut items = self.0.records.prefix(&prefix);
        let mut seqs: Vec<u64> = Vec::new();
        while seqs.len() < half
            && let Some((key, value)) = items.next()?
        {
            seqs.push(record::decode(&key, &value)?);
        }
        let first = seqs.last().copied().filter(|_| seqs.len() == half);
        let newest: Vec<u64> = if first.is_some() { self.newest(&prefix, half + 1)? } else { vec![] };
        // One more than is shown tells whether any was left out.
        let cut = newest.len() > half && newest.first().zip(first).is_some_and(|(newest, first)| *newest > first);
        seqs.extend(newest.into_iter().skip(usize::from(cut)).filter(|seq| first.is_some_and(|first| *seq > first)));
        let events: Result<Vec<Option<Event>>, _> = seqs.iter().map(|s| self.get(&key::event(*s))).collect();
        Ok((events?.into_iter().flatten().collect(), cut))
    }
    /// The sequence number of the newest event; 0 before the first.
    pub fn last_event(&self) -> Result<u64, StoreError> {
        Ok(self.newest_events(1)?.first().map_or(0, |e| e.seq))
    }

    /// Writes every record to one file, while the store goes on.
    pub fn backup(&self, file: &Path) -> Result<(), StoreError> {
        backup::write(&self.0.records, file)
    }

    /// Writes the same to a file without a name in `folder`, and gives it back at its beginning: it is gone once closed.
    pub fn backup_unnamed(&self, folder: &Path) -> Result<std::fs::File, StoreError> {
        let io = |source| StoreError::Io { path: folder.to_owned(), source };
        let mut file = tempfile::tempfile_in(folder).map_err(io)?;
        backup::write_to(&self.0.records, &file, folder)?;
        std::io::Seek::rewind(&mut file).map_err(io)?;
        Ok(file)
    }
}

/// sled 0.34 panics on some damaged pages; here a panic is an error like any other.
fn guarded<T>(call: impl FnOnce() -> Result<T, sled::Error>) -> Result<T, StoreError> {
    let caught = catch_unwind(AssertUnwindSafe(call));
    caught.map_err(|_| StoreError::Damaged { what: "sled cannot read a page".into() })?.map_err(Into::into)
}

#[cfg(test)]
mod tests;
