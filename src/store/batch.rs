//! A set of changes that becomes durable together or not at all.

use super::{StoreError, key, record};
use crate::model::*;
use serde::Serialize;

/// An event that has no place in the order yet.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    pub at: WallMs,
    pub kind: EventKind,
    pub model: Option<Name>,
    pub environment: Option<Name>,
    pub commit: Option<ObjectId>,
    pub author: Option<String>,
    pub message: String,
}

impl NewEvent {
    /// The event at its place.
    pub(super) fn at(self, seq: u64) -> Event {
        let Self { at, kind, model, environment, commit, author, message } = self;
        Event { seq, at, kind, model, environment, commit, author, message }
    }
}

/// One change of one record.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    /// A put that must not find anything under the key.
    Create(Vec<u8>, Vec<u8>),
}

/// Collects changes; see [`super::Store::commit`].
#[derive(Debug, Default)]
pub struct Batch {
    pub(super) ops: Vec<Op>,
    pub(super) events: Vec<NewEvent>,
    /// The first record that could not be encoded.
    pub(super) failed: Option<StoreError>,
}

impl Batch {
    /// No changes.
    pub fn new() -> Self {
        Self::default()
    }

    fn encoded<T: Serialize>(mut self, value: &T, op: impl FnOnce(Vec<u8>) -> Op) -> Self {
        match record::encode(value) {
            Ok(bytes) => self.ops.push(op(bytes)),
            Err(e) => self.failed = self.failed.or(Some(e)),
        }
        self
    }

    pub(super) fn put<T: Serialize>(self, key: Vec<u8>, value: &T) -> Self {
        self.encoded(value, |bytes| Op::Put(key, bytes))
    }

    /// A model's observed state.
    pub fn put_model(self, model: &ObservedModel) -> Self {
        self.put(key::model(&model.name), model)
    }

    /// A new version; refused when its number, or the fingerprint of what trimtab made itself, was given out before.
    pub fn put_version(self, v: &Version) -> Self {
        let this = self.encoded(v, |bytes| Op::Create(key::version(&v.model, v.number), bytes));
        if v.origin == Origin::Client {
            // No spec asks for the content of a client's: its fingerprint is one of its number.
            return this;
        }
        this.encoded(&v.number, |bytes| Op::Create(key::fingerprint(&v.model, &v.fingerprint), bytes))
    }

    /// The same version with its gates judged anew: the only part of a version that ever changes.
    pub fn replace_gates(self, v: &Version) -> Self {
        self.put(key::version(&v.model, v.number), v)
    }

    /// A run, and once it succeeded the way to it by its stage key.
    pub fn put_run(self, run: &Run) -> Self {
        let this = self.put(key::run(&run.id), run).put(key::run_of_model(run), &run.id);
        if run.status == RunStatus::Succeeded { this.put(key::stage(&run.key), &run.id) } else { this }
    }

    /// A dataset's snapshot.
    pub fn put_snapshot(self, s: &Snapshot) -> Self {
        self.put(key::snapshot(&s.dataset, &s.digest), s)
    }

    /// How the source stands.
    pub fn put_source(self, status: &SourceStatus) -> Self {
        self.put(key::SOURCE.to_vec(), status)
    }

    /// A small fact of the daemon.
    pub fn put_fact<T: Serialize>(self, name: &str, value: &T) -> Self {
        self.put(key::fact(name), value)
    }

    /// Forgets a version and its fingerprint.
    pub fn delete_version(mut self, v: &Version) -> Self {
        self.delete(key::version(&v.model, v.number));
        self.delete(key::fingerprint(&v.model, &v.fingerprint));
        self
    }

    /// Forgets a snapshot.
    pub fn delete_snapshot(mut self, dataset: &Name, digest: &Digest) -> Self {
        self.delete(key::snapshot(dataset, digest));
        self
    }

    pub(super) fn delete(&mut self, key: Vec<u8>) {
        self.ops.push(Op::Delete(key));
    }

    /// Something that happened.
    pub fn event(mut self, event: NewEvent) -> Self {
        self.events.push(event);
        self
    }
}
