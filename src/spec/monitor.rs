//! `[monitor]`: what must hold of what serves.

use super::{decode::Table, units::duration};
use crate::model::*;

/// Reads the table. Drift is checked, so that specs written for it stay valid; this version does not act on it, and says so.
pub(super) fn monitor(root: &mut Table) -> Option<Box<SloSpec>> {
    let mut t = root.table("monitor")?;
    if let Some(d) = t.table("drift") {
        drift(d);
        t.warn_at(
            "drift",
            "`drift` is checked but not acted on by this version".into(),
            "no drift is watched yet".into(),
        );
    }
    let slo = t.table("slo").and_then(slo);
    t.finish();
    slo.map(Box::new)
}

fn drift(mut t: Table) {
    let interval = |s: &str| match duration(s)? {
        Millis(0) => Err("write more than 0".to_owned()),
        some => Ok(some),
    };
    t.text("method");
    if t.number("share").is_some_and(|n| !(0.0..=1.0).contains(&n)) {
        t.error_at("share", "`share` is from 0 to 1".into(), "such as 0.5".into());
    }
    t.parsed("window", interval);
    t.parsed("every", interval);
    t.parsed("on_drift", |s| match s {
        "retrain" | "alert" => Ok(()),
        _ => Err("write \"retrain\" or \"alert\"".into()),
    });
    t.finish();
}

const LATENCIES: [(&str, f64); 3] = [("latency_p50", 0.5), ("latency_p90", 0.9), ("latency_p99", 0.99)];

fn slo(mut t: Table) -> Option<SloSpec> {
    let availability = t.number("availability");
    // All of the requests leave no budget: no service keeps that.
    let kept = availability.filter(|n| *n > 0.0 && *n < 1.0);
    if availability.is_some() && kept.is_none() {
        t.error_at("availability", "`availability` is above 0 and below 1".into(), "such as 0.999".into());
    }
    let mut objectives: Vec<Objective> = kept.map(Objective::Availability).into_iter().collect();
    for (key, quantile) in LATENCIES {
        objectives.extend(t.parsed(key, duration).map(|max| Objective::Latency { quantile, max }));
    }
    let named = LATENCIES.iter().map(|(key, _)| *key).chain(["availability"]);
    if !named.into_iter().any(|key| t.has(key)) {
        t.error("`slo` needs an objective, such as availability = 0.999 or latency_p99 = \"50ms\"".into());
    }
    let burn_rate = t.number("burn_rate").unwrap_or(DEFAULT_BURN_RATE);
    if burn_rate < 1.0 {
        let message = "at a `burn_rate` below 1 the objective is kept".into();
        t.error_at("burn_rate", message, format!("1 or more; {DEFAULT_BURN_RATE} where nobody says"));
    }
    let watch = t.parsed("watch", duration).unwrap_or(DEFAULT_WATCH);
    t.finish();
    Some(SloSpec { objectives, burn_rate, watch })
}
