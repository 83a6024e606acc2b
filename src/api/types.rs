//! Wire types. Times are wall-clock milliseconds unless a name says otherwise.

pub use super::overview::FleetOverview;
pub use super::urgency::Urgency;
use crate::model::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `GET /api/v1/fleet`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Fleet {
    pub source: SourceStatus,
    pub models: Vec<ModelSummary>,
    /// Of a page: the models after this name. From the first on when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Name>,
    /// Of a page: its last model, when more come after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Name>,
    pub counts: Counts,
    /// Number of spec files.
    pub files: usize,
    pub diagnostics: Vec<Diagnostic>,
    /// Deletions that wait for `trimtab sync --prune`.
    pub held: Vec<Name>,
    /// Where traffic enters.
    pub router: Option<String>,
    /// Why the daemon's state cannot be written now; nothing new is done until it can.
    pub store_error: Option<String>,
    /// Why versions are not mirrored to the server that the settings name.
    #[serde(default)]
    pub mirror_error: Option<String>,
    /// The daemon's clocks, for ages and countdowns.
    pub now: Now,
}

impl Fleet {
    /// Whether a model of this name would be in this page: the whole fleet is one page.
    pub fn spans(&self, name: &Name) -> bool {
        self.after.as_ref().is_none_or(|after| name > after) && self.next.as_ref().is_none_or(|last| name <= last)
    }

    /// What is wrong with specs that no model's row tells of, such as the settings: the first in a sentence, and how many more there are.
    pub fn specs_trouble(&self) -> Option<String> {
        let mut all = self.diagnostics.iter().filter(|d| d.severity == Severity::Error && d.model.is_none());
        let first = all.next()?.sentence();
        let more = all.count();
        Some(if more > 0 { format!("{first}; {more} more, `trimtab plan` has all") } else { first })
    }

    /// What is doubtful about the settings, a sentence each.
    pub fn settings_doubts(&self) -> impl Iterator<Item = String> {
        self.diagnostics.iter().filter(|d| d.is_doubt_about_settings()).map(Diagnostic::sentence)
    }
}

/// How many models are how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    pub models: usize,
    pub healthy: usize,
    pub progressing: usize,
    pub degraded: usize,
    pub suspended: usize,
    /// Configuration drift: live is not what Git says.
    pub out_of_sync: usize,
    /// An objective of `[monitor] slo` is not kept.
    #[serde(default)]
    pub burning: usize,
    /// Quality drift: a figure is beyond the bound under which the release was promoted.
    #[serde(default)]
    pub off_promise: usize,
}

/// One line of the fleet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelSummary {
    pub name: Name,
    pub sync: SyncStatus,
    pub health: Health,
    /// Whether the newest spec is broken. What was good before it goes on.
    #[serde(default)]
    pub spec_broken: bool,
    /// What is wrong or awaited; empty when all is well.
    pub message: String,
    /// In the order of the chain.
    pub environments: Vec<EnvironmentSummary>,
    /// The first environment of the chain that a version waits to be approved for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unapproved: Option<Name>,
    /// Fingerprint under training.
    pub training: Option<Digest>,
    /// The commit that changed it last.
    pub changed_by: Option<Revision>,
    /// The revision that was last acted on.
    pub observed_revision: Option<ObjectId>,
    pub owner: Option<String>,
    /// The spec in Git.
    #[serde(default)]
    pub file: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl ModelSummary {
    /// The first environment with what its release does not keep; see [`EnvironmentSummary::unkept`].
    pub fn unkept(&self) -> Option<String> {
        self.environments.iter().find_map(|e| Some(format!("{}: {}", e.environment, e.unkept()?)))
    }
}

/// One environment of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnvironmentSummary {
    pub environment: Name,
    pub version: Option<VersionNumber>,
    /// The version that has all traffic, as the router confirmed it.
    pub routed: Option<VersionNumber>,
    pub rollout: Option<RolloutSummary>,
    pub rejected: Option<String>,
    pub requests_per_s: f64,
    /// Milliseconds.
    pub p99_ms: f64,
    /// 0 to 1.
    pub error_share: f64,
    /// Requests over the last ten seconds that a version without a share answered, as none that has one could.
    #[serde(default)]
    pub stood_in: u64,
    /// Requests of each quarter of a minute of the last five minutes, oldest first; empty when there were none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<u64>,
    /// How the release that serves stands to each objective of `[monitor] slo`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objectives: Vec<ObjectiveStatus>,
    /// The figures that the release that serves was promoted by, then and now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub promised: Vec<PromiseStatus>,
}

