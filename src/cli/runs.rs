//! `trimtab runs` and `trimtab compare`: what is tracked, by pipelines and by clients of MLflow alike.

use super::{
    fail::{Failure, Outcome},
    global::Global,
    text::{ago, paint, table, table_in_colour, visible},
};
use crate::{
    api::client::Client,
    model::{BadName, Millis, Version},
    ports::Clock,
    process::SystemClock,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{collections::BTreeMap, process::ExitCode};

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Experiment or model; all experiments are listed when left out
    pub experiment: Option<String>,
    /// Only runs that this holds for, in MLflow's grammar
    #[arg(long, value_name = "FILTER")]
    pub filter: Option<String>,
    /// Order, such as "metrics.auc DESC"; the newest come first when left out
    #[arg(long, value_name = "ORDER")]
    pub order_by: Vec<String>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub limit: u32,
    /// A model's stages as they were executed, with cache key, attempt and outcome
    #[arg(long, requires = "experiment", conflicts_with_all = ["filter", "order_by"])]
    pub stages: bool,
}

#[derive(Debug, Clone, clap::Args)]
pub struct CompareArgs {
    /// Runs by id, or versions as MODEL@v7
    #[arg(required = true, num_args = 2..)]
    pub runs: Vec<String>,
}

#[derive(Deserialize)]
struct Pair {
    key: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
struct Metric {
    key: String,
    value: serde_json::Value,
}

#[derive(Deserialize)]
struct Info {
    run_id: String,
    experiment_id: String,
    run_name: String,
    #[serde(default)]
    user_id: String,
    status: String,
    start_time: i64,
    end_time: Option<i64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Data {
    metrics: Vec<Metric>,
    params: Vec<Pair>,
    tags: Vec<Pair>,
}

#[derive(Deserialize)]
struct RunDoc {
    info: Info,
    data: Data,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Found {
    runs: Vec<RunDoc>,
    experiments: Vec<ExperimentDoc>,
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
struct ExperimentDoc {
    experiment_id: String,
    name: String,
    last_update_time: i64,
}

/// A run as `--json` prints it. Times are milliseconds since the Unix epoch.
#[derive(Serialize)]
struct Shown {
    run_id: String,
    experiment_id: String,
    name: String,
    user: String,
    status: String,
    started: i64,
    ended: Option<i64>,
    /// A number, or `NaN` as a word.
    metrics: BTreeMap<String, serde_json::Value>,
    params: BTreeMap<String, String>,
    tags: BTreeMap<String, String>,
}

impl From<RunDoc> for Shown {
    fn from(run: RunDoc) -> Self {
        let pairs = |all: Vec<Pair>| all.into_iter().map(|p| (p.key, p.value)).collect();
        Self {
            run_id: run.info.run_id,
            experiment_id: run.info.experiment_id,
            name: run.info.run_name,
            user: run.info.user_id,
            status: run.info.status,
            started: run.info.start_time,
            ended: run.info.end_time,
            metrics: run.data.metrics.into_iter().map(|m| (m.key, m.value)).collect(),
            params: pairs(run.data.params),
            tags: pairs(run.data.tags),
        }
    }
}

const BASE: &str = "/api/2.0/mlflow";

fn query(name: &str, value: &str) -> String {
    form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish()
}

fn now() -> i64 {
    SystemClock::continuing(None).now().wall.0
}

/// A figure in as few characters as tell it.
fn figure(value: &serde_json::Value) -> String {
    match value.as_f64() {
        Some(n) if n == n.trunc() && n.abs() < 1e9 => format!("{n}"),
        Some(n) if n.abs() >= 1e6 || n.abs() < 1e-3 => format!("{n:.3e}"),
        Some(n) => format!("{n:.4}"),
        None => value.as_str().unwrap_or("-").to_owned(),
    }
}

fn took(run: &Shown) -> String {
    run.ended.map_or("-".into(), |ended| Millis(ended.saturating_sub(run.started).max(0) as u64).to_string())
}

pub fn runs(global: &Global, args: &Args) -> Outcome {
    let Some(experiment) = &args.experiment else { return experiments(global) };
    if args.stages {
        let model = experiment.parse().map_err(|e: BadName| Failure::with(64, e.to_string()))?;
        return super::observe::stages(global, &model);
    }
    let found = global.block(async {
        let client = global.client();
        let path = format!("{BASE}/experiments/get-by-name?{}", query("experiment_name", experiment));
        let known: serde_json::Value = client.get(&path).await?;
        let search = json!({
            "experiment_ids": [known["experiment"]["experiment_id"]],
            "filter": args.filter.as_deref().unwrap_or_default(),
            "order_by": args.order_by,
            "max_results": args.limit,
        });
        Ok(client.post::<Found>(&format!("{BASE}/runs/search"), &search).await?)
    })?;
    let more = found.next_page_token.is_some();
    let runs: Vec<Shown> = found.runs.into_iter().map(Shown::from).collect();
    if global.json {
        global.print(&runs)?;
        return Ok(ExitCode::SUCCESS);
    }
    if runs.is_empty() {
        match &args.filter {
            Some(_) => println!("No run of {} is as the filter asks.", visible(experiment)),
            None => println!("{} has no run yet.", visible(experiment)),
        }
        return Ok(ExitCode::SUCCESS);
    }
    print!("{}", listed(&runs));
    if more {
        println!("More runs than {} are there: ask with --limit, or narrow it by --filter.", args.limit);
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs with the metrics that most of them have.
fn listed(runs: &[Shown]) -> String {
    /// Columns of metrics and params that a table has room for.
    const COLUMNS: usize = 5;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    runs.iter().flat_map(|r| r.metrics.keys()).for_each(|k| *counts.entry(k).or_default() += 1);
    let mut keys: Vec<(&str, usize)> = counts.into_iter().collect();
    keys.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    keys.truncate(COLUMNS);
    let names: Vec<String> = keys.iter().map(|(k, _)| visible(k).to_uppercase()).collect();
    let mut head = vec!["RUN", "NAME", "STATUS", "STARTED", "TOOK", "USER"];
    head.extend(names.iter().map(String::as_str));
    let row = |r: &Shown| {
        let mut row = vec![
            visible(&r.run_id),
            visible(&r.name),
            r.status.clone(),
            format!("{} ago", ago(now() - r.started)),
            took(r),
            visible(&r.user),
        ];
        row.extend(keys.iter().map(|(k, _)| r.metrics.get(*k).map_or("-".into(), figure)));
        row
    };
    let rows: Vec<Vec<String>> = runs.iter().map(row).collect();
    table_in_colour(&head, &rows, |column, text| match (column, text) {
        (2, "FINISHED") => Some(32),
        (2, "FAILED" | "KILLED") => Some(31),
        (2, "RUNNING") => Some(33),
        _ => None,
    })
}

fn experiments(global: &Global) -> Outcome {
    let search = json!({"max_results": 1000, "order_by": ["last_update_time DESC"]});
    let found: Found =
        global.block(async { Ok(global.client().post(&format!("{BASE}/experiments/search"), &search).await?) })?;
    if global.json {
        let shown = |e: &ExperimentDoc| json!({"experiment_id": e.experiment_id, "name": e.name, "updated": e.last_update_time});
        global.print(&found.experiments.iter().map(shown).collect::<Vec<_>>())?;
        return Ok(ExitCode::SUCCESS);
    }
    let row = |e: &ExperimentDoc| {
        vec![visible(&e.name), e.experiment_id.clone(), format!("{} ago", ago(now() - e.last_update_time))]
    };
    let rows: Vec<Vec<String>> = found.experiments.iter().map(row).collect();
    print!("{}", table(&["EXPERIMENT", "ID", "CHANGED"], &rows));
    println!("`trimtab runs EXPERIMENT` lists the runs of one.");
    Ok(ExitCode::SUCCESS)
}

/// The run that is meant: by its id, or as the one that trained a version.
async fn named(client: &Client, name: &str) -> Result<Shown, Failure> {
    let id = match name.split_once('@') {
        None => name.to_owned(),
        Some((model, version)) => {
            let path = format!("/api/v1/models/{model}/versions/{}", version.trim_start_matches('v'));
            let version: Version = client.get(&path).await?;
            let trained = version.stages.iter().find(|s| s.name.as_str() == "train");
            trained.map(|s| s.run.0.clone()).ok_or_else(|| Failure::new(format!("{name} was not trained by a run")))?
        }
    };
    #[derive(Deserialize)]
    struct One {
        run: RunDoc,
    }
    let one: One = client.get(&format!("{BASE}/runs/get?{}", query("run_id", &id))).await?;
    Ok(one.run.into())
}

pub fn compare(global: &Global, args: &CompareArgs) -> Outcome {
    let runs: Vec<Shown> = global.block(async {
        let client = global.client();
        let mut all = vec![];
        for name in &args.runs {
            all.push(named(&client, name).await?);
        }
        Ok(all)
    })?;
    if global.json {
        global.print(&json!({
            "runs": runs,
            "differing_params": differing(&runs),
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    print!("{}", compared(&runs));
    Ok(ExitCode::SUCCESS)
}

/// Params that are not the same in all runs.
fn differing(runs: &[Shown]) -> Vec<String> {
    let mut keys: Vec<&String> = runs.iter().flat_map(|r| r.params.keys()).collect();
    keys.sort();
    keys.dedup();
    let differs = |key: &&String| {
        let mut values = runs.iter().map(|r| r.params.get(*key));
        let first = values.next();
        values.any(|v| Some(v) != first)
    };
    keys.into_iter().filter(differs).cloned().collect()
}

fn compared(runs: &[Shown]) -> String {
    let mut head = vec![String::new()];
    head.extend(runs.iter().map(|r| visible(&r.name)));
    if runs.len() == 2 {
        head.push("CHANGE".into());
    }
    let line = |name: &str, value: &dyn Fn(&Shown) -> String| {
        let mut row = vec![name.to_owned()];
        row.extend(runs.iter().map(value));
        row
    };
    let mut rows = vec![
        line("run", &|r| visible(&r.run_id)),
        line("status", &|r| r.status.clone()),
        line("started", &|r| format!("{} ago", ago(now() - r.started))),
        line("took", &took),
    ];
    let differing = differing(runs);
    rows.extend(differing.iter().map(|key| {
        line(&format!("param {}", visible(key)), &|r| r.params.get(key).map_or("-".into(), |v| visible(v)))
    }));
    let mut keys: Vec<&String> = runs.iter().flat_map(|r| r.metrics.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let mut row = line(&format!("metric {}", visible(key)), &|r| r.metrics.get(key).map_or("-".into(), figure));
        if let [a, b] = runs {
            let number = |r: &Shown| r.metrics.get(key).and_then(serde_json::Value::as_f64);
            row.push(number(a).zip(number(b)).map_or(String::new(), |(a, b)| change(a, b)));
        }
        rows.push(row);
    }
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let same = runs.first().map_or(0, |r| r.params.len()).saturating_sub(differing.len());
    let note = match (differing.len(), same) {
        (0, 0) => String::new(),
        (0, n) => format!("{}\n", paint(&format!("All {n} params are the same."), 2)),
        (_, 0) => String::new(),
        (_, n) => format!("{}\n", paint(&format!("{n} more params are the same."), 2)),
    };
    table(&head, &rows) + &note
}

/// `+0.0120 (+1.3 %)`.
fn change(from: f64, to: f64) -> String {
    let by = to - from;
    if by == 0.0 {
        return "same".into();
    }
    let share = if from == 0.0 { String::new() } else { format!(" ({:+.1} %)", by / from.abs() * 100.0) };
    format!("{by:+.4}{share}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(id: &str, depth: &str, auc: f64) -> Shown {
        let run = json!({"info": {"run_id": id, "experiment_id": "1", "run_name": format!("train {id}"), "status": "FINISHED",
            "start_time": 0, "end_time": 2500},
            "data": {"metrics": [{"key": "auc", "value": auc}, {"key": "loss", "value": "NaN"}],
            "params": [{"key": "depth", "value": depth}, {"key": "seed", "value": "1"}]}});
        serde_json::from_value::<RunDoc>(run).unwrap().into()
    }

    #[test]
    fn what_differs_is_shown_and_what_is_the_same_is_counted() {
        let text = compared(&[run("a", "6", 0.9), run("b", "8", 0.912)]);
        assert!(text.contains("param depth") && !text.contains("param seed"), "{text}");
        assert!(text.contains("+0.0120 (+1.3 %)") && text.contains("NaN"), "{text}");
        assert!(text.ends_with("1 more params are the same.\n"), "{text}");
    }

    #[test]
    fn figures_are_short() {
        for (value, text) in [(0.91234, "0.9123"), (12.0, "12"), (1e-9, "1.000e-9"), (2.5e7, "25000000"), (0.0, "0")] {
            assert_eq!(figure(&json!(value)), text);
        }
    }
}
