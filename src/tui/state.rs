//! What the screen is a function of. Pure.

use super::{
    access::Access,
    bindings::Bindings,
    command::Line,
    filter::{Filter, Names},
    grouping::Grouping,
    keymap::Act,
    log::{Flow, Flowed, Follow, Log, LogView, Output},
    outline::Outline,
    outside::Outside,
    ranking::Ranking,
    theme::{Look, Theme},
    timeline::{self, Lately, Timeline},
    tracked::{Told, Tracked, Want, Wish},
};
use crate::{api::types::*, model::*};
use crossterm::event::{KeyEvent, MouseEvent};
use jiff::tz::TimeZone;
use ratatui::layout::Rect;
use std::collections::BTreeSet;

/// Which screen is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Screen {
    Fleet,
    Model(Name),
    /// Traffic of a model on its way to another release.
    Rollout(Name),
    /// What Git asks of a model against what is live.
    Diff(Name),
    Log(Name, Output),
    /// All experiments.
    Experiments,
    /// The tracked runs of an experiment, which is a model's when it has the model's name.
    Runs(String),
    Run(String, RunId),
    /// Runs of an experiment beside each other.
    Compare(String, Vec<RunId>),
    /// Commits, with what each caused.
    TimeLine,
    Commit(ObjectId),
    /// What undoing a commit would do.
    Revert(ObjectId),
    Events,
    Plan,
    Help,
}

/// What keys mean now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    Normal,
    /// After `:`.
    Command(Line),
    /// After `/`.
    Filter(String),
    /// A question that `y` confirms.
    Confirm(Command),
}

/// What the loop is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    FetchFleet,
    /// How these models stand now.
    FetchModels(BTreeSet<Name>),
    /// How those stand that are asked for something.
    FetchBusy,
    FetchModel(Name),
    FetchVersion(Name, VersionNumber),
    FetchDiff(Name),
    FetchEvents,
    FetchCommits,
    FetchCommit(ObjectId),
    FetchRevert(ObjectId),
    FetchPlan,
    FetchExperiments,
    /// A page of tracked runs.
    FetchRuns(Wish),
    /// Those of that page that go on.
    FetchLiving(Wish),
    FetchTracked(Vec<RunId>),
    FetchCurves(Vec<Want>),
    Follow(Follow),
    Sync,
    /// The terminal's bell.
    Ring,
    /// Writes output to a new file.
    Save {
        file: String,
        text: Vec<u8>,
    },
    /// To the clipboard of whoever sits at the terminal.
    Copy(String),
    /// A program of the person's, which has the terminal meanwhile.
    Outside(Outside),
    /// Another daemon, by its name.
    Switch(String),
    Post {
        model: Name,
        verb: String,
    },
    /// Undoes a commit, as was decided on another.
    Revert {
        commit: ObjectId,
        on: ObjectId,
    },
    Quit,
}
/// What happened.
#[derive(Debug, Clone)]
pub enum Message {
    Key(KeyEvent),
    Mouse(MouseEvent),
    Resized,
    Fleet(Box<Fleet>),
    /// Some of the models: those that were asked for by name, where any were.
    Some {
        asked: BTreeSet<Name>,
        fleet: Box<Fleet>,
    },
    Model(Box<ModelDetail>),
    Version(Box<Version>),
    Events(Vec<Event>),
    Plan(Box<FleetPlan>),
    Diff(Box<Difference>),
    /// Of the output that is followed, if it is still this turn that is.
    Log {
        turn: u64,
        flowed: Flowed,
    },
    Tracked(Told),
    Lately(Lately),
    /// An event of the daemon; `None`: look at everything again.
    Happened(Option<Event>),
    Said(String),
    /// The daemon refused to change anything for this person.
    Denied(String),
    /// The daemon is gone; or it is listened to, from now on.
    Reachable(bool),
    /// A second passed.
    Tick,
    /// Half of one did.
    Beat,
}

/// A model's spec against what is live.
#[derive(Debug, Clone)]
pub struct Difference {
    pub model: Name,
    pub fields: Vec<FieldDiff>,
    pub plan: ModelPlan,
    /// What it serves, and how that keeps what was promised.
    pub detail: ModelDetail,
}

/// A part of a model's page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Part {
    #[default]
    Versions,
    Lineage,
    Metrics,
    Conditions,
    Events,
}

impl Part {
    /// In the order in which tab goes through them.
    pub const ALL: [Self; 5] = [Self::Versions, Self::Lineage, Self::Metrics, Self::Conditions, Self::Events];

