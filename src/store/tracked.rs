//! Records of the tracking server. What stands in them is the tracking server's business; here they are bytes under a table and a key.

use super::{Batch, Store, StoreError, batch::Op, record};
use serde::{Serialize, de::DeserializeOwned};

/// A record's key without its table, and its bytes.
pub type Keyed = (Vec<u8>, Vec<u8>);

/// A kind of record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    Experiment,
    /// A run with its newest metrics, params, tags.
    Run,
    /// Metric points of one call.
    Points,
    /// Metric points of many calls, sorted and packed.
    Chunk,
    /// A dataset that a run used, with schema and profile.
    Dataset,
    LoggedModel,
    RegisteredModel,
    ModelVersion,
    Trace,
    /// One file that a client uploaded.
    Artifact,
    /// What was brought from another server, as it was there.
    Import,
}

impl Table {
    pub(super) fn prefix(self) -> &'static [u8] {
        match self {
            Self::Experiment => b"te/",
            Self::Run => b"tr/",
            Self::Points => b"tp/",
            Self::Chunk => b"tc/",
            Self::Dataset => b"td/",
            Self::LoggedModel => b"tl/",
            Self::RegisteredModel => b"tm/",
            Self::ModelVersion => b"tv/",
            Self::Trace => b"tt/",
            Self::Artifact => b"ta/",
            Self::Import => b"ti/",
        }
    }

    fn key(self, key: &[u8]) -> Vec<u8> {
        [self.prefix(), key].concat()
    }
}

impl Batch {
    /// A record as JSON.
    pub fn put_tracked<T: Serialize>(self, table: Table, key: impl AsRef<[u8]>, value: &T) -> Self {
        self.put(table.key(key.as_ref()), value)
    }

    /// A record that is bytes already.
    pub fn put_tracked_bytes(mut self, table: Table, key: impl AsRef<[u8]>, bytes: &[u8]) -> Self {
        self.ops.push(Op::Put(table.key(key.as_ref()), record::seal(bytes)));
        self
    }

    /// Forgets a record.
    pub fn delete_tracked(mut self, table: Table, key: impl AsRef<[u8]>) -> Self {
        self.delete(table.key(key.as_ref()));
        self
    }
}

/// Where a walk over keys goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Next,
    /// At the first key from this one on; what lies between is not read.
    To(Vec<u8>),
    Stop,
}

impl Store {
    /// One record that is JSON.
    pub fn tracked<T: DeserializeOwned>(&self, table: Table, key: impl AsRef<[u8]>) -> Result<Option<T>, StoreError> {
        self.get(&table.key(key.as_ref()))
    }

    /// One record as bytes.
    pub fn tracked_bytes(&self, table: Table, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, StoreError> {
        let key = table.key(key.as_ref());
        self.0.records.get(&key)?.map(|v| record::open(&key, &v).map(<[u8]>::to_vec)).transpose()
    }

    /// Every record that is JSON whose key begins so, in order of keys; keys without their table.
    pub fn each_tracked<T: DeserializeOwned>(
        &self,
        table: Table,
        prefix: impl AsRef<[u8]>,
        mut visit: impl FnMut(&[u8], T) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.each(&table.key(prefix.as_ref()), |key, value| {
            visit(&key[table.prefix().len()..], record::decode(key, value)?)
        })
    }

    /// Every record as bytes whose key begins so, in order of keys; keys without their table.
    pub fn each_tracked_bytes(
        &self,
        table: Table,
        prefix: impl AsRef<[u8]>,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.each(&table.key(prefix.as_ref()), |key, value| {
            visit(&key[table.prefix().len()..], record::open(key, value)?)
        })
    }

    /// Records that are JSON whose keys begin so, in order of keys, as far as `visit` wants to go; keys without their table.
    pub fn walk_tracked<T: DeserializeOwned>(
        &self,
        table: Table,
        prefix: impl AsRef<[u8]>,
        mut visit: impl FnMut(&[u8], T) -> Result<Step, StoreError>,
    ) -> Result<(), StoreError> {
        let prefix = table.key(prefix.as_ref());
        let mut items = self.0.records.prefix(&prefix);
        while let Some((key, value)) = items.next()? {
            match visit(&key[table.prefix().len()..], record::decode(&key, &value)?)? {
                Step::Next => {}
                Step::To(next) => items = self.0.records.within(&table.key(&next), &prefix),
                Step::Stop => break,
            }
        }
        Ok(())
    }

    /// The last record as bytes whose key begins so, with its key without the table.
    pub fn last_tracked_bytes(&self, table: Table, prefix: impl AsRef<[u8]>) -> Result<Option<Keyed>, StoreError> {
        let last = self.0.records.prefix_back(&table.key(prefix.as_ref())).next()?;
        let taken = |(key, value): (sled::IVec, sled::IVec)| {
            let content = record::open(&key, &value)?.to_vec();
            Ok((key[table.prefix().len()..].to_vec(), content))
        };
        last.map(taken).transpose()
    }
}
