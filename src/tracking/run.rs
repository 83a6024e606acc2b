//! Runs: made, changed, logged to.

use super::{
    OfModel, Tracked, Tracker, check, names, points,
    points::Point,
    row::{self, Facts, Inputs, Latest, Parts, Row, Status},
    state::{Slot, State, must_be_active},
};
use crate::{
    model::tracking::*,
    search::python_text,
    store::{Batch, Committed, StoreError, Table},
};

/// The tag that follows a run's name.
const NAME: &str = "mlflow.runName";
/// What tags that trimtab sets by itself begin with.
pub(super) const OWN_TAGS: &str = "trimtab.";

/// A run to be made. Times are milliseconds since the Unix epoch.
#[derive(Debug, Default)]
pub struct NewRun {
    /// Its id; invented when left out.
    pub id: Option<String>,
    pub experiment: String,
    pub user: String,
    /// Invented when empty.
    pub name: String,
    pub started: i64,
    pub tags: Vec<(String, String)>,
}

/// What changes about a run.
#[derive(Debug, Default)]
pub struct RunUpdate {
    pub status: Option<Status>,
    pub ended: Option<i64>,
    pub name: Option<String>,
}

/// What one call logs.
#[derive(Debug, Default)]
pub struct Batched {
    pub metrics: Vec<Point>,
    pub params: Vec<(String, String)>,
    pub tags: Vec<(String, String)>,
    /// Those of the metrics that belong to a logged model too.
    pub of_models: Vec<OfModel>,
}

/// What becomes of a run by a call.
pub(super) struct Changed {
    pub row: Row,
    /// Whether the row itself must be written: newest metrics follow from points.
    pub keep: bool,
    pub points: Vec<Point>,
    /// What else is written.
    pub batch: Batch,
}

impl Changed {
    /// Another row.
    pub fn row(row: Row) -> Self {
        Self { row, keep: true, points: vec![], batch: Batch::new() }
    }
}

pub(super) fn random() -> Tracked<u64> {
    getrandom::u64().map_err(|e| TrackingError::new(ErrorCode::InternalError, format!("no randomness: {e}")))
}

/// 32 hex digits, as a random UUID without dashes.
pub(super) fn new_id() -> Tracked<String> {
    let (high, low) = (random()? & !0xf000 | 0x4000, random()? & !(3 << 62) | (2 << 62));
    Ok(format!("{high:016x}{low:016x}"))
}

impl Tracker {
    /// Makes a run. One that is there under the given id already is answered as it is.
    pub async fn create_run(&self, new: NewRun) -> Tracked<Row> {
        let tagged = new.tags.iter().rev().find(|(k, _)| k == NAME).map(|(_, v)| v.as_str()).filter(|v| !v.is_empty());
        if let Some(tagged) = tagged.filter(|t| !new.name.is_empty() && *t != new.name) {
            return Err(TrackingError::invalid(format!(
                "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values (run_name='{}', \
                 mlflow.runName='{tagged}').",
                new.name
            )));
        }
        let name = match (new.name.as_str(), tagged) {
            ("", None) => names::invent(random()?),
            ("", Some(tagged)) => tagged.to_owned(),
            (name, _) => name.to_owned(),
        };
        let id = new.id.map_or_else(new_id, Ok)?;
        if new.experiment.is_empty() {
            return Err(TrackingError::new(
                ErrorCode::BadRequest,
                "A run belongs to an experiment: give its experiment_id",
            ));
        }
        let experiment = check::experiment_id(&new.experiment)?;
        check::tags_once(&new.tags)?;
        let (row, waiting) = {
            let mut state = self.write();
            if let Ok(slot) = state.runs.slot(&id) {
                return Ok(state.runs.row(slot).clone());
            }
            let home = state.active(experiment)?;
            let artifact_uri = format!("{}/{id}/artifacts", home.artifact_location);
            let mut tags = vec![];
            for (key, value) in &new.tags {
                row::put(&mut tags, key, value);
            }
            row::put(&mut tags, NAME, &name);
            let facts = Facts {
                id: &id,
                experiment,
                name: &name,
                user: &new.user,
                status: Status::Running,
                lifecycle: Lifecycle::Active,
                started: new.started,
                ended: None,
                artifact_uri: &artifact_uri,
            };
            let parts =
                Parts { facts, metrics: vec![], params: vec![], tags, inputs: Inputs::default(), outputs: vec![] };
            let row = parts.pack();
            let waiting = self.0.store.submit(Batch::new().put_tracked_bytes(Table::Run, &id, row.bytes()));
            state.runs.put(row.clone())?;
            (row, waiting)
        };
        waiting.await?;
        Ok(row)
    }

