//! Running a model's pipeline to a registered version.

use super::{Reconciler, lock, meters::Trained, queue::backoff};
use crate::{
    model::*,
    plan::{self, gates, pins},
    ports::*,
    store::{Batch, Store},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

/// Keeps the runs of one pipeline.
struct Observer<'a> {
    reconciler: &'a Reconciler,
    model: &'a Name,
    pipeline: &'a Pipeline,
    /// How runs had ended that are taken up once more: that was told.
    ended: Mutex<BTreeMap<RunId, RunStatus>>,
    /// Failures of stages, which are those of the pipeline, too.
    failures: Mutex<BTreeSet<String>>,
}

impl PipelineObserver for Observer<'_> {
    fn cached(&self, key: &Digest) -> Option<Run> {
        self.store().run_by_key(key).unwrap_or_else(|e| {
            tracing::error!("cannot read a run: {e}");
            None
        })
    }

    fn is_over(&self, run: &RunId) -> bool {
        let Some(run) = self.recorded(run) else { return false };
        match run.status {
            RunStatus::Cancelled { .. } => true,
            RunStatus::Failed { .. } => run.started_steady < self.pipeline.since,
            RunStatus::Running | RunStatus::Succeeded => false,
        }
    }

    fn recorded(&self, id: &RunId) -> Option<Run> {
        self.store().run(id).unwrap_or_else(|e| {
            tracing::error!("cannot read a run: {e}");
            None
        })
    }

    fn record(&self, run: &Run) -> PortResult<()> {
        match &run.status {
            RunStatus::Running => self.record_start(run),
            ended => {
                if let RunStatus::Failed { reason } = ended {
                    lock(&self.failures).insert(reason.clone());
                }
                let told = lock(&self.ended).get(&run.id) == Some(ended);
                self.reconciler.record_end(run, Some(&self.pipeline.revision), told)
            }
        }
    }

    fn progress(&self, stages: &[StageProgress]) {
        self.reconciler.change_model(self.model, |observed, batch| {
            if let Some(p) = observed.pipeline.as_mut().filter(|p| p.fingerprint == self.pipeline.fingerprint) {
                p.stages = stages.to_vec();
            }
            batch
        });
        self.reconciler.announce(self.model);
    }
}
impl Observer<'_> {
    /// Refused once the pipeline was cancelled: what runs is always known to a pipeline or is in `stopping`. No event: the start of the
    /// pipeline was told already, and a stage's own start shows in its progress.
    fn record_start(&self, run: &Run) -> PortResult<()> {
        // A clean-up may be about to forget an earlier run of this name.
        self.reconciler.0.ports.claims.claim([run.id.key()]);
        if let Some(before) = self.recorded(&run.id) {
            lock(&self.ended).insert(run.id.clone(), before.status);
        }
        let mut ours = false;
        let kept = self.reconciler.change_model(self.model, |observed, batch| {
            ours = observed.pipeline.as_ref().is_some_and(|p| p.fingerprint == self.pipeline.fingerprint);
            if ours { batch.put_run(run) } else { batch }
        });
        match (ours, kept) {
            (false, _) => Err(PortError::permanent("cancelled")),
            (true, false) => Err(PortError::retryable("the store refused a run")),
            (true, true) => Ok(()),
        }
    }

    fn store(&self) -> &Store {
        &self.reconciler.0.store
    }
}

