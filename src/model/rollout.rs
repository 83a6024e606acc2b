//! Traffic on its way to another release, what was measured of it, and one environment as observed.

use super::{
    AnalysisSpec, Millis, Override, Release, Revision, SteadyMs, StepSpec, StrategyKind, TrafficStats, WallMs,
};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// The state of moving traffic to a new release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "phase")]
pub enum Phase {
    /// Replicas of the new release start; all traffic on stable.
    Starting,
    /// At `steps[index]`; its hold is counted from `since`.
    Step { index: usize, since: SteadyMs },
    /// Held by a person or by an analysis without evidence; continues at `index`, `held_ms` of its hold already served.
    Paused {
        index: usize,
        held_ms: u64,
        reason: String,
        /// The step is done but for a person's word: going on is the next step.
        #[serde(default)]
        gate: bool,
    },
}

/// What one measurement says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Success,
    Failure,
    /// Neither good nor bad.
    Inconclusive,
    /// It could not be measured: nothing is said of the release.
    Error,
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Measurement {
    pub verdict: Verdict,
    pub value: Option<f64>,
    /// The same figure of the release that is compared with.
    pub stable: Option<f64>,
    /// The figures, the bound and what came of it, for people.
    pub text: String,
}

/// An analysis of a rollout and how it stands. Everything but `spec` and the recent figures begins anew with each step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AnalysisRun {
    #[serde(flatten)]
    pub spec: AnalysisSpec,
    /// When it is measured next.
    #[serde(default)]
    pub next: SteadyMs,
    #[serde(default)]
    pub good: u32,
    #[serde(default)]
    pub bad: u32,
    #[serde(default)]
    pub unclear: u32,
    #[serde(default)]
    pub errors_in_a_row: u32,
    #[serde(default)]
    pub last: Option<Measurement>,
    /// The newest figures of the rollout, oldest first.
    #[serde(default)]
    pub recent: Vec<f64>,
    /// Those of stable, where there are any, measured with them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recent_stable: Vec<f64>,
}
impl AnalysisRun {
    /// Nothing measured yet.
    pub fn new(spec: AnalysisSpec) -> Self {
        let (good, bad, unclear, errors_in_a_row) = (0, 0, 0, 0);
        Self {
            spec,
            next: SteadyMs(0),
            good,
            bad,
            unclear,
            errors_in_a_row,
            last: None,
            recent: vec![],
            recent_stable: vec![],
        }
    }
}

/// A measurement that had to be asked for outside.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// The analysis's name.
    pub analysis: String,
    /// When the question was put.
    pub at: SteadyMs,
    pub answer: Answer,
}
/// What came of a question.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The figure, and that of the stable release when it was asked for, too.
    Figures {
        new: f64,
        stable: Option<f64>,
    },
    /// There is nothing to say yet.
    NoData,
    Failed(String),
}

/// How answers of two releases to the same requests compare.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, Default, JsonSchema)]
pub struct Agreement {
    /// Requests that both answered.
    pub compared: u64,
    pub agreed: u64,
    /// Copies that the new release did not answer, or could not be sent.
    pub failed: u64,
    pub mean_difference: f64,
    pub max_difference: f64,
}

/// What the router measured in one environment since the step of its rollout began.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default, JsonSchema)]
pub struct Traffic {
    pub new: TrafficStats,
    /// Of the release that is compared with: stable, or its second set of replicas.
    pub stable: TrafficStats,
    #[serde(default)]
    pub agreement: Option<Agreement>,
}

/// What the router measured of a release.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Served {
    /// Since its share of the traffic changed.
    pub since: TrafficStats,
    /// Over the last ten seconds.
    pub recent: TrafficStats,
}

/// What the router measured of a model in one environment lately.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Recent {
    /// Over the last ten seconds.
    pub requests_per_s: f64,
    /// Milliseconds, over the last ten seconds.
    pub p99_ms: f64,
    /// 0 to 1, over the last ten seconds.
    pub error_share: f64,
    /// Requests that have begun and not ended.
    pub in_flight: u64,
    /// Requests over the last ten seconds that a release without a share answered, as none that has one could.
    pub stood_in: u64,
    /// Requests of each quarter of a minute of the last five minutes, oldest first; empty when there were none.
    pub history: Vec<u64>,
    /// Each release since its share of the traffic changed; without a histogram.
    pub since: Vec<(Release, TrafficStats)>,
}

