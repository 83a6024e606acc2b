//! The terminal UI: state, update, view.
//!
//! Live from the daemon's events, and a frame is drawn only when something changed. Nothing is polled but, while their
//! screens are open, tracked runs that go on, as what clients of MLflow log has no events, and all daemons beside each other.

mod access;
mod bindings;
mod borders;
mod command;
mod config;
mod contexts;
mod copy;
mod crash;
mod escapes;
mod fetch;
mod filter;
mod grouping;
mod guard;
mod help;
mod keymap;
mod listing;
mod log;
mod memory;
mod message;
mod mouse;
mod outline;
mod output;
mod outside;
mod promotion;
mod question;
mod ranking;
mod run;
mod state;
mod theme;
mod timeline;
mod tracked;
mod update;
mod view;

pub use access::Access;
pub use config::{Bell, Config, Context};
pub use crash::Reports;
pub use fetch::URGENT;
pub use grouping::Grouping;
pub use log::{Flow, Flowed, Follow, Log, Output};
pub use memory::Memory;
pub use outside::Outside;
pub use promotion::{Letting, Way, Word};
pub use ranking::Ranking;
pub use run::{End, Place, Setup, run};
pub use state::{Command, Difference, Drawn, Extent, Message, Mode, Page, Part, Screen, State, Target};
pub use theme::{Depth, Look, Theme};
pub use timeline::{Lately, Timeline};
pub use tracked::{Told, Tracked, Want, Wish};
pub use update::update;
pub use view::draw;

#[cfg(test)]
mod tests;
