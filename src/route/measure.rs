//! What is measured of a release: since its weight changed, over the last ten seconds, and how many requests the last minutes had.

use super::Window;
use crate::model::LatencyBucket;
use hdrhistogram::Histogram;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

/// Seconds that `recent` covers.
const RECENT: u64 = 10;
/// Milliseconds of one slot of the history.
const SLOT_MS: u64 = 15_000;
/// Slots that are kept: the one that is being filled, and five minutes before it.
const SLOTS: u64 = 21;

/// Measurements of one release, a part for each worker, so that none waits for another. Nothing is allocated before its first request.
pub struct Stats {
    in_flight: AtomicU64,
    last_ms: AtomicU64,
    /// What the release had before its weight changed.
    before: Vec<Slot>,
    parts: Box<[Mutex<Option<Box<Windows>>>]>,
    /// Of each worker, the requests that have no answer yet, and since when they wait; the oldest first.
    open: Box<[Mutex<BTreeMap<u64, Instant>>]>,
    next: AtomicU64,
}

/// A request that has no answer yet.
pub struct Waits {
    stats: Arc<Stats>,
    worker: usize,
    number: u64,
}
impl Drop for Waits {
    fn drop(&mut self) {
        self.stats.open(self.worker).remove(&self.number);
    }
}

/// Requests of a quarter of a minute.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// Its number since the router's start.
    at: u64,
    requests: u64,
}

struct Windows {
    epoch: Span,
    /// One slot a second, reused in turn.
    seconds: [Span; RECENT as usize],
    /// Reused in turn, too.
    slots: [Slot; SLOTS as usize],
}

struct Span {
    second: u64,
    requests: u64,
    errors: u64,
    stood_in: u64,
    /// Microseconds.
    latency: Histogram<u32>,
}

impl Span {
    /// `None` only when the precision is out of range, which it is not.
    fn new(digits: u8) -> Option<Self> {
        Some(Self { second: 0, requests: 0, errors: 0, stood_in: 0, latency: Histogram::new(digits).ok()? })
    }
    fn clear(&mut self, second: u64) {
        (self.second, self.requests, self.errors, self.stood_in) = (second, 0, 0, 0);
        self.latency.reset();
    }
    fn record(&mut self, micros: u64, error: bool) {
        self.requests += 1;
        self.errors += u64::from(error);
        // Out of range only past 2^63 microseconds.
        let _ = self.latency.record(micros.max(1));
    }
    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.stood_in += other.stood_in;
        // Fails only for values out of range of a histogram that grows by itself.
        let _ = self.latency.add(&other.latency);
    }
    fn window(&self) -> Window {
        let [p50_ms, p90_ms, p99_ms] = percentiles(&self.latency);
        Window { requests: self.requests, errors: self.errors, p50_ms, p90_ms, p99_ms, stood_in: self.stood_in }
    }
}

/// The 50th, 90th and 99th in milliseconds, of a histogram of microseconds.
pub fn percentiles(latency: &Histogram<u32>) -> [f64; 3] {
    [0.5, 0.9, 0.99].map(|q| latency.value_at_quantile(q) as f64 / 1000.0)
}

impl Windows {
    fn new() -> Option<Box<Self>> {
        let spans: Vec<Span> = (0..RECENT).filter_map(|_| Span::new(2)).collect();
        Some(Box::new(Self { epoch: Span::new(3)?, seconds: spans.try_into().ok()?, slots: Default::default() }))
    }
    fn second(&mut self, second: u64) -> &mut Span {
        let slot = &mut self.seconds[(second % RECENT) as usize];
        if slot.second != second {
            slot.clear(second);
        }
        slot
    }
    fn count(&mut self, now_ms: u64) {
        let at = now_ms / SLOT_MS;
        let slot = &mut self.slots[(at % SLOTS) as usize];
        if slot.at != at {
            *slot = Slot { at, requests: 0 };
        }
        slot.requests += 1;
    }
}

