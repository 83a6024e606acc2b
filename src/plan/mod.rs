//! From (desired, observed, now) to a plan with reasons. Pure.

mod deploy;
mod fingerprint;
pub mod gates;
mod outlook;
pub mod pins;
pub mod promotion;
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
    /// What the router measured in each environment with a rollout.
    pub traffic: &'a BTreeMap<Name, Traffic>,
    /// What the router measured of the newest release of each environment in which it may be taken back.
    pub served: &'a BTreeMap<Name, Served>,
    /// What came of analyses that were asked for outside.
    pub asked: &'a BTreeMap<Name, Vec<Asked>>,
    /// The commit that approves a content for an environment.
    pub approval: &'a dyn Fn(&Name, &Digest) -> Option<Revision>,
    /// `[groups]` of the settings.
    pub groups: &'a Groups,
    /// Whether lock commits can be pushed.
    pub push: Push<'a>,
    /// Duration of the newest pipeline that succeeded, stages taken from the cache counted as when they ran.
    pub past: Option<Millis>,
    /// The commit that deleted the spec.
    pub deleted_by: Option<&'a Revision>,
}

/// Whether trimtab can push a commit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Push<'a> {
    Allowed,
    /// The source or the settings do not allow it: pins stay in the store.
    Never,
    /// The newest push failed, for this reason.
    RestsUntil(SteadyMs, &'a str),
}

/// Collects a plan.
struct Draft {
    actions: Vec<Planned>,
    waiting: Vec<Waiting>,
    questions: Vec<Question>,
    look_again: Option<SteadyMs>,
}
impl Draft {
    fn new() -> Self {
        Self { actions: vec![], waiting: vec![], questions: vec![], look_again: None }
    }
    fn act(&mut self, action: Action, reasons: Vec<Reason>) {
        self.actions.push(Planned { action, reasons, expected: None });
    }
    fn wait(&mut self, waiting: Waiting, until: Option<SteadyMs>) {
        self.waiting.push(waiting);
        until.into_iter().for_each(|at| self.look_at(at));
    }
    /// Has the model looked at again by then.
    fn look_at(&mut self, at: SteadyMs) {
        self.look_again = Some(self.look_again.map_or(at, |before| before.min(at)));
    }
}

/// The plan of one model. Executing it and planning again leads to a plan without actions, in finitely many rounds.
pub fn plan(input: &Input) -> ModelPlan {
    let observed = input.observed;
    let mut draft = Draft::new();
    let target = match input.desired {
        None => {
            retire(input, &mut draft);
            (None, None)
        }
        Some(desired) => {
            let target = pursue(input, desired, &mut draft);
            take_up(input, desired, target.1.as_deref(), &mut draft);
            target
        }
    };
    if !observed.broken.is_empty() {
        draft.wait(Waiting::SpecFix, None);
    }
    let (fingerprint, version) = target;
    let (sync, health) = status::judge(input, version.as_deref(), &draft);
    let conditions = status::conditions(input, version.as_deref(), &draft);
    if observed.suspended {
        // What would be done tells how it stands; nothing is done.
        draft = Draft::new();
        draft.wait(Waiting::Resume, None);
    }
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
        conditions,
        actions: draft.actions,
        waiting: draft.waiting,
        questions: draft.questions,
        look_again: draft.look_again,
    }
}

