//! The list of an experiment's runs.

use super::{Better, TrackedRun, better, is_of_machine};
use crate::model::RunId;
use std::collections::HashMap;

/// What comes first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Order {
    #[default]
    Newest,
    Highest(String),
    Lowest(String),
}

impl Order {
    /// As MLflow has it; no clause asks for the newest.
    pub fn clause(&self) -> Option<String> {
        match self {
            Self::Newest => None,
            Self::Highest(key) => Some(format!("metrics.`{key}` DESC")),
            Self::Lowest(key) => Some(format!("metrics.`{key}` ASC")),
        }
    }

    /// The metric that decides.
    pub fn metric(&self) -> Option<&str> {
        match self {
            Self::Newest => None,
            Self::Highest(key) | Self::Lowest(key) => Some(key),
        }
    }

    /// The next one: the newest first, the best, the worst.
    fn next(&self, metric: Option<&str>) -> Self {
        let Some(metric) = metric else { return Self::Newest };
        let best = |lower| if lower { Self::Lowest(metric.to_owned()) } else { Self::Highest(metric.to_owned()) };
        let lower = better(metric) == Better::Lower;
        match self {
            Self::Newest => best(lower),
            by if *by == best(lower) => best(!lower),
            _ => Self::Newest,
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wish {
    pub experiment: String,
    /// In MLflow's grammar.
    pub filter: String,
    pub order: Order,
    /// Of the page; empty for the first.
    pub token: String,
}

/// A page of what was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// Whether there is such an experiment.
    pub there: bool,
    pub runs: Vec<TrackedRun>,
    /// Leads to the next page.
    pub next: Option<String>,
    /// The newest run that the filter lets through, wherever it stands.
    pub newest: Option<RunId>,
}

/// What goes on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Living {
    pub runs: Vec<TrackedRun>,
    pub newest: Option<RunId>,
}

/// Runs that can be compared, at most: more colours are not told apart.
pub const MARKS: usize = 6;

/// The list, and how it is looked at.
#[derive(Debug, Clone, Default)]
pub struct List {
    /// What is asked for now.
    pub asked: Wish,
    /// What the runs were asked by; `None` before the first answer.
    shown: Option<Wish>,
    /// Tokens of the pages before this one.
    before: Vec<String>,
    there: bool,
    pub runs: Vec<TrackedRun>,
    pub next: Option<String>,
    newest: Option<RunId>,
    /// A filter that is none, and why.
    pub refused: Option<(String, String)>,
    /// Stays selected when the list changes; `None`: whatever is first.
    selected: Option<RunId>,
    /// In the order in which they were marked.
    pub marked: Vec<RunId>,
}

impl List {
    pub(super) fn new(experiment: &str) -> Self {
        Self { asked: Wish { experiment: experiment.to_owned(), ..Wish::default() }, ..Self::default() }
    }

    pub fn experiment(&self) -> &str {
        &self.asked.experiment
    }

    pub fn shown(&self) -> Option<&Wish> {
        self.shown.as_ref()
    }

    /// Whether the experiment exists, as far as is known.
    pub fn is_there(&self) -> bool {
        self.there
    }

    /// How many runs stand on earlier pages.
    pub fn skipped(&self) -> usize {
        self.before.len() * PAGE
    }

    /// The filter that is edited: one that was refused can be put right.
    pub fn typed(&self) -> &str {
        self.refused.as_ref().map_or(&self.asked.filter, |(typed, _)| typed)
    }

    /// Takes a page in; whether anything changed.
    pub(super) fn take(&mut self, wish: Wish, found: Result<Found, String>) -> bool {
        if wish != self.asked {
            // Something else is asked for by now.
            return false;
        }
        match found {
            Err(words) => {
                let none = Wish { experiment: wish.experiment, ..Wish::default() };
                self.asked = self.shown.clone().unwrap_or(none);
                self.refused = Some((wish.filter, words));
                true
            }
            Ok(Found { there, runs, next, newest }) => {
                let as_before = self.shown.as_ref() == Some(&wish) && self.there == there && self.runs == runs;
                let changed = !as_before || self.next != next || self.refused.is_some();
                self.refused = None;
                if wish.token.is_empty() {
                    self.before.clear();
                }
                (self.shown, self.there, self.runs, self.next, self.newest) = (Some(wish), there, runs, next, newest);
                changed
            }
        }
    }

