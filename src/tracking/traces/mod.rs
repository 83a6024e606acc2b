//! Traces: what is known of calls of models. Nothing of them is in memory: an experiment's traces stand in the store in the order in which
//! they are asked for, the newest first, so that a search reads as many as it shows.

mod figures;
mod search;
mod trace;

pub use figures::{Aggregation, Figure, FiguresQuery};
pub use search::TraceQuery;
pub(super) use trace::LOCATION;
pub use trace::{Trace, TraceState};

use super::{ArtifactPath, Tracked, Tracker, check};
use crate::{
    model::tracking::TrackingError,
    store::{Batch, Table},
};
use serde::{Deserialize, Serialize};
use std::hash::{BuildHasher, RandomState};
use tokio::sync::{Mutex, MutexGuard};
use trace::NAME;

const TAG_KEY: usize = 250;
const TAG_VALUE: usize = 8000;
const NAME_MAX: usize = 4096;
const ID_MAX: usize = 250;
/// Traces of one call that links them to a run.
const LINKS: usize = 100;
/// Forgotten in one batch.
const AT_ONCE: usize = 1000;
/// The entry by which MLflow marks traces whose facts are final.
const FINAL: &str = "mlflow.trace.infoFinalized";
/// Tags that only the server sets.
const OWN_TAGS: &[&str] =
    &["mlflow.trace.spansLocation", "mlflow.trace.archiveLocation", "mlflow.trace.archivalFailure", LOCATION];

/// One change of a trace at a time: each reads what the one before wrote.
pub(super) struct Locks {
    locks: Vec<Mutex<()>>,
    hasher: RandomState,
}

impl Default for Locks {
    fn default() -> Self {
        Self { locks: (0..64).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }
}

impl Locks {
    async fn of(&self, id: &str) -> MutexGuard<'_, ()> {
        let at = self.hasher.hash_one(id) as usize % self.locks.len();
        self.locks[at].lock().await
    }

    /// Nobody changes anything. Whoever holds one asks for no other, so that this comes to an end.
    async fn all(&self) -> Vec<MutexGuard<'_, ()>> {
        let mut all = Vec::with_capacity(self.locks.len());
        for lock in &self.locks {
            all.push(lock.lock().await);
        }
        all
    }
}

/// Where a trace stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    experiment: u64,
    started: i64,
}

/// Under its id stands where the trace is.
fn by_id(id: &str) -> Vec<u8> {
    [b"i", id.as_bytes()].concat()
}

/// Before all of an experiment.
fn of_experiment(experiment: u64) -> Vec<u8> {
    [b"o".as_slice(), &experiment.to_be_bytes()].concat()
}

/// The newest come first, and of one time the smallest id.
fn in_order(place: Place, id: &str) -> Vec<u8> {
    let older = !(place.started as u64 ^ (1 << 63));
    [of_experiment(place.experiment).as_slice(), &older.to_be_bytes(), id.as_bytes()].concat()
}

fn place(trace: &Trace) -> Place {
    Place { experiment: trace.experiment, started: trace.started }
}

fn put(batch: Batch, trace: &Trace) -> Batch {
    let place = place(trace);
    batch.put_tracked(Table::Trace, by_id(&trace.id), &place).put_tracked(
        Table::Trace,
        in_order(place, &trace.id),
        trace,
    )
}

fn missing(id: &str) -> TrackingError {
    TrackingError::missing(format!("Trace with ID '{id}' not found."))
}

/// The id becomes a folder's name.
fn check_id(id: &str) -> Tracked<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    let named = id.chars().any(|c| c != '.') && id.len() <= ID_MAX;
    if named && id.chars().all(good) { Ok(()) } else { Err(check::invalid_value("trace_id", id, "")) }
}

fn own(key: &str, what: &str) -> Tracked<()> {
    // Deleting this one lets an archive be tried again.
    if OWN_TAGS.contains(&key) && !(what == "deleted" && key == "mlflow.trace.archivalFailure") {
        return Err(TrackingError::invalid(format!("Tag '{key}' is immutable and cannot be {what} on a trace.")));
    }
    Ok(())
}

