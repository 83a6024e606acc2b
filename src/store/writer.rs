//! Group commit: batches that wait become durable together, with one flush.
//!
//! Where batches come one at a time and the disk is quick, whoever hands one in commits it, and no thread is woken for it.
//! Else the store's own thread does. Another gives sled what was committed.

use super::{
    Batch, Committed, StoreError,
    committer::Committer,
    keeper::{self, Keeper, Signal},
    records::Records,
};
use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
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

/// A commit that takes longer is none for a thread that has others to serve.
const QUICK: Duration = Duration::from_millis(1);
/// After so many quick commits of one batch in a row the next is expected to be one, too. Many at once are better gathered by a thread.
const ALONE: u32 = 8;
/// Batches that wait, at most; further callers wait for room.
const WAITING: usize = 4096;
/// Batches in one flush, at most.
const GROUP: usize = 1024;

/// The way to the store's commits.
pub struct Writer {
    shared: Arc<Shared>,
    /// That of the commits, and the keeper's.
    threads: Mutex<Vec<JoinHandle<()>>>,
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
    wake: Condvar,
    /// Fewer wait.
    taken: Condvar,
    committer: Arc<Mutex<Committer>>,
    records: Arc<Records>,
    signal: Arc<Signal>,
    /// Quick commits of one batch, in a row.
    alone: AtomicU32,
}

impl Writer {
    /// Opens journal and sled, then starts the threads.
    pub fn start(records: &Arc<Records>, state: &Path) -> Result<Self, StoreError> {
        let signal = Arc::<Signal>::default();
        let (committer, content) = Committer::open(records, &signal, state)?;
        let committer = Arc::new(Mutex::new(committer));
        let keeper = Keeper {
            records: records.clone(),
            folder: state.to_owned(),
            committer: committer.clone(),
            signal: signal.clone(),
            content,
        };
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            taken: Condvar::new(),
            committer,
            records: records.clone(),
            signal,
            alone: AtomicU32::default(),
        });
        let closing = Closing(shared.clone());
        let named = |name: &str| std::thread::Builder::new().name(name.into());
        let io = |source| StoreError::Io { path: "store thread".into(), source };
        // One that cannot be started ends the other.
        let this = Self { shared, threads: Mutex::default() };
        this.keep(named("store").spawn(move || closing.0.serve()).map_err(io)?);
        this.keep(named("store-keeper").spawn(move || keeper.run()).map_err(io)?);
        Ok(this)
    }

    fn keep(&self, thread: JoinHandle<()>) {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
    }

    /// Hands a batch in and waits until it is durable.
    pub fn commit(&self, batch: Batch) -> Answer {
        let (send, receive) = channel();
        self.hand_in(batch, Reply::Thread(send))?.commit();
        receive.recv().map_err(|_| StoreError::Closed)?
    }

    /// Hands a batch in at once, in the order of calls; the future ends when it is durable. It is begun once the future is polled or dropped,
    /// or with another batch. One that comes alone is flushed by whoever polls, for whom a disk that stalls is a wait.
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
        self.shared.wake.notify_one();
        for thread in self.threads.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // A panic of the thread was answered to its callers as `Closed`.
            let _ = thread.join();
            // The first one has ended: nothing is committed any more.
            self.shared.signal.close();
        }
    }
}

/// A batch in the queue. Whoever drops it leaves what waits to the thread.
struct HandedIn(Arc<Shared>);

