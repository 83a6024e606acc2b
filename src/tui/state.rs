//! What the screen is a function of, and how messages change it. Pure.

use super::{
    command::{completed, run_line, typed},
    keymap::{Act, act_of},
};
use crate::{api::types::*, model::*};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Which screen is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Screen {
    Fleet,
    Model(Name),
    /// What Git asks of a model against what is live.
    Diff(Name),
    Log(Name),
    Events,
    Plan,
    Help,
}

/// What keys mean now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    Normal,
    /// After `:`.
    Command(String),
    /// After `/`.
    Filter(String),
    /// A question that `y` confirms.
    Confirm(Command),
}

/// What the loop is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    FetchFleet,
    FetchModel(Name),
    FetchDiff(Name),
    FetchEvents,
    FetchPlan,
    /// The newest run's output, unless it is of this run, which was shown already.
    FollowLog {
        model: Name,
        after: Option<RunId>,
    },
    Sync,
    Post {
        model: Name,
        verb: String,
    },
    Quit,
}
impl Command {
    /// The question before it is done.
    fn question(&self) -> Option<String> {
        match self {
            Self::Post { model, verb } if verb == "rollback" => {
                Some(format!("Make and push a git revert for {model}?"))
            }
            Self::Post { model, verb } if verb == "rollout/promote" => {
                Some(format!("Give the new version of {model} all traffic now?"))
            }
            Self::Post { model, verb } if verb == "rollout/abort" => {
                Some(format!("Take all traffic of {model} back to stable?"))
            }
            _ => None,
        }
    }
}

/// What happened.
#[derive(Debug, Clone)]
pub enum Message {
    Key(KeyEvent),
    Resized,
    Fleet(Box<Fleet>),
    Model(Box<ModelDetail>),
    Events(Vec<Event>),
    Plan(Box<FleetPlan>),
    Diff(Box<Difference>),
    /// The output that follows is of this run.
    LogOf(Box<Run>),
    Log(String),
    /// There is no more of it for now; `streamed` when there was any since it was asked for.
    LogEnded {
        streamed: bool,
    },
    /// An event of the daemon; `None`: look at everything again.
    Happened(Option<Event>),
    Said(String),
    /// The daemon is gone, or back.
    Reachable(bool),
    /// A second passed.
    Tick,
}

/// A model's spec against what is live.
#[derive(Debug, Clone)]
pub struct Difference {
    pub model: Name,
    pub fields: Vec<FieldDiff>,
    pub plan: ModelPlan,
}

/// How far the screen that was drawn last can be scrolled, and how much of it is seen at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extent {
    pub last: usize,
    pub page: usize,
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
    pub events: Vec<Event>,
    pub plan: Option<FleetPlan>,
    pub diff: Option<Difference>,
    pub log: Vec<String>,
    /// Whose output the log is.
    pub log_run: Option<Run>,
    /// Whether more of it may come.
    pub log_open: bool,
    pub filter: String,
    /// Selected model, by name: it stays selected when the list changes.
    pub selected: Option<Name>,
    /// Lines scrolled up from the end (log) or down from the top (others).
    pub scroll: usize,
    pub extent: Extent,
    pub note: String,
    pub reachable: bool,
    /// Seconds since the fleet was fetched, for ages.
    pub seconds: u64,
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

/// Lines of a log, and events, that are kept.
const KEPT: usize = 5_000;

const HEALTHS: [Health; 6] =
    [Health::Healthy, Health::Progressing, Health::Degraded, Health::Suspended, Health::Missing, Health::Unknown];