/// Also what was never valid has to go, once Git has no spec of it any more.
fn retire(input: &Input, draft: &mut Draft) {
    let observed = input.observed;
    if observed.retired || !observed.broken.is_empty() {
        return;
    }
    let why = vec![Reason {
        field: "spec deleted".into(),
        old: observed.desired.as_ref().map(|d| d.file.clone()),
        new: None,
        place: None,
        commit: input.deleted_by.map(|r| r.commit.clone()),
        author: input.deleted_by.map(|r| r.author.clone()),
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
        resolve_data(input, desired, pins.missing, draft);
        deploy::keep(input, desired, draft);
        return (None, None);
    }
    write_lock(input, desired, &pins.pinned, draft);
    let fingerprint = fingerprint(desired, &pins.pinned);
    cancel_superseded(input, desired, &fingerprint, draft);
    let Some(version) = (input.version)(&fingerprint) else {
        train(input, desired, fingerprint, pins.pinned, draft);
        deploy::keep(input, desired, draft);
        return (Some(fingerprint), None);
    };
    let results = gates::judge(&desired.spec.gates, &version.metrics, version.opponent.as_ref());
    let failed = gates::failures(&results);
    if results != version.gates {
        let judged = || reasons::asked(desired, "gate", None, Some("judged anew".into()));
        let action = Action::JudgeGates { version: version.number, results };
        draft.act(action, reasons::or(deploy::why(input, desired), judged));
    }
    if failed.is_empty() {
        deploy::environments(input, desired, &version, draft);
    } else {
        draft.wait(Waiting::Gates { version: version.number, failed }, None);
        deploy::keep(input, desired, draft);
    }
    (Some(fingerprint), Some(version))
}

fn write_lock(input: &Input, desired: &DesiredModel, pins: &BTreeMap<Name, Digest>, draft: &mut Draft) {
    if pins.is_empty() || desired.lock_for(pins) == desired.lock {
        return;
    }
    match input.push {
        Push::Never => {}
        Push::RestsUntil(at, reason) => draft.wait(Waiting::LockPush { at, reason: reason.to_owned() }, Some(at)),
        Push::Allowed => {
            let pinned = |input: &Name| desired.locked(input).map(|d| d.short());
            let why = |(input, new): (&Name, &Digest)| {
                let old = pinned(input);
                (old.as_ref() != Some(&new.short()))
                    .then(|| reasons::asked(desired, &format!("data.{input}.snapshot"), old, Some(new.short())))
            };
            let left = || reasons::asked(desired, "data", Some("inputs that are gone".into()), None);
            let why = reasons::or(pins.iter().filter_map(why).collect(), left);
            draft.act(Action::WriteLock { snapshots: pins.clone() }, why);
        }
    }
}

/// What else of the spec is new: nothing of it trains or moves traffic, and the next plan compares with it.
fn take_up(input: &Input, desired: &DesiredModel, version: Option<&Version>, draft: &mut Draft) {
    let Some(old) = input.observed.desired.as_deref().filter(|old| !old.asks_the_same(desired)) else { return };
    let changed = changes(Some(old), desired);
    if changed.iter().any(|c| c.effect == Effect::Retrain) {
        return;
    }
    let nothing_else = draft.actions.is_empty();
    let (replicas, other): (Vec<_>, Vec<_>) = changed.into_iter().partition(|c| c.reason.field == "serve.replicas");
    let reasons = |all: Vec<FieldChange>| all.into_iter().map(|c| c.reason).collect::<Vec<_>>();
    if let (Some(before), Some(now), Some(version)) = (&old.spec.serve, &desired.spec.serve, version)
        && !replicas.is_empty()
    {
        let why = reasons(replicas);
        let wanted = release(version.number, now);
        for (environment, _) in input.observed.deployments.iter().filter(|(_, d)| d.stable == Some(wanted)) {
            let (environment, from, to) = (environment.clone(), before.replicas, now.replicas);
            draft.act(Action::Scale { environment, from, to }, why.clone());
        }
    }
    if nothing_else && !other.is_empty() {
        draft.act(Action::TakeUp, reasons(other));
    }
}

fn resolve_data(input: &Input, desired: &DesiredModel, missing: BTreeMap<Name, DatasetSpec>, draft: &mut Draft) {
    match &input.observed.data_failure {
        Some(f) if f.of == Some(data_digest(&missing)) && f.retry_at > input.now.steady => {
            draft.wait(Waiting::DataRetry { at: f.retry_at, reason: f.reason.clone() }, Some(f.retry_at));
        }
        _ => {
            let before = input.observed.desired.as_deref();
            let mut why: Vec<Reason> = changes(before, desired).into_iter().map(|c| c.reason).collect();
            why.extend(missing.iter().map(|(input, dataset)| {
                let what = format!("a snapshot of {} ({})", dataset.name, dataset.source);
                reasons::asked(desired, &format!("data.{input}"), None, Some(what))
            }));
            draft.act(Action::ResolveData { inputs: missing }, why);
        }
    }
}

fn running(observed: &ObservedModel) -> Option<&Pipeline> {
    observed.pipeline.as_deref().filter(|p| p.state == PipelineState::Running)
}

fn cancel_superseded(input: &Input, desired: &DesiredModel, fingerprint: &Digest, draft: &mut Draft) {
    let Some(p) = running(input.observed).filter(|p| p.fingerprint != *fingerprint) else { return };
    if desired.spec.finish_superseded {
        draft.wait(Waiting::Training { fingerprint: p.fingerprint, begun: p.has_begun() }, None);
    } else {
        let reason = format!("commit {} asks for something else", desired.changed_by.commit.short());
        let action = Action::CancelTraining { fingerprint: p.fingerprint, reason };
        let other = || reasons::asked(desired, "version", Some(p.fingerprint.short()), Some(fingerprint.short()));
        draft.act(action, reasons::or(deploy::why(input, desired), other));
    }
}

fn train(input: &Input, model: &DesiredModel, fingerprint: Digest, pins: BTreeMap<Name, Digest>, draft: &mut Draft) {
    let start = |draft: &mut Draft, attempt| {
        let action = Action::Train { fingerprint, snapshots: pins, attempt };
        let retrains = |c: &FieldChange| c.effect == Effect::Retrain;
        let before = input.observed.desired.as_deref().filter(|_| input.observed.last_version > 0);
        let all = changes(before, model);
        let why = all.into_iter().filter(retrains).map(|c| c.reason).collect();
        let untrained = match attempt {
            1 => format!("{}, never trained", fingerprint.short()),
            n => format!("{}, attempt {n}", fingerprint.short()),
        };
        let why = reasons::or(why, || reasons::asked(model, "version", None, Some(untrained)));
        draft.actions.push(Planned { action, reasons: why, expected: input.past });
    };
    match input.observed.pipeline.as_ref() {
        Some(p) if p.fingerprint != fingerprint => {
            let held = p.state == PipelineState::Running && model.spec.finish_superseded;
            if !held {
                start(draft, 1);
            }
        }
        None => start(draft, 1),
        // A time limit, say, makes no other version, but another try.
        Some(p) if p.state != PipelineState::Running && p.content.is_some_and(|c| c != model.content) => {
            start(draft, p.attempt + 1);
        }
        Some(p) => match &p.state {
            PipelineState::Running => draft.wait(Waiting::Training { fingerprint, begun: p.has_begun() }, None),
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
