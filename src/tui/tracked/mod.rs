//! Tracked runs, as their screens show them: what pipelines and clients of MLflow logged to an experiment. Pure, but for `fetch`.

mod act;
mod curve;
mod experiments;
pub(super) mod fetch;
mod figure;
mod list;
mod page;
mod wire;

pub(super) use act::{clear_filter, on_act, take_filter};
pub use curve::{Axis, Curve, Mark, Point, Want};
pub use experiments::{Experiment, Experiments, MOST};
pub use figure::{Better, Figure, better, change, is_of_machine};
pub use list::{Found, List, Living, Order, Wish};
pub use page::{Item, Page};

use crate::{
    model::RunId,
    tui::state::{Command, Screen, State},
};
use serde::Deserialize;
use std::collections::BTreeMap;

/// How a run stands. The words are MLflow's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    Running,
    Scheduled,
    Finished,
    Failed,
    Killed,
    /// A word that this version does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

/// The newest value of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Newest {
    pub value: Figure,
    pub step: i64,
    pub time: i64,
}

/// A run as lists show it. Times are milliseconds since the Unix epoch, by the clock of who logged them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackedRun {
    pub id: RunId,
    pub name: String,
    pub user: String,
    pub status: Status,
    pub started: i64,
    pub ended: Option<i64>,
    pub metrics: BTreeMap<String, Newest>,
}

impl TrackedRun {
    /// Whether more of it may come.
    pub fn lives(&self) -> bool {
        matches!(self.status, Status::Running | Status::Scheduled)
    }

    /// How long it took, or takes so far.
    pub fn took(&self, now: i64) -> Option<u64> {
        let end = if self.lives() { Some(now) } else { self.ended };
        end.map(|end| end.saturating_sub(self.started).max(0).unsigned_abs())
    }
}

/// A run with all that was logged to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WholeRun {
    pub run: TrackedRun,
    pub params: BTreeMap<String, String>,
    pub tags: BTreeMap<String, String>,
}

/// An answer.
#[derive(Debug, Clone)]
pub enum Told {
    /// A page of the list; or why the filter is none, in the daemon's words.
    Runs(Wish, Result<Found, String>),
    /// Those of the list that go on.
    Living(Wish, Living),
    /// Runs with all that was logged to them.
    Whole(Vec<WholeRun>),
    Curves(Vec<(Want, Vec<Point>)>),
    Experiments(Vec<Experiment>),
}

/// All that the screens of tracked runs are drawn from.
#[derive(Debug, Clone, Default)]
pub struct Tracked {
    pub experiments: Experiments,
    pub list: List,
    pub page: Page,
    /// The metric that is drawn, and that the list is sorted by.
    pub metric: Option<String>,
    pub axis: Axis,
    /// Counts what changed: an answer that tells nothing new is no reason to draw.
    pub revision: u64,
    /// Seconds since the list was asked for while nothing of it ran.
    idle: u64,
}

/// Seconds between looks at a list of which nothing runs: what a client starts has no event.
const IDLE: u64 = 5;

impl Tracked {
    /// A screen was opened.
    pub(super) fn entered(&mut self, screen: &Screen) {
        match screen {
            Screen::Runs(experiment) if self.list.experiment() != experiment => self.list = List::new(experiment),
            Screen::Run(_, id) => self.show(std::slice::from_ref(id)),
            Screen::Compare(_, ids) => self.show(ids),
            _ => {}
        }
    }

    fn show(&mut self, ids: &[RunId]) {
        if self.page.ids != ids {
            self.page.turn_to(ids, self.metric.clone());
        }
    }

    /// What the screen is drawn from.
    pub(super) fn needed(&self, screen: &Screen) -> Vec<Command> {
        match screen {
            Screen::Experiments => vec![Command::FetchExperiments],
            Screen::Runs(_) => vec![Command::FetchRuns(self.list.asked.clone())],
            Screen::Run(..) | Screen::Compare(..) => vec![Command::FetchTracked(self.page.ids.clone())],
            _ => vec![],
        }
    }

    /// Every second: a list is looked at as long as something of it runs, and now and then else. A fleet without models tells of
    /// experiments.
    pub(super) fn on_tick(&mut self, screen: &Screen, has_models: bool) -> Vec<Command> {
        let lives = match screen {
            Screen::Runs(_) => self.list.runs.iter().any(TrackedRun::lives),
            Screen::Experiments => false,
            Screen::Fleet if !has_models => false,
            _ => return self.on_beat(screen),
        };
        self.idle += 1;
        if !lives && self.idle < IDLE {
            return vec![];
        }
        self.idle = 0;
        if !matches!(screen, Screen::Runs(_)) {
            return vec![Command::FetchExperiments];
        }
        match self.list.shown() {
            Some(wish) if self.list.is_there() => vec![Command::FetchLiving(wish.clone())],
            _ => self.needed(screen),
        }
    }

    /// Twice a second: what is logged to a run that is open is there within one.
    pub(super) fn on_beat(&self, screen: &Screen) -> Vec<Command> {
        let lives = self.page.runs.iter().any(|r| r.run.lives());
        if lives { self.needed(screen) } else { vec![] }
    }

    /// The histories that the open page draws and that are older than what was logged; `rows` are those seen.
    pub(super) fn stale(&self, screen: &Screen, rows: usize) -> Vec<Command> {
        let keys = match screen {
            Screen::Run(..) => self.page.metrics_near(rows, self.metric.as_deref()),
            Screen::Compare(..) => self.metric.clone().into_iter().collect(),
            _ => vec![],
        };
        let wants = self.page.stale(&keys);
        if wants.is_empty() { vec![] } else { vec![Command::FetchCurves(wants)] }
    }
}

/// Takes an answer in.
pub(super) fn take(state: &mut State, told: Told) -> Vec<Command> {
    let screen = state.screen.clone();
    let rows = state.extent.page;
    let tracked = &mut state.tracked;
    let (changed, commands) = match told {
        Told::Runs(wish, found) => {
            let changed = tracked.list.take(wish, found);
            // What may have been meant is told instead.
            let astray = tracked.list.shown().is_some() && !tracked.list.is_there();
            (changed, if astray { vec![Command::FetchExperiments] } else { vec![] })
        }
        Told::Living(wish, living) => {
            let (changed, again) = tracked.list.refresh(&wish, living);
            (changed, if again { tracked.needed(&screen) } else { vec![] })
        }
        Told::Whole(runs) => (tracked.page.take(runs), vec![]),
        Told::Curves(curves) => (tracked.page.take_curves(curves), vec![]),
        Told::Experiments(all) => (tracked.experiments.take(all), vec![]),
    };
    if changed {
        tracked.revision += 1;
        tracked.settle();
        return [commands, tracked.stale(&screen, rows)].concat();
    }
    commands
}

impl Tracked {
    /// A metric is chosen as soon as there is any, and a row of the page.
    fn settle(&mut self) {
        let known = |m: &String| self.page.has_metric(m);
        if !self.page.runs.is_empty() && !self.metric.as_ref().is_some_and(known) {
            self.metric = self.page.first_metric().or(self.metric.take());
        }
        self.page.settle(self.metric.as_deref());
    }
}
