//! Traffic on its way to another release, what was measured of it, and one environment as observed.

use super::{
    AnalysisSpec, Millis, Override, Release, Revision, SteadyMs, StepSpec, StrategyKind, TrafficStats, WallMs,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    pub rejected: Option<Rejection>,
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
