//! Typed specs and the desired state that they resolve to. A spec here has passed every check that needs only its own text.

use super::{
    AnalysisTemplate, DeploySpec, Digest, FreezeSpec, Groups, Millis, Name, ObjectId, Revision, Serving, SloSpec,
};
use super::{MirrorSettings, TrackingSettings};
use litemap::LiteMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use std::{collections::BTreeMap, sync::Arc};

/// Bytes that one file of a code folder may have.
pub const MAX_CODE_FILE: u64 = 50 << 20;

/// What to execute: an argument vector, or one string that asks for a shell (`sh -c`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Command {
    Argv(Vec<String>),
    Shell(String),
}

/// A scalar or nested training parameter; keys are ordered, so that equal params are equal bytes.
pub type Params = BTreeMap<String, serde_json::Value>;

/// `[[stage]]` and `[train]`: one step of a model's pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageSpec {
    /// `train` for the training itself.
    pub name: Name,
    pub run: Command,
    /// Names of `[data]` inputs, output paths of other stages, or `artifact` (what `train` left). For `train` with none written:
    /// all data inputs and all outputs of stages that do not need `artifact`.
    pub inputs: Vec<String>,
    /// Paths under `TRIMTAB_OUTPUT` that must exist after exit 0. Empty for `train`: all it leaves is the artifact.
    pub outputs: Vec<String>,
    /// Requirements file inside the code folder.
    pub python: Option<String>,
    pub params: Params,
    pub timeout: Option<Millis>,
    pub retries: u32,
    /// Bytes of memory that each of its processes may take (`resources = { memory = "2Gi" }`).
    #[serde(default)]
    pub memory: Option<u64>,
    /// Names of environment variables of the daemon that the process is given.
    pub secrets: Vec<String>,
}

/// `[[gate]]`: a condition on a metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateSpec {
    pub metric: String,
    pub min: Option<f64>,
    pub max: Option<f64>,
    /// `no_worse_than = "live"`.
    pub no_worse_than_live: bool,
    /// Absolute slack of the comparison with live.
    pub tolerance: f64,
    /// Whether larger figures are better (`better = "higher"`, the default) in the comparison with live.
    pub higher_is_better: bool,
}

impl GateSpec {
    /// The slack of the comparison with live for people: ` by more than 0.005`, or nothing.
    pub fn slack(&self) -> String {
        if self.tolerance > 0.0 { format!(" by more than {}", self.tolerance) } else { String::new() }
    }
}

/// `[serve]`: how replicas of a version run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServeSpec {
    pub run: Serving,
    pub replicas: u32,
    /// HTTP path that answers 2xx once the replica can take traffic.
    pub ready: String,
    pub ready_timeout: Millis,
    /// How long in-flight requests may take after a replica left the traffic.
    pub drain: Millis,
    /// Bytes of memory that each of its processes may take.
    #[serde(default)]
    pub memory: Option<u64>,
    pub secrets: Vec<String>,
}

/// A map as records have it, also one without entries: litemap writes that one as a list.
pub fn as_map<K: Serialize, V: Serialize, S: Serializer>(map: &LiteMap<K, V>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(map.iter())
}

/// `models/NAME/model.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelSpec {
    pub name: Name,
    pub owner: Option<String>,
    pub description: Option<String>,
    /// What people select models by.
    #[serde(default, skip_serializing_if = "LiteMap::is_empty")]
    pub labels: LiteMap<String, String>,
    /// Input name -> dataset name.
    #[serde(serialize_with = "as_map")]
    pub data: LiteMap<Name, Name>,
    /// The registered model that is served, where nothing is trained: it stands among `data` as an input, too.
    #[serde(default)]
    pub registered: Option<Box<DatasetSpec>>,
    /// All stages, `train` among them, in a topological order.
    pub stages: Vec<StageSpec>,
    /// Folder of the code, relative to the spec's folder, normalised (`.` or `a/b`).
    pub code: String,
    pub executor: Name,
    pub finish_superseded: bool,
    pub gates: Vec<GateSpec>,
    pub serve: Option<ServeSpec>,
    pub deploy: Vec<DeploySpec>,
    /// What must hold of what serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slo: Option<Box<SloSpec>>,
}
impl ModelSpec {
    /// The last environment of the chain: whose release is "live" for gates and `/models/NAME/`.
    pub fn live_environment(&self) -> Option<&Name> {
        self.deploy.last().map(|d| &d.environment)
    }
}

/// Where a dataset's bytes come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DataSource {
    /// A file or folder below the daemon's data root; normalised relative path.
    Path(String),
    /// `http://` or `https://`.
    Url(String),
    /// A registered model's version: `fraud@champion` or `fraud/7`.
    Registry(String),
}

impl std::fmt::Display for DataSource {
    /// As the dataset's spec has it: a path is relative, so that it is never taken for an address.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(text) | Self::Url(text) => f.write_str(text),
            Self::Registry(text) => write!(f, "registry:{text}"),
        }
    }
}

/// What `trimtab.lock` says, by input. Boxed, since a map keeps room for eleven of what it holds, and each model of a fleet has one.
pub type Lock = BTreeMap<Name, Box<LockedInput>>;

