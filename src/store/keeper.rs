//! Gives sled what the journal holds, beside the commits: sled takes longer for a record than the disk for a flush.

use super::{
    StoreError,
    committer::{self, Committer},
    content::{self, Content},
    guarded,
    records::{Changes, Records},
};
use std::{
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// What is committed stays above sled for about so long, when it is not much.
const PAUSE: Duration = Duration::from_millis(50);
/// Bytes of changes that are gathered above sled: a start after a kill hands them over.
const GATHERED: usize = 256 * 1024;
/// Bytes above sled past which whoever commits waits for the keeper.
pub const ABOVE: usize = 2 * 1024 * 1024;
/// Room that the disk must have before sled is given a batch; commits are refused earlier.
const ROOM: u64 = 8 * 1024 * 1024;
/// Past this size the journal's content is flushed into sled and the journal starts anew.
const JOURNAL: u64 = 8 * 1024 * 1024;
/// Records that sled takes in one batch: while it does, no reader gets at it.
const SLICE: usize = 64;

/// What the keeper is told, and tells.
#[derive(Default)]
pub struct Signal {
    state: Mutex<State>,
    /// The keeper has something to do.
    asked: Condvar,
    /// Less is above sled.
    taken: Condvar,
}

#[derive(Default)]
struct State {
    asked: bool,
    closed: bool,
    /// What is above sled stays there: the disk is full, say.
    stuck: bool,
}

impl Signal {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was committed; `before`: bytes that were above sled. The keeper is woken once there is enough, or for the first of it.
    pub fn committed(&self, before: usize, now: usize) {
        if before == 0 || (before <= GATHERED && now > GATHERED) {
            self.state().asked = true;
            self.asked.notify_one();
        }
    }

    /// The keeper is to give sled everything, and end.
    pub fn close(&self) {
        self.state().closed = true;
        self.asked.notify_one();
        self.taken.notify_all();
    }

    /// Waits until not too much is above sled, or that cannot be changed: then the commit says why.
    pub fn wait_for_room(&self, records: &Records) {
        let full = |s: &mut State| !s.closed && !s.stuck && records.bytes() > ABOVE;
        drop(self.taken.wait_while(self.state(), full).unwrap_or_else(PoisonError::into_inner));
    }

    fn taken(&self, stuck: bool) {
        self.state().stuck = stuck;
        self.taken.notify_all();
    }
}

/// Runs on a thread of its own until it is told to close.
pub struct Keeper {
    pub records: Arc<Records>,
    pub folder: PathBuf,
    pub committer: Arc<Mutex<Committer>>,
    pub signal: Arc<Signal>,
    /// What sled holds.
    pub content: Content,
}

impl Keeper {
    pub fn run(mut self) {
        loop {
            let (pause, closed) = self.wait();
            if pause || self.records.recent_bytes() > GATHERED {
                self.hand_over();
            }
            if closed || self.committer().journal().len() > JOURNAL {
                self.empty_journal();
            }
            if closed {
                return;
            }
        }
    }

    fn committer(&self) -> MutexGuard<'_, Committer> {
        self.committer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the keeper is asked, or a pause is over; whether it is the latter, and whether the store closes.
    fn wait(&self) -> (bool, bool) {
        let state = self.signal.state();
        let idle = |s: &mut State| !s.asked && !s.closed;
        let (mut state, pause) = if self.records.bytes() == 0 {
            (self.signal.asked.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner), false)
        } else {
            let waited = self.signal.asked.wait_timeout_while(state, PAUSE, idle);
            let (state, result) = waited.unwrap_or_else(PoisonError::into_inner);
            (state, result.timed_out())
        };
        state.asked = false;
        (pause, state.closed)
    }

    /// Gives sled what only the journal holds. Commits go on meanwhile.
    fn hand_over(&mut self) {
        let begun = {
            let committer = self.committer();
            committer.seq().map(|seq| (seq, self.records.begin()))
        };
        // Without room it stays above sled: the journal has it, and nothing more is taken.
        let given = begun.and_then(|(seq, changes)| self.give(seq, &changes));
        self.given(given, |keeper, why| keeper.committer().stop(why));
    }

    /// Takes in whether sled was given what was begun; whether it was. What the disk has no room for is given later.
    fn given(&self, given: Result<(), StoreError>, stop: impl FnOnce(&Self, &str)) -> bool {
        self.signal.taken(given.is_err());
        match &given {
            Ok(()) | Err(StoreError::Full { .. } | StoreError::Stopped(_)) => {}
            Err(e) => {
                tracing::error!("the records cannot be written: {e}");
                // The journal has what sled refused: only opening both anew brings them together again.
                stop(self, &e.to_string());
            }
        }
        given.is_ok()
    }

    /// Gives sled these changes.
    fn give(&mut self, seq: u64, changes: &Changes) -> Result<(), StoreError> {
        if self.slices(seq, changes, usize::MAX)? {
            self.records.end();
        }
        Ok(())
    }

    /// Gives sled these changes a few at a time, in so many batches at most; whether that were all. Until the last of them it says that it holds
    /// what it held before: after a kill, or where there was no room, all are given again.
    fn slices(&mut self, seq: u64, changes: &Changes, most: usize) -> Result<bool, StoreError> {
        let mut left = changes.len();
        let mut changes = changes.iter();
        for _ in 0..most {
            if left == 0 {
                return Ok(true);
            }
            committer::room(&self.folder, ROOM)?;
            let size = left.min(SLICE);
            left -= size;
            let seq = if left == 0 { seq } else { self.content.seq };
            let slice = changes.by_ref().take(size).map(|(k, v)| (&**k, v.as_deref()));
            self.content = content::apply(self.records.db(), &self.content, seq, slice)?;
        }
        Ok(left == 0)
    }

    /// Gives sled all that the journal holds, durably. Commits wait for the last of it.
    fn empty_journal(&mut self) {
        /// Commits go on while the most is given; callers without a pause are not waited out.
        const ROUNDS: usize = 3;
        for _ in 0..ROUNDS {
            self.hand_over();
            if self.records.bytes() <= GATHERED {
                break;
            }
        }
        // What is on disk already need not be waited for under the lock; whether it works is seen there.
        let _ = guarded(|| self.records.db().flush());
        let committer = self.committer.clone();
        let mut committer = committer.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(seq) = committer.seq() else { return };
        let given = self.give(seq, &self.records.begin());
        if !self.given(given, |_, why| committer.stop(why)) {
            return;
        }
        if let Err(e) = content::checkpoint(self.records.db(), &self.folder, &self.content, committer.journal()) {
            tracing::error!("the journal cannot be emptied: {e}");
        }
    }
}

