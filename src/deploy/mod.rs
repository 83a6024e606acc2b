//! Targets: the local one supervises replica processes.

pub mod local;
