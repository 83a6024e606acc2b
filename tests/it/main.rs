//! The one test binary: scenarios through real repositories, processes and servers.

mod api;
mod artifact;
mod cli;
mod deploy;
mod load;
mod process;
mod router;
mod source;
mod spec;
mod store;
mod support;
mod train;
mod tui;
