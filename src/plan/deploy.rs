//! The part of a plan that moves environments to a version.

use super::{
    Draft, Input, Push, changes,
    promotion::{Candidate, Gate},
    reasons, release,
};
use crate::{
    model::*,
    rollout::{self, Next},
};

/// Nothing measured.
const NO_STATS: TrafficStats =
    TrafficStats { requests: 0, errors: 0, p50_ms: 0.0, p90_ms: 0.0, p99_ms: 0.0, latency: vec![], open: vec![] };
static NO_TRAFFIC: Traffic = Traffic { new: NO_STATS, stable: NO_STATS, agreement: None };

/// All fields that differ from what was last acted on.
pub fn why(input: &Input, desired: &DesiredModel) -> Vec<Reason> {
    let old = input.observed.desired.as_deref();
    changes(old, desired).into_iter().map(|c| c.reason).collect()
}

/// Plans every environment of the chain towards `version`, and the end of those that the spec no longer names.
pub fn environments(input: &Input, desired: &DesiredModel, version: &Version, draft: &mut Draft) {
    for environment in input.observed.deployments.keys() {
        if !desired.spec.deploy.iter().any(|d| d.environment == *environment) {
            let gone = || reasons::asked(desired, "deploy", Some(environment.to_string()), None);
            draft.act(Action::Undeploy { environment: environment.clone() }, reasons::or(why(input, desired), gone));
        }
    }
    let Some(serve) = &desired.spec.serve else { return };
    let wanted = release(version.number, serve);
    for deploy in &desired.spec.deploy {
        let none = Deployment::default();
        let deployment = input.observed.deployments.get(&deploy.environment).unwrap_or(&none);
        let one = Environment { input, desired, deploy, deployment, serve, fingerprint: &version.fingerprint };
        one.plan(wanted, draft);
        cool(input, desired, &deploy.environment, deployment, draft);
    }
}

/// With no version to move to: stable serves on, rollouts towards what Git no longer asks for end, and the warm release is let
/// go in its time.
pub fn keep(input: &Input, desired: &DesiredModel, draft: &mut Draft) {
    for (environment, deployment) in &input.observed.deployments {
        drop_rollout(input, desired, environment, deployment, draft);
        cool(input, desired, environment, deployment, draft);
    }
}

fn drop_rollout(input: &Input, desired: &DesiredModel, environment: &Name, deployment: &Deployment, draft: &mut Draft) {
    let Some(rollout) = &deployment.rollout else { return };
    let action = Action::SetRollout { environment: environment.clone(), rollout: None };
    let field = format!("{environment}.version");
    let left = || reasons::asked(desired, &field, Some(rollout.to.version.to_string()), None);
    draft.act(action, reasons::or(why(input, desired), left));
}

fn cool(input: &Input, desired: &DesiredModel, environment: &Name, deployment: &Deployment, draft: &mut Draft) {
    let Some(warm) = deployment.warm else { return };
    if warm.until <= input.now.steady {
        let over = desired.environments.get(environment).map(|e| format!("{} are over", e.keep_warm));
        let why = reasons::asked(desired, &format!("environment.{environment}.keep_warm"), None, over);
        draft.act(Action::Cool { environment: environment.clone(), release: warm.release }, vec![why]);
    } else {
        draft.look_at(warm.until);
    }
}

/// Whether the gate is closed, which it tells.
fn wait(gate: Gate, draft: &mut Draft) -> bool {
    let Gate::Waits(all, again) = gate else { return false };
    all.into_iter().for_each(|waiting| draft.wait(waiting, again));
    true
}

struct Environment<'a> {
    input: &'a Input<'a>,
    desired: &'a DesiredModel,
    deploy: &'a DeploySpec,
    deployment: &'a Deployment,
    serve: &'a ServeSpec,
    /// Of the version that is asked for.
    fingerprint: &'a Digest,
}

