//! Running a model's pipeline to a registered version.

use super::{Reconciler, lock, meters::Trained, queue::backoff};
use crate::{
    model::*,
    plan::{self, gates},
    ports::*,
    store::{Batch, Store},
};

/// Keeps the runs of one pipeline.
struct Observer<'a> {
    reconciler: &'a Reconciler,
    model: &'a Name,
    fingerprint: Digest,
}

impl PipelineObserver for Observer<'_> {
    fn cached(&self, key: &Digest) -> Option<Run> {
        self.store().run_by_key(key).unwrap_or_else(|e| {
            tracing::error!("cannot read a run: {e}");
            None
        })
    }

    fn record(&self, run: &Run) -> PortResult<()> {
        let (kind, message) = match &run.status {
            // The start of the pipeline was told already; a stage's own start shows in its progress.
            RunStatus::Running => (None, String::new()),
            RunStatus::Succeeded => (
                Some(EventKind::RunSucceeded),
                format!("{} succeeded in {}", run.stage, run.duration.unwrap_or_default()),
            ),
            RunStatus::Failed { reason } => (Some(EventKind::RunFailed), reason.clone()),
            RunStatus::Cancelled { reason } => {
                (Some(EventKind::RunCancelled), format!("{} stopped: {reason}", run.stage))
            }
        };
        let mut batch = Batch::new().put_run(run);
        if let Some(kind) = kind {
            batch = batch.event(self.reconciler.event(kind, Some(self.model), None, message));
        }
        self.reconciler.commit(batch).map_err(|e| PortError::retryable(e.to_string()))
    }

    fn progress(&self, stages: &[StageProgress]) {
        self.reconciler.change_model(self.model, |observed, batch| {
            if let Some(p) = observed.pipeline.as_mut().filter(|p| p.fingerprint == self.fingerprint) {
                p.stages = stages.to_vec();
            }
            batch
        });
        self.reconciler.announce(self.model);
    }
}
impl Observer<'_> {
    fn store(&self) -> &Store {
        &self.reconciler.0.store
    }
}

impl Reconciler {
    /// Runs (or, after a daemon's death, takes up) a pipeline and registers its version.
    pub(super) fn run_pipeline(&self, model: &Name, pipeline: &Pipeline, cancel: &Cancel) {
        let Some(_slot) =
            self.0.slots.take(|| self.loaded().state().settings.max_concurrent_training, || cancel.is_cancelled())
        else {
            return;
        };
        let Some(desired) = self.cell(model).and_then(|c| lock(&c).observed.desired.clone()) else { return };
        let result = self.pinned_snapshots(model, &desired).and_then(|snapshots| {
            let digests = snapshots.iter().map(|(input, s)| (input.clone(), s.digest)).collect();
            if plan::fingerprint(&desired, &digests) != pipeline.fingerprint {
                return Err(PortError::retryable("the content changed since this training was planned"));
            }
            let job = PipelineJob {
                model: desired.clone(),
                revision: pipeline.revision.clone(),
                fingerprint: pipeline.fingerprint,
                attempt: pipeline.attempt,
                snapshots,
            };
            let observer = Observer { reconciler: self, model, fingerprint: pipeline.fingerprint };
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
                self.note_pipeline_failure(model, pipeline, &e);
            }
        }
    }

    fn note_pipeline_failure(&self, model: &Name, pipeline: &Pipeline, error: &PortError) {
        let now = self.now().steady;
        let retry_at = error.retryable.then(|| now.plus(backoff(pipeline.attempt)));
        let event = self.event(EventKind::RunFailed, Some(model), Some(&pipeline.revision), error.message.clone());
        self.change_model(model, |observed, batch| {
            if let Some(p) = observed.pipeline.as_mut().filter(|p| p.fingerprint == pipeline.fingerprint) {
                p.state = PipelineState::Failed { reason: error.message.clone(), retry_at };
            }
            batch.event(event)
        });
    }

    /// Gates are judged here, once, against the version that is live now; version, verdicts and the end of the pipeline are one write.
    fn register(&self, job: PipelineJob, outcome: PipelineOutcome) {
        let name = job.model.spec.name.clone();
        let live = self.cell(&name).and_then(|c| self.live_version(&lock(&c).observed, Some(&job.model)));
        let results = gates::judge(&job.model.spec.gates, &outcome.metrics, live.as_ref(), &[]);
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
            let number = VersionNumber(observed.last_version);
            let version = version(&job, outcome, number, results, self.now().wall);
            past = version.expected();
            let figures: Vec<String> = version.metrics.iter().map(|(k, v)| format!("{k} {v:.4}")).collect();
            let message = format!("{number} registered, trained in {duration}: {}", figures.join(", "));
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
        created,
        duration: outcome.duration,
    }
}
