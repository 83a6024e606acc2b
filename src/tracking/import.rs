//! What comes from another server as it is: ids, times and states are given. A mark beside each thing says as what it was brought, in the
//! batch in which it comes; what is here without one is no copy, and stays as it is.

use super::{
    Fields, Here, Tracked, Tracker, UsedData, check, inputs,
    points::{Point, Value, kept, order},
    row::{Facts, Inputs, Latest, Parts, Row, Status, UsedDataset},
    run,
};
use crate::{
    model::{Digest, ImportKind, tracking::*},
    store::{Batch, Table},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How far a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stand {
    /// It comes for the first time: what is here of its files came just now.
    Coming,
    /// It comes again: its files may be older ones.
    ComingAgain,
    Whole,
}

/// As what a thing was brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Of what the other server said.
    pub content: Digest,
    pub stand: Stand,
    /// Of a registered model.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aliases: BTreeMap<String, u64>,
    /// Of what people change here too; not of runs and logged models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Fields>,
}

impl Mark {
    pub fn new(content: Digest, stand: Stand) -> Self {
        Self { content, stand, aliases: BTreeMap::new(), fields: None }
    }

    /// What is to stand here of a copy after theirs came. Where it is not known as what they were brought, nothing counts as changed here.
    pub(super) fn followed(&self, here: Fields, theirs: &Fields) -> Fields {
        let brought = self.fields.clone().unwrap_or_else(|| here.clone());
        here.followed(&brought, theirs)
    }
}

/// A run as another server has it.
#[derive(Debug, Clone)]
pub struct BroughtRun {
    pub id: String,
    /// Its id here.
    pub experiment: u64,
    pub name: String,
    pub user: String,
    pub status: Status,
    pub lifecycle: Lifecycle,
    pub started: i64,
    pub ended: Option<i64>,
    /// Where its files are, when they are not brought.
    pub elsewhere: Option<String>,
    pub params: Vec<(String, String)>,
    pub tags: Vec<(String, String)>,
    pub datasets: Vec<UsedData>,
    pub models: Vec<String>,
    pub outputs: Vec<(String, i64)>,
}

/// Points that one call writes.
const AT_ONCE: usize = 10_000;

fn key(kind: ImportKind, id: &str) -> String {
    let kind = match kind {
        ImportKind::Experiment => "experiment",
        ImportKind::Run => "run",
        ImportKind::LoggedModel => "logged",
        ImportKind::Model => "model",
        ImportKind::Version => "version",
        ImportKind::File => "file",
    };
    format!("{kind}/{id}")
}

/// Puts a mark.
pub(super) fn marked(batch: Batch, kind: ImportKind, id: &str, mark: &Mark) -> Batch {
    batch.put_tracked(Table::Import, key(kind, id), mark)
}

/// What is here already and is no copy.
pub(super) fn of_here(kind: ImportKind, id: &str) -> TrackingError {
    TrackingError::exists(format!("a {} `{id}` that was not imported from there is here already", kind.word()))
}

impl Tracker {
    /// As what a thing was brought, if it was.
    pub fn mark(&self, kind: ImportKind, id: &str) -> Tracked<Option<Mark>> {
        Ok(self.0.store.tracked(Table::Import, key(kind, id))?)
    }

    /// Notes how far a thing is.
    pub async fn put_mark(&self, kind: ImportKind, id: &str, mark: &Mark) -> Tracked<()> {
        self.commit(marked(Batch::new(), kind, id, mark)).await
    }

    /// What is here of an experiment that comes: its id, whose it is, and as what it was brought, if it was.
    pub fn experiment_here(&self, given: &Experiment) -> Tracked<(Option<u64>, Here, Option<Mark>)> {
        check::experiment_name(&given.name)?;
        let known = self.mark(ImportKind::Experiment, &given.name)?;
        let state = self.read();
        let there = state.experiments.named(&given.name);
        Ok((there.map(|e| e.id), here(there, known.is_some(), given), known))
    }

