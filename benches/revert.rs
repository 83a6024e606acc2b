//! `git push` of a revert until all traffic is on the old version: the real daemon, router and Python replicas, while callers go on. Beside
//! it, in the same round, a push of the same commit to a repository that nobody watches, and one request.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench that cannot run says so by panicking"
)]

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/it/load.rs"]
mod load;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/it/support.rs"]
mod support;

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};
use support::{SERVED, World, model};

const ROUNDS: usize = 40;
const CALLERS: usize = 4;
/// Between two requests of one caller.
const PAUSE: Duration = Duration::from_millis(2);
/// Answers in a row that count as "all traffic".
const ALL: u64 = 200;
const PATH: &str = "/models/m/";

/// The newest answers.
struct Seen {
    requests: u64,
    failures: Vec<String>,
    version: String,
    /// The first answer of those in a row by that version.
    since: Instant,
    in_a_row: u64,
}

struct Shared {
    seen: Mutex<Seen>,
    grew: Condvar,
    stop: AtomicBool,
}

struct Callers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Callers {
    fn start(router: SocketAddr) -> Self {
        let seen = Seen { requests: 0, failures: vec![], version: String::new(), since: Instant::now(), in_a_row: 0 };
        let shared = Arc::new(Shared { seen: Mutex::new(seen), grew: Condvar::new(), stop: AtomicBool::new(false) });
        let call = move |shared: Arc<Shared>| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut client = load::Client::new(router);
                while !shared.stop.load(Ordering::SeqCst) {
                    shared.note(client.get(PATH).await);
                    tokio::time::sleep(PAUSE).await;
                }
            });
        };
        let threads = (0..CALLERS).map(|_| shared.clone()).map(|s| std::thread::spawn(move || call(s))).collect();
        Self { shared, threads }
    }

    /// Waits until all traffic is on this version; since when it was.
    fn all_on(&self, version: &str) -> Instant {
        let waits = |s: &mut Seen| s.version != version || s.in_a_row < ALL;
        let seen = self.shared.seen.lock().unwrap();
        let (seen, late) = self.shared.grew.wait_timeout_while(seen, Duration::from_secs(30), waits).unwrap();
        assert!(!late.timed_out(), "not all traffic is on {version}: {} {:?}", seen.version, seen.failures);
        seen.since
    }

    /// Requests, and those that failed.
    fn stop(self) -> (u64, Vec<String>) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.threads.into_iter().for_each(|t| t.join().unwrap());
        let seen = self.shared.seen.lock().unwrap();
        (seen.requests, seen.failures.clone())
    }
}

impl Shared {
    fn note(&self, answer: Result<load::Answer, String>) {
        let mut seen = self.seen.lock().unwrap();
        seen.requests += 1;
        match answer {
            Ok(load::Answer { status: 200, version: Some(version), .. }) => {
                if seen.version != version {
                    (seen.version, seen.since, seen.in_a_row) = (version, Instant::now(), 0);
                }
                seen.in_a_row += 1;
            }
            other => seen.failures.push(format!("{other:?}")),
        }
        self.grew.notify_all();
    }
}

/// A person's clone.
struct Clone {
    path: PathBuf,
}

impl Clone {
    fn of(world: &World) -> Self {
        let clone = Self { path: world.path("clone") };
        let (from, to) = (world.path("models.git"), clone.path.clone());
        let done = Command::new("git").args(["clone", "-q"]).arg(from).arg(to).status().unwrap();
        assert!(done.success());
        let unwatched = world.path("unwatched.git");
        assert!(Command::new("git").args(["init", "-q", "--bare"]).arg(&unwatched).status().unwrap().success());
        clone.git(&["remote", "add", "unwatched", unwatched.to_str().unwrap()]);
        clone.git(&["config", "user.name", "Ada"]);
        clone.git(&["config", "user.email", "ada@example.com"]);
        clone
    }

    fn git(&self, args: &[&str]) -> String {
        let out = Command::new("git").arg("-C").arg(&self.path).args(args).output().unwrap();
        assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    }

    /// How long a push takes.
    fn push(&self, remote: &str) -> Duration {
        let begun = Instant::now();
        self.git(&["push", "-q", remote, "HEAD:refs/heads/main"]);
        begun.elapsed()
    }
}

/// `v1` and `v2` of one model, trained, with all traffic on `v2` and `v1` warm; the commit that made `v2`.
fn world() -> (World, git2::Oid) {
    let mut world = World::new();
    let count = world.path("count");
    world.commit_model("m", &model("m", &count, ", seed = 1", SERVED));
    world.start();
    world.wait_for("m", "version=v1");
    let change = world.commit_model("m", &model("m", &count, ", seed = 2", SERVED));
    world.wait_for("m", "version=v2");
    (world, change)
}

fn one_request(router: SocketAddr) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let begun = Instant::now();
        assert_eq!(load::Client::new(router).get(PATH).await.unwrap().status, 200);
        begun.elapsed()
    })
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    println!("{what:<52} median {:6.1} ms   p90 {:6.1} ms   most {:6.1} ms", at(0.5), at(0.9), at(1.0));
}

fn main() {
    let (world, change) = world();
    let url = world.json(&["status"])["router"].as_str().unwrap().to_owned();
    let router: SocketAddr = url.trim_start_matches("http://").parse().unwrap();
    let callers = Callers::start(router);
    callers.all_on("v2");
    let clone = Clone::of(&world);
    let mut last = change.to_string();
    let (mut switched, mut pushed, mut alone, mut asked) = (vec![], vec![], vec![], vec![]);
    for round in 0..ROUNDS {
        clone.git(&["pull", "-q", "--ff-only"]);
        clone.git(&["revert", "--no-edit", &last]);
        last = clone.git(&["rev-parse", "HEAD"]);
        alone.push(clone.push("unwatched"));
        asked.push(one_request(router));
        let old = if round % 2 == 0 { "v1" } else { "v2" };
        let begun = Instant::now();
        pushed.push(clone.push("origin"));
        switched.push(callers.all_on(old).duration_since(begun));
        world.wait_for("m", &format!("version={old}"));
    }
    let (requests, failures) = callers.stop();
    assert_eq!(world.trained("count").len(), 2, "a revert trains nothing");
    println!("{ROUNDS} reverts, {CALLERS} callers: {} of {requests} requests failed", failures.len());
    failures.iter().take(10).for_each(|f| println!("  {f}"));
    print("`git push` begun until all traffic is on the old", switched);
    print("  of which the push", pushed);
    print("limit: the same push to a repository nobody watches", alone);
    print("limit: one request on a new connection", asked);
}
