//! Whether anything can be changed from here. Pure.

use super::{
    keymap::Act,
    state::{Command, State},
};

/// What the person may do with this daemon.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Access {
    #[default]
    Full,
    /// By their own wish.
    ReadOnly,
    /// As the daemon said.
    Denied(String),
}

impl Command {
    /// Whether it changes something of the daemon's, or begins that.
    pub(super) fn changes(&self) -> bool {
        matches!(self, Self::Sync | Self::Post { .. } | Self::Revert { .. } | Self::Let(_) | Self::FetchWaits(..))
    }
}

impl Act {
    /// Whether it asks for such a command.
    pub(super) fn changes(self) -> bool {
        matches!(
            self,
            Self::Sync | Self::Promote | Self::Hold | Self::Abort | Self::Rollback | Self::Approve | Self::Override
        )
    }
}

impl State {
    /// Why nothing can be changed now.
    pub(super) fn forbidden(&self) -> Option<String> {
        if !self.reachable {
            return Some("the daemon is not reachable: nothing can be changed until it is back".to_owned());
        }
        match &self.access {
            Access::Full => None,
            Access::ReadOnly => Some("this is open with --read-only: nothing is changed from here".to_owned()),
            Access::Denied(why) => Some(format!("the daemon lets nothing be changed from here: {why}")),
        }
    }

    /// The command, unless it changes something and that cannot be: then it is said why.
    pub(super) fn allowed(&mut self, command: Command) -> Vec<Command> {
        match self.forbidden().filter(|_| command.changes()) {
            Some(why) => {
                self.note = why;
                vec![]
            }
            None => vec![command],
        }
    }
}
