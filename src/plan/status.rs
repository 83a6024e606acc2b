//! Sync status, health and conditions as they follow from one look.

use super::{Draft, Input, Push, release, running};
use crate::model::*;

/// Sync status and health.
pub fn judge(input: &Input, version: Option<&Version>, draft: &Draft) -> (SyncStatus, Health) {
    (sync(input, version, draft), health(input, draft))
}

fn sync(input: &Input, version: Option<&Version>, draft: &Draft) -> SyncStatus {
    let observed = input.observed;
    let Some(desired) = input.desired else {
        return if observed.retired && observed.broken.is_empty() { SyncStatus::Synced } else { SyncStatus::OutOfSync };
    };
    let passed = version.is_some_and(|v| v.gates.iter().all(|g| g.passed));
    let lag =
        |p: &Planned| !matches!(p.action, Action::Cool { .. } | Action::WriteLock { .. } | Action::Measure { .. });
    let done = passed && observed.broken.is_empty() && !draft.actions.iter().any(lag);
    if done && deployed(desired, observed, version) { SyncStatus::Synced } else { SyncStatus::OutOfSync }
}

/// Whether every environment of the chain serves what Git asks for.
fn deployed(desired: &DesiredModel, observed: &ObservedModel, version: Option<&Version>) -> bool {
    let wanted = version.zip(desired.spec.serve.as_ref()).map(|(v, s)| release(v.number, s));
    let serves = |d: &DeploySpec| {
        let stable = observed.deployments.get(&d.environment).and_then(|d| d.stable);
        wanted.is_some() && stable == wanted
    };
    desired.spec.serve.is_none() || desired.spec.deploy.iter().all(serves)
}

/// Whether a model that should be deployed serves nowhere.
fn serves_nothing(desired: &DesiredModel, observed: &ObservedModel) -> bool {
    let wanted = desired.spec.serve.is_some() && !desired.spec.deploy.is_empty();
    wanted && observed.deployments.values().all(|d| d.stable.is_none())
}

fn health(input: &Input, draft: &Draft) -> Health {
    let observed = input.observed;
    if observed.suspended {
        return Health::Suspended;
    }
    // A failure of what Git no longer asks for is over.
    let stuck = |w: &Waiting| {
        let training = matches!(w, Waiting::TrainingFailed { .. } | Waiting::TrainingRetry { .. });
        training || matches!(w, Waiting::Gates { .. } | Waiting::Rejected { .. } | Waiting::DataRetry { .. })
    };
    let rolling = observed.deployments.values().any(|d| d.rollout.is_some());
    let unready = draft.waiting.iter().any(|w| matches!(w, Waiting::Ready { .. }));
    if draft.waiting.iter().any(stuck) {
        Health::Degraded
    } else if rolling || running(observed).is_some() || !draft.actions.is_empty() {
        Health::Progressing
    } else if unready {
        Health::Degraded
    } else if input.desired.is_none_or(|d| serves_nothing(d, observed)) {
        Health::Missing
    } else {
        Health::Healthy
    }
}

/// Everything that promotions wait for beside health.
fn promotion(draft: &Draft) -> String {
    let held = |w: &&Waiting| matches!(w, Waiting::Soak { .. } | Waiting::Approval { .. } | Waiting::Frozen { .. });
    draft.waiting.iter().filter(held).map(super::render::waiting).collect::<Vec<_>>().join("; ")
}

