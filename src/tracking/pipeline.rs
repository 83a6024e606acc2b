//! The runs of pipelines, tracked like those of clients: a stage's process finds its run under its own id and goes on with it.

use super::{Batched, NewRun, Point, RunUpdate, Tracked, Tracker, check, registry::figures, row::Status};
use crate::{
    model::{tracking::*, *},
    ports::*,
};
use futures::executor::block_on;
use std::collections::BTreeMap;

/// How processes on this machine reach the tracking server.
#[derive(Debug, Clone)]
pub struct TrackingAccess {
    pub url: String,
    /// Opens the tracking server alone.
    pub token: String,
}

/// Tracks the runs of pipelines.
#[derive(Clone)]
pub struct PipelineRuns {
    tracker: Tracker,
    access: TrackingAccess,
}

/// Metrics that one batch takes.
const BATCH: usize = 1000;

fn failed(e: TrackingError) -> PortError {
    match e.code {
        ErrorCode::TemporarilyUnavailable => PortError::retryable(e.message),
        _ => PortError::permanent(format!("the run cannot be tracked: {}", e.message)),
    }
}

fn command(command: &Command) -> String {
    match command {
        Command::Shell(line) => line.clone(),
        Command::Argv(args) => args.join(" "),
    }
}

impl Tracker {
    /// The model's experiment, made or restored.
    pub(super) fn have_experiment(&self, model: &Name) -> Tracked<Experiment> {
        let found = self.experiment_named(model.as_str());
        match found {
            Ok(there) if there.lifecycle == Lifecycle::Active => return Ok(there),
            Ok(deleted) => {
                block_on(self.move_experiment(&deleted.id.to_string(), Lifecycle::Active))?;
            }
            Err(_) => match block_on(self.create_experiment(model.as_str(), "", vec![])) {
                // Another stage of the model was faster.
                Err(e) if e.code == ErrorCode::ResourceAlreadyExists => {}
                made => drop(made?),
            },
        }
        self.experiment_named(model.as_str())
    }
}

impl PipelineRuns {
    /// Tracks by this tracker, and tells processes how to reach it.
    pub fn new(tracker: Tracker, access: TrackingAccess) -> Self {
        Self { tracker, access }
    }

    fn start(&self, tracked: &TrackedRun<'_>) -> Tracked<Experiment> {
        let TrackedRun { run, revision, .. } = tracked;
        let experiment = self.tracker.have_experiment(&run.model)?;
        let id = &run.id.0;
        let tag = |key: &str, value: &str| (key.to_owned(), check::cut(value, 5000).to_owned());
        let tags = vec![
            tag("mlflow.user", &revision.author),
            tag("mlflow.source.type", "PROJECT"),
            tag("mlflow.source.name", &command(&run.command)),
            tag("mlflow.source.git.commit", &revision.commit.0),
            tag("mlflow.note.content", &revision.summary),
            tag("trimtab.stage", run.stage.as_str()),
            tag("trimtab.fingerprint", &run.fingerprint.to_string()),
        ];
        let new = NewRun {
            id: Some(id.clone()),
            experiment: experiment.id.to_string(),
            user: revision.author.clone(),
            name: format!("{} {}", run.stage, &run.fingerprint.hex()[..8]),
            started: run.started.0,
            tags,
        };
        let row = block_on(self.tracker.create_run(new))?;
        if row.facts()?.lifecycle == Lifecycle::Deleted {
            block_on(self.tracker.move_run(id, Lifecycle::Active))?;
        }
        block_on(self.tracker.update_run(id, RunUpdate { status: Some(Status::Running), ..RunUpdate::default() }))?;
        Ok(experiment)
    }

    fn finish(&self, tracked: &TrackedRun<'_>, metrics: &[LoggedMetric]) -> Tracked<BTreeMap<String, f64>> {
        let TrackedRun { run, params, .. } = tracked;
        let (id, ended) = (&run.id.0, run.ended.map(|e| e.0));
        let Ok(row) = self.tracker.run(id) else { return Ok(BTreeMap::new()) };
        if row.facts()?.lifecycle == Lifecycle::Active {
            let point = |m: &LoggedMetric| Point {
                key: m.name.clone(),
                value: m.value,
                timestamp: ended.unwrap_or_default().max(0),
                step: m.step,
            };
            for some in metrics.chunks(BATCH) {
                let batch = Batched { metrics: some.iter().map(point).collect(), ..Batched::default() };
                block_on(self.tracker.log_batch(id, batch))?;
            }
            // Only now: a process that logs its own, and writes 1e-05 for 1e-5, must not be refused for it.
            for (name, value) in params.iter().filter(|(name, _)| check::key_name(name, "key").is_ok()) {
                if !row.params().any(|(known, _)| known == name) {
                    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    block_on(self.tracker.log_param(id, name, &text))?;
                }
            }
            let status = match run.status {
                RunStatus::Running => Status::Running,
                RunStatus::Succeeded => Status::Finished,
                RunStatus::Failed { .. } => Status::Failed,
                RunStatus::Cancelled { .. } => Status::Killed,
            };
            block_on(self.tracker.update_run(id, RunUpdate { status: Some(status), ended, name: None }))?;
        }
        Ok(figures(&self.tracker.run(id)?))
    }
}

impl RunTracker for PipelineRuns {
    fn begin(&self, run: &TrackedRun<'_>) -> PortResult<BTreeMap<String, String>> {
        let experiment = self.start(run).map_err(failed)?;
        let set = |name: &str, value: String| (name.to_owned(), value);
        Ok(BTreeMap::from([
            set("MLFLOW_TRACKING_URI", self.access.url.clone()),
            set("MLFLOW_TRACKING_TOKEN", self.access.token.clone()),
            set("MLFLOW_RUN_ID", run.run.id.0.clone()),
            set("MLFLOW_EXPERIMENT_ID", experiment.id.to_string()),
        ]))
    }

    fn end(&self, run: &TrackedRun<'_>, metrics: &[LoggedMetric]) -> PortResult<BTreeMap<String, f64>> {
        self.finish(run, metrics).map_err(failed)
    }
}
