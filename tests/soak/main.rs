//! Ten minutes of everything at once through the real binary: callers on keep-alive connections while good and bad releases are
//! committed, reverted, edited, paused, promoted and aborted, and daemon and replicas are killed. A report ends it; it fails if any request
//! failed that was not the model's own, or if the last good commit is not served in the end.
//!
//! `TRIMTAB_SOAK_SECONDS` says how long (600), `TRIMTAB_SOAK_SEED` takes a course again, and `TRIMTAB_SOAK_ROUTER=1` kills the router too:
//! whoever holds a connection to it then loses it, so these failures are counted apart, with how long each outage was.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a soak that cannot go on says so by panicking"
)]

mod callers;
#[path = "../it/load.rs"]
#[allow(dead_code, reason = "the common tests use the rest")]
mod load;
mod random;
mod release;
mod report;
#[path = "../it/support.rs"]
#[allow(dead_code, reason = "the common tests use the rest")]
mod support;
mod world;

use callers::Callers;
use random::Random;
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};
use world::Soak;

fn main() -> ExitCode {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let length = Duration::from_secs(number("TRIMTAB_SOAK_SECONDS").unwrap_or(600));
    let seed = number("TRIMTAB_SOAK_SEED").unwrap_or_else(|| u64::from(std::process::id()) ^ callers::now_ns());
    println!("{} s with TRIMTAB_SOAK_SEED={seed}", length.as_secs());
    let mut soak = Soak::new(Random(seed), number("TRIMTAB_SOAK_ROUTER") == Some(1));
    let callers = Callers::start(soak.router());
    let (begun, mut told) = (Instant::now(), Instant::now());
    while begun.elapsed() < length {
        soak.act();
        if told.elapsed() > Duration::from_secs(30) {
            told = Instant::now();
            println!("{:>5} s  {:>8} requests", begun.elapsed().as_secs(), callers.requests());
        }
    }
    let settled = soak.settle();
    let took = begun.elapsed();
    soak.read_notes();
    let calls = callers.stop(&soak.broken);
    let report = report::Report { took, seed, calls: &calls, soak: &soak, events: soak.events(), settled: &settled };
    print!("{report}");
    if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