/// A rollout under way in one environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rollout {
    pub from: Option<Release>,
    pub to: Release,
    #[serde(default)]
    pub strategy: StrategyKind,
    /// Steps that this rollout goes through; empty when it is at once.
    pub steps: Vec<StepSpec>,
    pub analysis: Vec<AnalysisRun>,
    /// How long a step may stay without evidence after its hold.
    #[serde(default = "super::delivery::default_deadline")]
    pub deadline: Millis,
    /// The release before as a second set of replicas, where steps compare with one.
    #[serde(default)]
    pub baseline: Option<Release>,
    /// Largest absolute difference of two numbers that agree, where traffic is copied.
    #[serde(default)]
    pub tolerance: f64,
    #[serde(flatten)]
    pub phase: Phase,
    pub started: SteadyMs,
    pub started_wall: WallMs,
    pub revision: Revision,
}

impl Rollout {
    /// The place of the step that it is at.
    pub fn index(&self) -> Option<usize> {
        match &self.phase {
            Phase::Starting => None,
            Phase::Step { index, .. } | Phase::Paused { index, .. } => Some(*index),
        }
    }

    /// The step that it is at.
    pub fn step(&self) -> Option<&StepSpec> {
        self.steps.get(self.index()?)
    }

    /// Percent of traffic that the new release gets in this phase.
    pub fn weight(&self) -> f64 {
        self.step().map_or(0.0, |s| s.weight)
    }

    /// Percent of traffic of which the new release gets copies in this phase.
    pub fn shadow(&self) -> f64 {
        self.step().map_or(0.0, |s| s.shadow)
    }

    /// The second set of stable's replicas and its percent of traffic.
    fn compared(&self) -> Option<(Release, f64)> {
        let needed = self.steps.iter().any(|s| s.baseline > 0.0);
        let share = self.step().map_or(0.0, |s| s.baseline);
        self.baseline.filter(|_| needed).map(|release| (release, share))
    }
}

/// A pair (release, environment) that failed: not tried again until content changes or a person retries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rejection {
    pub release: Release,
    pub reason: String,
    pub at: WallMs,
    /// What was measured when it was given up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<AnalysisRun>,
    /// Why Git does not say again what serves, where trimtab was to make that commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revert: Option<RevertFailure>,
}
/// Older records hold the newest rejection alone, or null.
fn one_or_several<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Rejection>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Kept {
        Several(Vec<Rejection>),
        One(Option<Box<Rejection>>),
    }
    Ok(match Kept::deserialize(from)? {
        Kept::Several(all) => all,
        Kept::One(one) => one.map(|r| *r).into_iter().collect(),
    })
}
/// Why a revert could not be made or pushed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevertFailure {
    pub reason: String,
    pub attempts: u32,
    /// `None`: trying again does not help.
    pub retry_at: Option<SteadyMs>,
}

/// One environment of a model, as observed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Deployment {
    pub stable: Option<Release>,
    pub rollout: Option<Rollout>,
    /// What was given up, the newest last: the release that serves, where it burnt and nothing took over yet, and those that Git asked for since.
    #[serde(default, deserialize_with = "one_or_several")]
    pub rejected: Vec<Rejection>,
    /// Releases that once had all traffic here, newest last, each once.
    pub served: Vec<Release>,
    /// When the newest release got all traffic.
    pub since: Option<WallMs>,
    /// Since when it has had all traffic and none of its replicas died.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_since: Option<SteadyMs>,
    /// The release that a person let through before its time, until it has all traffic, failed, or another is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overridden: Option<Override>,
    /// The release before, kept ready without traffic so that a revert takes no start-up.
    pub warm: Option<Warm>,
    /// While the newest release is new: what takes over again when one of its objectives burns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<Watch>,
    /// What was measured of the newest release when it got all traffic.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub promised: Vec<Promise>,
}
/// A figure that a release had when it got all traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Promise {
    /// The analysis that measured it.
    pub analysis: String,
    pub value: f64,
}
/// The time in which a release that has all traffic may be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// The release before.
    pub back: Release,
    pub until: SteadyMs,
}
/// A release that is kept ready without traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warm {
    pub release: Release,
    pub until: SteadyMs,
}
impl Deployment {
    /// Why a release was given up, while it is.
    pub fn rejection(&self, release: Release) -> Option<&Rejection> {
        self.rejected.iter().find(|r| r.release == release)
    }

    /// The release that serves although it was given up, as nothing took over yet.
    pub fn burnt(&self) -> Option<Release> {
        self.stable.filter(|stable| self.rejection(*stable).is_some())
    }

    /// Gives a release up.
    pub fn reject(&mut self, rejection: Rejection) {
        self.rejected.retain(|r| r.release != rejection.release);
        self.rejected.push(rejection);
    }

