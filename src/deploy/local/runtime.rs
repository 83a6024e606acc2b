//! The command of a replica whose `[serve]` names a runtime.

use crate::{
    model::*,
    ports::{PortError, PortResult},
    process::shim::write_whole,
};
use std::path::Path;

/// Serves Python models; laid beside the code, and run by the version's own Python.
const PYTHON: &str = include_str!("runtime.py");

/// The arguments of a replica's process; `folder` is that of its release.
pub fn argv(exe: &Path, serving: &Serving, folder: &Path) -> PortResult<Vec<String>> {
    let runtime = match serving {
        Serving::Command(Command::Argv(argv)) => return Ok(argv.clone()),
        Serving::Command(Command::Shell(line)) => return Ok(vec!["sh".into(), "-c".into(), line.clone()]),
        Serving::Runtime(runtime) => runtime,
    };
    let text = |path: &Path| path.display().to_string();
    let settings = |s: serde_json::Result<String>| s.map_err(|e| PortError::permanent(e.to_string()));
    if let Runtime::Onnx(onnx) = runtime {
        return Ok(vec![text(exe), "internal-serve".into(), settings(serde_json::to_string(onnx))?]);
    }
    let file = folder.join("runtime.py");
    let failed = |e| PortError::retryable(format!("cannot write {}: {e}", file.display()));
    write_whole(&file, PYTHON.as_bytes()).map_err(failed)?;
    Ok(vec!["python3".into(), text(&file), settings(serde_json::to_string(runtime))?])
}
