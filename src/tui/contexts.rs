//! Daemons beside each other: those that the person named, and the one that was opened without a name. Pure, but for `ask`.

use super::{
    fetch::Sender,
    keymap::Act,
    state::{Command, Message, Screen, State},
    update::steps,
};
use crate::api::{
    client::{Client, ClientError},
    types::FleetOverview,
};
use std::time::Duration;

/// Seconds between looks at all of them, while their screen is open.
pub const AGAIN: u64 = 5;

/// How long one may take to answer: less than that, so that looks do not pile up.
const LIMIT: Duration = Duration::from_secs(4);

/// Why a look gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Whether the daemon said so itself.
    pub reached: bool,
    pub why: String,
}

/// A daemon, and what it said last.
#[derive(Debug, Clone, Default)]
pub struct Beside {
    /// What the person calls it.
    pub name: Option<String>,
    pub address: String,
    /// Its newest answer, and at which second it came.
    pub told: Option<(Box<FleetOverview>, u64)>,
    /// Why the newest look gave none.
    pub trouble: Option<Trouble>,
}

/// All of them: the one that was opened first, then the others as they are named.
#[derive(Debug, Clone, Default)]
pub struct Contexts {
    pub rows: Vec<Beside>,
    /// The one that is open.
    pub here: usize,
    chosen: usize,
    /// Seconds since the UI was opened.
    pub seconds: u64,
}

impl Contexts {
    /// Before any was asked.
    pub fn new(places: impl Iterator<Item = (Option<String>, String)>) -> Self {
        let rows = places.map(|(name, address)| Beside { name, address, ..Beside::default() }).collect();
        Self { rows, ..Self::default() }
    }

    /// The names that there are.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rows.iter().filter_map(|r| r.name.as_deref())
    }

    /// The place of the daemon with this name.
    pub fn named(&self, name: &str) -> Option<usize> {
        self.rows.iter().position(|r| r.name.as_deref() == Some(name))
    }

    /// What the person calls the one that is open.
    pub fn open(&self) -> Option<&str> {
        self.rows.get(self.here)?.name.as_deref()
    }

    /// The selected row.
    pub fn place(&self) -> usize {
        self.chosen.min(self.rows.len().saturating_sub(1))
    }

    /// Selects the one that is open.
    pub(super) fn entered(&mut self) {
        self.chosen = self.here;
    }

    pub fn moved(&mut self, by: isize) {
        self.chosen = self.place().saturating_add_signed(by).min(self.rows.len().saturating_sub(1));
    }

    /// Takes an answer in. What was known stays, with its age.
    pub(super) fn take(&mut self, at: usize, answer: Result<Box<FleetOverview>, Trouble>) {
        let Some(row) = self.rows.get_mut(at) else { return };
        match answer {
            Ok(told) => (row.told, row.trouble) = (Some((told, self.seconds)), None),
            Err(why) => row.trouble = Some(why),
        }
    }

    /// Every second.
    pub(super) fn on_tick(&mut self, screen: &Screen) -> Vec<Command> {
        self.seconds += 1;
        let due = *screen == Screen::Contexts && self.seconds.is_multiple_of(AGAIN);
        if due { vec![Command::FetchContexts] } else { vec![] }
    }
}

/// Does what a key asks for, where it is about the list of daemons.
pub(super) fn on_act(state: &mut State, act: Act) -> Option<Vec<Command>> {
    if state.screen != Screen::Contexts {
        return None;
    }
    let page = isize::try_from(state.extent.page.max(1)).unwrap_or(1);
    if let Some(by) = steps(act, page) {
        state.contexts.moved(by);
        return Some(vec![]);
    }
    if act != Act::Open {
        return None;
    }
    let chosen = state.contexts.place();
    Some(if chosen == state.contexts.here { state.open(Screen::Fleet) } else { vec![Command::Switch(chosen)] })
}

/// Asks all at once: one that does not answer holds nobody up.
pub(super) fn ask(clients: &[Client], send: &Sender) {
    for (at, client) in clients.iter().cloned().enumerate() {
        let send = send.clone();
        tokio::spawn(async move {
            let answer = tokio::time::timeout(LIMIT, client.get::<FleetOverview>("/api/v1/fleet/summary")).await;
            let trouble = |reached, why| Trouble { reached, why };
            let told = match answer {
                Err(_) => Err(trouble(false, format!("no answer within {} s", LIMIT.as_secs()))),
                Ok(Ok(told)) => Ok(Box::new(told)),
                Ok(Err(ClientError::NotFound(_))) => {
                    Err(trouble(true, "it is older than this UI, and cannot tell in short".into()))
                }
                Ok(Err(e)) => Err(trouble(!matches!(e, ClientError::Unreachable(_)), e.to_string())),
            };
            // A send fails only when the UI is gone.
            let _ = send.send(Message::Context(at, told));
        });
    }
}
