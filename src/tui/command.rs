//! The line after `:` and `/`.

use super::{
    keymap::candidates,
    log::Output,
    state::{Command, Screen, State},
};
use crate::model::Name;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

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

/// What tab makes of a line: the first command that it may become, or the first model.
pub(super) fn completed(state: &State, line: &str) -> String {
    let Some((word, rest)) = line.split_once(' ') else {
        return candidates(line)
            .next()
            .map_or(line.to_owned(), |(name, takes, _)| format!("{name}{}", if takes.is_empty() { "" } else { " " }));
    };
    let models = state.fleet.iter().flat_map(|f| &f.models);
    let found = models.map(|m| m.name.as_str()).filter(|n| n.starts_with(rest)).min();
    found.map_or(line.to_owned(), |name| format!("{word} {name}"))
}

/// Does what a line says. Without a name it is about the model that is open or selected.
pub(super) fn run_line(state: &mut State, line: &str) -> Vec<Command> {
    let (word, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
    let rest = rest.trim();
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
        "diff" => state.open(Screen::Diff(model)),
        "suspend" | "resume" | "refresh" | "rollback" => state.ask(post(word.to_owned())),
        "promote" | "pause" | "abort" | "retry" => state.ask(post(format!("rollout/{word}"))),
        "continue" => state.ask(post("rollout/resume".to_owned())),
        _ => alone(state, word),
    }
}

/// Words that are about no model.
fn alone(state: &mut State, word: &str) -> Vec<Command> {
    match word {
        "" => vec![],
        "q" | "q!" | "quit" => vec![Command::Quit],
        "sync" => vec![Command::Sync],
        "fleet" | "models" => state.open(Screen::Fleet),
        "events" => state.open(Screen::Events),
        "plan" => state.open(Screen::Plan),
        "help" => state.open(Screen::Help),
        _ => {
            let takes = candidates(word).any(|(name, takes, _)| *name == word && !takes.is_empty());
            state.note = match takes {
                true => format!("`{word}` needs a model: :{word} NAME"),
                false => format!("`{word}` is no command; ? lists them"),
            };
            vec![]
        }
    }
}
