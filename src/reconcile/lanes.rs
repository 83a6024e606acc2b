//! Threads for tasks: of each kind so many at once, while the others wait in line.

use super::{Task, lock};
use crate::model::Name;
use std::{
    collections::{BTreeMap, VecDeque},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// What a task is for: a model's, of one kind.
pub(super) type Key = (Name, Task);

/// The lanes, one for each kind of work, so that none holds up another.
pub(super) struct Lanes {
    /// Reading and downloading datasets. What takes long, such as a download that hangs, gives its turn to the next.
    pub data: Lane<Key>,
    /// Lock commits. Those that wait go into one push, so there may be many.
    pub locks: Lane<Key>,
    /// Trainings; as many as the settings say.
    pub training: Lane<Key>,
    /// Figures that are asked for outside.
    pub questions: Lane<Key>,
    /// Ending what cancelled trainings left running.
    pub stopping: Lane<Key>,
}

impl Lanes {
    pub fn new(training: usize) -> Self {
        const SLOW: Duration = Duration::from_secs(5);
        Self {
            data: Lane::new("data", 16, Some(Slow { after: SLOW, most: 256 })),
            locks: Lane::new("lock", 64, None),
            training: Lane::new("training", training, None),
            questions: Lane::new("question", 16, Some(Slow { after: SLOW, most: 256 })),
            stopping: Lane::new("stopping", 16, None),
        }
    }
}

/// Jobs that run longer than `after` are not counted any more, as long as there are fewer than `most` in all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slow {
    pub after: Duration,
    pub most: usize,
}

type Job = Box<dyn FnOnce() + Send>;

struct State<K> {
    limit: usize,
    waiting: VecDeque<(K, Job)>,
    /// When each job that runs began, by a number of its own; threads that were started and did not take their job yet are among them.
    running: BTreeMap<u64, Instant>,
    starting: usize,
    begun: u64,
    /// A thread sees to it that slow jobs give way.
    watched: bool,
}

struct Inner<K> {
    name: &'static str,
    slow: Option<Slow>,
    state: Mutex<State<K>>,
    changed: Condvar,
}

/// Runs jobs in the order in which they come, on threads that end when there is nothing left to do.
pub(super) struct Lane<K>(Arc<Inner<K>>);

