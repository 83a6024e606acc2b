//! Every record as the newest commit left it: what sled holds, and above it what only the journal holds so far.
//!
//! sled takes longer for a record than the disk for its flush, so a commit is answered once the journal has it, and sled gets it later.

use super::{StoreError, guarded, journal::Change};
use sled::IVec;
use std::{
    cmp::Ordering,
    collections::BTreeMap,
    iter::Peekable,
    ops::Bound,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

/// A key and its value.
pub type Record = (IVec, IVec);

/// Changes that sled does not hold yet: a value, or that there is none any more.
pub type Changes = BTreeMap<IVec, Option<IVec>>;

/// What is above sled.
#[derive(Debug, Default)]
struct Above {
    /// Since the last of them were begun to be handed over.
    recent: Changes,
    /// Bytes of keys and values of `recent`.
    bytes: usize,
    /// Being handed over; what is recent is newer.
    moving: Arc<Changes>,
    /// Bytes of keys and values of `moving`, at most.
    moving_bytes: usize,
}

/// The records of an open store.
pub struct Records {
    db: sled::Db,
    above: RwLock<Above>,
}

impl Records {
    pub fn new(db: sled::Db) -> Self {
        Self { db, above: RwLock::default() }
    }

    /// sled, for what is done to it as a whole.
    pub fn db(&self) -> &sled::Db {
        &self.db
    }

    fn read(&self) -> RwLockReadGuard<'_, Above> {
        self.above.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Above> {
        self.above.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes changes that are durable in the journal; the bytes that nobody has begun to hand over, before and after.
    pub fn take(&self, changes: Vec<Change>) -> (usize, usize) {
        let mut above = self.write();
        let before = above.bytes;
        for (key, value) in changes {
            above.bytes += key.len() + value.as_ref().map_or(0, Vec::len);
            above.recent.insert(key.into(), value.map(IVec::from));
        }
        (before, above.bytes)
    }

    /// Bytes that nobody has begun to hand over to sled.
    pub fn recent_bytes(&self) -> usize {
        self.read().bytes
    }

    /// Bytes that sled does not hold yet.
    pub fn bytes(&self) -> usize {
        let above = self.read();
        above.bytes + above.moving_bytes
    }

    /// Begins to hand over what sled does not hold yet; with what it was begun with before, if that did not end. Readers find it until [`Self::end`].
    pub fn begin(&self) -> Arc<Changes> {
        let mut above = self.write();
        let recent = std::mem::take(&mut above.recent);
        above.moving_bytes += std::mem::take(&mut above.bytes);
        if above.moving.is_empty() {
            above.moving = recent.into();
        } else {
            Arc::make_mut(&mut above.moving).extend(recent);
        }
        above.moving.clone()
    }

    /// sled holds what was begun to be handed over.
    pub fn end(&self) {
        let mut above = self.write();
        (above.moving, above.moving_bytes) = (Arc::default(), 0);
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<IVec>, StoreError> {
        let above = self.read();
        if let Some(newest) = above.recent.get(key).or_else(|| above.moving.get(key)) {
            return Ok(newest.clone());
        }
        drop(above);
        guarded(|| self.db.get(key))
    }

    /// Records whose keys lie from `from` (included) to `to` (not included), in order of keys.
    pub fn range(&self, from: &[u8], to: Option<&[u8]>) -> Merged<sled::Iter> {
        let above = self.above(from, to);
        let end = to.map_or(Bound::Unbounded, Bound::Excluded);
        let below = self.db.range::<&[u8], _>((Bound::Included(from), end));
        Merged { above: above.into_iter().peekable(), below, next: None, newest_first: false }
    }

    /// The same from the last to the first.
    pub fn range_back(&self, from: &[u8], to: Option<&[u8]>) -> Merged<std::iter::Rev<sled::Iter>> {
        let mut above = self.above(from, to);
        above.reverse();
        let end = to.map_or(Bound::Unbounded, Bound::Excluded);
        let below = self.db.range::<&[u8], _>((Bound::Included(from), end)).rev();
        Merged { above: above.into_iter().peekable(), below, next: None, newest_first: true }
    }

    /// Records from a key on whose keys begin so.
    pub fn within(&self, from: &[u8], prefix: &[u8]) -> Merged<sled::Iter> {
        self.range(from.max(prefix), after(prefix).as_deref())
    }

    /// Records whose keys begin so.
    pub fn prefix(&self, prefix: &[u8]) -> Merged<sled::Iter> {
        self.range(prefix, after(prefix).as_deref())
    }

    /// The same from the last to the first.
    pub fn prefix_back(&self, prefix: &[u8]) -> Merged<std::iter::Rev<sled::Iter>> {
        self.range_back(prefix, after(prefix).as_deref())
    }

    /// What is above sled, copied before sled is looked at: what moves down meanwhile is then seen twice, and never missed.
    fn above(&self, from: &[u8], to: Option<&[u8]>) -> Vec<(IVec, Option<IVec>)> {
        let end = to.map_or(Bound::Unbounded, Bound::Excluded);
        if to.is_some_and(|to| to <= from) {
            return vec![];
        }
        let above = self.read();
        let range = (Bound::Included(from), end);
        let of = |changes: &Changes| -> Vec<_> {
            changes.range::<[u8], _>(range).map(|(k, v)| (k.clone(), v.clone())).collect()
        };
        let (moving, recent) = (of(&above.moving), of(&above.recent));
        drop(above);
        if moving.is_empty() || recent.is_empty() {
            return if recent.is_empty() { moving } else { recent };
        }
        moving.into_iter().chain(recent).collect::<Changes>().into_iter().collect()
    }
}

/// The first key after all that begin so; `None`: there is none.
fn after(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|b| *b != u8::MAX)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next)
}

/// Records in order of keys; what is above sled counts.
pub struct Merged<I> {
    above: Peekable<std::vec::IntoIter<(IVec, Option<IVec>)>>,
    below: I,
    /// The next record of `below`.
    next: Option<Record>,
    newest_first: bool,
}

impl<I: Iterator<Item = sled::Result<Record>>> Merged<I> {
    /// The next record.
    pub fn next(&mut self) -> Result<Option<Record>, StoreError> {
        loop {
            if self.next.is_none() {
                self.next = guarded(|| self.below.next().transpose())?;
            }
            let order = match (self.above.peek(), &self.next) {
                (None, None) => return Ok(None),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((above, _)), Some((below, _))) if self.newest_first => below.cmp(above),
                (Some((above, _)), Some((below, _))) => above.cmp(below),
            };
            if order == Ordering::Greater {
                return Ok(self.next.take());
            }
            if order == Ordering::Equal {
                self.next = None;
            }
            // Without a value: deleted, here and below.
            if let Some((key, Some(value))) = self.above.next() {
                return Ok(Some((key, value)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Step {
        Put(Vec<u8>, u8),
        Delete(Vec<u8>),
        Begin,
        /// sled has taken so many of those that were begun, or all of them.
        Give(usize),
        End,
    }

    fn key() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(254), Just(255)], 0..4)
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (key(), any::<u8>()).prop_map(|(k, v)| Step::Put(k, v)),
            2 => key().prop_map(Step::Delete),
            1 => Just(Step::Begin),
            1 => (0usize..4).prop_map(Step::Give),
            1 => Just(Step::End),
        ]
    }

    fn give(records: &Records, changes: impl Iterator<Item = (IVec, Option<IVec>)>) {
        let mut batch = sled::Batch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        records.db.apply_batch(batch).unwrap();
    }

    fn all<I: Iterator<Item = sled::Result<Record>>>(mut merged: Merged<I>) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut out = vec![];
        while let Some((k, v)) = merged.next().unwrap() {
            out.push((k.to_vec(), v.to_vec()));
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Wherever a record lies, every way to it finds what a plain map holds.
        #[test]
        fn reads_as_one_map(steps in proptest::collection::vec(step(), 0..40), from in key(), to in key()) {
            let db = sled::Config::new().temporary(true).flush_every_ms(None).open().unwrap();
            let records = Records::new(db);
            let mut map: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
            let mut moving: Arc<Changes> = Arc::default();
            for step in steps {
                match step {
                    Step::Put(k, v) => {
                        records.take(vec![(k.clone(), Some(vec![v]))]);
                        map.insert(k, vec![v]);
                    }
                    Step::Delete(k) => {
                        records.take(vec![(k.clone(), None)]);
                        map.remove(&k);
                    }
                    Step::Begin => moving = records.begin(),
                    Step::Give(n) => give(&records, (*moving).clone().into_iter().take(n)),
                    Step::End => {
                        give(&records, (*moving).clone().into_iter());
                        records.end();
                        moving = Arc::default();
                    }
                }
            }
            let pairs = |keep: &dyn Fn(&[u8]) -> bool| -> Vec<_> {
                map.iter().filter(|(k, _)| keep(k)).map(|(k, v)| (k.clone(), v.clone())).collect()
            };
            let back = |mut pairs: Vec<_>| { pairs.reverse(); pairs };
            prop_assert_eq!(records.get(&from).unwrap().map(|v| v.to_vec()), map.get(&from).cloned());
            prop_assert_eq!(all(records.prefix(&from)), pairs(&|k| k.starts_with(&from)));
            prop_assert_eq!(all(records.prefix_back(&from)), back(pairs(&|k| k.starts_with(&from))));
            prop_assert_eq!(all(records.range(&from, None)), pairs(&|k| k >= &*from));
            if from < to {
                prop_assert_eq!(all(records.range(&from, Some(&to))), pairs(&|k| k >= &*from && k < &*to));
            }
        }
    }
}