    /// Its title.
    pub fn word(self) -> &'static str {
        match self {
            Self::Versions => "versions",
            Self::Lineage => "lineage",
            Self::Metrics => "metrics",
            Self::Conditions => "conditions",
            Self::Events => "events",
        }
    }

    /// The one after it.
    pub fn next(self) -> Self {
        let place = Self::ALL.iter().position(|p| *p == self).unwrap_or(0);
        Self::ALL[(place + 1) % Self::ALL.len()]
    }
}

/// What is chosen on a model's page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Page {
    pub part: Part,
    /// The place of the chosen version, newest first.
    pub version: usize,
    /// Of the curve: a place among the metrics, beyond their end from the first on again.
    pub metric: usize,
}

/// How far the screen that was drawn last can be scrolled, and how much of it is seen at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extent {
    pub last: usize,
    pub page: usize,
    /// Columns, where what is scrolled is folded to them.
    pub width: usize,
}

/// What a place on the screen stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// So many rows down the list that is open, from its first.
    Row(usize),
    /// A hint of what can be done.
    Hint(Act),
}

/// What was drawn.
#[derive(Debug, Clone, Default)]
pub struct Drawn {
    pub extent: Extent,
    pub targets: Vec<(Rect, Target)>,
}

/// Everything that is shown.
#[derive(Debug, Clone)]
pub struct State {
    pub screen: Screen,
    /// The screens that lead back from it.
    trail: Vec<Screen>,
    pub mode: Mode,
    pub fleet: Option<Fleet>,
    pub model: Option<ModelDetail>,
    pub page: Page,
    /// The version that is chosen on the model's page, once it was fetched.
    pub version: Option<Version>,
    pub events: Vec<Event>,
    pub timeline: Timeline,
    pub plan: Option<FleetPlan>,
    pub outline: Outline,
    pub diff: Option<Difference>,
    pub log: Log,
    pub log_view: LogView,
    pub tracked: Tracked,
    pub filter: String,
    pub ranking: Ranking,
    pub grouping: Grouping,
    /// Models of which something happened since they were asked for.
    pub(super) moved: BTreeSet<Name>,
    /// Environments of all models, in the order of their chains.
    pub environments: Vec<Name>,
    /// Selected model, by name: it stays selected when the list changes.
    pub selected: Option<Name>,
    /// Its place when it was looked for last.
    at: usize,
    /// A filter, and the places of the models that it lets through.
    sieve: (String, Vec<usize>),
    /// Cells of the longest name.
    pub(super) longest: usize,
    /// Rollouts and trainings under way in the whole fleet.
    pub(super) moving: usize,
    pub(super) training: usize,
    /// Lines scrolled down from the top.
    pub scroll: usize,
    pub extent: Extent,
    /// What a click means, by where it is.
    pub(super) targets: Vec<(Rect, Target)>,
    pub note: String,
    /// The note as it stood at the last tick, and for how many.
    pub(super) noted: (String, u8),
    pub reachable: bool,
    /// Of `seconds`, how many had passed when the daemon went away.
    pub(super) lost: u64,
    pub access: Access,
    /// Where the person is, for times of day.
    pub zone: TimeZone,
    /// Seconds since the fleet was fetched, for ages.
    pub seconds: u64,
    pub look: Look,
    /// What the person calls this daemon, and those that they named.
    pub(super) context: Option<String>,
    pub(super) contexts: Vec<String>,
    /// Chosen while it runs.
    pub(super) theme: Option<Theme>,
    /// Models that the person wants to find again.
    pub(super) marked: BTreeSet<Name>,
    pub(super) bindings: Bindings,
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    /// Before anything was fetched.
    pub fn new() -> Self {
        Self {
            screen: Screen::Fleet,
            trail: vec![],
            mode: Mode::Normal,
            fleet: None,
            model: None,
            page: Page::default(),
            version: None,
            events: vec![],
            timeline: Timeline::default(),
            plan: None,
            outline: Outline::default(),
            diff: None,
            log: Log::new(0, None),
            log_view: LogView::default(),
            tracked: Tracked::default(),
            filter: String::new(),
            ranking: Ranking::default(),
            grouping: Grouping::default(),
            moved: BTreeSet::new(),
            environments: vec![],
            selected: None,
            at: 0,
            sieve: Default::default(),
            longest: 0,
            moving: 0,
            training: 0,
            scroll: 0,
            extent: Extent::default(),
            targets: vec![],
            note: String::new(),
            noted: (String::new(), 0),
            reachable: true,
            lost: 0,
            access: Access::default(),
            zone: TimeZone::UTC,
            seconds: 0,
            look: Look::default(),
            context: None,
            contexts: vec![],
            theme: None,
            marked: BTreeSet::new(),
            bindings: Bindings::default(),
        }
    }

