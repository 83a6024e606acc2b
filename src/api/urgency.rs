//! How soon a model needs a person. Pure.

use super::types::{EnvironmentSummary, ModelSummary};
use crate::model::{Health, SyncStatus};

/// The sooner, the less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// It does not serve what it should.
    Broken,
    /// It serves, and somebody has to do something.
    Wrong,
    /// Something goes on.
    Moving,
    /// It was stopped by hand.
    Suspended,
    /// It was not looked at yet.
    Unknown,
    /// Nothing is to be done, also where it was retired.
    None,
}

impl Urgency {
    /// Of how a model stands; `kept_badly`: a release that serves does not keep an objective or what it was promoted by.
    pub fn new(health: Health, sync: SyncStatus, spec_broken: bool, kept_badly: bool) -> Self {
        let stale = sync == SyncStatus::OutOfSync;
        match (health, sync) {
            (Health::Missing, SyncStatus::Synced) => Self::None,
            (Health::Degraded | Health::Missing, _) => Self::Broken,
            // The old version serves, and the newest spec does not come.
            _ if spec_broken => Self::Wrong,
            (Health::Healthy, _) if stale || kept_badly => Self::Wrong,
            (Health::Progressing, _) => Self::Moving,
            (Health::Suspended, _) => Self::Suspended,
            (Health::Unknown, _) => Self::Unknown,
            (Health::Healthy, _) => Self::None,
        }
    }

    /// Of a line of the fleet.
    pub fn of(m: &ModelSummary) -> Self {
        let kept_badly = |e: &EnvironmentSummary| e.burns() || e.differs_from_promised();
        Self::new(m.health, m.sync, m.spec_broken, m.environments.iter().any(kept_badly))
    }
}
