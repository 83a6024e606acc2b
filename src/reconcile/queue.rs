//! The work queue: one entry a key, at its earliest time, and never two workers on one key.

use crate::model::SteadyMs;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    hash::Hash,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

#[derive(Debug)]
struct Inner<K> {
    /// When each key is due.
    due: HashMap<K, SteadyMs>,
    order: BTreeSet<(SteadyMs, K)>,
    busy: HashSet<K>,
    closed: bool,
}

/// A queue of keys with due times. Adding a key that waits keeps the earlier time; a key that is being worked on is given out
/// again only after [`Queue::done`].
#[derive(Debug)]
pub struct Queue<K> {
    inner: Mutex<Inner<K>>,
    changed: Condvar,
    /// Told when the work on a key ended. Apart from `changed`, so that who waits for rest takes no worker's wake-up.
    ended: Condvar,
}

impl<K: Clone + Eq + Ord + Hash> Queue<K> {
    /// An empty queue.
    pub fn new() -> Self {
        let inner = Inner { due: HashMap::new(), order: BTreeSet::new(), busy: HashSet::new(), closed: false };
        Self { inner: Mutex::new(inner), changed: Condvar::new(), ended: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<K>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for `key` to be looked at, at `at` or earlier.
    pub fn add(&self, key: K, at: SteadyMs) {
        let mut q = self.lock();
        if let Some(&before) = q.due.get(&key) {
            if before <= at {
                return;
            }
            q.order.remove(&(before, key.clone()));
        }
        q.due.insert(key.clone(), at);
        q.order.insert((at, key));
        self.changed.notify_one();
    }

    /// Waits for a key that is due and not being worked on. `None` once closed.
    pub fn next(&self, now: impl Fn() -> SteadyMs) -> Option<K> {
        let mut q = self.lock();
        loop {
            if q.closed {
                return None;
            }
            let at = now();
            let free = q.order.iter().find(|(_, k)| !q.busy.contains(k)).cloned();
            match free {
                Some((due, key)) if due <= at => {
                    q.order.remove(&(due, key.clone()));
                    q.due.remove(&key);
                    q.busy.insert(key.clone());
                    return Some(key);
                }
                Some((due, _)) => {
                    let wait = Duration::from_millis(due.since(at).max(1));
                    q = self.changed.wait_timeout(q, wait).unwrap_or_else(PoisonError::into_inner).0;
                }
                None => q = self.changed.wait(q).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// The work on a key ended.
    pub fn done(&self, key: &K) {
        self.lock().busy.remove(key);
        self.changed.notify_all();
        self.ended.notify_all();
    }

    /// Waits until every key that is due by `now` or being worked on came to rest; `false` when that took longer than `at_most`, or the
    /// queue was closed first. What becomes due later is not waited for.
    pub fn settle(&self, now: SteadyMs, at_most: Duration) -> bool {
        let mut q = self.lock();
        let due = q.order.iter().take_while(|(due, _)| *due <= now).map(|(_, k)| k.clone());
        let mut left: Vec<K> = due.chain(q.busy.iter().cloned()).collect();
        let unrest = |q: &mut Inner<K>| {
            let moves = |k: &K| q.busy.contains(k) || q.due.get(k).is_some_and(|d| *d <= now);
            // Each key is left out once it was seen at rest: a fleet costs one look at each key.
            while left.last().is_some_and(|k| !moves(k)) {
                left.pop();
            }
            !left.is_empty() && !q.closed
        };
        q = self.ended.wait_timeout_while(q, at_most, unrest).unwrap_or_else(PoisonError::into_inner).0;
        !q.closed && left.is_empty()
    }

    /// How many keys are due by `now` and wait.
    pub fn depth(&self, now: SteadyMs) -> usize {
        self.lock().order.iter().take_while(|(due, _)| *due <= now).count()
    }

    /// Ends every `next`.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
        self.ended.notify_all();
    }
}

/// Milliseconds until the next try after `attempts` failures: doubling from 2 s, at most 5 minutes.
pub fn backoff(attempts: u32) -> u64 {
    const FIRST_MS: u64 = 2_000;
    const CAP_MS: u64 = 300_000;
    FIRST_MS.saturating_mul(1 << attempts.saturating_sub(1).min(20)).min(CAP_MS)
}

/// Tasks under way beside the queue, by key, each once.
#[derive(Debug)]
pub struct Tasks<K, V>(Mutex<BTreeMap<K, V>>);
impl<K: Ord, V: Clone> Tasks<K, V> {
    /// None.
    pub fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }
    /// Notes a task; `false` when one with this key is under way.
    pub fn begin(&self, key: K, value: V) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let free = !all.contains_key(&key);
        if free {
            all.insert(key, value);
        }
        free
    }
    /// The task under this key.
    pub fn get(&self, key: &K) -> Option<V> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }
    /// The tasks from one key to another, without that.
    pub fn between(&self, from: &K, to: &K) -> Vec<(K, V)>
    where
        K: Clone,
    {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.range(from..to).map(|(k, v)| (k.clone(), v.clone())).collect()
    }
    /// The task ended.
    pub fn end(&self, key: &K) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

impl<K: Clone + Eq + Ord + Hash> Default for Queue<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Ord, V: Clone> Default for Tasks<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_collapse_to_the_earliest_time() {
        let q = Queue::new();
        q.add("a", SteadyMs(50));
        q.add("a", SteadyMs(10));
        q.add("a", SteadyMs(90));
        assert_eq!(q.next(|| SteadyMs(10)), Some("a"));
        q.done(&"a");
        assert!(q.settle(SteadyMs(1000), Duration::ZERO));
    }

    #[test]
    fn rest_is_waited_for_until_what_was_due_is_done() {
        let q = Queue::new();
        q.add("a", SteadyMs(1));
        q.add("b", SteadyMs(1));
        q.add("later", SteadyMs(100));
        assert!(!q.settle(SteadyMs(5), Duration::ZERO), "two are due");
        let done = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // One acts, and so is looked at again at once.
                q.next(|| SteadyMs(5)).inspect(|k| q.add(k, SteadyMs(0)));
                q.done(&"a");
                for _ in 0..2 {
                    let key = q.next(|| SteadyMs(5)).unwrap();
                    done.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    q.done(&key);
                }
            });
            assert!(q.settle(SteadyMs(5), Duration::from_secs(60)));
            assert_eq!(done.load(std::sync::atomic::Ordering::SeqCst), 2);
        });
        q.close();
        assert!(!q.settle(SteadyMs(200), Duration::from_secs(60)), "a closed queue brings nothing to rest");
    }

    #[test]
    fn a_busy_key_waits_and_others_go_on() {
        let q = Queue::new();
        q.add("a", SteadyMs(1));
        assert_eq!(q.next(|| SteadyMs(5)), Some("a"));
        q.add("a", SteadyMs(1));
        q.add("b", SteadyMs(2));
        assert_eq!(q.next(|| SteadyMs(5)), Some("b"));
        q.done(&"a");
        assert_eq!(q.next(|| SteadyMs(5)), Some("a"));
    }

    #[test]
    fn backoff_doubles_up_to_its_cap() {
        assert_eq!([1, 2, 3, 9, 40].map(backoff), [2_000, 4_000, 8_000, 300_000, 300_000]);
    }
}
