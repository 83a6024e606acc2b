//! `[[deploy.analysis]]`, and `analyses/NAME.toml` for those that several models use.

use super::{
    decode::{Extra, File, Table},
    load::SCHEMA,
    others, paths,
    units::duration,
};
use crate::model::*;

/// A command answers within this where nobody says.
const COMMAND_TIMEOUT: Millis = Millis(30_000);

/// The analyses of a `[[deploy]]` table, and the names of shared ones.
pub(super) fn of_deploy(t: &mut Table) -> (Vec<AnalysisSpec>, Vec<Name>) {
    let (mut own, mut uses) = (vec![], vec![]);
    for mut table in t.tables("analysis") {
        if table.has("use") {
            uses.extend(table.name("use"));
            table.finish();
        } else {
            own.extend(one(table));
        }
    }
    check_twice(t, "analysis", &own);
    (own, uses)
}

/// `analyses/NAME.toml`.
pub fn template(path: &str, bytes: &[u8]) -> Result<(AnalysisTemplate, Extra), Vec<Diagnostic>> {
    let read = File::read(path, bytes, SCHEMA, |root| {
        let Some(mut head) = root.table("analysis") else {
            root.error("missing table `[analysis]` with a `name`".into());
            return None;
        };
        let name = others::name(&mut head, path);
        let _ = head.text("description");
        head.finish();
        let metrics: Vec<AnalysisSpec> = root.tables("metric").into_iter().filter_map(one).collect();
        if !root.has("metric") {
            root.error("an analysis needs at least one [[metric]]".into());
        }
        check_twice(root, "metric", &metrics);
        Some(AnalysisTemplate { name: name?, metrics })
    });
    others::whole(read)
}

fn check_twice(t: &Table, key: &str, all: &[AnalysisSpec]) {
    for (i, a) in all.iter().enumerate() {
        if all[..i].iter().any(|b| b.name == a.name) {
            let message = format!("two analyses are called `{}`", a.name);
            t.error_at(key, message, "give each a `name` of its own".into());
        }
    }
}

fn one(mut t: Table) -> Option<AnalysisSpec> {
    let metric = metric(&mut t);
    let named = t.parsed("name", |s| Name::new(s).map_err(|e| e.to_string()));
    let latency = metric.as_ref().is_some_and(|m| m.quantile().is_some());
    let share = matches!(metric, Some(AnalysisMetric::ErrorRate | AnalysisMetric::Agreement));
    let mut bound = |key| if latency { t.parsed(key, duration).map(|m| m.0 as f64) } else { t.number(key) };
    let (min, max) = (bound("min"), bound("max"));
    for (key, value) in [("min", min), ("max", max)] {
        if share && value.is_some_and(|v| !(0.0..=1.0).contains(&v)) {
            t.error_at(key, format!("`{key}` of a share is from 0 to 1"), "such as 0.01 for 1 %".into());
        }
    }
    if min.zip(max).is_some_and(|(a, b)| a > b) {
        t.error_at("min", "`min` is larger than `max`: every release breaks one of them".into(), "swap them".into());
    }
    let compared = compared(&mut t, metric.as_ref());
    if !t.has("min") && !t.has("max") && !t.has("no_worse_than") {
        t.error("an analysis needs `max`, `min` or `no_worse_than = \"stable\"`".into());
    }
    let interval = t.parsed("interval", |s| match duration(s)? {
        Millis(0) => Err("write more than 0".to_owned()),
        some => Ok(some),
    });
    let delay = t.parsed("delay", duration);
    let mut limit = |key, least| t.whole(key, least, 1_000_000).map(|n| n as u32);
    let (count, failure_limit) = (limit("count", 1), limit("failure_limit", 0));
    let (inconclusive_limit, error_limit) = (limit("inconclusive_limit", 0), limit("error_limit", 0));
    let min_requests = t.whole("min_requests", 1, 1_000_000_000);
    let dry_run = t.flag("dry_run").unwrap_or_default();
    t.finish();
    let usual = AnalysisSpec::new(metric?);
    Some(AnalysisSpec {
        name: named.map_or(usual.name.clone(), |n| n.to_string()),
        min,
        max,
        no_worse_than_stable: compared.no_worse_than_stable,
        tolerance: compared.tolerance,
        confidence: compared.confidence.unwrap_or(usual.confidence),
        higher_is_better: compared.higher_is_better,
        interval: interval.unwrap_or(usual.interval),
        delay: delay.unwrap_or(usual.delay),
        count: count.unwrap_or(usual.count),
        failure_limit: failure_limit.unwrap_or(usual.failure_limit),
        inconclusive_limit,
        error_limit: error_limit.unwrap_or(usual.error_limit),
        min_requests: min_requests.unwrap_or(usual.min_requests),
        dry_run,
        ..usual
    })
}

