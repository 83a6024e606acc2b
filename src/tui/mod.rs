//! The terminal UI: state, update, view.
//!
//! Live from the daemon's events: nothing is polled, and a frame is drawn only when something changed.

mod command;
mod fetch;
mod guard;
mod keymap;
mod log;
mod run;
mod state;
mod update;
mod view;

pub use log::{Flow, Flowed, Follow, Log, Output};
pub use run::{End, run};
pub use state::{Command, Difference, Extent, Message, Mode, Screen, State};
pub use update::update;
pub use view::draw;

#[cfg(test)]
mod tests;
