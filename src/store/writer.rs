//! Group commit: one thread takes every batch that waits, makes them durable with one flush, then answers all.

use super::{
    Batch, Committed, StoreError,
    batch::Op,
    content::{self, Content},
    guarded,
    journal::{Change, Journal},
    key, record,
    records::Records,
};
use crate::model::EventKind;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

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
/// Bytes of changes that are kept above sled, at most: a start after a kill hands them over.
const ABOVE_BYTES: usize = 256 * 1024;
/// With nothing to do for so long, sled is given what it does not hold yet.
const PAUSE: Duration = Duration::from_millis(50);
/// Batches that wait, at most; further callers wait in line.
const WAITING: usize = 4096;
/// Batches in one flush, at most.
const GROUP: usize = 1024;

/// The writer thread's handle.
pub struct Writer {
    queue: Mutex<Option<SyncSender<Request>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
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
        let (send, receive) = sync_channel(WAITING);
        let (records, folder, seq) = (records.clone(), state.to_owned(), content.seq);
        let mut writer = State { records, folder, journal, seq, content, next_event, stopped: None };
        let body = move || writer.serve(&receive);
        let io = |source| StoreError::Io { path: "store thread".into(), source };
        let thread = std::thread::Builder::new().name("store".into()).spawn(body).map_err(io)?;
        Ok(Self { queue: Mutex::new(Some(send)), thread: Mutex::new(Some(thread)) })
    }

    /// Hands a batch in and waits until it is durable.
    pub fn commit(&self, batch: Batch) -> Answer {
        let (send, receive) = channel();
        self.hand_in(batch, Reply::Thread(send))?;
        receive.recv().map_err(|_| StoreError::Closed)?
    }

    /// Hands a batch in at once, in the order of calls; the future ends when it is durable.
    pub fn submit(&self, batch: Batch) -> impl Future<Output = Answer> + Send + use<> {
        let (send, receive) = tokio::sync::oneshot::channel();
        let handed_in = self.hand_in(batch, Reply::Task(send));
        async move {
            handed_in?;
            receive.await.map_err(|_| StoreError::Closed)?
        }
    }

    fn hand_in(&self, mut batch: Batch, reply: Reply) -> Result<(), StoreError> {
        if let Some(e) = batch.failed.take() {
            return Err(e);
        }
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(StoreError::Closed)?;
        queue.send((batch, reply)).map_err(|_| StoreError::Closed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A panic of the thread was answered to its callers as `Closed`.
            let _ = thread.join();
        }
    }
}

struct State {
    records: Arc<Records>,
    folder: std::path::PathBuf,
    journal: Journal,
    /// Number of the newest group in the journal.
    seq: u64,
    /// What sled holds.
    content: Content,
    next_event: u64,
    /// The error after which nothing is written any more.
    stopped: Option<String>,
}

impl State {
    fn serve(&mut self, queue: &Receiver<Request>) {
        loop {
            let first = match self.records.waiting() {
                0 => queue.recv().map_err(RecvTimeoutError::from),
                _ => queue.recv_timeout(PAUSE),
            };
            match first {
                Ok(first) => {
                    let mut group = vec![first];
                    group.extend(queue.try_iter().take(GROUP - 1));
                    self.commit(group);
                    if self.records.waiting() > ABOVE_BYTES {
                        self.hand_over();
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.hand_over(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.journal.len() > JOURNAL_BYTES && self.room().is_ok() {
                self.empty_journal();
            }
        }
        self.empty_journal();
    }

    /// Gives sled what only the journal holds.
    fn hand_over(&mut self) {
        // Without room it stays above sled: the journal has it, and nothing more is taken.
        if self.room().is_err() || self.records.waiting() == 0 {
            return;
        }
        let (db, before, seq) = (self.records.db(), &self.content, self.seq);
        let mut after = None;
        let done = self.records.hand_over(|changes| {
            after = Some(apply(db, before, seq, changes.iter().map(|(k, v)| (&**k, v.as_deref())))?);
            Ok(())
        });
        if let Err(e) = done {
            tracing::error!("the records cannot be written: {e}");
            // The journal has what sled refused: only opening both anew brings them together again.
            self.stopped = Some(e.to_string());
        } else if let Some(after) = after {
            self.content = after;
        }
    }

    fn empty_journal(&mut self) {
        self.hand_over();
        if self.records.waiting() > 0 {
            return;
        }
        if let Err(e) = checkpoint(self.records.db(), &self.folder, &self.content, &mut self.journal) {
            tracing::error!("the journal cannot be emptied: {e}");
        }
    }

    fn commit(&mut self, group: Vec<Request>) {
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
            Ok(()) => {
                self.next_event = next_event;
                answers.into_iter().for_each(|(answer, reply)| reply.send(answer));
            }
            Err(e) => answers.into_iter().for_each(|(_, reply)| reply.send(Err(again(&e)))),
        }
    }

    /// To the journal, then where readers find it.
    fn write(&mut self, changes: Vec<Change>) -> Result<(), StoreError> {
        self.room()?;
        // A group whose batches were all refused has no number: sled would never get it, and its absence would read as damage.
        if changes.is_empty() {
            return Ok(());
        }
        self.journal.append(self.seq + 1, &changes)?;
        self.seq += 1;
        self.records.take(changes);
        Ok(())
    }

    fn room(&self) -> Result<(), StoreError> {
        if let Some(why) = &self.stopped {
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
