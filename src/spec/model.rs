//! `model.toml`: everything that can be checked from its own text.

use super::{
    decode::{Extra, File, Table},
    paths, pipeline,
    serve::{Registered, registered, serve},
    units::{duration, size},
};
use crate::model::*;
use std::collections::BTreeMap;

/// Reads a model spec.
pub fn parse(path: &str, bytes: &[u8]) -> Result<(ModelSpec, Extra), Vec<Diagnostic>> {
    File::read(path, bytes, super::load::SCHEMA, model).and_then(|(spec, extra)| match spec {
        Some(spec) => Ok((spec, extra)),
        // A missing part was noted as an error, so this is not reached; the type asks for it.
        None => Err(extra.warnings),
    })
}

fn model(root: &mut Table) -> Option<ModelSpec> {
    let head = match root.table("model") {
        Some(mut t) => {
            let name = if t.has("name") { t.name("name") } else { t.required("name").and(None) };
            let (owner, description) = (t.text("owner"), t.text("description"));
            t.finish();
            name.map(|n| (n, owner, description))
        }
        None => {
            root.error("missing table `[model]` with a `name`".into());
            None
        }
    };
    let mut data = data(root);
    let serve_table = root.table("serve");
    let registered = serve_table.is_some().then(|| registered(root)).flatten();
    let train = match &registered {
        Some(taken) => taken_over(root, taken, &mut data),
        None => train(root),
    };
    let stages: Vec<StageSpec> = root.tables("stage").into_iter().filter_map(|t| stage(t, &data)).collect();
    let gates = exact(root.tables("gate").into_iter().filter_map(gate));
    let serve = serve_table.and_then(serve);
    let deploy: Vec<Option<DeploySpec>> = root.tables("deploy").into_iter().map(deploy).collect();
    check_chain(root, &deploy);
    let deploy = exact(deploy.into_iter().flatten());
    if serve.is_none() && !deploy.is_empty() && !root.has("serve") {
        root.error_at("deploy", "there is nothing to deploy".into(), "add a [serve] table with `run`".into());
    }
    monitor(root);
    let train = train?;
    let needs_packages = serve.as_ref().is_some_and(|s| matches!(s.run, Serving::Runtime(Runtime::Mlflow(_))));
    if needs_packages && train.stage.python.is_none() {
        root.warn_at(
            "serve",
            "the model is served by whichever python3 the machine has, which must have mlflow".into(),
            "name the model's requirements by `python` of [train], or of [serve] beside `model`".into(),
        );
    }
    check_variables(root, &data, &stages, &train.stage);
    let ordered = pipeline::order(&train.stage, stages, &data)
        .map_err(|all| {
            for (field, message) in all {
                root.error_in(&field, message, "change `inputs` or `outputs`".into());
            }
        })
        .ok();
    let (name, owner, description) = head?;
    Some(ModelSpec {
        name,
        owner,
        description,
        data,
        registered: registered.map(|taken| Box::new(taken.dataset)),
        stages: ordered?,
        code: train.code,
        executor: train.executor,
        finish_superseded: train.finish_superseded,
        gates,
        serve,
        deploy,
    })
}

/// With no room to spare: specs stay in memory, thousands of them, and never grow.
fn exact<T>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut all: Vec<T> = items.collect();
    all.shrink_to_fit();
    all
}

fn data(root: &mut Table) -> BTreeMap<Name, Name> {
    let mut out = BTreeMap::new();
    let Some(mut table) = root.table("data") else { return out };
    for key in table.keys() {
        let input = table.checked_key(&key, |k| Name::new(k).map_err(|e| e.to_string()));
        let dataset = table.checked(&key, |s| Name::new(s).map_err(|e| e.to_string()));
        if let (Some(input), Some(dataset)) = (input, dataset) {
            out.insert(input, dataset);
        }
    }
    out
}

/// The input under which a registered model comes.
const MODEL_INPUT: &str = "model";

