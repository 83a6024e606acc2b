//! The limit on the requests that a model works on at a time, and the queue before it.

use crate::model::RequestLimit;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::oneshot;

/// Counts the requests of one route; stays when the route changes.
#[derive(Default)]
pub struct Gate(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// Tickets that are out.
    running: u32,
    waiting: VecDeque<oneshot::Sender<Ticket>>,
    concurrent: u32,
}

/// Leave to work on one request, until dropped.
pub struct Ticket(Arc<Gate>);
impl Drop for Ticket {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.running -= 1;
        self.0.admit(inner);
    }
}

/// The queue is full.
pub struct Full;

impl Gate {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The limit changed: those who wait may be let in.
    pub fn set(self: &Arc<Self>, limit: Option<RequestLimit>) {
        let mut inner = self.lock();
        inner.concurrent = limit.map_or(u32::MAX, |l| l.concurrent);
        self.admit(inner);
    }

    /// A ticket at once, or a place in the queue that becomes one.
    pub fn enter(self: &Arc<Self>, limit: RequestLimit) -> Result<Result<Ticket, oneshot::Receiver<Ticket>>, Full> {
        let mut inner = self.lock();
        if inner.running < inner.concurrent && inner.waiting.is_empty() {
            inner.running += 1;
            return Ok(Ok(Ticket(self.clone())));
        }
        if inner.waiting.len() >= limit.queue as usize {
            // Whoever stopped waiting leaves the queue here: only a full one is looked through.
            inner.waiting.retain(|w| !w.is_closed());
        }
        if inner.waiting.len() >= limit.queue as usize {
            return Err(Full);
        }
        let (sender, receiver) = oneshot::channel();
        inner.waiting.push_back(sender);
        Ok(Err(receiver))
    }

    /// Lets in who waited longest. Tickets go out without the lock: one that nobody takes comes back through it.
    fn admit<'a>(self: &'a Arc<Self>, mut inner: MutexGuard<'a, Inner>) {
        loop {
            if inner.running >= inner.concurrent {
                return;
            }
            let Some(next) = inner.waiting.pop_front() else { return };
            if next.is_closed() {
                continue;
            }
            inner.running += 1;
            drop(inner);
            // Not taken: its drop has let in the next one.
            let _ = next.send(Ticket(self.clone()));
            inner = self.lock();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_are_bounded_and_passed_on_in_turn() {
        let gate = Arc::new(Gate::default());
        let limit = RequestLimit { concurrent: 1, queue: 2 };
        gate.set(Some(limit));
        let enter = || gate.enter(limit).ok();
        let waits = || enter().and_then(Result::err).unwrap();
        let first = enter().and_then(Result::ok).unwrap();
        let (mut second, third) = (waits(), waits());
        assert!(enter().is_none(), "the queue is full");
        // Who stopped waiting gives its place away, and is passed over.
        drop(third);
        let mut fourth = waits();
        assert!(second.try_recv().is_err());
        drop(first);
        let ticket = second.try_recv();
        assert!(ticket.is_ok() && fourth.try_recv().is_err());
        gate.set(Some(RequestLimit { concurrent: 2, queue: 2 }));
        assert!(fourth.try_recv().is_ok(), "a raised limit lets in");
        drop(ticket);
        assert!(enter().is_some_and(|e| e.is_ok()));
        assert_eq!(gate.lock().running, 0);
    }
}
