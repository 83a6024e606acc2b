//! Versions, runs, snapshots: what training leaves behind.

use super::{Command, Digest, Millis, Name, Params, Revision, SteadyMs, WallMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// The number of a version within its model, shown as `v7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct VersionNumber(pub u32);
impl fmt::Display for VersionNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("v{}", self.0))
    }
}

/// One file of an artifact, a code tree or a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileEntry {
    /// Relative, normalised, `/`-separated.
    pub path: String,
    /// Bytes.
    pub size: u64,
    pub digest: Digest,
    pub executable: bool,
}

/// A set of files, named by its content; the files are in the artifact store. Sorted by path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default, JsonSchema)]
pub struct Manifest {
    pub files: Vec<FileEntry>,
}
impl Manifest {
    /// The content's name: a hash over (path, executable, digest) of every file, in path order.
    pub fn digest(&self) -> Digest {
        let mut h = blake3::Hasher::new();
        for f in &self.files {
            for part in [f.path.as_bytes(), if f.executable { b"x" } else { b"-" }, f.digest.hex().as_bytes()] {
                h.update(&(part.len() as u64).to_le_bytes());
                h.update(part);
            }
        }
        Digest::from_bytes(*h.finalize().as_bytes())
    }
    /// Bytes in all.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|f| f.size).sum()
    }
}

/// An immutable state of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    pub dataset: Name,
    pub digest: Digest,
    pub manifest: Manifest,
    /// A single file (given to runs as the file itself) rather than a folder.
    pub single_file: bool,
    pub taken: WallMs,
}

impl Snapshot {
    /// Names these files. A run sees a file as itself and a folder as a folder: the same content is not the same input then.
    pub fn new(dataset: Name, manifest: Manifest, single_file: bool, taken: WallMs) -> Self {
        let files = manifest.digest();
        let digest = if single_file { Digest::of(format!("file {files}").as_bytes()) } else { files };
        Self { dataset, digest, manifest, single_file, taken }
    }
}

/// The verdict of one gate on one version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GateResult {
    /// For people: `auc no worse than live v6 (0.981)`.
    pub condition: String,
    pub metric: String,
    pub value: Option<f64>,
    pub passed: bool,
    /// The version it was compared with, when it was a comparison.
    pub opponent: Option<VersionNumber>,
}

/// What was live when a version was made: whom gates of this version compare it with, for ever.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Opponent {
    pub version: VersionNumber,
    pub metrics: BTreeMap<String, f64>,
}

/// Who made a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    #[default]
    Pipeline,
    /// A client of the registry.
    Client,
}

/// An immutable trained artifact with its lineage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Version {
    pub model: Name,
    pub number: VersionNumber,
    #[serde(default)]
    pub origin: Origin,
    pub fingerprint: Digest,
    pub revision: Revision,
    pub code_path: String,
    pub code: Digest,
    /// The code's files, so that serving never needs the commit again.
    pub code_files: Manifest,
    pub params: Params,
    pub snapshots: BTreeMap<Name, Digest>,
    /// Digest of the Python environment's requirements, and the resolved packages (recorded, not hashed).
    pub python: Option<Digest>,
    pub packages: Vec<String>,
    pub host: String,
    pub metrics: BTreeMap<String, f64>,
    pub stages: Vec<StageOutcome>,
    pub artifact: Manifest,
    pub gates: Vec<GateResult>,
    /// `None` when nothing was live.
    pub opponent: Option<Opponent>,
    pub created: WallMs,
    /// Milliseconds from the start of the first stage that ran to the end of the last; 0 when all came from the cache.
    pub duration: Millis,
}

impl Version {
    /// How long the stages take when nothing is taken from the cache: what it took, or at most, from what each took when it last ran. `None`
    /// when there were none.
    pub fn expected(&self) -> Option<Millis> {
        let all_ran = self.stages.iter().all(|s| !s.cached);
        let one_by_one = || Millis(self.stages.iter().map(|s| s.duration.0).sum());
        (!self.stages.is_empty()).then(|| if all_ran { self.duration } else { one_by_one() })
    }
}

/// What became of one stage of a pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StageOutcome {
    pub name: Name,
    pub run: RunId,
    /// Taken from an earlier run with the same key.
    pub cached: bool,
    pub duration: Millis,
}

/// Names a run: derived from model, stage, cache key and attempt, so that a restarted daemon finds it again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct RunId(pub String);
impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
impl RunId {
    /// `fraud-train-91fa3c2d-1`.
    pub fn new(model: &Name, stage: &Name, key: Digest, attempt: u32) -> Self {
        Self(format!("{model}-{stage}-{}-{attempt}", &key.hex()[..12]))
    }
    /// What a pipeline as a whole works under, beside its stages' runs.
    pub fn of_pipeline(model: &Name, fingerprint: &Digest) -> Self {
        Self(format!("{model}-{}", fingerprint.hex()))
    }
    /// What a claim on the run's folder names.
    pub fn key(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }
}

/// How a run stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum RunStatus {
    Running,
    Succeeded,
    /// The reason, with the last lines of output.
    Failed {
        reason: String,
    },
    Cancelled {
        reason: String,
    },
}

/// One execution of a stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    pub id: RunId,
    pub model: Name,
    pub stage: Name,
    pub fingerprint: Digest,
    /// The stage's cache key.
    pub key: Digest,
    pub attempt: u32,
    pub command: Command,
    pub status: RunStatus,
    pub started: WallMs,
    pub started_steady: SteadyMs,
    pub ended: Option<WallMs>,
    pub duration: Option<Millis>,
    pub exit_code: Option<i32>,
    pub metrics: BTreeMap<String, f64>,
    pub outputs: Option<Manifest>,
}
