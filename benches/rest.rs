//! What rest costs. In one process: a round of the loop when nothing changed, and when a commit touches no spec, for 100 to 100,000
//! trained models; beside it git2's own answer to "where is the branch". Then, for as many, a commit that changes one spec, from the branch's
//! move until the running loop has that model's new plan. And the real daemon on the 10,000: its memory and processor time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a bench that cannot run says so by panicking")]

#[path = "support/at_rest.rs"]
mod at_rest;
#[path = "support/daemon.rs"]
mod daemon;
mod support;

use at_rest::AtRest;
use criterion::{BenchmarkId, Criterion};
use daemon::{Daemon, usage};
use std::{
    thread::sleep,
    time::{Duration, Instant},
};
use support::{Fleet, spec};
use trimtab::{model::*, reconcile::SyncRequest};

impl AtRest {
    fn sync(&self) {
        self.reconciler.sync(&SyncRequest::default()).unwrap();
    }

    /// Gives model 7 a param that it never had, as a push does; how long until the loop has a plan for it.
    fn planned(&self, depth: u32) -> Duration {
        let model = Name::new("m7").unwrap();
        let commit = self.fleet.make(&[spec(7, depth, false)]);
        let plan = || {
            let view = self.reconciler.view(&model)?;
            let of = view.observed.observed_revision.filter(|r| *r.commit.0 == commit.to_string());
            view.plan.filter(|_| of.is_some())
        };
        let begun = Instant::now();
        self.fleet.publish(commit);
        while plan().is_none() {
            assert!(begun.elapsed() < Duration::from_secs(60), "no plan for the commit");
            sleep(Duration::from_micros(50));
        }
        let took = begun.elapsed();
        while plan().is_none_or(|p| p.sync != SyncStatus::Synced) {
            assert!(begun.elapsed() < Duration::from_secs(60), "the model does not come to rest");
            sleep(Duration::from_millis(1));
        }
        took
    }
}

fn rounds(c: &mut Criterion) {
    let mut group = c.benchmark_group("at rest");
    group.sample_size(20);
    for models in [100, 1_000, 10_000, 100_000] {
        let rest = AtRest::new(models);
        group.bench_function(BenchmarkId::new("a round, the branch did not move", models), |b| b.iter(|| rest.sync()));
        let mut n = 0;
        group.bench_function(BenchmarkId::new("a round, a commit that touches no spec", models), |b| {
            let commit = || {
                n += 1;
                rest.fleet.commit(&[("README.md".into(), format!("{n}"))]);
            };
            b.iter_batched(commit, |()| rest.sync(), criterion::BatchSize::PerIteration);
        });
        let main = || rest.fleet.repo.refname_to_id("refs/heads/main").unwrap();
        group.bench_function(BenchmarkId::new("git2: where is the branch", models), |b| b.iter(main));
        let mut depth = 2;
        group.bench_function(BenchmarkId::new("one spec changed: branch moved to new plan", models), |b| {
            let mut next = || {
                depth += 1;
                rest.planned(depth)
            };
            b.iter_custom(|n| (0..n).map(|_| next()).sum());
        });
        let fleet = rest.stop();
        if models == 10_000 {
            idle(&fleet);
        }
    }
    group.finish();
}

fn idle(fleet: &Fleet) {
    const OBSERVED: Duration = Duration::from_secs(20);
    let mut daemon = Daemon::start(fleet);
    daemon.wait_ready();
    // What the start left to be done is no rest.
    sleep(Duration::from_secs(5));
    let (_, before) = usage(daemon.child.id());
    sleep(OBSERVED);
    let (memory, after) = usage(daemon.child.id());
    let share = (after - before).as_secs_f64() / OBSERVED.as_secs_f64() * 100.0;
    println!("daemon with 10,000 idle models: {memory:.0} MiB resident, {share:.2} % of one core over {OBSERVED:?}");
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    rounds(&mut criterion);
    criterion.final_summary();
}
