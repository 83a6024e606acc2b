//! Why a model changes: field by field, with line, commit and author.

use crate::model::*;
use serde_json::Value;
use std::collections::BTreeMap;

/// Which consequence a field has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Part of the fingerprint.
    Retrain,
    /// Anything else.
    Apply,
}

/// One field that differs between two desired models.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldChange {
    pub effect: Effect,
    pub reason: Reason,
}

/// All fields that differ, in the order of their names. With no old model: the one reason is that it is new.
pub fn changes(old: Option<&DesiredModel>, new: &DesiredModel) -> Vec<FieldChange> {
    let by = |field: &str, old: Option<String>, newer: Option<String>| Reason {
        field: field.to_owned(),
        old,
        new: newer,
        place: Some(place(new, field)),
        commit: Some(new.changed_by.commit.clone()),
        author: Some(new.changed_by.author.clone()),
    };
    let Some(old) = old else {
        return vec![FieldChange { effect: Effect::Retrain, reason: by("new model", None, None) }];
    };
    let (before, after) = (fields(old), fields(new));
    let keys: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    keys.into_iter()
        .filter(|k| before.get(*k) != after.get(*k))
        .map(|k| {
            let show = |m: &BTreeMap<String, String>| m.get(k).cloned();
            FieldChange { effect: effect(k), reason: by(k, show(&before), show(&after)) }
        })
        .collect()
}

/// A reason that is more than one field of the spec, with the commit that asks for it.
pub fn asked(model: &DesiredModel, field: &str, old: Option<String>, new: Option<String>) -> Reason {
    let line = nearest_line(model, field);
    Reason {
        field: field.to_owned(),
        old,
        new,
        place: line.map(|l| format!("{}:{l}", model.file)),
        commit: Some(model.changed_by.commit.clone()),
        author: Some(model.changed_by.author.clone()),
    }
}

/// These, or where there are none, that one: no action is without a reason.
pub fn or(reasons: Vec<Reason>, otherwise: impl FnOnce() -> Reason) -> Vec<Reason> {
    if reasons.is_empty() { vec![otherwise()] } else { reasons }
}

fn effect(field: &str) -> Effect {
    let retrains = ["code", "data.", "dataset.", "train.run", "train.params", "train.python", "train.inputs", "stage."];
    let harmless = [".timeout", ".retries", ".secrets"];
    let hit = retrains.iter().any(|p| field.starts_with(p)) && !harmless.iter().any(|s| field.ends_with(s));
    if hit { Effect::Retrain } else { Effect::Apply }
}

/// Where a person finds the field.
fn place(model: &DesiredModel, field: &str) -> String {
    let specs = model.file.find("models/").map_or("", |at| &model.file[..at]);
    let shared = |what: &str| {
        let name = field.strip_prefix(what)?.strip_prefix('.')?.split('.').next()?;
        Some(name.to_owned())
    };
    if let Some(name) = shared("environment") {
        return format!("{specs}environments/{name}.toml");
    }
    if let Some(name) = shared("dataset") {
        return format!("{specs}datasets/{name}.toml");
    }
    if field == "code" {
        return model.code_path.clone();
    }
    nearest_line(model, field).map_or(model.file.clone(), |l| format!("{}:{l}", model.file))
}

fn nearest_line(model: &DesiredModel, field: &str) -> Option<u32> {
    let mut key = field;
    loop {
        if let Some(line) = model.lines.get(key) {
            return Some(line);
        }
        key = key.rsplit_once('.')?.0;
    }
}

/// Every field that a person may have changed, flat and as text.
fn fields(model: &DesiredModel) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let mut spec = serde_json::to_value(&model.spec).unwrap_or_default();
    if let Some(Value::Array(stages)) = spec.as_object_mut().and_then(|o| o.remove("stages")) {
        for mut stage in stages {
            let name = stage.as_object_mut().and_then(|o| o.remove("name")).unwrap_or_default();
            let name = name.as_str().unwrap_or_default();
            let prefix = if name == "train" { "train".to_owned() } else { format!("stage.{name}") };
            flatten(&prefix, &stage, &mut out);
        }
    }
    flatten("", &spec, &mut out);
    out = out.into_iter().map(|(field, value)| as_written(field, value)).collect();
    out.insert("code".into(), model.code.short());
    for (file, digest) in &model.python {
        out.insert(format!("train.python.{file}"), digest.short());
    }
    for (input, pin) in &model.lock {
        out.insert(format!("data.{input}.snapshot"), pin.snapshot.short());
    }
    for (name, dataset) in &model.datasets {
        flatten(&format!("dataset.{name}"), &serde_json::to_value(&dataset.source).unwrap_or_default(), &mut out);
    }
    for (name, environment) in &model.environments {
        let mut value = serde_json::to_value(environment).unwrap_or_default();
        if let Some(o) = value.as_object_mut() {
            o.remove("description");
        }
        let mut fields = BTreeMap::new();
        flatten(&format!("environment.{name}"), &value, &mut fields);
        out.extend(fields.into_iter().map(|(field, value)| as_written(field, value)));
    }
    out
}

/// A field and its value as the spec's author writes them.
fn as_written(field: String, value: String) -> (String, String) {
    const TIMES: &[&str] = &["hold", "timeout", "ready_timeout", "drain", "keep_warm", "soak", "duration"];
    let field = match field.strip_prefix("gates.") {
        Some(rest) => format!("gate.{rest}"),
        None => field.replace(".strategy.canary.steps", ".steps"),
    };
    let last = field.rsplit('.').next().unwrap_or_default();
    match (last, value.parse::<u64>()) {
        (last, Ok(ms)) if TIMES.contains(&last) => (field, Millis(ms).to_string()),
        ("no_worse_than_live", _) => (field.replace("_live", ""), if value == "true" { "live" } else { "" }.into()),
        ("higher_is_better", _) => {
            let better = if value == "true" { "higher" } else { "lower" };
            (field.replace("higher_is_better", "better"), better.into())
        }
        _ => (field, value),
    }
}

fn flatten(prefix: &str, value: &Value, out: &mut BTreeMap<String, String>) {
    let join = |k: &str| if prefix.is_empty() { k.to_owned() } else { format!("{prefix}.{k}") };
    match value {
        Value::Object(map) => map.iter().for_each(|(k, v)| flatten(&join(k), v, out)),
        Value::Array(items) if items.iter().any(Value::is_object) => {
            items.iter().enumerate().for_each(|(i, v)| flatten(&join(&i.to_string()), v, out));
        }
        Value::Null => {}
        Value::String(s) => drop(out.insert(prefix.to_owned(), s.clone())),
        other => drop(out.insert(prefix.to_owned(), other.to_string())),
    }
}
