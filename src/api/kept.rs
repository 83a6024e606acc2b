//! Whether what serves keeps what was promised of it: objectives, and the figures that it was promoted by. Pure.

use super::types::{ObjectiveStatus, PromiseStatus};
use crate::{model::*, rollout::slo};

/// How each objective is kept.
pub(super) fn objectives(slo: Option<&SloSpec>, served: &TrafficStats) -> Vec<ObjectiveStatus> {
    let one = |objective: &Objective| ObjectiveStatus {
        objective: *objective,
        requests: served.requests,
        spent: slo::spent(objective, served),
        kept: slo::is_kept(objective, served),
    };
    slo.iter().flat_map(|s| s.objectives.iter().map(one)).collect()
}

/// What the release was promoted by, then and now.
pub(super) fn promised(analyses: &[AnalysisSpec], then: &[Promise], served: &TrafficStats) -> Vec<PromiseStatus> {
    let one = |spec: &AnalysisSpec| {
        let then = then.iter().find(|p| p.analysis == spec.name).map(|p| p.value);
        let now = spec.metric.of_release(served).filter(|_| served.requests >= spec.min_requests);
        let beyond = |v: f64| spec.max.is_some_and(|max| v > max) || spec.min.is_some_and(|min| v < min);
        PromiseStatus { analysis: spec.clone(), then, now, holds: !now.is_some_and(beyond) }
    };
    let known = |s: &&AnalysisSpec| s.metric.of_release(served).is_some() || then.iter().any(|p| p.analysis == s.name);
    analyses.iter().filter(|s| s.metric != AnalysisMetric::Requests).filter(known).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(requests: u64, errors: u64, p99_ms: f64) -> TrafficStats {
        TrafficStats { requests, errors, p99_ms, ..TrafficStats::default() }
    }

    #[test]
    fn objectives_tell_what_is_spent_of_their_budget() {
        let quick = Objective::Latency { quantile: 0.99, max: Millis(50) };
        let objectives_of = vec![Objective::Availability(0.99), quick];
        let slo = SloSpec { objectives: objectives_of, burn_rate: 14.4, watch: DEFAULT_WATCH };
        let told = |t: &TrafficStats| {
            let all = objectives(Some(&slo), t);
            all.iter().map(|o| (o.spent.map(|s| (s * 100.0).round()), o.kept)).collect::<Vec<_>>()
        };
        assert_eq!(told(&served(1_000, 5, 40.0)), [(Some(50.0), true), (None, true)]);
        assert_eq!(told(&served(1_000, 20, 60.0)), [(Some(200.0), false), (None, false)]);
        assert_eq!(told(&served(0, 0, 0.0)), [(None, true), (None, true)]);
        let latency = vec![LatencyBucket { up_to: 20.0, requests: 985 }, LatencyBucket { up_to: 90.0, requests: 15 }];
        let exact = TrafficStats { latency, ..served(1_000, 0, 90.0) };
        assert_eq!(told(&exact), [(Some(0.0), true), (Some(150.0), false)]);
        assert!(objectives(None, &exact).is_empty());
    }

    #[test]
    fn a_figure_beyond_the_bound_of_its_promotion_is_off_promise() {
        let bound = |metric, max| AnalysisSpec { max: Some(max), min_requests: 100, ..AnalysisSpec::new(metric) };
        let asked =
            AnalysisSpec::new(AnalysisMetric::Prometheus { query: "q".into(), address: "http://127.0.0.1".into() });
        let specs = [bound(AnalysisMetric::ErrorRate, 0.01), bound(AnalysisMetric::LatencyP99, 50.0), asked];
        let then = [Promise { analysis: specs[1].name.clone(), value: 12.0 }];
        let told = |t: &TrafficStats| {
            let all = promised(&specs, &then, t);
            all.into_iter().map(|p| (p.then, p.now, p.holds)).collect::<Vec<_>>()
        };
        let some = Some(12.0);
        assert_eq!(told(&served(1_000, 0, 20.0)), [(None, Some(0.0), true), (some, Some(20.0), true)]);
        assert_eq!(told(&served(1_000, 50, 80.0)), [(None, Some(0.05), false), (some, Some(80.0), false)]);
        assert_eq!(told(&served(99, 50, 80.0)), [(None, None, true), (some, None, true)], "too few to say");
        assert_eq!(told(&served(0, 0, 0.0)), [(some, None, true)], "what was promised is still told");
    }
}