/// A registered model is taken over as a version by a stage that copies it, so that it is pinned, gated and rolled back like any other.
fn taken_over(root: &mut Table, taken: &Registered, data: &mut BTreeMap<Name, Name>) -> Option<Train> {
    const COPY: &str = "cp -R \"$TRIMTAB_INPUT_MODEL/files/.\" \"$TRIMTAB_OUTPUT\" && cp \"$TRIMTAB_INPUT_MODEL/metrics.jsonl\" \"$TRIMTAB_METRICS\"";
    for table in ["train", "stage"].into_iter().filter(|table| root.has(table)) {
        let message = format!(
            "a model is either trained or taken from the registry: [{table}] and `model` of [serve] exclude each other"
        );
        root.error_at(table, message, "remove one of them".into());
    }
    if !data.is_empty() {
        root.error_at("data", "a model that is taken from the registry reads no data".into(), "remove [data]".into());
    }
    *data = BTreeMap::from([(Name::new(MODEL_INPUT).ok()?, taken.dataset.name.clone())]);
    let stage = StageSpec {
        name: Name::new("train").ok()?,
        run: Command::Shell(COPY.into()),
        inputs: vec![],
        outputs: vec![],
        python: taken.python.clone(),
        params: Params::default(),
        timeout: None,
        retries: 0,
        memory: None,
        secrets: vec![],
    };
    Some(Train { stage, code: taken.code.clone(), executor: Name::new("local").ok()?, finish_superseded: false })
}

struct Train {
    stage: StageSpec,
    code: String,
    executor: Name,
    finish_superseded: bool,
}

fn train(root: &mut Table) -> Option<Train> {
    let Some(mut t) = root.table("train") else {
        root.error("missing table `[train]` with `run`".into());
        return None;
    };
    let code = t.parsed("code", paths::relative);
    let has_code = t.has("code");
    let executor = t.parsed("executor", |s| match s {
        "local" => Name::new(s).map_err(|e| e.to_string()),
        _ => Err("this version has the executor \"local\"".into()),
    });
    let local = || Name::new("local").ok();
    let executor = if t.has("executor") { executor } else { local() };
    let finish_superseded = t.flag("finish_superseded").unwrap_or(false);
    let stage = common(&mut t, Name::new("train").ok()?);
    t.finish();
    let code = if has_code { code? } else { ".".into() };
    Some(Train { stage: stage?, code, executor: executor?, finish_superseded })
}

fn common(t: &mut Table, name: Name) -> Option<StageSpec> {
    let run = t.command("run");
    let inputs = t.texts("inputs").unwrap_or_default();
    let python = t.parsed("python", paths::relative);
    let params = t.params("params");
    let timeout = t.parsed("timeout", duration);
    if timeout == Some(Millis(0)) {
        t.error_at("timeout", "a time limit of 0 stops every run".into(), "leave it out for no limit".into());
    }
    let retries = t.whole("retries", 0, 20).unwrap_or(0) as u32;
    let secrets = secrets(t);
    let memory = memory(t);
    Some(StageSpec { name, run: run?, inputs, outputs: vec![], python, params, timeout, retries, memory, secrets })
}

/// Names that would be one environment variable: a script would get one of them and never know of the other.
fn check_variables(root: &Table, data: &BTreeMap<Name, Name>, stages: &[StageSpec], train: &StageSpec) {
    let mut inputs: BTreeMap<String, String> = BTreeMap::new();
    let mut take = |field: &str, name: &str| {
        let variable = pipeline::variable(name);
        if let Some(other) = inputs.insert(variable.clone(), name.to_owned()).filter(|other| other != name) {
            let message = format!("`{name}` and `{other}` would both be TRIMTAB_INPUT_{variable}");
            root.error_in(field, message, "rename one".into());
        }
    };
    data.keys().for_each(|input| take(&format!("data.{input}"), input.as_str()));
    for stage in stages {
        stage.outputs.iter().for_each(|o| take(&format!("stage.{}.outputs", stage.name), o));
    }
    for stage in stages.iter().chain([train]) {
        let mut params: BTreeMap<String, &String> = BTreeMap::new();
        for name in stage.params.keys() {
            if let Some(other) = params.insert(pipeline::variable(name), name) {
                let field = match stage.name.as_str() {
                    "train" => format!("train.params.{name}"),
                    other => format!("stage.{other}.params.{name}"),
                };
                root.error_in(
                    &field,
                    format!("params `{name}` and `{other}` would be one variable"),
                    "rename one".into(),
                );
            }
        }
    }
}

/// `resources = { memory = "2Gi" }`.
pub(super) fn memory(t: &mut Table) -> Option<u64> {
    let mut resources = t.table("resources")?;
    let memory = resources.parsed("memory", size);
    resources.finish();
    memory
}

/// Variables that every run has already, besides those that begin with `TRIMTAB_`.
const OWN: &[&str] = &[
    "PATH",
    "HOME",
    "LANG",
    "TZ",
    "TMPDIR",
    "USER",
    "PORT",
    "VIRTUAL_ENV",
    "PYTHONUNBUFFERED",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NVIDIA_VISIBLE_DEVICES",
    "CUDA_VISIBLE_DEVICES",
];

