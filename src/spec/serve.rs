//! `[serve]` of `model.toml`.

use super::{
    decode::Table,
    model::{memory, secrets},
    paths,
    units::duration,
};
use crate::model::*;

/// What is served out of the registry, by `[serve] model`.
pub(super) struct Registered {
    pub dataset: DatasetSpec,
    pub code: String,
    pub python: Option<String>,
}

/// `model`, `code` and `python` of `[serve]`, by which a model is served that was registered rather than trained here.
pub(super) fn registered(root: &mut Table) -> Option<Registered> {
    let mut t = root.table("serve")?;
    let reference = t.parsed("model", paths::registry);
    let (has, has_code) = (t.has("model"), t.has("code"));
    let code = t.parsed("code", paths::relative);
    let python = t.parsed("python", paths::relative);
    for key in ["code", "python"].into_iter().filter(|k| !has && t.has(k)) {
        let message = format!("`{key}` of [serve] goes with `model`");
        t.error_at(key, message, format!("a trained model is served with `{key}` of [train]"));
    }
    let reference = reference?;
    let digest = Digest::of(reference.as_bytes()).hex();
    let name = Name::new(&format!("registry-{}", &digest[..12])).ok()?;
    let dataset = DatasetSpec { name, owner: None, description: None, source: DataSource::Registry(reference) };
    let code = if has_code { code? } else { ".".into() };
    Some(Registered { dataset, code, python })
}

/// The runtimes, and the keys that each has besides those of every `[serve]`.
const RUNTIMES: &[(&str, &[&str])] = &[
    ("onnx", &["file", "examples", "batch"]),
    ("mlflow", &["file", "examples"]),
    ("python", &["predict", "examples"]),
];

pub(super) fn serve(mut t: Table) -> Option<ServeSpec> {
    for key in ["model", "code", "python"] {
        // Read by `registered`.
        let _ = t.text(key);
    }
    let run = serving(&mut t);
    let replicas = t.whole("replicas", 1, 1000).unwrap_or(1) as u32;
    let ready = t.parsed("ready", |s| {
        let good = s.starts_with('/') && !s.chars().any(|c| c.is_control() || c.is_whitespace());
        good.then(|| s.to_owned()).ok_or("write an HTTP path that begins with `/`".into())
    });
    // Installing what a saved model asks for takes minutes.
    let usual = if matches!(run, Some(Serving::Runtime(Runtime::Mlflow(_)))) { 600_000 } else { 60_000 };
    let ready_timeout = t.parsed("ready_timeout", duration).unwrap_or(Millis(usual));
    if ready_timeout == Millis(0) {
        t.error_at("ready_timeout", "no replica is ready within 0 s".into(), "such as \"60s\"".into());
    }
    let drain = t.parsed("drain", duration).unwrap_or(Millis(30_000));
    let secrets = secrets(&mut t);
    let memory = memory(&mut t);
    t.finish();
    let ready = ready.unwrap_or_else(|| "/v2/health/ready".into());
    Some(ServeSpec { run: run?, replicas, ready, ready_timeout, drain, memory, secrets })
}

/// `run`, or `runtime` with its keys.
fn serving(t: &mut Table) -> Option<Serving> {
    let names = || RUNTIMES.iter().map(|(name, _)| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    let named = t.parsed("runtime", |s| {
        let known = RUNTIMES.iter().find(|(name, _)| *name == s);
        known.copied().ok_or_else(|| format!("this version has the runtimes {}", names()))
    });
    // Read whatever the runtime is, so that one at the wrong place is told as that.
    let file = t.parsed("file", paths::relative);
    let examples = t.parsed("examples", paths::relative);
    let predict = t.parsed("predict", function);
    let batch = batch(t);
    let chosen = named.map_or(&[][..], |(_, keys)| keys);
    let has_runtime = t.has("runtime");
    for key in ["file", "examples", "predict", "batch"] {
        if !t.has(key) || chosen.contains(&key) || (has_runtime && named.is_none()) {
            continue;
        }
        let of: Vec<String> = RUNTIMES
            .iter()
            .filter(|(_, keys)| keys.contains(&key))
            .map(|(name, _)| format!("runtime = \"{name}\""))
            .collect();
        let with = named.map_or("`run`".to_owned(), |(name, _)| format!("runtime = \"{name}\""));
        t.error_at(key, format!("`{key}` does nothing with {with}"), format!("it belongs to {}", of.join(" and ")));
    }
    if !has_runtime {
        if !t.has("run") {
            t.error(format!(
                "[serve] needs `run`, such as [\"python\", \"serve.py\"], or `runtime`, one of {}",
                names()
            ));
            return None;
        }
        return t.command("run").map(Serving::Command);
    }
    if t.has("run") {
        let _ = t.command("run");
        t.error_at(
            "run",
            "a model is served by `run` or by `runtime`, not by both".into(),
            "remove one of them".into(),
        );
    }
    let (name, _) = named?;
    Some(Serving::Runtime(match name {
        "onnx" => {
            let (max, wait) = batch?;
            if file.as_ref().is_some_and(|f| !f.ends_with(".onnx")) {
                t.error_at("file", "`file` is no ONNX file".into(), "such as \"model.onnx\"".into());
            }
            Runtime::Onnx(OnnxRuntime { file, examples, max, wait })
        }
        "mlflow" => Runtime::Mlflow(MlflowRuntime { file, examples }),
        _ => {
            let has = t.has("predict");
            let predict = if has { predict? } else { "predict:predict".into() };
            Runtime::Python(PythonRuntime { predict, examples })
        }
    }))
}

/// `module:function`, as Python names them.
fn function(text: &str) -> Result<String, String> {
    let name = |s: &str| {
        !s.is_empty()
            && !s.starts_with(|c: char| c.is_ascii_digit())
            && s.chars().all(|c| c.is_alphanumeric() || c == '_')
    };
    let good = text.split_once(':').is_some_and(|(module, function)| module.split('.').all(name) && name(function));
    good.then(|| text.to_owned()).ok_or("write a module and a function, such as \"predict:predict\"".into())
}

/// `batch = { max = 64, wait = "1ms" }`: rows, and time.
fn batch(t: &mut Table) -> Option<(u32, Millis)> {
    const MAX: u32 = 64;
    const WAIT: Millis = Millis(1);
    const LONGEST: Millis = Millis(1_000);
    let has = t.has("batch");
    let Some(mut batch) = t.table("batch") else { return (!has).then_some((MAX, WAIT)) };
    let max = batch.whole("max", 1, 4096).map_or(MAX, |n| n as u32);
    let wait = batch.parsed("wait", |s| {
        duration(s)
            .and_then(|w| if w > LONGEST { Err("no request should wait for more than 1s".into()) } else { Ok(w) })
    });
    batch.finish();
    Some((max, wait.unwrap_or(WAIT)))
}
