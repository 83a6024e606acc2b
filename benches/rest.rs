//! What rest costs. In one process: a round of the loop when nothing changed, and when a commit touches no spec, for 100 to 100,000
//! trained models; beside it git2's own answer to "where is the branch". Then, for as many, a commit that changes one spec, from the branch's
//! move until the running loop has that model's new plan. And the real daemon on the 10,000: its memory and processor time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a bench that cannot run says so by panicking")]

mod support;

use criterion::{BenchmarkId, Criterion};
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};
use support::{Fleet, spec};
use trimtab::{
    deploy::local::stop_everything,
    model::*,
    ports::*,
    process::SystemClock,
    reconcile::{Config, Ports, Reconciler, SyncRequest},
    store::Store,
};

/// Trains at once: what it would have made is not what is measured.
struct Instantly;

impl Trainer for Instantly {
    fn execute(&self, _: &PipelineJob, _: &dyn PipelineObserver, _: &Cancel) -> PortResult<PipelineOutcome> {
        Ok(PipelineOutcome {
            artifact: Manifest { files: vec![] },
            code_files: Manifest { files: vec![] },
            metrics: BTreeMap::from([("recall".into(), 0.95), ("auc".into(), 0.98)]),
            stages: vec![],
            python: None,
            packages: vec![],
            host: "bench".into(),
            duration: Millis(1000),
        })
    }
    fn stop(&self, _: &RunId) {}
    fn log(&self, _: &RunId) -> PathBuf {
        PathBuf::new()
    }
}

impl Registry for Instantly {
    fn find(&self, _: &str) -> PortResult<RegisteredFiles> {
        Err(PortError::permanent("nothing is registered here"))
    }
    fn knows(&self, _: &Name, _: VersionNumber) -> bool {
        true
    }
    fn publish(&self, _: &Version) -> PortResult<()> {
        Ok(())
    }
    fn serves(&self, _: &Name, _: &BTreeMap<Name, VersionNumber>) -> PortResult<()> {
        Ok(())
    }
    fn withdraw(&self, _: &Name, _: VersionNumber) -> PortResult<()> {
        Ok(())
    }
}

impl Datasets for Instantly {
    fn snapshot(&self, dataset: &DatasetSpec, now: WallMs, _: &Cancel) -> PortResult<Snapshot> {
        Ok(Snapshot {
            dataset: dataset.name.clone(),
            digest: Digest::of(b"data"),
            manifest: Manifest { files: vec![] },
            single_file: true,
            taken: now,
        })
    }
    fn locate(&self, _: &Snapshot) -> PortResult<PathBuf> {
        Err(PortError::permanent("nothing is read here"))
    }
}

/// Serves nothing: the fleet deploys nothing.
impl Target for Instantly {
    fn apply(&self, _: &Wanted) -> PortResult<()> {
        Ok(())
    }
    fn replicas(&self, _: &Name, _: &Name) -> Vec<ReplicaStatus> {
        vec![]
    }
    fn traffic(&self, _: &Name, _: &Name, _: &Rollout) -> Traffic {
        Traffic::default()
    }
    fn served(&self, _: &Name, _: &Name, _: Release) -> Served {
        Served::default()
    }
    fn recent(&self, _: &Name, _: &Name) -> Recent {
        Recent::default()
    }
    fn busy(&self) -> bool {
        false
    }
    fn routed(&self, _: &Name, _: &Name) -> Option<Release> {
        None
    }
    fn log(&self, _: &Name, _: &Name, _: bool) -> Option<PathBuf> {
        None
    }
    fn metrics(&self) -> PortResult<String> {
        Ok(String::new())
    }
    fn address(&self) -> Option<String> {
        None
    }
    fn trouble(&self) -> Option<String> {
        None
    }
}

/// Nothing is asked.
impl Metrics for Instantly {
    fn ask(&self, _: &AnalysisMetric, _: &Measured) -> Answer {
        Answer::NoData
    }
}

/// Nothing lies anywhere.
impl Disk for Instantly {
    fn each(&self, _: Place, _: &mut dyn FnMut(Stored)) -> PortResult<()> {
        Ok(())
    }
    fn size(&self, _: &Stored) -> u64 {
        0
    }
    fn remove(&self, _: &Stored) -> PortResult<bool> {
        Ok(false)
    }
    fn is_alive(&self, _: &Stored) -> bool {
        false
    }
    fn remembered(&self, _: &Stored) -> Option<Run> {
        None
    }
    fn drop_late_parts(&self, _: SteadyMs) -> PortResult<()> {
        Ok(())
    }
    fn alone(&self) -> PortResult<Option<Box<dyn Send>>> {
        Ok(None)
    }
}

