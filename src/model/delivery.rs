//! How a spec says that traffic moves to a new release: strategies, their steps, and what is measured meanwhile.

use super::{Command, FreezeSpec, Millis, Name, TrafficStats};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

fn is_zero(share: &f64) -> bool {
    *share == 0.0
}

/// One step of a rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepSpec {
    /// Percent of the traffic that the new release gets, 0 to 100, to a thousandth.
    pub weight: f64,
    pub hold: Millis,
    /// Percent that a second set of stable's replicas gets, to be compared with.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub baseline: f64,
    /// Percent of the traffic that is copied to the new release, which answers nobody.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub shadow: f64,
    /// Whether a person has to say that it goes on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gate: bool,
    /// Names of analyses that are asked in this step alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub analysis: Vec<String>,
}
impl StepSpec {
    /// A share for a time, and nothing else.
    pub fn new(weight: f64, hold: Millis) -> Self {
        Self { weight, hold, baseline: 0.0, shadow: 0.0, gate: false, analysis: vec![] }
    }
}

/// How traffic moves to a new release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    AtOnce,
    Canary {
        steps: Vec<StepSpec>,
    },
    /// The new release stands beside the old one, reachable at its preview address, then takes all traffic.
    BlueGreen {
        hold: Millis,
        gate: bool,
    },
    /// The new release answers copies of the traffic, then goes on as a canary with these steps, or takes all.
    Shadow {
        /// Percent of the traffic that is copied.
        share: f64,
        hold: Millis,
        gate: bool,
        /// Largest absolute difference of two numbers that agree.
        tolerance: f64,
        steps: Vec<StepSpec>,
    },
    /// The old release goes before the new one comes: where both do not fit beside each other.
    Recreate,
    /// The new release and fresh replicas of the old one get the same small share and are compared with each other.
    Experiment {
        weight: f64,
        hold: Millis,
        gate: bool,
    },
}

impl Strategy {
    /// What a rollout goes through before the new release has all traffic.
    pub fn steps(&self) -> Vec<StepSpec> {
        match self {
            Self::AtOnce | Self::Recreate => vec![],
            Self::Canary { steps } => steps.clone(),
            Self::BlueGreen { hold, gate } => vec![StepSpec { gate: *gate, ..StepSpec::new(0.0, *hold) }],
            Self::Shadow { share, hold, gate, steps, .. } => {
                let first = StepSpec { shadow: *share, gate: *gate, ..StepSpec::new(0.0, *hold) };
                std::iter::once(first).chain(steps.iter().cloned()).collect()
            }
            Self::Experiment { weight, hold, gate } => {
                vec![StepSpec { baseline: *weight, gate: *gate, ..StepSpec::new(*weight, *hold) }]
            }
        }
    }

    /// How it is called.
    pub fn kind(&self) -> StrategyKind {
        match self {
            Self::AtOnce => StrategyKind::AtOnce,
            Self::Canary { .. } => StrategyKind::Canary,
            Self::BlueGreen { .. } => StrategyKind::BlueGreen,
            Self::Shadow { .. } => StrategyKind::Shadow,
            Self::Recreate => StrategyKind::Recreate,
            Self::Experiment { .. } => StrategyKind::Experiment,
        }
    }
}

/// A strategy's name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StrategyKind {
    AtOnce,
    #[default]
    Canary,
    BlueGreen,
    Shadow,
    Recreate,
    Experiment,
}
impl StrategyKind {
    /// As specs write it.
    pub fn word(self) -> &'static str {
        match self {
            Self::AtOnce => "at_once",
            Self::Canary => "canary",
            Self::BlueGreen => "blue_green",
            Self::Shadow => "shadow",
            Self::Recreate => "recreate",
            Self::Experiment => "experiment",
        }
    }
}