    /// A run.
    pub fn run(&self, id: &str) -> Tracked<Row> {
        let state = self.read();
        state.runs.slot(id).map(|slot| state.runs.row(slot).clone())
    }

    /// Where a run's artifacts go.
    pub fn artifact_root(&self, id: &str) -> Tracked<String> {
        Ok(self.run(id)?.facts()?.artifact_uri.to_owned())
    }

    /// Changes a run as `change` says; ends once that is durable.
    pub(super) async fn change_run(
        &self,
        id: &str,
        change: impl FnOnce(&State, &Row) -> Tracked<Changed>,
    ) -> Tracked<()> {
        let waiting = {
            let mut state = self.write();
            let slot = state.runs.slot(id)?;
            let changed = change(&state, state.runs.row(slot))?;
            self.put_run(&mut state, slot, changed)?
        };
        self.kept(id, waiting.await)
    }

    /// Hands a change to the store, in the order of the lock.
    fn put_run(
        &self,
        state: &mut State,
        slot: Slot,
        changed: Changed,
    ) -> Tracked<impl Future<Output = Result<Committed, StoreError>> + Send + use<>> {
        let Changed { row, keep, points, mut batch } = changed;
        if keep {
            batch = batch.put_tracked_bytes(Table::Run, row.id(), row.bytes());
        }
        if !points.is_empty() {
            let key = super::history::page_key(row.id(), state.runs.next_page);
            batch = batch.put_tracked_bytes(Table::Points, key, &points::page(&points));
            state.runs.next_page += 1;
            let loose = state.runs.loose.entry(slot).or_default();
            loose.pages += 1;
            loose.points += points.len() as u32;
        }
        self.fold_if_due(state, slot, &row)?;
        state.runs.put(row)?;
        Ok(self.0.store.submit(batch))
    }

    /// Takes a change back that the store did not keep.
    pub(super) fn kept(&self, id: &str, committed: Result<Committed, StoreError>) -> Tracked<()> {
        let Err(e) = committed else { return Ok(()) };
        self.read_run_again(&mut self.write(), id)?;
        Err(e.into())
    }

    /// Status, end, name.
    pub async fn update_run(&self, id: &str, update: RunUpdate) -> Tracked<Row> {
        let change = |_: &State, row: &Row| {
            must_be_active(row)?;
            let mut parts = row.parts()?;
            parts.facts.status = update.status.unwrap_or(parts.facts.status);
            parts.facts.ended = update.ended.or(parts.facts.ended);
            if let Some(name) = update.name.as_deref().filter(|n| !n.is_empty()) {
                parts.facts.name = name;
                row::put(&mut parts.tags, NAME, name);
            }
            Ok(Changed::row(parts.pack()))
        };
        self.change_run(id, change).await?;
        self.run(id)
    }

    /// Deletes or restores a run.
    pub async fn move_run(&self, id: &str, to: Lifecycle) -> Tracked<()> {
        let change = |_: &State, row: &Row| {
            let mut parts = row.parts()?;
            parts.facts.lifecycle = to;
            Ok(Changed::row(parts.pack()))
        };
        self.change_run(id, change).await
    }

