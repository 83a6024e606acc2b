//! One route in use: which release and replica a request gets.

use super::{
    Ejection, Route,
    gate::Gate,
    measure::Stats,
    meters::{Meter, Meters},
    replica::Replica,
    shadow::Comparisons,
};
use crate::model::{Release, VersionNumber};
use http::HeaderValue;
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst},
    },
};

/// How a request chooses its release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    Weight,
    /// By the caller's key: its hash, spread evenly over all numbers.
    Key(u64),
    Version(VersionNumber),
    Preview,
    Shadow,
}

/// Why no replica was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    Route,
    Replica,
    Version(VersionNumber),
    Preview,
}

/// A route with what is counted of it.
pub struct RouteState {
    pub config: Route,
    pub releases: Vec<Arc<ReleaseState>>,
    /// Places in `releases`: the order in which keys are given out, so that a newer version that grows keeps its callers.
    newest_first: Vec<usize>,
    pub gate: Arc<Gate>,
    pub comparisons: Arc<Comparisons>,
    counter: AtomicU64,
    copied: AtomicU64,
    /// Set once another route took its place.
    retired: AtomicBool,
}

pub struct ReleaseState {
    pub release: Release,
    pub weight: u32,
    /// `v7`
    pub header: HeaderValue,
    pub replicas: Vec<Arc<Replica>>,
    /// Whether it may answer when no release with weight can, having none itself.
    may_stand_in: bool,
    ejection: Ejection,
    next: AtomicUsize,
    pub stats: Arc<Stats>,
    pub meter: Arc<Meter>,
    /// Held while a replica is ejected, so that two workers do not eject one each.
    ejecting: Mutex<()>,
}

/// A request's hold on a replica; counted until dropped.
pub struct Lease {
    pub replica: Arc<Replica>,
    pub release: Arc<ReleaseState>,
    /// Whether the release has no share, and answers since none that has one can.
    pub stands_in: bool,
}
impl Lease {
    fn new(release: &Arc<ReleaseState>, replica: &Arc<Replica>, stands_in: bool) -> Self {
        replica.begin();
        release.stats.begin();
        Self { replica: replica.clone(), release: release.clone(), stands_in }
    }
    /// The answer broke off after it had begun.
    pub fn broke_off(&self, worker: usize, now_ms: u64) {
        self.release.stats.broke_off(worker, now_ms);
        self.release.failed(&self.replica, now_ms);
    }
}
impl Drop for Lease {
    fn drop(&mut self) {
        self.replica.end();
        self.release.stats.end();
    }
}

/// Weights are spread over this many places.
const PLACES: u64 = 100_000;
/// Coprime to `PLACES` and near its golden section: consecutive requests visit all places evenly, so that any window
/// of requests is split as the weights say to within a few requests.
const STRIDE: u64 = 61_803;

/// Counts on, and says which of `PLACES` is next.
fn next_place(counter: &AtomicU64) -> u64 {
    (counter.fetch_add(1, Relaxed) % PLACES) * STRIDE % PLACES
}

impl RouteState {
    /// The route, with what was counted of the one before it.
    pub fn new(
        config: Route,
        old: Option<&Self>,
        meters: &Meters,
        workers: usize,
        mut replica: impl FnMut(SocketAddr) -> Arc<Replica>,
    ) -> Self {
        let aside = [config.preview, config.shadow.map(|s| s.release)];
        let mut releases: Vec<Arc<ReleaseState>> = Vec::with_capacity(config.releases.len());
        for r in &config.releases {
            let before = old.and_then(|o| o.releases.iter().find(|b| b.release == r.release));
            let stats = before.map(|b| match b.weight == r.weight {
                true => b.stats.clone(),
                false => Arc::new(b.stats.reweighted(workers)),
            });
            // Counted by version, whatever its weight and however it is run.
            let version = r.release.version;
            let same = |b: &&Arc<ReleaseState>| b.meter.version() == version;
            let meter = old.and_then(|o| o.releases.iter().find(same)).or_else(|| releases.iter().find(same));
            let meter = meter.map(|b| b.meter.clone());
            let meter = meter.unwrap_or_else(|| Arc::new(meters.release(&config.environment, &config.model, version)));
            releases.push(Arc::new(ReleaseState {
                release: r.release,
                weight: r.weight,
                // `v` and digits always make a header value.
                header: HeaderValue::from_str(&version.to_string())
                    .unwrap_or_else(|_| HeaderValue::from_static("unknown")),
                replicas: r.replicas.iter().map(|a| replica(*a)).collect(),
                may_stand_in: r.weight == 0 && !aside.contains(&Some(r.release)),
                ejection: config.ejection,
                next: AtomicUsize::new(before.map_or(0, |b| b.next.load(Relaxed))),
                stats: stats.unwrap_or_else(|| Arc::new(Stats::new(workers))),
                meter,
                ejecting: Mutex::default(),
            }));
        }
        let mut newest_first: Vec<usize> = (0..releases.len()).collect();
        newest_first.sort_by_key(|i| std::cmp::Reverse(releases[*i].release));
        let gate = old.map(|o| o.gate.clone()).unwrap_or_default();
        gate.set(config.limit);
        let comparisons = old.filter(|o| o.config.shadow == config.shadow).map(|o| o.comparisons.clone());
        let counted = |which: fn(&Self) -> &AtomicU64| AtomicU64::new(old.map_or(0, |o| which(o).load(Relaxed)));
        Self {
            releases,
            newest_first,
            gate,
            comparisons: comparisons.unwrap_or_default(),
            counter: counted(|o| &o.counter),
            copied: counted(|o| &o.copied),
            retired: AtomicBool::new(false),
            config,
        }
    }

