//! What each action changes in a model's observed state, and the events that tell of it. No effect happens here.

use super::{Reconciler, replicas::News};
use crate::{
    model::*,
    plan::{gates, release},
    store::NewEvent,
};
use std::sync::Arc;

/// A model's next observed state, with what must be written beside it.
pub(super) struct Change<'a> {
    reconciler: &'a Reconciler,
    now: Now,
    pub observed: ObservedModel,
    desired: Option<Arc<DesiredModel>>,
    /// The commit that broke or deleted the spec, when it is so.
    blamed: Option<Revision>,
    pub events: Vec<NewEvent>,
    /// Versions whose gates were judged anew.
    pub versions: Vec<Version>,
}

/// How many releases that served an environment are remembered.
const SERVED_KEPT: usize = 50;

impl<'a> Change<'a> {
    pub fn new(
        reconciler: &'a Reconciler,
        observed: &ObservedModel,
        desired: Option<Arc<DesiredModel>>,
        broken: Vec<Diagnostic>,
    ) -> Self {
        let now = reconciler.now();
        let blamed = reconciler.loaded().blamed(&observed.name).cloned();
        let observed = observed.clone();
        let mut change = Self { reconciler, now, observed, desired, blamed, events: vec![], versions: vec![] };
        change.take_up(broken);
        change
    }

    fn tell(&mut self, kind: EventKind, environment: Option<&Name>, message: String) {
        let of_the_spec = matches!(kind, EventKind::SpecBroken | EventKind::Retired);
        let changed_by = || self.desired.as_ref().map(|d| &*d.changed_by);
        let by = self.blamed.as_ref().filter(|_| of_the_spec).or_else(changed_by);
        let by = by.or(self.observed.observed_revision.as_deref());
        let event = self.reconciler.event(kind, Some(&self.observed.name), by, message);
        self.events.push(NewEvent { environment: environment.cloned(), ..event });
    }

    /// Tells what replicas did by themselves.
    pub fn hear(&mut self, environment: &Name, news: Vec<News>) {
        if let Some(deployment) = self.observed.deployments.get_mut(environment).filter(|d| d.stable.is_some()) {
            // A release proves itself anew after a death and after the recovery from it.
            let stable = deployment.stable;
            let died = |n: &News| {
                Some(n.release) == stable && matches!(n.kind, EventKind::ReplicaDied | EventKind::ReplicaRecovered)
            };
            if deployment.healthy_since.is_none() || news.iter().any(died) {
                deployment.healthy_since = Some(self.now.steady);
            }
        }
        news.into_iter().for_each(|n| self.tell(n.kind, Some(environment), n.message));
    }

    fn take_up(&mut self, broken: Vec<Diagnostic>) {
        if broken != self.observed.broken {
            match Diagnostic::first(&broken) {
                Some(d) => self.tell(EventKind::SpecBroken, None, d.sentence()),
                None if self.desired.is_none() => {}
                None => self.tell(EventKind::SpecFixed, None, "the spec is valid again".into()),
            }
            self.observed.broken = broken;
        }
        if self.desired.is_some() {
            self.observed.retired = false;
        }
        if let Some(serve) = self.desired.as_ref().and_then(|d| d.spec.serve.as_ref()) {
            let key = release(VersionNumber(0), serve).serve;
            self.observed.serves.entry(key).or_insert_with(|| serve.clone());
        }
    }

