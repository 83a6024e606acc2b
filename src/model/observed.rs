//! Observed state: what the store last saw to be true of one model.

use super::*;
use litemap::LiteMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc};

/// Whether live is what Git says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SyncStatus {
    Synced,
    OutOfSync,
    Unknown,
}
/// Whether what is live works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Health {
    Healthy,
    Progressing,
    Degraded,
    Suspended,
    Missing,
    Unknown,
}
impl fmt::Display for SyncStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Synced => "Synced",
            Self::OutOfSync => "OutOfSync",
            Self::Unknown => "Unknown",
        })
    }
}
impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Healthy => "Healthy",
            Self::Progressing => "Progressing",
            Self::Degraded => "Degraded",
            Self::Suspended => "Suspended",
            Self::Missing => "Missing",
            Self::Unknown => "Unknown",
        })
    }
}

/// One aspect of a model's state, as in Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Condition {
    /// `SpecValid`, `DataReady`, `Trained`, `GatesPassed`, `Deployed`, `LockPushed`.
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
    pub status: bool,
    /// One CamelCase word.
    pub reason: Cow<'static, str>,
    pub message: String,
    /// When `status` last changed.
    pub since: WallMs,
}

/// What serves: a version, run in one certain way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Release {
    pub version: VersionNumber,
    /// Hash of `[serve]` without `replicas`.
    pub serve: Digest,
}

/// A pipeline that runs, or the newest that failed, for one fingerprint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pipeline {
    pub fingerprint: Digest,
    pub revision: Revision,
    pub attempt: u32,
    pub state: PipelineState,
    pub started: WallMs,
    /// The same on the clock that only goes forward: runs that ended before are of no concern to it.
    #[serde(default)]
    pub since: SteadyMs,
    /// The content that asked for it (`DesiredModel::content`), which holds time limits and the like, too.
    #[serde(default)]
    pub content: Option<Digest>,
    pub stages: Vec<StageProgress>,
}
impl Pipeline {
    /// Whether it runs and one of its stages began: before, it waits until fewer others run.
    pub fn has_begun(&self) -> bool {
        self.state == PipelineState::Running && self.stages.iter().any(|s| s.state != "waiting")
    }
}
/// How a stage of a running pipeline stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StageProgress {
    pub name: Name,
    pub run: Option<RunId>,
    /// `waiting`, `running`, `cached`, `succeeded`, `failed`, `cancelled`.
    pub state: String,
    pub duration: Option<Millis>,
}
/// How a pipeline stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum PipelineState {
    Running,
    /// Failed; tried again at `retry_at` (backoff), or not when `None`; in any case once the content changed, if only to go back.
    Failed {
        reason: String,
        retry_at: Option<SteadyMs>,
    },
}