impl Tracker {
    /// A trace.
    pub fn trace(&self, id: &str) -> Tracked<Trace> {
        let place: Place = self.0.store.tracked(Table::Trace, by_id(id))?.ok_or_else(|| missing(id))?;
        self.0.store.tracked(Table::Trace, in_order(place, id))?.ok_or_else(|| missing(id))
    }

    /// Where a trace's files are.
    pub fn trace_artifact_root(&self, id: &str) -> Tracked<String> {
        self.trace(id)?.tags.remove(LOCATION).ok_or_else(|| missing(id))
    }

    /// Takes a trace in, or what is newer about one that is there. Returns it as it is then.
    pub async fn put_trace(&self, mut new: Trace) -> Tracked<Trace> {
        check_id(&new.id)?;
        check::length("Trace name", NAME_MAX, new.tags.get(NAME).map_or("", String::as_str))?;
        let home = self.read().active(new.experiment)?.artifact_location.clone();
        let location = format!("{home}/traces/{}/artifacts", new.id);
        new.tags.insert(LOCATION.into(), location);
        new.metadata.insert(FINAL.into(), "true".into());
        let this = self.clone();
        go_on(async move {
            let _alone = this.0.traces.of(&new.id).await;
            let mut batch = Batch::new();
            if let Ok(old) = this.trace(&new.id) {
                batch = batch.delete_tracked(Table::Trace, in_order(place(&old), &old.id));
                new = merged(old, new);
            }
            this.commit(put(batch, &new)).await?;
            Ok(new)
        })
        .await
    }

    /// A trace came to its end, as older clients say it in a call of its own.
    pub async fn end_trace(&self, id: &str, end: TraceEnd) -> Tracked<Trace> {
        let change = move |trace: &mut Trace| {
            trace.duration = Some(end.ended.saturating_sub(trace.started));
            trace.state = end.state;
            trace.metadata.extend(end.metadata);
            trace.tags.extend(end.tags.into_iter().filter(|(key, _)| key != LOCATION));
            Ok(())
        };
        self.change_trace(id, change).await
    }

    /// Changes a trace; ends once that is durable.
    async fn change_trace(
        &self,
        id: &str,
        change: impl FnOnce(&mut Trace) -> Tracked<()> + Send + 'static,
    ) -> Tracked<Trace> {
        let (this, id) = (self.clone(), id.to_owned());
        go_on(async move {
            let _alone = this.0.traces.of(&id).await;
            let mut trace = this.trace(&id)?;
            change(&mut trace)?;
            this.commit(put(Batch::new(), &trace)).await?;
            Ok(trace)
        })
        .await
    }

    /// Sets a tag; its value is cut where it is too long.
    pub async fn set_trace_tag(&self, id: &str, key: String, value: &str) -> Tracked<()> {
        own(&key, "set")?;
        check::key_name(&key, "name")?;
        check::length("key", TAG_KEY, &key)?;
        let value = check::cut(value, TAG_VALUE).to_owned();
        if key == NAME {
            check::length("Trace name", NAME_MAX, &value)?;
        }
        let set = move |trace: &mut Trace| {
            trace.tags.insert(key, value);
            Ok(())
        };
        self.change_trace(id, set).await.map(drop)
    }

    /// Removes a tag, which has to be there.
    pub async fn delete_trace_tag(&self, id: &str, key: String) -> Tracked<()> {
        own(&key, "deleted")?;
        let remove = move |trace: &mut Trace| match trace.tags.remove(&key) {
            Some(_) => Ok(()),
            None => {
                Err(TrackingError::missing(format!("No trace tag with key '{key}' for trace with ID '{}'", trace.id)))
            }
        };
        self.change_trace(id, remove).await.map(drop)
    }

    /// Says that traces belong to a run, too. What is no trace is passed over, as in MLflow.
    pub async fn link_traces(&self, ids: &[String], run: &str) -> Tracked<()> {
        if ids.len() > LINKS {
            return Err(TrackingError::invalid(format!(
                "Cannot link more than {LINKS} traces to a run in a single request. Provided {} traces.",
                ids.len()
            )));
        }
        self.run(run)?;
        for id in ids.iter().filter(|id| self.trace(id).is_ok()) {
            let run = run.to_owned();
            let link = move |trace: &mut Trace| {
                if !trace.runs.contains(&run) {
                    trace.runs.push(run);
                }
                Ok(())
            };
            self.change_trace(id, link).await?;
        }
        Ok(())
    }

