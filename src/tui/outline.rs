//! What is chosen in the plan's tree, and what of it is folded.

use crate::model::*;
use std::collections::BTreeSet;

/// An entry of the tree that can be chosen and folded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Entry<'a> {
    /// Mistakes in the specs.
    Mistakes,
    Model(&'a ModelPlan),
    /// A deleted spec that waits to be pruned.
    Held(&'a Name),
}

/// How the tree stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outline {
    pub chosen: usize,
    /// Whether entries are open that were not touched; `None`: while they are few.
    open: Option<bool>,
    /// Entries that are not as the others, by model; the mistakes as the empty name.
    other: BTreeSet<String>,
}

/// Models that are open before anything was folded.
const FEW: usize = 30;

impl Outline {
    /// The entries of a plan, the mistakes first.
    pub fn entries(plan: &FleetPlan) -> Vec<Entry<'_>> {
        let mistakes = (!plan.diagnostics.is_empty()).then_some(Entry::Mistakes);
        let models = plan.models.iter().map(Entry::Model);
        mistakes.into_iter().chain(models).chain(plan.held.iter().map(Entry::Held)).collect()
    }

    /// Whether what is below an entry is shown.
    pub fn is_open(&self, plan: &FleetPlan, entry: Entry) -> bool {
        self.open.unwrap_or(plan.models.len() <= FEW) != self.other.contains(key(entry))
    }

    /// Folds the chosen entry, or opens it.
    pub fn toggle(&mut self, plan: &FleetPlan) {
        if let Some(entry) = Self::entries(plan).get(self.chosen) {
            let key = key(*entry).to_owned();
            if !self.other.remove(&key) {
                self.other.insert(key);
            }
        }
    }

    /// Folds all entries, or opens them.
    pub fn toggle_all(&mut self, plan: &FleetPlan) {
        self.open = Some(!self.open.unwrap_or(plan.models.len() <= FEW));
        self.other.clear();
    }

    /// The model of the chosen entry.
    pub fn subject(&self, plan: &FleetPlan) -> Option<Name> {
        match Self::entries(plan).get(self.chosen)? {
            Entry::Model(m) => Some(m.model.clone()),
            Entry::Held(name) => Some((*name).clone()),
            Entry::Mistakes => None,
        }
    }
}

fn key(entry: Entry<'_>) -> &str {
    match entry {
        Entry::Mistakes => "",
        Entry::Model(m) => m.model.as_str(),
        Entry::Held(name) => name.as_str(),
    }
}
