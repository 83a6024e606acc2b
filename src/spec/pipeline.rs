//! The order of a pipeline's stages.

use crate::model::*;
use std::collections::{BTreeMap, BTreeSet};

/// How an input or a param is called in an environment variable: `train` → `TRAIN`, `features/a.parquet` → `FEATURES_A_PARQUET`.
pub fn variable(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

/// A field and what is wrong with it.
type Finding = (String, String);

fn field(stage: &StageSpec, key: &str) -> String {
    if stage.name.as_str() == "train" { format!("train.{key}") } else { format!("stage.{}.{key}", stage.name) }
}

/// Puts `train` among the other stages, with its default inputs, in an order in which every input is made before it is used. `Err`
/// names all that is wrong.
pub fn order(
    train: &StageSpec,
    stages: Vec<StageSpec>,
    data: &BTreeMap<Name, Name>,
) -> Result<Vec<StageSpec>, Vec<Finding>> {
    let mut found = Vec::new();
    let mut makers: BTreeMap<&str, &Name> = BTreeMap::new();
    let mut names = BTreeSet::new();
    for (i, stage) in stages.iter().enumerate().filter(|(_, s)| s.name != train.name) {
        if !names.insert(&stage.name) {
            found.push((format!("stage.{i}.name"), format!("two stages are called `{}`", stage.name)));
        }
        for output in &stage.outputs {
            if let Some(other) = makers.insert(output, &stage.name) {
                let message = format!("`{output}` is an output of both `{other}` and `{}`", stage.name);
                found.push((field(stage, "outputs"), message));
            }
        }
    }
    let mut train = train.clone();
    if train.inputs.is_empty() {
        let outputs = before_training(&stages).into_iter().flat_map(|s| s.outputs.clone());
        train.inputs = data.keys().map(Name::to_string).chain(outputs).collect();
    }
    let known =
        |input: &str| input == "artifact" || makers.contains_key(input) || data.keys().any(|d| d.as_str() == input);
    let mut left: Vec<StageSpec> = stages.iter().cloned().chain([train]).collect();
    for stage in &left {
        for unknown in stage.inputs.iter().filter(|i| !known(i)) {
            let mut all: Vec<&str> = data.keys().map(Name::as_str).chain(makers.keys().copied()).collect();
            all.push("artifact");
            let message =
                format!("stage `{}` needs `{unknown}`, which nothing makes; known are: {}", stage.name, all.join(", "));
            found.push((format!("{}.{unknown}", field(stage, "inputs")), message));
        }
    }
    if !found.is_empty() {
        return Err(found);
    }
    let mut made: BTreeSet<String> = data.keys().map(Name::to_string).collect();
    let mut ordered = Vec::with_capacity(left.len());
    while !left.is_empty() {
        // Checks without inputs of their own come before training: one that fails stops it.
        let ready = left.iter().position(|s| {
            s.inputs.iter().all(|i| made.contains(i)) && (s.name.as_str() != "train" || gatekeepers_done(&left))
        });
        let Some(at) = ready else {
            let circle = circle(&left);
            let names: Vec<&str> = circle.iter().map(|s| s.name.as_str()).collect();
            let message = format!("the stages {} need each other in a circle", names.join(", "));
            return Err(vec![(circle.first().map_or("stage".into(), |s| field(s, "inputs")), message)]);
        };
        let stage = left.remove(at);
        made.extend(stage.outputs.iter().cloned());
        if stage.name.as_str() == "train" {
            made.insert("artifact".into());
        }
        ordered.push(stage);
    }
    Ok(ordered)
}

/// Of stages none of which can begin, those that another of them needs: without what only waits behind the circle.
fn circle(left: &[StageSpec]) -> Vec<&StageSpec> {
    let makes = |s: &StageSpec, i: &String| s.outputs.contains(i) || (i == "artifact" && s.name.as_str() == "train");
    let mut circle: Vec<&StageSpec> = left.iter().collect();
    loop {
        let needed = |s: &&&StageSpec| circle.iter().any(|other| other.inputs.iter().any(|i| makes(s, i)));
        let next: Vec<&StageSpec> = circle.iter().filter(needed).copied().collect();
        if next.len() == circle.len() {
            break;
        }
        circle = next;
    }
    // `train` waits for every check, too, without needing what it makes.
    if circle.is_empty() { left.iter().collect() } else { circle }
}

/// Stages that do not need the artifact, directly or through others.
fn before_training(stages: &[StageSpec]) -> Vec<&StageSpec> {
    let mut late: BTreeSet<&str> = BTreeSet::from(["artifact"]);
    loop {
        let before = late.len();
        for stage in stages {
            if stage.inputs.iter().any(|i| late.contains(i.as_str())) {
                late.extend(stage.outputs.iter().map(String::as_str));
            }
        }
        if late.len() == before {
            break;
        }
    }
    stages.iter().filter(|s| !s.inputs.iter().any(|i| late.contains(i.as_str()))).collect()
}

/// Whether every stage that does not need the artifact has its place already.
fn gatekeepers_done(left: &[StageSpec]) -> bool {
    let others: Vec<StageSpec> = left.iter().filter(|s| s.name.as_str() != "train").cloned().collect();
    before_training(&others).is_empty()
}

/// Stages that a stage must wait for: those that make its inputs, and for `train` every stage that stands before it.
pub fn needs(stages: &[StageSpec], of: usize) -> Vec<usize> {
    let Some(stage) = stages.get(of) else { return vec![] };
    let makes = |s: &StageSpec| {
        stage.inputs.iter().any(|i| s.outputs.contains(i) || (i == "artifact" && s.name.as_str() == "train"))
    };
    let waits = |i: usize, s: &StageSpec| i < of && (makes(s) || stage.name.as_str() == "train");
    stages.iter().enumerate().filter(|(i, s)| waits(*i, s)).map(|(i, _)| i).collect()
}