/// What needs a person comes first.
fn rank(health: Health) -> u8 {
    match health {
        Health::Degraded | Health::Missing => 0,
        Health::Progressing => 1,
        Health::Suspended => 2,
        Health::Unknown => 3,
        Health::Healthy => 4,
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
            events: vec![],
            plan: None,
            diff: None,
            log: vec![],
            log_run: None,
            log_open: false,
            filter: String::new(),
            selected: None,
            scroll: 0,
            extent: Extent::default(),
            note: String::new(),
            reachable: true,
            seconds: 0,
        }
    }

    /// Models that the filter lets through, those that need a person first.
    pub fn shown(&self) -> Vec<&ModelSummary> {
        let all = self.fleet.iter().flat_map(|f| &f.models);
        if self.filter.is_empty() {
            return all.collect();
        }
        let wanted = self.filter.to_lowercase();
        // Asked of each health once, not of each of ten thousand models.
        let healths: Vec<Health> =
            HEALTHS.into_iter().filter(|h| h.to_string().to_lowercase().contains(&wanted)).collect();
        all.filter(|m| m.name.as_str().contains(&wanted) || healths.contains(&m.health)).collect()
    }

    /// Place of the selected model among those shown.
    pub fn place(&self) -> usize {
        let shown = self.shown();
        self.selected.as_ref().and_then(|s| shown.iter().position(|m| m.name == *s)).unwrap_or(0)
    }

    fn select(&mut self, place: usize) {
        let shown = self.shown();
        self.selected = shown.get(place.min(shown.len().saturating_sub(1))).map(|m| m.name.clone());
    }

    /// The model that keys and commands are about: the one that is open, else the selected one.
    pub(super) fn subject(&self) -> Option<Name> {
        match &self.screen {
            Screen::Model(m) | Screen::Log(m) | Screen::Diff(m) => Some(m.clone()),
            _ => self.shown().get(self.place()).map(|m| m.name.clone()),
        }
    }

    /// How that model stands in the fleet.
    pub(super) fn subject_summary(&self) -> Option<&ModelSummary> {
        let name = self.subject()?;
        self.fleet.iter().flat_map(|f| &f.models).find(|m| m.name == name)
    }

    /// The clock of the newest picture, with the seconds since.
    pub fn now(&self) -> Now {
        let base = self.fleet.as_ref().map(|f| f.now).unwrap_or_default();
        let ms = self.seconds * 1000;
        Now { wall: WallMs(base.wall.0 + ms as i64), steady: base.steady.plus(ms) }
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

    fn back(&mut self) -> Vec<Command> {
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
        match self.screen.clone() {
            Screen::Fleet | Screen::Help => vec![],
            Screen::Model(m) => vec![Command::FetchModel(m)],
            Screen::Diff(m) => vec![Command::FetchDiff(m)],
            Screen::Log(model) => {
                self.log.clear();
                self.log_run = None;
                self.log_open = true;
                vec![Command::FollowLog { model, after: None }]
            }
            Screen::Events => vec![Command::FetchEvents],
            Screen::Plan => vec![Command::FetchPlan],
        }
    }

    pub(super) fn ask(&mut self, command: Command) -> Vec<Command> {
        if command.question().is_some() {
            self.mode = Mode::Confirm(command);
            return vec![];
        }
        vec![command]
    }

    /// The question that waits for `y`.
    pub fn question(&self) -> Option<String> {
        match &self.mode {
            Mode::Confirm(c) => c.question(),
            _ => None,
        }
    }
}

/// The next state, and what to do.
pub fn update(state: &mut State, message: Message) -> Vec<Command> {
    match message {
        Message::Key(key) => return on_key(state, key),
        Message::Fleet(mut fleet) => {
            // They come in the order of names, which stays within each rank.
            fleet.models.sort_by_key(|m| rank(m.health));
            state.fleet = Some(*fleet);
            state.seconds = 0;
            state.reachable = true;
            if state.selected.is_none() {
                state.select(0);
            }
        }
        Message::Model(detail) => state.model = Some(*detail),
        Message::Events(events) => state.events = events,
        Message::Plan(plan) => state.plan = Some(*plan),
        Message::Diff(diff) => state.diff = Some(*diff),
        Message::LogOf(run) => {
            if state.log_run.is_some() {
                state.log.push(format!("── {} ──\n", run.stage));
            }
            state.log_run = Some(*run);
            state.log_open = true;
        }
        Message::LogEnded { streamed } => {
            state.log_open = false;
            // The next stage may have begun before this one's output ended.
            if let Screen::Log(model) = state.screen.clone()
                && streamed
            {
                let after = state.log_run.as_ref().map(|r| r.id.clone());
                return vec![Command::FollowLog { model, after }];
            }
        }
        Message::Log(text) => {
            for piece in text.split_inclusive('\n') {
                match state.log.last_mut().filter(|l| !l.ends_with('\n')) {
                    Some(last) => last.push_str(piece),
                    None => state.log.push(piece.to_owned()),
                }
            }
            let surplus = state.log.len().saturating_sub(KEPT);
            state.log.drain(..surplus);
        }
        Message::Happened(event) => return on_event(state, event),
        Message::Said(text) => state.note = text,
        Message::Reachable(up) => {
            let back = up && !state.reachable;
            state.reachable = up;
            if back {
                return vec![Command::FetchFleet];
            }
        }
        Message::Tick => state.seconds += 1,
        Message::Resized => {}
    }
    vec![]
}