/// One input in `trimtab.lock`: the snapshot, and the data that it was taken of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedInput {
    pub dataset: Name,
    pub source: DataSource,
    pub snapshot: Digest,
}

/// `datasets/NAME.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DatasetSpec {
    pub name: Name,
    pub owner: Option<String>,
    pub description: Option<String>,
    pub source: DataSource,
}

/// `environments/NAME.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentSpec {
    pub name: Name,
    pub description: Option<String>,
    /// The mechanism; `local` in this release.
    pub target: Name,
    /// A release that served here before comes back without canary steps (default true).
    pub rollback_at_once: bool,
    /// How long the release before is kept ready without traffic after a new one took over (`keep_warm`, default `10m`).
    pub keep_warm: Millis,
    /// Times in which no model's traffic moves to a new release here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freeze: Vec<FreezeSpec>,
}

/// `trimtab.toml`: settings of the repo.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Follow a non-fast-forward move of the branch.
    pub allow_rewrite: bool,
    /// Whether trimtab may commit and push lock files.
    pub push: bool,
    pub bot_name: String,
    pub bot_email: String,
    pub max_concurrent_training: usize,
    /// Share of models (0 to 1) that one commit may retire without `trimtab sync --prune`.
    pub prune_share: f64,
    #[serde(default)]
    pub groups: Groups,
    pub gc: GcSettings,
    #[serde(default)]
    pub tracking: TrackingSettings,
    #[serde(default)]
    pub ui: UiSettings,
    pub registry: MirrorSettings,
}
impl Default for Settings {
    fn default() -> Self {
        Self {
            allow_rewrite: true,
            push: true,
            bot_name: "trimtab".into(),
            bot_email: "trimtab@localhost".into(),
            max_concurrent_training: 2,
            prune_share: 0.5,
            groups: Groups::new(),
            gc: GcSettings::default(),
            tracking: TrackingSettings::default(),
            ui: UiSettings::default(),
            registry: MirrorSettings::default(),
        }
    }
}

/// `[ui]` in `trimtab.toml`: what a browser is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UiSettings {
    /// MLflow's own web interface, with the files that a Python has.
    pub mlflow: bool,
    /// That Python; `python3` when nobody says.
    pub python: Option<String>,
}

/// `[gc]` in `trimtab.toml`: what stays on disk beside that which is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcSettings {
    /// What a commit of this time asks for stays.
    pub keep: Millis,
    /// Versions of each model that stay beyond the protected ones.
    pub versions: usize,
    /// Runs of each model, likewise.
    pub runs: usize,
    /// Snapshots of each dataset, likewise.
    pub snapshots: usize,
    /// Python environments, likewise.
    pub environments: usize,
}
impl Default for GcSettings {
    fn default() -> Self {
        Self { keep: Millis(30 * 86_400_000), versions: 50, runs: 100, snapshots: 10, environments: 5 }
    }
}

/// A model of the desired state: its spec with everything that it refers to, a function of the tree alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DesiredModel {
    pub spec: Arc<ModelSpec>,
    /// Path of the spec file in the repo, `/`-separated.
    pub file: String,
    /// Hash of what decides on the pipeline's data: stages, code, inputs and where they come from. The key of store-held pins.
    pub content: Digest,
    /// Repo path of the code folder and the digest of its tree without spec and lock files.
    pub code_path: String,
    pub code: Digest,
    /// Digest of each requirements file named by a stage, by its path in the code folder.
    #[serde(serialize_with = "as_map")]
    pub python: LiteMap<String, Digest>,
    #[serde(serialize_with = "as_map")]
    pub datasets: LiteMap<Name, Arc<DatasetSpec>>,
    #[serde(serialize_with = "as_map")]
    pub environments: LiteMap<Name, Arc<EnvironmentSpec>>,
    /// Shared analyses that its deployments use.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub analyses: BTreeMap<Name, Arc<AnalysisTemplate>>,
    /// What `trimtab.lock` says of each input; empty without one.
    pub lock: Lock,
    /// Line (1-based) of each dotted field in the spec file, for reasons: `train.params.depth` -> 14.
    pub lines: Arc<Lines>,
    /// The newest commit that touched this model, as far as it was seen.
    pub changed_by: Arc<Revision>,
}

impl DesiredModel {
    /// The snapshot that the lock pins an input to. A pin made for other data than the spec names now does not hold.
    pub fn locked(&self, input: &Name) -> Option<Digest> {
        let pin = self.lock.get(input)?;
        let dataset = self.datasets.get(self.spec.data.get(input)?)?;
        (pin.dataset == dataset.name && pin.source == dataset.source).then_some(pin.snapshot)
    }

    /// How long the release before is kept ready in an environment.
    pub fn keep_warm(&self, environment: &Name) -> Millis {
        let own = self.spec.deploy.iter().find(|d| d.environment == *environment).and_then(|d| d.keep_warm);
        own.or(self.environments.get(environment).map(|e| e.keep_warm)).unwrap_or(Millis(0))
    }