    /// Another route has taken its place.
    pub fn retire(&self) {
        self.retired.store(true, SeqCst);
    }
    /// Asked after a replica was leased: whoever is told no is seen by everybody who asks for held requests after [`Self::retire`].
    pub fn is_retired(&self) -> bool {
        self.retired.load(SeqCst)
    }
    /// Whether this request is one of those that are copied.
    pub fn is_copied(&self) -> bool {
        self.config.shadow.is_some_and(|s| next_place(&self.copied) < u64::from(s.share))
    }
    /// Where a caller's key stands in this route.
    pub fn key(&self, key: &[u8]) -> Choice {
        let mut hasher = blake3::Hasher::new();
        // Salted, so that it is not the same callers who get the new version of every model.
        for part in
            [self.config.environment.as_str().as_bytes(), b"/", self.config.model.as_str().as_bytes(), b"/", key]
        {
            hasher.update(part);
        }
        let mut first = [0; 8];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        Choice::Key(u64::from_le_bytes(first))
    }

    /// The release whose turn it is, where one with a replica has a share; and whether another may answer in its place: whoever asks for one
    /// release gets that or none.
    fn candidates(&self, choice: Choice) -> Result<(Option<usize>, bool), Missing> {
        let serves = |r: &ReleaseState| !r.replicas.is_empty();
        let one = |release: Release| self.releases.iter().position(|r| r.release == release);
        let found = match choice {
            Choice::Weight | Choice::Key(_) => return Ok((self.by_weight(choice), true)),
            Choice::Version(version) => {
                let found = self.releases.iter().position(|r| r.release.version == version && serves(r));
                found.ok_or(Missing::Version(version))
            }
            Choice::Preview => self.config.preview.and_then(one).ok_or(Missing::Preview),
            Choice::Shadow => self.config.shadow.and_then(|s| one(s.release)).ok_or(Missing::Replica),
        };
        found.map(|i| (Some(i), false))
    }
    fn by_weight(&self, choice: Choice) -> Option<usize> {
        let weight = |i: usize| {
            let r = &self.releases[i];
            if r.replicas.is_empty() { 0 } else { u64::from(r.weight) }
        };
        let total: u64 = (0..self.releases.len()).map(weight).sum();
        if total == 0 {
            return None;
        }
        let mut below = 0;
        let mut within = |i: usize, place: u64| {
            below += weight(i);
            place < below
        };
        if let Choice::Key(hash) = choice {
            let place = ((u128::from(hash) * u128::from(total)) >> 64) as u64;
            return self.newest_first.iter().copied().find(|i| within(*i, place));
        }
        let place = next_place(&self.counter) * total / PLACES;
        (0..self.releases.len()).find(|i| within(*i, place))
    }

    /// The release by choice, its next replica that was not tried and is well; else what comes closest. One without a share answers only while no
    /// replica of those with one is well.
    pub fn pick(&self, choice: Choice, tried: &[SocketAddr], now_ms: u64) -> Result<Lease, Missing> {
        let (first, by_weight) = self.candidates(choice)?;
        let untried = |r: &&Arc<Replica>| !tried.contains(&r.address);
        let good = |r: &&Arc<Replica>| untried(r) && !r.is_doubtful(now_ms);
        let chosen = first.map(|i| &self.releases[i]);
        let others = self.releases.iter().enumerate().filter(|(i, r)| by_weight && Some(*i) != first && r.weight > 0);
        let mut sharing = chosen.into_iter().chain(others.map(|(_, r)| r));
        if let Some(lease) = sharing.find_map(|r| r.in_turn().find(good).map(|replica| Lease::new(r, replica, false))) {
            return Ok(lease);
        }
        let standing_by = || self.releases.iter().filter(|r| by_weight && r.may_stand_in);
        let well = standing_by().find_map(|r| r.in_turn().find(good).map(|replica| Lease::new(r, replica, true)));
        let any = |r: &Arc<ReleaseState>, stands_in| {
            let found = r.in_turn().find(untried).or_else(|| r.in_turn().next());
            found.map(|replica| Lease::new(r, replica, stands_in))
        };
        let found = well.or_else(|| chosen.and_then(|r| any(r, false)));
        found.or_else(|| standing_by().find_map(|r| any(r, true))).ok_or(Missing::Replica)
    }
}

impl ReleaseState {
    fn in_turn(&self) -> impl Iterator<Item = &Arc<Replica>> {
        let n = self.replicas.len();
        let start = if n > 1 { self.next.fetch_add(1, Relaxed) } else { 0 };
        (0..n).map(move |i| &self.replicas[(start.wrapping_add(i)) % n])
    }
    /// A replica answered 5xx, broke off or could not be reached; after several such in a row it is passed over.
    pub fn failed(&self, replica: &Replica, now_ms: u64) {
        if replica.failed(&self.ejection) && self.eject(replica, now_ms) {
            tracing::warn!(
                "replica {} of {} failed too often: it is passed over",
                replica.address,
                self.release.version
            );
            self.meter.ejected();
        }
    }
    /// Passes a replica over, unless half of the others are; whether it is.
    pub fn eject(&self, replica: &Replica, now_ms: u64) -> bool {
        let _one = self.ejecting.lock().unwrap_or_else(PoisonError::into_inner);
        let out = self.replicas.iter().filter(|r| r.is_ejected(now_ms)).count();
        if replica.is_ejected(now_ms) || (out + 1) * 2 > self.replicas.len() {
            return false;
        }
        replica.eject(now_ms, &self.ejection);
        true
    }
}
