//! How the UI was left, of each daemon: it opens so again. Pure: the file is read and written by whoever opens the UI.

use super::{
    borders::Shares,
    grouping::Grouping,
    log::Output,
    ranking::Ranking,
    state::{Command, Screen, State},
};
use crate::model::Name;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// How one daemon was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct View {
    filter: String,
    order: Ranking,
    group: Grouping,
    /// Only where another one than is settled was chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    theme: Option<String>,
    /// The command that opens it.
    screen: String,
    marked: BTreeSet<Name>,
    #[serde(skip_serializing_if = "Shares::is_empty")]
    borders: Shares,
}

/// All daemons, the one that was looked at last before the others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    #[serde(default)]
    daemon: Vec<Seen>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    address: String,
    #[serde(flatten)]
    view: View,
}

/// Daemons that are remembered.
const MOST: usize = 20;

impl Memory {
    /// What a file says, unless it is damaged.
    pub fn read(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|e| e.message().to_owned())
    }

    /// As a file.
    pub fn text(&self) -> Result<String, String> {
        toml::to_string(self).map_err(|e| e.to_string())
    }

    /// How the daemon at this address was looked at.
    pub(super) fn of(&self, address: &str) -> View {
        self.daemon.iter().find(|s| s.address == address).map(|s| s.view.clone()).unwrap_or_default()
    }

    /// The same, with a newer view of one.
    pub(super) fn with(mut self, address: &str, view: View) -> Self {
        self.daemon.retain(|s| s.address != address);
        self.daemon.insert(0, Seen { address: address.to_owned(), view });
        self.daemon.truncate(MOST);
        self
    }
}

impl View {
    pub(super) fn of(state: &State) -> Self {
        Self {
            filter: state.filter.clone(),
            order: state.ranking,
            group: state.grouping,
            theme: state.theme.map(|t| t.name().to_owned()),
            screen: line(&state.screen),
            marked: state.marked.clone(),
            borders: state.borders.clone(),
        }
    }

    /// Opens it again. A theme that was asked for now stays.
    pub(super) fn open(self, state: &mut State, themed: bool) -> Vec<Command> {
        state.filter = self.filter;
        (state.ranking, state.grouping) = (self.order, self.group);
        (state.marked, state.borders) = (self.marked, self.borders);
        if let Some(theme) = self.theme.and_then(|t| t.parse().ok()).filter(|_| !themed) {
            state.theme = Some(theme);
            state.look = state.look.with(theme);
        }
        screen(&self.screen).map_or(vec![], |s| state.open(s))
    }
}

fn line(screen: &Screen) -> String {
    match screen {
        Screen::Model(m) => format!("model {m}"),
        Screen::Rollout(m) => format!("rollout {m}"),
        Screen::Diff(m) => format!("diff {m}"),
        Screen::Log(m, _) => format!("logs {m}"),
        Screen::Runs(e) | Screen::Run(e, _) | Screen::Compare(e, _) => format!("runs {e}"),
        Screen::Experiments => "experiments".into(),
        Screen::TimeLine | Screen::Commit(_) | Screen::Revert(_) => "timeline".into(),
        Screen::Events => "events".into(),
        Screen::Plan => "plan".into(),
        Screen::Fleet | Screen::Contexts | Screen::Help => "fleet".into(),
    }
}

/// The screen of a line, where it is another than the first.
fn screen(line: &str) -> Option<Screen> {
    let (word, of) = line.split_once(' ').unwrap_or((line, ""));
    let name = || Name::new(of).ok();
    match word {
        "model" => name().map(Screen::Model),
        "rollout" => name().map(Screen::Rollout),
        "diff" => name().map(Screen::Diff),
        "logs" => name().map(|m| Screen::Log(m, Output::Runs)),
        "runs" => Some(Screen::Runs(of.to_owned())),
        "experiments" => Some(Screen::Experiments),
        "timeline" => Some(Screen::TimeLine),
        "events" => Some(Screen::Events),
        "plan" => Some(Screen::Plan),
        _ => None,
    }
}
