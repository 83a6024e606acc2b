//! Whether a release may come to an environment now: soak, approval, freeze windows, and the word of a person that overrides them.

use crate::model::*;

/// A release that an environment is asked to take.
pub struct Candidate<'a> {
    pub deploy: &'a DeploySpec,
    pub environment: Option<&'a EnvironmentSpec>,
    /// How this environment stands.
    pub here: &'a Deployment,
    /// How the one stands that has to have the release first.
    pub before: Option<&'a Deployment>,
    pub release: Release,
    /// The commit that approves the release's content for this environment; asked for only when it matters.
    pub approval: &'a dyn Fn() -> Option<Revision>,
    pub groups: &'a Groups,
    pub now: Now,
}

/// What becomes of a candidate.
#[derive(Debug, Clone, PartialEq)]
pub enum Gate {
    Open,
    /// It waits for all of these, and is looked at again at the instant, if any, even without an event.
    Waits(Vec<Waiting>, Option<SteadyMs>),
}

/// What is waited for, and when it may be over by itself.
type Wait = (Waiting, Option<SteadyMs>);

/// Longest time that passes until the clock of the wall is read again: it may have been set.
const CLOCK_MS: u64 = 600_000;
/// Windows in a row that are told as one.
const ADJACENT: usize = 50;

impl Candidate<'_> {
    /// Whether its rollout may begin.
    pub fn may_begin(&self) -> Gate {
        self.gate(&[Self::soaks, Self::lacks_approval, Self::is_frozen])
    }

    /// Whether its rollout may go on to the next step: what was soaked stays soaked, but an approval can be taken back, and a window can
    /// begin meanwhile.
    pub fn may_go_on(&self) -> Gate {
        self.gate(&[Self::lacks_approval, Self::is_frozen])
    }

    fn gate(&self, conditions: &[fn(&Self) -> Option<Wait>]) -> Gate {
        if self.is_exempt() {
            return Gate::Open;
        }
        let waits: Vec<Wait> = conditions.iter().filter_map(|lacks| lacks(self)).collect();
        if waits.is_empty() {
            return Gate::Open;
        }
        let again = waits.iter().filter_map(|(_, at)| *at).min();
        Gate::Waits(waits.into_iter().map(|(waiting, _)| waiting).collect(), again)
    }

    /// What served here before may always come back, and a person may let one through.
    fn is_exempt(&self) -> bool {
        self.here.served.contains(&self.release)
            || self.here.overridden.as_ref().is_some_and(|o| o.release == self.release)
    }

    fn soaks(&self) -> Option<Wait> {
        let (soak, after) = (self.deploy.soak?, self.deploy.after.clone()?);
        let serves = self.before.filter(|d| d.stable == Some(self.release));
        // What nobody measured yet begins now.
        let since = serves.and_then(|d| d.healthy_since).unwrap_or(self.now.steady);
        let until = since.plus(soak.0);
        let waiting = Waiting::Soak { environment: self.deploy.environment.clone(), after, soak, until };
        (until > self.now.steady).then_some((waiting, Some(until)))
    }

    fn lacks_approval(&self) -> Option<Wait> {
        let by = &self.deploy.approve;
        if by.is_empty() {
            return None;
        }
        let given = (self.approval)();
        let refused = match given {
            Some(commit) if may_approve(by, self.groups, &commit.email) => return None,
            given => given.map(|commit| format!("{} <{}>", commit.author, commit.email)),
        };
        let (environment, version) = (self.deploy.environment.clone(), self.release.version);
        Some((Waiting::Approval { environment, version, by: by.clone(), refused }, None))
    }

    fn is_frozen(&self) -> Option<Wait> {
        let windows = || self.environment.iter().flat_map(|e| &e.freeze).chain(&self.deploy.freeze);
        let ends = |at: WallMs| windows().filter_map(move |w| w.until(at).map(|until| (until, w))).max_by_key(|e| e.0);
        let mut last = ends(self.now.wall)?;
        // The first one says why; those that follow without a pause say until when.
        let why = last.1.words();
        for _ in 0..ADJACENT {
            let Some(next) = ends(last.0) else { break };
            last = next;
        }
        let (until, window) = last;
        let left = u64::try_from(until.0 - self.now.wall.0).unwrap_or(0);
        let again = self.now.steady.plus(left.min(CLOCK_MS));
        let (environment, zone) = (self.deploy.environment.clone(), window.zone.clone());
        Some((Waiting::Frozen { environment, until, zone, why }, Some(again)))
    }
}

#[cfg(test)]
mod tests;