impl Environment<'_> {
    fn name(&self) -> Name {
        self.deploy.environment.clone()
    }

    fn plan(&self, wanted: Release, draft: &mut Draft) {
        let rollout = self.deployment.rollout.as_ref();
        if let Some(rejected) = self.deployment.rejection(wanted) {
            self.undo(rejected, draft);
            // What serves may have been given up, too, before Git asked for this one.
            return match self.deployment.watch.filter(|_| self.deployment.burnt().is_some()) {
                Some(watch) => self.go_back(watch.back, draft),
                None => self.drop_rollout(draft),
            };
        }
        if self.deployment.stable == Some(wanted) {
            self.drop_rollout(draft);
            self.watch(wanted, draft);
            return self.wait_ready(wanted, draft);
        }
        if let Some(after) = self.deploy.after.as_ref().filter(|a| !self.is_healthy(a, wanted)) {
            draft.wait(Waiting::Promotion { environment: self.name(), after: after.clone() }, None);
            // A rollout that passed the promotion goes on: a replica of the environment before that restarts is no reason to stop it.
            if rollout.is_none_or(|r| r.to != wanted) {
                return self.drop_rollout(draft);
            }
        }
        let approval = || (self.input.approval)(&self.deploy.environment, self.fingerprint);
        let candidate = Candidate {
            deploy: self.deploy,
            environment: self.desired.environments.get(&self.deploy.environment).map(AsRef::as_ref),
            here: self.deployment,
            before: self.deploy.after.as_ref().and_then(|after| self.input.observed.deployments.get(after)),
            release: wanted,
            approval: &approval,
            groups: self.input.groups,
            now: self.input.now,
        };
        match rollout.filter(|r| r.to == wanted) {
            Some(r) => {
                let held = wait(candidate.may_go_on(), draft);
                self.step(r, held, draft);
            }
            None if wait(candidate.may_begin(), draft) => self.drop_rollout(draft),
            None => self.start(wanted, self.returns_at_once(wanted), draft),
        }
    }

    /// A release that has all traffic and burns an objective while it is new, or does not stay up, is given up.
    fn watch(&self, release: Release, draft: &mut Draft) {
        // What is bad is so from the first, and each second of it counts. Later on half of the shortest window that is judged, ten seconds,
        // misses nothing.
        const FIRST_MS: u64 = 60_000;
        const SOON_MS: u64 = 1_000;
        const LATER_MS: u64 = 5_000;
        let (Some(slo), Some(watch)) = (&self.desired.spec.slo, self.deployment.watch) else { return };
        let now = self.input.now.steady;
        if now >= watch.until {
            return;
        }
        let watched_for = slo.watch.0.saturating_sub(watch.until.since(now));
        let pause = if watched_for < FIRST_MS { SOON_MS } else { LATER_MS };
        draft.look_at(now.plus(pause).min(watch.until));
        let served = self.input.served.get(&self.deploy.environment);
        let burns = served.and_then(|served| rollout::burning(slo, served));
        // What nobody is there to answer is counted for no release.
        if let Some(reason) = burns.or_else(|| rollout::looping(&self.facts(release))) {
            let why = reasons::asked(self.desired, "slo", None, Some(reason.clone()));
            draft.act(Action::Reject { environment: self.name(), release, reason }, vec![why]);
        }
    }

    /// All traffic back to the release before, at once or as soon as it is up.
    fn go_back(&self, back: Release, draft: &mut Draft) {
        match self.deployment.rollout.as_ref().filter(|r| r.to == back) {
            Some(rollout) => self.step(rollout, false, draft),
            None => self.start(back, true, draft),
        }
    }

    /// Whether a release that had all traffic before takes it without steps.
    fn returns_at_once(&self, wanted: Release) -> bool {
        let at_once = self.desired.environments.get(&self.deploy.environment).is_none_or(|e| e.rollback_at_once);
        at_once && self.deployment.served.contains(&wanted)
    }

    /// Git asks for what was rejected: a commit that takes it back, where trimtab is to make it, else until someone commits.
    fn undo(&self, rejected: &Rejection, draft: &mut Draft) {
        let mut unreverted = rejected.revert.as_ref().map(|f| f.reason.clone());
        let mut until = None;
        let retry_at = rejected.revert.as_ref().map_or(Some(SteadyMs(0)), |f| f.retry_at);
        // While what was given up still serves there is nothing yet that Git could say again.
        let serves = self.deployment.stable.is_some() && self.deployment.burnt().is_none();
        let wanted = self.deploy.on_failure == OnFailure::Revert && serves;
        match (self.input.push, retry_at.filter(|_| wanted)) {
            (_, None) => {}
            (Push::Never, _) => unreverted = Some("trimtab may not push to this source".into()),
            (Push::RestsUntil(at, why), _) => (unreverted, until) = (Some(why.to_owned()), Some(at)),
            (Push::Allowed, Some(at)) if at > self.input.now.steady => until = Some(at),
            (Push::Allowed, Some(_)) => {
                let why = self.asked("on_failure", None, Some(rejected.reason.clone()));
                let environment = self.name();
                draft.act(Action::Revert { environment, rejected: rejected.release }, vec![why]);
            }
        }
        let (environment, reason) = (self.name(), rejected.reason.clone());
        draft.wait(Waiting::Rejected { environment, reason, unreverted }, until);
    }

    fn drop_rollout(&self, draft: &mut Draft) {
        drop_rollout(self.input, self.desired, &self.deploy.environment, self.deployment, draft);
    }

    /// What changed, or that this environment is behind.
    fn why_to(&self, wanted: Release) -> Vec<Reason> {
        let stable = self.deployment.stable.map(|s| s.version.to_string());
        reasons::or(why(self.input, self.desired), || self.asked("version", stable, Some(wanted.version.to_string())))
    }

    fn asked(&self, what: &str, old: Option<String>, new: Option<String>) -> Reason {
        reasons::asked(self.desired, &format!("{}.{what}", self.deploy.environment), old, new)
    }

    /// A promotion needs the release to have all traffic in the environment before, with every replica ready.
    fn is_healthy(&self, environment: &Name, wanted: Release) -> bool {
        let there = self.input.observed.deployments.get(environment);
        there.is_some_and(|d| d.stable == Some(wanted)) && self.ready(environment, wanted) >= self.serve.replicas
    }

    fn ready(&self, environment: &Name, release: Release) -> u32 {
        let replicas = self.input.replicas.get(environment);
        replicas.map_or(0, |rs| rs.iter().filter(|r| r.release == release && r.ready).count() as u32)
    }

    fn wait_ready(&self, release: Release, draft: &mut Draft) {
        if self.ready(&self.deploy.environment, release) < self.serve.replicas {
            draft.wait(Waiting::Ready { environment: self.name(), release }, None);
        }
    }

    fn start(&self, wanted: Release, at_once: bool, draft: &mut Draft) {
        let from = self.deployment.stable;
        let by = &self.desired.changed_by;
        // With nothing stable there is nothing to hold traffic back on.
        let rollout = rollout::start(rollout::Start {
            from,
            to: wanted,
            deploy: self.deploy,
            analysis: self.deploy.measured(&self.desired.analyses),
            at_once: at_once || from.is_none(),
            revision: by,
            now: self.input.now,
        });
        // A warm release needs no start: traffic moves in this very plan.
        if let Next::Finish = rollout::next(&rollout, &self.deploy.environment, &self.facts(wanted)) {
            let action = Action::FinishRollout { environment: self.name(), release: wanted };
            return draft.act(action, self.why_to(wanted));
        }
        let action = Action::SetRollout { environment: self.name(), rollout: Some(rollout) };
        draft.act(action, self.why_to(wanted));
    }

    fn facts(&self, release: Release) -> rollout::Facts<'_> {
        let replicas = self.input.replicas.get(&self.deploy.environment);
        let of_release = || replicas.into_iter().flatten().filter(|r| r.release == release);
        rollout::Facts {
            now: self.input.now.steady,
            ready: self.ready(&self.deploy.environment, release),
            wanted: self.serve.replicas,
            death: of_release().filter_map(|r| r.death.as_ref()).max_by_key(|d| d.in_a_row),
            unready: of_release().filter(|r| !r.ready).find_map(|r| r.message.as_deref()),
            traffic: self.input.traffic.get(&self.deploy.environment).unwrap_or(&NO_TRAFFIC),
            asked: self.input.asked.get(&self.deploy.environment).map_or(&[], Vec::as_slice),
            ready_timeout: self.serve.ready_timeout,
        }
    }

    /// A rollout that is `held` stays at its step: it is measured on, and given up when it is bad.
    fn step(&self, rollout: &Rollout, held: bool, draft: &mut Draft) {
        let environment = self.name();
        let facts = self.facts(rollout.to);
        let asked = rollout::questions(rollout, &facts).into_iter();
        draft.questions.extend(asked.map(|analysis| Question { environment: environment.clone(), analysis }));
        match rollout::next(rollout, &environment, &facts) {
            Next::Stay(waiting, until) => draft.wait(waiting, until),
            Next::Finish if held => {}
            Next::Change(next) if held && next.index() != rollout.index() => {}
            Next::Change(next) => {
                let percent = |r: &Rollout| Some(format!("{} %", r.weight()));
                let why = self.asked("weight", percent(rollout), percent(&next));
                draft.act(Action::SetRollout { environment, rollout: Some(next) }, vec![why]);
            }
            Next::Measured(analysis) => {
                let figures = |r: &AnalysisRun| r.last.as_ref().map(|m| m.text.clone());
                let said = analysis.iter().filter_map(figures).collect::<Vec<_>>().join("; ");
                let why = self.asked("analysis", None, Some(said));
                draft.act(Action::Measure { environment, analysis }, vec![why]);
            }
            Next::Finish => {
                let why = self.asked("weight", Some(format!("{} %", rollout.weight())), Some("100 %".into()));
                draft.act(Action::FinishRollout { environment, release: rollout.to }, vec![why]);
            }
            Next::Reject(reason) => {
                let why = self.asked("analysis", None, Some(reason.clone()));
                draft.act(Action::Reject { environment, release: rollout.to, reason }, vec![why]);
            }
        }
    }
}

#[cfg(test)]
mod tests;