    /// An experiment: new, or a copy with what is said of it now. Any other one of its name is an error.
    pub async fn bring_experiment(&self, given: Experiment, mark: &Mark) -> Tracked<u64> {
        check::experiment_name(&given.name)?;
        let known = self.mark(ImportKind::Experiment, &given.name)?;
        let theirs = fields(&given);
        let (id, waiting) = {
            let mut state = self.write();
            let there = state.experiments.named(&given.name);
            let experiment = match (here(there, known.is_some(), &given), there, known) {
                (Here::Copy, Some(there), Some(known)) => {
                    let followed = known.followed(fields(there), &theirs);
                    let lifecycle = followed.lifecycle.unwrap_or(there.lifecycle);
                    let updated = there.updated.max(given.updated);
                    Experiment { lifecycle, tags: followed.tags, updated, ..there.clone() }
                }
                (Here::Nothing, ..) => {
                    let id = state.experiments.next_id();
                    let artifact_location = match given.artifact_location.as_str() {
                        "" => format!("mlflow-artifacts:/{id}"),
                        elsewhere => elsewhere.to_owned(),
                    };
                    Experiment { id, artifact_location, ..given }
                }
                _ => return Err(of_here(ImportKind::Experiment, &given.name)),
            };
            let mark = Mark { fields: Some(theirs), ..mark.clone() };
            let batch = marked(Batch::new(), ImportKind::Experiment, &experiment.name, &mark);
            let waiting = self.0.store.submit(super::experiments::put(batch, &experiment));
            let id = experiment.id;
            state.experiments.put(experiment);
            (id, waiting)
        };
        if let Err(e) = waiting.await {
            self.read_experiment_again(id)?;
            return Err(e.into());
        }
        Ok(id)
    }

    /// A run, new or as it is now; its metrics come by [`Tracker::bring_history`].
    pub async fn bring_run(&self, run: &BroughtRun, mark: &Mark) -> Tracked<()> {
        check::run_id(&run.id)?;
        let brought = self.mark(ImportKind::Run, &run.id)?.is_some();
        let waiting = {
            let mut state = self.write();
            state.experiments.get(run.experiment)?;
            let old = state.runs.slot(&run.id).ok().map(|slot| state.runs.row(slot).clone());
            if old.is_some() && !brought {
                return Err(of_here(ImportKind::Run, &run.id));
            }
            let (row, batch) = self.brought_row(run, old.as_ref())?;
            let batch = marked(batch, ImportKind::Run, &run.id, mark);
            state.runs.put(row.clone())?;
            self.0.store.submit(batch.put_tracked_bytes(Table::Run, &run.id, row.bytes()))
        };
        self.kept(&run.id, waiting.await)
    }

    /// The row of a run, with the newest metrics that are here, and the datasets that are not.
    fn brought_row(&self, run: &BroughtRun, old: Option<&Row>) -> Tracked<(Row, Batch)> {
        let experiment = old.map(|old| old.facts().map(|f| f.experiment)).transpose()?.unwrap_or(run.experiment);
        let own = format!("mlflow-artifacts:/{experiment}/{}/artifacts", run.id);
        let facts = Facts {
            id: &run.id,
            experiment,
            name: &run.name,
            user: &run.user,
            status: run.status,
            lifecycle: run.lifecycle,
            started: run.started,
            ended: run.ended,
            artifact_uri: run.elsewhere.as_deref().unwrap_or(&own),
        };
        let mut batch = Batch::new();
        let mut datasets = vec![];
        for UsedData { dataset, tags } in &run.datasets {
            let key = inputs::key(experiment, &dataset.name, &dataset.digest);
            if self.0.store.tracked_bytes(Table::Dataset, &key)?.is_none() {
                batch = batch.put_tracked(Table::Dataset, &key, dataset);
            }
            datasets.push(UsedDataset { name: &dataset.name, digest: &dataset.digest, tags: pairs(tags) });
        }
        let metrics: Vec<Latest<'_>> = old.map(|old| old.metrics().collect()).unwrap_or_default();
        let models = run.models.iter().map(String::as_str).collect();
        let outputs = run.outputs.iter().map(|(model, step)| (model.as_str(), *step)).collect();
        let inputs = Inputs { datasets, models };
        let parts = Parts { facts, metrics, params: pairs(&run.params), tags: pairs(&run.tags), inputs, outputs };
        Ok((parts.pack(), batch))
    }