/// The model's conditions; `since` is left 0 for who stores them.
pub fn conditions(input: &Input, version: Option<&Version>, draft: &Draft) -> Vec<Condition> {
    let observed = input.observed;
    let one = |kind: &'static str, status: bool, reason: &'static str, message: String| Condition {
        kind: kind.into(),
        status,
        reason: reason.into(),
        message,
        since: WallMs(0),
    };
    let mut all = vec![match Diagnostic::first(&observed.broken) {
        None => one("SpecValid", true, "Checked", String::new()),
        Some(d) => one("SpecValid", false, "SpecBroken", d.sentence()),
    }];
    let Some(desired) = input.desired else { return all };
    let resolving = draft.actions.iter().any(|p| matches!(p.action, Action::ResolveData { .. }));
    let failed = draft.waiting.iter().find_map(|w| match w {
        Waiting::DataRetry { reason, .. } => Some(reason),
        _ => None,
    });
    all.push(match failed {
        None if resolving => one("DataReady", false, "Resolving", "a snapshot is taken".into()),
        None => one("DataReady", true, "Pinned", String::new()),
        Some(reason) => one("DataReady", false, "SnapshotFailed", reason.clone()),
    });
    if !desired.spec.data.is_empty() && !resolving {
        let failed = draft.waiting.iter().find_map(|w| match w {
            Waiting::LockPush { reason, .. } => Some(reason.clone()),
            _ => None,
        });
        all.extend(match (failed, input.push) {
            (Some(reason), _) => Some(one("LockPushed", false, "PushFailed", reason)),
            (None, Push::Never) => None,
            (None, _) => {
                let written = draft.actions.iter().any(|p| matches!(p.action, Action::WriteLock { .. }));
                let reason = if written { "Pushing" } else { "InGit" };
                Some(one("LockPushed", !written, reason, String::new()))
            }
        });
    }
    all.push(match (version, observed.pipeline.as_ref().map(|p| &p.state)) {
        (Some(v), _) => one("Trained", true, "VersionRegistered", v.number.to_string()),
        (None, Some(PipelineState::Failed { reason, .. })) => one("Trained", false, "PipelineFailed", reason.clone()),
        (None, Some(PipelineState::Running)) => one("Trained", false, "Training", String::new()),
        (None, None) => one("Trained", false, "Planned", String::new()),
    });
    if let Some(v) = version {
        let failed = super::gates::failures(&v.gates);
        all.push(match failed.is_empty() {
            true => one("GatesPassed", true, "AllPassed", String::new()),
            false => one("GatesPassed", false, "GateFailed", failed.join("; ")),
        });
    }
    let waits = draft.waiting.iter().find_map(|w| match w {
        Waiting::Rejected { environment, reason, .. } => Some(("RolloutRejected", format!("{environment}: {reason}"))),
        Waiting::Ready { environment, release } => {
            let all = input.replicas.get(environment).into_iter().flatten().filter(|r| r.release == *release);
            let died = all.filter(|r| !r.ready).find_map(|r| r.death.as_ref());
            let why = died.map_or(String::new(), |d| format!(": {}", d.reason));
            Some(("ReplicasNotReady", format!("{environment}: not all replicas are ready{why}")))
        }
        Waiting::Hold { environment, .. }
        | Waiting::Requests { environment, .. }
        | Waiting::Analysis { environment, .. }
        | Waiting::Person { environment, .. } => Some(("RollingOut", format!("{environment}: a rollout is under way"))),
        Waiting::Promotion { environment, after } => {
            Some(("WaitsForPromotion", format!("{environment} waits for {after}")))
        }
        Waiting::Soak { .. } => Some(("Soaking", promotion(draft))),
        Waiting::Approval { .. } => Some(("WaitsForApproval", promotion(draft))),
        Waiting::Frozen { .. } => Some(("Frozen", promotion(draft))),
        _ => None,
    });
    all.push(match waits {
        None if draft.actions.is_empty() && version.is_some() && deployed(desired, observed, version) => {
            one("Deployed", true, "AsDesired", String::new())
        }
        None if draft.waiting.iter().any(|w| matches!(w, Waiting::Gates { .. })) => {
            one("Deployed", false, "GateFailed", "the version that Git asks for did not pass its gates".into())
        }
        None => one("Deployed", false, "Pending", String::new()),
        Some((reason, message)) => one("Deployed", false, reason, message),
    });
    all
}
