//! The content hash that names a version. Name, owner, gates, deployment, executor, timeouts and retries are no part of it.

use crate::model::*;
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Serialize)]
struct StageContent<'a> {
    name: &'a Name,
    run: &'a Command,
    inputs: &'a [String],
    outputs: &'a [String],
    python: Option<&'a Digest>,
    params: &'a Params,
}

#[derive(Serialize)]
struct Content<'a> {
    schema: &'static str,
    code: Digest,
    /// By name: the order in which stages are written changes nothing.
    stages: BTreeMap<&'a Name, StageContent<'a>>,
    snapshots: &'a BTreeMap<Name, Digest>,
}

/// The fingerprint of a model trained from these snapshots: `blake3(canonical JSON)`, keys sorted.
pub fn fingerprint(model: &DesiredModel, snapshots: &BTreeMap<Name, Digest>) -> Digest {
    let stages = model.spec.stages.iter().map(|s| {
        let content = StageContent {
            name: &s.name,
            run: &s.run,
            inputs: &s.inputs,
            outputs: &s.outputs,
            python: s.python.as_ref().and_then(|p| model.python.get(p)),
            params: &s.params,
        };
        (&s.name, content)
    });
    let content = Content { schema: "trimtab/v1", code: model.code, stages: stages.collect(), snapshots };
    // Serialising maps with string keys and finite numbers cannot fail; an empty text would still be a stable name.
    Digest::of(&serde_json::to_vec(&content).unwrap_or_default())
}

/// The release that a version becomes under this `[serve]`: `replicas` and times are no part of it.
pub fn release(version: VersionNumber, serve: &ServeSpec) -> Release {
    let content = (&serve.run, &serve.ready, &serve.secrets);
    let bytes = match &serve.memory {
        None => serde_json::to_vec(&content),
        Some(memory) => serde_json::to_vec(&(content, memory)),
    };
    Release { version, serve: Digest::of(&bytes.unwrap_or_default()) }
}