    /// One param.
    pub async fn log_param(&self, id: &str, key: &str, value: &str) -> Tracked<()> {
        let value = check::param(key, value, "")?;
        let change = |_: &State, row: &Row| {
            must_be_active(row)?;
            let mut parts = row.parts()?;
            if let Some(old) = row::get(&parts.params, key).filter(|old| *old != value) {
                return Err(TrackingError::invalid(format!(
                    "Changing param values is not allowed. Param with key='{key}' was already logged with value='{old}' for run ID='{id}'. \
                     Attempted logging new value '{value}'."
                )));
            }
            row::put(&mut parts.params, key, value);
            Ok(Changed::row(parts.pack()))
        };
        self.change_run(id, change).await
    }

    /// One metric, and the same for the logged model that it belongs to.
    pub async fn log_metric(&self, id: &str, point: Point, of_model: Option<OfModel>) -> Tracked<()> {
        let of_models: Vec<OfModel> = of_model.into_iter().collect();
        let change = |_: &State, row: &Row| {
            check::metric(&point.key, point.value, point.timestamp, "")?;
            must_be_active(row)?;
            let changed = measured(row.parts()?, vec![point], false);
            Ok(Changed { batch: self.logged_model_metrics(&of_models, Batch::new())?, ..changed })
        };
        self.kept_of_models(&of_models, self.change_run(id, change).await)
    }

    /// Takes metrics of logged models back that the store did not keep.
    fn kept_of_models(&self, of_models: &[OfModel], done: Tracked<()>) -> Tracked<()> {
        if done.as_ref().is_err_and(|e| e.code == ErrorCode::TemporarilyUnavailable) {
            of_models.iter().try_for_each(|(model, _)| self.read_logged_model_again(model))?;
        }
        done
    }

    /// Metrics, params and tags at once: all or none.
    pub async fn log_batch(&self, id: &str, batch: Batched) -> Tracked<()> {
        check::run_id(id)?;
        let Batched { metrics, params, tags, of_models } = batch;
        for (n, m) in metrics.iter().enumerate() {
            check::metric(&m.key, m.value, m.timestamp, &format!("metrics[{n}]"))?;
        }
        let each = |(n, (k, v)): (usize, &(String, String))| {
            Ok((k.clone(), check::param(k, v, &format!("params[{n}]"))?.to_owned()))
        };
        let params = params.iter().enumerate().map(each).collect::<Tracked<Vec<_>>>()?;
        let each = |(n, (k, v)): (usize, &(String, String))| {
            Ok((k.clone(), check::tag(k, v, &format!("tags[{n}]"))?.to_owned()))
        };
        let tags = tags.iter().enumerate().map(each).collect::<Tracked<Vec<_>>>()?;
        check::batch(metrics.len(), params.len(), tags.len())?;
        no_key_twice(&params)?;
        let change = |_: &State, row: &Row| {
            must_be_active(row)?;
            let mut parts = row.parts()?;
            let more = !(params.is_empty() && tags.is_empty());
            put_params(&mut parts, &params, id)?;
            for (key, value) in &tags {
                put_tag(&mut parts, key, value)?;
            }
            let changed = measured(parts, metrics, more);
            Ok(Changed { batch: self.logged_model_metrics(&of_models, Batch::new())?, ..changed })
        };
        self.kept_of_models(&of_models, self.change_run(id, change).await)
    }

    /// One tag.
    pub async fn set_tag(&self, id: &str, key: &str, value: &str) -> Tracked<()> {
        let value = check::tag(key, value, "")?;
        let change = |_: &State, row: &Row| {
            must_be_active(row)?;
            let mut parts = row.parts()?;
            put_tag(&mut parts, key, value)?;
            Ok(Changed::row(parts.pack()))
        };
        self.change_run(id, change).await
    }

