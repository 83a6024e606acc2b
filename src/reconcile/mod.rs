//! The loop: queue, observe, plan, execute.
//!
//! Level-triggered: a wake-up carries no data, it only says which model to look at. Each look plans from the facts of now, writes the
//! intention to the store, then acts; it ends when a look finds nothing to do.

mod approvals;
mod execute;
mod gc;
mod lanes;
mod look;
mod meters;
mod past;
mod pause;
mod pipeline;
mod questions;
pub mod queue;
mod registry;
mod replicas;
mod revert;
mod rollback;
mod settings;
mod source;
mod steer;
mod target;
mod tasks;
mod view;

pub use approvals::Asks;
pub use meters::Meters;
pub use past::{Compared, Did, Past, Undoing};
pub use source::SyncRequest;
pub use steer::SteerError;
pub use view::{ModelView, SourceView};

use crate::{
    model::*,
    ports::*,
    spec::Loaded,
    store::{Batch, NewEvent, Store, StoreError},
};
use lanes::{Key, Lane, Lanes};
use queue::{Queue, Tasks};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    thread::JoinHandle,
};

/// The adapters that the loop drives.
#[derive(Clone)]
pub struct Ports {
    pub source: Arc<dyn Source>,
    pub trainer: Arc<dyn Trainer>,
    pub target: Arc<dyn Target>,
    pub metrics: Arc<dyn Metrics>,
    pub datasets: Arc<dyn Datasets>,
    pub registry: Arc<dyn Registry>,
    pub clock: Arc<dyn Clock>,
    pub disk: Arc<dyn Disk>,
    /// What tasks rely on, which `disk` does not remove.
    pub claims: Arc<Claims>,
}

/// How the loop behaves, from the daemon's flags.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Time between two looks at the remote when nobody wakes the loop; jittered by a fifth.
    pub poll: Millis,
    /// Looks at once.
    pub workers: usize,
    /// Least time between two clean-ups of the state folder by itself; zero for none.
    pub gc_every: Millis,
    /// Any number, to spread retries by.
    pub random: fn() -> u64,
}

/// Work beside the queue, at most one of a kind for each model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    /// Of these datasets: a download that hangs does not hold up another.
    Data(Digest),
    Lock,
    Pipeline,
    /// The commit that reverts what was rejected.
    Revert,
    /// Of the analysis with this name, hashed with its environment.
    Question(Digest),
}

/// What is held in memory of one model.
struct Cell {
    observed: ObservedModel,
    /// The plan of the newest look.
    plan: Option<ModelPlan>,
    /// What the target was last told for each environment.
    applied: BTreeMap<Name, target::Applied>,
    /// What came of analyses that were asked for outside, by environment. Lost with the daemon, and asked for again.
    asked: BTreeMap<Name, Vec<Asked>>,
    /// Duration of the newest pipeline that succeeded.
    past: Option<Millis>,
    /// What events told of its replicas.
    told: replicas::Told,
}

struct Inner {
    store: Store,
    ports: Ports,
    config: Config,
    queue: Queue<Name>,
    loaded: RwLock<Arc<Loaded>>,
    cells: RwLock<BTreeMap<Name, Arc<Mutex<Cell>>>>,
    lanes: Lanes,
    tasks: Tasks<Key, Cancel>,
    source: source::State,
    approvers: approvals::Approvers,
    past: past::Known,
    gc: gc::Due,
    /// Held by a clean-up: one at a time.
    collecting: Mutex<()>,
    meters: Meters,
    events: tokio::sync::broadcast::Sender<Event>,
}

/// A handle to the running loop; cheap to clone.
#[derive(Clone)]
pub struct Reconciler(Arc<Inner>);