/// Everything the store knows of one model, but its versions and runs, which have records of their own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObservedModel {
    pub name: Name,
    /// The revision whose desired state was last acted on.
    pub observed_revision: Option<Arc<Revision>>,
    /// The last good desired state; `None` once retired.
    pub desired: Option<Arc<DesiredModel>>,
    /// Diagnostics of the newest spec, when it is broken.
    pub broken: Vec<Diagnostic>,
    pub suspended: bool,
    pub retired: bool,
    /// Current pin of each input: used when content is new and no lock says otherwise.
    pub pins: LiteMap<Name, Pin>,
    /// Pins by the content (`DesiredModel::content`) that first resolved them.
    pub content_pins: LiteMap<Digest, LiteMap<Name, Digest>>,
    /// A failure to resolve data, with the time of the next try.
    pub data_failure: Option<Failure>,
    pub pipeline: Option<Box<Pipeline>>,
    /// Runs of cancelled trainings that may live on: they are ended before anything else is trained, by this daemon or the next.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stopping: Vec<RunId>,
    pub deployments: BTreeMap<Name, Deployment>,
    /// How each release runs, by `Release::serve`.
    pub serves: BTreeMap<Digest, ServeSpec>,
    pub conditions: Vec<Condition>,
    /// Highest version number given out.
    pub last_version: u32,
}
/// A pin and the dataset definition that it was resolved for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    pub dataset: Arc<DatasetSpec>,
    pub snapshot: Digest,
}
/// Names a set of inputs by their datasets and where those come from.
pub fn data_digest(inputs: &BTreeMap<Name, DatasetSpec>) -> Digest {
    let sources: BTreeMap<&Name, (&Name, &DataSource)> =
        inputs.iter().map(|(input, d)| (input, (&d.name, &d.source))).collect();
    // Plain data with string keys: serialising cannot fail.
    Digest::of(&serde_json::to_vec(&sources).unwrap_or_default())
}
/// A failure that is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What failed: [`data_digest`] of the datasets that were asked for. Other data is not held up by it.
    #[serde(default)]
    pub of: Option<Digest>,
    pub reason: String,
    pub attempts: u32,
    pub retry_at: SteadyMs,
}
impl ObservedModel {
    /// Refers to what `loaded` has of the same content, so that a fleet is in memory once.
    pub fn share(&mut self, loaded: &Arc<DesiredModel>) {
        if let Some(desired) = self.desired.as_mut().filter(|d| d.asks_the_same(loaded)) {
            *desired = desired.sharing(loaded);
        }
        for (_, pin) in &mut self.pins {
            if let Some(same) = loaded.datasets.get(&pin.dataset.name).filter(|d| **d == pin.dataset) {
                pin.dataset = same.clone();
            }
        }
    }

    /// A model that was never seen before.
    pub fn new(name: Name) -> Self {
        Self {
            name,
            observed_revision: None,
            desired: None,
            broken: vec![],
            suspended: false,
            retired: false,
            pins: LiteMap::new(),
            content_pins: LiteMap::new(),
            data_failure: None,
            pipeline: None,
            stopping: vec![],
            deployments: BTreeMap::new(),
            serves: BTreeMap::new(),
            conditions: vec![],
            last_version: 0,
        }
    }
}

/// Kinds of events; `kind` in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    SourceMoved,
    SourceRewritten,
    SourceUnreachable,
    SourceRecovered,
    /// The mirror of the remote was damaged and was cloned anew.
    SourceMended,
    SpecBroken,
    SpecFixed,
    /// Fields were taken up that neither train nor move anything.
    SpecTakenUp,
    SnapshotTaken,
    LockCommitted,
    RunStarted,
    RunSucceeded,
    RunFailed,
    RunCancelled,
    VersionRegistered,
    GateFailed,
    RolloutStarted,
    RolloutStep,
    RolloutPaused,
    RolloutAborted,
    /// trimtab committed the revert of what was rejected.
    RevertCommitted,
    Promoted,
    /// A person let a release through before its time.
    Overridden,
    RolledBack,
    /// The first death of a row, or one for another reason.
    ReplicaDied,
    /// A replica that had died is ready and stays so.
    ReplicaRecovered,
    /// Files of a release were changed on disk; they are laid out anew and its replicas replaced.
    DriftHealed,
    Retired,
    RetireHeld,
    Suspended,
    Resumed,
    DaemonStarted,
    /// Old versions, runs and what belonged to them were removed.
    CleanedUp,
    /// Versions cannot be mirrored to another server, or for another reason than before.
    MirrorFailed,
    MirrorRecovered,
    /// Something of a model moved that is worth no record: a wake-up with `seq` 0, never stored. Without a model: requests come in.
    ModelChanged,
}

/// Something that happened, in the order of `seq`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    pub seq: u64,
    pub at: WallMs,
    pub kind: EventKind,
    pub model: Option<Name>,
    pub environment: Option<Name>,
    /// Short commit id, when a commit caused it.
    pub commit: Option<ObjectId>,
    pub author: Option<String>,
    /// One sentence for people.
    pub message: String,
}

