//! The one test binary: scenarios through real repositories, processes and servers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod api;
mod artifacts;
mod cli;
mod commits;
mod data;
mod delivery;
mod demo;
mod deploy;
mod environments;
mod failures;
mod faults;
mod fleet;
mod following;
mod forge;
mod gc;
mod hostile;
mod import;
mod imports;
mod load;
mod locks;
mod loop_;
mod metrics;
mod mirror;
mod peer;
mod process;
mod promotion;
mod python;
mod remote;
mod router;
mod serving;
mod source;
mod support;
mod terminal;
mod tls;
mod torture;
mod traces;
mod tracking;
mod train;
mod tui;
mod ui;
mod upkeep;
mod wire;
mod worktrees;
