//! One model in one environment: which replicas there should be, and what the router is told of them.

use super::{
    Key, Shared, folder,
    layout::Layout,
    lock,
    replica::{Mode, Note, Past, Recipe, Replica},
};
use crate::{
    model::*,
    ports::Wanted,
    route::{ReleaseRoute, Route, RouteError, Shadow},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tokio::sync::{mpsc, watch};

/// Before the router is asked again after it did not answer.
const ROUTER_RETRY: Duration = Duration::from_millis(200);

struct Slot {
    mode: watch::Sender<Mode>,
    status: ReplicaStatus,
    was_ready: bool,
}
impl Slot {
    fn serves(&self) -> Option<SocketAddr> {
        let runs = *self.mode.borrow() == Mode::Run;
        self.status.address.as_deref().filter(|_| runs && self.status.ready)?.parse().ok()
    }
}

struct Supervisor {
    shared: Arc<Shared>,
    key: Key,
    slots: BTreeMap<(Release, u32), Slot>,
    layouts: HashMap<Release, Arc<Layout>>,
    notes: mpsc::UnboundedSender<Note>,
}

/// A replica that is about to start.
fn unready(release: Release, index: u32) -> ReplicaStatus {
    let message = Some("starting".into());
    ReplicaStatus { release, index, address: None, ready: false, restarts: 0, message, death: None, drift: None }
}

/// Supervises until nothing is wanted and nothing is left.
pub async fn run(shared: Arc<Shared>, key: Key, mut wanted: watch::Receiver<Arc<Wanted>>) {
    let (notes, mut inbox) = mpsc::unbounded_channel();
    let mut s = Supervisor { shared, key, slots: BTreeMap::new(), layouts: HashMap::new(), notes };
    let first = wanted.borrow_and_update().clone();
    s.adopt(&first);
    s.sweep(&first).await;
    loop {
        let now = wanted.borrow_and_update().clone();
        s.start_missing(&now);
        let leaving = s.leaving(&now);
        let routed = s.route(&now, &leaving).await;
        if routed.is_ok() {
            s.let_go(&leaving);
        }
        s.publish();
        if routed.is_ok() && s.is_done(&now) {
            folder::forget_log(&s.shared.config.state_dir, &s.key);
            if s.end(&wanted) {
                return;
            }
        }
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            Some(note) = inbox.recv() => {
                s.hear(note).await;
                while let Ok(note) = inbox.try_recv() {
                    s.hear(note).await;
                }
            }
            () = tokio::time::sleep(ROUTER_RETRY), if routed.is_err() => {}
        }
    }
}

/// Percent as routes have them.
fn thousandths(percent: f64) -> u32 {
    (percent.clamp(0.0, 100.0) * 1000.0).round() as u32
}

impl Supervisor {
    /// Takes over what an earlier daemon started. What the router already sends requests to goes on without a gap.
    fn adopt(&mut self, wanted: &Wanted) {
        let mut adopted = lock(&self.shared.adopted).remove(&self.key).unwrap_or_default();
        let routed: BTreeSet<SocketAddr> = lock(&self.shared.routes)
            .get(&self.key)
            .iter()
            .flat_map(|r| &r.releases)
            .flat_map(|r| r.replicas.iter().copied())
            .collect();
        // Of two for one place, one was being replaced: that which has the traffic stays.
        adopted.sort_by_key(|a| !routed.contains(&a.record.address));
        for a in adopted {
            let (release, index) = (a.record.release, a.record.index);
            if self.slots.contains_key(&(release, index)) {
                tracing::warn!(model = %self.key.1, "two processes for one replica: the second is stopped");
                a.handle.stop();
                continue;
            }
            let is_routed = routed.contains(&a.record.address);
            let address = Some(a.record.address.to_string());
            let status = ReplicaStatus { address, ready: is_routed, message: None, ..unready(release, index) };
            let recipe = self.recipe(wanted, &release);
            self.task(status, recipe, Some(a), is_routed);
        }
    }

