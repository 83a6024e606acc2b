//! What is kept in memory: experiments, and every run packed.

use super::{Tracked, row::Row};
use crate::model::tracking::*;
use hashbrown::HashTable;
use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, RandomState},
};

/// Where a run is among the rows.
pub type Slot = u32;

/// Pages of a run that no chunk holds yet.
#[derive(Debug, Clone, Copy, Default)]
pub struct Loose {
    pub pages: u32,
    pub points: u32,
}

/// Every run.
#[derive(Default)]
pub struct Runs {
    rows: Vec<Row>,
    /// Places by id; the id itself is in the row.
    places: HashTable<Slot>,
    hasher: RandomState,
    by_experiment: HashMap<u64, Vec<Slot>>,
    pub loose: HashMap<Slot, Loose>,
    /// Number of the next page of points.
    pub next_page: u64,
}

impl Runs {
    /// Where the run of this id is.
    pub fn slot(&self, id: &str) -> Tracked<Slot> {
        let found = self.places.find(self.hasher.hash_one(id), |slot| self.row(*slot).id() == id);
        found.copied().ok_or_else(|| TrackingError::missing(format!("Run with id={id} not found")))
    }

    /// The run at a place that `slot` gave.
    pub fn row(&self, slot: Slot) -> &Row {
        &self.rows[slot as usize]
    }

    /// Puts a run, new or in the place of what has its id.
    pub fn put(&mut self, row: Row) -> Tracked<Slot> {
        if let Ok(slot) = self.slot(row.id()) {
            self.rows[slot as usize] = row;
            return Ok(slot);
        }
        let slot = Slot::try_from(self.rows.len())
            .map_err(|_| TrackingError::new(ErrorCode::InternalError, "there are too many runs"))?;
        self.by_experiment.entry(row.facts()?.experiment).or_default().push(slot);
        self.rows.push(row);
        let (rows, hasher) = (&self.rows, &self.hasher);
        let hash = |slot: &Slot| hasher.hash_one(rows[*slot as usize].id());
        self.places.insert_unique(hash(&slot), slot, hash);
        Ok(slot)
    }

    /// Places of an experiment's runs, in the order in which they came.
    pub fn of_experiment(&self, experiment: u64) -> &[Slot] {
        self.by_experiment.get(&experiment).map_or(&[], Vec::as_slice)
    }

    /// Gives back room that the growing left over.
    pub fn settle(&mut self) {
        self.rows.shrink_to_fit();
        self.by_experiment.values_mut().for_each(Vec::shrink_to_fit);
    }
}

/// Every experiment.
#[derive(Default)]
pub struct Experiments {
    pub by_id: BTreeMap<u64, Experiment>,
    by_name: HashMap<String, u64>,
}

impl Experiments {
    /// The experiment of this id, deleted or not.
    pub fn get(&self, id: u64) -> Tracked<&Experiment> {
        self.by_id.get(&id).ok_or_else(|| TrackingError::missing(format!("No Experiment with id={id} exists")))
    }

    /// The experiment of this name, deleted or not.
    pub fn named(&self, name: &str) -> Option<&Experiment> {
        self.by_name.get(name).and_then(|id| self.by_id.get(id))
    }

    /// Puts an experiment, new or in the place of what has its id.
    pub fn put(&mut self, experiment: Experiment) {
        if let Some(old) = self.by_id.get(&experiment.id) {
            self.by_name.remove(&old.name);
        }
        self.by_name.insert(experiment.name.clone(), experiment.id);
        self.by_id.insert(experiment.id, experiment);
    }

    /// Forgets one that was not kept.
    pub fn remove(&mut self, id: u64) {
        if let Some(old) = self.by_id.remove(&id) {
            self.by_name.remove(&old.name);
        }
    }

    /// The id after the newest.
    pub fn next_id(&self) -> u64 {
        self.by_id.last_key_value().map_or(0, |(id, _)| id + 1)
    }
}

/// All of it.
#[derive(Default)]
pub struct State {
    pub experiments: Experiments,
    pub runs: Runs,
}

impl State {
    /// The experiment, which must not be deleted.
    pub fn active(&self, id: u64) -> Tracked<&Experiment> {
        let experiment = self.experiments.get(id)?;
        match experiment.lifecycle {
            Lifecycle::Active => Ok(experiment),
            Lifecycle::Deleted => Err(TrackingError::invalid(format!(
                "The experiment {id} must be in the 'active' state. Current state is deleted."
            ))),
        }
    }
}

/// The run must not be deleted.
pub fn must_be_active(row: &Row) -> Tracked<()> {
    let facts = row.facts()?;
    match facts.lifecycle {
        Lifecycle::Active => Ok(()),
        Lifecycle::Deleted => Err(TrackingError::invalid(format!(
            "The run {} must be in the 'active' state. Current state is deleted.",
            facts.id
        ))),
    }
}