pub(super) fn secrets(t: &mut Table) -> Vec<String> {
    let names = t.texts("secrets").unwrap_or_default();
    let good = |n: &String| {
        !n.is_empty()
            && n.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !n.starts_with(|c: char| c.is_ascii_digit())
    };
    for bad in names.iter().filter(|n| !good(n)) {
        t.error_at(
            "secrets",
            format!("`{bad}` is no name of an environment variable"),
            "write names, never values".into(),
        );
    }
    if let Some(taken) = names.iter().find(|n| n.starts_with("TRIMTAB_") || OWN.contains(&n.as_str())) {
        t.error_at(
            "secrets",
            format!("`{taken}` is a variable of trimtab's own, never a secret of a run"),
            "give the secret another name in the daemon's environment".into(),
        );
    }
    names
}

fn stage(mut t: Table, data: &BTreeMap<Name, Name>) -> Option<StageSpec> {
    let name = if t.has("name") { t.name("name") } else { t.required("name").and(None) };
    let path = name.as_ref().map(|n| format!("stage.{n}"));
    let mut t = match path {
        Some(p) => t.under(&p),
        None => t,
    };
    if name.as_ref().is_some_and(|n| n.as_str() == "train") {
        t.error_at("name", "the stage `train` is the table [train]".into(), "take another name".into());
    }
    let outputs = t.texts("outputs").unwrap_or_default();
    for output in &outputs {
        if let Err(e) = paths::relative(output) {
            t.error_at("outputs", format!("bad output `{output}`"), e);
        }
        if output == "artifact" || data.keys().any(|d| d.as_str() == output) {
            t.error_at("outputs", format!("`{output}` is the name of an input"), "take another path".into());
        }
    }
    let stage = name.and_then(|n| common(&mut t, n));
    t.finish();
    stage.map(|s| StageSpec { outputs, ..s })
}

fn gate(mut t: Table) -> Option<GateSpec> {
    let metric = t.required("metric");
    let (min, max) = (t.number("min"), t.number("max"));
    let live = t.parsed("no_worse_than", |s| if s == "live" { Ok(()) } else { Err("write \"live\"".into()) });
    let tolerance = t.number("tolerance").unwrap_or(0.0);
    let better = t.parsed("better", |s| match s {
        "higher" => Ok(true),
        "lower" => Ok(false),
        _ => Err("write \"higher\" or \"lower\"".into()),
    });
    if min.is_none() && max.is_none() && !t.has("no_worse_than") {
        t.error("a gate needs `min`, `max` or `no_worse_than = \"live\"`".into());
    }
    if tolerance < 0.0 {
        t.error_at("tolerance", "`tolerance` is negative".into(), "write 0 or more".into());
    }
    if let (Some(a), Some(b)) = (min, max)
        && a > b
    {
        t.error_at("min", "`min` is larger than `max`: no version can pass".into(), "swap them".into());
    }
    t.finish();
    Some(GateSpec {
        metric: metric?,
        min,
        max,
        no_worse_than_live: live.is_some(),
        tolerance,
        higher_is_better: better.unwrap_or(true),
    })
}

fn deploy(mut t: Table) -> Option<DeploySpec> {
    let environment = if t.has("environment") { t.name("environment") } else { t.required("environment").and(None) };
    let after = t.name("after");
    let canary = t.parsed("strategy", |s| match s {
        "canary" => Ok(true),
        "at_once" => Ok(false),
        _ => Err("this version has \"at_once\" and \"canary\"".into()),
    });
    let steps: Vec<StepSpec> = t.tables("steps").into_iter().filter_map(step).collect();
    let rising = steps.windows(2).all(|w| w[0].weight < w[1].weight);
    if !rising {
        t.error_at("steps", "the weights of the steps must rise".into(), "order them".into());
    }
    let strategy = match canary {
        Some(true) if steps.is_empty() && t.tables("steps").is_empty() => {
            t.error("a canary needs `steps`, such as [{ weight = 10, hold = \"5m\" }]".into());
            Strategy::AtOnce
        }
        Some(true) => Strategy::Canary { steps },
        _ if !steps.is_empty() => {
            t.error_at("steps", "`steps` belong to strategy = \"canary\"".into(), "add it".into());
            Strategy::AtOnce
        }
        _ => Strategy::AtOnce,
    };
    let analysis = t.tables("analysis").into_iter().filter_map(analysis).collect();
    t.finish();
    Some(DeploySpec { environment: environment?, after, strategy, analysis })
}

