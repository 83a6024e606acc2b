//! The routes in use, and which of them a request gets.

use super::{
    ReleaseStats, Route, RouteError, StatsAnswer,
    meters::Meters,
    replica::Replica,
    split::{Choice, Lease, Missing, RouteState},
};
use crate::model::Name;
use arc_swap::{ArcSwap, Guard};
use rpds::HashTrieMapSync;
use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Instant,
};

/// Whom a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup<'a> {
    /// `/models/NAME/`
    Live { model: &'a str },
    /// `/environments/ENV/models/NAME/`
    In { environment: &'a str, model: &'a str },
    /// `/previews/ENV/models/NAME/`
    Preview { environment: &'a str, model: &'a str },
}

/// All routes. A change replaces one route; requests read without a lock.
pub struct Table {
    maps: ArcSwap<Maps>,
    /// Also replicas that left the routes but still hold requests. Held while routes change.
    replicas: Mutex<HashMap<SocketAddr, Weak<Replica>>>,
    meters: Meters,
    started: Instant,
    workers: usize,
}

/// Shares what did not change: a change among many routes costs little.
#[derive(Clone, Default)]
struct Maps {
    environments: HashTrieMapSync<Name, HashTrieMapSync<Name, Arc<RouteState>>>,
    live: HashTrieMapSync<Name, Arc<RouteState>>,
}