    /// The lock that pins the inputs to these snapshots.
    pub fn lock_for(&self, snapshots: &BTreeMap<Name, Digest>) -> Lock {
        let pin = |(input, snapshot): (&Name, &Digest)| {
            let dataset = self.datasets.get(self.spec.data.get(input)?)?;
            let (dataset, source) = (dataset.name.clone(), dataset.source.clone());
            Some((input.clone(), Box::new(LockedInput { dataset, source, snapshot: *snapshot })))
        };
        snapshots.iter().filter_map(pin).collect()
    }

    /// This one with the memory of another that asks for the same; fleets are kept once, whatever the number of places that refer to them.
    pub fn sharing(self: &Arc<Self>, other: &Arc<Self>) -> Arc<Self> {
        if self.changed_by == other.changed_by {
            other.clone()
        } else if Arc::ptr_eq(&self.spec, &other.spec) {
            self.clone()
        } else {
            Arc::new(Self { changed_by: self.changed_by.clone(), ..Self::clone(other) })
        }
    }

    /// Whether both ask for the same, whoever asked for it.
    pub fn asks_the_same(&self, other: &Self) -> bool {
        let Self {
            spec,
            file,
            content,
            code_path,
            code,
            python,
            datasets,
            environments,
            analyses,
            lock,
            lines,
            changed_by: _,
        } = self;
        *content == other.content
            && *code == other.code
            && *lock == other.lock
            && *python == other.python
            && *file == other.file
            && *code_path == other.code_path
            && *lines == other.lines
            && *datasets == other.datasets
            && *environments == other.environments
            && *analyses == other.analyses
            && *spec == other.spec
    }
}

/// Line (1-based) of each dotted field of a spec file. One text, since a fleet has one for each model and few are ever asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "BTreeMap<String, u32>", into = "BTreeMap<String, u32>")]
pub struct Lines(Box<str>);

impl Lines {
    /// The line of a field.
    pub fn get(&self, field: &str) -> Option<u32> {
        self.iter().find(|(name, _)| *name == field).map(|(_, line)| line)
    }

    fn iter(&self) -> impl Iterator<Item = (&str, u32)> {
        self.0.lines().filter_map(|entry| {
            let (line, name) = entry.split_once(' ')?;
            Some((name, line.parse().ok()?))
        })
    }
}

impl From<BTreeMap<String, u32>> for Lines {
    fn from(all: BTreeMap<String, u32>) -> Self {
        // A quoted key may hold a line feed; nobody finds its line then.
        let entries = all.iter().filter(|(name, _)| !name.contains(['\n', '\r']));
        Self(entries.map(|(name, line)| format!("{line} {name}\n")).collect::<String>().into())
    }
}

impl From<Lines> for BTreeMap<String, u32> {
    fn from(lines: Lines) -> Self {
        lines.iter().map(|(name, line)| (name.to_owned(), line)).collect()
    }
}

/// Where a diagnostic points.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Location {
    pub file: String,
    /// 1-based.
    pub line: u32,
    /// 1-based, in characters.
    pub column: u32,
    /// The whole source line and the number of characters to underline.
    pub text: String,
    pub width: u32,
}

/// How bad a diagnostic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Error,
    Warning,
}

/// One finding about the specs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Diagnostic {
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    pub location: Option<Location>,
    /// Shown beside the underline, and what to do.
    pub label: String,
    pub help: Option<String>,
    /// The model it holds back, when it is known.
    pub model: Option<Name>,
}

impl Diagnostic {
    /// In one line: place, what is wrong, what to do.
    pub fn sentence(&self) -> String {
        let place = self.location.as_ref().map(|l| format!("{}:{}: ", l.file, l.line)).unwrap_or_default();
        let todo = [self.label.as_str(), self.help.as_deref().unwrap_or_default()].into_iter().find(|t| !t.is_empty());
        let todo = todo.map_or(String::new(), |t| format!(" ({t})"));
        format!("{place}{}{todo}", self.message)
    }

    /// Whether it is a warning about `trimtab.toml`.
    pub fn is_doubt_about_settings(&self) -> bool {
        let file = self.location.as_ref().map_or("", |l| l.file.as_str());
        self.severity == Severity::Warning && file.rsplit('/').next() == Some("trimtab.toml")
    }

    /// The one that people are told first: an error, where there is one.
    pub fn first(all: &[Self]) -> Option<&Self> {
        all.iter().find(|d| d.severity == Severity::Error).or(all.first())
    }
}

/// All specs of one revision, resolved and checked.
#[derive(Debug, Clone, Default)]
pub struct DesiredState {
    pub revision: Option<Arc<Revision>>,
    pub settings: Settings,
    pub models: rpds::RedBlackTreeMapSync<Name, Arc<DesiredModel>>,
    /// Models whose spec is broken: file and diagnostics; their last good desired state stays.
    pub broken: rpds::RedBlackTreeMapSync<Name, Vec<Diagnostic>>,
    /// Every diagnostic of the revision.
    pub diagnostics: Vec<Diagnostic>,
    /// Number of spec files.
    pub files: usize,
}

/// What differs between two object trees for one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    pub path: String,
    pub mode: u32,
    pub id: ObjectId,
}