/// What an analysis looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnalysisMetric {
    /// Share of answers 5xx or failed, 0 to 1.
    ErrorRate,
    /// Milliseconds.
    LatencyP50,
    /// Milliseconds.
    LatencyP90,
    /// Milliseconds.
    LatencyP99,
    /// Requests since the step began.
    Requests,
    /// Share of copied requests that both releases answered alike, 0 to 1.
    Agreement,
    /// Mean absolute difference of the numbers in both releases' answers.
    Difference,
    /// The value of a PromQL query.
    Prometheus { address: String, query: String },
    /// The last line that a command prints.
    Command { run: Command, timeout: Millis },
}
impl AnalysisMetric {
    /// The quantile of a latency.
    pub fn quantile(&self) -> Option<f64> {
        match self {
            Self::LatencyP50 => Some(0.5),
            Self::LatencyP90 => Some(0.9),
            Self::LatencyP99 => Some(0.99),
            _ => None,
        }
    }

    /// The figure that the router measured of a release; `None` where nothing was asked of it, and of what only a rollout compares or asks for.
    pub fn of_release(&self, t: &TrafficStats) -> Option<f64> {
        let value = match self {
            Self::ErrorRate => t.error_rate(),
            Self::Requests => t.requests as f64,
            _ => t.quantile(self.quantile()?),
        };
        (t.requests > 0).then_some(value)
    }

    /// Whether the router measures it; others are asked for.
    pub fn is_of_router(&self) -> bool {
        !matches!(self, Self::Prometheus { .. } | Self::Command { .. })
    }

    /// What stands behind a figure.
    pub fn unit(&self) -> &'static str {
        if self.quantile().is_some() { " ms" } else { "" }
    }

    /// A figure for people: `0.02 %`, `12.4 ms`.
    pub fn show(&self, value: f64) -> String {
        match self {
            Self::ErrorRate | Self::Agreement => format!("{:.2} %", value * 100.0),
            Self::LatencyP50 | Self::LatencyP90 | Self::LatencyP99 => format!("{value:.1} ms"),
            Self::Requests => format!("{value}"),
            _ => format!("{value:.4}"),
        }
    }

    /// Its word in a spec.
    pub fn word(&self) -> &'static str {
        match self {
            Self::ErrorRate => "error_rate",
            Self::LatencyP50 => "latency_p50",
            Self::LatencyP90 => "latency_p90",
            Self::LatencyP99 => "latency_p99",
            Self::Requests => "requests",
            Self::Agreement => "agreement",
            Self::Difference => "difference",
            Self::Prometheus { .. } => "prometheus",
            Self::Command { .. } => "command",
        }
    }
}

/// `[[deploy.analysis]]`: what must hold while traffic moves. The meaning of the words is that of Argo Rollouts' analyses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AnalysisSpec {
    /// How it is called; the metric's word where nobody says.
    #[serde(default)]
    pub name: String,
    pub metric: AnalysisMetric,
    pub min: Option<f64>,
    /// Milliseconds for latencies.
    pub max: Option<f64>,
    /// `no_worse_than = "stable"`: with the release that served before, over the same time.
    #[serde(default)]
    pub no_worse_than_stable: bool,
    /// Slack of that comparison: absolute for rates and asked figures, relative for latencies (0.1: ten percent slower).
    #[serde(default)]
    pub tolerance: f64,
    /// How sure a comparison must be before it says that the new release is worse, 0.5 to 1.
    #[serde(default = "default_confidence")]
    pub confidence: f64,
    /// Whether larger figures are better; of asked figures only.
    #[serde(default)]
    pub higher_is_better: bool,
    #[serde(default = "default_interval")]
    pub interval: Millis,
    /// Time from the begin of a step to the first measurement.
    #[serde(default)]
    pub delay: Millis,
    /// Good measurements that a step needs.
    #[serde(default = "default_count")]
    pub count: u32,
    /// Bad measurements that a step may have.
    #[serde(default)]
    pub failure_limit: u32,
    /// Unclear measurements that a step may have before it is paused; without, until the deadline of the rollout.
    #[serde(default)]
    pub inconclusive_limit: Option<u32>,
    /// Failures to measure in a row, at most, before it is paused.
    #[serde(default = "default_error_limit")]
    pub error_limit: u32,
    /// Fewer requests than this are no evidence in either direction.
    pub min_requests: u64,
    /// Measured and shown, never acted on.
    #[serde(default)]
    pub dry_run: bool,
}
fn default_confidence() -> f64 {
    0.95
}
fn default_interval() -> Millis {
    Millis(1_000)
}
fn default_count() -> u32 {
    1
}
fn default_error_limit() -> u32 {
    4
}
impl AnalysisSpec {
    /// A metric with the defaults of everything else; no bound yet.
    pub fn new(metric: AnalysisMetric) -> Self {
        Self {
            name: metric.word().to_owned(),
            metric,
            min: None,
            max: None,
            no_worse_than_stable: false,
            tolerance: 0.0,
            confidence: default_confidence(),
            higher_is_better: false,
            interval: default_interval(),
            delay: Millis(0),
            count: default_count(),
            failure_limit: 0,
            inconclusive_limit: None,
            error_limit: default_error_limit(),
            min_requests: 20,
            dry_run: false,
        }
    }