impl EnvironmentSummary {
    /// Whether an objective is not kept.
    pub fn burns(&self) -> bool {
        self.objectives.iter().any(|o| !o.kept)
    }

    /// Whether a figure is beyond the bound under which the release was promoted.
    pub fn differs_from_promised(&self) -> bool {
        self.promised.iter().any(|p| !p.holds)
    }

    /// What the release that serves does not keep: an objective, else a figure that it was promoted by. As text of the specs, not made safe
    /// for a terminal.
    pub fn unkept(&self) -> Option<String> {
        let objective = self.objectives.iter().find(|o| !o.kept).map(|o| {
            let spent = o.spent.map_or(String::new(), |s| format!(": {:.0} % of its error budget is spent", s * 100.0));
            format!("{} is not kept{spent}", o.objective.show())
        });
        objective.or_else(|| {
            let p = self.promised.iter().find(|p| !p.holds)?;
            let (analysis, now) = (&p.analysis, p.now?);
            Some(format!("{} {} now, promoted under {}", analysis.name, analysis.metric.show(now), analysis.bound()))
        })
    }
}

/// An objective and how it is kept since the release has all traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectiveStatus {
    pub objective: Objective,
    /// Since the release has all traffic.
    pub requests: u64,
    /// The share of the error budget of these requests that is spent: 1 is all of it. `None` where nothing was asked, and of latencies in lists.
    pub spent: Option<f64>,
    pub kept: bool,
}

/// A figure that an analysis judged the release by, and what it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PromiseStatus {
    pub analysis: AnalysisSpec,
    /// When it got all traffic.
    pub then: Option<f64>,
    /// Since then. `None` where nothing was asked, and of figures that only a rollout asks for.
    pub now: Option<f64>,
    /// Whether it is within the bounds of the analysis, as far as is known.
    pub holds: bool,
}

/// A rollout under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RolloutSummary {
    pub to: VersionNumber,
    /// 1-based; 0 while replicas start.
    pub step: usize,
    pub steps: Vec<StepSpec>,
    #[serde(default)]
    pub strategy: StrategyKind,
    /// Percent of traffic on the new version.
    pub weight: f64,
    /// `starting`, `step`, or how it was paused: `paused by hand`.
    pub phase: String,
    /// Whether it is paused: it goes on when someone says so.
    #[serde(default)]
    pub held: bool,
    /// Whether that is at a gate: the step itself is done.
    #[serde(default)]
    pub gate: bool,
    /// When the hold of this step ends.
    pub until: Option<SteadyMs>,
    pub started: WallMs,
    pub analysis: Vec<AnalysisRun>,
    pub traffic: Traffic,
}

/// `GET /api/v1/models/NAME`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelDetail {
    pub summary: ModelSummary,
    pub conditions: Vec<Condition>,
    pub pipeline: Option<Pipeline>,
    pub versions: Vec<VersionBrief>,
    pub replicas: Vec<EnvironmentReplicas>,
    pub plan: Option<ModelPlan>,
    pub diagnostics: Vec<Diagnostic>,
    pub events: Vec<Event>,
    pub runs: Vec<Run>,
    pub now: Now,
}

impl ModelDetail {
    /// When a training that failed is tried again, and how at once.
    pub fn next_try(&self) -> Option<String> {
        let pipeline = self.pipeline.as_ref()?;
        let PipelineState::Failed { retry_at, .. } = &pipeline.state else { return None };
        let when = retry_at.map_or("not tried again before the model changes".to_owned(), |at| {
            format!("tried again in {}", Millis(at.since(self.now.steady).div_ceil(1000) * 1000))
        });
        Some(format!("attempt {} failed: {when}, or `trimtab rollout retry {}`", pipeline.attempt, self.summary.name))
    }