impl<K> Clone for Lane<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: PartialEq + Send + 'static> Lane<K> {
    pub fn new(name: &'static str, limit: usize, slow: Option<Slow>) -> Self {
        let state =
            State { limit, waiting: VecDeque::new(), running: BTreeMap::new(), starting: 0, begun: 0, watched: false };
        Self(Arc::new(Inner { name, slow, state: Mutex::new(state), changed: Condvar::new() }))
    }

    /// Runs a job when its turn comes. Refused when no thread can be started and none runs that would take it up.
    pub fn submit(&self, key: K, job: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut s = lock(&self.0.state);
        s.waiting.push_back((key, Box::new(job)));
        match self.fill(&mut s) {
            // Nothing else waits then: whatever had waited would run.
            Err(e) if s.running.is_empty() => {
                s.waiting.clear();
                Err(e)
            }
            _ => Ok(()),
        }
    }

    /// Takes a job back that still waits; `false` when there is none.
    pub fn withdraw(&self, key: &K) -> bool {
        let mut s = lock(&self.0.state);
        let before = s.waiting.len();
        s.waiting.retain(|(k, _)| k != key);
        s.waiting.len() < before
    }

    /// Lets so many run at once from now on; what runs goes on.
    pub fn resize(&self, limit: usize) {
        let mut s = lock(&self.0.state);
        s.limit = limit;
        // What cannot be started now is taken up by the next job that ends.
        let _ = self.fill(&mut s);
    }

    /// Whether one more may run, and waits.
    fn is_due(&self, s: &State<K>) -> bool {
        let counted = match self.0.slow {
            Some(slow) if s.running.len() < slow.most => {
                s.running.values().filter(|begun| begun.elapsed() < slow.after).count()
            }
            Some(_) => return false,
            None => s.running.len(),
        };
        counted < s.limit.max(1) && s.waiting.len() > s.starting
    }

    fn reserve(s: &mut State<K>) -> u64 {
        s.begun += 1;
        s.running.insert(s.begun, Instant::now());
        s.starting += 1;
        s.begun
    }

    /// Starts threads for what may run. Each takes its job itself: one that cannot be started takes none along.
    fn fill(&self, s: &mut State<K>) -> io::Result<()> {
        while self.is_due(s) {
            let id = Self::reserve(s);
            let this = self.clone();
            if let Err(e) = self.spawn(move || this.work(id)) {
                s.running.remove(&id);
                s.starting -= 1;
                return Err(e);
            }
        }
        if self.0.slow.is_some() && !s.waiting.is_empty() && !s.watched {
            let this = self.clone();
            s.watched = self.spawn(move || this.watch()).is_ok();
        }
        Ok(())
    }

    fn spawn(&self, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
        std::thread::Builder::new().name(self.0.name.into()).spawn(body).map(drop)
    }

    fn work(&self, mut id: u64) {
        loop {
            let job = {
                let mut s = lock(&self.0.state);
                s.starting -= 1;
                s.waiting.pop_front()
            };
            if let Some((_, job)) = job {
                // One that panics has said so; its place is free all the same.
                let _ = catch_unwind(AssertUnwindSafe(job));
            }
            let mut s = lock(&self.0.state);
            s.running.remove(&id);
            self.0.changed.notify_all();
            if !self.is_due(&s) {
                return;
            }
            id = Self::reserve(&mut s);
        }
    }

    /// Starts the next job whenever one that runs turned slow, as long as any waits.
    fn watch(&self) {
        let Some(slow) = self.0.slow else { return };
        let mut s = lock(&self.0.state);
        while !s.waiting.is_empty() {
            let soon = s.running.values().filter_map(|begun| slow.after.checked_sub(begun.elapsed())).min();
            let pause = soon.unwrap_or(slow.after).max(Duration::from_millis(1));
            s = self.0.changed.wait_timeout(s, pause).unwrap_or_else(PoisonError::into_inner).0;
            if let Err(e) = self.fill(&mut s) {
                tracing::error!("cannot start a thread: {e}");
            }
        }
        s.watched = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// Jobs that say when they begin, and end when they are told.
    struct Jobs {
        began: (Sender<u32>, Receiver<u32>),
        ends: BTreeMap<u32, Sender<()>>,
    }

    impl Jobs {
        fn new() -> Self {
            Self { began: channel(), ends: BTreeMap::new() }
        }
        fn submit(&mut self, lane: &Lane<u32>, key: u32) {
            let (end, ended) = channel::<()>();
            self.ends.insert(key, end);
            let began = self.began.0.clone();
            lane.submit(key, move || {
                began.send(key).unwrap();
                let _ = ended.recv();
            })
            .unwrap();
        }
        fn end(&mut self, key: u32) {
            drop(self.ends.remove(&key));
        }
        /// The next so many that begin.
        fn begin(&self, how_many: usize) -> Vec<u32> {
            (0..how_many).map(|_| self.began.1.recv_timeout(Duration::from_secs(60)).unwrap()).collect()
        }
        fn none_begins(&self) -> bool {
            self.began.1.recv_timeout(Duration::from_millis(50)).is_err()
        }
    }

    fn sorted(mut all: Vec<u32>) -> Vec<u32> {
        all.sort_unstable();
        all
    }

    #[test]
    fn so_many_run_at_once_and_the_others_follow_in_their_order() {
        let (lane, mut jobs) = (Lane::new("test", 3, None), Jobs::new());
        (0..1_000).for_each(|n| jobs.submit(&lane, n));
        assert_eq!(sorted(jobs.begin(3)), [0, 1, 2]);
        assert!(jobs.none_begins());
        for n in 0..3 {
            jobs.end(n);
            assert_eq!(jobs.begin(1), [n + 3]);
        }
        lane.resize(5);
        assert_eq!(sorted(jobs.begin(2)), [6, 7]);
        lane.resize(1);
        jobs.end(3);
        assert!(jobs.none_begins(), "four run still");
        (4..1_000).for_each(|n| jobs.end(n));
        assert_eq!(jobs.begin(992), (8..1_000).collect::<Vec<_>>());
    }

    #[test]
    fn slow_ones_give_way_but_are_not_without_bound() {
        let slow = Slow { after: Duration::from_millis(20), most: 5 };
        let (lane, mut jobs) = (Lane::new("test", 2, Some(slow)), Jobs::new());
        (0..8).for_each(|n| jobs.submit(&lane, n));
        assert_eq!(sorted(jobs.begin(5)), [0, 1, 2, 3, 4]);
        assert!(jobs.none_begins());
        jobs.end(3);
        assert_eq!(jobs.begin(1), [5]);
    }

    #[test]
    fn what_was_taken_back_does_not_run_and_a_panic_stops_no_other() {
        let (lane, mut jobs) = (Lane::new("test", 1, None), Jobs::new());
        jobs.submit(&lane, 0);
        lane.submit(1, || panic!("as the test wants")).unwrap();
        (2..4).for_each(|n| jobs.submit(&lane, n));
        assert_eq!(jobs.begin(1), [0]);
        assert!(lane.withdraw(&2) && !lane.withdraw(&2) && !lane.withdraw(&0));
        jobs.end(0);
        assert_eq!(jobs.begin(1), [3]);
    }
}
