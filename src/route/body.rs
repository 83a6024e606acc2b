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
/// How much of a body that nobody wants any more is read on, for how long, and how long its client may pause meanwhile.
pub const LINGER_BYTES: usize = 64 << 20;
pub const LINGER: Duration = Duration::from_secs(5);
pub const LINGER_PAUSE: Duration = Duration::from_secs(1);

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
///
/// Dropped before its end, it is read on for a moment: to a client that still sends, a connection that closes is a reset, which takes the
/// answer with it. Where the body ends in that moment, its connection stays.
pub struct Paced {
    /// `None` once there is nothing to read on.
    inner: Option<Incoming>,
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
        Self { inner: Some(inner), limit, left: limit, credit: stall, most: stall, waiting: None, begun, moved }
    }
    pub fn moved(&self) -> Moved {
        self.moved.clone()
    }
    /// All of it, in memory.
    pub async fn held(self) -> Result<Bytes, BodyFault> {
        Ok(self.collect().await?.to_bytes())
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        let rest = self.inner.take().filter(|rest| !rest.is_end_stream());
        // Without a runtime the router ends, and every connection with it.
        if let Some((rest, runtime)) = rest.zip(tokio::runtime::Handle::try_current().ok()) {
            runtime.spawn(async move { tokio::time::timeout(LINGER, read_on(rest)).await });
        }
    }
}

async fn read_on(mut rest: Incoming) {
    let mut read = 0;
    while let Ok(Some(Ok(frame))) = tokio::time::timeout(LINGER_PAUSE, rest.frame()).await {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > LINGER_BYTES {
            return;
        }
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = BodyFault;
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let this = &mut *self;
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        let Poll::Ready(frame) = Pin::new(inner).poll_frame(cx) else {
            let credit = this.credit;
            let (_, timer) = this.waiting.get_or_insert_with(|| {
                let now = Instant::now();
                (now, Box::pin(tokio::time::sleep_until(now + credit)))
            });
            ready!(timer.as_mut().poll(cx));
            this.inner = None;
            return Poll::Ready(Some(Err(BodyFault::Slow)));
        };
        if let Some((since, _)) = this.waiting.take() {
            this.credit = this.credit.saturating_sub(since.elapsed());
        }
        this.moved.store(u64::try_from(this.begun.elapsed().as_millis()).unwrap_or(u64::MAX), Relaxed);
        let frame = match frame {
            Some(Ok(frame)) => frame,
            other => {
                this.inner = None;
                return Poll::Ready(other.map(|f| f.map_err(BodyFault::Broken)));
            }
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
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }
    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}