    /// Takes a tag away.
    pub async fn delete_tag(&self, id: &str, key: &str) -> Tracked<()> {
        let change = |_: &State, row: &Row| {
            must_be_active(row)?;
            let mut parts = row.parts()?;
            refuse_own_tag(&parts, key)?;
            let before = parts.tags.len();
            parts.tags.retain(|(k, _)| *k != key);
            if parts.tags.len() == before {
                return Err(TrackingError::missing(format!("No tag with name: {key} in run with id {id}")));
            }
            Ok(Changed::row(parts.pack()))
        };
        self.change_run(id, change).await
    }
}

/// A tag; that of the name renames the run.
fn put_tag<'a>(parts: &mut Parts<'a>, key: &'a str, value: &'a str) -> Tracked<()> {
    refuse_own_tag(parts, key)?;
    if key == NAME {
        // An empty name changes nothing, as in MLflow.
        if value.is_empty() {
            return Ok(());
        }
        parts.facts.name = value;
    }
    row::put(&mut parts.tags, key, value);
    Ok(())
}

/// What trimtab tells of a run of its own in tags stays as it told it.
fn refuse_own_tag(parts: &Parts<'_>, key: &str) -> Tracked<()> {
    if !key.starts_with(OWN_TAGS) || row::get(&parts.tags, key).is_none() {
        return Ok(());
    }
    Err(TrackingError::new(
        ErrorCode::PermissionDenied,
        format!("The tag '{key}' is trimtab's own: clients do not change it"),
    ))
}

/// Params, none of which may change.
fn put_params<'a>(parts: &mut Parts<'a>, params: &'a [(String, String)], id: &str) -> Tracked<()> {
    let differs = |(key, new): &&'a (String, String)| row::get(&parts.params, key).is_some_and(|old| old != new);
    let changed: Vec<String> = params
        .iter()
        .filter(differs)
        .map(|(key, new)| {
            let old = row::get(&parts.params, key).unwrap_or_default();
            let [key, old, new] = [key, old, new.as_str()].map(|t: &str| python_text(t));
            format!("{{'key': {key}, 'old_value': {old}, 'new_value': {new}}}")
        })
        .collect();
    if !changed.is_empty() {
        return Err(TrackingError::invalid(format!(
            "Changing param values is not allowed. Params were already logged='[{}]' for run ID='{id}'.",
            changed.join(", ")
        )));
    }
    params.iter().for_each(|(key, value)| row::put(&mut parts.params, key, value));
    Ok(())
}

fn no_key_twice(params: &[(String, String)]) -> Tracked<()> {
    let twice = params.iter().enumerate().filter(|(n, (key, _))| params[..*n].iter().any(|(k, _)| k == key));
    let twice: Vec<String> = twice.map(|(_, (key, _))| python_text(key)).collect();
    if twice.is_empty() {
        return Ok(());
    }
    Err(TrackingError::invalid(format!(
        "Duplicate parameter keys have been submitted: [{}]. Please ensure the request contains only one param value per param key.",
        twice.join(", ")
    )))
}

/// Takes metrics into the newest values.
pub(super) fn measured(mut parts: Parts<'_>, mut metrics: Vec<Point>, keep: bool) -> Changed {
    metrics.iter_mut().for_each(|m| m.value = points::kept(m.value));
    let row = {
        let mut newest: Vec<Latest<'_>> = std::mem::take(&mut parts.metrics);
        for point in &metrics {
            let latest = point.latest();
            match newest.binary_search_by(|m| m.key.cmp(latest.key)) {
                Ok(at) if latest.beats(&newest[at]) => newest[at] = latest,
                Ok(_) => {}
                Err(at) => newest.insert(at, latest),
            }
        }
        Parts { metrics: newest, ..parts }.pack()
    };
    Changed { row, keep, points: metrics, batch: Batch::new() }
}

/// The newest values of a row, with points that came after it was written.
pub(super) fn with_points(row: &Row, points: Vec<Point>) -> Tracked<Row> {
    Ok(measured(row.parts()?, points, false).row)
}
