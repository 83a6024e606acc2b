//! `/metrics`, read by the parser of Prometheus's own Python client.

use crate::{fleet::busy, python::judge, support::until};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

/// Families as the parser reads them; the conventions that hold for every one are checked at once.
const PARSE: &str = r##"
import json, re, sys
from prometheus_client.parser import text_string_to_metric_families
text, families = sys.stdin.read(), {}
for f in text_string_to_metric_families(text):
    assert f.name not in families, f"{f.name} comes twice"
    assert f.documentation, f"{f.name} has no HELP"
    assert f.type in ("counter", "gauge", "histogram"), f"{f.name} is {f.type}: no TYPE, or a name that its type does not take"
    assert re.match(r"(trimtab|process)_[a-z0-9_]+$", f.name), f.name
    assert not re.search(r"_(ms|milliseconds|minutes|kb|mb)$", f.name), f"{f.name} is in no base unit"
    if f.type == "counter":
        assert f"# TYPE {f.name}_total counter" in text, f"{f.name} does not end in _total"
    if "duration" in f.name:
        assert f.type == "histogram" and f.name.endswith("_seconds"), f.name
    families[f.name] = {"type": f.type, "samples": [[s.name, s.labels, s.value] for s in f.samples]}
json.dump(families, sys.stdout)
"##;

struct Scraped(Value);

impl Scraped {
    /// The value of a sample: each of these labels, and no other than them.
    fn value(&self, family: &str, sample: &str, labels: &[(&str, &str)]) -> f64 {
        let samples = self.0[family]["samples"].as_array().unwrap_or_else(|| panic!("no {family}"));
        let found = samples.iter().find(|s| {
            let has = s[1].as_object().unwrap();
            s[0] == sample
                && has.len() == labels.len()
                && labels.iter().all(|(k, v)| has.get(*k).is_some_and(|h| h == v))
        });
        found.unwrap_or_else(|| panic!("no {sample} {labels:?} in {samples:?}"))[2].as_f64().unwrap()
    }
}

#[test]
fn metrics_follow_the_conventions_and_count_what_happened() {
    let (w, c) = busy();
    for _ in 0..20 {
        assert_eq!(w.get("/models/fraud/x").0, 200);
    }
    assert_eq!(w.get("/models/none/x").0, 404);
    assert_eq!(w.get("/nothing/at/all").0, 404);
    let a = c.call("get", "/metrics", None);
    assert_eq!((a.status, a.media.as_str()), (200, "text/plain"));
    let m = Scraped(serde_json::from_str(&judge(PARSE, &a.body)).unwrap());
    let fraud = [("environment", "production"), ("model", "fraud"), ("result", "promoted")];
    let failed = [("model", "fails"), ("result", "failed")];
    let total = |family: &str, labels: &[(&str, &str)]| m.value(family, &format!("{family}_total"), labels);
    assert_eq!(total("trimtab_trainings", &[("model", "fraud"), ("result", "succeeded")]), 2.0);
    assert!(total("trimtab_trainings", &failed) >= 1.0);
    assert_eq!(total("trimtab_rollout_switches", &fraud), 1.0);
    assert_eq!(total("trimtab_gate_failures", &[("model", "weak")]), 1.0);
    assert_eq!(total("trimtab_events", &[("kind", "version_registered")]), 3.0);
    assert!(total("trimtab_reconciles", &[("result", "changed")]) >= 8.0);
    assert_eq!(total("trimtab_reconciles", &[("result", "failed")]), 0.0);
    assert!(total("trimtab_source_fetches", &[("result", "succeeded")]) >= 2.0);
    assert_eq!(total("trimtab_router_refusals", &[("model", ""), ("code", "404")]), 2.0);
    let served = |version: &str| {
        let labels = [("environment", "production"), ("model", "fraud"), ("version", version)];
        let with_code = [labels[0], labels[1], labels[2], ("code", "200")];
        let requests = total("trimtab_router_requests", &with_code);
        let seconds = "trimtab_router_request_duration_seconds";
        assert_eq!(m.value(seconds, &format!("{seconds}_count"), &labels), requests);
        assert!(m.value(seconds, &format!("{seconds}_sum"), &labels) > 0.0);
        requests
    };
    assert_eq!(served("v1") + served("v2"), 20.0);
    assert!((8.0..=12.0).contains(&served("v2")), "half of them went to the canary");
    for (histogram, least) in [
        ("trimtab_reconcile_duration_seconds", 8.0),
        ("trimtab_source_fetch_duration_seconds", 2.0),
        ("trimtab_training_duration_seconds", 3.0),
    ] {
        assert!(m.value(histogram, &format!("{histogram}_count"), &[]) >= least, "{histogram}");
    }
    let level = |name: &str, labels: &[(&str, &str)]| m.value(name, name, labels);
    assert_eq!(level("trimtab_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);
    assert_eq!(level("trimtab_models", &[]), 4.0);
    assert_eq!(level("trimtab_rollouts_running", &[]), 1.0);
    assert_eq!((level("trimtab_source_up", &[]), level("trimtab_router_up", &[])), (1.0, 1.0));
    assert_eq!(level("trimtab_model_version", &[("environment", "production"), ("model", "fraud")]), 1.0);
    assert!(level("trimtab_queue_depth", &[]) < 5.0);
    for of in ["process", "trimtab_router_process"] {
        assert!(level(&format!("{of}_resident_memory_bytes"), &[]) > 1e6);
        assert!(level(&format!("{of}_open_fds"), &[]) > 3.0);
        assert!(level(&format!("{of}_start_time_seconds"), &[]) > 1.6e9);
        assert!(total(&format!("{of}_cpu_seconds"), &[]) >= 0.0);
    }
    let run = c.json("/api/v1/models/fraud/runs")[0]["id"].as_str().unwrap().to_owned();
    assert!(!a.body.contains(&run), "runs are no labels: there is no end to them");
}

/// A process that is stopped, until this is dropped: also by a test that fails.
struct Frozen(Pid);
impl Frozen {
    fn new(pid: Pid) -> Self {
        kill(pid, Signal::SIGSTOP).unwrap();
        // Its threads stop one by one; until the last has, it may answer.
        let stopped = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") T ");
        until("the router to be stopped", stopped);
        Self(pid)
    }
}
impl Drop for Frozen {
    fn drop(&mut self) {
        // The daemon may have replaced it meanwhile.
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

#[test]
fn while_the_router_does_not_answer_the_daemon_still_tells_its_own() {
    let (w, c) = busy();
    let router = trimtab::route::RouterClient::new(&w.state().join("router"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let pid = Pid::from_raw(runtime.block_on(router.identity()).unwrap().pid as i32);
    let frozen = Frozen::new(pid);
    let a = c.call("get", "/metrics", None);
    drop(frozen);
    assert_eq!(a.status, 200, "{}", a.body);
    let m = Scraped(serde_json::from_str(&judge(PARSE, &a.body)).unwrap());
    // On a busy machine the daemon may have replaced it before it answered: that one is up.
    let replaced = || {
        let mut now = runtime.block_on(router.identity());
        until("a router to answer", || {
            now = runtime.block_on(router.identity());
            now.is_ok()
        });
        now.unwrap().pid as i32 != pid.as_raw()
    };
    assert!(m.value("trimtab_router_up", "trimtab_router_up", &[]) == 0.0 || replaced());
    assert!(m.value("trimtab_reconciles", "trimtab_reconciles_total", &[("result", "changed")]) > 0.0);
}
