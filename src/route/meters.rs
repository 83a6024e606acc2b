//! What the router counts since it started, for Prometheus.
//!
//! A release has series from its first request until no route names it and its last request ended: a fleet of idle models costs
//! nothing, and retired versions do not pile up.

use crate::model::{Name, VersionNumber};
use http::StatusCode;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry, TextEncoder, core::Collector,
    process_collector::ProcessCollector, register_int_counter_vec_with_registry,
};
use std::{sync::OnceLock, time::Duration};

/// Upper bounds in seconds: from a model in memory to a slow one.
const SECONDS: &[f64] = &[0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// All of the router's meters.
pub struct Meters {
    registry: Registry,
    refused: IntCounterVec,
}

impl Meters {
    fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let pid = i32::try_from(std::process::id()).unwrap_or_default();
        registry.register(Box::new(ProcessCollector::new(pid, "trimtab_router")))?;
        let refused = register_int_counter_vec_with_registry!(
            "trimtab_router_refusals_total",
            "Requests that no version was asked for; the model is empty when there is none of that name",
            &["model", "code"],
            registry
        )?;
        Ok(Self { registry, refused })
    }

    /// The meter of a release, without series yet.
    pub fn release(&self, environment: &Name, model: &Name, version: VersionNumber) -> Meter {
        let (environment, model) = (environment.clone(), model.clone());
        Meter { registry: self.registry.clone(), environment, model, version, series: OnceLock::new() }
    }

    /// The router itself answered. `model` is empty when no route has it: names that callers make up are no labels.
    pub fn refused(&self, model: &str, code: StatusCode) {
        if let Ok(series) = self.refused.get_metric_with_label_values(&[model, code.as_str()]) {
            series.inc();
        }
    }

    /// Everything as it stands, in Prometheus text.
    pub fn text(&self) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

impl Default for Meters {
    #[expect(clippy::expect_used, reason = "names and labels are constants; every router that starts takes this path")]
    fn default() -> Self {
        Self::new().expect("the names of the metrics are valid")
    }
}

/// What is counted of one version in one environment.
pub struct Meter {
    registry: Registry,
    environment: Name,
    model: Name,
    version: VersionNumber,
    series: OnceLock<Series>,
}

struct Series {
    requests: IntCounterVec,
    /// That of 200, looked up once: nearly all answers are.
    ok: OnceLock<IntCounter>,
    seconds: Histogram,
    ejections: IntCounter,
    stood_in: IntCounter,
}

impl Meter {
    pub fn version(&self) -> VersionNumber {
        self.version
    }

    /// An answer with this status began, or a failure was told, after `took`.
    pub fn record(&self, code: StatusCode, took: Duration) {
        let Some(series) = self.series() else { return };
        if code == StatusCode::OK {
            series.ok.get_or_init(|| series.requests.with_label_values(&["200"])).inc();
        } else if let Ok(requests) = series.requests.get_metric_with_label_values(&[code.as_str()]) {
            requests.inc();
        }
        series.seconds.observe(took.as_secs_f64());
    }

    /// A replica was passed over.
    pub fn ejected(&self) {
        if let Some(series) = self.series() {
            series.ejections.inc();
        }
    }

    /// It answered without a share, as no version that has one could.
    pub fn stood_in(&self) {
        if let Some(series) = self.series() {
            series.stood_in.inc();
        }
    }

    /// `None` only while the meter of an earlier route to the same version still holds its last request.
    fn series(&self) -> Option<&Series> {
        if self.series.get().is_none()
            && let Ok(series) = self.register()
        {
            // Of two first requests one registers; the other finds this set, or counts from its next request on.
            let _ = self.series.set(series);
        }
        self.series.get()
    }

    fn register(&self) -> prometheus::Result<Series> {
        let labelled = |name: &str, help: &str| {
            Opts::new(name, help)
                .const_label("environment", self.environment.as_str())
                .const_label("model", self.model.as_str())
                .const_label("version", self.version.to_string())
        };
        let requests =
            labelled("trimtab_router_requests_total", "Requests answered, by model, version and status code");
        let seconds =
            labelled("trimtab_router_request_duration_seconds", "Time until a version's answer began, or had failed");
        let requests = IntCounterVec::new(requests, &["code"])?;
        let seconds = HistogramOpts { common_opts: seconds, buckets: SECONDS.to_vec() };
        let seconds = Histogram::with_opts(seconds)?;
        let ejections =
            labelled("trimtab_router_ejections_total", "Times that a replica which failed in a row was passed over");
        let ejections = IntCounter::with_opts(ejections)?;
        let stood_in = labelled(
            "trimtab_router_stood_in_total",
            "Requests that a version without a share answered, as none that has one could",
        );
        let stood_in = IntCounter::with_opts(stood_in)?;
        self.registry.register(Box::new(stood_in.clone()))?;
        self.registry.register(Box::new(requests.clone()))?;
        self.registry.register(Box::new(ejections.clone()))?;
        self.registry.register(Box::new(seconds.clone()))?;
        Ok(Series { requests, ok: OnceLock::new(), seconds, ejections, stood_in })
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let Some(Series { requests, seconds, ejections, stood_in, .. }) = self.series.take() else { return };
        let all: [Box<dyn Collector>; 4] =
            [Box::new(requests), Box::new(seconds), Box::new(ejections), Box::new(stood_in)];
        for collector in all {
            // It was registered when the series was made.
            let _ = self.registry.unregister(collector);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_live_from_the_first_request_until_the_meter_goes() {
        let meters = Meters::default();
        let name = |s| Name::new(s).unwrap();
        let meter = meters.release(&name("prod"), &name("m"), VersionNumber(7));
        assert!(!meters.text().unwrap().contains("requests_total"));
        meter.record(StatusCode::OK, Duration::from_millis(2));
        meter.record(StatusCode::BAD_GATEWAY, Duration::from_secs(20));
        let text = meters.text().unwrap();
        let line = "trimtab_router_requests_total{code=\"502\",environment=\"prod\",model=\"m\",version=\"v7\"} 1";
        assert!(text.contains(line), "{text}");
        let line = "_bucket{environment=\"prod\",model=\"m\",version=\"v7\",le=\"0.0025\"} 1";
        assert!(text.contains(line), "{text}");
        let again = meters.release(&name("prod"), &name("m"), VersionNumber(7));
        again.record(StatusCode::OK, Duration::ZERO);
        drop(meter);
        assert!(!meters.text().unwrap().contains("requests_total"));
        again.record(StatusCode::OK, Duration::ZERO);
        assert!(meters.text().unwrap().contains("requests_total{code=\"200\""), "registered once the other is gone");
    }
}