    /// Makes one action the observed state.
    pub fn apply(&mut self, planned: &Planned) {
        match &planned.action {
            // Beside the look; and what the spec says is taken up by `settle`.
            Action::ResolveData { .. } | Action::WriteLock { .. } | Action::Revert { .. } => {}
            Action::Scale { environment, from, to } => {
                let message = format!("{environment}: {from} → {to} replicas");
                self.tell(EventKind::SpecTakenUp, Some(environment), message);
            }
            Action::TakeUp => {
                let all: Vec<String> = planned.reasons.iter().map(crate::plan::render::change).collect();
                self.tell(EventKind::SpecTakenUp, None, all.join("; "));
            }
            Action::Train { fingerprint, attempt, .. } => self.train(*fingerprint, *attempt, &planned.reasons),
            Action::CancelTraining { reason, .. } => {
                let stages = self.observed.pipeline.take().into_iter().flat_map(|p| p.stages);
                self.observed.stopping.extend(stages.filter_map(|s| s.run));
                self.tell(EventKind::RunCancelled, None, format!("training stopped: {reason}"));
            }
            Action::JudgeGates { version, results } => self.judge(*version, results),
            Action::SetRollout { environment, rollout } => self.set_rollout(environment, rollout.as_ref()),
            Action::Measure { environment, analysis } => {
                let rollout = self.observed.deployments.get_mut(environment).and_then(|d| d.rollout.as_mut());
                rollout.into_iter().for_each(|r| r.analysis.clone_from(analysis));
            }
            Action::FinishRollout { environment, release } => self.finish(environment, *release),
            Action::Reject { environment, release, reason } => self.reject(environment, *release, reason),
            Action::Cool { environment, .. } => {
                self.observed.deployments.entry(environment.clone()).or_default().warm = None;
            }
            Action::Undeploy { environment } => drop(self.observed.deployments.remove(environment)),
            Action::Retire => {
                self.observed.retired = true;
                self.observed.desired = None;
                self.observed.pipeline = None;
                let kept = self.observed.last_version;
                self.tell(
                    EventKind::Retired,
                    None,
                    format!("spec deleted: traffic off, replicas stopped, {kept} versions kept"),
                );
            }
        }
    }

    fn train(&mut self, fingerprint: Digest, attempt: u32, reasons: &[Reason]) {
        let Some(desired) = self.desired.clone() else { return };
        let waiting =
            |s: &StageSpec| StageProgress { name: s.name.clone(), run: None, state: "waiting".into(), duration: None };
        self.observed.pipeline = Some(Box::new(Pipeline {
            fingerprint,
            revision: Revision::clone(&desired.changed_by),
            attempt,
            state: PipelineState::Running,
            started: self.now.wall,
            since: self.now.steady,
            content: Some(desired.content),
            stages: desired.spec.stages.iter().map(waiting).collect(),
        }));
        let why: Vec<String> = reasons.iter().map(crate::plan::render::reason).collect();
        let why = if why.is_empty() { "content that was never trained".to_owned() } else { why.join("; ") };
        self.tell(EventKind::RunStarted, None, format!("training {}: {why}", fingerprint.short()));
    }

    fn judge(&mut self, number: VersionNumber, results: &[GateResult]) {
        let Ok(Some(version)) = self.reconciler.0.store.version(&self.observed.name, number) else { return };
        let failed = gates::failures(results);
        if !failed.is_empty() {
            self.tell(EventKind::GateFailed, None, format!("{number}: gate failed: {}", failed.join("; ")));
        }
        self.versions.push(Version { gates: results.to_vec(), ..version });
    }