impl Table {
    /// Without routes; measures for each of so many workers.
    pub fn new(workers: usize) -> Self {
        let (maps, replicas, meters) = (ArcSwap::default(), Mutex::default(), Meters::default());
        Self { maps, replicas, meters, started: Instant::now(), workers }
    }
    /// Milliseconds on the router's clock.
    pub fn now_ms(&self) -> u64 {
        self.ms_at(Instant::now())
    }
    /// Milliseconds on the router's clock at this instant.
    pub fn ms_at(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.started).as_millis()).unwrap_or(u64::MAX)
    }
    /// What was counted since the start.
    pub fn meters(&self) -> &Meters {
        &self.meters
    }
    fn read(&self) -> Guard<Arc<Maps>> {
        self.maps.load()
    }
    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, Weak<Replica>>> {
        self.replicas.lock().unwrap_or_else(PoisonError::into_inner)
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
    /// does not name: a request that leased one from the route before looks whether that is retired, and then picks again.
    pub fn put(&self, route: Route) {
        self.change(|_| vec![route]);
    }
    /// Replaces all routes.
    pub fn replace(&self, routes: Vec<Route>) {
        self.change(|maps| {
            let wanted: HashSet<(Name, Name)> =
                routes.iter().map(|r| (r.environment.clone(), r.model.clone())).collect();
            let gone = maps.routes().filter(|r| {
                let Route { environment, model, .. } = &r.config;
                !wanted.contains(&(environment.clone(), model.clone()))
            });
            gone.map(|r| Route { releases: vec![], ..r.config.clone() }).chain(routes).collect()
        });
    }
    fn change(&self, routes: impl FnOnce(&Maps) -> Vec<Route>) {
        let mut replicas = self.lock();
        let mut maps = Maps::clone(&self.read());
        let mut retired = vec![];
        for route in routes(&maps) {
            retired.extend(self.put_one(&mut maps, &mut replicas, route));
        }
        self.maps.store(Arc::new(maps));
        retired.iter().for_each(|old| old.retire());
        let left: Vec<SocketAddr> =
            retired.iter().flat_map(|o| &o.config.releases).flat_map(|r| r.replicas.clone()).collect();
        drop(retired);
        for address in left {
            // A replica that still holds requests stays listed until a later change or, at the latest, the sweep.
            if replicas.get(&address).is_some_and(|r| r.strong_count() == 0) {
                replicas.remove(&address);
            }
        }
        if replicas.len() > 1024 && replicas.len() == replicas.capacity() {
            replicas.retain(|_, r| r.strong_count() > 0);
        }
    }
    /// The route that this one takes the place of.
    fn put_one(
        &self,
        maps: &mut Maps,
        replicas: &mut HashMap<SocketAddr, Weak<Replica>>,
        config: Route,
    ) -> Option<Arc<RouteState>> {
        let (environment, model) = (config.environment.clone(), config.model.clone());
        let old = maps.get(environment.as_str(), model.as_str()).cloned();
        if maps.live.get(&model).is_some_and(|l| l.config.environment == environment) {
            maps.live.remove_mut(&model);
        }
        let mut models = maps.environments.get(&environment).cloned().unwrap_or_default();
        if config.releases.is_empty() {
            models.remove_mut(&model);
        } else {
            let state = RouteState::new(config, old.as_deref(), &self.meters, self.workers, |address| {
                if let Some(replica) = replicas.get(&address).and_then(Weak::upgrade) {
                    return replica;
                }
                let replica = Replica::new(address, self.workers);
                replicas.insert(address, Arc::downgrade(&replica));
                replica
            });
            let state = Arc::new(state);
            if state.config.live {
                maps.live.insert_mut(model.clone(), state.clone());
            }
            models.insert_mut(model, state);
        }
        maps.environments.insert_mut(environment, models);
        old
    }
    /// The routes in use.
    pub fn routes(&self) -> Vec<Route> {
        let mut routes: Vec<Route> = self.read().routes().map(|r| r.config.clone()).collect();
        routes.sort_by(|a, b| (&a.environment, &a.model).cmp(&(&b.environment, &b.model)));
        routes
    }
    /// The route of a request.
    pub fn find(&self, whom: Lookup<'_>) -> Option<Arc<RouteState>> {
        let maps = self.read();
        match whom {
            Lookup::Live { model } => maps.live.get(model).cloned(),
            Lookup::In { environment, model } | Lookup::Preview { environment, model } => {
                maps.get(environment, model).cloned()
            }
        }
    }
    /// Picks a replica and counts the request on it; of `route`, or of what took its place.
    pub fn lease(
        &self,
        route: &mut Arc<RouteState>,
        choice: Choice,
        tried: &[SocketAddr],
        now_ms: u64,
    ) -> Result<Lease, Missing> {
        loop {
            let lease = route.pick(choice, tried, now_ms);
            if !route.is_retired() {
                return lease;
            }
            drop(lease);
            let Route { environment, model, .. } = &route.config;
            let next = self.read().get(environment.as_str(), model.as_str()).cloned();
            *route = next.ok_or(Missing::Route)?;
        }
    }
    /// The replica at this address, while a route names it or it holds requests.
    pub fn replica(&self, address: SocketAddr) -> Option<Arc<Replica>> {
        self.lock().get(&address)?.upgrade()
    }
    /// Lets go of connections that replicas have closed.
    pub fn sweep(&self) {
        let replicas: Vec<Arc<Replica>> = self.lock().values().filter_map(Weak::upgrade).collect();
        replicas.iter().for_each(|r| r.sweep());
    }
    /// Requests held by each replica that holds any.
    pub fn in_flight(&self) -> Vec<(SocketAddr, u64)> {
        let replicas = self.lock();
        let held = replicas.values().filter_map(Weak::upgrade).map(|r| (r.address, r.in_flight()));
        held.filter(|(_, n)| *n > 0).collect()
    }
    /// Measurements of one model, or of every release that had a request after `since`.
    pub fn stats(&self, of: Option<(&Name, &Name)>, since: Option<u64>) -> StatsAnswer {
        let now = Instant::now();
        let now_ms = self.ms_at(now);
        let maps = self.maps.load_full();
        let states: Vec<&Arc<RouteState>> = match of {
            Some((e, m)) => maps.get(e.as_str(), m.as_str()).into_iter().collect(),
            None => maps.routes().collect(),
        };
        let mut releases = vec![];
        for (state, r) in states.iter().flat_map(|s| s.releases.iter().map(move |r| (s, r))) {
            // What holds a request may hang: that it has not answered for long is no reason to leave it out.
            if since.is_some_and(|since| r.stats.last_ms() < since && r.stats.in_flight() == 0) {
                continue;
            }
            let (epoch, recent) = r.stats.read(now_ms);
            let shadows = state.config.shadow.is_some_and(|s| s.release == r.release);
            releases.push(ReleaseStats {
                environment: state.config.environment.clone(),
                model: state.config.model.clone(),
                release: r.release,
                weight: r.weight,
                in_flight: r.stats.in_flight(),
                epoch,
                recent,
                history: r.stats.history(now_ms),
                shadow: shadows.then(|| state.comparisons.read()),
                latency: if of.is_some() { r.stats.latency() } else { vec![] },
                open: if of.is_some() { r.stats.waiting(now) } else { vec![] },
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
        self.environments.values().flat_map(HashTrieMapSync::values)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Ejection, ReleaseRoute, Shadow},
        *,
    };
    use crate::model::{Digest, Release, VersionNumber};
    use http::HeaderValue;
    use std::collections::BTreeMap;

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

    fn lease(t: &Table, whom: Lookup<'_>, choice: Choice, tried: &[SocketAddr]) -> Result<Lease, Missing> {
        let mut route = t.find(whom).ok_or(Missing::Route)?;
        t.lease(&mut route, choice, tried, 0)
    }

    #[test]
    fn weights_hold_in_every_window() {
        for (a, b) in [(90_000, 10_000), (95_000, 5_000), (99_999, 1), (50_000, 50_000), (66_667, 33_333)] {
            let t = Table::new(1);
            t.put(route(1, vec![release(1, a, &[1]), release(2, b, &[2])]));
            for window in 0..20 {
                let n = (0..500)
                    .filter(|_| lease(&t, M, Choice::Weight, &[]).map(|l| l.release.header == "v2").unwrap_or(false))
                    .count();
                let want = 500.0 * f64::from(b) / 100_000.0;
                assert!((n as f64 - want).abs() <= 4.0, "window {window} of {a}/{b}: {n}, wanted {want}");
            }
        }
    }

    #[test]
    fn share_stays_with_those_that_have_replicas() {
        let t = Table::new(1);
        assert_eq!(lease(&t, M, Choice::Weight, &[]).err(), Some(Missing::Route));
        t.put(route(1, vec![release(1, 0, &[1]), release(2, 100_000, &[])]));
        assert_eq!(
            lease(&t, M, Choice::Weight, &[]).map(|l| l.release.header.clone()).ok(),
            Some(HeaderValue::from_static("v1"))
        );
        t.put(route(2, vec![release(1, 0, &[1]), release(2, 100_000, &[2])]));
        assert_eq!(
            lease(&t, M, Choice::Weight, &[]).map(|l| l.release.header.clone()).ok(),
            Some(HeaderValue::from_static("v2"))
        );
        t.put(route(3, vec![release(2, 100_000, &[])]));
        assert_eq!(lease(&t, M, Choice::Weight, &[]).err(), Some(Missing::Replica));
        assert!(matches!(t.check(&route(2, vec![])), Err(RouteError::Stale { current: 3 })));
        t.put(route(4, vec![]));
        assert_eq!(lease(&t, M, Choice::Weight, &[]).err(), Some(Missing::Route));
    }

    #[test]
    fn a_release_without_a_share_answers_only_while_no_replica_of_the_others_is_well() {
        let t = Table::new(1);
        let warm =
            || vec![release(1, 0, &[1]), release(2, 60_000, &[2]), release(3, 40_000, &[3]), release(4, 0, &[4])];
        let release_4 = warm()[3].release;
        t.put(Route { preview: Some(release_4), ..route(1, warm()) });
        let ask = |tried: &[SocketAddr], now_ms| {
            let mut route = t.find(M).unwrap();
            let lease = t.lease(&mut route, Choice::Weight, tried, now_ms).unwrap();
            (lease.replica.address.port(), lease.stands_in)
        };
        let all = |tried: &[SocketAddr]| {
            let mut seen: Vec<_> = (0..50).map(|_| ask(tried, 0)).collect();
            seen.sort_unstable();
            seen.dedup();
            seen
        };
        assert_eq!(all(&[]), [(2, false), (3, false)]);
        assert_eq!(all(&[addr(2)]), [(3, false)], "another that has a share goes first");
        assert_eq!(all(&[addr(2), addr(3)]), [(1, true)]);
        assert_eq!(all(&[addr(1), addr(2), addr(3)]).len(), 2, "what has a share is asked again before a preview");
        for port in [2, 3] {
            t.replica(addr(port)).unwrap().suspect(0);
        }
        assert_eq!((ask(&[], 0), ask(&[], 499)), ((1, true), (1, true)));
        assert!(!ask(&[], 500).1, "they are asked again soon");
        let forced = lease(&t, M, Choice::Version(VersionNumber(2)), &[addr(2)]);
        assert_eq!(forced.map(|l| l.replica.address.port()).ok(), Some(2), "who asks for one version gets that");
        // None has a replica.
        t.put(Route {
            preview: Some(release_4),
            ..route(2, vec![release(1, 0, &[]), release(2, 100_000, &[]), release(4, 0, &[4])])
        });
        assert_eq!(lease(&t, M, Choice::Weight, &[]).err(), Some(Missing::Replica), "a preview never stands in");
    }

    #[test]
    fn replicas_take_turns_and_tried_ones_are_avoided() {
        let t = Table::new(1);
        t.put(route(1, vec![release(1, 100_000, &[1, 2])]));
        let picked: Vec<u16> =
            (0..4).filter_map(|_| lease(&t, M, Choice::Weight, &[]).ok()).map(|l| l.replica.address.port()).collect();
        assert_eq!(picked, [1, 2, 1, 2]);
        for _ in 0..4 {
            assert_eq!(lease(&t, M, Choice::Weight, &[addr(1)]).map(|l| l.replica.address.port()).ok(), Some(2));
        }
    }

    #[test]
    fn a_removed_replica_is_known_while_it_holds_requests() {
        let t = Table::new(1);
        t.put(route(1, vec![release(1, 100_000, &[1])]));
        let lease = lease(&t, M, Choice::Weight, &[]).ok();
        t.put(route(2, vec![release(1, 100_000, &[2])]));
        assert_eq!(t.replica(addr(1)).map(|r| r.in_flight()), Some(1));
        drop(lease);
        assert!(t.replica(addr(1)).is_none());
    }

    #[test]
    fn a_request_that_held_an_older_route_gets_a_replica_of_the_newer() {
        let t = Table::new(1);
        t.put(route(1, vec![release(1, 100_000, &[1])]));
        let mut held = t.find(M).expect("a route");
        t.put(route(2, vec![release(1, 100_000, &[2])]));
        let lease = t.lease(&mut held, Choice::Weight, &[], 0).expect("a lease");
        assert_eq!((lease.replica.address, held.config.generation), (addr(2), 2));
        assert_eq!(t.replica(addr(1)).map_or(0, |r| r.in_flight()), 0);
        t.put(route(3, vec![]));
        assert_eq!(t.lease(&mut held, Choice::Weight, &[], 0).err(), Some(Missing::Route));
    }

    /// Who got which version, of a thousand callers.
    fn callers(t: &Table) -> BTreeMap<u32, VersionNumber> {
        let route = t.find(M).expect("a route");
        let one = |n: u32| {
            let lease = lease(t, M, route.key(&n.to_le_bytes()), &[]).expect("a lease");
            (n, lease.release.release.version)
        };
        (0..1000).map(one).collect()
    }

    #[test]
    fn callers_stick_and_stay_with_a_version_that_grows() {
        let t = Table::new(1);
        let mut on_new: Vec<u32> = vec![];
        for (generation, percent) in [(1, 10), (2, 25), (3, 50), (4, 100)] {
            let (old, new) = (release(1, 100_000 - percent * 1000, &[1]), release(2, percent * 1000, &[2]));
            // In whatever order the route names them.
            t.put(route(generation, if generation % 2 == 0 { vec![old, new] } else { vec![new, old] }));
            let now = callers(&t);
            assert_eq!(now, callers(&t), "the same again");
            assert!(on_new.iter().all(|n| now[n].0 == 2), "nobody goes back at {percent} %");
            on_new = now.iter().filter(|(_, v)| v.0 == 2).map(|(n, _)| *n).collect();
            let share = on_new.len() as f64 / 10.0;
            assert!((share - f64::from(percent)).abs() < 4.0, "{share} % of callers at {percent} %");
        }
    }

    #[test]
    fn previews_shadows_and_chosen_versions_never_stand_in_for_each_other() {
        let t = Table::new(1);
        let (one, two, three) = (release(1, 100_000, &[]), release(2, 0, &[2]), release(3, 0, &[3]));
        let shadow = Some(Shadow { release: three.release, share: 100_000, tolerance: 0.0 });
        let preview = Some(two.release);
        let base = Route { preview, shadow, ..route(1, vec![one, two, three]) };
        t.put(base.clone());
        let port = |choice| lease(&t, M, choice, &[]).map(|l| l.replica.address.port());
        assert_eq!(port(Choice::Weight), Err(Missing::Replica), "neither is approved");
        assert_eq!((port(Choice::Preview), port(Choice::Shadow)), (Ok(2), Ok(3)));
        assert_eq!(port(Choice::Version(VersionNumber(2))), Ok(2));
        for n in [1, 9] {
            assert_eq!(port(Choice::Version(VersionNumber(n))), Err(Missing::Version(VersionNumber(n))));
        }
        t.put(Route { preview: None, shadow: None, ..base });
        assert_eq!((port(Choice::Preview), port(Choice::Weight)), (Err(Missing::Preview), Ok(2)));
        let state = t.find(M).expect("a route");
        assert!(!state.is_copied(), "no shadow");
    }

    #[test]
    fn shares_of_copies_are_exact() {
        let t = Table::new(1);
        let r = release(1, 0, &[1]);
        let shadow = Some(Shadow { release: r.release, share: 1_000, tolerance: 0.0 });
        t.put(Route { shadow, ..route(1, vec![r, release(2, 100_000, &[2])]) });
        let state = t.find(M).expect("a route");
        assert_eq!((0..100_000).filter(|_| state.is_copied()).count(), 1_000);
    }

    #[test]
    fn at_most_half_are_ejected_and_the_last_never() {
        let ejection = Ejection { failures: 1, base_ms: 100, max_ms: 100 };
        for (replicas, most) in [(1u16, 0), (2, 1), (3, 1), (4, 2), (5, 2)] {
            let t = Table::new(1);
            let ports: Vec<u16> = (1..=replicas).collect();
            t.put(Route { ejection, ..route(1, vec![release(1, 100_000, &ports)]) });
            let state = t.find(M).expect("a route");
            let of = &state.releases[0];
            let out = of.replicas.iter().filter(|r| of.eject(r, 10)).count();
            assert_eq!(out, most, "of {replicas}");
            let mut route = state.clone();
            let asked: std::collections::BTreeSet<u16> = (0..20)
                .filter_map(|_| t.lease(&mut route, Choice::Weight, &[], 20).ok().map(|l| l.replica.address.port()))
                .collect();
            assert_eq!(asked.len(), usize::from(replicas) - most, "the others are asked");
            let again = t.lease(&mut route, Choice::Weight, &[], 111).expect("a lease");
            assert!(!again.replica.is_ejected(111), "back after its time");
        }
    }
}