/// Locks, also after a panic of another holder: every state behind these locks is replaced whole, never half written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reconciler {
    /// Takes up what the store knows: nothing runs before [`Reconciler::run`].
    pub fn open(store: Store, ports: Ports, config: Config) -> Result<Self, StoreError> {
        let stored = store.source()?;
        let mut known = source::last_known(ports.source.as_ref(), stored.as_ref());
        let mut cells = BTreeMap::new();
        // Most models were changed by few commits.
        let mut revisions = BTreeMap::<ObjectId, Arc<Revision>>::new();
        store.each_model(|mut observed| {
            if let Some(revision) = &mut observed.observed_revision {
                *revision = revisions.entry(revision.commit.clone()).or_insert_with(|| revision.clone()).clone();
            }
            let newest = store.version(&observed.name, VersionNumber(observed.last_version))?;
            if let Some(same) = known.state().models.get(&observed.name).cloned() {
                observed.share(&same);
                observed.desired.iter().for_each(|desired| known.remember(desired));
            }
            let past = newest.and_then(|v| v.expected());
            let cell = Cell {
                past,
                // What is read has room to grow; its copy has none.
                observed: observed.clone(),
                plan: None,
                applied: BTreeMap::new(),
                asked: BTreeMap::new(),
                told: replicas::Told::default(),
            };
            cells.insert(cell.observed.name.clone(), Arc::new(Mutex::new(cell)));
            Ok(())
        })?;
        let state = source::State::new(stored, known, ports.source.describe());
        let (events, _) = tokio::sync::broadcast::channel(4096);
        let inner = Inner {
            store,
            ports,
            config,
            queue: Queue::new(),
            loaded: RwLock::new(Arc::new(Loaded::default())),
            cells: RwLock::new(cells),
            lanes: Lanes::new(Loaded::default().state().settings.max_concurrent_training),
            tasks: Tasks::new(),
            source: state,
            approvers: approvals::Approvers::default(),
            past: past::Known::default(),
            gc: gc::Due::new(),
            collecting: Mutex::default(),
            meters: Meters::new(),
            events,
        };
        Ok(Self(Arc::new(inner)))
    }

    /// Starts the source thread and the workers. They end after [`Reconciler::stop`].
    pub fn run(&self) -> std::io::Result<Vec<JoinHandle<()>>> {
        let mut threads = vec![self.spawn_thread("source", |r| r.follow_source())?];
        for _ in 0..self.0.config.workers.max(1) {
            threads.push(self.spawn_thread("reconcile", |r| r.work())?);
        }
        let every = self.0.config.gc_every;
        if every > Millis(0) {
            threads.push(self.spawn_thread("gc", move |r| r.keep_within_limits(every))?);
        }
        Ok(threads)
    }

    fn spawn_thread(&self, name: &str, body: impl FnOnce(Self) + Send + 'static) -> std::io::Result<JoinHandle<()>> {
        let this = self.clone();
        std::thread::Builder::new().name(name.into()).spawn(move || body(this))
    }

    /// Ends the loop. Runs, replicas and the router go on; a later daemon adopts them.
    pub fn stop(&self) {
        self.0.queue.close();
        self.0.source.close();
        self.0.ports.source.stop();
        self.0.gc.close();
    }

    /// Looks at a model as soon as a worker is free.
    pub fn wake(&self, model: &Name) {
        self.0.queue.add(model.clone(), SteadyMs(0));
    }

    /// Looks at the remote and at every model: after a time in which nothing could be kept.
    pub fn look_again_at_all(&self) {
        self.wake_source();
        self.known_models().iter().for_each(|model| self.wake(model));
    }

    /// Every event from now on.
    pub fn subscribe(&self) -> tokio::sync::broadcast::Receiver<Event> {
        self.0.events.subscribe()
    }

    /// The store, to read versions, runs and events from.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// The adapters.
    pub fn ports(&self) -> &Ports {
        &self.0.ports
    }

    /// The newest desired state.
    pub fn loaded(&self) -> Arc<Loaded> {
        self.0.loaded.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn now(&self) -> Now {
        self.0.ports.clock.now()
    }

    fn cell(&self, model: &Name) -> Option<Arc<Mutex<Cell>>> {
        self.0.cells.read().unwrap_or_else(PoisonError::into_inner).get(model).cloned()
    }

    fn cell_or_new(&self, model: &Name) -> Arc<Mutex<Cell>> {
        if let Some(cell) = self.cell(model) {
            return cell;
        }
        let mut cells = self.0.cells.write().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let observed = ObservedModel::new(model.clone());
            Arc::new(Mutex::new(Cell {
                observed,
                plan: None,
                applied: BTreeMap::new(),
                asked: BTreeMap::new(),
                past: None,
                told: replicas::Told::default(),
            }))
        };
        cells.entry(model.clone()).or_insert_with(new).clone()
    }

    fn known_models(&self) -> BTreeSet<Name> {
        self.0.cells.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Commits and tells subscribers; nothing is told before it is durable.
    pub fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let committed = self.0.store.commit(batch)?;
        for event in committed.events {
            self.0.meters.happened(&event);
            self.0.gc.happened(event.kind);
            // No subscriber is no error.
            let _ = self.0.events.send(event);
        }
        Ok(())
    }

    fn event(&self, kind: EventKind, model: Option<&Name>, by: Option<&Revision>, message: String) -> NewEvent {
        NewEvent {
            at: self.now().wall,
            kind,
            model: model.cloned(),
            environment: None,
            commit: by.map(|r| r.commit.clone()),
            author: by.map(|r| r.author.clone()),
            message,
        }
    }
}
