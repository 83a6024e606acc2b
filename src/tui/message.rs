//! What happens, what is asked for, and what is drawn: the words between the loop, the state and the views. Pure.

use super::{
    borders::Border,
    command::Line,
    contexts::Trouble,
    keymap::Act,
    log::{Flowed, Follow, Output},
    outside::Outside,
    promotion::{Letting, Way},
    timeline::Lately,
    tracked::{Told, Want, Wish},
};
use crate::{api::types::*, model::*};
use crossterm::event::{KeyEvent, MouseEvent};
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
    /// All daemons beside each other.
    Contexts,
    Help,
}

impl Screen {
    /// Whether keys have the meanings of tracked runs' screens.
    pub(super) fn is_tracked(&self) -> bool {
        matches!(self, Self::Runs(_) | Self::Run(..) | Self::Compare(..))
    }
}

/// What keys mean now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    Normal,
    /// After `:`.
    Command(Line),
    /// After `/`.
    Filter(String),
    /// Why a release is let through, as it is typed.
    Reason(Letting, String),
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
    /// What a model waits for, to say the word that it does.
    FetchWaits(Name, Way),
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
    /// How all daemons stand.
    FetchContexts,
    /// Another daemon, by its place among them.
    Switch(usize),
    Post {
        model: Name,
        verb: String,
    },
    /// The word that a release waits for.
    Let(Letting),
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
    /// The fleet, or a page of it.
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
    /// What a model waits for, and the word that is to be said.
    Waits(Way, Box<ModelPlan>),
    /// Of the output that is followed, if it is still this turn that is.
    Log {
        turn: u64,
        flowed: Flowed,
    },
    Tracked(Told),
    Lately(Lately),
    /// An event of the daemon; `None`: look at everything again.
    Happened(Option<Event>),
    /// How the daemon at this place stands, or why that is not known.
    Context(usize, Result<Box<FleetOverview>, Trouble>),
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
    /// The border between the two panes of an area.
    Border(Border, Rect),
}

/// What was drawn.
#[derive(Debug, Clone, Default)]
pub struct Drawn {
    pub extent: Extent,
    pub targets: Vec<(Rect, Target)>,
}
