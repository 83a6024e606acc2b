//! `[monitor]`: what must hold of a release that serves.

use super::Millis;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is promised of the share of requests that may be bad.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// Share of requests that are answered, 0 to 1.
    Availability(f64),
    /// Share `quantile` of the requests take at most so long.
    Latency { quantile: f64, max: Millis },
}

impl Objective {
    /// The share of requests that may be bad: the error budget.
    pub fn budget(&self) -> f64 {
        match self {
            Self::Availability(share) => 1.0 - share,
            Self::Latency { quantile, .. } => 1.0 - quantile,
        }
    }

    /// As the spec writes it: `availability 0.999`, `latency_p99 50ms`.
    pub fn show(&self) -> String {
        match self {
            Self::Availability(share) => format!("availability {share}"),
            Self::Latency { quantile, max } => format!("latency_p{:.0} {max}", quantile * 100.0),
        }
    }
}

/// `[monitor] slo`: objectives, and when one of them that burns takes a new release back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SloSpec {
    pub objectives: Vec<Objective>,
    /// How many times faster than allowed the error budget may be spent.
    pub burn_rate: f64,
    /// How long after a rollout an objective that burns takes the release back. 0: never.
    pub watch: Millis,
}

/// Spent at this rate, the budget of 30 days loses a fiftieth in an hour: the first row of Google's SRE Workbook, chapter 5, table 5-8.
pub const DEFAULT_BURN_RATE: f64 = 14.4;
/// The long window of that row.
pub const DEFAULT_WATCH: Millis = Millis(3_600_000);
