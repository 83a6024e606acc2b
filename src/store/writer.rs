//! Group commit: whoever finds nobody committing takes every batch that waits, makes them durable with one flush, then answers all.
//!
//! So a caller that is alone pays for the flush and for no change of threads. It commits once: what came during its flush is the store's
//! thread's, which commits for as long as callers are many, and between gives sled what only the journal holds.

use super::{
    Batch, Committed, StoreError,
    batch::Op,
    content::{self, Content},
    guarded,
    journal::{Change, Journal},
    key, record,
    records::Records,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError,
        mpsc::{Sender, channel},
    },
    thread::JoinHandle,
    time::Duration,
};
use tokio::runtime::{Handle, RuntimeFlavor};

/// Room that the disk must have before anything is written: sled cannot be used any more once one of its own writes failed, and a
/// checkpoint of a full journal writes several times its size.
const ROOM: u64 = 16 * 1024 * 1024;

type Answer = Result<Committed, StoreError>;
type Request = (Batch, Reply);

/// Where the answer to a batch goes.
enum Reply {
    Thread(Sender<Answer>),
    Task(tokio::sync::oneshot::Sender<Answer>),
}

impl Reply {
    /// Who asked may have gone.
    fn send(self, answer: Answer) {
        match self {
            Self::Thread(to) => drop(to.send(answer)),
            Self::Task(to) => drop(to.send(answer)),
        }
    }
}

/// Past this size the journal's content is flushed into sled and the journal starts anew.
const JOURNAL_BYTES: u64 = 8 * 1024 * 1024;
/// Past so many bytes of changes above sled the thread hands them over: a start after a kill does it otherwise.
const ABOVE_BYTES: usize = 256 * 1024;
/// Past so many, who commits waits for sled: it is slower than the journal.
const ABOVE_MOST: usize = 4 * ABOVE_BYTES;
/// With nothing to do for so long, sled is given what it does not hold yet.
const PAUSE: Duration = Duration::from_millis(50);
/// Batches in one flush, at most.
const GROUP: usize = 1024;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The handle of an open store's writing.
pub struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Batches that wait, in the order in which they were handed in.
#[derive(Default)]
struct Line {
    waiting: VecDeque<Request>,
    /// sled or the journal is to be seen to.
    due: bool,
    /// The newest group was of several batches, or left some waiting.
    many: bool,
    /// The thread waits until it is called, however long.
    asleep: bool,
    /// Groups committed so far.
    groups: u64,
    closed: bool,
}

/// What callers and the thread share. Locks are taken in the order of the fields.
struct Shared {
    /// Held by who commits.
    front: Mutex<Front>,
    /// What sled holds; held by who gives it more.
    content: Mutex<Content>,
    line: Mutex<Line>,
    /// Calls the thread to the line.
    bell: Condvar,
    records: Arc<Records>,
    folder: PathBuf,
    /// The error after which nothing is written any more.
    stopped: OnceLock<String>,
}

struct Front {
    journal: Journal,
    /// Number of the newest group in the journal.
    seq: u64,
    next_event: u64,
}

/// The duty to see to a batch in the line. Dropped without [`Turn::take`], as when a client hangs up, it falls to the thread.
struct Turn(Option<Arc<Shared>>);

impl Turn {
    /// Commits, when nobody else does. On a runtime's worker its other tasks move elsewhere first; a runtime of one thread has no elsewhere.
    fn take(mut self) {
        let flavor = Handle::try_current().map(|runtime| runtime.runtime_flavor());
        if matches!(flavor, Ok(RuntimeFlavor::CurrentThread)) {
            return;
        }
        let Some(shared) = self.0.take() else { return };
        let Some(front) = shared.lead() else { return };
        match flavor {
            Ok(_) => tokio::task::block_in_place(|| shared.commit_waiting(front)),
            Err(_) => shared.commit_waiting(front),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            let _line = locked(&shared.line);
            shared.bell.notify_one();
        }
    }
}

