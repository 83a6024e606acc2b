//! Tests that need more than every machine has: Prometheus, an SSH server, disks of their own. `.ci/run` installs it and runs this.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod disk;
#[path = "../it/fleet.rs"]
#[allow(dead_code, reason = "the common tests use the rest")]
mod fleet;
mod prometheus;
mod ssh;
#[path = "../it/support.rs"]
#[allow(dead_code, reason = "the common tests use the rest")]
mod support;