fn metric(t: &mut Table) -> Option<AnalysisMetric> {
    use AnalysisMetric::{
        Agreement, Command, Difference, ErrorRate, LatencyP50, LatencyP90, LatencyP99, Prometheus, Requests,
    };
    const ROUTER: [AnalysisMetric; 7] =
        [ErrorRate, LatencyP50, LatencyP90, LatencyP99, Requests, Agreement, Difference];
    let words = ROUTER.iter().map(AnalysisMetric::word).collect::<Vec<_>>().join(", ");
    let kinds = ["metric", "prometheus", "run"];
    let given: Vec<&str> = kinds.into_iter().filter(|k| t.has(k)).collect();
    if given.len() != 1 {
        t.error("an analysis needs one of `metric` (of the router), `prometheus` with `query`, or `run`".into());
    }
    for (key, of) in [("query", "prometheus"), ("timeout", "run")] {
        if t.has(key) && !t.has(of) {
            t.error_at(key, format!("`{key}` goes with `{of}`"), format!("remove it, or add `{of}`"));
        }
    }
    let of_router = t.parsed("metric", |s| {
        ROUTER.into_iter().find(|m| m.word() == s).ok_or_else(|| format!("the router measures {words}"))
    });
    let address = t.parsed("prometheus", paths::url);
    let query = t.text("query");
    if t.has("prometheus") && !t.has("query") {
        t.error("`prometheus` needs a `query`".into());
    }
    let run = if t.has("run") { t.command("run") } else { None };
    let timeout = t.parsed("timeout", duration).unwrap_or(COMMAND_TIMEOUT);
    let asked = address.zip(query).map(|(address, query)| Prometheus { address, query });
    of_router.or(asked).or(run.map(|run| Command { run, timeout }))
}

struct ComparedWith {
    no_worse_than_stable: bool,
    tolerance: f64,
    confidence: Option<f64>,
    higher_is_better: bool,
}

fn compared(t: &mut Table, metric: Option<&AnalysisMetric>) -> ComparedWith {
    let word = |s: &str| if s == "stable" { Ok(()) } else { Err("write \"stable\"".to_owned()) };
    let no_worse_than_stable = t.parsed("no_worse_than", word).is_some();
    let of_router = metric.is_none_or(AnalysisMetric::is_of_router);
    let incomparable = matches!(
        metric,
        Some(
            AnalysisMetric::Requests
                | AnalysisMetric::Agreement
                | AnalysisMetric::Difference
                | AnalysisMetric::Command { .. }
        )
    );
    if incomparable && t.has("no_worse_than") {
        let message = "this figure has no counterpart of the stable release".into();
        t.error_at("no_worse_than", message, "give it `max` or `min`".into());
    }
    for key in ["tolerance", "confidence", "better"] {
        if t.has(key) && !t.has("no_worse_than") {
            t.error_at(key, format!("`{key}` goes with `no_worse_than`"), "remove it".into());
        }
    }
    if of_router && t.has("better") {
        t.error_at("better", "lower is better of all that the router compares".into(), "remove it".into());
    }
    let usual = match metric {
        Some(AnalysisMetric::ErrorRate) => 0.005,
        Some(m) if m.quantile().is_some() => 0.1,
        _ => 0.0,
    };
    let tolerance = t.number("tolerance").unwrap_or(usual);
    if tolerance < 0.0 {
        t.error_at("tolerance", "`tolerance` is negative".into(), "write 0 or more".into());
    }
    let confidence = t.number("confidence");
    if confidence.is_some_and(|c| !(0.5..1.0).contains(&c)) {
        t.error_at("confidence", "`confidence` is from 0.5 to below 1".into(), "such as 0.95".into());
    }
    let better = t.parsed("better", |s| match s {
        "higher" => Ok(true),
        "lower" => Ok(false),
        _ => Err("write \"higher\" or \"lower\"".into()),
    });
    ComparedWith { no_worse_than_stable, tolerance, confidence, higher_is_better: better.unwrap_or_default() }
}
