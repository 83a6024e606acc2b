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
    let by = |field: &str, old: Option<String>, newer: Option<String>| {
        let line = nearest_line(new, field);
        Reason {
            field: field.to_owned(),
            old,
            new: newer,
            place: Some(line.map_or(new.file.clone(), |l| format!("{}:{l}", new.file))),
            commit: Some(new.changed_by.commit.clone()),
            author: Some(new.changed_by.author.clone()),
        }
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

fn effect(field: &str) -> Effect {
    let retrains = ["code", "data.", "train.run", "train.params", "train.python", "train.inputs", "stage."];
    let harmless = [".timeout", ".retries", ".secrets"];
    let hit = retrains.iter().any(|p| field.starts_with(p)) && !harmless.iter().any(|s| field.ends_with(s));
    if hit { Effect::Retrain } else { Effect::Apply }
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
    out.insert("code".into(), model.code.short());
    for (file, digest) in &model.python {
        out.insert(format!("train.python.{file}"), digest.short());
    }
    for (input, pin) in &model.lock {
        out.insert(format!("data.{input}.snapshot"), pin.snapshot.short());
    }
    for (name, dataset) in &model.datasets {
        flatten(&format!("data.{name}"), &serde_json::to_value(&dataset.source).unwrap_or_default(), &mut out);
    }
    for (name, environment) in &model.environments {
        let mut value = serde_json::to_value(environment).unwrap_or_default();
        if let Some(o) = value.as_object_mut() {
            o.remove("description");
        }
        flatten(&format!("environment.{name}"), &value, &mut out);
    }
    out
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
