//! Each strategy meets each kind of bad release: all traffic ends at stable, the reason says what was wrong, and no caller of stable notices.

use crate::{
    load::Client,
    support::{SERVE, TRAIN, World, eventually, model, until},
};
use std::{net::SocketAddr, time::Duration};

/// A way to be bad, and what is said of it.
struct Fault {
    /// At the begin of `serve.py`.
    head: &'static str,
    /// At the begin of each call.
    call: &'static str,
    said: &'static [&'static str],
}

const CRASHES: Fault = Fault {
    head: "import sys; sys.exit('the weights are broken')",
    call: "",
    said: &["its replica died ", " before becoming ready: exit 1; last output: the weights are broken"],
};
const UNREADY: Fault = Fault {
    head: "",
    call: "if self.path == '/v2/health/ready': return self.send_error(503)",
    // The replica is ended at about the time at which the rollout gives it up: either may say it.
    said: &["ready within 8s: ", "/v2/health/ready answers 503 Service Unavailable"],
};
/// Accepts connections and never answers.
const HALF_OPEN: Fault = Fault {
    head: "import os, socket\nlistener, held = socket.create_server(('127.0.0.1', int(os.environ['PORT']))), []\n\
        while True: held.append(listener.accept())",
    call: "",
    said: &["ready within 8s: ", "/v2/health/ready"],
};
const SLOW: &str = "if self.path != '/v2/health/ready': time.sleep(0.3)";

const WITHIN: Duration = Duration::from_secs(60);

/// One connection for all calls, which lasts through everything that happens behind it.
struct Caller {
    runtime: tokio::runtime::Runtime,
    client: Client,
}
impl Caller {
    fn new(w: &World) -> Self {
        let url = w.json(&["status"])["router"].as_str().unwrap().to_owned();
        let address: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { runtime, client: Client::new(address) }
    }
    /// Status and version.
    fn call(&mut self) -> (u16, String) {
        let answer = self.runtime.block_on(self.client.get("/models/fraud/x")).unwrap();
        (answer.status, answer.version.unwrap_or_default())
    }
}

fn commit(w: &World, seed: usize, deploy: &str, fault: &Fault) {
    let rest = format!(
        "[serve]\nrun = [\"python3\", \"serve.py\"]\ndrain = \"1s\"\nready_timeout = \"8s\"\n[[deploy]]\nenvironment = \"production\"\n{deploy}"
    );
    let first = "        ready = self.path";
    assert!(SERVE.contains(first));
    let serve = format!("{}\n{}", fault.head, SERVE.replace(first, &format!("        {}\n{first}", fault.call)));
    w.commit(
        "fraud",
        &[
            (
                "specs/models/fraud/model.toml",
                Some(&model("fraud", &w.path("count"), &format!(", seed = {seed}"), &rest)),
            ),
            ("specs/models/fraud/train.py", Some(TRAIN)),
            ("specs/models/fraud/serve.py", Some(&serve)),
        ],
    );
}

/// How a release is delivered, and what is said of one that is slow.
struct Strategy {
    deploy: String,
    slow: &'static [&'static str],
    /// Stable makes room before the other is there, and is not there meanwhile.
    gap: bool,
}

impl Strategy {
    /// Commits a release that is bad in each way in turn.
    fn each_ends_at_stable(&self) {
        let mut w = World::new();
        commit(&w, 1, &self.deploy, &Fault { head: "", call: "", said: &[] });
        w.start();
        w.wait_for("fraud", "version=v1");
        let production = || w.json(&["status", "fraud"])["summary"]["environments"][0].clone();
        let (mut caller, mut before) = (Caller::new(&w), None);
        let slow = Fault { head: "", call: SLOW, said: self.slow };
        for (n, fault) in (2..).zip([slow, CRASHES, UNREADY, HALF_OPEN]) {
            let bad = format!("v{n}");
            // What never got ready never answers; what is slow may, and well.
            let may_answer = |version: &str| version == "v1" || version == bad && fault.call == SLOW;
            commit(&w, n, &self.deploy, &fault);
            let reason = eventually("the rejection", WITHIN, || {
                for _ in 0..5 {
                    let (status, version) = caller.call();
                    let answered = status == 200 && may_answer(&version);
                    let nobody = self.gap && status == 503 && version.is_empty();
                    assert!(answered || nobody, "{status} by {version:?} while {bad} comes: {}", self.deploy);
                }
                production()["rejected"].as_str().map(str::to_owned).filter(|reason| before.as_ref() != Some(reason))
            });
            assert!(fault.said.iter().all(|said| reason.contains(said)), "{bad}: {reason}: {}", self.deploy);
            until("stable has all", || {
                let now = production();
                now["routed"] == 1 && now["rollout"].is_null()
            });
            for _ in 0..10 {
                assert_eq!(caller.call(), (200, "v1".to_owned()), "after {bad}: {reason}: {}", self.deploy);
            }
            before = Some(reason);
        }
    }
}

#[test]
fn every_strategy_ends_at_stable_whatever_is_wrong_with_a_release() {
    const FASTER: &str = "[[deploy.analysis]]\nmetric = \"latency_p50\"\nmax = \"100ms\"\nmin_requests = 5\n";
    const COMPARED: &str =
        "[[deploy.analysis]]\nmetric = \"latency_p50\"\nno_worse_than = \"stable\"\nmin_requests = 5\n";
    const OBJECTIVE: &str = "[monitor]\nslo = { latency_p99 = \"100ms\" }\n";
    const MEASURED: &[&str] = &["latency_p50 ", " ms > 100 ms over "];
    const BURNT: &[&str] = &["latency_p99 100ms is broken: "];
    let command = "import os, time, urllib.request\nbegun = time.monotonic()\n\
        urllib.request.urlopen(os.environ['TRIMTAB_PREVIEW'] + 'x').read()\nprint((time.monotonic() - begun) * 1000)";
    let previewed = format!(
        "[[deploy.analysis]]\nname = \"preview-ms\"\nmax = 100\nrun = [\"python3\", \"-c\", \"\"\"\n{command}\n\"\"\"]\n"
    );
    let strategy = |deploy: String, slow, gap| Strategy { deploy, slow, gap };
    let all = [
        strategy(
            format!("strategy = \"canary\"\nsteps = [{{ weight = 50, hold = \"1m\" }}]\n{FASTER}"),
            MEASURED,
            false,
        ),
        strategy(format!("strategy = \"blue_green\"\nhold = \"1m\"\n{previewed}"), &["preview-ms ", " > 100"], false),
        strategy(format!("strategy = \"shadow\"\nhold = \"1m\"\n{FASTER}"), MEASURED, false),
        strategy(
            format!("strategy = \"experiment\"\nweight = 40\nhold = \"1m\"\n{COMPARED}"),
            &["latency_p50 ", " ms worse than stable's "],
            false,
        ),
        strategy(format!("strategy = \"recreate\"\n{OBJECTIVE}"), BURNT, true),
        strategy(format!("keep_warm = \"10m\"\n{OBJECTIVE}"), BURNT, false),
    ];
    // Side by side, as each of them waits most of the time.
    std::thread::scope(|scope| {
        for strategy in &all {
            scope.spawn(|| strategy.each_ends_at_stable());
        }
    });
}
