//! Group commit: batches that wait become durable together, with one flush.
//!
//! Where batches come one at a time and the disk is quick, whoever hands one in commits it: waking a thread takes as long as the disk's flush.
//! Else the store's own thread does, which hands on to sled, too.

use super::{Batch, Committed, StoreError, committer::Committer, records::Records};
use std::{
    collections::VecDeque,
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
        mpsc::{Sender, channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

pub type Answer = Result<Committed, StoreError>;
pub type Request = (Batch, Reply);

/// Where the answer to a batch goes.
pub enum Reply {
    Thread(Sender<Answer>),
    Task(tokio::sync::oneshot::Sender<Answer>),
}

impl Reply {
    /// Who asked may have gone.
    pub fn send(self, answer: Answer) {
        match self {
            Self::Thread(to) => drop(to.send(answer)),
            Self::Task(to) => drop(to.send(answer)),
        }
    }
}

/// What is committed stays above sled for so long, when it is not much.
const PAUSE: Duration = Duration::from_millis(50);
/// A commit that takes longer is none for a thread that has others to serve.
const QUICK: Duration = Duration::from_millis(1);
/// After so many quick commits of one batch in a row the next is expected to be one, too. Many at once are better gathered by a thread.
const ALONE: u32 = 8;
/// Batches that wait, at most; further callers wait in line.
const WAITING: usize = 4096;
/// Batches in one flush, at most.
const GROUP: usize = 1024;

/// The way to the store's commits.
pub struct Writer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Request>,
    /// The thread is to look after what is to be done.
    asked: bool,
    /// Nothing is taken any more.
    closed: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    /// [`Queue::asked`] or [`Queue::closed`] changed.
    asked: Condvar,
    /// Fewer wait.
    taken: Condvar,
    committer: Mutex<Committer>,
    records: Arc<Records>,
    /// Quick commits of one batch, in a row.
    alone: AtomicU32,
}

impl Writer {
    /// Opens journal and sled, then starts the thread.
    pub fn start(records: &Arc<Records>, state: &Path) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            asked: Condvar::new(),
            taken: Condvar::new(),
            committer: Committer::open(records, state)?.into(),
            records: records.clone(),
            alone: AtomicU32::default(),
        });
        let last = Last(shared.clone());
        let io = |source| StoreError::Io { path: "store thread".into(), source };
        let thread = std::thread::Builder::new().name("store".into()).spawn(move || last.0.serve()).map_err(io)?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Hands a batch in and waits until it is durable.
    pub fn commit(&self, batch: Batch) -> Answer {
        let (send, receive) = channel();
        self.hand_in(batch, Reply::Thread(send))?.commit();
        receive.recv().map_err(|_| StoreError::Closed)?
    }

    /// Hands a batch in at once, in the order of calls; the future ends when it is durable.
    pub fn submit(&self, batch: Batch) -> impl Future<Output = Answer> + Send + use<> {
        let (send, receive) = tokio::sync::oneshot::channel();
        let handed_in = self.hand_in(batch, Reply::Task(send));
        async move {
            handed_in?.commit();
            receive.await.map_err(|_| StoreError::Closed)?
        }
    }

    fn hand_in(&self, mut batch: Batch, reply: Reply) -> Result<HandedIn, StoreError> {
        if let Some(e) = batch.failed.take() {
            return Err(e);
        }
        let mut queue = self.shared.queue();
        while queue.waiting.len() >= WAITING && !queue.closed {
            self.shared.ask(&mut queue);
            queue = self.shared.taken.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if queue.closed {
            return Err(StoreError::Closed);
        }
        queue.waiting.push_back((batch, reply));
        Ok(HandedIn(self.shared.clone()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.queue().closed = true;
        self.shared.asked.notify_one();
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A panic of the thread was answered to its callers as `Closed`.
            let _ = thread.join();
        }
    }
}

/// A batch in the queue. Whoever drops it leaves what waits to the thread.
struct HandedIn(Arc<Shared>);

impl HandedIn {
    /// Commits what waits, where that is not the thread's.
    fn commit(self) {
        let shared = &*self.0;
        if shared.alone.load(Relaxed) >= ALONE && shared.lead() == Some(true) {
            shared.ask(&mut shared.queue());
        }
    }
}

impl Drop for HandedIn {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        if !queue.waiting.is_empty() {
            self.0.ask(&mut queue);
        }
    }
}

/// However the thread ends, nobody waits for it.
struct Last(Arc<Shared>);

impl Drop for Last {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.closed = true;
        queue.waiting.clear();
        self.0.taken.notify_all();
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the thread, once.
    fn ask(&self, queue: &mut Queue) {
        if !std::mem::replace(&mut queue.asked, true) {
            self.asked.notify_one();
        }
    }

    /// Commits what waits on the caller's thread; whether something is left to the store's own. `None` where somebody is at it.
    fn lead(&self) -> Option<bool> {
        let mut committer = self.committer.try_lock().ok()?;
        // With nothing above sled the thread sleeps until it is asked.
        let asleep = self.records.waiting() == 0;
        self.commit(&mut committer);
        Some(asleep || committer.has_much())
    }

    /// Commits those that wait, as many as one flush takes; whether there were any.
    fn commit(&self, committer: &mut Committer) -> bool {
        let group: Vec<Request> = {
            let mut queue = self.queue();
            let size = queue.waiting.len().min(GROUP);
            queue.waiting.drain(..size).collect()
        };
        if group.is_empty() {
            return false;
        }
        self.taken.notify_all();
        let (begun, size) = (Instant::now(), group.len());
        committer.commit(group);
        let alone = size == 1 && begun.elapsed() < QUICK;
        self.alone.store(if alone { self.alone.load(Relaxed).saturating_add(1) } else { 0 }, Relaxed);
        true
    }

    /// The thread.
    fn serve(&self) {
        loop {
            let (pause, closed) = self.wait();
            let mut committer = self.committer.lock().unwrap_or_else(|broken| {
                // Whoever panicked may have left half a commit.
                let mut committer = broken.into_inner();
                committer.stop("a commit broke off");
                committer
            });
            while self.commit(&mut committer) {
                committer.upkeep(false);
            }
            committer.upkeep(pause);
            if closed {
                committer.empty_journal();
                return;
            }
        }
    }

    /// Waits until the thread is asked, or a pause is over; whether it is the latter, and whether the store closes.
    fn wait(&self) -> (bool, bool) {
        let mut queue = self.queue();
        let idle = |queue: &mut Queue| !queue.asked && !queue.closed;
        let mut pause = false;
        if self.records.waiting() == 0 {
            queue = self.asked.wait_while(queue, idle).unwrap_or_else(PoisonError::into_inner);
        } else {
            let waited = self.asked.wait_timeout_while(queue, PAUSE, idle);
            let (after, result) = waited.unwrap_or_else(PoisonError::into_inner);
            (queue, pause) = (after, result.timed_out());
        }
        queue.asked = false;
        (pause, queue.closed)
    }
}