    /// Removes folders of releases that ended while no daemon ran.
    async fn sweep(&self, wanted: &Wanted) {
        let mut needed: BTreeSet<Release> = self.slots.keys().map(|k| k.0).collect();
        needed.extend(wanted.releases.iter().map(|w| w.release));
        let (state, key) = (self.shared.config.state_dir.clone(), self.key.clone());
        let _ = tokio::task::spawn_blocking(move || folder::sweep(&state, &key, &needed)).await;
    }

    fn recipe(&mut self, wanted: &Wanted, release: &Release) -> Option<Recipe> {
        let w = wanted.releases.iter().find(|w| w.release == *release)?;
        let layout = self.layouts.entry(*release).or_default().clone();
        Some(Recipe { version: w.version.clone(), serve: w.serve.clone(), layout })
    }

    fn task(&mut self, status: ReplicaStatus, recipe: Option<Recipe>, adopted: Option<folder::Adopted>, routed: bool) {
        let (mode, _) = watch::channel(Mode::Run);
        let replica = Replica {
            shared: self.shared.clone(),
            key: self.key.clone(),
            release: status.release,
            index: status.index,
            recipe,
            mode: mode.clone(),
            notes: self.notes.clone(),
            past: Past::default(),
        };
        let slot = Slot { mode, was_ready: status.ready, status };
        self.slots.insert((slot.status.release, slot.status.index), slot);
        tokio::spawn(replica.run(adopted, routed));
    }

    /// Starts replicas that are wanted and not there; takes back those that were about to leave.
    fn start_missing(&mut self, wanted: &Wanted) {
        let stays = |r: &Release| wanted.releases.iter().any(|w| w.release == *r);
        if wanted.manner.exclusive && !self.slots.keys().all(|(release, _)| stays(release)) {
            // There is no room for both: the others end first.
            return;
        }
        for w in &wanted.releases {
            for index in 0..w.serve.replicas {
                if let Some(slot) = self.slots.get(&(w.release, index)) {
                    slot.mode.send_if_modified(|m| {
                        let back = *m == Mode::Leave;
                        if back {
                            *m = Mode::Run;
                        }
                        back
                    });
                    continue;
                }
                let recipe = self.recipe(wanted, &w.release);
                self.task(unready(w.release, index), recipe, None, false);
            }
        }
    }

    /// Replicas that nobody wants any more. Those of a release that left stay while no wanted release can take its share, unless it was rejected.
    fn leaving(&self, wanted: &Wanted) -> BTreeSet<(Release, u32)> {
        let count =
            |release: &Release| wanted.releases.iter().find(|w| w.release == *release).map(|w| w.serve.replicas);
        let others_serve = wanted.releases.is_empty()
            || wanted.manner.exclusive
            || wanted
                .releases
                .iter()
                .any(|w| self.slots.values().any(|s| s.status.release == w.release && s.serves().is_some()));
        let unneeded = |(release, index): &&(Release, u32)| match count(release) {
            Some(n) => *index >= n,
            None => others_serve || wanted.manner.rejected.contains(release),
        };
        self.slots.keys().filter(unneeded).copied().collect()
    }

    /// Tells the router, when it does not know yet.
    async fn route(&self, wanted: &Wanted, leaving: &BTreeSet<(Release, u32)>) -> Result<(), RouteError> {
        let ready = |release: &Release| -> Vec<SocketAddr> {
            let of = self.slots.iter().filter(|(k, _)| k.0 == *release && !leaving.contains(k));
            of.filter_map(|(_, s)| s.serves()).collect()
        };
        let mut releases: Vec<ReleaseRoute> = wanted
            .releases
            .iter()
            .map(|w| ReleaseRoute { release: w.release, weight: thousandths(w.weight), replicas: ready(&w.release) })
            .collect();
        let held: BTreeSet<Release> = self.slots.keys().map(|k| k.0).collect();
        for release in held.into_iter().filter(|r| !wanted.releases.iter().any(|w| w.release == *r)) {
            let replicas = ready(&release);
            if !replicas.is_empty() {
                releases.push(ReleaseRoute { release, weight: 0, replicas });
            }
        }
        releases.sort_by(|a, b| b.weight.cmp(&a.weight).then(a.release.cmp(&b.release)));
        self.push(releases, wanted).await
    }