    /// Before anything was fetched from another daemon: what is the person's stays.
    pub(super) fn elsewhere(self, access: Access) -> Self {
        let Self { look, theme, bindings, zone, contexts, .. } = self;
        Self { look, theme, bindings, zone, contexts, access, ..Self::new() }
    }

    /// Models that the filter lets through, in the chosen order.
    pub fn shown(&self) -> Vec<&ModelSummary> {
        let all = || self.fleet.iter().flat_map(|f| &f.models);
        if self.filter.is_empty() {
            return all().collect();
        }
        if self.sieve.0 == self.filter {
            let models = self.fleet.as_ref().map_or(&[][..], |f| &f.models);
            return self.sieve.1.iter().filter_map(|at| models.get(*at)).collect();
        }
        self.sifted().into_iter().map(|(_, m)| m).collect()
    }

    /// The same with their places in the fleet, asked of each model.
    fn sifted(&self) -> Vec<(usize, &ModelSummary)> {
        let filter = Filter::new(&self.filter);
        let found = |names| {
            let all = self.fleet.iter().flat_map(|f| f.models.iter().enumerate());
            all.filter(|(_, m)| filter.lets(m, names, self.marked.contains(&m.name))).collect::<Vec<_>>()
        };
        let exact = found(Names::Part);
        if exact.is_empty() { found(Names::Letters) } else { exact }
    }

    /// Keeps what the filter lets through until it is another one: ten thousand models are asked once, not for each frame.
    pub(super) fn sift(&mut self) {
        if self.sieve.0 != self.filter {
            let places = self.sifted().into_iter().map(|(at, _)| at).collect();
            self.sieve = (self.filter.clone(), places);
        }
    }

    /// The filter is to be asked anew.
    pub(super) fn unsift(&mut self) {
        self.sieve = Default::default();
    }

    /// Place of the selected model among those shown.
    pub fn place(&self) -> usize {
        self.place_among(&self.shown())
    }

    /// The same, of what was filtered already: ten thousand models are asked once a frame.
    pub(super) fn place_among(&self, shown: &[&ModelSummary]) -> usize {
        let Some(selected) = &self.selected else { return 0 };
        // Mostly where it was: ten thousand names need not be compared for it.
        let is = |m: &&ModelSummary| m.name == *selected;
        match shown.get(self.at).filter(|m| is(m)) {
            Some(_) => self.at,
            None => shown.iter().position(is).unwrap_or(0),
        }
    }

    pub(super) fn select(&mut self, place: usize) {
        let shown = self.shown();
        let at = place.min(shown.len().saturating_sub(1));
        self.selected = shown.get(at).map(|m| m.name.clone());
        self.at = at;
    }

    /// The model that keys and commands are about: the one that is open, or the one that is seen to be selected.
    pub(super) fn subject(&self) -> Option<Name> {
        match &self.screen {
            Screen::Model(m) | Screen::Rollout(m) | Screen::Log(m, _) | Screen::Diff(m) => Some(m.clone()),
            Screen::Runs(experiment) | Screen::Run(experiment, _) | Screen::Compare(experiment, _) => {
                Name::new(experiment).ok().filter(|n| self.summary(n).is_some())
            }
            Screen::Fleet => {
                let shown = self.shown();
                shown.get(self.place_among(&shown)).map(|m| m.name.clone())
            }
            Screen::Plan => self.plan.as_ref().and_then(|p| self.outline.subject(p)),
            Screen::TimeLine | Screen::Commit(_) | Screen::Revert(_) => None,
            Screen::Experiments | Screen::Events | Screen::Help => None,
        }
    }

    /// Whether there is any model, as far as is known.
    pub(super) fn has_models(&self) -> bool {
        self.fleet.as_ref().is_none_or(|f| !f.models.is_empty())
    }

    /// How a model stands in the fleet.
    pub(super) fn summary(&self, name: &Name) -> Option<&ModelSummary> {
        self.fleet.iter().flat_map(|f| &f.models).find(|m| m.name == *name)
    }

    /// How that model stands in the fleet.
    pub(super) fn subject_summary(&self) -> Option<&ModelSummary> {
        if self.screen == Screen::Fleet {
            let shown = self.shown();
            return shown.get(self.place_among(&shown)).copied();
        }
        self.summary(&self.subject()?)
    }

