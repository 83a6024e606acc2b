//! What is committed: releases that are good, or bad in one way, and how they are to be delivered.

use crate::random::Random;
use std::path::Path;
use trimtab::model::StrategyKind;

/// What a release does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    Good,
    /// Answers every third call with 500.
    Failing,
    /// Answers after 400 ms.
    Slow,
    /// Ends at every fifth call, with whatever it works on.
    Crashing,
    /// Ends at its start.
    Stillborn,
    /// Never ready.
    Unready,
}

impl How {
    pub fn bad(random: &mut Random) -> Self {
        *random.of(&[Self::Failing, Self::Slow, Self::Crashing, Self::Stillborn, Self::Unready])
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Failing => "failing",
            Self::Slow => "slow",
            Self::Crashing => "crashing",
            Self::Stillborn => "stillborn",
            Self::Unready => "unready",
        }
    }
}

/// A way to deliver a release. At calls that end it, with all of its replicas gone, there would be nobody left to ask, so such a one has to
/// share its traffic with stable while it is measured.
pub fn fit(how: How, random: &mut Random) -> StrategyKind {
    use StrategyKind::{AtOnce, BlueGreen, Canary, Experiment, Shadow};
    match how {
        How::Crashing => *random.of(&[Canary, Shadow, Experiment]),
        _ => *random.of(&[AtOnce, Canary, BlueGreen, Shadow, Experiment]),
    }
}

/// The `[[deploy]]` table and what goes with it.
fn table(way: StrategyKind, random: &mut Random) -> String {
    const MEASURED: &str = "[[deploy.analysis]]\nmetric = \"error_rate\"\nmax = 0.05\nmin_requests = 30\n\
        [[deploy.analysis]]\nmetric = \"latency_p90\"\nmax = \"250ms\"\nmin_requests = 30\n";
    const COMPARED: &str = "[[deploy.analysis]]\nmetric = \"error_rate\"\nno_worse_than = \"stable\"\nmin_requests = 30\n\
        [[deploy.analysis]]\nmetric = \"latency_p90\"\nmax = \"250ms\"\nmin_requests = 30\n";
    const SMOKE: &str = "[[deploy.analysis]]\nname = \"smoke\"\nrun = [\"python3\", \"smoke.py\"]\nmin = 1\n";
    const OBJECTIVES: &str = "[monitor]\nslo = { availability = 0.99, latency_p99 = \"250ms\" }\n";
    let warm = random.of(&["0s", "1m"]);
    let failure = random.of(&["hold", "revert"]);
    let sticky = random.of(&["", "sticky = \"header:x-caller\"\n"]);
    let own = match way {
        StrategyKind::AtOnce => OBJECTIVES.to_owned(),
        StrategyKind::Canary => {
            format!("steps = [{{ weight = 20, hold = \"1s\" }}, {{ weight = 60, hold = \"1s\" }}]\n{MEASURED}")
        }
        StrategyKind::BlueGreen => format!("hold = \"1s\"\n{SMOKE}"),
        StrategyKind::Shadow => format!("hold = \"2s\"\n{MEASURED}"),
        StrategyKind::Experiment => format!("weight = 20\nhold = \"2s\"\n{COMPARED}"),
        // It has a gap by its meaning.
        StrategyKind::Recreate => String::new(),
    };
    format!(
        "[[deploy]]\nenvironment = \"production\"\nstrategy = \"{}\"\nkeep_warm = \"{warm}\"\non_failure = \"{failure}\"\n\
         deadline = \"10s\"\n{sticky}{own}",
        way.word()
    )
}

/// A release as it is committed.
#[derive(Debug, Clone)]
pub struct Committed {
    how: How,
    pub spec: String,
    pub serve: String,
}

impl Committed {
    pub fn new(count: &Path, notes: &Path, seed: u64, how: How, way: StrategyKind, random: &mut Random) -> Self {
        let table = table(way, random);
        let replicas = 2 + random.below(2);
        let rest = format!(
            "[serve]\nrun = [\"python3\", \"serve.py\"]\nready_timeout = \"5s\"\ndrain = \"2s\"\nreplicas = {replicas}\n{table}"
        );
        let spec = crate::support::model("fraud", count, &format!(", seed = {seed}"), &rest);
        let head = format!("HOW, NOTES = {:?}, {:?}\n", how.word(), notes.display().to_string());
        Self { how, spec, serve: head + SERVE }
    }

    /// The same release, run or delivered otherwise.
    pub fn edited(&self, random: &mut Random) -> Self {
        let (head, _) = self.spec.split_once("[serve]").unwrap();
        let (replicas, drain) = (2 + random.below(2), 1 + random.below(3));
        let table = table(fit(self.how, random), random);
        let spec = format!(
            "{head}[serve]\nrun = [\"python3\", \"serve.py\"]\nready_timeout = \"5s\"\ndrain = \"{drain}s\"\nreplicas = {replicas}\n{table}"
        );
        Self { spec, ..self.clone() }
    }
}

/// Notes each 500 by the id of the request, and each end of its own with what it worked on, before anybody else can see it.
const SERVE: &str = r#"
import json, os, signal, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
if HOW == "stillborn": sys.exit("the weights are broken")
model = open(os.environ["TRIMTAB_ARTIFACT"] + "/model.json").read().encode()
lock, calls = threading.Lock(), 0
def note(*words):
    line = " ".join(str(w) for w in words) + "\n"
    file = os.open(NOTES, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(file, line.encode())
    os.close(file)
class H(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        global calls
        self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.path == "/v2/health/ready":
            return self.answer(503 if HOW == "unready" else 200)
        with lock:
            calls += 1
            turn = calls
        if HOW == "slow": time.sleep(0.4)
        if HOW == "crashing" and turn % 5 == 0:
            note("death", os.environ["TRIMTAB_VERSION"], time.clock_gettime_ns(time.CLOCK_MONOTONIC))
            os._exit(3)
        failing = HOW == "failing" and turn % 3 == 0
        if failing: note("error", self.headers.get("x-request-id"))
        self.answer(500 if failing else 200)
    do_POST = do_GET
    def answer(self, status):
        self.wfile.write(b"HTTP/1.1 %d -\r\ncontent-length: %d\r\n\r\n" % (status, len(model)) + model)
    def log_message(self, *a): pass
class S(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
s = S(("127.0.0.1", int(os.environ["PORT"])), H)
signal.signal(signal.SIGTERM, lambda *a: threading.Thread(target=s.shutdown).start())
s.serve_forever()
"#;

/// The analysis of a release that is called at its preview address alone: six good answers, each within 250 ms.
pub const SMOKE: &str = r#"
import os, time, urllib.request
good = 1
for n in range(6):
    begun = time.monotonic()
    try: urllib.request.urlopen(os.environ["TRIMTAB_PREVIEW"] + "x", timeout=10).read()
    except OSError: good = 0
    if time.monotonic() - begun > 0.25: good = 0
print(good)
"#;
