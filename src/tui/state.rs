//! What the screen is a function of. Pure.

use super::{
    access::Access,
    bindings::Bindings,
    borders::{Border, Shares},
    contexts::Contexts,
    grouping::Grouping,
    keymap::Act,
    log::{Flow, Log, LogView, Output},
    outline::Outline,
    promotion::Way,
    ranking::Ranking,
    theme::{Look, Theme},
    timeline::{self, Timeline},
    tracked::Tracked,
};
use crate::{api::types::*, model::*};
use jiff::tz::TimeZone;
use ratatui::layout::Rect;
use std::collections::BTreeSet;

pub use super::message::{Command, Difference, Drawn, Extent, Message, Mode, Page, Part, Screen, Target};

/// Everything that is shown.
#[derive(Debug, Clone)]
pub struct State {
    pub screen: Screen,
    /// The screens that lead back from it.
    trail: Vec<Screen>,
    pub mode: Mode,
    pub fleet: Option<Fleet>,
    /// Whether all of its models were told.
    pub whole: bool,
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
    /// What is searched for in the help.
    pub(super) sought: String,
    pub ranking: Ranking,
    pub grouping: Grouping,
    /// Models of which something happened since they were asked for.
    pub(super) moved: BTreeSet<Name>,
    /// Environments of all models, in the order of their chains.
    pub environments: Vec<Name>,
    /// Selected model, by name: it stays selected when the list changes.
    pub selected: Option<Name>,
    /// Its place when it was looked for last.
    pub(super) at: usize,
    /// A filter, and the places of the models that it lets through.
    pub(super) sieve: (String, Vec<usize>),
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
    /// Where borders were dragged to, and the one that is held, of this area.
    pub(super) borders: Shares,
    pub(super) dragged: Option<(Border, Rect)>,
    pub note: String,
    /// The note as it stood at the last tick, and for how many.
    pub(super) noted: (String, u8),
    pub reachable: bool,
    /// Of `seconds`, how many had passed when the daemon went away.
    pub(super) lost: u64,
    pub access: Access,
    /// The word that the person wants to say of a model, while nothing was pressed since.
    pub(super) wished: Option<(Name, Way)>,
    /// Name and address of the person, as git knows them.
    pub(super) author: Option<(String, String)>,
    /// Where the person is, for times of day.
    pub zone: TimeZone,
    /// Seconds since the fleet was fetched, for ages.
    pub seconds: u64,
    pub look: Look,
    /// This daemon, and the others that the person named.
    pub(super) contexts: Contexts,
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
            whole: false,
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
            sought: String::new(),
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
            borders: Shares::new(),
            dragged: None,
            note: String::new(),
            noted: (String::new(), 0),
            reachable: true,
            lost: 0,
            access: Access::default(),
            wished: None,
            author: None,
            zone: TimeZone::UTC,
            seconds: 0,
            look: Look::default(),
            contexts: Contexts::default(),
            theme: None,
            marked: BTreeSet::new(),
            bindings: Bindings::default(),
        }
    }

    /// Before anything was fetched from another daemon: what is the person's stays.
    pub(super) fn elsewhere(self, access: Access) -> Self {
        let Self { look, theme, bindings, zone, contexts, author, .. } = self;
        Self { look, theme, bindings, zone, contexts, author, access, ..Self::new() }
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
            Screen::Experiments | Screen::Events | Screen::Contexts | Screen::Help => None,
        }
    }

    /// Whether there is any model, as far as is known.
    pub(super) fn has_models(&self) -> bool {
        self.fleet.as_ref().is_none_or(|f| !f.models.is_empty())
    }

    /// How a model stands in the fleet.
    pub(super) fn summary(&self, name: &Name) -> Option<&ModelSummary> {
        // The page and the fleet are fetched beside each other: a key acts upon what its page shows.
        if let (Screen::Model(open) | Screen::Rollout(open), Some(page)) = (&self.screen, &self.model)
            && open == name
            && page.summary.name == *name
        {
            return Some(&page.summary);
        }
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

    /// The screen that help was asked on.
    pub(super) fn asked_on(&self) -> &Screen {
        self.trail.last().filter(|_| self.screen == Screen::Help).unwrap_or(&Screen::Fleet)
    }

    /// A key of an act as it is shown, where it has any on this screen.
    pub(super) fn key(&self, act: Act) -> Option<String> {
        self.bindings.keys(act, self.screen.is_tracked()).next()
    }

    /// What asks for an act on this screen: its key; where it has none, the command or the name that settings give it a key by.
    pub(super) fn called(&self, act: Act) -> String {
        self.key(act).unwrap_or_else(|| match act.command() {
            Some(command) => format!(":{command}"),
            None => format!("`{}` (no key)", act.name()),
        })
    }

    /// A text that says so in the place of `{}`.
    pub(super) fn with_key(&self, act: Act, text: &str) -> String {
        text.replace("{}", &self.called(act))
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
        self.sought.clear();
        self.page = Page { part: self.page.part, ..Page::default() };
        if let Screen::Log(..) = self.screen {
            self.log = Log::new(self.log.turn, self.newest_release());
        }
        if self.screen == Screen::Contexts {
            self.contexts.entered();
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
            Screen::Contexts => vec![Command::FetchContexts],
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
