//! The time line: commits with what came of each, and what no commit caused between them.

use super::{
    keymap::Act,
    state::{Command, Mode, Screen, State},
    update::{moved, steps},
};
use crate::{api::types::*, model::*};
use crossterm::event::{KeyCode, KeyEvent};

/// What is known of it.
#[derive(Debug, Clone, Default)]
pub struct Timeline {
    /// Newest first; `None` before the first answer.
    pub commits: Option<Vec<CommitRow>>,
    /// Stays selected when others come, by its id; `None`: whatever is newest.
    selected: Option<ObjectId>,
    pub page: Option<Box<CommitPage>>,
    /// What undoing a commit would do.
    pub undo: Option<(ObjectId, Undo)>,
}

/// What undoing a commit would do, or why it cannot be undone.
pub type Undo = Result<Box<Reverted>, String>;

/// An answer.
#[derive(Debug, Clone)]
pub enum Lately {
    Commits(Vec<CommitRow>),
    Page(Box<CommitPage>),
    Undo(ObjectId, Undo),
}

/// A row of the time line.
#[derive(Debug, Clone, Copy)]
pub enum Row<'a> {
    Commit(&'a CommitRow),
    Event(&'a Event),
}

impl Timeline {
    /// The commits that are known.
    pub fn known(&self) -> &[CommitRow] {
        self.commits.as_deref().unwrap_or_default()
    }

    /// Place of the selected one.
    pub fn place(&self) -> usize {
        let at = |id: &ObjectId| self.known().iter().position(|c| c.revision.commit == *id);
        self.selected.as_ref().and_then(at).unwrap_or(0)
    }

    pub fn moved(&mut self, by: isize) {
        let place = self.place().saturating_add_signed(by).min(self.known().len().saturating_sub(1));
        self.selected = if place == 0 { None } else { self.known().get(place).map(|c| c.revision.commit.clone()) };
    }

    /// Commits, and between them what no commit caused: newest first. Commits stay in Git's order, whatever the clocks of their makers.
    pub fn rows<'a>(&'a self, events: &'a [Event]) -> Vec<Row<'a>> {
        let commits = self.known();
        let mut between = events.iter().rev().filter(|e| stands_alone(e)).peekable();
        let mut out = Vec::with_capacity(commits.len());
        for commit in commits {
            while let Some(event) = between.next_if(|e| e.at >= commit.revision.time) {
                out.push(Row::Event(event));
            }
            out.push(Row::Commit(commit));
        }
        // What is older than a list that was cut stands nowhere in it.
        if commits.len() < LISTED {
            out.extend(between.map(Row::Event));
        }
        out
    }

    /// The page of a commit, once it is there.
    pub fn page_of(&self, id: &ObjectId) -> Option<&CommitPage> {
        self.page.as_deref().filter(|p| p.commit.revision.commit == *id)
    }

    /// What undoing a commit would do, once it is known.
    pub fn undo_of(&self, id: &ObjectId) -> Option<&Undo> {
        self.undo.as_ref().filter(|(of, _)| of == id).map(|(_, undo)| undo)
    }
}

/// Commits that are asked for.
pub const LISTED: usize = 100;

/// Whether an event has a row of its own: no commit caused it, and a person wants to know of it.
fn stands_alone(e: &Event) -> bool {
    e.commit.is_none() && !matches!(e.kind, EventKind::SnapshotTaken | EventKind::RunCancelled)
}

/// What an open screen of the time line is drawn from.
pub(super) fn needed(state: &State) -> Vec<Command> {
    match &state.screen {
        Screen::TimeLine => vec![Command::FetchCommits, Command::FetchEvents],
        Screen::Commit(id) => vec![Command::FetchCommit(id.clone())],
        Screen::Revert(id) if state.timeline.undo_of(id).is_none() => vec![Command::FetchRevert(id.clone())],
        _ => vec![],
    }
}

/// What is asked for again when something happened.
pub(super) fn on_event(state: &State) -> Vec<Command> {
    match &state.screen {
        Screen::TimeLine => vec![Command::FetchCommits],
        Screen::Commit(id) => vec![Command::FetchCommit(id.clone())],
        _ => vec![],
    }
}

/// Takes an answer in.
pub(super) fn take(state: &mut State, told: Lately) -> Vec<Command> {
    match told {
        Lately::Commits(commits) => state.timeline.commits = Some(commits),
        Lately::Page(page) => state.timeline.page = Some(page),
        Lately::Undo(id, undo) => {
            let shown = state.screen == Screen::Revert(id.clone());
            state.timeline.undo = Some((id, undo));
            if shown && state.mode == Mode::Normal {
                return ask(state);
            }
        }
    }
    vec![]
}

/// Asks whether what is shown shall be pushed.
fn ask(state: &mut State) -> Vec<Command> {
    let Screen::Revert(id) = &state.screen else { return vec![] };
    let Some(Ok(undo)) = state.timeline.undo_of(id) else { return vec![] };
    let command = Command::Revert { commit: id.clone(), on: undo.on.clone() };
    state.ask(command)
}

/// The question before a commit is undone.
pub(super) fn question(state: &State, commit: &ObjectId) -> Option<String> {
    let undo = state.timeline.undo_of(commit)?.as_ref().ok()?;
    let files = if undo.files == 1 { "1 file".to_owned() } else { format!("{} files", undo.files) };
    Some(format!("push the commit that reverts {} \"{}\" ({files})?", commit.short(), undo.commit.summary))
}

/// A key while that question stands: the plan can be read, `y` pushes, anything else goes back.
pub(super) fn answered(state: &mut State, command: Command, key: KeyEvent) -> Vec<Command> {
    let page = isize::try_from(state.extent.page.max(1)).unwrap_or(1);
    if let Some(by) = state.bindings.act(key, false).and_then(|act| steps(act, page)) {
        moved(state, by);
        return vec![];
    }
    state.mode = Mode::Normal;
    let mut commands = state.back();
    commands.extend((key.code == KeyCode::Char('y')).then_some(command));
    commands
}

/// Does what a key asks for, where it is about commits; `None` where it means what it means everywhere.
pub(super) fn on_act(state: &mut State, act: Act) -> Option<Vec<Command>> {
    let page = isize::try_from(state.extent.page.max(1)).unwrap_or(1);
    let at = state.timeline.place();
    let selected = state.timeline.known().get(at).map(|c| c.revision.commit.clone());
    match (state.screen.clone(), act) {
        (Screen::TimeLine, Act::Open | Act::Rollback) => {
            let Some(id) = selected else {
                state.note = "no commit is selected: the time line is empty".into();
                return Some(vec![]);
            };
            let screen = if act == Act::Open { Screen::Commit(id) } else { undone(state, id) };
            Some(state.open(screen))
        }
        (Screen::Commit(id), Act::Rollback) => {
            let screen = undone(state, id);
            Some(state.open(screen))
        }
        (Screen::Revert(_), Act::Rollback) => Some(ask(state)),
        (Screen::TimeLine, act) => {
            state.timeline.moved(steps(act, page)?);
            Some(vec![])
        }
        _ => None,
    }
}

/// The screen of a commit's undoing, worked out anew: the newest commit may be another by now.
fn undone(state: &mut State, id: ObjectId) -> Screen {
    state.timeline.undo = None;
    Screen::Revert(id)
}