impl Writer {
    /// Checks that sled holds what it acknowledged, applies what the journal holds beyond that, then starts the thread.
    pub fn start(records: &Arc<Records>, state: &Path) -> Result<Self, StoreError> {
        let db = records.db();
        let (mut journal, groups) = Journal::open(&state.join("journal"))?;
        let mut content = content::verify(db, state, groups.first().map(|g| g.seq))?;
        let held = content.seq;
        for group in groups.into_iter().filter(|g| g.seq > held) {
            let changes = group.changes.iter().map(|(k, v)| (k.as_slice(), v.as_deref()));
            content = apply(db, &content, group.seq, changes)?;
        }
        checkpoint(db, state, &content, &mut journal)?;
        let last = guarded(|| db.scan_prefix(key::EVENTS).next_back().transpose())?;
        let next_event = match last {
            Some((k, v)) => record::decode::<crate::model::Event>(&k, &v)?.seq + 1,
            None => 1,
        };
        let shared = Arc::new(Shared {
            front: Mutex::new(Front { journal, seq: content.seq, next_event }),
            content: Mutex::new(content),
            line: Mutex::default(),
            bell: Condvar::new(),
            records: records.clone(),
            folder: state.to_owned(),
            stopped: OnceLock::new(),
        });
        let served = shared.clone();
        let io = |source| StoreError::Io { path: "store thread".into(), source };
        let thread = std::thread::Builder::new().name("store".into()).spawn(move || served.serve()).map_err(io)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Hands a batch in and waits until it is durable.
    pub fn commit(&self, batch: Batch) -> Answer {
        let (send, receive) = channel();
        self.shared.hand_in(batch, Reply::Thread(send))?;
        if let Some(front) = self.shared.lead() {
            self.shared.commit_waiting(front);
        }
        receive.recv().map_err(|_| StoreError::Closed)?
    }

    /// Hands a batch in at once, in the order of calls; the future ends when it is durable.
    pub fn submit(&self, batch: Batch) -> impl Future<Output = Answer> + Send + use<> {
        let (send, receive) = tokio::sync::oneshot::channel();
        let handed_in = self.shared.hand_in(batch, Reply::Task(send));
        let turn = handed_in.map(|()| Turn(Some(self.shared.clone())));
        async move {
            turn?.take();
            receive.await.map_err(|_| StoreError::Closed)?
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        locked(&self.shared.line).closed = true;
        self.shared.bell.notify_one();
        if let Some(thread) = self.thread.take() {
            // After a panic of the thread there is nothing left to do: the journal has what sled does not.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn hand_in(&self, mut batch: Batch, reply: Reply) -> Result<(), StoreError> {
        if let Some(e) = batch.failed.take() {
            return Err(e);
        }
        let mut line = locked(&self.line);
        if line.closed {
            return Err(StoreError::Closed);
        }
        line.waiting.push_back((batch, reply));
        Ok(())
    }

    /// `front`, when the caller is to commit. It is not when somebody commits now, and no batch is forgotten then: who commits looks at the line
    /// again *after* it let go of `front`, and a caller finds `front` taken only after it stood in the line. Nor when callers are many: the
    /// thread costs them a change of threads for each group, leading costs one for each that leads.
    fn lead(&self) -> Option<MutexGuard<'_, Front>> {
        if locked(&self.line).many {
            self.bell.notify_one();
            return None;
        }
        match self.front.try_lock() {
            Ok(front) => Some(front),
            Err(TryLockError::Poisoned(front)) => Some(front.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Commits one group, then calls the thread to what is left to do.
    fn commit_waiting(&self, mut front: MutexGuard<'_, Front>) {
        let group: Vec<Request> = {
            let mut line = locked(&self.line);
            let count = line.waiting.len().min(GROUP);
            line.waiting.drain(..count).collect()
        };
        let several = group.len() > 1;
        // Whoever waits is answered even after a panic: it drops the group's replies, which says `Closed`.
        if !group.is_empty() && catch_unwind(AssertUnwindSafe(|| self.commit(&mut front, group))).is_err() {
            self.stop("a commit broke off");
        }
        let above = self.records.waiting();
        if above > ABOVE_MOST {
            self.hand_over();
        }
        let due = above > ABOVE_BYTES || front.journal.len() > JOURNAL_BYTES;
        drop(front);
        let mut line = locked(&self.line);
        line.groups += 1;
        line.many = several || !line.waiting.is_empty();
        line.due |= due;
        if line.due || line.asleep || !line.waiting.is_empty() {
            self.bell.notify_one();
        }
    }

    /// The thread's work, until the store is closed.
    fn serve(&self) {
        loop {
            let mut line = locked(&self.line);
            if std::mem::take(&mut line.due) {
                drop(line);
                self.hand_over();
                if locked(&self.front).journal.len() > JOURNAL_BYTES {
                    self.empty_journal();
                }
            } else if !line.waiting.is_empty() {
                drop(line);
                self.commit_waiting(locked(&self.front));
            } else if line.closed {
                break;
            } else if self.records.waiting() == 0 {
                line.asleep = true;
                let mut line = self.bell.wait(line).unwrap_or_else(PoisonError::into_inner);
                line.asleep = false;
            } else {
                let groups = line.groups;
                let waited = self.bell.wait_timeout(line, PAUSE).unwrap_or_else(PoisonError::into_inner);
                if waited.1.timed_out() && waited.0.groups == groups {
                    drop(waited);
                    self.hand_over();
                }
            }
        }
        self.empty_journal();
    }

    fn stop(&self, why: &str) {
        tracing::error!("the records cannot be written: {why}");
        // The first reason is the one that counts.
        let _ = self.stopped.set(why.to_owned());
    }

    /// Gives sled what only the journal holds. Commits go on meanwhile.
    fn hand_over(&self) {
        let mut content = locked(&self.content);
        // Without room it stays above sled: the journal has it, and nothing more is taken.
        if self.room().is_err() || self.records.waiting() == 0 {
            return;
        }
        let db = self.records.db();
        let done = self.records.hand_over(|seq, changes| {
            *content = apply(db, &content, seq, changes.iter().map(|(k, v)| (&**k, v.as_deref())))?;
            Ok(())
        });
        if let Err(e) = done {
            // The journal has what sled refused: only opening both anew brings them together again.
            self.stop(&e.to_string());
        }
    }

    /// Has sled hold everything durably, then starts the journal anew. Nothing is committed meanwhile.
    fn empty_journal(&self) {
        let mut front = locked(&self.front);
        self.hand_over();
        if self.room().is_err() || self.records.waiting() > 0 {
            return;
        }
        let content = locked(&self.content);
        if let Err(e) = checkpoint(self.records.db(), &self.folder, &content, &mut front.journal) {
            tracing::error!("the journal cannot be emptied: {e}");
        }
    }

    fn commit(&self, front: &mut Front, group: Vec<Request>) {
        let mut changes = BTreeMap::new();
        let mut created = BTreeSet::new();
        let mut next_event = front.next_event;
        let mut answers = Vec::new();
        for (batch, reply) in group {
            let answer = self.prepare(batch, &mut created, &mut next_event, &mut changes);
            answers.push((answer, reply));
        }
        let changes: Vec<Change> = changes.into_iter().collect();
        match self.write(front, changes) {
            Ok(()) => {
                front.next_event = next_event;
                answers.into_iter().for_each(|(answer, reply)| reply.send(answer));
            }
            Err(e) => answers.into_iter().for_each(|(_, reply)| reply.send(Err(again(&e)))),
        }
    }

    /// To the journal, then where readers find it.
    fn write(&self, front: &mut Front, changes: Vec<Change>) -> Result<(), StoreError> {
        self.room()?;
        // A group that sled never gets would leave a gap in its numbers once the journal starts anew.
        if changes.is_empty() {
            return Ok(());
        }
        front.journal.append(front.seq + 1, &changes)?;
        front.seq += 1;
        self.records.take(front.seq, changes);
        Ok(())
    }

    fn room(&self) -> Result<(), StoreError> {
        if let Some(why) = self.stopped.get() {
            return Err(StoreError::Stopped(why.clone()));
        }
        let io = |e: nix::errno::Errno| StoreError::Io { path: self.folder.clone(), source: e.into() };
        let disk = nix::sys::statvfs::statvfs(&self.folder).map_err(io)?;
        let free = disk.blocks_available().saturating_mul(disk.fragment_size());
        let mib = |bytes: u64| bytes / (1024 * 1024);
        if free < ROOM {
            let (free_mib, needed_mib) = (mib(free), mib(ROOM));
            return Err(StoreError::Full { state: self.folder.clone(), free_mib, needed_mib });
        }
        Ok(())
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

/// Applies changes up to a group, whole or not at all; returns the content after them.
fn apply<'a>(
    db: &sled::Db,
    before: &Content,
    seq: u64,
    changes: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
) -> Result<Content, StoreError> {
    let mut batch = sled::Batch::default();
    let mut after = before.clone();
    after.seq = seq;
    for (key, value) in changes {
        if let Some(old) = guarded(|| db.get(key))? {
            after.toggle(key, &old);
        }
        match value {
            Some(value) => {
                after.toggle(key, value);
                batch.insert(key, value);
            }
            None => batch.remove(key),
        }
    }
    batch.insert(key::CONTENT, record::encode(&after)?);
    guarded(|| db.apply_batch(batch))?;
    Ok(after)
}

/// Makes sled durable without the journal, notes how far it got, then empties the journal.
fn checkpoint(db: &sled::Db, state: &Path, content: &Content, journal: &mut Journal) -> Result<(), StoreError> {
    guarded(|| db.flush())?;
    content::note_durable(state, content.seq)?;
    journal.clear()
}