fn step(mut t: Table) -> Option<StepSpec> {
    let weight = t.number("weight");
    let good = weight.filter(|w| *w > 0.0 && *w <= 100.0);
    if good.is_none() {
        t.error_at("weight", "`weight` must be above 0 and at most 100".into(), "percent of the traffic".into());
    }
    let hold = t.parsed("hold", duration);
    if !t.has("hold") {
        t.error("a step needs `hold`, such as \"5m\"".into());
    }
    t.finish();
    Some(StepSpec { weight: good?, hold: hold? })
}

fn analysis(mut t: Table) -> Option<AnalysisSpec> {
    let metric = t.parsed("metric", |s| match s {
        "error_rate" => Ok(AnalysisMetric::ErrorRate),
        "latency_p50" => Ok(AnalysisMetric::LatencyP50),
        "latency_p99" => Ok(AnalysisMetric::LatencyP99),
        _ => Err("the router measures error_rate, latency_p50 and latency_p99".into()),
    });
    if !t.has("metric") {
        t.error("an analysis needs `metric`".into());
    }
    let rate = metric == Some(AnalysisMetric::ErrorRate);
    let mut bound = |key| {
        if rate { t.number(key) } else { t.parsed(key, duration).map(|m| m.0 as f64) }
    };
    let (min, max) = (bound("min"), bound("max"));
    if !t.has("min") && !t.has("max") {
        t.error("an analysis needs `max` or `min`".into());
    }
    for (key, value) in [("min", min), ("max", max)] {
        if rate && value.is_some_and(|v| !(0.0..=1.0).contains(&v)) {
            t.error_at(key, format!("`{key}` of an error rate is from 0 to 1"), "such as 0.01 for 1 %".into());
        }
    }
    if min.zip(max).is_some_and(|(a, b)| a > b) {
        t.error_at("min", "`min` is larger than `max`: every release breaks one of them".into(), "swap them".into());
    }
    let min_requests = t.whole("min_requests", 1, 1_000_000_000).unwrap_or(20);
    t.finish();
    Some(AnalysisSpec { metric: metric?, min, max, min_requests })
}

/// Environments once each; `after` names one that stands before.
fn check_chain(root: &Table, deploy: &[Option<DeploySpec>]) {
    for (i, d) in deploy.iter().enumerate() {
        let Some(d) = d else { continue };
        let before = || deploy[..i].iter().flatten();
        if before().any(|other| other.environment == d.environment) {
            let message = format!("environment `{}` is deployed to twice", d.environment);
            root.error_in(&format!("deploy.{i}.environment"), message, "keep one".into());
        }
        // One that cannot be read may be the one that is meant.
        let unread = deploy[..i].iter().any(Option::is_none);
        if let Some(after) = &d.after
            && !unread
            && !before().any(|other| other.environment == *after)
        {
            let message = format!("`{}` comes after `{after}`, which does not stand before it", d.environment);
            let label = "order the [[deploy]] tables; a circle is refused".into();
            root.error_in(&format!("deploy.{i}.after"), message, label);
        }
    }
}

/// `[monitor]` is checked, so that specs written for it stay valid; this version does not act on it, and says so.
fn monitor(root: &mut Table) {
    let Some(mut t) = root.table("monitor") else { return };
    root.warn_at(
        "monitor",
        "`[monitor]` is checked but not acted on by this version".into(),
        "no drift is watched yet".into(),
    );
    if let Some(mut d) = t.table("drift") {
        let interval = |s: &str| match duration(s)? {
            Millis(0) => Err("write more than 0".to_owned()),
            some => Ok(some),
        };
        d.text("method");
        share(&mut d, "share");
        d.parsed("window", interval);
        d.parsed("every", interval);
        d.parsed("on_drift", |s| match s {
            "retrain" | "alert" => Ok(()),
            _ => Err("write \"retrain\" or \"alert\"".into()),
        });
        d.finish();
    }
    if let Some(mut s) = t.table("slo") {
        s.parsed("latency_p99", duration);
        share(&mut s, "availability");
        s.finish();
    }
    t.finish();
}

fn share(t: &mut Table, key: &'static str) {
    if t.number(key).is_some_and(|n| !(0.0..=1.0).contains(&n)) {
        t.error_at(key, format!("`{key}` is from 0 to 1"), "such as 0.999".into());
    }
}
