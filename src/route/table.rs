//! The routes in use, and which release and replica a request gets.

use super::{
    ReleaseStats, Route, RouteError, StatsAnswer,
    measure::Stats,
    meters::{Meter, Meters},
    pool::Replica,
};
use crate::model::{Name, Release};
use http::HeaderValue;
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

/// Whom a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup<'a> {
    /// `/models/NAME/`
    Live { model: &'a str },
    /// `/environments/ENV/models/NAME/`
    In { environment: &'a str, model: &'a str },
}

/// All routes. A change replaces one route; a request holds the read lock only while it picks.
pub struct Table {
    maps: RwLock<Maps>,
    meters: Meters,
    started: Instant,
}

#[derive(Default)]
struct Maps {
    environments: HashMap<Name, HashMap<Name, Arc<RouteState>>>,
    live: HashMap<Name, Arc<RouteState>>,
    /// Also replicas that left the routes but still hold requests.
    replicas: HashMap<SocketAddr, Weak<Replica>>,
}

struct RouteState {
    config: Route,
    releases: Vec<ReleaseState>,
    counter: AtomicU64,
}

struct ReleaseState {
    release: Release,
    weight: u32,
    header: HeaderValue,
    replicas: Vec<Arc<Replica>>,
    next: AtomicUsize,
    stats: Arc<Stats>,
    meter: Arc<Meter>,
}

/// Why no replica was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    Route,
    Replica,
}

/// A request's hold on a replica; counted until dropped.
pub struct Lease {
    pub replica: Arc<Replica>,
    pub stats: Arc<Stats>,
    pub meter: Arc<Meter>,
    /// `v7`
    pub version: HeaderValue,
}
impl Drop for Lease {
    fn drop(&mut self) {
        self.replica.end();
        self.stats.end();
    }
}

/// Weights are spread over this many places.
const PLACES: u64 = 100_000;
/// Coprime to `PLACES` and near its golden section: consecutive requests visit all places evenly, so that any window
/// of requests is split as the weights say to within a few requests.
const STRIDE: u64 = 61_803;

impl RouteState {
    fn choose(&self) -> Option<usize> {
        let total: u64 = self.releases.iter().filter(|r| !r.replicas.is_empty()).map(|r| u64::from(r.weight)).sum();
        if total == 0 {
            return self.releases.iter().position(|r| !r.replicas.is_empty());
        }
        let n = self.counter.fetch_add(1, Relaxed);
        let place = (n % PLACES) * STRIDE % PLACES * total / PLACES;
        let mut below = 0;
        self.releases.iter().position(|r| {
            let weight = if r.replicas.is_empty() { 0 } else { u64::from(r.weight) };
            below += weight;
            place < below
        })
    }
    /// The release by weight, its next replica that was not tried and is not suspect; else what comes closest.
    fn pick(&self, tried: &[SocketAddr], now_ms: u64) -> Option<Lease> {
        let first = self.choose()?;
        let lease = |r: &ReleaseState, replica: &Arc<Replica>| {
            replica.begin();
            r.stats.begin();
            let (stats, meter) = (r.stats.clone(), r.meter.clone());
            Lease { replica: replica.clone(), stats, meter, version: r.header.clone() }
        };
        let untried = |r: &&Arc<Replica>| !tried.contains(&r.address);
        let good = |r: &&Arc<Replica>| untried(r) && !r.is_suspect(now_ms);
        let mut others = (0..self.releases.len()).filter(|i| *i != first && self.releases[*i].weight > 0);
        std::iter::once(first)
            .chain(others.by_ref())
            .find_map(|i| self.releases[i].in_turn().find(good).map(|r| lease(&self.releases[i], r)))
            .or_else(|| self.releases[first].in_turn().find(untried).map(|r| lease(&self.releases[first], r)))
            .or_else(|| self.releases[first].in_turn().next().map(|r| lease(&self.releases[first], r)))
    }
}
impl ReleaseState {
    fn in_turn(&self) -> impl Iterator<Item = &Arc<Replica>> {
        let n = self.replicas.len();
        let start = if n > 1 { self.next.fetch_add(1, Relaxed) } else { 0 };
        (0..n).map(move |i| &self.replicas[(start.wrapping_add(i)) % n])
    }
}

impl Default for Table {
    fn default() -> Self {
        Self { maps: RwLock::default(), meters: Meters::default(), started: Instant::now() }
    }
}