    /// Puts the fleet in the chosen order.
    pub(super) fn arrange(&mut self) {
        let Some(fleet) = self.fleet.as_mut() else { return };
        let (ranking, grouping) = (self.ranking, self.grouping);
        fleet.models.sort_by(|a, b| {
            grouping.compare(a, b).then_with(|| ranking.compare(a, b)).then_with(|| a.name.cmp(&b.name))
        });
        self.unsift();
        self.at = self.place();
    }

    /// The clock of the newest picture, with the seconds since.
    pub fn now(&self) -> Now {
        let base = self.fleet.as_ref().map(|f| f.now).unwrap_or_default();
        let ms = self.seconds * 1000;
        Now { wall: WallMs(base.wall.0 + ms as i64), steady: base.steady.plus(ms) }
    }

    /// How long the daemon has been gone, and the time of day when it went; nothing while it is there.
    pub(super) fn stale(&self) -> Option<(u64, Option<String>)> {
        let gone = self.seconds.saturating_sub(self.lost);
        let then = self.now().wall.0 - gone as i64 * 1000;
        let at = self.fleet.as_ref().and_then(|_| jiff::Timestamp::from_millisecond(then).ok());
        let told = at.map(|at| at.to_zoned(self.zone.clone()).strftime("%H:%M:%S").to_string());
        (!self.reachable).then_some((gone, told))
    }

    /// Opens a screen; the one before is where `back` leads.
    pub(super) fn open(&mut self, screen: Screen) -> Vec<Command> {
        let before = std::mem::replace(&mut self.screen, screen);
        self.trail.push(before);
        // A screen that is on the way back already is not gone back to twice.
        if let Some(again) = self.trail.iter().position(|s| *s == self.screen) {
            self.trail.truncate(again);
        }
        self.entered()
    }

    pub(super) fn back(&mut self) -> Vec<Command> {
        match self.trail.pop() {
            Some(before) => {
                self.screen = before;
                self.entered()
            }
            None => {
                self.filter.clear();
                vec![]
            }
        }
    }

    /// What a screen that is now open needs.
    fn entered(&mut self) -> Vec<Command> {
        self.scroll = 0;
        self.page = Page { part: self.page.part, ..Page::default() };
        if let Screen::Log(..) = self.screen {
            self.log = Log::new(self.log.turn, self.newest_release());
        }
        self.tracked.entered(&self.screen);
        self.needed()
    }

    /// What the open screen is drawn from, as far as it is not followed anyway.
    pub(super) fn needed(&mut self) -> Vec<Command> {
        match self.screen.clone() {
            Screen::Fleet | Screen::Help => vec![],
            Screen::Model(m) | Screen::Rollout(m) => vec![Command::FetchModel(m)],
            Screen::Diff(m) => vec![Command::FetchDiff(m)],
            Screen::Log(model, output) if matches!(self.log.flow, Flow::Ended | Flow::Cut) => {
                vec![Command::Follow(self.log.follow(model, output))]
            }
            Screen::Log(..) => vec![],
            Screen::Experiments | Screen::Runs(_) | Screen::Run(..) | Screen::Compare(..) => {
                self.tracked.needed(&self.screen)
            }
            Screen::TimeLine | Screen::Commit(_) | Screen::Revert(_) => timeline::needed(self),
            Screen::Events => vec![Command::FetchEvents],
            Screen::Plan => vec![Command::FetchPlan],
        }
    }

    /// The output after the one that is open: the runs', then each environment's where something serves, the live one first.
    pub(super) fn other_output(&mut self) -> Vec<Command> {
        let Screen::Log(model, output) = self.screen.clone() else { return vec![] };
        let environments = self.summary(&model).into_iter().flat_map(|m| m.environments.iter().rev());
        let deployed = environments.filter(|e| e.version.is_some() || e.rollout.is_some());
        let all: Vec<Output> = deployed.map(|e| Output::Replica(e.environment.clone())).collect();
        if all.is_empty() && output == Output::Runs {
            self.note = format!("{model} is deployed nowhere: there is no replica whose output could be shown");
            return vec![];
        }
        let next = match &output {
            Output::Runs => 0,
            here => all.iter().position(|o| o == here).map_or(all.len(), |at| at + 1),
        };
        self.screen = Screen::Log(model, all.into_iter().nth(next).unwrap_or(Output::Runs));
        self.entered()
    }

    /// The release whose replica's output is open: another one has another log.
    fn newest_release(&self) -> Option<(VersionNumber, bool)> {
        let Screen::Log(model, Output::Replica(name)) = &self.screen else { return None };
        let e = self.summary(model)?.environments.iter().find(|e| e.environment == *name)?;
        let rollout = e.rollout.as_ref();
        // While it starts it may have no replica yet.
        Some((rollout.map(|r| r.to).or(e.version)?, rollout.is_some_and(|r| r.step == 0)))
    }

