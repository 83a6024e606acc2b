//! Callers on keep-alive connections that retry nothing, and whose failures those are.

use crate::load::{Answer, Client};
use hdrhistogram::Histogram;
use http_body_util::Full;
use hyper::{Request, body::Bytes};
use nix::time::{ClockId, clock_gettime};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

const CALLERS: usize = 6;
/// Between the calls of one caller.
const PACE: Duration = Duration::from_millis(30);
/// How long the router may take to see that a connection ended: who cannot send again what may have been worked on may still meet it.
const SEEN_NS: u64 = 100_000_000;

/// The clock of this machine that the replicas' notes are in.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}

/// A request that got no good answer.
pub struct Failure {
    id: String,
    repeatable: bool,
    begun: u64,
    ended: u64,
    answer: Option<(u16, String)>,
    what: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let method = if self.repeatable { "GET" } else { "POST" };
        let (status, version) = self.answer.as_ref().map_or((0, ""), |(status, version)| (*status, version));
        let took = (self.ended - self.begun) / 1_000_000;
        write!(f, "{method} {} from {} took {took} ms: {status} {version} {}", self.id, self.begun, self.what)
    }
}

/// A span in which something was gone.
#[derive(Debug, Clone, Copy)]
pub struct Gone {
    pub from: u64,
    pub to: u64,
}
impl Gone {
    fn meets(&self, f: &Failure) -> bool {
        f.begun <= self.to && f.ended >= self.from
    }
}

/// What is known of who broke what.
#[derive(Debug, Default)]
pub struct Broken {
    /// Requests that a release answered with 500, as it noted itself.
    errors: BTreeSet<String>,
    /// When a replica of a version ended: killed, or by its own doing.
    pub deaths: Vec<(String, Gone)>,
    /// When the router was killed, until it answered again.
    pub router: Vec<Gone>,
}
impl Broken {
    /// Adds what the replicas noted.
    pub fn read(&mut self, notes: &Path) {
        for line in std::fs::read_to_string(notes).unwrap_or_default().lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["error", id] => {
                    self.errors.insert(id.to_owned());
                }
                ["death", version, at] => {
                    let from = at.parse().unwrap();
                    self.deaths.push((version.to_owned(), Gone { from, to: from + SEEN_NS }));
                }
                _ => panic!("a replica noted `{line}`"),
            }
        }
    }

    /// Notes that a replica was killed and is gone by now.
    pub fn killed(&mut self, version: String, from: u64) {
        self.deaths.push((version, Gone { from, to: now_ns() + SEEN_NS }));
    }

    pub fn whose(&self, f: &Failure) -> Whose {
        match &f.answer {
            Some((500, _)) if self.errors.contains(&f.id) => Whose::Answer,
            // What can be sent again has to be.
            Some((502, version)) if !f.repeatable && self.deaths.iter().any(|(v, d)| v == version && d.meets(f)) => {
                Whose::InFlight
            }
            None if self.router.iter().any(|gone| gone.meets(f)) => Whose::Router,
            _ => Whose::Trimtabs,
        }
    }
}

/// Whose failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whose {
    /// The release said 500.
    Answer,
    /// A POST that a replica worked on when it was killed, or ended by itself.
    InFlight,
    /// No connection while the router was killed.
    Router,
    Trimtabs,
}

#[derive(Default)]
struct Seen {
    good: u64,
    by_version: BTreeMap<String, u64>,
    failures: Vec<Failure>,
}

/// What the callers saw.
pub struct Calls {
    pub requests: u64,
    pub versions: usize,
    pub failures: Vec<(Whose, Failure)>,
    /// Of good answers, in microseconds.
    pub latency: Histogram<u64>,
}

pub struct Callers {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Histogram<u64>>,
}

impl Callers {
    pub fn start(address: SocketAddr) -> Self {
        let (seen, stop) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicBool>::default());
        let shared = (seen.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let all = (0..CALLERS).map(|n| caller(n, address, &shared.0, &shared.1));
            let mut latency = Histogram::new(3).unwrap();
            for one in runtime.block_on(futures::future::join_all(all)) {
                latency.add(one).unwrap();
            }
            latency
        });
        Self { seen, stop, thread }
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        let seen = self.seen.lock().unwrap();
        seen.good + seen.failures.len() as u64
    }

    pub fn stop(self, broken: &Broken) -> Calls {
        self.stop.store(true, Ordering::SeqCst);
        let latency = self.thread.join().unwrap();
        let seen = std::mem::take(&mut *self.seen.lock().unwrap());
        let requests = seen.good + seen.failures.len() as u64;
        let failures = seen.failures.into_iter().map(|f| (broken.whose(&f), f)).collect();
        Calls { requests, versions: seen.by_version.len(), failures, latency }
    }
}

/// GET and POST in turn.
async fn caller(number: usize, address: SocketAddr, seen: &Mutex<Seen>, stop: &AtomicBool) -> Histogram<u64> {
    let mut latency = Histogram::new(3).unwrap();
    let mut client = Client::new(address);
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for n in 0u64.. {
        pace.tick().await;
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let (id, repeatable) = (format!("soak-{number}-{n}"), n.is_multiple_of(2));
        let request = if repeatable { Request::get("/models/fraud/x") } else { Request::post("/models/fraud/x") };
        let body = if repeatable { Bytes::new() } else { Bytes::from_static(b"{\"n\":1}") };
        let caller = (n % 97).to_string();
        let request = request.header("x-request-id", &id).header("x-caller", caller).body(Full::new(body)).unwrap();
        let begun = now_ns();
        let answer = client.call(request).await;
        let ended = now_ns();
        let mut seen = seen.lock().unwrap();
        let (answer, what) = match answer {
            Ok(Answer { status: 200, version: Some(version), .. }) => {
                latency.record((ended - begun) / 1000).unwrap();
                seen.good += 1;
                *seen.by_version.entry(version).or_default() += 1;
                continue;
            }
            Ok(other) => (Some((other.status, other.version.clone().unwrap_or_default())), other.text()),
            Err(e) => (None, e),
        };
        seen.failures.push(Failure { id, repeatable, begun, ended, answer, what });
    }
    latency
}
