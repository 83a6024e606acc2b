//! The line after `:` and `/`.

use super::{
    keymap::{Act, candidates},
    log::Output,
    promotion::{self, Way},
    state::{Command, Screen, State},
    theme::Theme,
};
use crate::model::Name;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::collections::BTreeSet;

/// One key of a line: the line so far, or its end (`None` when it was given up).
pub(super) fn typed(mut text: String, key: KeyEvent) -> Result<String, Option<String>> {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Enter => Err(Some(text)),
        KeyCode::Esc => Err(None),
        KeyCode::Backspace if text.is_empty() => Err(None),
        KeyCode::Backspace => {
            text.pop();
            Ok(text)
        }
        KeyCode::Char('u') if control => Ok(String::new()),
        KeyCode::Char(c) if !control => {
            text.push(c);
            Ok(text)
        }
        _ => Ok(text),
    }
}

/// The line after `:`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Line {
    pub text: String,
    /// What was typed before tab made more of it: the next tab offers the next name that it may become.
    stem: Option<String>,
}

impl Line {
    /// A line that was typed.
    pub fn new(text: String) -> Self {
        Self { text, stem: None }
    }

    fn stem(&self) -> &str {
        self.stem.as_ref().unwrap_or(&self.text)
    }

    /// Names that what stands after the command may become, in their order.
    pub fn names<'a>(&self, state: &'a State) -> BTreeSet<&'a str> {
        let Some((word, rest)) = self.stem().split_once(' ') else { return BTreeSet::new() };
        let rest = rest.to_lowercase();
        let takes = candidates(word).find(|(name, ..)| *name == word).map_or("", |(_, takes, _)| takes);
        if takes == "CONTEXT" {
            return state.contexts.names().filter(|n| n.to_lowercase().starts_with(&rest)).collect();
        }
        if takes == "THEME" {
            return Theme::names().filter(|n| n.starts_with(&rest)).collect();
        }
        let models = state.fleet.iter().flat_map(|f| &f.models).map(|m| m.name.as_str());
        let experiments = state.tracked.experiments.known().iter().filter(|_| word == "runs").map(|e| e.name.as_str());
        models.chain(experiments).filter(|n| !takes.is_empty() && n.to_lowercase().starts_with(&rest)).collect()
    }

    /// What tab makes of it: the first command that it may become, or the next name.
    pub(super) fn completed(self, state: &State) -> Self {
        let Some((word, _)) = self.stem().split_once(' ') else {
            let found = candidates(&self.text).next();
            let whole =
                |(name, takes, _): &(&str, &str, _)| format!("{name}{}", if takes.is_empty() { "" } else { " " });
            return Self::new(found.map_or(self.text.clone(), whole));
        };
        let names: Vec<&str> = self.names(state).into_iter().collect();
        let shown = self.stem.as_ref().and_then(|_| self.text.split_once(' '));
        let at = shown.and_then(|(_, name)| names.iter().position(|n| *n == name));
        match names.get(at.map_or(0, |at| (at + 1) % names.len())) {
            Some(name) => Self { text: format!("{word} {name}"), stem: Some(self.stem().to_owned()) },
            None => self,
        }
    }
}

/// Does what a line says. Without a name it is about the model that is open or selected.
pub(super) fn run_line(state: &mut State, line: &str) -> Vec<Command> {
    let (word, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
    let rest = rest.trim();
    if word == "context" {
        return change_context(state, rest);
    }
    if word == "theme" {
        return change_theme(state, rest);
    }
    // Clients make experiments that are no models.
    if word == "runs" && !rest.is_empty() {
        return state.open(Screen::Runs(rest.to_owned()));
    }
    let named = if rest.is_empty() { state.subject() } else { Name::new(rest).ok() };
    let known = |n: &Name| state.fleet.iter().flat_map(|f| &f.models).any(|m| m.name == *n);
    let Some(model) = named.filter(known) else {
        if !rest.is_empty() {
            state.note = format!("there is no model `{rest}`");
            return vec![];
        }
        return alone(state, word);
    };
    let post = |verb: String| Command::Post { model: model.clone(), verb };
    match word {
        "model" => state.open(Screen::Model(model)),
        "logs" => state.open(Screen::Log(model, Output::Runs)),
        "runs" => state.open(Screen::Runs(model.to_string())),
        "rollout" => state.open(Screen::Rollout(model)),
        "diff" => state.open(Screen::Diff(model)),
        "suspend" | "resume" | "refresh" | "rollback" => state.ask(post(word.to_owned())),
        "promote" | "pause" | "abort" | "retry" => state.ask(post(format!("rollout/{word}"))),
        "approve" => promotion::wished(state, model, Way::Approve),
        "override" => promotion::wished(state, model, Way::Override),
        "continue" => state.ask(post("rollout/resume".to_owned())),
        _ => alone(state, word),
    }
}

fn change_context(state: &mut State, name: &str) -> Vec<Command> {
    if let Some(at) = state.contexts.named(name) {
        return vec![Command::Switch(at)];
    }
    let all = state.contexts.names().collect::<Vec<_>>().join(", ");
    state.note = match (name, all.as_str()) {
        (_, "") => "no context is named in tui.toml: [contexts] names daemons".to_owned(),
        ("", _) => format!("this is {}; there are: {all}", state.contexts.open().unwrap_or("no context")),
        _ => format!("there is no context `{name}`; there are: {all}"),
    };
    vec![]
}

fn change_theme(state: &mut State, name: &str) -> Vec<Command> {
    if name.is_empty() {
        let all = Theme::names().collect::<Vec<_>>().join(", ");
        state.note = format!("the theme is {}; there are: {all}", state.look.theme.name());
        return vec![];
    }
    match name.parse() {
        Ok(theme) => {
            state.look = state.look.with(theme);
            state.theme = Some(theme);
        }
        Err(why) => state.note = why,
    }
    vec![]
}

/// Words that are about no model.
fn alone(state: &mut State, word: &str) -> Vec<Command> {
    match word {
        "" => vec![],
        "q" | "q!" | "quit" => vec![Command::Quit],
        "sync" => state.ask(Command::Sync),
        "bookmarks" => {
            state.filter = "is:marked".to_owned();
            state.open(Screen::Fleet)
        }
        "fleet" | "models" => state.open(Screen::Fleet),
        "runs" | "experiments" => state.open(Screen::Experiments),
        "timeline" => state.open(Screen::TimeLine),
        "events" => state.open(Screen::Events),
        "plan" => state.open(Screen::Plan),
        "contexts" => state.open(Screen::Contexts),
        "help" => state.open(Screen::Help),
        _ => {
            let takes = candidates(word).any(|(name, takes, _)| *name == word && !takes.is_empty());
            state.note = match takes {
                true => format!("`{word}` needs a model: :{word} NAME"),
                false => format!("`{word}` is no command; {} lists them", state.called(Act::Help)),
            };
            vec![]
        }
    }
}