    /// `2/2 ready`: of the version that is served, in a rollout of both (`v6 2/2, v7 1/2 ready`); others stand apart (`+2 warm`).
    pub fn readiness(&self, e: &EnvironmentSummary) -> String {
        let here = self.replicas.iter().filter(|r| r.environment == e.environment);
        let all: Vec<&ReplicaStatus> = here.flat_map(|r| &r.replicas).collect();
        let mut served: Vec<VersionNumber> = e.version.into_iter().chain(e.rollout.as_ref().map(|r| r.to)).collect();
        served.dedup();
        let one = |v: &VersionNumber| {
            let of = all.iter().filter(|r| r.release.version == *v);
            format!("{}/{}", of.clone().filter(|r| r.ready).count(), of.count())
        };
        let ready = match served.as_slice() {
            [v] => one(v),
            many => many.iter().map(|v| format!("{v} {}", one(v))).collect::<Vec<_>>().join(", "),
        };
        let warm = all.iter().filter(|r| !served.contains(&r.release.version)).count();
        let warm = if warm == 0 { String::new() } else { format!("   +{warm} warm") };
        format!("{ready} ready{warm}")
    }
}

/// Replicas of one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnvironmentReplicas {
    pub environment: Name,
    pub replicas: Vec<ReplicaStatus>,
}

/// A version in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VersionBrief {
    pub number: VersionNumber,
    #[serde(default)]
    pub origin: Origin,
    pub fingerprint: Digest,
    pub created: WallMs,
    pub duration: Millis,
    pub commit: ObjectId,
    pub author: String,
    pub summary: String,
    pub metrics: BTreeMap<String, f64>,
    pub gates: Vec<GateResult>,
    /// Environments where it serves.
    pub serves: Vec<Name>,
    /// Bytes of the artifact.
    pub size: u64,
}

/// One field that differs between Git and live.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FieldDiff {
    pub field: String,
    pub live: Option<String>,
    pub desired: Option<String>,
}

/// `GET /api/v1/commits`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CommitsQuery {
    /// At most so many (default 100, at most 1,000).
    pub limit: Option<usize>,
}

/// How it stands with what a commit caused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Done,
    Going,
    Failed,
}

/// What a commit caused at one model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Consequence {
    /// `None`: at all of them.
    pub model: Option<Name>,
    /// `trained v7 (4m 02s), production v6 → v7`.
    pub words: String,
    pub outcome: Outcome,
}

/// A commit of the source and what it led to, short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommitRow {
    pub revision: Revision,
    /// Whether trimtab made it by itself.
    pub bot: bool,
    /// Commits that it brought in, of a merge; at most 50 are counted.
    pub merged: usize,
    /// Folders of models that it changed, the first few.
    pub models: Vec<String>,
    pub models_changed: usize,
    /// What else it changed in the folder of specs: `datasets`, `trimtab.toml`.
    pub others: Vec<String>,
    /// The newest commit that says to revert it, among those that are listed with it.
    pub reverted_by: Option<ObjectId>,
    /// What failed first; the first few.
    pub consequences: Vec<Consequence>,
    /// Whether more came of it than is told here.
    pub more: bool,
}

/// What a commit asked of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelChanges {
    pub model: Name,
    /// Field by field, the first 50.
    pub reasons: Vec<Reason>,
    pub fields: usize,
}

/// `GET /api/v1/commits/ID`: what it asked for, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommitPage {
    pub commit: CommitRow,
    /// Whole message.
    pub message: String,
    /// By model, the first 50.
    pub changes: Vec<ModelChanges>,
    /// Whether it changed more models.
    pub cut: bool,
    /// What it caused, oldest first.
    pub events: Vec<Event>,
    /// Whether events between the first and the newest were left out.
    pub events_cut: bool,
}

/// `POST /api/v1/revert`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RevertBody {
    /// The commit to undo: an id, or an expression such as `HEAD~1`.
    pub commit: String,
    /// Only say what it would do: nothing is pushed.
    pub dry_run: bool,
    /// The commit on which a dry run was made, as it answered: what a person changed there since is not overruled.
    pub on: Option<ObjectId>,
}

/// What undoing a commit would do, or did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reverted {
    /// One sentence for people.
    pub message: String,
    /// The commit that is undone.
    pub commit: Revision,
    /// The commit on which that was decided.
    pub on: ObjectId,
    /// The message of the commit that undoes it.
    pub text: String,
    /// How many files it changes.
    pub files: usize,
    /// Files outside of the folder of specs that stay as they are.
    pub outside: Vec<String>,
    /// Of a dry run: what would be done.
    pub plan: Option<FleetPlan>,
    /// The commit that was pushed.
    pub revision: Option<Revision>,
}

