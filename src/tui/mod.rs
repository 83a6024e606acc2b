//! The terminal UI: state, update, view.
//!
//! Live from the daemon's events, and a frame is drawn only when something changed. Nothing is polled but tracked runs that go on
//! while their screen is open: what clients of MLflow log has no events.

mod command;
mod fetch;
mod filter;
mod grouping;
mod guard;
mod keymap;
mod log;
mod outline;
mod output;
mod ranking;
mod run;
mod state;
mod timeline;
mod tracked;
mod update;
mod view;

pub use grouping::Grouping;
pub use log::{Flow, Flowed, Follow, Log, Output};
pub use ranking::Ranking;
pub use run::{End, run};
pub use state::{Command, Difference, Extent, Message, Mode, Page, Part, Screen, State};
pub use timeline::{Lately, Timeline};
pub use tracked::{Told, Tracked, Want, Wish};
pub use update::update;
pub use view::draw;

#[cfg(test)]
mod tests;
