//! The built-in runtime for ONNX models: a replica's process, started by `runtime = "onnx"` of `[serve]` as `trimtab internal-serve`.
//!
//! ```text
//!  connection ──▶ server (a thread a core) ──▶ v2 · invocations: body to tensors ──▶ engine: rows together, or in pieces ──▶ onnx
//! ```
//! `onnx`, `v2`, `invocations` and `json` are pure. The daemon knows nothing of models: what a bad one does, it does to this process.

mod engine;
mod invocations;
mod json;
pub mod onnx;
mod server;
mod v2;

use crate::model::OnnxRuntime;
use engine::Batching;
use onnx::{Model, tensor::Kind};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

/// Protocol buffers are no larger.
const LARGEST_FILE: u64 = (2 << 30) - 1;

/// What the model is called by.
#[derive(Debug, Clone)]
pub struct Called {
    pub name: String,
    /// Such as `v7`.
    pub version: String,
}

/// A model that is ready to be asked.
struct Served {
    called: Called,
    model: Arc<Model>,
    batching: Batching,
}

/// Serves until SIGTERM. What a replica's environment has says the rest: the artifact's folder, the port, how the model is called.
pub fn run(settings: &str) -> ExitCode {
    let served = serde_json::from_str(settings).map_err(|e| format!("bad settings: {e}")).and_then(|s| prepare(&s));
    let done = served.and_then(|served| {
        let port = std::env::var("PORT").ok().and_then(|p| p.parse().ok()).ok_or("PORT is no port")?;
        server::run(served, port).map_err(|e| format!("cannot serve at port {port}: {e}"))
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tracing::error!("{e}");
            ExitCode::FAILURE
        }
    }
}

/// Reads the model and asks it for the first time, so that one that cannot answer never gets traffic.
fn prepare(settings: &OnnxRuntime) -> Result<Served, String> {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let folder = PathBuf::from(variable("TRIMTAB_ARTIFACT"));
    let called = Called { name: variable("TRIMTAB_MODEL"), version: variable("TRIMTAB_VERSION") };
    let file = find(&folder, settings.file.as_deref())?;
    let told = |e: std::io::Error| format!("{}: {e}", file.display());
    let size = std::fs::metadata(&file).map_err(told)?.len();
    if size > LARGEST_FILE {
        return Err(format!("{} has {size} bytes, and an ONNX file {LARGEST_FILE} at most", file.display()));
    }
    let bytes = std::fs::read(&file).map_err(told)?;
    let model = Model::load(&bytes).map_err(|e| format!("{}: {e}", file.display()))?;
    let max = settings.max.max(1) as usize;
    let batching = engine::look(&model, max, Duration::from_millis(settings.wait.0));
    // Any numbers are good for a first request; not so texts, and what are perhaps places.
    let is_float = |port: &onnx::Port| matches!(port.kind, Kind::F32 | Kind::F64);
    if model.has_rows()
        && model.inputs.iter().all(is_float)
        && let Some(inputs) = model.sample(1, 1)
    {
        engine::run(&model, inputs).map_err(|e| format!("the model cannot answer a first request: {e}"))?;
    }
    if let Some(examples) = &settings.examples {
        let n = warm_up(&model, &folder.join(examples)).map_err(|e| format!("{examples}: {e}"))?;
        tracing::info!("{n} examples were answered");
    }
    let how = match batching {
        Batching { apart: false, .. } => "its rows depend on each other, so each request is run by itself",
        Batching { pays: true, .. } => "requests are run together",
        _ => "requests are not run together, since that is not faster",
    };
    tracing::info!("{} was written by {}; {how}", file.display(), model.producer);
    Ok(Served { called, model: Arc::new(model), batching })
}

/// The file that is named, or the only one there is.
fn find(folder: &Path, named: Option<&str>) -> Result<PathBuf, String> {
    if let Some(name) = named {
        return Ok(folder.join(name));
    }
    let files = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().flatten();
    let is_model = |path: &PathBuf| path.extension().is_some_and(|e| e == "onnx");
    let mut found: Vec<PathBuf> = files.map(walkdir::DirEntry::into_path).filter(is_model).collect();
    match (found.pop(), found.pop()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(format!("there is no file *.onnx in the artifact ({})", folder.display())),
        (Some(a), Some(b)) => Err(format!(
            "there are several models in the artifact, such as {} and {}: say which by `file`",
            b.display(),
            a.display()
        )),
    }
}

/// Bodies of requests, one or a list of them, of either protocol; how many were answered.
fn warm_up(model: &Model, file: &Path) -> Result<usize, String> {
    let text = std::fs::read_to_string(file).map_err(|e| e.to_string())?;
    let all: serde_json::Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    let all = match all {
        serde_json::Value::Array(all) => all,
        one => vec![one],
    };
    for (i, example) in all.iter().enumerate() {
        let body = example.to_string();
        let is_v2 = example.get("inputs").and_then(|i| i.get(0)).is_some_and(|i| i.get("datatype").is_some());
        let inputs = match is_v2 {
            true => v2::read(model, body.as_bytes()).map(|r| r.inputs),
            false => invocations::read(model, body.as_bytes()).map(|r| r.inputs),
        };
        inputs.and_then(|inputs| engine::run(model, inputs)).map_err(|e| format!("example {}: {e}", i + 1))?;
    }
    Ok(all.len())
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