impl Table {
    /// Milliseconds on the router's clock.
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
    /// What was counted since the start.
    pub fn meters(&self) -> &Meters {
        &self.meters
    }
    fn read(&self) -> RwLockReadGuard<'_, Maps> {
        self.maps.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this route may replace the one in use.
    pub fn check(&self, route: &Route) -> Result<(), RouteError> {
        match self.read().get(route.environment.as_str(), route.model.as_str()) {
            Some(old) if old.config.generation > route.generation => {
                Err(RouteError::Stale { current: old.config.generation })
            }
            _ => Ok(()),
        }
    }
    /// Replaces one route; without releases it goes. Once this returned, no new request gets a replica that the route
    /// does not name: requests are counted on a replica under the same lock.
    pub fn put(&self, route: Route) {
        let mut maps = self.maps.write().unwrap_or_else(PoisonError::into_inner);
        maps.put(route, &self.meters);
    }
    /// Replaces all routes.
    pub fn replace(&self, routes: Vec<Route>) {
        let mut maps = self.maps.write().unwrap_or_else(PoisonError::into_inner);
        let wanted: std::collections::HashSet<(Name, Name)> =
            routes.iter().map(|r| (r.environment.clone(), r.model.clone())).collect();
        let gone: Vec<Route> = maps
            .routes()
            .filter(|r| !wanted.contains(&(r.config.environment.clone(), r.config.model.clone())))
            .map(|r| Route { releases: vec![], ..r.config.clone() })
            .collect();
        for route in gone.into_iter().chain(routes) {
            maps.put(route, &self.meters);
        }
    }
    /// The routes in use.
    pub fn routes(&self) -> Vec<Route> {
        let mut routes: Vec<Route> = self.read().routes().map(|r| r.config.clone()).collect();
        routes.sort_by(|a, b| (&a.environment, &a.model).cmp(&(&b.environment, &b.model)));
        routes
    }
    /// Picks a replica and counts the request on it.
    pub fn lease(&self, whom: Lookup<'_>, tried: &[SocketAddr]) -> Result<Lease, Missing> {
        let now_ms = self.now_ms();
        let maps = self.read();
        let route = match whom {
            Lookup::Live { model } => maps.live.get(model),
            Lookup::In { environment, model } => maps.get(environment, model),
        };
        route.ok_or(Missing::Route)?.pick(tried, now_ms).ok_or(Missing::Replica)
    }
    /// The replica at this address, while a route names it or it holds requests.
    pub fn replica(&self, address: SocketAddr) -> Option<Arc<Replica>> {
        self.read().replicas.get(&address)?.upgrade()
    }
    /// Requests held by each replica that holds any.
    pub fn in_flight(&self) -> Vec<(SocketAddr, u64)> {
        let maps = self.read();
        let held = maps.replicas.values().filter_map(Weak::upgrade).map(|r| (r.address, r.in_flight()));
        held.filter(|(_, n)| *n > 0).collect()
    }
    /// Measurements of one model, or of every release that had a request after `since`.
    pub fn stats(&self, of: Option<(&Name, &Name)>, since: Option<u64>) -> StatsAnswer {
        let now_ms = self.now_ms();
        let states: Vec<Arc<RouteState>> = {
            let maps = self.read();
            match of {
                Some((e, m)) => maps.get(e.as_str(), m.as_str()).cloned().into_iter().collect(),
                None => maps.routes().cloned().collect(),
            }
        };
        let mut releases = vec![];
        for (state, r) in states.iter().flat_map(|s| s.releases.iter().map(move |r| (s, r))) {
            if since.is_some_and(|since| r.stats.last_ms() < since) {
                continue;
            }
            let (epoch, recent) = r.stats.read(now_ms);
            let (environment, model) = (state.config.environment.clone(), state.config.model.clone());
            let in_flight = r.stats.in_flight();
            releases.push(ReleaseStats {
                environment,
                model,
                release: r.release,
                weight: r.weight,
                in_flight,
                epoch,
                recent,
                shadow: None,
            });
        }
        StatsAnswer { now_ms, releases }
    }
}

impl Maps {
    fn get(&self, environment: &str, model: &str) -> Option<&Arc<RouteState>> {
        self.environments.get(environment)?.get(model)
    }
    fn routes(&self) -> impl Iterator<Item = &Arc<RouteState>> {
        self.environments.values().flat_map(HashMap::values)
    }
    fn put(&mut self, config: Route, meters: &Meters) {
        let (environment, model) = (config.environment.clone(), config.model.clone());
        let old = self.get(environment.as_str(), model.as_str()).cloned();
        if self.live.get(&model).is_some_and(|l| l.config.environment == environment) {
            self.live.remove(&model);
        }
        if config.releases.is_empty() {
            if let Some(models) = self.environments.get_mut(&environment) {
                models.remove(&model);
            }
        } else {
            let state = Arc::new(self.build(config, old.as_deref(), meters));
            if state.config.live {
                self.live.insert(model.clone(), state.clone());
            }
            self.environments.entry(environment).or_default().insert(model, state);
        }
        let left: Vec<SocketAddr> =
            old.iter().flat_map(|o| &o.releases).flat_map(|r| &r.replicas).map(|r| r.address).collect();
        drop(old);
        for address in left {
            // A replica that still holds requests stays listed until a later change or, at the latest, the sweep.
            if self.replicas.get(&address).is_some_and(|r| r.strong_count() == 0) {
                self.replicas.remove(&address);
            }
        }
        if self.replicas.len() > 1024 && self.replicas.len() == self.replicas.capacity() {
            self.replicas.retain(|_, r| r.strong_count() > 0);
        }
    }
    fn build(&mut self, config: Route, old: Option<&RouteState>, meters: &Meters) -> RouteState {
        let mut releases: Vec<ReleaseState> = Vec::with_capacity(config.releases.len());
        for r in &config.releases {
            let before = old.and_then(|o| o.releases.iter().find(|b| b.release == r.release));
            let stats = before.filter(|b| b.weight == r.weight).map(|b| b.stats.clone()).unwrap_or_default();
            // Counted by version, whatever its weight and however it is run.
            let version = r.release.version;
            let same = |b: &&ReleaseState| b.meter.version() == version;
            let meter = old.and_then(|o| o.releases.iter().find(same)).or_else(|| releases.iter().find(same));
            let meter = meter.map(|b| b.meter.clone());
            let meter = meter.unwrap_or_else(|| Arc::new(meters.release(&config.environment, &config.model, version)));
            let replicas = r.replicas.iter().map(|a| self.replica(*a)).collect();
            // `v` and digits always make a header value.
            let header = HeaderValue::from_str(&r.release.version.to_string())
                .unwrap_or_else(|_| HeaderValue::from_static("unknown"));
            let next = AtomicUsize::new(before.map_or(0, |b| b.next.load(Relaxed)));
            releases.push(ReleaseState { release: r.release, weight: r.weight, header, replicas, next, stats, meter });
        }
        RouteState { config, releases, counter: AtomicU64::new(old.map_or(0, |o| o.counter.load(Relaxed))) }
    }
    fn replica(&mut self, address: SocketAddr) -> Arc<Replica> {
        if let Some(replica) = self.replicas.get(&address).and_then(Weak::upgrade) {
            return replica;
        }
        let replica = Replica::new(address);
        self.replicas.insert(address, Arc::downgrade(&replica));
        replica
    }
}

