//! Searches over experiments and runs.

use super::{
    Tracked, Tracker, check,
    first::First,
    inputs::CONTEXT,
    row::{Facts, Row},
    state::Slot,
};
use crate::{
    model::tracking::*,
    search::{Attribute, Dataset, Filter, Orders, Searched, Subject, page},
};
use rayon::prelude::*;
use std::borrow::Cow;

/// Which of the deleted and the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum View {
    #[default]
    Active,
    Deleted,
    All,
}

impl View {
    /// As on the wire, in the order of the protocol's numbers.
    pub const WORDS: &[&str] = &["ACTIVE_ONLY", "DELETED_ONLY", "ALL"];

    /// From the wire; active ones when nothing is said.
    pub fn of(word: Option<&str>) -> Self {
        match word {
            Some("DELETED_ONLY") => Self::Deleted,
            Some("ALL") => Self::All,
            _ => Self::Active,
        }
    }

    fn shows(self, lifecycle: Lifecycle) -> bool {
        match self {
            Self::Active => lifecycle == Lifecycle::Active,
            Self::Deleted => lifecycle == Lifecycle::Deleted,
            Self::All => true,
        }
    }
}

/// What is searched, and how much of it is wanted.
#[derive(Debug, Default)]
pub struct Query {
    pub filter: String,
    pub view: View,
    pub max_results: i64,
    pub order_by: Vec<String>,
    pub page_token: String,
}

/// Runs of one page, and the token of the next.
pub type SearchedRuns = (Vec<Row>, Option<String>);

/// Results of one page, at most.
const MOST: i64 = 50_000;

fn limited(max_results: i64) -> Tracked<usize> {
    let refused = |must| {
        TrackingError::invalid(format!(
            "Invalid value {max_results} for parameter 'max_results' supplied. It must be {must}"
        ))
    };
    match max_results {
        n if n < 1 => Err(refused("a positive integer".to_owned())),
        n if n > MOST => Err(refused(format!("at most {MOST}"))),
        n => Ok(n as usize),
    }
}

/// A run as filters see it: its facts at hand, the rest read as far as is asked.
struct Seen<'a> {
    row: &'a Row,
    facts: Facts<'a>,
}

impl Searched for Seen<'_> {
    fn attribute(&self, name: &str) -> Attribute<'_> {
        let text = |t: &'static str| Attribute::Text(Cow::Borrowed(t));
        match name {
            "run_id" | "run_uuid" => Attribute::Text(self.facts.id.into()),
            "run_name" | "name" => Attribute::Text(self.facts.name.into()),
            "user_id" => Attribute::Text(self.facts.user.into()),
            "status" => text(self.facts.status.name()),
            "artifact_uri" => Attribute::Text(self.facts.artifact_uri.into()),
            "lifecycle_stage" => text(self.facts.lifecycle.name()),
            "start_time" | "created" => Attribute::Integer(self.facts.started),
            "end_time" => self.facts.ended.map_or(Attribute::Missing, Attribute::Integer),
            "experiment_id" => Attribute::Text(self.facts.experiment.to_string().into()),
            _ => Attribute::Missing,
        }
    }
    fn metric(&self, key: &str) -> Option<f64> {
        self.row.metrics().find(|m| m.key == key).map(|m| m.value)
    }
    fn param(&self, key: &str) -> Option<&str> {
        self.row.params().find(|(k, _)| *k == key).map(|(_, v)| v)
    }
    fn tag(&self, key: &str) -> Option<&str> {
        self.row.tags().find(|(k, _)| *k == key).map(|(_, v)| v)
    }
    fn any_dataset(&self, holds: &mut dyn FnMut(&Dataset<'_>) -> bool) -> bool {
        self.row.inputs().datasets.iter().any(|used| {
            let context = used.tags.iter().find(|(k, _)| *k == CONTEXT).map(|(_, v)| *v);
            holds(&Dataset { name: used.name, digest: used.digest, context })
        })
    }
}

/// An experiment as filters see it.
struct SeenExperiment<'a>(&'a Experiment);

impl Searched for SeenExperiment<'_> {
    fn attribute(&self, name: &str) -> Attribute<'_> {
        match name {
            "name" => Attribute::Text(self.0.name.as_str().into()),
            "experiment_id" => Attribute::Integer(i64::try_from(self.0.id).unwrap_or(i64::MAX)),
            "creation_time" => Attribute::Integer(self.0.created),
            "last_update_time" => Attribute::Integer(self.0.updated),
            "lifecycle_stage" => Attribute::Text(self.0.lifecycle.name().into()),
            _ => Attribute::Missing,
        }
    }
    fn tag(&self, key: &str) -> Option<&str> {
        self.0.tags.get(key).map(String::as_str)
    }
}

impl Tracker {
    /// Runs of these experiments.
    pub fn search_runs(&self, experiments: &[String], query: &Query) -> Tracked<SearchedRuns> {
        let most = limited(query.max_results)?;
        let filter = Filter::parse(Subject::Runs, &query.filter)?;
        let orders = Orders::parse(Subject::Runs, &query.order_by)?;
        let offset = page::offset(&query.page_token)?;
        let ids = check::experiment_ids(experiments)?;
        let state = self.read();
        let mut places: Vec<Slot> = ids.iter().flat_map(|id| state.runs.of_experiment(*id)).copied().collect();
        places.sort_unstable();
        places.dedup();
        let end = offset.saturating_add(most);
        let found = places
            .into_par_iter()
            .with_min_len(1024)
            .filter_map(|slot| {
                let row = state.runs.row(slot);
                // What could not be read was refused when it was loaded.
                let seen = Seen { row, facts: row.facts().ok()? };
                let shown = query.view.shows(seen.facts.lifecycle) && filter.matches(&seen);
                shown.then(|| (orders.key(&seen), slot))
            })
            .fold(
                || First::until(end),
                |mut first, (key, slot)| {
                    first.put(key, slot);
                    first
                },
            )
            .reduce(|| First::until(end), First::join);
        let (slots, next) = found.page(offset);
        Ok((slots.into_iter().map(|slot| state.runs.row(slot).clone()).collect(), next))
    }

    /// Experiments of those that the caller may see.
    pub fn search_experiments(
        &self,
        query: &Query,
        seen: &dyn Fn(&Experiment) -> bool,
    ) -> Tracked<(Vec<Experiment>, Option<String>)> {
        let most = limited(query.max_results)?;
        let filter = Filter::parse(Subject::Experiments, &query.filter)?;
        let orders = Orders::parse(Subject::Experiments, &query.order_by)?;
        let offset = page::offset(&query.page_token)?;
        let state = self.read();
        let all = state.experiments.by_id.values().map(SeenExperiment);
        let shown = all.filter(|e| query.view.shows(e.0.lifecycle) && filter.matches(e) && seen(e.0));
        let found = First::of(offset.saturating_add(most), shown.map(|e| (orders.key(&e), e.0)));
        let (experiments, next) = found.page(offset);
        Ok((experiments.into_iter().cloned().collect(), next))
    }
}
