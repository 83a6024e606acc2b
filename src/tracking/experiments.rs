//! Experiments: named sets of runs.

use super::{Tracked, Tracker, check, location, row::Row, state::State};
use crate::{
    model::tracking::*,
    store::{Batch, Table},
};
use std::collections::BTreeMap;

/// The experiment that is there from the start.
const DEFAULT: u64 = 0;

fn key(id: u64) -> [u8; 8] {
    id.to_be_bytes()
}

pub(super) fn put(batch: Batch, experiment: &Experiment) -> Batch {
    batch.put_tracked(Table::Experiment, key(experiment.id), experiment)
}

/// An empty id is the default experiment's, as in MLflow.
fn number(id: &str) -> Tracked<u64> {
    if id.is_empty() { Ok(DEFAULT) } else { check::experiment_id(id) }
}

fn taken(name: &str) -> TrackingError {
    TrackingError::exists(format!(
        "Experiment(name={name}) already exists. Error: an experiment of this name is there, or was deleted and can be restored"
    ))
}

impl Tracker {
    pub(super) fn have_default_experiment(&self) -> Tracked<()> {
        if self.read().experiments.get(DEFAULT).is_ok() {
            return Ok(());
        }
        let default = self.new_experiment(DEFAULT, "Default", "", BTreeMap::new());
        self.0.store.commit(put(Batch::new(), &default))?;
        self.write().experiments.put(default);
        Ok(())
    }

    fn new_experiment(&self, id: u64, name: &str, location: &str, tags: BTreeMap<String, String>) -> Experiment {
        let now = self.now();
        let artifact_location = if location.is_empty() {
            format!("mlflow-artifacts:/{id}")
        } else {
            location.trim_end_matches('/').to_owned()
        };
        Experiment {
            id,
            name: name.to_owned(),
            artifact_location,
            lifecycle: Lifecycle::Active,
            created: now,
            updated: now,
            tags,
        }
    }

    /// Makes an experiment; its id.
    pub async fn create_experiment(&self, name: &str, location: &str, tags: Vec<(String, String)>) -> Tracked<u64> {
        check::experiment_name(name)?;
        location::check(location)?;
        tags.iter().try_for_each(|(k, v)| check::experiment_tag(k, v))?;
        check::tags_once(&tags)?;
        let (id, waiting) = {
            let mut state = self.write();
            if state.experiments.named(name).is_some() {
                return Err(taken(name));
            }
            let id = state.experiments.next_id();
            let experiment = self.new_experiment(id, name, location, tags.into_iter().collect());
            let waiting = self.0.store.submit(put(Batch::new(), &experiment));
            state.experiments.put(experiment);
            (id, waiting)
        };
        if let Err(e) = waiting.await {
            self.write().experiments.remove(id);
            return Err(e.into());
        }
        Ok(id)
    }

    /// The experiment of this id.
    pub fn experiment(&self, id: &str) -> Tracked<Experiment> {
        self.read().experiments.get(number(id)?).cloned()
    }

    /// The experiment of this name.
    pub fn experiment_named(&self, name: &str) -> Tracked<Experiment> {
        let state = self.read();
        let found = state.experiments.named(name).cloned();
        found.ok_or_else(|| TrackingError::missing(format!("Could not find experiment with name '{name}'")))
    }

    /// Whether things may be put into the experiment.
    pub fn experiment_is_active(&self, id: &str) -> Tracked<()> {
        self.read().active(number(id)?).map(drop)
    }

    /// Changes an experiment, and what goes with it.
    async fn change_experiment(
        &self,
        id: &str,
        change: impl FnOnce(&State, &mut Experiment) -> Tracked<Vec<Row>>,
    ) -> Tracked<()> {
        let id = number(id)?;
        let waiting = {
            let mut state = self.write();
            let mut experiment = state.experiments.get(id)?.clone();
            let rows = change(&state, &mut experiment)?;
            let batch = rows.iter().fold(put(Batch::new(), &experiment), |batch, row| {
                batch.put_tracked_bytes(Table::Run, row.id(), row.bytes())
            });
            let waiting = self.0.store.submit(batch);
            state.experiments.put(experiment);
            rows.into_iter().try_for_each(|row| state.runs.put(row).map(drop))?;
            waiting
        };
        if let Err(e) = waiting.await {
            self.read_experiment_again(id)?;
            return Err(e.into());
        }
        Ok(())
    }

    /// Takes back what the store did not keep.
    pub(super) fn read_experiment_again(&self, id: u64) -> Tracked<()> {
        let mut state = self.write();
        match self.0.store.tracked::<Experiment>(Table::Experiment, key(id))? {
            Some(experiment) => state.experiments.put(experiment),
            None => state.experiments.remove(id),
        }
        let ids: Vec<String> =
            state.runs.of_experiment(id).iter().map(|slot| state.runs.row(*slot).id().to_owned()).collect();
        ids.iter().try_for_each(|id| self.read_run_again(&mut state, id))
    }

    /// Gives an experiment another name.
    pub async fn rename_experiment(&self, id: &str, name: &str) -> Tracked<()> {
        check::experiment_name(name)?;
        let now = self.now();
        let change = |state: &State, experiment: &mut Experiment| {
            if experiment.lifecycle == Lifecycle::Deleted {
                return Err(TrackingError::new(ErrorCode::InvalidState, "Cannot rename a non-active experiment."));
            }
            if state.experiments.named(name).is_some_and(|other| other.id != experiment.id) {
                return Err(taken(name));
            }
            (experiment.name, experiment.updated) = (name.to_owned(), now);
            Ok(vec![])
        };
        self.change_experiment(id, change).await
    }

    /// Deletes an experiment with its runs, or restores it with them.
    pub async fn move_experiment(&self, id: &str, to: Lifecycle) -> Tracked<()> {
        let now = self.now();
        let change = |state: &State, experiment: &mut Experiment| {
            if experiment.lifecycle == to {
                return Err(TrackingError::missing(format!("No Experiment with id={} exists", experiment.id)));
            }
            (experiment.lifecycle, experiment.updated) = (to, now);
            let moved = |slot: &u32| {
                let mut parts = state.runs.row(*slot).parts()?;
                parts.facts.lifecycle = to;
                Ok(parts.pack())
            };
            state.runs.of_experiment(experiment.id).iter().map(moved).collect()
        };
        self.change_experiment(id, change).await
    }

    /// Sets a tag.
    pub async fn tag_experiment(&self, id: &str, tag: &str, value: &str) -> Tracked<()> {
        check::experiment_tag(tag, value)?;
        let change = |state: &State, experiment: &mut Experiment| {
            state.active(experiment.id)?;
            experiment.tags.insert(tag.to_owned(), value.to_owned());
            Ok(vec![])
        };
        self.change_experiment(id, change).await
    }

    /// Takes a tag away.
    pub async fn untag_experiment(&self, id: &str, tag: &str) -> Tracked<()> {
        let change = |state: &State, experiment: &mut Experiment| {
            state.active(experiment.id)?;
            let gone = experiment.tags.remove(tag);
            let missing = || TrackingError::missing(format!("No tag with name: {tag} in experiment with id {id}"));
            gone.map(|_| vec![]).ok_or_else(missing)
        };
        self.change_experiment(id, change).await
    }
}
