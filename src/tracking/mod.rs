//! What MLflow's clients log and register: experiments, runs, metrics, models, files.
//!
//! Every change is decided on what is in memory and handed to the store under one lock, so that both see the same order; the answer waits
//! until it is durable. Locks are taken in the order runs, registry, logged models. A change that the store could not keep is taken back by reading what it has. Metric points are not in memory,
//! but for the newest of each key: see [`history`].

mod artifacts;
mod check;
mod experiments;
mod first;
mod follow;
pub mod history;
mod import;
mod inputs;
mod json;
mod location;
mod logged;
mod names;
mod pipeline;
mod points;
mod recorded;
mod registry;
pub mod row;
mod run;
mod search;
mod state;
mod traces;

pub use artifacts::{ArtifactPath, Found, Listed};
pub use check::ascii_json;
pub use follow::{Fields, Here};
pub use import::{BroughtRun, Mark, Stand};
pub use inputs::{DatasetSummary, GivenDataset, UsedData};
pub use logged::{LoggedModel, LoggedQuery, ModelPoint, ModelStatus, NewLoggedModel, OfModel};
pub use pipeline::{PipelineRuns, TrackingAccess};
pub use points::{Point, Value};
pub use registry::{
    Aliases, GivenSource, ModelVersion, ModelView, NewModel, NewVersion, RegisteredModel, Stage, VersionUpdate,
    VersionView,
};
pub use run::{Batched, NewRun, RunUpdate};
pub use search::{Query, SearchedRuns, View};
pub use traces::{Aggregation, Figure, FiguresQuery, Trace, TraceEnd, TraceQuery, TraceState, Unwanted};

use crate::{
    model::{SteadyMs, tracking::*},
    ports::{Clock, PortError},
    store::{Batch, Store, StoreError, Table},
};
use row::Row;
use state::State;
use std::sync::{
    Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
    mpsc::{Sender, channel},
};

/// What calls return.
pub type Tracked<T> = Result<T, TrackingError>;

impl From<StoreError> for TrackingError {
    /// Clients try 503 again, which is right for a disk that is full, and not for a record that is there already.
    fn from(e: StoreError) -> Self {
        let code = match e {
            StoreError::Immutable(_) => ErrorCode::ResourceConflict,
            _ => ErrorCode::TemporarilyUnavailable,
        };
        Self::new(code, e.to_string())
    }
}

impl From<PortError> for TrackingError {
    /// Clients try 503 again, and 500 as well, which would keep them for minutes with a file that is damaged.
    fn from(e: PortError) -> Self {
        Self::new(if e.retryable { ErrorCode::TemporarilyUnavailable } else { ErrorCode::ResourceConflict }, e.message)
    }
}

/// Is told a name.
type Watcher = Box<dyn Fn(&str) + Send + Sync>;

struct Inner {
    store: Store,
    clock: Arc<dyn Clock>,
    state: RwLock<State>,
    registry: RwLock<registry::Registry>,
    logged: RwLock<logged::LoggedModels>,
    /// Runs whose pages are to be packed.
    fold: Sender<String>,
    arriving: artifacts::Arriving,
    traces: traces::Locks,
    /// Told of registered models whose aliases moved.
    watcher: OnceLock<Watcher>,
}

/// The tracking server and the registry; cheap to clone.
#[derive(Clone)]
pub struct Tracker(Arc<Inner>);

impl Tracker {
    /// Reads what the store holds.
    pub fn open(store: Store, clock: Arc<dyn Clock>) -> Tracked<Self> {
        let mut state = State::default();
        read(&store, &mut state)?;
        let (fold, folds) = channel();
        let registry = RwLock::new(registry::read(&store)?);
        let logged = RwLock::new(logged::read(&store)?);
        let (arriving, state) = (artifacts::Arriving::default(), RwLock::new(state));
        let (traces, watcher) = (traces::Locks::default(), OnceLock::new());
        let tracker = Self(Arc::new(Inner { store, clock, state, registry, logged, fold, arriving, traces, watcher }));
        history::start_folding(&tracker, folds)?;
        tracker.have_default_experiment()?;
        Ok(tracker)
    }

    /// Has `told` called with the name of a registered model after an alias of it moved; the first one stays.
    pub fn watch_aliases(&self, told: impl Fn(&str) + Send + Sync + 'static) {
        let _ = self.0.watcher.set(Box::new(told));
    }

    /// Milliseconds since the Unix epoch.
    pub fn now(&self) -> i64 {
        self.0.clock.now().wall.0
    }

    /// The clock that never goes back.
    pub fn steady(&self) -> SteadyMs {
        self.0.clock.now().steady
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes changes durable.
    pub async fn commit(&self, batch: Batch) -> Tracked<()> {
        self.0.store.submit(batch).await?;
        Ok(())
    }
}

/// Experiments, runs, and the points that came after a run's row was written.
fn read(store: &Store, state: &mut State) -> Tracked<()> {
    store.each_tracked(Table::Experiment, "", |_, experiment: Experiment| {
        state.experiments.put(experiment);
        Ok(())
    })?;
    let mut failed = Ok(());
    store.each_tracked_bytes(Table::Run, "", |_, bytes| {
        if failed.is_ok() {
            failed = Row::new(bytes).and_then(|row| state.runs.put(row)).map(drop);
        }
        Ok(())
    })?;
    failed?;
    state.runs.settle();
    history::read_loose(store, state)
}
