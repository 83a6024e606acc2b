//! Tests that need more than every machine has: Prometheus, an SSH server, disks of their own, which `.ci/run` installs and runs; and, with
//! `peer-tests`, a real MLflow, onnxruntime and a browser.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod disk;
#[path = "../it/fleet.rs"]
#[allow(dead_code, reason = "the common tests use the rest")]
mod fleet;
#[cfg(feature = "peer-tests")]
mod mirror;
#[cfg(feature = "peer-tests")]
mod mlflow;
#[cfg(feature = "peer-tests")]
mod onnx;
#[cfg(feature = "peer-tests")]
#[path = "../it/peer.rs"]
#[allow(dead_code, reason = "the common tests use the rest")]
mod peer;
mod prometheus;
#[cfg(feature = "peer-tests")]
mod saved;
mod ssh;
#[path = "../it/support.rs"]
#[allow(dead_code, reason = "the common tests use the rest")]
mod support;
#[cfg(feature = "peer-tests")]
mod ui;