impl HandedIn {
    /// Commits the batch, where that is not the thread's.
    fn commit(self) {
        if self.0.alone.load(Relaxed) >= ALONE {
            self.0.lead();
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
struct Closing(Arc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.closed = true;
        let waiting = std::mem::take(&mut queue.waiting);
        drop(queue);
        self.0.taken.notify_all();
        // Not under the lock: who hears of it may hand in more.
        drop(waiting);
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the thread, once.
    fn ask(&self, queue: &mut Queue) {
        if !std::mem::replace(&mut queue.asked, true) {
            self.wake.notify_one();
        }
    }

    /// Commits the one batch that waits on the caller's thread, where nobody is at it.
    fn lead(&self) {
        let Ok(mut committer) = self.committer.try_lock() else { return };
        self.commit_one(&mut committer);
    }

    /// Commits the batch that waits, where it is the only one. With too much above sled it is left to the thread, which waits for the keeper.
    fn commit_one(&self, committer: &mut Committer) {
        let one: Vec<Request> = {
            let mut queue = self.queue();
            if queue.waiting.len() != 1 || self.records.bytes() > keeper::ABOVE {
                return;
            }
            queue.waiting.drain(..).collect()
        };
        self.commit(committer, one);
    }

    /// The thread.
    fn serve(&self) {
        loop {
            let closed = self.wait();
            loop {
                self.signal.wait_for_room(&self.records);
                let mut committer = self.committer.lock().unwrap_or_else(PoisonError::into_inner);
                let group = self.take();
                if group.is_empty() {
                    break;
                }
                self.commit(&mut committer, group);
            }
            if closed {
                return;
            }
        }
    }

    /// Those that wait, as many as one flush takes.
    fn take(&self) -> Vec<Request> {
        let mut queue = self.queue();
        let size = queue.waiting.len().min(GROUP);
        self.taken.notify_all();
        queue.waiting.drain(..size).collect()
    }

    fn commit(&self, committer: &mut Committer, group: Vec<Request>) {
        let (begun, size) = (Instant::now(), group.len());
        // Whoever leads has nothing to do with a fault of the store: those of the group hear that it is closed.
        let written = catch_unwind(AssertUnwindSafe(|| committer.commit(group))).unwrap_or_else(|_| {
            committer.stop("a commit broke off");
            false
        });
        let alone = written && size == 1 && begun.elapsed() < QUICK;
        self.alone.store(if alone { self.alone.load(Relaxed).saturating_add(1) } else { 0 }, Relaxed);
    }

    /// Waits until the thread is asked; whether the store closes.
    fn wait(&self) -> bool {
        let idle = |queue: &mut Queue| !queue.asked && !queue.closed;
        let mut queue = self.wake.wait_while(self.queue(), idle).unwrap_or_else(PoisonError::into_inner);
        queue.asked = false;
        queue.closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::Receiver;

    fn opened(dir: &Path) -> (Writer, Arc<Records>) {
        let records = Arc::new(Records::new(super::super::reopen_db(dir)));
        (Writer::start(&records, dir).unwrap(), records)
    }

    fn hand_in(writer: &Writer, key: &str, size: usize) -> (HandedIn, Receiver<Answer>) {
        let (send, receive) = channel();
        let batch = Batch::new().put_fact(key, &"x".repeat(size));
        (writer.hand_in(batch, Reply::Thread(send)).unwrap(), receive)
    }

    #[test]
    fn a_batch_alone_is_committed_by_its_caller() {
        let dir = tempfile::tempdir().unwrap();
        let (writer, records) = opened(dir.path());
        let (handed_in, receive) = hand_in(&writer, "a", 1);
        // The thread sleeps: nobody asked it.
        writer.shared.lead();
        assert!(receive.try_recv().unwrap().is_ok());
        drop((handed_in, writer));
        assert!(records.db().iter().count() > 1, "the keeper gave it to sled");
        drop(records);
        let (_writer, records) = opened(dir.path());
        assert_eq!(records.prefix(b"").next().unwrap().iter().count(), 1);
    }

    #[test]
    fn several_that_wait_are_left_to_the_thread_in_their_order() {
        let dir = tempfile::tempdir().unwrap();
        let (writer, _records) = opened(dir.path());
        let (first, second) = (hand_in(&writer, "a", 1), hand_in(&writer, "a", 2));
        writer.shared.lead();
        assert_eq!(writer.shared.queue().waiting.len(), 2);
        drop(second.0);
        assert!(second.1.recv().unwrap().is_ok() && first.1.recv().unwrap().is_ok());
        assert_eq!(writer.shared.queue().waiting.len(), 0);
    }

    #[test]
    fn with_too_much_above_sled_commits_wait_for_the_keeper() {
        let dir = tempfile::tempdir().unwrap();
        let (writer, records) = opened(dir.path());
        let shared = &writer.shared;
        // Held, nothing can be begun to be handed over.
        let mut committer = shared.committer.lock().unwrap();
        let (one, receive) = hand_in(&writer, "much", keeper::ABOVE + 1);
        shared.commit_one(&mut committer);
        assert!(receive.recv().unwrap().is_ok());
        let (two, receive) = hand_in(&writer, "more", 1);
        shared.commit_one(&mut committer);
        assert!(receive.try_recv().is_err() && records.bytes() > keeper::ABOVE);
        drop(committer);
        drop((one, two));
        assert!(receive.recv().unwrap().is_ok(), "the thread does it");
    }

    #[test]
    fn what_cannot_be_handed_on_is_waited_for_by_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let (writer, _records) = opened(dir.path());
        let (one, receive) = hand_in(&writer, "much", keeper::ABOVE + 1);
        {
            let mut committer = writer.shared.committer.lock().unwrap();
            writer.shared.commit_one(&mut committer);
            committer.stop("a test");
        }
        assert!(receive.recv().unwrap().is_ok());
        drop(one);
        assert!(matches!(writer.commit(Batch::new().put_fact("more", &1u8)), Err(StoreError::Stopped(_))));
    }

    #[test]
    fn a_poll_while_somebody_commits_is_answered_by_the_thread() {
        let dir = tempfile::tempdir().unwrap();
        let (writer, _records) = opened(dir.path());
        writer.shared.alone.store(ALONE, Relaxed);
        let held = writer.shared.committer.lock().unwrap();
        let mut waits = Box::pin(writer.submit(Batch::new().put_fact("a", &1u8)));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(waits.as_mut().poll(&mut context).is_pending());
        drop(held);
        assert!(futures::executor::block_on(waits).is_ok());
    }

    #[test]
    fn writers_that_outrun_the_keeper_read_what_they_wrote_and_lose_nothing() {
        const EACH: usize = 40;
        let dir = tempfile::tempdir().unwrap();
        let (writer, records) = opened(dir.path());
        // Past what may be above sled, and past what the journal may hold, several times over.
        let text = |thread: usize, n: usize| format!("{thread}-{n}-").repeat(50_000 + 10_000 * (n % 3));
        std::thread::scope(|s| {
            for thread in 0..4 {
                let (writer, records) = (&writer, &records);
                s.spawn(move || {
                    for n in 0..EACH {
                        let key = format!("{thread}-{}", n % 7);
                        writer.commit(Batch::new().put_fact(&key, &text(thread, n))).unwrap();
                        let stored = records.get(&super::super::key::fact(&key)).unwrap().unwrap();
                        let read: String = super::super::record::decode(b"", &stored).unwrap();
                        assert!(read == text(thread, n), "{thread} {n}");
                    }
                });
            }
        });
        drop((writer, records));
        let (_writer, records) = opened(dir.path());
        for thread in 0..4 {
            for n in EACH - 7..EACH {
                let stored = records.get(&super::super::key::fact(&format!("{thread}-{}", n % 7))).unwrap().unwrap();
                let read: String = super::super::record::decode(b"", &stored).unwrap();
                assert!(read == text(thread, n), "{thread} {n}");
            }
        }
    }

    #[test]
    fn nobody_hangs_at_a_full_queue_or_at_one_that_closes() {
        let dir = tempfile::tempdir().unwrap();
        let (writer, _records) = opened(dir.path());
        let held = writer.shared.committer.lock().unwrap();
        let waits: Vec<_> = (0..WAITING).map(|n| hand_in(&writer, &n.to_string(), 1)).collect();
        let (begins, begun) = channel();
        std::thread::scope(|s| {
            let late = s.spawn(|| {
                begins.send(()).unwrap();
                writer.commit(Batch::new().put_fact("late", &1u8))
            });
            begun.recv().unwrap();
            drop(held);
            assert!(late.join().unwrap().is_ok());
        });
        assert!(waits.iter().all(|(_, receive)| receive.recv().unwrap().is_ok()));
        drop(waits);
        let shared = writer.shared.clone();
        drop(writer);
        let closed = Writer { shared, threads: Mutex::default() };
        assert!(matches!(closed.commit(Batch::new()), Err(StoreError::Closed)));
    }
}
