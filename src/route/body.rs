//! What a client sends, on its way to a replica: held when it is small, else passed on as it comes and kept at a pace.

use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep};

/// What is sent to a replica.
pub type Upload = Either<Full<Bytes>, Paced>;

/// Bodies up to this size are held, so that a request can be sent again.
pub const HELD: u64 = 64 << 10;
/// Bytes a second that a client must send on average, beyond what it may pause.
const SLOWEST: u32 = 500;

/// Why a body cannot be passed on.
#[derive(Debug, thiserror::Error)]
pub enum BodyFault {
    #[error("the request body is larger than {0} bytes")]
    TooLarge(u64),
    #[error("the request body did not arrive in time")]
    Slow,
    #[error("the request body broke off: {0}")]
    Broken(hyper::Error),
}

/// When a body last moved, in milliseconds since the request began. Shared with whoever waits for the answer.
pub type Moved = Arc<AtomicU64>;

/// A body with a limit on its size and on how slowly it comes. Time in which nobody asks for it does not count.
pub struct Paced {
    inner: Incoming,
    limit: u64,
    left: u64,
    /// How long the client may still pause; grows with what it sends.
    credit: Duration,
    most: Duration,
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
    begun: Instant,
    moved: Moved,
}

impl Paced {
    /// At most `limit` bytes; a pause of at most `stall`.
    pub fn new(inner: Incoming, limit: u64, stall: Duration) -> Self {
        let (begun, moved) = (Instant::now(), Moved::default());
        Self { inner, limit, left: limit, credit: stall, most: stall, waiting: None, begun, moved }
    }
    pub fn moved(&self) -> Moved {
        self.moved.clone()
    }
    /// All of it, in memory.
    pub async fn held(self) -> Result<Bytes, BodyFault> {
        Ok(self.collect().await?.to_bytes())
    }
    /// Reads on for a moment: a client that is still sending when the connection closes would never see the answer.
    pub async fn discard(mut self) {
        let all = async { while let Some(Ok(_)) = self.frame().await {} };
        let _ = tokio::time::timeout(Duration::from_millis(500), all).await;
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = BodyFault;
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) else {
            let credit = this.credit;
            let (_, timer) = this.waiting.get_or_insert_with(|| {
                let now = Instant::now();
                (now, Box::pin(tokio::time::sleep_until(now + credit)))
            });
            ready!(timer.as_mut().poll(cx));
            return Poll::Ready(Some(Err(BodyFault::Slow)));
        };
        if let Some((since, _)) = this.waiting.take() {
            this.credit = this.credit.saturating_sub(since.elapsed());
        }
        this.moved.store(u64::try_from(this.begun.elapsed().as_millis()).unwrap_or(u64::MAX), Relaxed);
        let frame = match frame {
            Some(Ok(frame)) => frame,
            other => return Poll::Ready(other.map(|f| f.map_err(BodyFault::Broken))),
        };
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        let earned = Duration::from_secs(1).saturating_mul(u32::try_from(bytes).unwrap_or(u32::MAX)) / SLOWEST;
        this.credit = (this.credit + earned).min(this.most);
        match this.left.checked_sub(bytes as u64) {
            Some(left) => this.left = left,
            None => return Poll::Ready(Some(Err(BodyFault::TooLarge(this.limit)))),
        }
        Poll::Ready(Some(Ok(frame)))
    }
    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
