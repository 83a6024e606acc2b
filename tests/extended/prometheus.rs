//! A real Prometheus scrapes a real daemon (Debian: `apt-get install prometheus`).

use crate::fleet::busy;
use serde_json::Value;
use std::{
    fs,
    io::Write,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

struct Ended(Child);
impl Drop for Ended {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
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
    let config = w.path("prometheus.yml");
    let target = c.url.trim_start_matches("http://");
    let token = w.state().join("token");
    let scrape = format!(
        "scrape_configs:\n  - job_name: trimtab\n    scrape_interval: 1s\n    scrape_timeout: 1s\n    authorization: {{ credentials_file: {} }}\n    \
         static_configs: [{{ targets: [\"{target}\"] }}]\n",
        token.display()
    );
    fs::write(&config, scrape).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let _prometheus = Ended(
        Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--web.listen-address={free}"))
            .arg(format!("--storage.tsdb.path={}", w.path("tsdb").display()))
            .arg("--log.level=error")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus: apt-get install prometheus"),
    );
    let client = reqwest::blocking::Client::builder().no_proxy().build().unwrap();
    let ask = |query: &str| -> Option<f64> {
        let answer = client.get(format!("http://{free}/api/v1/query")).query(&[("query", query)]).send().ok()?;
        let answer: Value = answer.json().ok()?;
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    };
    // Prometheus tells nobody of a scrape: it is asked until one shows.
    let until = Instant::now() + Duration::from_secs(60);
    while ask("up{job=\"trimtab\"}") != Some(1.0) {
        assert!(Instant::now() < until, "it was never scraped");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(ask("sum(trimtab_router_requests_total{model=\"fraud\",code=\"200\"})"), Some(20.0));
    assert_eq!(ask("trimtab_gate_failures_total{model=\"weak\"}"), Some(1.0));
    assert_eq!(ask("sum(trimtab_trainings_total{model=\"fraud\",result=\"succeeded\"})"), Some(2.0));
    let p99 = "histogram_quantile(0.99, sum by (le) (trimtab_router_request_duration_seconds_bucket))";
    assert!(ask(p99).is_some_and(|s| s > 0.0 && s < 10.0), "{:?}", ask(p99));
    assert!(ask("process_resident_memory_bytes").is_some_and(|b| b > 1e6));
    let metadata: Value = client.get(format!("http://{free}/api/v1/targets/metadata")).send().unwrap().json().unwrap();
    let unknown: Vec<&Value> = metadata["data"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|m| m["type"] == "unknown" || m["help"].as_str().is_none_or(str::is_empty))
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
