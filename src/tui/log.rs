//! The output that the log screen shows: what was read of it, and where it goes on.

use crate::model::*;

/// Whose output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// The newest run's, and of each that follows.
    Runs,
    /// The newest replica's in this environment.
    Replica(Name),
}

/// What is asked for: everything after what was read already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follow {
    /// Answers carry it, so that late ones of an earlier question are known.
    pub turn: u64,
    pub model: Name,
    pub output: Output,
    /// The run that was read last.
    pub run: Option<RunId>,
    /// Bytes that were read of that run, or of the replica.
    pub from: u64,
}

/// An answer.
#[derive(Debug, Clone)]
pub enum Flowed {
    /// What follows is of this run.
    Of(Box<Run>),
    More(Vec<u8>),
    /// There is no more of it for now; `streamed` when there was any since it was asked for.
    Ended {
        streamed: bool,
    },
    /// The daemon went away in the middle of it.
    Cut,
}

/// Whether more may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// It was asked for.
    Asked,
    Open,
    Ended,
    Cut,
}

/// How bad a line is, by its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Level {
    #[default]
    All,
    Warnings,
    Errors,
}

impl Level {
    /// Of a line; those that are indented go with the one before, as in a traceback.
    pub fn of(text: &str, before: Self) -> Self {
        const ERRORS: [&str; 7] = ["ERROR", "CRITICAL", "FATAL", "PANIC", "Traceback", "Error:", "Exception:"];
        const WARNINGS: [&str; 3] = ["WARN", "Warning", "warning:"];
        let has = |words: &[&str]| words.iter().any(|w| text.contains(w));
        match () {
            () if has(&ERRORS) || text.starts_with("error") => Self::Errors,
            () if has(&WARNINGS) => Self::Warnings,
            () if text.starts_with([' ', '\t']) => before,
            () => Self::All,
        }
    }

    /// The next one that is shown alone.
    pub fn next(self) -> Self {
        match self {
            Self::All => Self::Warnings,
            Self::Warnings => Self::Errors,
            Self::Errors => Self::All,
        }
    }

    /// What is shown.
    pub fn told(self) -> &'static str {
        match self {
            Self::All => "all lines",
            Self::Warnings => "warnings and errors",
            Self::Errors => "errors",
        }
    }
}

/// How output is shown; it stays while logs come and go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogView {
    pub search: String,
    pub level: Level,
    pub wrapped: bool,
    /// Whether each line says when it was read here.
    pub stamped: bool,
}

impl Default for LogView {
    fn default() -> Self {
        Self { search: String::new(), level: Level::All, wrapped: true, stamped: false }
    }
}

/// A line of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// A piece may end inside a character.
    pub bytes: Vec<u8>,
    /// When its first piece was read here.
    pub at: WallMs,
}

/// The newest lines.
#[derive(Debug, Clone)]
pub struct Log {
    pub lines: Vec<Written>,
    pub run: Option<Run>,
    bytes: u64,
    pub flow: Flow,
    pub turn: u64,
    /// Whether its end is shown, whatever comes.
    pub following: bool,
    /// Whose replica it is, and whether that still starts.
    pub(super) release: Option<(VersionNumber, bool)>,
}

/// Lines that are kept.
const KEPT: usize = 5_000;

impl Log {
    /// Before anything was read of it.
    pub(super) fn new(turn: u64, release: Option<(VersionNumber, bool)>) -> Self {
        Self { lines: vec![], run: None, bytes: 0, flow: Flow::Ended, turn, following: true, release }
    }

    /// Asks for what comes after what was read. Answers to earlier questions no longer count.
    pub(super) fn follow(&mut self, model: Name, output: Output) -> Follow {
        self.turn += 1;
        self.flow = Flow::Asked;
        let run = self.run.as_ref().map(|r| r.id.clone());
        Follow { turn: self.turn, model, output, run, from: self.bytes }
    }

    /// All that is kept of it, as it was written.
    pub(super) fn text(&self) -> Vec<u8> {
        self.lines.iter().flat_map(|l| l.bytes.iter().copied()).collect()
    }

    /// Takes an answer in; how many lines were given up for it.
    pub(super) fn take(&mut self, flowed: Flowed, at: WallMs) -> usize {
        match flowed {
            Flowed::Of(run) => {
                if self.run.as_ref().is_some_and(|r| r.id != run.id) {
                    self.lines.push(Written { bytes: format!("── {} ──\n", run.stage).into_bytes(), at });
                }
                if self.run.as_ref().is_none_or(|r| r.id != run.id) {
                    self.bytes = 0;
                }
                self.run = Some(*run);
                self.flow = Flow::Open;
            }
            Flowed::More(bytes) => {
                self.flow = Flow::Open;
                self.bytes += bytes.len() as u64;
                for piece in bytes.split_inclusive(|b| *b == b'\n') {
                    match self.lines.last_mut().filter(|l| !l.bytes.ends_with(b"\n")) {
                        Some(last) => last.bytes.extend_from_slice(piece),
                        None => self.lines.push(Written { bytes: piece.to_owned(), at }),
                    }
                }
            }
            Flowed::Ended { .. } => self.flow = Flow::Ended,
            Flowed::Cut => self.flow = Flow::Cut,
        }
        let surplus = self.lines.len().saturating_sub(KEPT);
        self.lines.drain(..surplus);
        surplus
    }
}
