//! A future that is polled again at once where it was woken while it was polled.
//!
//! A connection of hyper wakes itself as the body of a request is read. tokio would put its task behind all others then and wake another
//! thread to take it over, for every request with a body.

use futures::task::AtomicWaker;
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
};

/// Polls in a row, at most: others have their turn, too.
const MOST: usize = 4;

/// See the module.
pub struct Again<F> {
    future: Pin<Box<F>>,
    wakes: Arc<Wakes>,
    waker: Waker,
}

/// What the future wakes.
#[derive(Default)]
struct Wakes {
    /// The future is being polled.
    polled: AtomicBool,
    /// The future was woken since its last poll began.
    woken: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // In this order: whoever polls ends that, then looks whether it was woken.
        self.woken.swap(true, SeqCst);
        if !self.polled.load(SeqCst) {
            self.task.wake();
        }
    }
}

impl<F> Again<F> {
    pub fn new(future: F) -> Self {
        let wakes = Arc::<Wakes>::default();
        Self { future: Box::pin(future), waker: wakes.clone().into(), wakes }
    }
}

impl<F: Future> Future for Again<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Self { future, wakes, waker } = &mut *self;
        wakes.task.register(context.waker());
        for _ in 0..MOST {
            // What the wake told of is seen by the poll: a plain store would not see to that.
            wakes.woken.swap(false, SeqCst);
            wakes.polled.store(true, SeqCst);
            let polled = future.as_mut().poll(&mut Context::from_waker(waker));
            wakes.polled.store(false, SeqCst);
            if polled.is_ready() || !wakes.woken.load(SeqCst) {
                return polled;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::task::{ArcWake, waker_ref};
    use std::{future::poll_fn, sync::atomic::AtomicUsize};

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl ArcWake for Task {
        fn wake_by_ref(this: &Arc<Self>) {
            this.0.fetch_add(1, SeqCst);
        }
    }

    /// Polls once; what came of it, and how often the task was woken so far.
    fn polled<F: Future + Unpin>(future: &mut F, task: &Arc<Task>) -> (Poll<F::Output>, usize) {
        let polled = Pin::new(future).poll(&mut Context::from_waker(&waker_ref(task)));
        (polled, task.0.load(SeqCst))
    }

    /// Wakes itself in so many polls, then waits, and keeps its waker.
    fn wakes_itself(times: usize, kept: Arc<AtomicWaker>) -> impl Future<Output = usize> {
        let mut polls = 0;
        poll_fn(move |context| {
            polls += 1;
            kept.register(context.waker());
            match polls {
                n if n <= times => context.waker().wake_by_ref(),
                n if n > times + 1 => return Poll::Ready(n),
                _ => {}
            }
            Poll::Pending
        })
    }

    #[test]
    fn one_that_wakes_itself_is_polled_again_and_its_task_not_woken() {
        let (task, kept) = (Arc::<Task>::default(), Arc::<AtomicWaker>::default());
        let mut future = Again::new(wakes_itself(MOST - 1, kept.clone()));
        assert_eq!(polled(&mut future, &task), (Poll::Pending, 0));
        kept.wake();
        assert_eq!(
            polled(&mut future, &task),
            (Poll::Ready(MOST + 1), 1),
            "what wakes it between polls wakes its task"
        );
    }

    #[test]
    fn one_that_wakes_itself_for_ever_lets_others_go_first() {
        let (task, kept) = (Arc::<Task>::default(), Arc::<AtomicWaker>::default());
        let mut future = Again::new(wakes_itself(usize::MAX - 1, kept));
        assert_eq!(polled(&mut future, &task), (Poll::Pending, 1));
        assert_eq!(polled(&mut future, &task), (Poll::Pending, 2));
    }

    #[test]
    fn no_wake_is_lost_between_threads() {
        const TIMES: usize = 100_000;
        let (send, mut receive) = tokio::sync::mpsc::unbounded_channel();
        let sender = std::thread::spawn(move || (0..TIMES).for_each(|n| send.send(n).unwrap()));
        let all = Again::new(async move {
            let mut seen = 0;
            while let Some(n) = receive.recv().await {
                assert_eq!(n, seen);
                seen += 1;
            }
            seen
        });
        assert_eq!(futures::executor::block_on(all), TIMES);
        sender.join().unwrap();
    }
}