/// What keeps the source from being followed. People are told by name, since what helps differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceReason {
    /// The credentials were refused, or may not do this.
    Authentication,
    /// The ssh server's key is not known, or another than the known one.
    HostKey,
    /// The TLS certificate does not check out.
    Certificate,
    /// There is no such repository, or it is not shown to these credentials.
    NotFound,
    /// Nobody answers at that address, or the server has a trouble of its own.
    Unreachable,
    /// It did not answer in time.
    Timeout,
    /// The remote takes no push to this branch.
    PushDeclined,
    /// The branch has no commit yet.
    Empty,
    /// The branch was deleted.
    BranchGone,
    /// There are branches, none of that name.
    NoBranch,
    /// The branch was rewritten, which the settings do not allow.
    Rewritten,
    /// Objects of the repository, or of its mirror here, cannot be read.
    Damaged,
    /// Something else, in words.
    Other,
}
impl SourceReason {
    /// Whether it stays until a person does something; such a remote is asked more seldom, as knocking on with a refused password locks
    /// accounts at many forges.
    pub fn waits_for_a_person(self) -> bool {
        matches!(self, Self::Authentication | Self::HostKey | Self::Certificate | Self::NotFound | Self::PushDeclined)
    }

    /// The words that people read, e.g. `refused the credentials`: what the source did.
    pub fn words(self) -> &'static str {
        match self {
            Self::Authentication => "refused the credentials",
            Self::HostKey => "is not the host that is known",
            Self::Certificate => "shows a certificate that does not check out",
            Self::NotFound => "has no such repository",
            Self::Unreachable => "cannot be reached",
            Self::Timeout => "does not answer in time",
            Self::PushDeclined => "declines the push",
            Self::Empty => "is empty",
            Self::BranchGone => "has lost the branch",
            Self::NoBranch => "has no such branch",
            Self::Damaged => "is damaged",
            Self::Rewritten => "was rewritten",
            Self::Other => "cannot be followed",
        }
    }
}

impl std::fmt::Display for SourceReason {
    /// In a word or two.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Authentication => "credentials refused",
            Self::HostKey => "host key",
            Self::Certificate => "certificate",
            Self::NotFound => "not found",
            Self::Unreachable => "unreachable",
            Self::Timeout => "no answer",
            Self::PushDeclined => "push declined",
            Self::Empty => "no commit",
            Self::BranchGone => "branch deleted",
            Self::NoBranch => "no such branch",
            Self::Damaged => "damaged",
            Self::Rewritten => "rewritten",
            Self::Other => "trouble",
        })
    }
}

/// How the source stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default, JsonSchema)]
pub struct SourceStatus {
    /// Shown; without credentials.
    pub url: String,
    pub branch: String,
    pub path: String,
    pub revision: Option<Revision>,
    /// The last problem, cleared by a good fetch.
    pub error: Option<String>,
    /// What kind of problem `error` is.
    #[serde(default)]
    pub reason: Option<SourceReason>,
    /// Since when the problem stands.
    #[serde(default)]
    pub since: Option<WallMs>,
    /// When the remote is asked again by itself, while there is a problem; `trimtab sync` and a webhook ask at once.
    #[serde(default)]
    pub retry_at: Option<WallMs>,
    pub last_fetch: Option<WallMs>,
    /// Why the bot's newest commit could not be pushed, cleared by a push that went through.
    #[serde(default)]
    pub push_error: Option<String>,
    /// Whether lock commits can be pushed; if not, why.
    pub pins_in_store: Option<String>,
}

/// One replica process as the target sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReplicaStatus {
    pub release: Release,
    pub index: u32,
    pub address: Option<String>,
    pub ready: bool,
    pub restarts: u32,
    /// Why it is not ready, when it is not.
    pub message: Option<String>,
    /// How its newest process died, until another was ready for a while.
    #[serde(default)]
    pub death: Option<Death>,
    /// What became of a file of its release that was found changed on disk, until a new process was ready for a while.
    #[serde(default)]
    pub drift: Option<String>,
}

/// The newest of the deaths of a replica that did not settle since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Death {
    /// How it ended, with its last line of output.
    pub reason: String,
    /// Deaths in a row, this one included.
    pub in_a_row: u32,
    /// Whether a process of this replica was ready before.
    pub was_ready: bool,
}

