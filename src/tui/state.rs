//! What the screen is a function of, and how messages change it. Pure.

use super::keymap::{Act, act_of};
use crate::{api::types::*, model::*};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Which screen is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Screen {
    Fleet,
    Model(Name),
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
    FetchEvents,
    FetchPlan,
    FollowLog(Name),
    Sync,
    Post { model: Name, verb: String },
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
    Log(String),
    /// An event of the daemon; `None`: look at everything again.
    Happened(Option<Event>),
    Said(String),
    /// The daemon is gone, or back.
    Reachable(bool),
    /// A second passed.
    Tick,
}

/// Everything that is shown.
#[derive(Debug, Clone)]
pub struct State {
    pub screen: Screen,
    pub mode: Mode,
    pub fleet: Option<Fleet>,
    pub model: Option<ModelDetail>,
    pub events: Vec<Event>,
    pub plan: Option<FleetPlan>,
    pub log: Vec<String>,
    pub filter: String,
    /// Selected model, by name: it stays selected when the list changes.
    pub selected: Option<Name>,
    /// Lines scrolled up from the end (log) or down from the top (others).
    pub scroll: usize,
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

/// Lines of a log that are kept.
const LOG_LINES: usize = 5_000;

impl State {
    /// Before anything was fetched.
    pub fn new() -> Self {
        Self {
            screen: Screen::Fleet,
            mode: Mode::Normal,
            fleet: None,
            model: None,
            events: vec![],
            plan: None,
            log: vec![],
            filter: String::new(),
            selected: None,
            scroll: 0,
            note: String::new(),
            reachable: true,
            seconds: 0,
        }
    }

    /// Models that the filter lets through.
    pub fn shown(&self) -> Vec<&ModelSummary> {
        let all = self.fleet.iter().flat_map(|f| &f.models);
        all.filter(|m| {
            m.name.as_str().contains(&self.filter) || m.health.to_string().to_lowercase().contains(&self.filter)
        })
        .collect()
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

    fn subject(&self) -> Option<Name> {
        match &self.screen {
            Screen::Model(m) | Screen::Log(m) => Some(m.clone()),
            _ => self.selected.clone().or_else(|| self.shown().first().map(|m| m.name.clone())),
        }
    }

    /// The clock of the newest picture, with the seconds since.
    pub fn now(&self) -> Now {
        let base = self.fleet.as_ref().map(|f| f.now).unwrap_or_default();
        let ms = self.seconds * 1000;
        Now { wall: WallMs(base.wall.0 + ms as i64), steady: base.steady.plus(ms) }
    }

    fn open(&mut self, screen: Screen) -> Vec<Command> {
        self.scroll = 0;
        let fetch = match &screen {
            Screen::Fleet | Screen::Help => vec![],
            Screen::Model(m) => vec![Command::FetchModel(m.clone())],
            Screen::Log(m) => {
                self.log.clear();
                vec![Command::FollowLog(m.clone())]
            }
            Screen::Events => vec![Command::FetchEvents],
            Screen::Plan => vec![Command::FetchPlan],
        };
        self.screen = screen;
        fetch
    }

    fn ask(&mut self, command: Command) -> Vec<Command> {
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
        Message::Fleet(fleet) => {
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
        Message::Log(text) => {
            for piece in text.split_inclusive('\n') {
                match state.log.last_mut().filter(|l| !l.ends_with('\n')) {
                    Some(last) => last.push_str(piece),
                    None => state.log.push(piece.to_owned()),
                }
            }
            let surplus = state.log.len().saturating_sub(LOG_LINES);
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
    if let Screen::Model(m) = &state.screen
        && event.as_ref().is_none_or(|e| e.model.is_none() || e.model.as_ref() == Some(m))
    {
        commands.push(Command::FetchModel(m.clone()));
    }
    if state.screen == Screen::Plan {
        commands.push(Command::FetchPlan);
    }
    if let Some(e) = event.filter(|e| e.seq > 0) {
        state.events.push(e);
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

/// One key of a line: the line so far, or its end (`None` when it was given up).
fn typed(mut text: String, key: KeyEvent) -> Result<String, Option<String>> {
    match key.code {
        KeyCode::Enter => Err(Some(text)),
        KeyCode::Esc => Err(None),
        KeyCode::Backspace if text.is_empty() => Err(None),
        KeyCode::Backspace => {
            text.pop();
            Ok(text)
        }
        KeyCode::Char(c) => {
            text.push(c);
            Ok(text)
        }
        _ => Ok(text),
    }
}

fn on_act(state: &mut State, act: Act) -> Vec<Command> {
    state.note.clear();
    let subject = state.subject();
    let post = |verb: &str| subject.clone().map(|model| Command::Post { model, verb: verb.to_owned() });
    match act {
        Act::Up => moved(state, -1),
        Act::Down => moved(state, 1),
        Act::PageUp => moved(state, -15),
        Act::PageDown => moved(state, 15),
        Act::Top => moved(state, isize::MIN / 2),
        Act::Bottom => moved(state, isize::MAX / 2),
        Act::Open => return subject.map_or(vec![], |m| state.open(Screen::Model(m))),
        Act::Log => return subject.map_or(vec![], |m| state.open(Screen::Log(m))),
        Act::Events => return state.open(Screen::Events),
        Act::Plan => return state.open(Screen::Plan),
        Act::Help => return state.open(Screen::Help),
        Act::Back => return back(state),
        Act::Quit => return vec![Command::Quit],
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
        Screen::Log(_) => state.scroll = state.scroll.saturating_add_signed(by.saturating_neg()).min(state.log.len()),
        _ => state.scroll = state.scroll.saturating_add_signed(by).min(10_000),
    }
}

fn back(state: &mut State) -> Vec<Command> {
    if state.screen == Screen::Fleet {
        state.filter.clear();
        return vec![];
    }
    let to = match &state.screen {
        Screen::Log(m) => Screen::Model(m.clone()),
        _ => Screen::Fleet,
    };
    state.open(to)
}

fn run_line(state: &mut State, line: &str) -> Vec<Command> {
    let (word, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
    let named = Name::new(rest.trim()).ok().or_else(|| state.subject());
    let post = |verb: &str| named.clone().map(|model| Command::Post { model, verb: verb.to_owned() });
    match word {
        "" => vec![],
        "q" | "quit" => vec![Command::Quit],
        "sync" => vec![Command::Sync],
        "fleet" => state.open(Screen::Fleet),
        "events" => state.open(Screen::Events),
        "plan" => state.open(Screen::Plan),
        "help" => state.open(Screen::Help),
        "model" => named.map_or(vec![], |m| state.open(Screen::Model(m))),
        "logs" => named.map_or(vec![], |m| state.open(Screen::Log(m))),
        "suspend" | "resume" | "refresh" | "rollback" => post(word).map_or(vec![], |c| state.ask(c)),
        "promote" | "pause" | "abort" | "retry" => post(&format!("rollout/{word}")).map_or(vec![], |c| state.ask(c)),
        other => {
            state.note = format!(
                "`{other}` is no command: sync, model, logs, plan, events, suspend, resume, refresh, rollback, promote, pause, abort, retry, q"
            );
            vec![]
        }
    }
}
