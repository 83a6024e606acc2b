//! Serves releases as processes of this machine, behind the router process.
//!
//! ```text
//!  apply ──▶ supervisor (a task for each active model) ──▶ replica tasks ──▶ shims ──▶ replicas
//!                  └──▶ router: which ready replica gets what share
//! ```
//! Replicas and router outlive the daemon; the next one adopts them from what they left in `state/serve/` and `state/router/`.
//! Nothing polls for a model without replicas.

mod folder;
mod keeper;
mod launch;
mod layout;
mod probe;
mod replica;
mod runtime;
mod supervisor;

use crate::{
    model::*,
    ports::{ArtifactStore, Cancel, Manner, PortError, PortResult, Target, Wanted},
    route::{self, ReleaseStats, Route, RouteError, RouterClient, StatsAnswer, Window},
};
use folder::Adopted;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    future::Future,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::{Semaphore, watch};

pub use folder::replica_log;
pub use keeper::stop_everything;

/// A release whose Python environment is asked for.
pub struct PythonOf<'a> {
    pub version: &'a Version,
    pub serve: &'a ServeSpec,
    /// Has its `code` and its `artifact`.
    pub folder: &'a Path,
    /// Where the building of an environment is told.
    pub log: &'a Path,
    pub cancel: &'a Cancel,
}
/// Finds (and, where needed, makes) the folder with the programs of a release's Python environment; `None` where it has none of its own.
pub type PythonBin = Arc<dyn Fn(&PythonOf<'_>) -> PortResult<Option<PathBuf>> + Send + Sync>;
/// Is told that something about a model (second) in an environment (first) has changed. Must not block.
pub type Wake = Arc<dyn Fn(&Name, &Name) + Send + Sync>;

/// What the local target needs.
#[derive(Clone)]
pub struct LocalTargetConfig {
    pub state_dir: PathBuf,
    /// The trimtab binary, for shims and the router.
    pub exe: PathBuf,
    /// Where requests enter; port 0 for any.
    pub router_address: SocketAddr,
    pub artifacts: Arc<dyn ArtifactStore>,
    pub python_bin: PythonBin,
    pub wake: Wake,
}

/// Environment and model.
type Key = (Name, Name);

/// What supervisors, replicas and callers share.
struct Shared {
    config: LocalTargetConfig,
    router: RouterClient,
    address: Mutex<Option<SocketAddr>>,
    supervisors: Mutex<HashMap<Key, watch::Sender<Arc<Wanted>>>>,
    statuses: Mutex<HashMap<Key, Vec<ReplicaStatus>>>,
    /// The routes as the router has them.
    routes: Mutex<HashMap<Key, Route>>,
    /// Live replicas of an earlier daemon that no supervisor has taken yet.
    adopted: Mutex<HashMap<Key, Vec<Adopted>>>,
    /// Ports given to replicas, so that two that start at once do not get the same.
    ports: Mutex<HashSet<u16>>,
    /// How many replicas start at the same time.
    starting: Semaphore,
    recent: Mutex<Option<Figures>>,
    /// Why the router takes no requests, when it does not.
    trouble: Mutex<Option<String>>,
}

/// The newest figures of every model that was asked for something in the last five minutes.
struct Figures {
    asked: Instant,
    /// The router's clock when it answered.
    now_ms: u64,
    of: Arc<HashMap<Key, Recent>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The local target. Dropping it leaves replicas and router as they are.
pub struct LocalTarget {
    shared: Arc<Shared>,
    /// `None` only while it is dropped.
    runtime: Option<tokio::runtime::Runtime>,
}

impl LocalTarget {
    /// Starts or adopts the router, and finds the replicas of an earlier daemon. They serve on as they did; each is taken up
    /// by the `apply` that wants it, the others end with [`LocalTarget::retain`].
    pub fn start(mut config: LocalTargetConfig) -> PortResult<Self> {
        // Children run elsewhere: relative paths would mean something else to them.
        for path in [&mut config.state_dir, &mut config.exe] {
            *path = path.canonicalize().map_err(|e| PortError::permanent(format!("{}: {e}", path.display())))?;
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("deploy")
            .enable_all()
            .build()
            .map_err(|e| PortError::retryable(format!("cannot start threads: {e}")))?;
        let adopted = folder::scan(&config.state_dir);
        let ports = adopted.values().flatten().map(|a| a.record.address.port()).collect();
        let shared = Arc::new(Shared {
            router: RouterClient::new(&config.state_dir.join("router")),
            config,
            address: Mutex::default(),
            supervisors: Mutex::default(),
            statuses: Mutex::default(),
            routes: Mutex::default(),
            adopted: Mutex::new(adopted),
            ports: Mutex::new(ports),
            starting: Semaphore::new(8),
            recent: Mutex::default(),
            trouble: Mutex::default(),
        });
        let target = Self { shared: shared.clone(), runtime: Some(runtime) };
        let watched = target.wait(async move { keeper::ensure(&shared).await })??;
        let shared = target.shared.clone();
        target.spawn(async move { keeper::keep(shared, watched).await });
        Ok(target)
    }

    /// Ends replicas and routes of every (environment, model) that is not listed. Call it once after every model was
    /// reconciled for the first time: until then, what nobody asked for yet may still be asked for.
    pub fn retain(&self, wanted: &[(Name, Name)]) {
        let wanted: HashSet<&Key> = wanted.iter().collect();
        let mut known: HashSet<Key> = lock(&self.shared.adopted).keys().cloned().collect();
        known.extend(folder::keys(&self.shared.config.state_dir));
        known.extend(lock(&self.shared.routes).keys().cloned());
        known.extend(lock(&self.shared.supervisors).keys().cloned());
        for (environment, model) in known.into_iter().filter(|k| !wanted.contains(k)) {
            self.tell(Wanted { environment, model, live: false, releases: vec![], manner: Manner::default() });
        }
    }

    /// Lets go of everything: replicas and router serve on without a daemon.
    pub fn shutdown_keep(self) {
        drop(self);
    }

    /// Stops all replicas and the router.
    pub fn stop_all(self) {
        let state = self.shared.config.state_dir.clone();
        drop(self);
        stop_everything(&state);
    }

    fn tell(&self, wanted: Wanted) {
        let key = (wanted.environment.clone(), wanted.model.clone());
        let mut supervisors = lock(&self.shared.supervisors);
        if let Some(supervisor) = supervisors.get(&key) {
            supervisor.send_replace(Arc::new(wanted));
            return;
        }
        let (sender, receiver) = watch::channel(Arc::new(wanted));
        supervisors.insert(key.clone(), sender);
        drop(supervisors);
        self.spawn(supervisor::run(self.shared.clone(), key, receiver));
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            runtime.spawn(task);
        }
    }

    /// Runs a future on the target's threads and waits: also fit for callers on threads of another runtime.
    fn wait<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> PortResult<T> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        self.spawn(async move {
            // Nobody waits any more: nothing is lost.
            let _ = sender.send(task.await);
        });
        receiver.recv().map_err(|_| PortError::retryable("the local target is shutting down"))
    }

    fn stats_of(&self, environment: &Name, model: &Name) -> Option<StatsAnswer> {
        let (router, environment, model) = (self.shared.router.clone(), environment.clone(), model.clone());
        let answer = self.wait(async move { router.stats(&environment, &model).await }).ok()?;
        answer.inspect_err(|e| tracing::warn!("{e}")).ok()
    }

    /// What was asked of models lately; the router is asked at most once a second, for all of them at once.
    fn figures(&self) -> Arc<HashMap<Key, Recent>> {
        /// What has a history.
        const BACK_MS: u64 = 312_000;
        let mut recent = lock(&self.shared.recent);
        let figures = match recent.take() {
            Some(known) if known.asked.elapsed() <= Duration::from_secs(1) => known,
            known => {
                let since = known.map_or(1, |f| f.now_ms.saturating_sub(BACK_MS).max(1));
                let router = self.shared.router.clone();
                // A router that does not answer is asked again a second later, not for each model of the fleet.
                let answer = self.wait(async move { router.stats_since(since).await }).ok().and_then(Result::ok);
                added_up(answer.unwrap_or_default())
            }
        };
        recent.insert(figures).of.clone()
    }
}

/// Adds up the releases of each model.
fn added_up(answer: StatsAnswer) -> Figures {
    let mut of: HashMap<Key, Recent> = HashMap::new();
    let mut counts: HashMap<Key, (u64, u64)> = HashMap::new();
    for r in answer.releases {
        let key = (r.environment.clone(), r.model.clone());
        let one = of.entry(key.clone()).or_default();
        let (requests, errors) = counts.entry(key).or_default();
        (*requests, *errors) = (*requests + r.recent.requests, *errors + r.recent.errors);
        one.requests_per_s = *requests as f64 / 10.0;
        one.error_share = *errors as f64 / (*requests).max(1) as f64;
        one.p99_ms = one.p99_ms.max(r.recent.p99_ms);
        one.in_flight += r.in_flight;
        one.stood_in += r.recent.stood_in;
        one.history.resize(one.history.len().max(r.history.len()), 0);
        one.history.iter_mut().zip(&r.history).for_each(|(all, n)| *all += n);
        one.since.push((r.release, measured(r.epoch, vec![])));
    }
    Figures { asked: Instant::now(), now_ms: answer.now_ms, of: Arc::new(of) }
}

impl Drop for LocalTarget {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Target for LocalTarget {
    fn apply(&self, wanted: &Wanted) -> PortResult<()> {
        self.tell(wanted.clone());
        Ok(())
    }
    fn replicas(&self, environment: &Name, model: &Name) -> Vec<ReplicaStatus> {
        lock(&self.shared.statuses).get(&(environment.clone(), model.clone())).cloned().unwrap_or_default()
    }
    fn traffic(&self, environment: &Name, model: &Name, rollout: &Rollout) -> Traffic {
        let answer = self.stats_of(environment, model).unwrap_or_default();
        let found = |release: Release| answer.releases.iter().find(|r| r.release == release);
        let stable = rollout.baseline.or(rollout.from).and_then(found).map(stats).unwrap_or_default();
        let Some(new) = found(rollout.to) else { return Traffic { stable, ..Traffic::default() } };
        match new.shadow.filter(|_| rollout.shadow() > 0.0) {
            Some(copies) => Traffic { new: copied(&copies), stable, agreement: Some(agreement(&copies)) },
            None => Traffic { new: stats(new), stable, agreement: None },
        }
    }
    fn served(&self, environment: &Name, model: &Name, release: Release) -> Served {
        let answer = self.stats_of(environment, model).unwrap_or_default();
        let found = answer.releases.iter().find(|r| r.release == release);
        let all = |r: &ReleaseStats| Served {
            since: stats(r),
            // Who waits now belongs to the last seconds.
            recent: TrafficStats { open: r.open.clone(), ..measured(r.recent, vec![]) },
        };
        found.map(all).unwrap_or_default()
    }
    fn recent(&self) -> Arc<HashMap<Key, Recent>> {
        self.figures()
    }
    fn busy(&self) -> bool {
        self.figures().values().any(|r| r.requests_per_s > 0.0)
    }
    fn routed(&self, environment: &Name, model: &Name) -> Option<Release> {
        let routes = lock(&self.shared.routes);
        let route = routes.get(&(environment.clone(), model.clone()))?;
        let serving = route.releases.iter().filter(|r| !r.replicas.is_empty());
        let (weighty, others): (Vec<_>, Vec<_>) = serving.partition(|r| r.weight > 0);
        // While nothing that has weight is up, the router asks the first of the others that may stand in.
        let aside = [route.preview, route.shadow.map(|s| s.release)];
        let stands_in = || others.iter().find(|r| !aside.contains(&Some(r.release)));
        let one = if weighty.is_empty() { stands_in() } else { weighty.first().filter(|_| weighty.len() == 1) };
        one.map(|r| r.release)
    }
    fn log(&self, environment: &Name, model: &Name, rejected: bool) -> Option<PathBuf> {
        let state = &self.shared.config.state_dir;
        let all = if rejected { vec![] } else { self.replicas(environment, model) };
        let newest = all.iter().max_by_key(|r| (r.release.version, std::cmp::Reverse(r.index)));
        let kept = || folder::kept_log(state, &(environment.clone(), model.clone()));
        newest.map_or_else(
            || Some(kept()).filter(|log| log.exists()),
            |newest| Some(replica_log(state, environment, model, &newest.release, newest.index)),
        )
    }
    fn metrics(&self) -> PortResult<String> {
        let router = self.shared.router.clone();
        Ok(self.wait(async move { router.metrics().await })??)
    }
    fn address(&self) -> Option<String> {
        lock(&self.shared.address).map(|a| format!("http://{a}"))
    }
    fn trouble(&self) -> Option<String> {
        lock(&self.shared.trouble).clone()
    }
}

fn stats(of: &ReleaseStats) -> TrafficStats {
    TrafficStats { open: of.open.clone(), ..measured(of.epoch, of.latency.clone()) }
}

fn measured(window: Window, latency: Vec<LatencyBucket>) -> TrafficStats {
    let Window { requests, errors, p50_ms, p90_ms, p99_ms, .. } = window;
    TrafficStats { requests, errors, p50_ms, p90_ms, p99_ms, latency, open: vec![] }
}

/// What answers copies is measured by them.
fn copied(copies: &route::Agreement) -> TrafficStats {
    let route::Agreement { compared, failed, p50_ms, p90_ms, p99_ms, .. } = *copies;
    let requests = compared + failed;
    TrafficStats { requests, errors: failed, p50_ms, p90_ms, p99_ms, ..TrafficStats::default() }
}

fn agreement(copies: &route::Agreement) -> Agreement {
    let route::Agreement { compared, agreed, failed, mean_difference, max_difference, .. } = *copies;
    Agreement { compared, agreed, failed, mean_difference, max_difference }
}

impl From<RouteError> for PortError {
    fn from(e: RouteError) -> Self {
        match &e {
            RouteError::Bind { .. } => Self::permanent(e.to_string()),
            _ => Self::retryable(e.to_string()),
        }
    }
}

impl Shared {
    fn publish(&self, key: &Key, replicas: &BTreeMap<(Release, u32), ReplicaStatus>) {
        let new: Vec<ReplicaStatus> = replicas.values().cloned().collect();
        let mut statuses = lock(&self.statuses);
        let changed = statuses.get(key).map_or(!new.is_empty(), |old| *old != new);
        if new.is_empty() {
            statuses.remove(key);
        } else {
            statuses.insert(key.clone(), new);
        }
        drop(statuses);
        if changed {
            (self.config.wake)(&key.0, &key.1);
        }
    }
}
