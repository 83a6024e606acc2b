//! Judging a version's gates.

use crate::model::*;
use std::collections::BTreeMap;

/// Judges every gate by figures that never change: those of the version and those that its opponent had when the version was made. So a
/// verdict is another one only when the gate itself is.
pub fn judge(gates: &[GateSpec], metrics: &BTreeMap<String, f64>, opponent: Option<&Opponent>) -> Vec<GateResult> {
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
                });
            }
        };
        fixed(gate.min, "≥", |v, b| v >= b);
        fixed(gate.max, "≤", |v, b| v <= b);
        if gate.no_worse_than_live {
            results.push(compare(gate, value, opponent));
        }
    }
    results
}

/// Where nothing was live, or where live never reported the metric, there is nothing to be worse than.
fn compare(gate: &GateSpec, value: Option<f64>, opponent: Option<&Opponent>) -> GateResult {
    let theirs = opponent.and_then(|o| Some((o.version, *o.metrics.get(&gate.metric)?)));
    let theirs = theirs.filter(|(_, figure)| figure.is_finite());
    let (condition, passed) = match theirs {
        Some((number, figure)) => {
            let condition = format!("{} no worse than live {number} ({figure}){}", gate.metric, gate.slack());
            (condition, value.is_some_and(|v| no_worse(gate, v, figure)))
        }
        None => (format!("{} no worse than live (none when it was made)", gate.metric), value.is_some()),
    };
    let opponent = theirs.map(|(number, _)| number);
    GateResult { condition, metric: gate.metric.clone(), value, passed, opponent }
}

/// Within the tolerance as people write it: 0.945 is no worse than 0.95 by more than 0.005, though the difference of the nearest binary
/// fractions is a little more.
fn no_worse(gate: &GateSpec, ours: f64, theirs: f64) -> bool {
    let worse_by = if gate.higher_is_better { theirs - ours } else { ours - theirs };
    let rounding = 4.0 * f64::EPSILON * ours.abs().max(theirs.abs()).max(gate.tolerance);
    worse_by <= gate.tolerance + rounding
}

/// The failed gates for people: `recall ≥ 0.99: 0.981`.
pub fn failures(results: &[GateResult]) -> Vec<String> {
    let figure = |r: &GateResult| r.value.map_or("not reported".to_owned(), |v| v.to_string());
    results.iter().filter(|r| !r.passed).map(|r| format!("{}: {}", r.condition, figure(r))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(tolerance: f64) -> GateSpec {
        GateSpec {
            metric: "auc".into(),
            min: None,
            max: None,
            no_worse_than_live: true,
            tolerance,
            higher_is_better: true,
        }
    }

    fn judged(gate: GateSpec, ours: f64, theirs: Option<f64>) -> GateResult {
        let metrics = |figure: f64| BTreeMap::from([("auc".to_owned(), figure)]);
        let opponent = theirs.map(|t| Opponent { version: VersionNumber(6), metrics: metrics(t) });
        judge(&[gate], &metrics(ours), opponent.as_ref()).remove(0)
    }

    #[test]
    fn a_comparison_is_of_the_figures_that_people_see() {
        let lower = |tolerance| GateSpec { higher_is_better: false, ..gate(tolerance) };
        for (gate, ours, theirs, passes) in [
            (gate(0.005), 0.945, 0.95, true),
            (gate(0.005), 0.9449, 0.95, false),
            (gate(0.1), 0.2, 0.3, true),
            (gate(0.0), 0.95, 0.95, true),
            (gate(0.0), 0.95 - 1e-9, 0.95, false),
            (gate(0.0), f64::NAN, 0.95, false),
            (lower(0.1), 0.4, 0.3, true),
            (lower(0.1), 0.41, 0.3, false),
            (lower(0.0), 0.1, 0.3, true),
        ] {
            assert_eq!(judged(gate.clone(), ours, Some(theirs)).passed, passes, "{gate:?}: {ours} beside {theirs}");
        }
    }

    #[test]
    fn a_verdict_says_what_was_compared_with_what() {
        assert_eq!(judged(gate(0.0), 0.9, Some(0.95)).condition, "auc no worse than live v6 (0.95)");
        let r = judged(gate(0.005), 0.9, Some(0.95));
        assert_eq!(failures(&[r]), ["auc no worse than live v6 (0.95) by more than 0.005: 0.9"]);
        let r = judged(gate(0.005), 0.9, None);
        assert_eq!((r.condition.as_str(), r.passed), ("auc no worse than live (none when it was made)", true));
        assert!(!judged(gate(0.005), f64::NAN, None).passed, "a metric that was never reported passes nothing");
    }
}