/// A fleet that is trained and at rest, with its state in the fleet's folder.
struct AtRest {
    fleet: Fleet,
    reconciler: Reconciler,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl AtRest {
    fn new(models: usize) -> Self {
        let fleet = Fleet::new(models, false);
        let state = fleet.folder.path().join("state");
        let source = Arc::new(fleet.source(&state));
        let stub = Arc::new(Instantly);
        let clock = Arc::new(SystemClock::continuing(None));
        let ports = Ports {
            source,
            trainer: stub.clone(),
            target: stub.clone(),
            metrics: stub.clone(),
            datasets: stub.clone(),
            registry: stub.clone(),
            clock,
            disk: stub,
            claims: Arc::default(),
        };
        // The loop asks only when it is told to.
        let config = Config { poll: Millis(3_600_000), workers: 8, gc_every: Millis(0), random: || 0 };
        let reconciler = Reconciler::open(Store::open(&state).unwrap(), ports, config).unwrap();
        let threads = reconciler.run().unwrap();
        let rested = || {
            let views = reconciler.views();
            views.len() == models && views.iter().all(|v| v.plan.as_ref().is_some_and(|p| p.sync == SyncStatus::Synced))
        };
        let begun = Instant::now();
        while !rested() {
            assert!(begun.elapsed() < Duration::from_secs(1200), "the fleet of {models} does not come to rest");
            sleep(Duration::from_millis(500));
        }
        eprintln!("{models} models trained and registered in {:.1} s", begun.elapsed().as_secs_f64());
        Self { fleet, reconciler, threads }
    }

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

    /// Ends the loop and gives the folder with the repository and the state.
    fn stop(self) -> Fleet {
        self.reconciler.stop();
        for thread in self.threads {
            thread.join().unwrap();
        }
        drop(self.reconciler);
        // The file watcher's own thread lets go of the store a moment later.
        let begun = Instant::now();
        while Store::open(&self.fleet.folder.path().join("state")).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(60), "the store is still held");
            sleep(Duration::from_millis(10));
        }
        self.fleet
    }
}

/// The daemon of the binary.
struct Daemon {
    child: Child,
    state: PathBuf,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Fails when it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // The router outlives its daemon by design.
        stop_everything(&self.state);
    }
}

impl Daemon {
    fn start(fleet: &Fleet) -> Self {
        let state = fleet.folder.path().join("state");
        let child = Command::new(env!("CARGO_BIN_EXE_trimtab"))
            .args(["daemon", "--repo"])
            .arg(&fleet.path)
            .arg("--state")
            .arg(&state)
            .args(["--router", "127.0.0.1:0"])
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(state.join("daemon.log")).unwrap())
            .spawn()
            .unwrap();
        Self { child, state }
    }

    /// Waits until the API says that every model was looked at.
    fn wait_ready(&mut self) {
        let socket = self.state.join("trimtab.sock");
        let begun = Instant::now();
        let ready = || {
            let mut stream = std::os::unix::net::UnixStream::connect(&socket).ok()?;
            std::io::Write::write_all(&mut stream, b"GET /readyz HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n")
                .ok()?;
            let mut first = String::new();
            BufReader::new(stream).read_line(&mut first).ok()?;
            first.contains(" 200 ").then_some(())
        };
        while ready().is_none() {
            let log = || std::fs::read_to_string(socket.with_file_name("daemon.log")).unwrap_or_default();
            assert!(self.child.try_wait().unwrap().is_none(), "the daemon ended: {}", log());
            assert!(begun.elapsed() < Duration::from_secs(120), "the daemon is not ready after 120 s");
            sleep(Duration::from_millis(100));
        }
        eprintln!("daemon ready with every model looked at after {:.1} s", begun.elapsed().as_secs_f64());
    }

    /// Resident memory in MiB, and processor time since the start.
    fn usage(&self) -> (f64, Duration) {
        let proc = PathBuf::from(format!("/proc/{}", self.child.id()));
        let status = std::fs::read_to_string(proc.join("status")).unwrap();
        let rss = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
        let kib: f64 = rss.trim().trim_end_matches(" kB").parse().unwrap();
        let stat = std::fs::read_to_string(proc.join("stat")).unwrap();
        // Fields 14 and 15, counted from 1; the name in field 2 may hold blanks.
        let after = stat.rsplit_once(')').unwrap().1;
        let ticks: u64 = after.split_whitespace().skip(11).take(2).map(|t| t.parse::<u64>().unwrap()).sum();
        (kib / 1024.0, Duration::from_millis(ticks * 10))
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
            daemon(&fleet);
        }
    }
    group.finish();
}

fn daemon(fleet: &Fleet) {
    const OBSERVED: Duration = Duration::from_secs(20);
    let mut daemon = Daemon::start(fleet);
    daemon.wait_ready();
    // What the start left to be done is no rest.
    sleep(Duration::from_secs(5));
    let (_, before) = daemon.usage();
    sleep(OBSERVED);
    let (memory, after) = daemon.usage();
    let share = (after - before).as_secs_f64() / OBSERVED.as_secs_f64() * 100.0;
    println!("daemon with 10,000 idle models: {memory:.0} MiB resident, {share:.2} % of one core over {OBSERVED:?}");
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    rounds(&mut criterion);
    criterion.final_summary();
}
