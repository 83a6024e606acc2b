//! What follows once the actions are done, for people.

use super::{Input, release};
use crate::model::*;

/// Gates and environments that a new or returning version goes through; empty when nothing will move.
pub fn outlook(input: &Input, desired: &DesiredModel, version: Option<&Version>, actions: &[Planned]) -> Vec<Outlook> {
    let moves = |p: &Planned| {
        matches!(p.action, Action::Train { .. } | Action::ResolveData { .. } | Action::JudgeGates { .. })
            || matches!(p.action, Action::SetRollout { .. } | Action::FinishRollout { .. })
    };
    if !actions.iter().any(moves) {
        return vec![];
    }
    let mut all = Vec::new();
    if actions.iter().any(|p| matches!(p.action, Action::ResolveData { .. })) {
        let text = "a new version, unless one was trained from this very data".to_owned();
        all.push(Outlook { what: "train".into(), text, expected: input.past });
    }
    if version.is_none() && !desired.spec.gates.is_empty() {
        let gates: Vec<String> = desired.spec.gates.iter().map(|g| gate(g, input.live)).collect();
        all.push(Outlook { what: "gates".into(), text: gates.join(" · "), expected: None });
    }
    if let Some(serve) = &desired.spec.serve {
        let wanted = version.map(|v| release(v.number, serve));
        all.extend(desired.spec.deploy.iter().filter_map(|d| environment(input, desired, d, wanted)));
    }
    all
}

fn gate(gate: &GateSpec, live: Option<&Version>) -> String {
    let min = gate.min.map(|b| format!("{} ≥ {b}", gate.metric));
    let max = gate.max.map(|b| format!("{} ≤ {b}", gate.metric));
    let compared = gate.no_worse_than_live.then(|| {
        let figure = live.and_then(|l| l.metrics.get(&gate.metric).map(|m| format!(" {} ({m:.4})", l.number)));
        format!("{} no worse than live{}{}", gate.metric, figure.unwrap_or_default(), gate.slack())
    });
    [min, max, compared].into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

fn environment(input: &Input, desired: &DesiredModel, deploy: &DeploySpec, wanted: Option<Release>) -> Option<Outlook> {
    let deployment = input.observed.deployments.get(&deploy.environment);
    let stable = deployment.and_then(|d| d.stable);
    if stable.is_some() && stable == wanted {
        return None;
    }
    let before = stable.map_or("nothing".to_owned(), |s| s.version.to_string());
    let after = wanted.map_or("new".to_owned(), |w| w.version.to_string());
    let served = wanted.is_some_and(|w| deployment.is_some_and(|d| d.served.contains(&w)))
        && desired.environments.get(&deploy.environment).is_none_or(|e| e.rollback_at_once);
    let (how, expected) = match &deploy.strategy {
        _ if stable.is_none() => ("at once (nothing serves yet)".to_owned(), None),
        _ if served => ("at once (served before)".to_owned(), Some(Millis(0))),
        Strategy::AtOnce => ("at once".to_owned(), None),
        Strategy::Recreate => ("recreated: the old version goes before the new one comes".to_owned(), None),
        strategy => {
            let steps = strategy.steps();
            let mut words: Vec<String> = steps.iter().map(step).collect();
            words.push("100 %".into());
            let holds = steps.iter().map(|s| s.hold.0).sum();
            (format!("{} {}", strategy.kind().word(), words.join(" → ")), Some(Millis(holds)))
        }
    };
    let text = format!("{before} → {after}, {how}{}", promotion(deploy, served));
    Some(Outlook { what: deploy.environment.to_string(), text, expected })
}

/// What has to come first: `, after staging for 1h, approved by @risk-team`.
fn promotion(deploy: &DeploySpec, served: bool) -> String {
    let after = deploy.after.as_ref().map(|a| format!(", after {a}"));
    let soak = deploy.soak.filter(|_| !served).map(|soak| format!(" for {soak}"));
    let approve = Some(deploy.approve.join(" or ")).filter(|by| !by.is_empty() && !served);
    let approved = approve.map(|by| format!(", approved by {by}"));
    [after, soak, approved].into_iter().flatten().collect()
}

/// A step in a few words: `5 %`, `copies of 100 %`, `preview`.
fn step(s: &StepSpec) -> String {
    let what = if s.shadow > 0.0 {
        format!("copies of {} %", s.shadow)
    } else if s.baseline > 0.0 {
        format!("{} % beside {} %", s.weight, s.baseline)
    } else if s.weight > 0.0 {
        format!("{} %", s.weight)
    } else {
        "preview".to_owned()
    };
    let gate = if s.gate { ", then by hand" } else { "" };
    format!("{what}{gate}")
}
