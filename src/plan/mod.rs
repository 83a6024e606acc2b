//! From (desired, observed, now) to a plan with reasons. Pure.

mod deploy;
mod fingerprint;
pub mod gates;
mod outlook;
pub mod pins;
mod reasons;
pub mod render;
mod status;

pub use fingerprint::{fingerprint, release};
pub use reasons::{Effect, FieldChange, changes};

use crate::model::*;
use std::{collections::BTreeMap, sync::Arc};

/// Everything that the plan of one model is a function of.
pub struct Input<'a> {
    pub now: Now,
    /// `None`: Git has no such model (any more), or its only spec was always broken.
    pub desired: Option<&'a DesiredModel>,
    pub observed: &'a ObservedModel,
    /// The registered version with a fingerprint.
    pub version: &'a dyn Fn(&Digest) -> Option<Arc<Version>>,
    /// The version that serves in the last environment of the chain.
    pub live: Option<&'a Version>,
    pub replicas: &'a BTreeMap<Name, Vec<ReplicaStatus>>,
    /// What the router measured of the new release of each environment's rollout.
    pub traffic: &'a BTreeMap<Name, TrafficStats>,
    /// Whether lock commits can be pushed.
    pub may_push: bool,
    /// Duration of the newest pipelines that succeeded.
    pub past: Option<Millis>,
}

/// Collects a plan.
struct Draft {
    actions: Vec<Planned>,
    waiting: Vec<Waiting>,
    look_again: Option<SteadyMs>,
}
impl Draft {
    fn act(&mut self, action: Action, reasons: Vec<Reason>) {
        self.actions.push(Planned { action, reasons, expected: None });
    }
    fn wait(&mut self, waiting: Waiting, until: Option<SteadyMs>) {
        self.waiting.push(waiting);
        self.look_again = [self.look_again, until].into_iter().flatten().min();
    }
}

/// The plan of one model. Executing it and planning again leads to a plan without actions, in finitely many rounds.
pub fn plan(input: &Input) -> ModelPlan {
    let mut draft = Draft { actions: vec![], waiting: vec![], look_again: None };
    let observed = input.observed;
    let mut target = (None, None);
    match input.desired {
        None => retire(observed, &mut draft),
        Some(_) if observed.suspended => draft.wait(Waiting::Resume, None),
        Some(desired) => target = pursue(input, desired, &mut draft),
    }
    if !observed.broken.is_empty() {
        draft.wait(Waiting::SpecFix, None);
    }
    let (fingerprint, version) = target;
    let (sync, health) = status::judge(input, version.as_deref(), &draft);
    ModelPlan {
        model: observed.name.clone(),
        sync,
        health,
        fingerprint,
        version: version.as_ref().map(|v| v.number),
        outlook: input
            .desired
            .map(|d| outlook::outlook(input, d, version.as_deref(), &draft.actions))
            .unwrap_or_default(),
        conditions: status::conditions(input, version.as_deref(), &draft),
        actions: draft.actions,
        waiting: draft.waiting,
        look_again: draft.look_again,
    }
}

fn retire(observed: &ObservedModel, draft: &mut Draft) {
    if observed.retired || observed.desired.is_none() {
        return;
    }
    let why = vec![Reason {
        field: "spec deleted".into(),
        old: observed.desired.as_ref().map(|d| d.file.clone()),
        new: None,
        place: None,
        commit: observed.observed_revision.as_ref().map(|r| r.commit.clone()),
        author: observed.observed_revision.as_ref().map(|r| r.author.clone()),
    }];
    if let Some(p) = observed.pipeline.as_ref().filter(|p| p.state == PipelineState::Running) {
        let cancel = Action::CancelTraining { fingerprint: p.fingerprint, reason: "the spec was deleted".into() };
        draft.act(cancel, why.clone());
    }
    for environment in observed.deployments.keys() {
        draft.act(Action::Undeploy { environment: environment.clone() }, why.clone());
    }
    draft.act(Action::Retire, why);
}

