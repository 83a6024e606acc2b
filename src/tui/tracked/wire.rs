//! MLflow's documents, as far as they are shown.

use super::{Experiment, Figure, Newest, Point, Status, TrackedRun, WholeRun};
use crate::model::RunId;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
pub struct Pair {
    key: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
pub struct Metric {
    pub key: String,
    value: Figure,
    #[serde(default)]
    timestamp: i64,
    #[serde(default)]
    step: i64,
    #[serde(default)]
    pub run_id: Option<RunId>,
}

impl Metric {
    pub fn point(&self) -> Point {
        Point { step: self.step, time: self.timestamp, value: self.value }
    }
}

#[derive(Deserialize)]
struct Info {
    run_id: RunId,
    #[serde(default)]
    run_name: String,
    #[serde(default)]
    user_id: String,
    #[serde(default)]
    status: Status,
    #[serde(default)]
    start_time: i64,
    end_time: Option<i64>,
}

/// What lists show: params and tags of a thousand runs are not even read.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Brief {
    metrics: Vec<Metric>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Whole {
    metrics: Vec<Metric>,
    params: Vec<Pair>,
    tags: Vec<Pair>,
}

#[derive(Deserialize)]
pub struct RunDoc<D> {
    info: Info,
    data: D,
}

#[derive(Deserialize)]
pub struct One {
    pub run: RunDoc<Whole>,
}

#[derive(Deserialize)]
pub struct Page {
    #[serde(default = "Vec::new")]
    pub runs: Vec<RunDoc<Brief>>,
    #[serde(default)]
    pub next_page_token: Option<String>,
}

#[derive(Deserialize)]
pub struct History {
    #[serde(default)]
    pub metrics: Vec<Metric>,
}

#[derive(Deserialize)]
pub struct Known {
    pub experiment: Experiment,
}

#[derive(Deserialize)]
pub struct All {
    #[serde(default)]
    pub experiments: Vec<Experiment>,
}

fn run(info: Info, metrics: Vec<Metric>) -> TrackedRun {
    let newest = |m: &Metric| Newest { value: m.value, step: m.step, time: m.timestamp };
    TrackedRun {
        id: info.run_id,
        name: info.run_name,
        user: info.user_id,
        status: info.status,
        started: info.start_time,
        ended: info.end_time,
        metrics: metrics.into_iter().map(|m| (newest(&m), m.key)).map(|(n, key)| (key, n)).collect(),
    }
}

impl From<RunDoc<Brief>> for TrackedRun {
    fn from(doc: RunDoc<Brief>) -> Self {
        run(doc.info, doc.data.metrics)
    }
}

impl From<RunDoc<Whole>> for WholeRun {
    fn from(doc: RunDoc<Whole>) -> Self {
        let pairs =
            |all: Vec<Pair>| -> BTreeMap<String, String> { all.into_iter().map(|p| (p.key, p.value)).collect() };
        let Whole { metrics, params, tags } = doc.data;
        Self { run: run(doc.info, metrics), params: pairs(params), tags: pairs(tags) }
    }
}