    fn set_rollout(&mut self, environment: &Name, rollout: Option<&Rollout>) {
        let deployment = self.observed.deployments.entry(environment.clone()).or_default();
        let before = std::mem::replace(&mut deployment.rollout, rollout.cloned());
        // The second set of replicas is run as the release that it stands for.
        if let Some((baseline, from)) = rollout.and_then(|r| r.baseline.zip(r.from))
            && let Some(serve) = self.observed.serves.get(&from.serve).cloned()
        {
            self.observed.serves.insert(baseline.serve, serve);
        }
        rollout.iter().for_each(|r| deployment.rolls_out(r.to));
        let (kind, message) = match (rollout, before) {
            (None, Some(old)) => (
                EventKind::RolloutAborted,
                format!("{environment}: rollout of {} ended: Git asks for something else", old.to.version),
            ),
            (None, None) => return,
            (Some(new), Some(old)) if old.to == new.to => match &new.phase {
                Phase::Step { index, .. } => {
                    let message = format!(
                        "{environment}: {} at {} %, step {} of {}",
                        new.to.version,
                        new.weight(),
                        index + 1,
                        new.steps.len()
                    );
                    (EventKind::RolloutStep, message)
                }
                Phase::Paused { reason, .. } => (EventKind::RolloutPaused, format!("{environment}: {reason}")),
                Phase::Starting => return,
            },
            (Some(new), _) => {
                let from = new.from.map_or("nothing".to_owned(), |r| r.version.to_string());
                (EventKind::RolloutStarted, format!("{environment}: {from} → {}", new.to.version))
            }
        };
        self.tell(kind, Some(environment), message);
    }

    fn finish(&mut self, environment: &Name, release: Release) {
        let keep_warm = self.desired.as_ref().map_or(0, |d| d.keep_warm(environment).0);
        let watch_ms = self.desired.as_ref().and_then(|d| d.spec.slo.as_ref()).map_or(0, |slo| slo.watch.0);
        let now = self.now;
        let deployment = self.observed.deployments.entry(environment.clone()).or_default();
        let returned = deployment.served.contains(&release);
        // What was taken back stays rejected, and is no release that all traffic returns to.
        let taken_back = deployment.takes_over(release);
        let before = deployment.stable.replace(release);
        // Where both do not fit beside each other, none stays warm.
        let rollout = deployment.rollout.take();
        let fits = rollout.as_ref().is_none_or(|r| r.strategy != StrategyKind::Recreate);
        let figure = |run: &AnalysisRun| {
            let value = run.last.as_ref()?.value?;
            Some(Promise { analysis: run.spec.name.clone(), value })
        };
        deployment.promised = rollout.iter().flat_map(|r| r.analysis.iter().filter_map(figure)).collect();
        deployment.served.retain(|r| *r != release && Some(*r) != taken_back);
        deployment.served.push(release);
        let surplus = deployment.served.len().saturating_sub(SERVED_KEPT);
        deployment.served.drain(..surplus);
        deployment.since = Some(now.wall);
        deployment.healthy_since = Some(now.steady);
        deployment.overridden = None;
        let other = before.filter(|b| *b != release && taken_back.is_none());
        let warm = other.filter(|_| fits && keep_warm > 0);
        deployment.warm = warm.map(|release| Warm { release, until: now.steady.plus(keep_warm) });
        // What went back itself has proved itself before; going forward again would be no way out.
        let watch = other.filter(|_| !returned && watch_ms > 0);
        deployment.watch = watch.map(|back| Watch { back, until: now.steady.plus(watch_ms) });
        let from = before.map_or("nothing".to_owned(), |b| b.version.to_string());
        let (kind, how) = if returned {
            (EventKind::RolledBack, "served before, nothing trained")
        } else {
            (EventKind::Promoted, "all traffic")
        };
        self.tell(kind, Some(environment), format!("{environment}: {from} → {} ({how})", release.version));
    }