    /// After a new picture of the fleet: a replica of another release has another log.
    pub(super) fn released(&mut self) -> Vec<Command> {
        let moved =
            matches!(&self.screen, Screen::Log(_, Output::Replica(_))) && self.log.release != self.newest_release();
        if moved { self.entered() } else { vec![] }
    }

    pub(super) fn ask(&mut self, command: Command) -> Vec<Command> {
        let allowed = self.allowed(command);
        if allowed.iter().any(|c| self.question_of(c).is_some()) {
            self.mode = allowed.into_iter().next().map_or(Mode::Normal, Mode::Confirm);
            return vec![];
        }
        allowed
    }

    /// The question that waits for `y`.
    pub fn question(&self) -> Option<String> {
        match &self.mode {
            Mode::Confirm(c) => self.question_of(c),
            _ => None,
        }
    }

    /// The question before a command is done.
    fn question_of(&self, command: &Command) -> Option<String> {
        let Command::Post { model, verb } = command else {
            let Command::Revert { commit, .. } = command else { return None };
            return timeline::question(self, commit);
        };
        Some(match verb.as_str() {
            "rollback" => {
                // What broke a spec is newer than what is in force.
                let newest = self.summary(model).filter(|m| !m.spec_broken).and_then(|m| m.changed_by.as_ref());
                let undone = match newest {
                    // A lock goes with the change that it followed from.
                    Some(r) if r.summary.starts_with("lock: ") => format!("lock {} and its change", r.commit.short()),
                    Some(r) => format!("{} \"{}\"", r.commit.short(), r.summary),
                    None => "its newest change, not known here".to_owned(),
                };
                format!("{model}: revert and push {undone}?")
            }
            _ => return self.question_of_rollout(model, verb.strip_prefix("rollout/")?),
        })
    }

    /// What a word to a rollout does, in its figures.
    fn question_of_rollout(&self, model: &Name, word: &str) -> Option<String> {
        let moving = self.summary(model).and_then(|m| {
            let of = |e: &EnvironmentSummary| Some((e.environment.clone(), e.version, e.rollout.clone()?));
            m.environments.iter().rev().find_map(of)
        });
        let Some((environment, stable, r)) = moving else {
            let what = match word {
                "promote" => "give the new version all traffic now",
                "abort" => "take all traffic back to stable",
                "pause" => "hold its rollout",
                "resume" => "go on with its rollout",
                _ => return None,
            };
            return Some(format!("{model}: {what}?"));
        };
        let (to, weight) = (r.to, r.weight);
        let stable = stable.map_or("nothing".to_owned(), |v| v.to_string());
        let next = r.steps.get(r.step).map_or("all traffic".to_owned(), |s| format!("{} %", s.weight));
        let what = match word {
            "promote" => format!("give {to} all traffic now ({weight} % → 100 %), past all steps and analyses"),
            "abort" => format!("take all traffic back to {stable} now; {to} is rejected and kept"),
            "pause" => format!("hold {to} at {weight} % until someone says go on"),
            "resume" if r.gate => format!("pass the gate: {to} {weight} % → {next}"),
            "resume" => format!("go on with {to} at {weight} %, then {next}"),
            _ => return None,
        };
        Some(format!("{model} in {environment}: {what}?"))
    }

    /// The version that is chosen on the model's page, where it was not fetched yet.
    pub(super) fn wanted_version(&self) -> Vec<Command> {
        let (Screen::Model(name), Some(m)) = (&self.screen, &self.model) else { return vec![] };
        let chosen = m.versions.get(self.page.version).filter(|_| m.summary.name == *name);
        let known = |v: &VersionBrief| self.version.as_ref().is_some_and(|k| k.model == *name && k.number == v.number);
        chosen.filter(|v| !known(v)).map(|v| Command::FetchVersion(name.clone(), v.number)).into_iter().collect()
    }

    /// Notes what was drawn: how far it can be scrolled, and what is where.
    pub fn drawn(&mut self, drawn: Drawn) {
        self.extent = drawn.extent;
        self.targets = drawn.targets;
        self.scroll = self.scroll.min(self.extent.last);
    }
}

/// Whether a rollout of the model waits for a person; `None` when there is none.
pub(super) fn held(m: &ModelSummary) -> Option<bool> {
    let mut rollouts = m.environments.iter().filter_map(|e| e.rollout.as_ref()).peekable();
    rollouts.peek()?;
    Some(rollouts.any(|r| r.held))
}