/// `POST /api/v1/sync`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SyncBody {
    pub prune: bool,
}

/// `POST /api/v1/models/NAME/rollback`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RollbackBody {
    /// The version to go back to; the one before when left out.
    pub to: Option<VersionNumber>,
}

/// `POST /api/v1/models/NAME/approve`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ApproveBody {
    /// Needed when several environments ask for approvals.
    pub environment: Option<Name>,
    /// The version that Git asks for when left out.
    pub version: Option<VersionNumber>,
    /// Nothing is approved when another one than `version` waits by now.
    pub waiting: bool,
    pub comment: Option<String>,
    /// Author of the commit.
    pub name: String,
    /// Address of the author, who must be one of `approve`.
    pub email: String,
}

/// `POST /api/v1/models/NAME/promote`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PromoteBody {
    /// Needed when releases wait in several environments.
    pub environment: Option<Name>,
    /// The version that is meant: when another one waits by now, nothing is let through.
    pub version: Option<VersionNumber>,
    /// Why it does not wait for soak, approval or the end of a freeze; recorded.
    pub reason: String,
}

/// `POST /api/v1/gc`, answered with a [`GcReport`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GcBody {
    /// Only say what would be removed.
    pub dry_run: bool,
}

/// How `POST /api/v1/import` shows who it is: a name with a password, a token, or nothing.
#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ImportLogin {
    pub username: Option<String>,
    pub password: Option<String>,
    pub token: Option<String>,
}

/// `POST /api/v1/import`.
#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ImportBody {
    /// Of the MLflow server to bring from, as the daemon reaches it.
    pub url: String,
    /// Names; with no experiment and no model all of both.
    pub experiments: Vec<String>,
    /// Names; the runs and logged models of their versions come, too.
    pub models: Vec<String>,
    /// Only say what would be brought.
    pub dry_run: bool,
    pub login: ImportLogin,
}

/// `POST /api/v1/backup`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BackupBody {
    /// Absolute path on the daemon's machine, on the unix socket only; without one the answer is the backup itself.
    pub file: Option<std::path::PathBuf>,
}

/// `GET /api/v1/fleet`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct FleetQuery {
    /// Names with commas between them: only these models; counts and the rest are of the whole fleet. All when left out.
    pub models: Option<String>,
    /// Models that had requests in the last five minutes, beside those that are named.
    pub busy: bool,
    /// At most so many, in the order of their names: a page, of which `next` says where it ends when more come after it.
    pub limit: Option<usize>,
    /// The page after the one that ended there.
    pub after: Option<Name>,
    /// The `limit` (default 100) models that need a person first, in the order of their names; no pages follow these.
    pub urgent: bool,
}

/// `GET /api/v1/plan`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PlanQuery {
    /// A commit, branch, tag or expression such as `HEAD~1`; the loaded revision when left out.
    pub rev: Option<String>,
}

/// `GET /api/v1/events`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EventsQuery {
    /// Only events with a higher number; a stream also takes the header `Last-Event-ID`.
    pub after: Option<u64>,
    /// At most so many (default 200, at most 10,000); a stream has no limit.
    pub limit: Option<usize>,
}

/// `GET /api/v1/models/NAME/overrides`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OverridesQuery {
    /// Only those with a lower number: the last of the page before.
    pub before: Option<u64>,
    /// At most so many (default 50, at most 200).
    pub limit: Option<usize>,
}

/// `POST /api/v1/models/NAME/rollout/VERB`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SteerQuery {
    /// Needed when the model rolls out in several.
    pub environment: Option<Name>,
}

/// VERB of `POST /api/v1/models/NAME/rollout/VERB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SteerVerb {
    Pause,
    Resume,
    Promote,
    Abort,
    /// Try again what was rejected.
    Retry,
}

/// `GET .../log`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LogQuery {
    /// Byte to begin at.
    pub from: u64,
    /// Wait for more until the run ends.
    pub follow: bool,
    /// Of replicas: the newest release that did not come up and was given up, instead of what serves.
    pub rejected: bool,
}

/// Answer of commands that change something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Done {
    /// One sentence for people.
    pub message: String,
    pub revision: Option<Revision>,
}

/// Every answer that is no success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    /// MLflow's calls say `message`.
    #[serde(alias = "message")]
    pub error: String,
}