    fn reject(&mut self, environment: &Name, release: Release, reason: &str) {
        let at = self.now.wall;
        let deployment = self.observed.deployments.entry(environment.clone()).or_default();
        let evidence = deployment.rollout.take().map(|r| r.analysis).unwrap_or_default();
        // What was let through is tried once.
        deployment.overridden = None;
        let stable = deployment.stable;
        let watch = deployment.watch.filter(|_| stable.is_some());
        let burnt = deployment.rejected.iter_mut().find(|r| Some(r.release) == stable);
        let message = match (watch, burnt) {
            // What the traffic was to go back to did not come up: the release that burns serves on, and stays given up.
            (Some(watch), Some(burnt)) if watch.back == release => {
                let said = format!("{} could not take over: {reason}", release.version);
                burnt.reason = format!("{}; {said}", burnt.reason);
                deployment.watch = None;
                format!("{environment}: {said}; {} serves on", burnt.release.version)
            }
            (watch, _) => {
                deployment.reject(Rejection { release, reason: reason.to_owned(), at, evidence, revert: None });
                let number = release.version;
                match watch.filter(|_| stable == Some(release)) {
                    Some(w) => format!("{environment}: {number} taken back: {reason}; {} takes over", w.back.version),
                    None => {
                        let stable = stable.map_or("nothing".to_owned(), |s| s.version.to_string());
                        format!("{environment}: {number} rejected: {reason}; {stable} serves on")
                    }
                }
            }
        };
        self.tell(EventKind::RolloutAborted, Some(environment), message);
    }

    /// Whether the old desired state stays: while the model is suspended, until data is there, so that the training's reasons can be told
    /// against it, and while a training that the old state asked for may finish, since a daemon that takes it up has to know that state.
    fn keeps_the_old_state(&self, plan: &ModelPlan) -> bool {
        let resolving = plan.actions.iter().any(|p| matches!(p.action, Action::ResolveData { .. }));
        let runs = self.observed.pipeline.as_ref().filter(|p| p.state == PipelineState::Running);
        let finishes = runs.is_some_and(|p| plan.fingerprint.is_some_and(|f| f != p.fingerprint));
        self.observed.suspended || (self.observed.desired.is_some() && (resolving || finishes))
    }

    /// A failure of what Git no longer asks for is over: when Git asks for it again, it is tried again.
    fn forget_failure_of_other_content(&mut self, plan: &ModelPlan) {
        let failed = self.observed.pipeline.as_ref().filter(|p| matches!(p.state, PipelineState::Failed { .. }));
        let other = failed.is_some_and(|p| plan.fingerprint.is_some_and(|f| f != p.fingerprint));
        if other && !self.observed.suspended {
            self.observed.pipeline = None;
        }
    }

    /// A word for a release that Git no longer asks for is over.
    fn forget_overrides_of_others(&mut self, plan: &ModelPlan) {
        let Some(serve) = self.desired.as_ref().and_then(|d| d.spec.serve.as_ref()) else { return };
        let wanted = plan.version.map(|number| release(number, serve));
        // While data is resolved, nobody knows what is asked for.
        for deployment in self.observed.deployments.values_mut().filter(|_| plan.fingerprint.is_some()) {
            deployment.overridden.take_if(|o| Some(o.release) != wanted);
        }
    }

    /// What the plan says of the model as a whole.
    /// Takes its conditions.
    pub fn settle(&mut self, plan: &mut ModelPlan) {
        self.forget_failure_of_other_content(plan);
        self.forget_overrides_of_others(plan);
        let keeps = self.keeps_the_old_state(plan);
        if let Some(desired) = self.desired.clone().filter(|_| !self.observed.retired && !self.observed.suspended) {
            if !keeps {
                self.observed.desired = Some(desired);
            }
            let revision = self.reconciler.loaded().state().revision.clone();
            let touched = self.observed.observed_revision.as_ref().is_none_or(|_| !plan.actions.is_empty());
            if touched || !self.events.is_empty() {
                self.observed.observed_revision = revision;
            }
        }
        let found = std::mem::take(&mut plan.conditions);
        self.observed.conditions = merge(&self.observed.conditions, found, self.now.wall);
    }
}

/// `since` is when the status last changed.
fn merge(old: &[Condition], new: Vec<Condition>, now: WallMs) -> Vec<Condition> {
    let since = |c: &Condition| old.iter().find(|o| o.kind == c.kind && o.status == c.status).map_or(now, |o| o.since);
    let mut merged: Vec<Condition> = new.into_iter().map(|c| Condition { since: since(&c), ..c }).collect();
    merged.shrink_to_fit();
    merged
}