    /// Forgets traces of an experiment with their files; how many.
    pub async fn delete_traces(&self, which: Unwanted) -> Tracked<usize> {
        let this = self.clone();
        go_on(async move {
            let _alone = this.0.traces.all().await;
            let traces = which.traces(&this)?;
            for some in traces.chunks(AT_ONCE) {
                this.forget(some).await?;
            }
            Ok(traces.len())
        })
        .await
    }

    async fn forget(&self, traces: &[(Place, String)]) -> Tracked<()> {
        let mut batch = Batch::new();
        for (place, id) in traces {
            let files = self.trace_artifact_root(id).ok().and_then(|uri| ArtifactPath::of_uri(&uri));
            if let Some(files) = files {
                self.delete_artifacts(&files)?.await?;
            }
            batch = batch.delete_tracked(Table::Trace, by_id(id)).delete_tracked(Table::Trace, in_order(*place, id));
        }
        self.commit(batch).await
    }
}

/// Goes on when nobody waits any more: the lock is held until the change is kept.
async fn go_on<T: Send + 'static>(change: impl Future<Output = Tracked<T>> + Send + 'static) -> Tracked<T> {
    let done = tokio::spawn(change).await;
    done.unwrap_or_else(|e| Err(TrackingError::new(crate::model::tracking::ErrorCode::InternalError, e.to_string())))
}

/// What a client sends a second time completes what is there.
fn merged(old: Trace, new: Trace) -> Trace {
    let with = |mut old: std::collections::BTreeMap<String, String>, new| {
        old.extend(new);
        old
    };
    let known = |a: &serde_json::Value| a.get("assessment_id").and_then(|id| id.as_str()).map(str::to_owned);
    let mut assessments: Vec<_> = new.assessments;
    let named: Vec<Option<String>> = assessments.iter().map(known).collect();
    assessments.extend(old.assessments.into_iter().filter(|a| known(a).is_none_or(|id| !named.contains(&Some(id)))));
    Trace {
        request_preview: new.request_preview.or(old.request_preview),
        response_preview: new.response_preview.or(old.response_preview),
        metadata: with(old.metadata, new.metadata),
        tags: with(old.tags, new.tags),
        runs: old.runs,
        assessments,
        ..new
    }
}

/// What is said at the end of a trace.
#[derive(Debug, Default)]
pub struct TraceEnd {
    pub ended: i64,
    pub state: TraceState,
    pub metadata: Vec<(String, String)>,
    pub tags: Vec<(String, String)>,
}

/// Which traces go: up to a time the oldest of them, or by id.
#[derive(Debug, Default)]
pub struct Unwanted {
    pub experiment: u64,
    pub until: Option<i64>,
    pub most: Option<i64>,
    pub ids: Vec<String>,
}

impl Unwanted {
    fn check(&self) -> Tracked<()> {
        let refused = |words: &str| Err(TrackingError::invalid(words));
        match (self.until, self.ids.is_empty(), self.most) {
            (None, true, _) => refused("Either `max_timestamp_millis` or `trace_ids` must be specified."),
            (Some(_), false, _) => refused("Only one of `max_timestamp_millis` and `trace_ids` can be specified."),
            (_, false, Some(_)) => refused("`max_traces` can't be specified if `trace_ids` is specified."),
            (.., Some(most)) if most <= 0 => {
                refused(&format!("`max_traces` must be a positive integer, received {most}."))
            }
            _ => Ok(()),
        }
    }

    fn traces(&self, tracker: &Tracker) -> Tracked<Vec<(Place, String)>> {
        self.check()?;
        let store = &tracker.0.store;
        let mut found = Vec::new();
        for id in &self.ids {
            let place: Option<Place> = store.tracked(Table::Trace, by_id(id))?;
            found.extend(place.filter(|p| p.experiment == self.experiment).map(|place| (place, id.clone())));
        }
        if let Some(until) = self.until {
            store.each_tracked(Table::Trace, of_experiment(self.experiment), |_, trace: Trace| {
                if trace.started <= until {
                    found.push((place(&trace), trace.id));
                }
                Ok(())
            })?;
            // The oldest go first.
            let most = self.most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
            found = found.into_iter().rev().take(most).collect();
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests;
