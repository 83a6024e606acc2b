//! Gives sled what the journal holds, beside the commits: sled takes longer for a record than the disk for a flush.

use super::{
    StoreError,
    committer::Committer,
    content::{self, Content},
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
/// Bytes above sled past which whoever commits in groups waits for the keeper.
pub const ABOVE: usize = 4 * 1024 * 1024;
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
        let full = |s: &mut State| !s.closed && !s.stuck && records.recent_bytes() > ABOVE;
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
        let (mut state, pause) = if self.records.recent_bytes() == 0 {
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
            // Without room it stays above sled: the journal has it, and nothing more is taken.
            committer.seq().map(|seq| (seq, self.records.begin()))
        };
        self.signal.taken(begun.is_err());
        let Ok((seq, changes)) = begun else { return };
        if let Err(e) = self.give(seq, &changes) {
            tracing::error!("the records cannot be written: {e}");
            // The journal has what sled refused: only opening both anew brings them together again.
            self.committer().stop(&e.to_string());
        }
    }

    /// Gives sled these changes, a few at a time. Until the last of them it says that it holds what it held before: after a kill all are given again.
    fn give(&mut self, seq: u64, changes: &Changes) -> Result<(), StoreError> {
        let (db, mut left) = (self.records.db(), changes.len());
        let mut changes = changes.iter();
        while left > 0 {
            let size = left.min(SLICE);
            left -= size;
            let seq = if left == 0 { seq } else { self.content.seq };
            let slice = changes.by_ref().take(size).map(|(k, v)| (&**k, v.as_deref()));
            self.content = content::apply(db, &self.content, seq, slice)?;
        }
        self.records.end();
        Ok(())
    }

    /// Gives sled all that the journal holds, durably. Commits wait.
    fn empty_journal(&mut self) {
        self.hand_over();
        let committer = self.committer.clone();
        let mut committer = committer.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(seq) = committer.seq() else { return };
        let given = self.give(seq, &self.records.begin()).inspect_err(|e| committer.stop(&e.to_string()));
        let emptied = given
            .and_then(|()| content::checkpoint(self.records.db(), &self.folder, &self.content, committer.journal()));
        if let Err(e) = emptied {
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
    use crate::store::{Batch, open_db, writer::Reply};

    fn opened(dir: &std::path::Path) -> Keeper {
        let records = Arc::new(Records::new(open_db(dir).unwrap()));
        let signal = Arc::<Signal>::default();
        let (committer, content) = Committer::open(&records, &signal, dir).unwrap();
        let committer = Arc::new(Mutex::new(committer));
        Keeper { records, folder: dir.to_owned(), committer, signal, content }
    }

    fn commit(keeper: &Keeper, numbers: std::ops::Range<u32>, round: u32) {
        let batch = numbers.fold(Batch::new(), |batch, n| batch.put_fact(&format!("{n:03}"), &(n * 10 + round)));
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

    #[test]
    fn killed_while_sled_is_given_a_part_everything_is_there_and_provably_so() {
        let dir = tempfile::tempdir().unwrap();
        for slices in 0..5 {
            let mut keeper = opened(dir.path());
            commit(&keeper, 0..200, slices);
            commit(&keeper, 100..300, slices + 1);
            let wanted = all(&keeper);
            assert!(wanted.len() > 4 * SLICE);
            let (seq, changes) = (keeper.content.seq, keeper.records.begin());
            for n in 0..slices as usize {
                let slice = changes.iter().skip(n * SLICE).take(SLICE).map(|(k, v)| (&**k, v.as_deref()));
                keeper.content = content::apply(keeper.records.db(), &keeper.content, seq, slice).unwrap();
                assert_eq!(all(&keeper), wanted);
            }
            keeper.records.db().flush().unwrap();
            // Not handed over to its end: what is opened next is told by the journal.
            drop(keeper);
            let mut keeper = opened(dir.path());
            assert_eq!(all(&keeper), wanted, "{slices}");
            commit(&keeper, 300..310, 0);
            keeper.empty_journal();
            assert_eq!(keeper.committer().journal().len(), 0);
        }
    }

    #[test]
    fn commits_go_on_while_sled_is_given_what_came_before() {
        let dir = tempfile::tempdir().unwrap();
        let mut keeper = opened(dir.path());
        commit(&keeper, 0..40, 1);
        let changes = keeper.records.begin();
        commit(&keeper, 20..60, 2);
        let wanted = all(&keeper);
        keeper.give(1, &changes).unwrap();
        assert_eq!((all(&keeper), keeper.content.seq), (wanted.clone(), 1));
        keeper.hand_over();
        assert_eq!((all(&keeper), keeper.content.seq, keeper.records.recent_bytes()), (wanted, 2, 0));
    }
}
