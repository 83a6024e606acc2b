//! What the loop counts, for Prometheus. Labels are bounded by the fleet: models, environments, and the words of this file.

use crate::model::*;
use prometheus::{
    Histogram, IntCounterVec, IntGauge, Registry, exponential_buckets, process_collector::ProcessCollector,
    register_histogram_with_registry, register_int_counter_vec_with_registry, register_int_gauge_vec_with_registry,
    register_int_gauge_with_registry,
};
use std::time::Instant;

/// How a look at a model ended.
#[derive(Debug, Clone, Copy)]
pub(super) enum Looked {
    Unchanged,
    Changed,
    Failed,
}

/// How a training ended.
#[derive(Debug, Clone, Copy)]
pub(super) enum Trained {
    Succeeded,
    Failed,
    Cancelled,
}

/// Counters and histograms of the running loop; they begin anew with the daemon.
#[derive(Debug)]
pub struct Meters {
    registry: Registry,
    reconciles: IntCounterVec,
    reconcile_seconds: Histogram,
    fetches: IntCounterVec,
    fetch_seconds: Histogram,
    trainings: IntCounterVec,
    training_seconds: Histogram,
    switches: IntCounterVec,
    gate_failures: IntCounterVec,
    events: IntCounterVec,
    queue: IntGauge,
}

/// A minute to a day: trainings are long.
const TRAINING_SECONDS: &[f64] = &[1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 43_200.0, 86_400.0];

impl Meters {
    #[expect(clippy::expect_used, reason = "names and labels are constants; every daemon that starts takes this path")]
    pub(super) fn new() -> Self {
        Self::registered().expect("the names of the metrics are valid")
    }

    /// All at zero.
    fn registered() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let r = &registry;
        r.register(Box::new(ProcessCollector::for_self()))?;
        let build = register_int_gauge_vec_with_registry!(
            "trimtab_build_info",
            "Always 1; the version of the daemon is the label",
            &["version"],
            r
        )?;
        build.get_metric_with_label_values(&[env!("CARGO_PKG_VERSION")])?.set(1);
        let counter = |name: &str, help: &str, labels: &[&str]| {
            register_int_counter_vec_with_registry!(name.to_owned(), help.to_owned(), labels, r)
        };
        let histogram = |name: &str, help: &str, buckets: Vec<f64>| {
            register_histogram_with_registry!(name.to_owned(), help.to_owned(), buckets, r)
        };
        let this = Self {
            reconciles: counter("trimtab_reconciles_total", "Looks at a model, by how they ended", &["result"])?,
            reconcile_seconds: histogram(
                "trimtab_reconcile_duration_seconds",
                "Duration of a look at a model",
                exponential_buckets(0.000_1, 4.0, 9)?,
            )?,
            fetches: counter("trimtab_source_fetches_total", "Fetches of the source, by how they ended", &["result"])?,
            fetch_seconds: histogram(
                "trimtab_source_fetch_duration_seconds",
                "Duration of a fetch of the source, with reading what changed",
                exponential_buckets(0.001, 4.0, 9)?,
            )?,
            trainings: counter(
                "trimtab_trainings_total",
                "Pipelines that ended, by model and how they ended",
                &["model", "result"],
            )?,
            training_seconds: histogram(
                "trimtab_training_duration_seconds",
                "Duration of all stages of a pipeline that succeeded",
                TRAINING_SECONDS.to_vec(),
            )?,
            switches: counter(
                "trimtab_rollout_switches_total",
                "Rollouts that ended: all traffic on the new version, back on one that served before, or aborted",
                &["model", "environment", "result"],
            )?,
            gate_failures: counter(
                "trimtab_gate_failures_total",
                "Versions that a gate keeps out of deployment",
                &["model"],
            )?,
            events: counter("trimtab_events_total", "Events, by kind", &["kind"])?,
            queue: register_int_gauge_with_registry!(
                "trimtab_queue_depth",
                "Models that are due for a look and wait for a worker",
                r
            )?,
            registry,
        };
        // A rate is only right from a first sample of 0.
        for how in [Looked::Unchanged, Looked::Changed, Looked::Failed] {
            this.reconciles.get_metric_with_label_values(&[word(how)])?;
        }
        for result in ["succeeded", "failed"] {
            this.fetches.get_metric_with_label_values(&[result])?;
        }
        Ok(this)
    }

    /// Everything as it stands, with this many models due in the queue.
    pub fn gather(&self, due: usize) -> Vec<prometheus::proto::MetricFamily> {
        self.queue.set(i64::try_from(due).unwrap_or(i64::MAX));
        self.registry.gather()
    }

    pub(super) fn looked(&self, since: Instant, how: Looked) {
        count(&self.reconciles, &[word(how)]);
        self.reconcile_seconds.observe(since.elapsed().as_secs_f64());
    }

    pub(super) fn fetched(&self, since: Instant, good: bool) {
        count(&self.fetches, &[if good { "succeeded" } else { "failed" }]);
        self.fetch_seconds.observe(since.elapsed().as_secs_f64());
    }

    /// `took` of one that succeeded.
    pub(super) fn trained(&self, model: &Name, how: Trained, took: Option<Millis>) {
        let result = match how {
            Trained::Succeeded => "succeeded",
            Trained::Failed => "failed",
            Trained::Cancelled => "cancelled",
        };
        count(&self.trainings, &[model.as_str(), result]);
        if let Some(took) = took {
            self.training_seconds.observe(took.0 as f64 / 1000.0);
        }
    }

    /// An event that is durable.
    pub(super) fn happened(&self, event: &Event) {
        let kind = serde_json::to_value(event.kind).unwrap_or_default();
        count(&self.events, &[kind.as_str().unwrap_or_default()]);
        let model = event.model.as_ref().map_or("", Name::as_str);
        let environment = event.environment.as_ref().map_or("", Name::as_str);
        let result = match event.kind {
            EventKind::Promoted => "promoted",
            EventKind::RolledBack => "rolled_back",
            EventKind::RolloutAborted => "aborted",
            EventKind::GateFailed => return count(&self.gate_failures, &[model]),
            _ => return,
        };
        count(&self.switches, &[model, environment, result]);
    }
}

fn word(how: Looked) -> &'static str {
    match how {
        Looked::Unchanged => "unchanged",
        Looked::Changed => "changed",
        Looked::Failed => "failed",
    }
}

/// Fails only for a wrong number of labels, which the tests of a running daemon would show as a missing series.
fn count(of: &IntCounterVec, labels: &[&str]) {
    if let Ok(series) = of.get_metric_with_label_values(labels) {
        series.inc();
    }
}