/// Data, then training, then gates, then environments: each only when what it needs is there.
fn pursue(input: &Input, desired: &DesiredModel, draft: &mut Draft) -> (Option<Digest>, Option<Arc<Version>>) {
    let pins = pins::resolve(desired, input.observed);
    if !pins.missing.is_empty() {
        resolve_data(input, pins.missing, draft);
        deploy::keep(input, desired, draft);
        return (None, None);
    }
    if input.may_push && !pins.pinned.is_empty() && desired.lock_for(&pins.pinned) != desired.lock {
        draft.act(Action::WriteLock { snapshots: pins.pinned.clone() }, vec![]);
    }
    let fingerprint = fingerprint(desired, &pins.pinned);
    cancel_superseded(input, desired, &fingerprint, draft);
    let Some(version) = (input.version)(&fingerprint) else {
        train(input, desired, fingerprint, pins.pinned, draft);
        deploy::keep(input, desired, draft);
        return (Some(fingerprint), None);
    };
    let results = gates::judge(&desired.spec.gates, &version.metrics, input.live, &version.gates);
    let failed = gates::failures(&results);
    if results != version.gates {
        draft.act(Action::JudgeGates { version: version.number, results }, deploy::why(input, desired));
    }
    if failed.is_empty() {
        deploy::environments(input, desired, &version, draft);
    } else {
        draft.wait(Waiting::Gates { version: version.number, failed }, None);
        deploy::keep(input, desired, draft);
    }
    (Some(fingerprint), Some(version))
}

fn resolve_data(input: &Input, missing: BTreeMap<Name, DatasetSpec>, draft: &mut Draft) {
    match &input.observed.data_failure {
        Some(f) if f.retry_at > input.now.steady => {
            draft.wait(Waiting::DataRetry { at: f.retry_at, reason: f.reason.clone() }, Some(f.retry_at));
        }
        _ => draft.act(Action::ResolveData { inputs: missing }, vec![]),
    }
}

fn running(observed: &ObservedModel) -> Option<&Pipeline> {
    observed.pipeline.as_ref().filter(|p| p.state == PipelineState::Running)
}

fn cancel_superseded(input: &Input, desired: &DesiredModel, fingerprint: &Digest, draft: &mut Draft) {
    let Some(p) = running(input.observed).filter(|p| p.fingerprint != *fingerprint) else { return };
    if desired.spec.finish_superseded {
        draft.wait(Waiting::Training { fingerprint: p.fingerprint }, None);
    } else {
        let reason = format!("commit {} asks for something else", desired.changed_by.commit.short());
        let action = Action::CancelTraining { fingerprint: p.fingerprint, reason };
        draft.act(action, deploy::why(input, desired));
    }
}

fn train(input: &Input, model: &DesiredModel, fingerprint: Digest, pins: BTreeMap<Name, Digest>, draft: &mut Draft) {
    let start = |draft: &mut Draft, attempt| {
        let action = Action::Train { fingerprint, snapshots: pins, attempt };
        let retrains = |c: &FieldChange| c.effect == Effect::Retrain;
        let before = input.observed.desired.as_deref().filter(|_| input.observed.last_version > 0);
        let all = changes(before, model);
        let reasons = all.into_iter().filter(retrains).map(|c| c.reason).collect();
        draft.actions.push(Planned { action, reasons, expected: input.past });
    };
    match input.observed.pipeline.as_ref() {
        Some(p) if p.fingerprint != fingerprint => {
            let held = p.state == PipelineState::Running && model.spec.finish_superseded;
            if !held {
                start(draft, 1);
            }
        }
        None => start(draft, 1),
        Some(p) => match &p.state {
            PipelineState::Running => draft.wait(Waiting::Training { fingerprint }, None),
            PipelineState::Failed { retry_at: None, reason } => {
                draft.wait(Waiting::TrainingFailed { reason: reason.clone() }, None);
            }
            PipelineState::Failed { retry_at: Some(at), reason } if *at > input.now.steady => {
                draft.wait(Waiting::TrainingRetry { at: *at, reason: reason.clone() }, Some(*at));
            }
            PipelineState::Failed { .. } => start(draft, p.attempt + 1),
        },
    }
}

#[cfg(test)]
mod tests;