    /// A rollout to this release begins or moves on. Git asks for something else than what was given up before, so that may be tried again one
    /// day; but what serves stays given up, as the rollout is the way out of it, and all does while that way leads back to the release before.
    pub fn rolls_out(&mut self, to: Release) {
        let (stable, burnt) = (self.stable, self.burnt());
        let back = burnt.is_some() && self.watch.is_some_and(|w| w.back == to);
        self.rejected.retain(|r| back || Some(r.release) == stable);
    }

    /// A release has all traffic. Returns the one before, where that was given up: it stays so, as do those that were since.
    pub fn takes_over(&mut self, release: Release) -> Option<Release> {
        let burnt = self.burnt().filter(|burnt| *burnt != release);
        self.rejected.retain(|r| burnt.is_some() && r.release != release);
        burnt
    }

    /// Every release that needs replicas now with its share of traffic in percent: the rollout's, stable, the warm one. They add up to 100
    /// while anything serves.
    pub fn shares(&self) -> Vec<(Release, f64)> {
        let mut all: Vec<(Release, f64)> = Vec::with_capacity(4);
        let mut moved = 0.0;
        // What goes before the other comes is not there to take any.
        let gone = self.rollout.as_ref().is_some_and(|r| r.strategy == StrategyKind::Recreate);
        if let Some(r) = &self.rollout {
            moved = if gone || self.stable.is_none() { 100.0 } else { r.weight() };
            all.push((r.to, moved));
            if let Some((release, share)) = r.compared() {
                all.push((release, share));
                moved += share;
            }
        }
        if let Some(stable) = self.stable.filter(|s| !gone && all.iter().all(|(r, _)| r != s)) {
            all.push((stable, 100.0 - moved));
        }
        if let Some(warm) = self.warm.filter(|w| all.iter().all(|(r, _)| *r != w.release)) {
            all.push((warm.release, 0.0));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Digest, VersionNumber};

    fn release(n: u32) -> Release {
        Release { version: VersionNumber(n), serve: Digest::of(b"") }
    }
    fn rejection(n: u32) -> Rejection {
        Rejection { release: release(n), reason: format!("v{n} is bad"), at: WallMs(0), evidence: vec![], revert: None }
    }

    #[test]
    fn rejections_of_older_records_are_read() {
        let with = |rejected: &str| {
            let json = format!(r#"{{"stable":null,"rollout":null,{rejected}"served":[],"since":5,"warm":null}}"#);
            serde_json::from_str::<Deployment>(&json).unwrap().rejected
        };
        let one = serde_json::to_string(&rejection(2)).unwrap();
        assert_eq!((with(""), with(r#""rejected":null,"#)), (vec![], vec![]));
        assert_eq!(with(&format!(r#""rejected":{one},"#)), [rejection(2)]);
        let several = Deployment { rejected: vec![rejection(2), rejection(3)], ..Deployment::default() };
        let kept = serde_json::to_string(&several).unwrap();
        assert_eq!(serde_json::from_str::<Deployment>(&kept).unwrap(), several);
    }

    /// Does something with a deployment.
    type Step = fn(&mut Deployment);

    #[test]
    fn what_serves_and_was_given_up_stays_so_until_another_has_taken_over() {
        let watch = Some(Watch { back: release(1), until: SteadyMs(9) });
        let rows: [(&str, Option<u32>, Step, &[u32]); 8] = [
            ("burns", None, |d| d.reject(rejection(2)), &[2]),
            ("another is tried meanwhile", Some(2), |d| d.rolls_out(release(3)), &[2]),
            ("and is bad, too", Some(2), |d| d.reject(rejection(3)), &[2, 3]),
            ("once more", Some(2), |d| d.reject(Rejection { reason: "still".into(), ..rejection(3) }), &[2, 3]),
            ("the way back forgets nothing", Some(2), |d| d.rolls_out(release(1)), &[2, 3]),
            ("back", Some(2), |d| assert_eq!(d.takes_over(release(1)), Some(release(2))), &[2, 3]),
            ("a newer one is tried", None, |d| d.rolls_out(release(4)), &[]),
            ("and is good", None, |d| assert_eq!(d.takes_over(release(4)), None), &[]),
        ];
        let mut d = Deployment { stable: Some(release(2)), watch, ..Deployment::default() };
        for (what, burnt, step, rejected) in rows {
            assert_eq!(d.burnt(), burnt.map(release), "{what}");
            step(&mut d);
            assert_eq!(d.rejected.iter().map(|r| r.release.version.0).collect::<Vec<_>>(), rejected, "{what}");
            if what == "back" {
                (d.stable, d.watch) = (Some(release(1)), None);
            }
        }
    }
}