fn on_event(state: &mut State, event: Option<Event>) -> Vec<Command> {
    let mut commands = vec![Command::FetchFleet];
    let about = |m: &Name| event.as_ref().is_none_or(|e| e.model.is_none() || e.model.as_ref() == Some(m));
    match &state.screen {
        // Requests that come in change no plan.
        Screen::Plan if event.as_ref().is_none_or(|e| e.seq > 0 || e.model.is_some()) => {
            commands.push(Command::FetchPlan);
        }
        Screen::Model(m) if about(m) => commands.push(Command::FetchModel(m.clone())),
        Screen::Diff(m) if about(m) => commands.push(Command::FetchDiff(m.clone())),
        // The next stage of the pipeline may have begun.
        Screen::Log(m) if about(m) && !state.log_open => {
            let after = state.log_run.as_ref().map(|r| r.id.clone());
            commands.push(Command::FollowLog { model: m.clone(), after });
        }
        _ => {}
    }
    if let Some(e) = event.filter(|e| e.seq > 0) {
        state.events.push(e);
        let surplus = state.events.len().saturating_sub(KEPT);
        state.events.drain(..surplus);
    }
    commands
}

fn on_key(state: &mut State, key: KeyEvent) -> Vec<Command> {
    if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
        return vec![Command::Quit];
    }
    match state.mode.clone() {
        Mode::Confirm(command) => {
            state.mode = Mode::Normal;
            if key.code == KeyCode::Char('y') { vec![command] } else { vec![] }
        }
        Mode::Command(text) if key.code == KeyCode::Tab => {
            state.mode = Mode::Command(completed(state, &text));
            vec![]
        }
        Mode::Command(text) => match typed(text, key) {
            Ok(text) => {
                state.mode = Mode::Command(text);
                vec![]
            }
            Err(done) => {
                state.mode = Mode::Normal;
                done.map_or(vec![], |line| run_line(state, &line))
            }
        },
        Mode::Filter(text) => {
            match typed(text, key) {
                Ok(text) => {
                    state.filter = text.clone();
                    state.mode = Mode::Filter(text);
                }
                Err(done) => {
                    state.filter = done.unwrap_or_default();
                    state.mode = Mode::Normal;
                }
            }
            let place = state.place();
            state.select(place);
            vec![]
        }
        Mode::Normal => act_of(key).map_or(vec![], |act| on_act(state, act)),
    }
}

fn on_act(state: &mut State, act: Act) -> Vec<Command> {
    state.note.clear();
    let subject = state.subject();
    let page = isize::try_from(state.extent.page.max(1)).unwrap_or(1);
    let post = |verb: &str| subject.clone().map(|model| Command::Post { model, verb: verb.to_owned() });
    match act {
        Act::Up => moved(state, -1),
        Act::Down => moved(state, 1),
        Act::PageUp => moved(state, -page),
        Act::PageDown => moved(state, page),
        Act::Top => moved(state, isize::MIN / 2),
        Act::Bottom => moved(state, isize::MAX / 2),
        Act::Open => return subject.map_or(vec![], |m| state.open(Screen::Model(m))),
        Act::Log => return subject.map_or(vec![], |m| state.open(Screen::Log(m))),
        Act::Diff => return subject.map_or(vec![], |m| state.open(Screen::Diff(m))),
        Act::Events => return state.open(Screen::Events),
        Act::Plan => return state.open(Screen::Plan),
        Act::Help if state.screen == Screen::Help => return state.back(),
        Act::Help => return state.open(Screen::Help),
        Act::Quit if state.screen == Screen::Fleet => return vec![Command::Quit],
        Act::Back | Act::Quit => return state.back(),
        Act::Command => state.mode = Mode::Command(String::new()),
        Act::Filter => state.mode = Mode::Filter(state.filter.clone()),
        Act::Sync => return vec![Command::Sync],
        Act::Promote => return post("rollout/promote").map_or(vec![], |c| state.ask(c)),
        Act::Hold => return post("rollout/pause").map_or(vec![], |c| state.ask(c)),
        Act::Abort => return post("rollout/abort").map_or(vec![], |c| state.ask(c)),
        Act::Rollback => return post("rollback").map_or(vec![], |c| state.ask(c)),
    }
    vec![]
}

fn moved(state: &mut State, by: isize) {
    match state.screen {
        Screen::Fleet => {
            let place = state.place().saturating_add_signed(by);
            state.select(place);
        }
        // A log is scrolled from its end, so that it stays there while it grows.
        Screen::Log(_) => state.scroll = state.scroll.saturating_add_signed(by.saturating_neg()).min(state.extent.last),
        _ => state.scroll = state.scroll.saturating_add_signed(by).min(state.extent.last),
    }
}
