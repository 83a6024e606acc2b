//! `model.toml`: everything that can be checked from its own text.

use super::{
    decode::{Extra, File, Table},
    deploy,
    monitor::monitor,
    paths, pipeline,
    serve::{Registered, registered, serve},
    units::{duration, size},
};
use crate::model::*;
use litemap::LiteMap;
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
            let labels = t.table("labels").map(labels).unwrap_or_default();
            t.finish();
            name.map(|n| (n, owner, description, labels))
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
    let deploy = exact(deploy::chain(root).into_iter());
    if serve.is_none() && !deploy.is_empty() && !root.has("serve") {
        root.error_at("deploy", "there is nothing to deploy".into(), "add a [serve] table with `run`".into());
    }
    let slo = monitor(root);
    let train = train?;
    check_variables(root, &data, &stages, &train.stage);
    let ordered = pipeline::order(&train.stage, stages, &data)
        .map_err(|all| {
            for (field, message) in all {
                root.error_in(&field, message, "change `inputs` or `outputs`".into());
            }
        })
        .ok();
    let (name, owner, description, labels) = head?;
    Some(ModelSpec {
        name,
        owner,
        description,
        labels,
        data: data.into_iter().collect(),
        registered: registered.map(|taken| Box::new(taken.dataset)),
        stages: ordered?,
        code: train.code,
        executor: train.executor,
        finish_superseded: train.finish_superseded,
        gates,
        serve,
        deploy,
        slo,
    })
}

/// `labels = { team = "risk" }`.
fn labels(mut t: Table) -> LiteMap<String, String> {
    let keys = t.keys();
    let mut one = |key: String| {
        // As a filter of the fleet and a word of the command line can name them.
        let plain =
            |text: &str| match text.is_empty() || text.contains(|c: char| c.is_whitespace() || "=,!".contains(c)) {
                true => Err("write a word without spaces, `=`, `,` and `!`".to_owned()),
                false => Ok(text.to_owned()),
            };
        let name = t.checked_key(&key, plain)?;
        Some((name, t.checked(&key, plain)?))
    };
    keys.into_iter().filter_map(&mut one).collect()
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