impl Reconciler {
    /// Runs (or, after a daemon's death, takes up) a pipeline and registers its version.
    pub(super) fn run_pipeline(&self, model: &Name, pipeline: &Pipeline, cancel: &Cancel) {
        if cancel.is_cancelled() {
            return;
        }
        let observer =
            Observer { reconciler: self, model, pipeline, ended: Mutex::default(), failures: Mutex::default() };
        self.0.ports.claims.claim([RunId::of_pipeline(model, &pipeline.fingerprint).key()]);
        let result = self.asked_by(model, pipeline).and_then(|desired| {
            let snapshots = self.pinned_snapshots(model, &desired, cancel)?;
            let digests = snapshots.iter().map(|(input, s)| (input.clone(), s.digest)).collect();
            if plan::fingerprint(&desired, &digests) != pipeline.fingerprint {
                return Err(PortError::retryable("the content changed since this training was planned"));
            }
            let job = PipelineJob {
                model: desired,
                revision: pipeline.revision.clone(),
                fingerprint: pipeline.fingerprint,
                attempt: pipeline.attempt,
                snapshots,
            };
            let outcome = self.0.ports.trainer.execute(&job, &observer, cancel)?;
            Ok((job, outcome))
        });
        match result {
            _ if cancel.is_cancelled() => self.0.meters.trained(model, Trained::Cancelled, None),
            Ok((job, outcome)) => {
                self.0.meters.trained(model, Trained::Succeeded, Some(outcome.duration));
                self.register(job, outcome);
            }
            Err(e) => {
                self.0.meters.trained(model, Trained::Failed, None);
                let told = lock(&observer.failures).contains(&e.message);
                self.note_pipeline_failure(model, pipeline, &e, told);
            }
        }
    }

    /// `told`: an event told of this end before.
    fn record_end(&self, run: &Run, by: Option<&Revision>, told: bool) -> PortResult<()> {
        let (kind, message) = match &run.status {
            RunStatus::Succeeded | RunStatus::Running => {
                (EventKind::RunSucceeded, format!("{} succeeded in {}", run.stage, run.duration.unwrap_or_default()))
            }
            RunStatus::Failed { reason } => (EventKind::RunFailed, reason.clone()),
            RunStatus::Cancelled { reason } => (EventKind::RunCancelled, format!("{} stopped: {reason}", run.stage)),
        };
        let batch = Batch::new().put_run(run);
        let batch = if told { batch } else { batch.event(self.event(kind, Some(&run.model), by, message)) };
        self.commit(batch).map_err(|e| PortError::retryable(e.to_string()))
    }

    /// Ends what still runs of cancelled trainings: those that a daemon left which died before it could end them. What ended by itself
    /// meanwhile counts as cancelled too.
    pub(super) fn end_runs(&self, model: &Name, runs: &[RunId]) {
        let end = |id: &RunId| {
            let known = self.0.store.run(id).map_err(|e| PortError::retryable(e.to_string()))?;
            let Some(run) = known.filter(|run| run.status == RunStatus::Running) else { return Ok(()) };
            self.0.ports.trainer.stop(id);
            let status = RunStatus::Cancelled { reason: "something else was asked for meanwhile".into() };
            self.record_end(&Run { status, ended: Some(self.now().wall), ..run }, None, false)
        };
        let ended = runs.iter().try_for_each(end);
        let forget = |observed: &mut ObservedModel, batch: Batch| {
            observed.stopping.retain(|run| !runs.contains(run));
            batch
        };
        if let Err(e) = &ended {
            tracing::error!(%model, "a cancelled run could not be ended: {e}");
        }
        if ended.is_err() || !self.change_model(model, forget) {
            // The look that follows asks again.
            std::thread::sleep(std::time::Duration::from_millis(backoff(1)));
        }
    }

    /// The model as the pipeline's commit asked for it: what is asked for now may be something else, while the training of before goes on
    /// to its end (`finish_superseded`) or is about to be cancelled.
    fn asked_by(&self, model: &Name, pipeline: &Pipeline) -> PortResult<Arc<DesiredModel>> {
        let gone = || PortError::retryable("Git no longer has what this training was asked for");
        let cell = self.cell(model).ok_or_else(gone)?;
        let observed = lock(&cell).observed.clone();
        let asks =
            |d: &Arc<DesiredModel>| plan::fingerprint(d, &pins::resolve(d, &observed).pinned) == pipeline.fingerprint;
        if let Some(now) = observed.desired.clone().filter(asks) {
            return Ok(now);
        }
        let then = self.load_revision(&pipeline.revision.commit.0)?;
        then.state().models.get(model).cloned().filter(asks).ok_or_else(gone)
    }