    /// Takes in what goes on: whether anything changed, and whether the list as a whole did, so that it has to be asked for again.
    pub(super) fn refresh(&mut self, wish: &Wish, living: Living) -> (bool, bool) {
        if self.shown.as_ref() != Some(wish) || self.asked != *wish {
            return (false, false);
        }
        let mut told: HashMap<RunId, TrackedRun> = living.runs.into_iter().map(|r| (r.id.clone(), r)).collect();
        let mut again = living.newest != self.newest;
        let mut changed = false;
        for run in &mut self.runs {
            match told.remove(&run.id) {
                Some(new) if new != *run => {
                    let by = wish.order.metric();
                    again |= by.is_some_and(|m| new.metrics.get(m) != run.metrics.get(m));
                    (*run, changed) = (new, true);
                }
                // It ended.
                None if run.lives() => again = true,
                _ => {}
            }
        }
        (changed, again)
    }

    /// Asks for another filter, from the first page on.
    pub(super) fn filter(&mut self, filter: &str) {
        self.refused = None;
        self.asked.filter = filter.trim().to_owned();
        self.restart();
    }

    /// Asks for the next order.
    pub(super) fn sort(&mut self, metric: Option<&str>) {
        self.asked.order = self.asked.order.next(metric);
        self.restart();
    }

    fn restart(&mut self) {
        self.asked.token.clear();
        self.selected = None;
    }

    /// Asks for the next page, or the one before; whether there is one.
    pub(super) fn turn(&mut self, forward: bool) -> bool {
        if self.shown.as_ref() != Some(&self.asked) {
            return false;
        }
        let token = if forward { self.next.clone() } else { self.before.pop() };
        let Some(token) = token else { return false };
        let left = std::mem::replace(&mut self.asked.token, token);
        if forward {
            self.before.push(left);
        }
        self.selected = None;
        true
    }

    /// Place of the selected run.
    pub fn place(&self) -> usize {
        self.selected.as_ref().and_then(|s| self.runs.iter().position(|r| r.id == *s)).unwrap_or(0)
    }

    pub fn selected(&self) -> Option<&TrackedRun> {
        self.runs.get(self.place())
    }

    pub(in crate::tui) fn moved(&mut self, by: isize) {
        let place = self.place().saturating_add_signed(by).min(self.runs.len().saturating_sub(1));
        // Whoever is at the top sees what comes.
        self.selected = if place == 0 { None } else { self.runs.get(place).map(|r| r.id.clone()) };
    }

    /// Marks the selected run for comparing, or takes the mark off; `false` when there are too many.
    pub(super) fn mark(&mut self) -> bool {
        let Some(id) = self.selected().map(|r| r.id.clone()) else { return true };
        match self.marked.iter().position(|m| *m == id) {
            Some(at) => drop(self.marked.remove(at)),
            None if self.marked.len() >= MARKS => return false,
            None => self.marked.push(id),
        }
        true
    }

    /// Metrics, those that most runs have first and those of machines last.
    pub fn metrics(&self) -> Vec<&str> {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        self.runs.iter().flat_map(|r| r.metrics.keys()).for_each(|k| *counts.entry(k).or_default() += 1);
        let mut keys: Vec<(&str, usize)> = counts.into_iter().collect();
        keys.sort_by(|a, b| is_of_machine(a.0).cmp(&is_of_machine(b.0)).then(b.1.cmp(&a.1)).then(a.0.cmp(b.0)));
        keys.into_iter().map(|(key, _)| key).collect()
    }
}

/// Runs of one page.
pub const PAGE: usize = 1000;
