//! The order of the fleet.

use crate::{api::types::*, model::*};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// What comes first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ranking {
    /// What needs a person.
    #[default]
    Problems,
    Name,
    /// The most requests a second in the last environment of the chain.
    Requests,
    /// The slowest there.
    Latency,
    /// The largest share of errors there.
    Errors,
    /// The newest change.
    Changed,
}

const ALL: [Ranking; 6] =
    [Ranking::Problems, Ranking::Name, Ranking::Requests, Ranking::Latency, Ranking::Errors, Ranking::Changed];

impl Ranking {
    /// The one after it.
    pub fn next(self) -> Self {
        let place = ALL.iter().position(|o| *o == self).unwrap_or(0);
        ALL[(place + 1) % ALL.len()]
    }

    /// What is said of it.
    pub fn told(self) -> &'static str {
        match self {
            Self::Problems => "what needs a person first",
            Self::Name => "by name",
            Self::Requests => "most requests first",
            Self::Latency => "slowest first",
            Self::Errors => "most errors first",
            Self::Changed => "newest change first",
        }
    }

    /// Which of two models comes first.
    pub(super) fn compare(self, a: &ModelSummary, b: &ModelSummary) -> Ordering {
        let live = |m: &ModelSummary, of: fn(&EnvironmentSummary) -> f64| m.environments.last().map_or(0.0, of);
        let largest = |of: fn(&EnvironmentSummary) -> f64| live(b, of).total_cmp(&live(a, of));
        let changed = |m: &ModelSummary| m.changed_by.as_ref().map(|r| r.time);
        match self {
            Self::Problems => Urgency::of(a).cmp(&Urgency::of(b)),
            Self::Name => Ordering::Equal,
            Self::Requests => largest(|e| e.requests_per_s),
            Self::Latency => largest(|e| e.p99_ms),
            Self::Errors => largest(|e| e.error_share),
            Self::Changed => changed(b).cmp(&changed(a)),
        }
    }
}

/// Whether a person has to do something.
pub fn needs_a_person(m: &ModelSummary) -> bool {
    let stale = m.health == Health::Healthy && m.sync == SyncStatus::OutOfSync;
    let kept_badly = |e: &EnvironmentSummary| e.burns() || e.differs_from_promised();
    matches!(m.health, Health::Degraded | Health::Missing)
        || m.spec_broken
        || stale
        || m.environments.iter().any(kept_badly)
}
