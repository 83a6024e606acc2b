//! Tests beside programs that not every machine has: Prometheus, an SSH server. `.ci/run` installs them and runs this.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../it/fleet.rs"]
#[allow(dead_code, reason = "the common tests use the rest")]
mod fleet;
mod prometheus;
mod ssh;
#[path = "../it/support.rs"]
#[allow(dead_code, reason = "the common tests use the rest")]
mod support;