/// What the router measured of one release since its current rollout step began.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default, JsonSchema)]
pub struct TrafficStats {
    pub requests: u64,
    /// 5xx answers and failed connections.
    pub errors: u64,
    /// Milliseconds.
    pub p50_ms: f64,
    /// Milliseconds.
    #[serde(default)]
    pub p90_ms: f64,
    /// Milliseconds.
    pub p99_ms: f64,
    /// Requests by how long they took, the fastest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub latency: Vec<LatencyBucket>,
    /// Requests without an answer yet, by how long they have waited at least; none of them is counted above.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<LatencyBucket>,
}

/// Requests that took about as long as each other.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LatencyBucket {
    /// Milliseconds that none of them took longer than.
    pub up_to: f64,
    pub requests: u64,
}
impl TrafficStats {
    /// Requests without an answer that have waited longer than so many milliseconds already.
    pub fn overdue(&self, ms: f64) -> u64 {
        self.open.iter().filter(|b| b.up_to > ms).map(|b| b.requests).sum()
    }

    /// What is known of a bound of so many milliseconds: whatever becomes of those that have waited longer, they are too slow, and count as if
    /// they were answered now. Of the others without an answer nothing is known.
    pub fn with_overdue(&self, ms: f64) -> Cow<'_, Self> {
        let late = self.overdue(ms);
        // Answers without a histogram say nothing of quantiles.
        if late == 0 || (self.latency.is_empty() && self.requests > 0) {
            return Cow::Borrowed(self);
        }
        let mut all = Self { requests: self.requests + late, open: vec![], ..self.clone() };
        all.latency.extend(self.open.iter().filter(|b| b.up_to > ms));
        all.latency.sort_by(|a, b| a.up_to.total_cmp(&b.up_to));
        [all.p50_ms, all.p90_ms, all.p99_ms] = [0.5, 0.9, 0.99].map(|q| all.at_quantile(q));
        Cow::Owned(all)
    }

    fn at_quantile(&self, quantile: f64) -> f64 {
        let rank = self.requests as f64 * quantile;
        let mut below = 0;
        let reached = |b: &&LatencyBucket| {
            below += b.requests;
            below as f64 >= rank
        };
        self.latency.iter().find(reached).or(self.latency.last()).map_or(0.0, |b| b.up_to)
    }

    /// Requests that took longer than so many milliseconds.
    pub fn slower_than(&self, ms: f64) -> u64 {
        self.latency.iter().filter(|b| b.up_to > ms).map(|b| b.requests).sum()
    }

    /// Share of requests that failed, 0 to 1.
    pub fn error_rate(&self) -> f64 {
        if self.requests == 0 { 0.0 } else { self.errors as f64 / self.requests as f64 }
    }

    /// Milliseconds that a share of the requests took at most; of the quantiles that are measured.
    pub fn quantile(&self, quantile: f64) -> f64 {
        match quantile {
            q if q <= 0.5 => self.p50_ms,
            q if q <= 0.9 => self.p90_ms,
            _ => self.p99_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_longer_than_a_bound_counts_as_too_slow_and_what_waits_less_not_at_all() {
        let bucket = |up_to, requests| LatencyBucket { up_to, requests };
        let none = TrafficStats { open: vec![bucket(40.0, 2), bucket(900.0, 6)], ..TrafficStats::default() };
        let known = none.with_overdue(100.0);
        assert_eq!((known.requests, known.errors, known.p50_ms, known.p99_ms), (6, 0, 900.0, 900.0));
        assert_eq!((known.slower_than(100.0), known.overdue(0.0)), (6, 0));
        assert_eq!(none.with_overdue(1_000.0).requests, 0);
        let some = TrafficStats { requests: 94, p50_ms: 5.0, latency: vec![bucket(5.0, 94)], ..none.clone() };
        let known = some.with_overdue(100.0);
        assert_eq!((known.requests, known.p50_ms, known.p90_ms, known.p99_ms), (100, 5.0, 5.0, 900.0));
        let unknown = TrafficStats { latency: vec![], ..some };
        assert_eq!(*unknown.with_overdue(100.0), unknown);
    }
}
