//! A real Prometheus scrapes a real daemon (Debian: `apt-get install prometheus`), and releases are judged by what it answers.

use crate::{
    fleet::busy,
    support::{World, eventually, model, until},
};
use serde_json::Value;
use std::{
    fs,
    io::Write,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};
use trimtab::{
    measure::Measurer,
    model::{AnalysisMetric, Answer, Name, VersionNumber},
    ports::{Measured, Metrics},
};

/// A Prometheus that scrapes one daemon; it ends with this.
struct Prometheus {
    process: Child,
    address: SocketAddr,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Prometheus {
    /// One at an address, which takes up what it or its predecessor stored in this world.
    fn start(w: &World, daemon: &str, interval: &str, address: SocketAddr) -> Self {
        let config = w.path("prometheus.yml");
        let scrape = format!(
            "scrape_configs:\n  - job_name: trimtab\n    scrape_interval: {interval}\n    scrape_timeout: {interval}\n    \
             authorization: {{ credentials_file: {} }}\n    static_configs: [{{ targets: [\"{}\"] }}]\n",
            w.state().join("token").display(),
            daemon.trim_start_matches("http://")
        );
        fs::write(&config, scrape).unwrap();
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--web.listen-address={address}"))
            .arg(format!("--storage.tsdb.path={}", w.path("tsdb").display()))
            .arg("--log.level=error")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus: apt-get install prometheus");
        let started = Self { process, address };
        // Prometheus tells nobody of a scrape: it is asked until one shows.
        eventually("it scrapes", Duration::from_secs(60), || {
            (started.ask("up{job=\"trimtab\"}") == Some(1.0)).then_some(())
        });
        started
    }

    fn get(&self, path: &str, query: &[(&str, &str)]) -> Option<Value> {
        let client = reqwest::blocking::Client::builder().no_proxy().build().unwrap();
        client.get(format!("http://{}{path}", self.address)).query(query).send().ok()?.json().ok()
    }

    fn ask(&self, query: &str) -> Option<f64> {
        let answer = self.get("/api/v1/query", &[("query", query)])?;
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }
}

fn free() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn prometheus_scrapes_and_promtool_finds_nothing_to_say() {
    let (w, c) = busy();
    for _ in 0..20 {
        assert_eq!(w.get("/models/fraud/x").0, 200);
    }
    let text = c.call("get", "/metrics", None).body;
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool: apt-get install prometheus");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let out = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && said.is_empty(), "{said}");
    let prometheus = Prometheus::start(&w, &c.url, "1s", free());
    let ask = |query: &str| prometheus.ask(query);
    assert_eq!(ask("sum(trimtab_router_requests_total{model=\"fraud\",code=\"200\"})"), Some(20.0));
    assert_eq!(ask("trimtab_gate_failures_total{model=\"weak\"}"), Some(1.0));
    assert_eq!(ask("sum(trimtab_trainings_total{model=\"fraud\",result=\"succeeded\"})"), Some(2.0));
    let p99 = "histogram_quantile(0.99, sum by (le) (trimtab_router_request_duration_seconds_bucket))";
    assert!(ask(p99).is_some_and(|s| s > 0.0 && s < 10.0), "{:?}", ask(p99));
    assert!(ask("process_resident_memory_bytes").is_some_and(|b| b > 1e6));
    let metadata: Value = prometheus.get("/api/v1/targets/metadata", &[]).unwrap();
    let unknown: Vec<&Value> = metadata["data"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|m| m["type"] == "unknown" || m["help"].as_str().is_none_or(str::is_empty))
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

/// The share of good answers; of a version that answered nothing there is none.
const GOOD: &str = r#"
[serve]
run = ["python3", "serve.py"]
drain = "1s"
[[deploy]]
environment = "production"
strategy = "canary"
steps = [{ weight = 50, hold = "1s" }]
[[deploy.analysis]]
name = "good"
prometheus = "http://ADDRESS"
query = '''
(sum(trimtab_router_requests_total{code="200",model="{{model}}",environment="{{environment}}",version="{{version}}"}) or vector(0))
/ sum(trimtab_router_requests_total{model="{{model}}",environment="{{environment}}",version="{{version}}"})
'''
min = 0.9
interval = "100ms"
error_limit = 2
"#;

#[test]
fn releases_go_on_and_are_rejected_by_what_prometheus_says_and_wait_when_it_says_nothing() {
    let (address, mut w) = (free(), World::new());
    let commit = |w: &World, seed: u32| {
        let rest = GOOD.replace("ADDRESS", &address.to_string());
        w.commit_model("fraud", &model("fraud", &w.path("count"), &format!(", seed = {seed}"), &rest));
    };
    let production = |w: &World| w.json(&["status", "fraud"])["summary"]["environments"][0].clone();
    let message =
        |w: &World| w.json(&["status", "fraud"])["summary"]["message"].as_str().unwrap_or_default().to_owned();
    let call = |w: &World| (0..10).for_each(|_| drop(w.get("/models/fraud/x")));
    commit(&w, 1);
    let daemon = w.start_tcp().0;
    w.wait_for("fraud", "version=v1");
    let prometheus = Prometheus::start(&w, &daemon, "200ms", address);

    // Nobody calls it: there is no figure, and the step waits beyond its hold.
    commit(&w, 2);
    until("the step waits for a figure", || message(&w) == "production: good, 0 of 1 good");
    let asked = Measured {
        environment: Name::new("production").unwrap(),
        model: Name::new("fraud").unwrap(),
        version: VersionNumber(2),
        stable: Some(VersionNumber(1)),
        compared_with: None,
        preview: None,
    };
    let measurer = Measurer { serve: w.state().join("serve") };
    let answer = |query: &str| {
        let metric = AnalysisMetric::Prometheus { address: format!("http://{address}/"), query: query.into() };
        measurer.ask(&metric, &asked)
    };
    assert_eq!(answer("sum(trimtab_router_requests_total{version=\"{{version}}\"})"), Answer::NoData);
    let run = production(&w)["rollout"].clone();
    assert_eq!((&run["phase"], &run["analysis"][0]["good"]), (&"step".into(), &0.into()), "{run}");

    // With calls there is one, and it is good.
    eventually("v2 takes all", Duration::from_secs(60), || {
        call(&w);
        (production(&w)["routed"] == 2).then_some(())
    });
    w.wait_for("fraud", "version=v2");

    // All of the next release's answers are bad.
    commit(&w, 666);
    let reason = eventually("the rejection", Duration::from_secs(60), || {
        call(&w);
        production(&w)["rejected"].as_str().map(str::to_owned)
    });
    assert_eq!(reason, "good 0.0000 < 0.9");
    until("stable has all", || production(&w)["routed"] == 2);

    // What else can be asked, and how the server's own words come back.
    assert_eq!(answer("vector(1) / 0"), Answer::Figures { new: f64::INFINITY, stable: None });
    assert_eq!(answer("scalar(vector(2))"), Answer::Figures { new: 2.0, stable: None });
    assert_eq!(answer("vector(0) / 0"), Answer::NoData);
    for (query, said) in [
        ("sum(", "the query is refused: "),
        ("trimtab_router_requests_total", " series, not one: sum them: trimtab_router_requests_total"),
        ("trimtab_router_requests_total[1m]", "the query gives no single figure: "),
        ("\"a\"", "the query gives no single figure: "),
    ] {
        let Answer::Failed(why) = answer(query) else { panic!("{query}") };
        assert!(why.contains(said), "{query}: {why}");
    }

    // A monitor that is away is no fault of the release: it is held, not rejected, and goes on when the monitor is back.
    drop(prometheus);
    commit(&w, 4);
    let paused =
        || production(&w)["rollout"]["phase"].as_str().filter(|p| p.starts_with("cannot be")).map(str::to_owned);
    let phase = eventually("the pause", Duration::from_secs(60), paused);
    let away = format!("good: http://{address} does not answer: Connection refused (os error 111)");
    assert_eq!(phase, format!("cannot be measured (3 times): {away}"));
    assert_eq!(message(&w), format!("production: {phase}; `trimtab rollout resume`"));
    let now = production(&w);
    assert_eq!(
        (&now["rejected"], &now["rollout"]["to"], &now["version"]),
        (&Value::Null, &4.into(), &2.into()),
        "{now}"
    );
    let _prometheus = Prometheus::start(&w, &daemon, "200ms", address);
    assert!(w.trimtab(&["rollout", "resume", "fraud"]).status.success());
    eventually("v4 takes all", Duration::from_secs(60), || {
        call(&w);
        (production(&w)["routed"] == 4).then_some(())
    });
}