#[cfg(test)]
mod tests {
    use super::{super::ReleaseRoute, *};
    use crate::model::{Digest, VersionNumber};

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }
    fn release(n: u32, weight: u32, ports: &[u16]) -> ReleaseRoute {
        let release = Release { version: VersionNumber(n), serve: Digest::of(b"") };
        ReleaseRoute { release, weight, replicas: ports.iter().map(|p| addr(*p)).collect() }
    }
    fn route(generation: u64, releases: Vec<ReleaseRoute>) -> Route {
        let name = |s| Name::new(s).expect("name");
        Route::new(name("prod"), name("m"), generation, true, releases)
    }
    const M: Lookup<'static> = Lookup::Live { model: "m" };

    #[test]
    fn weights_hold_in_every_window() {
        for (a, b) in [(90_000, 10_000), (95_000, 5_000), (99_999, 1), (50_000, 50_000), (66_667, 33_333)] {
            let t = Table::default();
            t.put(route(1, vec![release(1, a, &[1]), release(2, b, &[2])]));
            for window in 0..20 {
                let n = (0..500).filter(|_| t.lease(M, &[]).map(|l| l.version == "v2").unwrap_or(false)).count();
                let want = 500.0 * f64::from(b) / 100_000.0;
                assert!((n as f64 - want).abs() <= 4.0, "window {window} of {a}/{b}: {n}, wanted {want}");
            }
        }
    }

    #[test]
    fn share_stays_with_those_that_have_replicas() {
        let t = Table::default();
        assert_eq!(t.lease(M, &[]).err(), Some(Missing::Route));
        t.put(route(1, vec![release(1, 0, &[1]), release(2, 100_000, &[])]));
        assert_eq!(t.lease(M, &[]).map(|l| l.version.clone()).ok(), Some(HeaderValue::from_static("v1")));
        t.put(route(2, vec![release(1, 0, &[1]), release(2, 100_000, &[2])]));
        assert_eq!(t.lease(M, &[]).map(|l| l.version.clone()).ok(), Some(HeaderValue::from_static("v2")));
        t.put(route(3, vec![release(2, 100_000, &[])]));
        assert_eq!(t.lease(M, &[]).err(), Some(Missing::Replica));
        assert!(matches!(t.check(&route(2, vec![])), Err(RouteError::Stale { current: 3 })));
        t.put(route(4, vec![]));
        assert_eq!(t.lease(M, &[]).err(), Some(Missing::Route));
    }

    #[test]
    fn replicas_take_turns_and_tried_ones_are_avoided() {
        let t = Table::default();
        t.put(route(1, vec![release(1, 100_000, &[1, 2])]));
        let picked: Vec<u16> = (0..4).filter_map(|_| t.lease(M, &[]).ok()).map(|l| l.replica.address.port()).collect();
        assert_eq!(picked, [1, 2, 1, 2]);
        for _ in 0..4 {
            assert_eq!(t.lease(M, &[addr(1)]).map(|l| l.replica.address.port()).ok(), Some(2));
        }
    }

    #[test]
    fn a_removed_replica_is_known_while_it_holds_requests() {
        let t = Table::default();
        t.put(route(1, vec![release(1, 100_000, &[1])]));
        let lease = t.lease(M, &[]).ok();
        t.put(route(2, vec![release(1, 100_000, &[2])]));
        assert_eq!(t.replica(addr(1)).map(|r| r.in_flight()), Some(1));
        drop(lease);
        assert!(t.replica(addr(1)).is_none());
    }
}
