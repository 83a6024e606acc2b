//! The one test binary: scenarios through real repositories, processes and servers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod api;
mod artifact;
mod cli;
mod deploy;
mod load;
mod loop_;
mod process;
mod router;
mod source;
mod spec;
mod store;
mod support;
mod torture;
mod train;
mod tui;

// The API as bytes; apart, so that it reads beside the server.
mod wire;
