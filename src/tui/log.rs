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

/// The newest lines.
#[derive(Debug, Clone)]
pub struct Log {
    /// As bytes: a piece may end inside a character.
    pub lines: Vec<Vec<u8>>,
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

    /// Takes an answer in; how many lines were given up for it.
    pub(super) fn take(&mut self, flowed: Flowed) -> usize {
        match flowed {
            Flowed::Of(run) => {
                if self.run.as_ref().is_some_and(|r| r.id != run.id) {
                    self.lines.push(format!("── {} ──\n", run.stage).into_bytes());
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
                    match self.lines.last_mut().filter(|l| !l.ends_with(b"\n")) {
                        Some(last) => last.extend_from_slice(piece),
                        None => self.lines.push(piece.to_owned()),
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