impl Drop for Keeper {
    /// However it ends, nobody waits for it; and where it broke off, nothing more is taken.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.committer().stop("what is committed cannot be handed on");
        }
        self.signal.taken(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Batch, reopen_db, writer::Reply};

    fn opened(dir: &std::path::Path) -> Keeper {
        let records = Arc::new(Records::new(reopen_db(dir)));
        let signal = Arc::<Signal>::default();
        let (committer, content) = Committer::open(&records, &signal, dir).unwrap();
        let committer = Arc::new(Mutex::new(committer));
        Keeper { records, folder: dir.to_owned(), committer, signal, content }
    }

    /// Puts each of these numbers, but those that a round leaves out: they are deleted.
    fn commit(keeper: &Keeper, numbers: std::ops::Range<u32>, round: u32) {
        let batch = numbers.fold(Batch::new(), |mut batch, n| {
            let key = format!("{n:03}");
            if (n + round).is_multiple_of(5) {
                batch.delete(crate::store::key::fact(&key));
                return batch;
            }
            batch.put_fact(&key, &(n * 10 + round))
        });
        let (send, receive) = std::sync::mpsc::channel();
        assert!(keeper.committer().commit(vec![(batch, Reply::Thread(send))]));
        receive.recv().unwrap().unwrap();
    }

    fn all(keeper: &Keeper) -> Vec<(Vec<u8>, Vec<u8>)> {
        let (mut all, mut found) = (keeper.records.prefix(b""), vec![]);
        while let Some((k, v)) = all.next().unwrap() {
            if *k != *crate::store::key::CONTENT {
                found.push((k.to_vec(), v.to_vec()));
            }
        }
        found
    }

    /// What sled says that it holds.
    fn said(keeper: &Keeper) -> Content {
        let noted = keeper.records.db().get(crate::store::key::CONTENT).unwrap();
        noted.map_or(Content::default(), |v| crate::store::record::decode(crate::store::key::CONTENT, &v).unwrap())
    }

    #[test]
    fn killed_while_sled_is_given_a_part_everything_is_there_and_provably_so() {
        let dir = tempfile::tempdir().unwrap();
        for slices in 0..6 {
            let mut keeper = opened(dir.path());
            let held = keeper.content.seq;
            commit(&keeper, 0..200, slices);
            commit(&keeper, 100..300, slices + 1);
            let wanted = all(&keeper);
            let (seq, changes) = (keeper.committer().seq().unwrap(), keeper.records.begin());
            assert!(seq == held + 2 && changes.len() > 4 * SLICE);
            let whole = keeper.slices(seq, &changes, slices as usize).unwrap();
            assert_eq!(whole, slices == 5);
            assert_eq!(said(&keeper).seq, if whole { seq } else { held }, "{slices}");
            assert_eq!(all(&keeper), wanted);
            keeper.records.db().flush().unwrap();
            // Not handed over to its end: what is opened next is told by the journal.
            drop(keeper);
            let mut keeper = opened(dir.path());
            assert_eq!(all(&keeper), wanted, "{slices}");
            commit(&keeper, 300..310, 0);
            keeper.empty_journal();
            assert_eq!((keeper.committer().journal().len(), said(&keeper).seq), (0, seq + 1));
        }
    }

    #[test]
    fn what_was_given_in_part_is_given_again_with_what_came_since() {
        let dir = tempfile::tempdir().unwrap();
        let mut keeper = opened(dir.path());
        commit(&keeper, 0..200, 1);
        let changes = keeper.records.begin();
        assert!(!keeper.slices(1, &changes, 2).unwrap());
        commit(&keeper, 100..300, 2);
        let wanted = all(&keeper);
        assert!(keeper.records.bytes() > keeper.records.recent_bytes() && keeper.records.recent_bytes() > 0);
        keeper.hand_over();
        assert_eq!((all(&keeper), said(&keeper).seq, keeper.records.bytes()), (wanted.clone(), 2, 0));
        drop(keeper);
        assert_eq!(all(&opened(dir.path())), wanted);
    }

    #[test]
    fn whoever_waits_for_room_hears_of_it_however_it_was_made() {
        for empties in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let mut keeper = opened(dir.path());
            let batch = Batch::new().put_fact("much", &"x".repeat(ABOVE + 1));
            let (send, receive) = std::sync::mpsc::channel();
            keeper.committer().commit(vec![(batch, Reply::Thread(send))]);
            receive.recv().unwrap().unwrap();
            let (signal, records) = (keeper.signal.clone(), keeper.records.clone());
            let (goes_on, waits) = std::sync::mpsc::channel();
            let waiting = std::thread::spawn(move || {
                signal.wait_for_room(&records);
                goes_on.send(()).unwrap();
            });
            assert!(waits.recv_timeout(Duration::from_millis(50)).is_err());
            if empties {
                keeper.empty_journal();
            } else {
                keeper.hand_over();
            }
            waits.recv_timeout(Duration::from_secs(20)).unwrap();
            waiting.join().unwrap();
        }
    }
}
