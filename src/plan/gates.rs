//! Judging a version's gates.

use crate::model::*;
use std::collections::BTreeMap;

/// Judges every gate. Verdicts of comparisons that `recorded` holds are kept: a comparison is judged once, against the version
/// that was live then. Fixed bounds are always judged anew.
pub fn judge(
    gates: &[GateSpec],
    metrics: &BTreeMap<String, f64>,
    live: Option<&Version>,
    recorded: &[GateResult],
) -> Vec<GateResult> {
    let mut results = Vec::new();
    for gate in gates {
        let value = metrics.get(&gate.metric).copied().filter(|v| v.is_finite());
        let mut fixed = |bound: Option<f64>, sign: &str, ok: fn(f64, f64) -> bool| {
            if let Some(bound) = bound {
                results.push(GateResult {
                    condition: format!("{} {sign} {bound}", gate.metric),
                    metric: gate.metric.clone(),
                    value,
                    passed: value.is_some_and(|v| ok(v, bound)),
                    opponent: None,
                    comparison: false,
                });
            }
        };
        fixed(gate.min, "≥", |v, b| v >= b);
        fixed(gate.max, "≤", |v, b| v <= b);
        if gate.no_worse_than_live {
            let before = recorded.iter().find(|r| r.comparison && r.metric == gate.metric);
            results.push(before.cloned().unwrap_or_else(|| compare(gate, value, live)));
        }
    }
    results
}

/// Without a live version, or where live never reported the metric, there is nothing to be worse than.
fn compare(gate: &GateSpec, value: Option<f64>, live: Option<&Version>) -> GateResult {
    let theirs = live.and_then(|l| l.metrics.get(&gate.metric)).copied().filter(|v| v.is_finite());
    let (condition, passed) = match (live, theirs) {
        (Some(l), Some(t)) => {
            let worse_by = value.map(|v| if gate.higher_is_better { t - v } else { v - t });
            let condition = format!("{} no worse than live {} ({t})", gate.metric, l.number);
            (condition, worse_by.is_some_and(|w| w <= gate.tolerance))
        }
        _ => (format!("{} no worse than live (none yet)", gate.metric), value.is_some()),
    };
    let opponent = theirs.and(live).map(|l| l.number);
    GateResult { condition, metric: gate.metric.clone(), value, passed, opponent, comparison: true }
}

/// The failed gates for people: `recall ≥ 0.99: 0.981`.
pub fn failures(results: &[GateResult]) -> Vec<String> {
    let figure = |r: &GateResult| r.value.map_or("not reported".to_owned(), |v| v.to_string());
    results.iter().filter(|r| !r.passed).map(|r| format!("{}: {}", r.condition, figure(r))).collect()
}
