//! The plan: ordered actions from observed to desired, each with its reason.

use super::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Why an action is needed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    /// Dotted field of the spec, `code`, `data.train`, or a word such as `spec deleted`.
    pub field: String,
    pub old: Option<String>,
    pub new: Option<String>,
    /// `models/fraud/model.toml:14`, when a line is to blame.
    pub place: Option<String>,
    pub commit: Option<ObjectId>,
    pub author: Option<String>,
}

/// One step of a plan. Executing it needs no further decision.
#[expect(clippy::large_enum_variant, reason = "plans hold a handful of actions and are built once")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "action")]
pub enum Action {
    /// Take snapshots of these inputs' datasets and pin them.
    ResolveData { inputs: BTreeMap<Name, DatasetSpec> },
    /// Commit and push `trimtab.lock` with these pins.
    WriteLock { snapshots: BTreeMap<Name, Digest> },
    /// Run the pipeline for this fingerprint.
    Train { fingerprint: Digest, snapshots: BTreeMap<Name, Digest>, attempt: u32 },
    /// Stop the running pipeline of another fingerprint.
    CancelTraining { fingerprint: Digest, reason: String },
    /// Judge a version's fixed gates anew from recorded metrics.
    JudgeGates { version: VersionNumber, results: Vec<GateResult> },
    /// Make this rollout the environment's state (`None`: drop the rollout under way, stable stays).
    SetRollout { environment: Name, rollout: Option<Rollout> },
    /// Note what was measured of the rollout under way.
    Measure { environment: Name, analysis: Vec<AnalysisRun> },
    /// Make the rollout's release stable: it had all traffic and is done.
    FinishRollout { environment: Name, release: Release },
    /// Note the pair as rejected and drop the rollout.
    Reject { environment: Name, release: Release, reason: String },
    /// Commit and push the revert of what led to the rejected release.
    Revert { environment: Name, rejected: Release },
    /// Stop the replicas that were kept warm.
    Cool { environment: Name, release: Release },
    /// Traffic off, processes stopped, versions kept.
    Undeploy { environment: Name },
    /// Run another number of replicas of what serves.
    Scale { environment: Name, from: u32, to: u32 },
    /// Take up fields of the spec that neither train nor move anything.
    TakeUp,
    /// The spec was deleted and everything is undeployed.
    Retire,
}

/// An action with why, and what a person is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Planned {
    #[serde(flatten)]
    pub action: Action,
    pub reasons: Vec<Reason>,
    /// Expected duration from past runs.
    pub expected: Option<Millis>,
}

/// What a model waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "on")]
pub enum Waiting {
    Training {
        fingerprint: Digest,
        /// Whether a stage began; before, it waits for its turn.
        begun: bool,
    },
    TrainingRetry {
        at: SteadyMs,
        reason: String,
    },
    /// It failed in a way that trying again does not change: for other content.
    TrainingFailed {
        reason: String,
    },
    DataRetry {
        at: SteadyMs,
        reason: String,
    },
    /// The lock could not be pushed.
    LockPush {
        at: SteadyMs,
        reason: String,
    },
    Gates {
        version: VersionNumber,
        failed: Vec<String>,
    },
    Ready {
        environment: Name,
        release: Release,
    },
    Hold {
        environment: Name,
        until: SteadyMs,
    },
    Requests {
        environment: Name,
        /// The analysis that needs them.
        metric: String,
        seen: u64,
        needed: u64,
    },
    /// An analysis that has not said yes often enough.
    Analysis {
        environment: Name,
        analysis: String,
        good: u32,
        needed: u32,
        /// What it said last.
        said: Option<String>,
    },
    Person {
        environment: Name,
        reason: String,
    },
    Promotion {
        environment: Name,
        after: Name,
    },
    /// The release has all traffic in the environment before, not yet for long enough.
    Soak {
        environment: Name,
        after: Name,
        soak: Millis,
        until: SteadyMs,
    },
    Approval {
        environment: Name,
        version: VersionNumber,
        /// Addresses and `@groups`.
        by: Vec<String>,
        /// Whose approval there is, when theirs does not count.
        refused: Option<String>,
    },
    /// No traffic moves to a new release now.
    Frozen {
        environment: Name,
        until: WallMs,
        zone: String,
        why: String,
    },
    Rejected {
        environment: Name,
        reason: String,
        /// Why trimtab did not make the commit that reverts it, where it was to.
        unreverted: Option<String>,
    },
    SpecFix,
    Resume,
}

/// What follows once the actions are done, for people: gates, and how traffic will move in each environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Outlook {
    /// `train`, `gates` or an environment.
    pub what: String,
    pub text: String,
    pub expected: Option<Millis>,
}

/// An analysis of a rollout that has to be asked for outside.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Question {
    pub environment: Name,
    pub analysis: String,
}

/// The plan of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelPlan {
    pub model: Name,
    pub sync: SyncStatus,
    pub health: Health,
    /// The fingerprint that desired state asks for, when its data is pinned.
    pub fingerprint: Option<Digest>,
    /// The version that has it.
    pub version: Option<VersionNumber>,
    pub actions: Vec<Planned>,
    pub waiting: Vec<Waiting>,
    pub outlook: Vec<Outlook>,
    /// Conditions as they follow from this look; who stores them takes them and sets `since`.
    pub conditions: Vec<Condition>,
    /// Analyses of rollouts that have to be asked for outside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub questions: Vec<Question>,
    /// When to look again without any event.
    pub look_again: Option<SteadyMs>,
}

/// The plans of all models for one revision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FleetPlan {
    pub revision: Option<Revision>,
    /// Models with something to do, to wait for or to say, in the order of names.
    pub models: Vec<ModelPlan>,
    pub unchanged: usize,
    pub diagnostics: Vec<Diagnostic>,
    /// Deletions that wait for `trimtab sync --prune`.
    pub held: Vec<Name>,
    /// Wall clock of the plan, for "2 minutes ago".
    pub at: WallMs,
}
impl FleetPlan {
    /// Whether executing it would change anything.
    pub fn changes(&self) -> bool {
        self.models.iter().any(|m| !m.actions.is_empty())
    }
}