    /// `told`: an event told of it, as the failure of a stage.
    fn note_pipeline_failure(&self, model: &Name, pipeline: &Pipeline, error: &PortError, told: bool) {
        let now = self.now().steady;
        let retry_at = error.retryable.then(|| now.plus(backoff(pipeline.attempt)));
        let event = self.event(EventKind::RunFailed, Some(model), Some(&pipeline.revision), error.message.clone());
        self.change_model(model, |observed, batch| {
            if let Some(p) = observed.pipeline.as_mut().filter(|p| p.fingerprint == pipeline.fingerprint) {
                p.state = PipelineState::Failed { reason: error.message.clone(), retry_at };
            }
            if told { batch } else { batch.event(event) }
        });
    }

    /// The version that is live now is the one that gates compare this one with; version, verdicts and the end of the pipeline are one
    /// write.
    fn register(&self, job: PipelineJob, outcome: PipelineOutcome) {
        let name = job.model.spec.name.clone();
        let live = self.cell(&name).and_then(|c| self.live_version(&lock(&c).observed, Some(&job.model)));
        let opponent = live.map(|l| Opponent { version: l.number, metrics: l.metrics });
        let results = gates::judge(&job.model.spec.gates, &outcome.metrics, opponent.as_ref());
        let failed = gates::failures(&results);
        let duration = outcome.duration;
        let mut past = None;
        let done = self.change_model(&name, |observed, batch| {
            observed.pipeline = None;
            // A daemon that died right after this write finds the version by its fingerprint and writes no second one.
            if self.0.store.version_by_fingerprint(&name, &job.fingerprint).ok().flatten().is_some() {
                return batch;
            }
            observed.last_version += 1;
            // A client may have registered versions of this model meanwhile: all share one row of numbers.
            while self.0.store.version(&name, VersionNumber(observed.last_version)).ok().flatten().is_some() {
                observed.last_version += 1;
            }
            let number = VersionNumber(observed.last_version);
            let version = Version { opponent, ..version(&job, outcome, number, results, self.now().wall) };
            past = version.expected();
            let message = format!("{number} registered, trained in {duration}: {}", figures(&version.metrics));
            let mut batch =
                batch.event(self.event(EventKind::VersionRegistered, Some(&name), Some(&job.revision), message));
            if !failed.is_empty() {
                let message = format!("{number}: gate failed: {}", failed.join("; "));
                batch = batch.event(self.event(EventKind::GateFailed, Some(&name), Some(&job.revision), message));
            }
            batch.put_version(&version)
        });
        if let Some(cell) = self.cell(&name).filter(|_| done && past.is_some()) {
            lock(&cell).past = past;
        }
    }
}

/// `auc 0.9312, loss 0.2100`, the first ones where there are many.
fn figures(metrics: &BTreeMap<String, f64>) -> String {
    const TOLD: usize = 20;
    let mut told: Vec<String> = metrics.iter().take(TOLD).map(|(k, v)| format!("{k} {v:.4}")).collect();
    if metrics.len() > TOLD {
        told.push(format!("and {} more", metrics.len() - TOLD));
    }
    told.join(", ")
}

fn version(
    job: &PipelineJob,
    outcome: PipelineOutcome,
    number: VersionNumber,
    gates: Vec<GateResult>,
    created: WallMs,
) -> Version {
    let train = job.model.spec.stages.iter().find(|s| s.name.as_str() == "train");
    Version {
        model: job.model.spec.name.clone(),
        number,
        origin: Origin::Pipeline,
        fingerprint: job.fingerprint,
        revision: job.revision.clone(),
        code_path: job.model.code_path.clone(),
        code: job.model.code,
        code_files: outcome.code_files,
        params: train.map(|t| t.params.clone()).unwrap_or_default(),
        snapshots: job.snapshots.iter().map(|(i, s)| (i.clone(), s.digest)).collect(),
        python: outcome.python,
        packages: outcome.packages,
        host: outcome.host,
        metrics: outcome.metrics,
        stages: outcome.stages,
        artifact: outcome.artifact,
        gates,
        opponent: None,
        created,
        duration: outcome.duration,
    }
}
