//! Copies of requests for a release that callers do not see: its answers are compared with theirs, and thrown away.

use super::{
    Agreement, Shadow,
    body::Upload,
    compare,
    exchange::{Failure, Reuse, exchange},
    heads::SHADOW,
    measure::percentiles,
    split::{Choice, Lease, RouteState},
    table::Table,
};
use hdrhistogram::Histogram;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Bytes;
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// Copies of one route that may be under way.
const UNDER_WAY: u32 = 64;
/// Largest answer that is compared, in bytes.
const COMPARED: usize = 1 << 20;

/// What the comparisons of one route gave.
#[derive(Default)]
pub struct Comparisons {
    under_way: AtomicU32,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    shown: Agreement,
    numbers: u64,
    sum: f64,
    /// Microseconds.
    latency: Option<Histogram<u32>>,
}

impl Comparisons {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
    pub fn read(&self) -> Agreement {
        let counts = self.counts();
        let [p50_ms, p90_ms, p99_ms] = counts.latency.as_ref().map(percentiles).unwrap_or_default();
        let mean_difference = counts.sum / counts.numbers.max(1) as f64;
        Agreement { mean_difference, p50_ms, p90_ms, p99_ms, ..counts.shown }
    }
    pub fn skipped(&self) {
        self.counts().shown.skipped += 1;
    }
    fn failed(&self) {
        self.counts().shown.failed += 1;
    }
    fn answered(&self, took: Duration) {
        let mut counts = self.counts();
        if counts.latency.is_none() {
            counts.latency = Histogram::new(3).ok();
        }
        if let Some(latency) = &mut counts.latency {
            // Out of range only past 2^63 microseconds.
            let _ = latency.record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1));
        }
    }
    fn compared(&self, same_class: bool, found: compare::Difference) {
        let mut counts = self.counts();
        counts.numbers += found.numbers;
        counts.sum += found.sum;
        counts.shown.compared += 1;
        counts.shown.agreed += u64::from(same_class && !found.unequal);
        counts.shown.max_difference = counts.shown.max_difference.max(found.max);
    }
}

/// Counts a copy that is under way.
struct UnderWay(Arc<Comparisons>);
impl UnderWay {
    fn begin(of: &Arc<Comparisons>) -> Option<Self> {
        let free = of.under_way.fetch_update(Relaxed, Relaxed, |n| (n < UNDER_WAY).then_some(n + 1));
        free.ok().map(|_| Self(of.clone()))
    }
}
impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Relaxed);
    }
}

/// An answer as the caller got it.
pub struct Seen {
    status: StatusCode,
    parts: Vec<Bytes>,
}

/// Listens in on an answer, and hands it over once it is whole. Dropped before: there is nothing to compare.
pub struct Tee {
    seen: Seen,
    size: usize,
    to: oneshot::Sender<Seen>,
}
impl Tee {
    pub fn begin(&mut self, status: StatusCode) {
        self.seen.status = status;
    }
    /// Whether it still listens.
    pub fn hear(&mut self, part: &Bytes) -> bool {
        self.size += part.len();
        self.seen.parts.push(part.clone());
        self.size <= COMPARED
    }
    pub fn end(self) {
        // The shadow failed: nobody compares.
        let _ = self.to.send(self.seen);
    }
}

/// Sends a copy on its way, beside the request itself; what listens in on the answer to that.
pub fn send(
    table: &Arc<Table>,
    route: &Arc<RouteState>,
    worker: usize,
    copy: Option<Request<Upload>>,
    timeout: Duration,
) -> Option<Tee> {
    let shadow = route.config.shadow?;
    let comparisons = &route.comparisons;
    let lease = || table.lease(&mut route.clone(), Choice::Shadow, &[], table.now_ms()).ok();
    let ready = copy.zip(UnderWay::begin(comparisons)).and_then(|(copy, under_way)| Some((copy, under_way, lease()?)));
    let Some((mut copy, under_way, lease)) = ready else {
        comparisons.skipped();
        return None;
    };
    copy.headers_mut().insert(SHADOW, HeaderValue::from_static("1"));
    let (to, seen) = oneshot::channel();
    let comparisons = comparisons.clone();
    tokio::spawn(async move {
        // Until the end.
        let _under_way = under_way;
        let Some((status, body)) = ask(lease, worker, copy, timeout, &comparisons).await else {
            return comparisons.failed();
        };
        match tokio::time::timeout(timeout, seen).await {
            Ok(Ok(seen)) => judge(comparisons, shadow, seen, status, body).await,
            _ => comparisons.skipped(),
        }
    });
    Some(Tee { seen: Seen { status: StatusCode::OK, parts: vec![] }, size: 0, to })
}

/// The shadow's answer.
async fn ask(
    lease: Lease,
    worker: usize,
    copy: Request<Upload>,
    timeout: Duration,
    comparisons: &Comparisons,
) -> Option<(StatusCode, Bytes)> {
    let begun = Instant::now();
    let answer = match exchange(&lease.replica, worker, copy, Reuse::Fresh, timeout).await {
        Err(Failure::Unsent(copy)) => exchange(&lease.replica, worker, copy, Reuse::No, timeout).await,
        other => other,
    };
    let (response, link) = answer.ok()?;
    comparisons.answered(begun.elapsed());
    let status = response.status();
    let body = Limited::new(response.into_body(), COMPARED).collect();
    let body = tokio::time::timeout(timeout, body).await.ok()?.ok()?.to_bytes();
    lease.replica.give_back(worker, link);
    Some((status, body))
}

async fn judge(comparisons: Arc<Comparisons>, shadow: Shadow, seen: Seen, status: StatusCode, body: Bytes) {
    // Beside the workers, which carry requests.
    let judged = tokio::task::spawn_blocking(move || {
        let same_class = seen.status.as_u16() / 100 == status.as_u16() / 100;
        comparisons.compared(same_class, compare::bodies(&seen.parts.concat(), &body, shadow.tolerance));
    });
    // Fails only while the router ends.
    let _ = judged.await;
}