    async fn push(&self, releases: Vec<ReleaseRoute>, wanted: &Wanted) -> Result<(), RouteError> {
        let known = lock(&self.shared.routes).get(&self.key).cloned();
        let (environment, model) = self.key.clone();
        let mut route = Route {
            sticky: wanted.manner.sticky.clone(),
            forced: wanted.manner.forced,
            limit: wanted.manner.limit,
            timeout_ms: wanted.manner.timeout.map(|t| t.0),
            preview: wanted.manner.preview,
            shadow: wanted.manner.copies.map(|c| Shadow {
                release: c.release,
                share: thousandths(c.share),
                tolerance: c.tolerance,
            }),
            ..Route::new(environment.clone(), model.clone(), 1, wanted.live, releases)
        };
        match &known {
            Some(known) => {
                let same = Route { generation: known.generation, ..route.clone() } == *known;
                if same || route.releases.is_empty() && known.releases.is_empty() {
                    return Ok(());
                }
                route.generation = known.generation + 1;
            }
            None if route.releases.is_empty() => return Ok(()),
            None => {}
        }
        loop {
            match self.shared.router.put_route(&route).await {
                Ok(()) => {
                    let mut routes = lock(&self.shared.routes);
                    if route.releases.is_empty() {
                        routes.remove(&self.key);
                    } else {
                        routes.insert(self.key.clone(), route);
                    }
                    return Ok(());
                }
                Err(RouteError::Stale { current }) => route.generation = current + 1,
                Err(e) => {
                    tracing::warn!(%model, %environment, "the router was not told: {e}");
                    return Err(e);
                }
            }
        }
    }

    /// The router no longer sends them anything: they drain and end.
    fn let_go(&mut self, leaving: &BTreeSet<(Release, u32)>) {
        for slot in leaving.iter().filter_map(|k| self.slots.get(k)) {
            slot.mode.send_if_modified(|m| {
                let leaves = *m == Mode::Run;
                if leaves {
                    *m = Mode::Leave;
                }
                leaves
            });
        }
    }

    async fn hear(&mut self, note: Note) {
        match note {
            Note::Status(status) => {
                if let Some(slot) = self.slots.get_mut(&(status.release, status.index)) {
                    slot.was_ready |= status.ready;
                    slot.status = status;
                }
            }
            Note::Ended(release, index) => {
                let slot = self.slots.remove(&(release, index));
                let failed = slot.is_some_and(|s| s.status.death.is_some() || !s.was_ready);
                if failed {
                    folder::keep_log(&self.shared.config.state_dir, &self.key, &release, index);
                }
                if self.slots.keys().all(|k| k.0 != release) {
                    self.layouts.remove(&release);
                    let dir = folder::release_dir(&self.shared.config.state_dir, &self.key, &release);
                    // Awaited, so that a start of the same release finds it gone or whole.
                    let _ = tokio::task::spawn_blocking(move || folder::remove(&dir)).await;
                }
            }
        }
    }

    fn publish(&self) {
        let shown = self.slots.iter().map(|(key, slot)| {
            let mut status = slot.status.clone();
            if *slot.mode.borrow() != Mode::Run {
                status.ready = false;
                status.message = Some("draining".into());
            }
            (*key, status)
        });
        self.shared.publish(&self.key, &shown.collect());
    }

    fn is_done(&self, wanted: &Wanted) -> bool {
        wanted.releases.is_empty() && self.slots.is_empty()
    }

    /// Takes itself off the list, unless something was wanted meanwhile.
    fn end(&self, wanted: &watch::Receiver<Arc<Wanted>>) -> bool {
        let mut supervisors = lock(&self.shared.supervisors);
        if wanted.has_changed().unwrap_or(false) {
            return false;
        }
        supervisors.remove(&self.key);
        true
    }
}