    /// What it asks for, for people: `≤ 1.00 %`, `no worse than stable`.
    pub fn bound(&self) -> String {
        let max = self.max.map(|m| format!("≤ {}", self.metric.show(m)));
        let min = self.min.map(|m| format!("≥ {}", self.metric.show(m)));
        let worse = self.no_worse_than_stable.then(|| "no worse than stable".to_owned());
        [max, min, worse].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// `analyses/NAME.toml`: analyses that several models use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnalysisTemplate {
    pub name: Name,
    pub metrics: Vec<AnalysisSpec>,
}

/// What tells that two requests are of one caller, who gets the same version while the weights stand, and keeps the newer one while its
/// weight grows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sticky {
    /// The value of this request header. Requests without it are split by weight.
    Header(String),
    /// The value of this cookie. The router sets it, to a random one, where it is missing.
    Cookie(String),
}

/// What happens in Git once a rollout was aborted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Nothing: the model is Degraded until someone commits.
    #[default]
    Hold,
    /// trimtab commits and pushes the revert.
    Revert,
}

/// `[[deploy]]`: one environment of the model's chain, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeploySpec {
    pub environment: Name,
    /// Promotion: only a release that is Healthy there.
    pub after: Option<Name>,
    /// How long it must have had all traffic there without a death.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soak: Option<Millis>,
    /// Addresses and `@groups`, one of which has to approve each release.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approve: Vec<String>,
    /// Times in which no traffic moves to a new release, beside those of the environment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freeze: Vec<FreezeSpec>,
    pub strategy: Strategy,
    pub analysis: Vec<AnalysisSpec>,
    /// Names of shared analyses (`analyses/NAME.toml`) that are asked, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uses: Vec<Name>,
    /// How long a step may stay without evidence after its hold before it is paused.
    #[serde(default = "default_deadline")]
    pub deadline: Millis,
    /// How long the release before is kept ready, where the environment's `keep_warm` is not meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_warm: Option<Millis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
    /// Whether callers may choose a version by the header `x-trimtab-version`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forced: bool,
    #[serde(default)]
    pub on_failure: OnFailure,
    /// How many requests are worked on at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<RequestLimit>,
    /// How long a replica may take until it begins its answer, where the router's own setting is not meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Millis>,
}
/// How many requests a model in one environment works on at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestLimit {
    /// Requests under way.
    pub concurrent: u32,
    /// Requests that wait for one of them to end; further ones are refused.
    pub queue: u32,
}
/// Deadline of a step without evidence where the spec has none.
pub const DEFAULT_DEADLINE: Millis = Millis(3_600_000);
pub(super) fn default_deadline() -> Millis {
    DEFAULT_DEADLINE
}
impl DeploySpec {
    /// Everything that is measured: its own analyses, then those of the shared files that it uses.
    pub fn measured(&self, shared: &BTreeMap<Name, Arc<AnalysisTemplate>>) -> Vec<AnalysisSpec> {
        let used = self.uses.iter().filter_map(|name| shared.get(name)).flat_map(|t| &t.metrics);
        self.analysis.iter().chain(used).cloned().collect()
    }

    /// All traffic at once and nothing measured.
    pub fn at_once(environment: Name) -> Self {
        Self {
            environment,
            after: None,
            soak: None,
            approve: vec![],
            freeze: vec![],
            strategy: Strategy::AtOnce,
            analysis: vec![],
            uses: vec![],
            deadline: DEFAULT_DEADLINE,
            keep_warm: None,
            sticky: None,
            limit: None,
            timeout: None,
            forced: false,
            on_failure: OnFailure::Hold,
        }
    }
}
