//! The terminal UI: state, update, view.
//!
//! Live from the daemon's events: nothing is polled, and a frame is drawn only when something changed.

mod command;
mod guard;
mod keymap;
mod run;
mod state;
mod view;

pub use run::{End, run};
pub use state::{Command, Difference, Extent, Message, Mode, Screen, State, update};
pub use view::draw;

#[cfg(test)]
mod tests;
