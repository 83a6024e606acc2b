//! A daemon with its API on TCP, and a fleet in which everything that an answer can show is there.

use crate::support::{SERVED, World, model};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader},
    time::Duration,
};

/// Holds a new version at half of the traffic.
const HELD: &str = "[serve]\nrun = [\"python3\", \"serve.py\"]\n[[deploy]]\nenvironment = \"production\"\nstrategy = \"canary\"\n\
                    steps = [{ weight = 50, hold = \"1h\" }]\n[[deploy.analysis]]\nmetric = \"error_rate\"\nmax = 0.5\n";

pub struct Caller {
    pub url: String,
    pub token: String,
    pub client: reqwest::blocking::Client,
}

pub struct Answered {
    pub status: u16,
    pub media: String,
    pub body: String,
}

impl Caller {
    pub fn new((url, token): (String, String)) -> Self {
        let client = reqwest::blocking::Client::builder().no_proxy().build().unwrap();
        Self { url, token, client }
    }
    pub fn call(&self, method: &str, path: &str, body: Option<&str>) -> Answered {
        let method = method.to_uppercase().parse().unwrap();
        let mut request = self.client.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_owned());
        }
        let answer = request.send().unwrap();
        let media = answer.headers().get("content-type").map_or("", |t| t.to_str().unwrap());
        let media = media.split(';').next().unwrap().to_owned();
        Answered { status: answer.status().as_u16(), media, body: answer.text().unwrap() }
    }
    /// Reads the daemon's events until each of these (kind, model) came.
    fn until(&self, wanted: &[(&str, &str)]) {
        let request = self.client.get(format!("{}/api/v1/events?after=0", self.url)).bearer_auth(&self.token);
        let stream = request.header("accept", "text/event-stream").timeout(Duration::from_secs(90)).send().unwrap();
        let mut left = wanted.to_vec();
        for line in BufReader::new(stream).lines() {
            let line = line.unwrap_or_else(|e| panic!("{e}: {left:?} never came"));
            let Some(data) = line.strip_prefix("data:") else { continue };
            let event: Value = serde_json::from_str(data).unwrap();
            left.retain(|(kind, model)| event["kind"] != **kind || event["model"] != **model);
            if left.is_empty() {
                return;
            }
        }
        panic!("the stream ended before {left:?}");
    }
    pub fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.call("get", path, None).body).unwrap()
    }
}

/// A fleet in which everything that an answer can show is there: versions, a canary, a failed gate, a failed run, a broken spec.
pub fn busy() -> (World, Caller) {
    let mut w = World::new();
    let count = w.path("count");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", HELD));
    let caller = Caller::new(w.start_tcp());
    w.wait_for("fraud", "version=v1");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 2", HELD));
    w.commit_model(
        "weak",
        &model("weak", &count, ", seed = 3", &format!("[[gate]]\nmetric = \"score\"\nmin = 2.0\n{SERVED}")),
    );
    w.commit_model("fails", &model("fails", &w.path("no/such/folder"), ", seed = 4", SERVED));
    w.commit_model("broken", &model("broken", &count, ", seed = 5", "parms = {}\n"));
    caller.until(&[
        ("rollout_step", "fraud"),
        ("gate_failed", "weak"),
        ("run_failed", "fails"),
        ("spec_broken", "broken"),
    ]);
    (w, caller)
}
