//! Which experiments there are.

use crate::model::alike;
use serde::Deserialize;

/// Experiments that are listed, at most: those that changed last.
pub const MOST: usize = 1000;

/// An experiment, as far as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Experiment {
    #[serde(rename = "experiment_id")]
    pub id: String,
    pub name: String,
    /// Milliseconds since the Unix epoch.
    #[serde(rename = "last_update_time", default)]
    pub updated: i64,
}

/// All of them, and how they are looked at.
#[derive(Debug, Clone, Default)]
pub struct Experiments {
    /// What changed last first; `None` before the first answer.
    pub all: Option<Vec<Experiment>>,
    /// Stays selected when the list changes, by id; `None`: whatever is first.
    selected: Option<String>,
}

impl Experiments {
    /// Takes an answer in; whether anything changed.
    pub(super) fn take(&mut self, all: Vec<Experiment>) -> bool {
        let changed = self.all.as_ref() != Some(&all);
        self.all = Some(all);
        changed
    }

    /// Those that are known.
    pub fn known(&self) -> &[Experiment] {
        self.all.as_deref().unwrap_or_default()
    }

    /// Place of the selected one.
    pub fn place(&self) -> usize {
        self.selected.as_ref().and_then(|s| self.known().iter().position(|e| e.id == *s)).unwrap_or(0)
    }

    pub fn selected(&self) -> Option<&Experiment> {
        self.known().get(self.place())
    }

    pub(in crate::tui) fn moved(&mut self, by: isize) {
        let place = self.place().saturating_add_signed(by).min(self.known().len().saturating_sub(1));
        self.selected = if place == 0 { None } else { self.known().get(place).map(|e| e.id.clone()) };
    }

    /// Names that one which is none may have been meant to be.
    pub fn alike(&self, name: &str) -> Vec<&str> {
        alike(name, self.known().iter().map(|e| e.name.as_str()))
    }
}