    /// Values of a metric, of which those that are not here are taken in; how many.
    pub async fn bring_history(&self, id: &str, key: &str, mut values: Vec<Value>) -> Tracked<usize> {
        values.iter_mut().for_each(|v| v.value = kept(v.value));
        values.iter().try_for_each(|v| check::metric(key, v.value, v.timestamp, ""))?;
        let known = self.history(id, key)?;
        values.retain(|v| known.binary_search_by(|k| order(k, v)).is_err());
        for some in values.chunks(AT_ONCE) {
            let point = |v: &Value| Point { key: key.to_owned(), value: v.value, timestamp: v.timestamp, step: v.step };
            let points = some.iter().map(point).collect();
            self.change_run(id, |_, row| Ok(run::measured(row.parts()?, points, false))).await?;
        }
        Ok(values.len())
    }
}

fn fields(experiment: &Experiment) -> Fields {
    Fields { tags: experiment.tags.clone(), lifecycle: Some(experiment.lifecycle), ..Fields::default() }
}

fn here(there: Option<&Experiment>, marked: bool, given: &Experiment) -> Here {
    let lacks = || there.is_some_and(|there| fields(there).lacks(&fields(given)));
    Here::of(marked, there.map(|e| e.created), given.created, lacks)
}

fn pairs(all: &[(String, String)]) -> Vec<(&str, &str)> {
    let mut sorted = vec![];
    all.iter().for_each(|(key, value)| super::row::put(&mut sorted, key, value));
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{process::SystemClock, store::Store};
    use std::sync::Arc;

    fn theirs(name: &str, tags: &[(&str, &str)]) -> Experiment {
        Experiment {
            id: 0,
            name: name.into(),
            artifact_location: String::new(),
            lifecycle: Lifecycle::Active,
            created: 5,
            updated: 5,
            tags: tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        }
    }

    #[tokio::test]
    async fn an_experiment_keeps_what_was_said_of_it_here() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(SystemClock::continuing(None));
        let tracker = Tracker::open(Store::open(dir.path()).unwrap(), clock).unwrap();
        let mark = Mark::new(Digest::of(b"what they said"), Stand::Whole);
        let tags = |name: &str| -> Vec<String> {
            tracker.experiment_named(name).unwrap().tags.iter().map(|(k, v)| format!("{k}={v}")).collect()
        };
        let id = tracker.create_experiment("ours", "", vec![("k".into(), "MINE".into())]).await.unwrap();
        let given = theirs("ours", &[("k", "theirs"), ("only", "theirs")]);
        let (there, here, known) = tracker.experiment_here(&given).unwrap();
        assert_eq!((there, here, known), (Some(id), Here::Other { lacks: true }, None));
        assert!(tracker.bring_experiment(given, &mark).await.is_err());
        assert_eq!(tags("ours"), ["k=MINE"]);

        let id = tracker.bring_experiment(theirs("copy", &[("k", "1"), ("own", "1")]), &mark).await.unwrap();
        tracker.tag_experiment(&id.to_string(), "own", "MINE").await.unwrap();
        let again = theirs("copy", &[("k", "2"), ("own", "2"), ("new", "2")]);
        assert_eq!(tracker.bring_experiment(again, &mark).await.unwrap(), id);
        assert_eq!(tags("copy"), ["k=2", "new=2", "own=MINE"]);
    }
}
