//! Commits of our own wait in line while one push is under way, and then go into the next one together.

use crate::ports::{BotCommit, PortError, PortResult, Pushed};
use std::{
    collections::HashMap,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

#[derive(Debug, Default)]
struct State {
    given_out: u64,
    waiting: Vec<(u64, BotCommit)>,
    /// What became of those that were pushed and whose makers did not look yet.
    done: HashMap<u64, PortResult<Pushed>>,
    /// Somebody pushes: one at a time, as two would only race with each other.
    busy: bool,
}

/// Those who have something to push.
#[derive(Debug, Default)]
pub struct Line {
    state: Mutex<State>,
    moved: Condvar,
}

/// The commits of one push. Whatever happens to who pushes, everybody gets an answer, and the next push may begin.
struct Turn<'a> {
    line: &'a Line,
    numbers: Vec<u64>,
    outcomes: Vec<PortResult<Pushed>>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut s = self.line.lock();
        let given_up = || Err(PortError::retryable("the push was given up halfway"));
        let outcomes = self.outcomes.drain(..).chain(std::iter::repeat_with(given_up));
        s.done.extend(self.numbers.drain(..).zip(outcomes));
        s.busy = false;
        self.line.moved.notify_all();
    }
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the commit was pushed, by this thread or by another one. `write` pushes all that it is given, in their order, and says
    /// what became of each.
    pub fn push(
        &self,
        commit: &BotCommit,
        write: impl Fn(&[BotCommit]) -> Vec<PortResult<Pushed>>,
    ) -> PortResult<Pushed> {
        let mut s = self.lock();
        let own = s.given_out;
        s.given_out += 1;
        s.waiting.push((own, commit.clone()));
        loop {
            if let Some(outcome) = s.done.remove(&own) {
                return outcome;
            }
            if s.busy {
                s = self.moved.wait(s).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            s.busy = true;
            let (numbers, commits): (Vec<u64>, Vec<BotCommit>) = s.waiting.drain(..).unzip();
            drop(s);
            let mut turn = Turn { line: self, numbers, outcomes: vec![] };
            turn.outcomes = write(&commits);
            drop(turn);
            s = self.lock();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ObjectId;
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        sync::mpsc::channel,
    };

    fn commit(message: &str) -> BotCommit {
        BotCommit {
            files: vec![],
            message: message.into(),
            name: String::new(),
            email: String::new(),
            decided_on: ObjectId("".into()),
            guard: String::new(),
        }
    }

    /// Says of each commit what its message was.
    fn repeat(commits: &[BotCommit]) -> Vec<PortResult<Pushed>> {
        commits.iter().map(|c| Ok(Pushed::ReadOnly(c.message.clone()))).collect()
    }

    fn wait_for(line: &Line, waiting: usize) {
        while line.lock().waiting.len() < waiting {
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_waits_while_one_is_pushed_goes_into_the_next_push_together() {
        let line = Line::default();
        let ((begun, begins), (go, goes)) = (channel(), channel::<()>());
        let pushes = Mutex::new(Vec::new());
        let push = |message: String| {
            line.push(&commit(&message), |commits| {
                pushes.lock().unwrap().push(commits.len());
                repeat(commits)
            })
        };
        std::thread::scope(|scope| {
            let (first, line) = (commit("first"), &line);
            scope.spawn(move || {
                line.push(&first, |commits| {
                    begun.send(()).unwrap();
                    goes.recv().unwrap();
                    repeat(commits)
                })
            });
            begins.recv().unwrap();
            for n in 0..20 {
                let push = &push;
                scope.spawn(move || assert_eq!(push(n.to_string()).unwrap(), Pushed::ReadOnly(n.to_string())));
            }
            wait_for(line, 20);
            go.send(()).unwrap();
        });
        assert_eq!(*pushes.lock().unwrap(), [20]);
    }

    #[test]
    fn a_push_that_panics_leaves_nobody_waiting() {
        let line = Line::default();
        let ((begun, begins), (go, goes)) = (channel(), channel::<()>());
        std::thread::scope(|scope| {
            let line = &line;
            let leads = scope.spawn(move || {
                let push = |_: &[BotCommit]| {
                    begun.send(()).unwrap();
                    goes.recv().unwrap();
                    panic!("as the test wants")
                };
                catch_unwind(AssertUnwindSafe(|| line.push(&commit("leads"), push))).is_err()
            });
            begins.recv().unwrap();
            let follows = scope.spawn(move || line.push(&commit("follows"), repeat));
            wait_for(line, 1);
            go.send(()).unwrap();
            assert!(leads.join().unwrap());
            assert_eq!(follows.join().unwrap().unwrap(), Pushed::ReadOnly("follows".into()));
        });
    }
}
