//! What `trimtab import` brings in, and how far it is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A kind of thing that is brought in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImportKind {
    Experiment,
    Run,
    LoggedModel,
    Model,
    Version,
    File,
}

impl ImportKind {
    /// In the order in which they are brought.
    pub const ALL: [Self; 6] = [Self::Experiment, Self::Run, Self::LoggedModel, Self::Model, Self::Version, Self::File];

    /// For people, one of them.
    pub fn word(self) -> &'static str {
        match self {
            Self::Experiment => "experiment",
            Self::Run => "run",
            Self::LoggedModel => "logged model",
            Self::Model => "registered model",
            Self::Version => "version",
            Self::File => "file",
        }
    }
}

/// What became of one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Brought {
    New,
    /// It was brought before, and is brought again as it is now.
    Changed,
    /// It is here already, and the same.
    Same,
    /// It, or what is said of it, is not brought; a note says why.
    Left,
}

/// How many things of a kind became what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ImportTally {
    pub new: u64,
    pub changed: u64,
    pub same: u64,
    pub left: u64,
}

impl ImportTally {
    /// Counts one more.
    pub fn add(&mut self, brought: Brought) {
        *match brought {
            Brought::New => &mut self.new,
            Brought::Changed => &mut self.changed,
            Brought::Same => &mut self.same,
            Brought::Left => &mut self.left,
        } += 1;
    }
}

/// Something that was not brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImportNote {
    pub what: ImportKind,
    pub name: String,
    pub why: String,
}

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ImportReport {
    /// Nothing was written.
    pub dry_run: bool,
    pub counts: BTreeMap<ImportKind, ImportTally>,
    /// Values of metrics that were not here.
    pub points: u64,
    /// Of files.
    pub bytes: u64,
    pub notes: Vec<ImportNote>,
    /// Further notes than those that are listed.
    pub more_notes: u64,
}

/// A line of the answer to `POST /api/v1/import`. The last one is `end` or `failed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum ImportProgress {
    /// So many more are there to look at.
    Found {
        what: ImportKind,
        count: u64,
    },
    Done {
        what: ImportKind,
        name: String,
        brought: Brought,
    },
    /// More of a file came.
    Came {
        bytes: u64,
    },
    Noted(ImportNote),
    End {
        report: ImportReport,
    },
    Failed {
        error: String,
        reason: ImportFailure,
    },
}

/// Why an import ended early. What was brought stays; the next one goes on from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImportFailure {
    /// The other server does not answer.
    Unreachable,
    /// The other server refuses the login.
    Denied,
    Other,
}
