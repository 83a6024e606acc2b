//! What serves a version: a command, or a runtime of trimtab's.

use super::{Command, Millis};
use serde::{Deserialize, Serialize};

/// What a replica is: a command of the user's, or a runtime of trimtab's. A command is written as it was before there were runtimes, so that
/// releases keep their digests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Serving {
    Command(Command),
    Runtime(Runtime),
}

/// `runtime = "..."` of `[serve]`, with its keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "runtime", rename_all = "snake_case")]
pub enum Runtime {
    Onnx(OnnxRuntime),
    Mlflow(MlflowRuntime),
    Python(PythonRuntime),
}

/// An ONNX file, evaluated by trimtab itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnnxRuntime {
    /// Path in the artifact; the only `*.onnx` when nobody says.
    pub file: Option<String>,
    /// File of the artifact with bodies of requests that are answered before the replica is ready.
    pub examples: Option<String>,
    /// Rows that are run together at most.
    pub max: u32,
    /// How long a request waits for others at most.
    pub wait: Millis,
}

/// A model that MLflow saved, in a Python of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MlflowRuntime {
    /// Folder in the artifact that has the file `MLmodel`; the only one when nobody says.
    pub file: Option<String>,
    pub examples: Option<String>,
}

/// A function of the user's, in a Python of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PythonRuntime {
    /// `module:function`, of the code folder.
    pub predict: String,
    pub examples: Option<String>,
}
