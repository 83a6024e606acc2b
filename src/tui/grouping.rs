//! Which models of the fleet stand together.

use crate::{api::types::*, model::*};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// What those of a group share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grouping {
    #[default]
    Nothing,
    Health,
    Owner,
    /// The last environment of its chain where it serves.
    Environment,
    /// The folder in Git that holds the model's own.
    Folder,
}

const ALL: [Grouping; 5] =
    [Grouping::Nothing, Grouping::Health, Grouping::Owner, Grouping::Environment, Grouping::Folder];

impl Grouping {
    /// The one after it.
    pub fn next(self) -> Self {
        let place = ALL.iter().position(|o| *o == self).unwrap_or(0);
        ALL[(place + 1) % ALL.len()]
    }

    /// What is said of it.
    pub fn told(self) -> &'static str {
        match self {
            Self::Nothing => "not grouped",
            Self::Health => "grouped by health",
            Self::Owner => "grouped by owner",
            Self::Environment => "grouped by environment",
            Self::Folder => "grouped by folder",
        }
    }

    /// The group of a model; `None`: there are none.
    pub fn of(self, m: &ModelSummary) -> Option<&str> {
        Some(match self {
            Self::Nothing => return None,
            Self::Health => HEALTHS[place(m.health)].1,
            Self::Owner => m.owner.as_deref().unwrap_or("no owner"),
            Self::Environment => {
                let serving = m.environments.iter().rev().find(|e| e.version.is_some());
                serving.map_or("deployed nowhere", |e| e.environment.as_str())
            }
            Self::Folder => m.file.as_deref().map_or("no spec", folder),
        })
    }

    /// Those of a group beside each other; what needs a person first, where the groups tell that.
    pub(super) fn compare(self, a: &ModelSummary, b: &ModelSummary) -> Ordering {
        match self {
            Self::Nothing => Ordering::Equal,
            Self::Health => place(a.health).cmp(&place(b.health)),
            _ => self.of(a).cmp(&self.of(b)),
        }
    }
}

/// What needs a person first.
const HEALTHS: [(Health, &str); 6] = [
    (Health::Degraded, "Degraded"),
    (Health::Missing, "Missing"),
    (Health::Progressing, "Progressing"),
    (Health::Suspended, "Suspended"),
    (Health::Unknown, "Unknown"),
    (Health::Healthy, "Healthy"),
];

fn place(health: Health) -> usize {
    HEALTHS.iter().position(|(h, _)| *h == health).unwrap_or(HEALTHS.len() - 1)
}

/// `models/risk` of `models/risk/fraud/model.toml`.
fn folder(file: &str) -> &str {
    let own = file.rsplit_once('/').map_or("", |(own, _)| own);
    own.rsplit_once('/').map_or("", |(above, _)| above)
}
