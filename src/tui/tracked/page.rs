//! A run's page, and that of several beside each other: rows that a cursor goes over.

use super::{Curve, Mark, Point, Want, WholeRun, is_of_machine};
use crate::model::RunId;
use std::collections::{BTreeSet, HashMap};

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    Metric(String),
    Param(String),
    Tag(String),
}

/// What is drawn of the runs that are open.
#[derive(Debug, Clone, Default)]
pub struct Page {
    pub ids: Vec<RunId>,
    /// In the order of `ids`; none before the first answer.
    pub runs: Vec<WholeRun>,
    /// The row that the cursor is on: it stays there when others come.
    pub item: Option<Item>,
    /// Whether what the cursor is on has the whole screen.
    pub alone: bool,
    curves: HashMap<RunId, HashMap<String, Curve>>,
}

impl Page {
    pub(super) fn turn_to(&mut self, ids: &[RunId], metric: Option<String>) {
        let mut curves = std::mem::take(&mut self.curves);
        curves.retain(|id, _| ids.contains(id));
        *self = Self { ids: ids.to_vec(), item: metric.map(Item::Metric), curves, ..Self::default() };
    }

    /// Takes runs in; whether anything changed. The answer for a page that was left comes late.
    pub(super) fn take(&mut self, runs: Vec<WholeRun>) -> bool {
        let of_this = runs.iter().map(|r| &r.run.id).eq(&self.ids);
        let changed = of_this && self.runs != runs;
        if changed {
            self.runs = runs;
        }
        changed
    }

    pub(super) fn take_curves(&mut self, told: Vec<(Want, Vec<Point>)>) -> bool {
        let mut changed = false;
        for (want, points) in told.into_iter().filter(|(w, _)| self.ids.contains(&w.run)) {
            let curve = Curve { mark: want.mark, points };
            changed |= self.curve(&want.run, &want.key) != Some(&curve);
            self.curves.entry(want.run).or_default().insert(want.key, curve);
        }
        changed
    }

    pub fn curve(&self, run: &RunId, key: &str) -> Option<&Curve> {
        self.curves.get(run)?.get(key)
    }

    /// All metrics, those of machines last.
    pub fn metrics(&self) -> Vec<&String> {
        let all: BTreeSet<&String> = self.runs.iter().flat_map(|r| r.run.metrics.keys()).collect();
        let (of_machine, own): (Vec<_>, Vec<_>) = all.into_iter().partition(|key| is_of_machine(key));
        own.into_iter().chain(of_machine).collect()
    }

    pub fn has_metric(&self, key: &str) -> bool {
        self.runs.iter().any(|r| r.run.metrics.contains_key(key))
    }

    pub(super) fn first_metric(&self) -> Option<String> {
        self.metrics().first().map(|m| (*m).clone())
    }

    /// Params that are not the same in all runs.
    pub fn differing(&self) -> Vec<&String> {
        let all: BTreeSet<&String> = self.runs.iter().flat_map(|r| r.params.keys()).collect();
        let differs = |key: &&String| {
            let mut values = self.runs.iter().map(|r| r.params.get(*key));
            let first = values.next();
            values.any(|v| Some(v) != first)
        };
        all.into_iter().filter(differs).collect()
    }

    /// The rows in their order: of one run all that was logged, of several what can be compared.
    pub fn items(&self) -> Vec<Item> {
        let metrics = self.metrics().into_iter().cloned().map(Item::Metric);
        match self.runs.as_slice() {
            [] => vec![],
            [one] => {
                // What MLflow notes for itself is of interest last.
                let (of_mlflow, own): (Vec<_>, Vec<_>) =
                    one.tags.keys().cloned().partition(|key| key.starts_with("mlflow."));
                let tags = own.into_iter().chain(of_mlflow).map(Item::Tag);
                metrics.chain(one.params.keys().cloned().map(Item::Param)).chain(tags).collect()
            }
            _ => self.differing().into_iter().cloned().map(Item::Param).chain(metrics).collect(),
        }
    }

    /// Place of the cursor among them.
    pub fn place(&self, items: &[Item]) -> usize {
        self.item.as_ref().and_then(|i| items.iter().position(|x| x == i)).unwrap_or(0)
    }

    /// Moves the cursor; the metric that it came to.
    pub(super) fn moved(&mut self, by: isize) -> Option<String> {
        let items = self.items();
        let place = self.place(&items).saturating_add_signed(by).min(items.len().saturating_sub(1));
        self.item = items.into_iter().nth(place);
        match &self.item {
            Some(Item::Metric(key)) => Some(key.clone()),
            _ => None,
        }
    }

    /// Puts the cursor on a row that is there.
    pub(super) fn settle(&mut self, metric: Option<&str>) {
        let items = self.items();
        if !self.item.as_ref().is_some_and(|i| items.contains(i)) {
            let chosen = metric.map(|m| Item::Metric(m.to_owned())).filter(|m| items.contains(m));
            self.item = chosen.or(items.into_iter().next());
        }
    }

    /// The chosen metric, and those whose rows may be seen.
    pub(super) fn metrics_near(&self, rows: usize, chosen: Option<&str>) -> Vec<String> {
        let (items, rows) = (self.items(), rows.max(8));
        let first = self.place(&items).saturating_sub(rows);
        let near = items.into_iter().skip(first).take(2 * rows + 1);
        let near = near.filter_map(|i| if let Item::Metric(key) = i { Some(key) } else { None });
        let near = near.filter(|key| Some(key.as_str()) != chosen);
        chosen.map(str::to_owned).into_iter().chain(near).collect()
    }

    /// Of these metrics' histories, those that more was logged to.
    pub(super) fn stale(&self, keys: &[String]) -> Vec<Want> {
        let want = |key: &String, r: &WholeRun| {
            let mark = Mark { newest: *r.run.metrics.get(key)?, ended: r.run.ended };
            let known = self.curve(&r.run.id, key).is_some_and(|c| c.mark == mark);
            (!known).then(|| Want { run: r.run.id.clone(), key: key.clone(), mark })
        };
        keys.iter().flat_map(|key| self.runs.iter().filter_map(move |r| want(key, r))).collect()
    }
}