impl Stats {
    pub fn new(workers: usize) -> Self {
        let parts = (0..workers.max(1)).map(|_| Mutex::default()).collect();
        let open = (0..workers.max(1)).map(|_| Mutex::default()).collect();
        let none = || AtomicU64::new(0);
        Self { in_flight: none(), last_ms: none(), before: vec![], parts, open, next: none() }
    }
    /// Nothing measured yet of a release with another weight; its history goes on.
    pub fn reweighted(&self, workers: usize) -> Self {
        Self { before: self.slots(), last_ms: AtomicU64::new(self.last_ms()), ..Self::new(workers) }
    }
    /// A request begins.
    pub fn begin(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }
    /// A request is over.
    pub fn end(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }
    /// Requests that have begun and not ended.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Relaxed)
    }
    /// When the last answer began, on the router's clock.
    pub fn last_ms(&self) -> u64 {
        self.last_ms.load(Relaxed)
    }
    /// An answer began after `micros`, or failed.
    pub fn record(&self, worker: usize, now_ms: u64, micros: u64, error: bool) {
        if self.last_ms.load(Relaxed) != now_ms {
            self.last_ms.store(now_ms, Relaxed);
        }
        let mut part = self.part(worker);
        if part.is_none() {
            *part = Windows::new();
        }
        if let Some(w) = part.as_mut() {
            w.epoch.record(micros, error);
            w.second(now_ms / 1000).record(micros, error);
            w.count(now_ms);
        }
    }
    /// An answer that was recorded as good broke off.
    pub fn broke_off(&self, worker: usize, now_ms: u64) {
        if let Some(w) = self.part(worker).as_mut() {
            w.epoch.errors += 1;
            w.second(now_ms / 1000).errors += 1;
        }
    }
    /// An answer was that of a release without a share.
    pub fn stood_in(&self, worker: usize, now_ms: u64) {
        if let Some(w) = self.part(worker).as_mut() {
            w.epoch.stood_in += 1;
            w.second(now_ms / 1000).stood_in += 1;
        }
    }
    /// A request waits for its answer from `begun` until this is dropped.
    pub fn waits(self: &Arc<Self>, worker: usize, begun: Instant) -> Waits {
        let number = self.next.fetch_add(1, Relaxed);
        self.open(worker).insert(number, begun);
        Waits { stats: self.clone(), worker, number }
    }
    fn open(&self, worker: usize) -> MutexGuard<'_, BTreeMap<u64, Instant>> {
        self.open[worker % self.open.len()].lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Requests without an answer yet by how long they have waited at least, in steps of a hundredth.
    pub fn waiting(&self, now: Instant) -> Vec<LatencyBucket> {
        let Ok(mut waited) = Histogram::<u32>::new(2) else { return vec![] };
        for worker in 0..self.open.len() {
            for begun in self.open(worker).values() {
                let micros = now.saturating_duration_since(*begun).as_micros();
                // Out of range only past 2^63 microseconds.
                let _ = waited.record(u64::try_from(micros).unwrap_or(u64::MAX).max(1));
            }
        }
        let least = |micros| waited.lowest_equivalent(micros) as f64 / 1000.0;
        let one = |b: hdrhistogram::iterators::IterationValue<u32>| LatencyBucket {
            up_to: least(b.value_iterated_to()),
            requests: b.count_at_value().into(),
        };
        waited.iter_recorded().map(one).collect()
    }
    fn part(&self, worker: usize) -> MutexGuard<'_, Option<Box<Windows>>> {
        self.parts[worker % self.parts.len()].lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Requests since the weight changed by how long they took, in steps of a hundredth.
    pub fn latency(&self) -> Vec<LatencyBucket> {
        let Some(mut epoch) = Span::new(3) else { return vec![] };
        for worker in 0..self.parts.len() {
            self.part(worker).iter().for_each(|w| epoch.add(&w.epoch));
        }
        let buckets = epoch.latency.iter_log(1, 1.01).filter(|b| b.count_since_last_iteration() > 0);
        let one = |b: hdrhistogram::iterators::IterationValue<u32>| LatencyBucket {
            up_to: b.value_iterated_to() as f64 / 1000.0,
            requests: b.count_since_last_iteration(),
        };
        buckets.map(one).collect()
    }
    fn slots(&self) -> Vec<Slot> {
        let mut out = self.before.clone();
        for worker in 0..self.parts.len() {
            self.part(worker).iter().for_each(|w| out.extend(w.slots.iter().filter(|s| s.requests > 0)));
        }
        out
    }
    /// Requests of each whole quarter of a minute of the last five minutes, oldest first; empty when there were none.
    pub fn history(&self, now_ms: u64) -> Vec<u64> {
        let end = now_ms / SLOT_MS;
        let mut out = vec![0; (SLOTS - 1) as usize];
        for slot in self.slots() {
            let back = end.checked_sub(slot.at).filter(|back| *back > 0);
            let place = back.and_then(|back| out.len().checked_sub(back as usize));
            if let Some(cell) = place.and_then(|at| out.get_mut(at)) {
                *cell += slot.requests;
            }
        }
        if out.iter().all(|n| *n == 0) { vec![] } else { out }
    }
    /// (since the weight changed, the last ten seconds)
    pub fn read(&self, now_ms: u64) -> (Window, Window) {
        let oldest = (now_ms / 1000).saturating_sub(RECENT - 1);
        let (Some(mut epoch), Some(mut recent)) = (Span::new(3), Span::new(2)) else { return Default::default() };
        for worker in 0..self.parts.len() {
            let part = self.part(worker);
            let Some(w) = part.as_ref() else { continue };
            epoch.add(&w.epoch);
            w.seconds.iter().filter(|s| s.requests > 0 && s.second >= oldest).for_each(|s| recent.add(s));
        }
        (epoch.window(), recent.window())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_count_and_forget() {
        let s = Stats::new(2);
        assert_eq!(s.read(0), Default::default());
        for i in 1..=100u64 {
            s.record(i as usize % 2, 1_000, i * 1000, i > 90);
        }
        let (epoch, recent) = s.read(5_000);
        assert_eq!((epoch.requests, epoch.errors, recent.requests, recent.errors), (100, 10, 100, 10));
        assert!((epoch.p50_ms - 50.0).abs() < 0.5 && (epoch.p90_ms - 90.0).abs() < 1.0, "{epoch:?}");
        assert!((epoch.p99_ms - 99.0).abs() < 1.0, "{epoch:?}");
        let slow: u64 = s.latency().iter().filter(|b| b.up_to > 91.0).map(|b| b.requests).sum();
        assert!((9..=10).contains(&slow), "{:?}", s.latency());
        let (epoch, recent) = s.read(11_000);
        assert_eq!((epoch.requests, recent.requests), (100, 0));
        s.record(1, 11_500, 1, false);
        s.broke_off(1, 11_600);
        s.stood_in(1, 11_600);
        let recent = s.read(11_900).1;
        assert_eq!((recent.requests, recent.errors, recent.stood_in), (1, 1, 1));
    }

    #[test]
    fn who_waits_is_counted_by_how_long_until_the_answer_or_the_end() {
        use std::time::Duration;
        let s = Arc::new(Stats::new(2));
        let begun = Instant::now();
        let held: Vec<Waits> = (0..3).map(|n| s.waits(n, begun)).collect();
        let late = s.waits(1, begun + Duration::from_millis(900));
        let waiting = |ms| s.waiting(begun + Duration::from_millis(ms));
        let of = |ms, n| waiting(ms).iter().filter(|b| b.up_to >= n).map(|b| b.requests).sum::<u64>();
        assert_eq!((of(1_000, 0.0), of(1_000, 150.0), of(1_000, 980.0), of(1_000, 1_001.0)), (4, 3, 3, 0));
        drop(late);
        assert_eq!(of(2_000, 0.0), 3);
        drop(held);
        assert!(waiting(2_000).is_empty());
    }

    #[test]
    fn the_last_minutes_are_counted_in_whole_quarters_and_outlive_another_weight() {
        let s = Stats::new(2);
        assert!(s.history(1_000_000).is_empty());
        (0..5).for_each(|n| s.record(n, 15_000, 1, false));
        assert!(s.history(29_999).is_empty(), "its quarter is not over");
        s.record(0, 31_000, 1, false);
        let other = s.reweighted(1);
        other.record(0, 46_000, 1, false);
        let ends = |s: &Stats, now_ms, n: usize| s.history(now_ms).into_iter().rev().take(n).rev().collect::<Vec<_>>();
        assert_eq!(ends(&other, 60_000, 4), [0, 5, 1, 1]);
        assert_eq!(other.history(60_000).len(), 20);
        assert_eq!(other.history(15_000 + 20 * 15_000)[0], 5);
        assert_eq!(other.history(15_000 + 21 * 15_000)[0], 1, "five minutes are kept");
        assert!(other.history(10_000_000).is_empty());
    }
}
