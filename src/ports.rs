//! The traits at the edge. All calls block unless said otherwise; callers put them on threads of their own.
//! Every effect is idempotent: repeating a call after a crash finds what the first one did.

mod history;
mod uploads;

pub use history::*;
pub use uploads::*;

use crate::model::*;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

/// An error at an adapter, told to people; `retryable` when the same call may go through later.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct PortError {
    pub message: String,
    pub retryable: bool,
    /// What kind of problem with the source this is.
    pub reason: Option<SourceReason>,
}
impl PortError {
    /// May go through later.
    pub fn retryable(message: impl Into<String>) -> Self {
        Self { message: message.into(), retryable: true, reason: None }
    }
    /// Will fail again until something is changed.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self { message: message.into(), retryable: false, reason: None }
    }
}
impl PortError {
    /// The same, of this kind.
    pub fn because(self, reason: SourceReason) -> Self {
        Self { reason: Some(reason), ..self }
    }
}
/// What ports return.
pub type PortResult<T> = Result<T, PortError>;

/// Reads the clocks.
pub trait Clock: Send + Sync {
    fn now(&self) -> Now;
}

/// One path that differs between two trees. `new` is `None` for a deleted path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeChange {
    pub path: String,
    pub old: Option<TreeEntry>,
    pub new: Option<TreeEntry>,
}

/// Reads the objects of a fetched Git repository, by id. Nothing is checked out. Paths are relative to the repo's root.
pub trait GitTree: Send + Sync {
    /// Files (blobs, symlinks `0o120000`, submodules `0o160000`) under `folder` that differ between two root trees, found by
    /// object id alone. `old = None`: everything. Non-UTF-8 paths are given lossily with U+FFFD.
    fn changes(&self, old: Option<&ObjectId>, new: &ObjectId, folder: &str) -> PortResult<Vec<TreeChange>>;
    /// All files below `folder` of root tree `tree`, in path order. Empty when there is no such folder.
    fn list(&self, tree: &ObjectId, folder: &str) -> PortResult<Vec<TreeEntry>>;
    /// The object id of a file or folder, without reading what is below it.
    fn entry(&self, tree: &ObjectId, path: &str) -> PortResult<Option<TreeEntry>>;
    /// The bytes of a blob, without reading it.
    fn size(&self, id: &ObjectId) -> PortResult<u64>;
    /// A blob; an error past `limit` bytes, found without reading it.
    fn blob(&self, id: &ObjectId, limit: u64) -> PortResult<Vec<u8>>;
}

/// Result of asking the remote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// The branch's head; `rewritten` when it is no descendant of `previous`, `mended` with what was damaged when what is kept here of the
    /// remote had to be fetched anew.
    Head { revision: Revision, rewritten: bool, mended: Option<String> },
    /// The repo has no commit.
    Empty,
    /// The branch is gone; the last revision stays.
    BranchGone,
}

/// A file to be committed by the bot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    pub path: String,
    pub content: FileContent,
}

/// What a file becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileContent {
    Bytes(Vec<u8>),
    /// A blob that the repository has, with its mode.
    Object(TreeEntry),
    Deleted,
}

/// A commit that trimtab makes itself.
#[derive(Debug, Clone)]
pub struct BotCommit {
    pub files: Vec<FileChange>,
    /// Whole message with trailers.
    pub message: String,
    pub name: String,
    pub email: String,
    /// The commit on whose content this was decided: if a person changed one of the files or anything under `guard` since, the commit
    /// is dropped.
    pub decided_on: ObjectId,
    /// Folder of the model.
    pub guard: String,
}

/// What became of a bot commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pushed {
    Done(Revision),
    /// Head already has this content: nothing was committed.
    AlreadyThere,
    /// A person changed the model meanwhile; their commit wins.
    Superseded,
    /// This source is never written to (checked-out branch, no push permission, `push = false`), with the reason.
    ReadOnly(String),
}

/// The watched repository.
pub trait Source: History {
    /// Where it stands, for people: credentials removed.
    fn describe(&self) -> SourceStatus;
    /// Asks the remote for the branch's head and fetches its objects. Bounded by the source's time limit.
    fn fetch(&self, previous: Option<&ObjectId>) -> PortResult<Fetched>;
    /// Why nothing can be written to the branch as it stands now, e.g. since somebody has it checked out. Cheap; asks nobody else.
    fn read_only(&self) -> Option<String>;
    /// A commit by its id, branch, tag or an expression such as `HEAD~1`, of the objects that are here.
    fn resolve(&self, revision: &str) -> PortResult<Revision>;
    /// Commits that lead from `old` (exclusive) to `new`, newest first, that touch any of `paths` (files or folders); at most `limit`.
    fn log(&self, old: Option<&ObjectId>, new: &ObjectId, paths: &[String], limit: usize) -> PortResult<Vec<Revision>>;
    /// The newest commit from `old` (exclusive) to `new` that changed any of a name's paths, as `git log -- PATHS` finds it: a merge that took
    /// one side as it was is not to blame. Names that no commit of the first hundreds changed are left out.
    fn blame(
        &self,
        old: Option<&ObjectId>,
        new: &ObjectId,
        paths: &[(Name, Vec<String>)],
    ) -> PortResult<Vec<(Name, Revision)>>;
    /// The commit that gave a file the content that it has at `new`; of a merge, the one on the side that it came from.
    fn made_by(&self, new: &ObjectId, path: &str) -> PortResult<Option<Revision>>;
    /// The commits that lead to `new` and were made at `since` or later, and those right before them; without `new` itself. Newest first.
    fn recent(&self, new: &ObjectId, since: WallMs) -> PortResult<Vec<Revision>>;
    /// Commits on the newest head and pushes; on a lost race fetches and reapplies. Commits that are asked for while one is pushed share
    /// the next push.
    fn push(&self, commit: &BotCommit) -> PortResult<Pushed>;
    /// Ends at once what is being said to the remote, and refuses to say more: for a daemon that ends.
    fn stop(&self);
    /// Calls `wake` when the remote may have moved (local repos: file notifications). Returns a guard; polling is the caller's.
    fn watch(&self, wake: Arc<dyn Fn() + Send + Sync>) -> PortResult<Box<dyn Send>>;
}

/// How a file of the store is given away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lay {
    /// Read-only, a copy: whatever happens to it, the store keeps its own.
    Copied,
    /// A copy that may be written to.
    Writable,
}

/// Content-addressed files below `state/artifacts/`.
pub trait ArtifactStore: Uploads {
    /// Takes every file below `folder` in (hashed in parallel, hard links or reflinks where the file system can) and
    /// returns their manifest. Symlinks that lead outside the folder are refused.
    fn put_folder(&self, folder: &Path) -> PortResult<Manifest>;
    /// Takes one file in, under `name`.
    fn put_file(&self, file: &Path, name: &str) -> PortResult<FileEntry>;
    /// Takes bytes in.
    fn put_bytes(&self, bytes: &[u8], name: &str) -> PortResult<FileEntry>;
    /// The digest and size of any file, taken in or not.
    fn digest(&self, file: &Path) -> PortResult<(Digest, u64)>;
    /// Lays the manifest out below `folder`, complete or not at all. A file whose content no longer has its digest is refused.
    fn materialise(&self, manifest: &Manifest, folder: &Path, how: Lay) -> PortResult<()>;
    /// Puts one file in the place of whatever is there, whole or not at all; refused as above.
    fn replace(&self, file: &FileEntry, place: &Path, how: Lay) -> PortResult<()>;
    /// The content of one file.
    fn read(&self, digest: &Digest) -> PortResult<Vec<u8>>;
    /// Whether the content is here. What is, is claimed: see [`Claims`].
    fn has(&self, digest: &Digest) -> bool;
}

/// Where in the state folder something lies that only a record, or a claim, keeps there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A content-addressed file.
    File,
    /// The folder of a run.
    Run,
    /// A snapshot as runs see it.
    Layout,
    /// A Python environment.
    Environment,
    /// What `trimtab run` remembers of a stage.
    Memory,
}

/// Something in the state folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub place: Place,
    /// Of the file or folder.
    pub name: String,
    /// What a claim on it names: the digest in its name, or the hash of a run's id.
    pub key: Digest,
    /// When it was last written; for an order only.
    pub modified: WallMs,
}

/// The state folder, for those who tidy it up.
pub trait Disk: Send + Sync {
    /// Everything at a place.
    fn each(&self, place: Place, visit: &mut dyn FnMut(Stored)) -> PortResult<()>;
    /// Bytes that removing it frees, its links to content-addressed files left aside.
    fn size(&self, stored: &Stored) -> u64;
    /// Removes it whole or not at all; `false` when it is claimed or in use.
    fn remove(&self, stored: &Stored) -> PortResult<bool>;
    /// Whether a process of the run lives.
    fn is_alive(&self, run: &Stored) -> bool;
    /// The run that was remembered; `None` when it cannot be read.
    fn remembered(&self, memory: &Stored) -> Option<Run>;
    /// Forgets files in parts that nobody waits for any more.
    fn drop_late_parts(&self, now: SteadyMs) -> PortResult<()>;
    /// Keeps other processes from taking anything in while the guard lives; `None` while one does.
    fn alone(&self) -> PortResult<Option<Box<dyn Send>>>;
}

/// What tasks rely on though no record says so yet: files that they put, or found and will use again; snapshots; runs.
///
/// Guarantee: what is claimed while a [`Hold`] lives is not removed before that hold, and every clean-up that overlaps with it, ended. A task
/// takes a hold first, claims before it looks whether something is there, and commits the record that refers to it before it lets go.
#[derive(Debug, Default)]
pub struct Claims(Mutex<Claimed>);

#[derive(Debug, Default)]
struct Claimed {
    /// Of the next claim or hold; 0 is for holds that let nothing go.
    next: u64,
    keys: HashMap<Digest, u64>,
    holds: BTreeSet<u64>,
}

/// Keeps every claim that is made while it lives.
#[derive(Debug)]
pub struct Hold {
    claims: Arc<Claims>,
    since: u64,
}

/// Claims as they are; nobody can claim while this lives.
pub struct Frozen<'a>(MutexGuard<'a, Claimed>);
impl Frozen<'_> {
    /// Whether somebody relies on it.
    pub fn has(&self, key: &Digest) -> bool {
        self.0.keys.contains_key(key)
    }
}

impl Claims {
    /// For a task, which keeps what is claimed from now on.
    pub fn hold(self: &Arc<Self>) -> Hold {
        let mut all = self.lock();
        all.next += 1;
        let since = all.next;
        all.holds.insert(since);
        Hold { claims: self.clone(), since }
    }

    /// For a clean-up, which keeps every claim that stands now or comes. One at a time.
    pub fn hold_all(self: &Arc<Self>) -> Hold {
        self.lock().holds.insert(0);
        Hold { claims: self.clone(), since: 0 }
    }

    /// Says that these are relied on. Without a hold anywhere there is nobody to say it for.
    pub fn claim(&self, keys: impl IntoIterator<Item = Digest>) {
        let mut all = self.lock();
        if all.holds.is_empty() {
            return;
        }
        all.next += 1;
        let now = all.next;
        all.keys.extend(keys.into_iter().map(|key| (key, now)));
    }

    /// To look and act in one.
    pub fn freeze(&self) -> Frozen<'_> {
        Frozen(self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Claimed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut all = self.claims.lock();
        all.holds.remove(&self.since);
        let oldest = all.holds.first().copied().unwrap_or(u64::MAX);
        all.keys.retain(|_, at| *at >= oldest);
    }
}

/// Datasets to snapshots.
pub trait Datasets: Send + Sync {
    /// The dataset's snapshot of now. Files whose size, mtime and inode stand are not read again. A cancel is heeded between two files, and
    /// between two pieces of a download.
    fn snapshot(&self, dataset: &DatasetSpec, now: WallMs, cancel: &Cancel) -> PortResult<Snapshot>;
    /// Where a run finds the snapshot's data (read-only, shared by runs, below the state folder): a file or a folder.
    fn locate(&self, snapshot: &Snapshot) -> PortResult<PathBuf>;
}

/// A version of a registered model, as a client left it.
#[derive(Debug, Clone, PartialEq)]
pub struct RegisteredFiles {
    pub files: Manifest,
    /// The newest metrics of the run that made it.
    pub metrics: BTreeMap<String, f64>,
}

/// Versions that are registered with the tracking server, by trimtab or by clients.
pub trait Registry: Send + Sync {
    /// The version of `fraud@champion` or `fraud/7`, now.
    fn find(&self, reference: &str) -> PortResult<RegisteredFiles>;
    /// Whether a version of a model is known there.
    fn knows(&self, model: &Name, number: VersionNumber) -> bool;
    /// Makes a version of the loop known to clients; once.
    fn publish(&self, version: &Version) -> PortResult<()>;
    /// Has the aliases of a model that are names of environments point at what these serve. Cheap when they do.
    fn serves(&self, model: &Name, environments: &BTreeMap<Name, VersionNumber>) -> PortResult<()>;
    /// Forgets a version of the loop.
    fn withdraw(&self, model: &Name, number: VersionNumber) -> PortResult<()>;
}

/// Asks a running effect to stop, and says why. Cloned freely.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<OnceLock<String>>);
impl Cancel {
    /// Asks; the first reason stands.
    pub fn cancel(&self, reason: &str) {
        let _ = self.0.set(reason.to_owned());
    }
    /// Whether it was asked.
    pub fn is_cancelled(&self) -> bool {
        self.0.get().is_some()
    }
    /// Why it was asked; empty before.
    pub fn reason(&self) -> &str {
        self.0.get().map_or("", String::as_str)
    }
    /// What an effect that stopped for it returns.
    pub fn error(&self) -> PortError {
        PortError::permanent(format!("stopped: {}", self.reason()))
    }
}

/// One pipeline to execute.
#[derive(Debug, Clone)]
pub struct PipelineJob {
    pub model: Arc<DesiredModel>,
    pub revision: Revision,
    pub fingerprint: Digest,
    pub attempt: u32,
    pub snapshots: BTreeMap<Name, Snapshot>,
}

/// A run as it is told to whoever tracks runs.
#[derive(Debug, Clone)]
pub struct TrackedRun<'a> {
    pub run: &'a Run,
    pub revision: &'a Revision,
    pub params: &'a Params,
}

/// One value that a run wrote into its file of metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedMetric {
    pub name: String,
    pub value: f64,
    pub step: i64,
}

/// Keeps track of runs beside what they log themselves. Each call returns once it is durable.
pub trait RunTracker: Send + Sync {
    /// A run is about to start, or goes on; the variables by which its process finds the tracking server.
    fn begin(&self, run: &TrackedRun<'_>) -> PortResult<BTreeMap<String, String>>;
    /// A run ended, having written these metrics; the newest values of all that were logged for it.
    fn end(&self, run: &TrackedRun<'_>, metrics: &[LoggedMetric]) -> PortResult<BTreeMap<String, f64>>;
}

/// What a pipeline that succeeded left behind.
#[derive(Debug, Clone)]
pub struct PipelineOutcome {
    pub artifact: Manifest,
    pub code_files: Manifest,
    pub metrics: BTreeMap<String, f64>,
    pub stages: Vec<StageOutcome>,
    pub python: Option<Digest>,
    pub packages: Vec<String>,
    pub host: String,
    pub duration: Millis,
}

/// Is told of a pipeline's progress and keeps its runs; each call returns once it is durable.
pub trait PipelineObserver: Send + Sync {
    /// A succeeded run with this stage key, whose outputs can be reused.
    fn cached(&self, key: &Digest) -> Option<Run>;
    /// Whether this run is nothing to this pipeline: it was cancelled, or failed before the pipeline began. It is not taken up, but executed
    /// anew under another number.
    fn is_over(&self, run: &RunId) -> bool;
    /// A run that was recorded before, by a daemon that died meanwhile.
    fn recorded(&self, id: &RunId) -> Option<Run>;
    /// A run is about to start (intention) or has ended (outcome).
    fn record(&self, run: &Run) -> PortResult<()>;
    /// The stages as they stand.
    fn progress(&self, stages: &[StageProgress]);
}

/// Executes pipelines. Runs live under shims, so that executing the same job after a daemon's death adopts them.
pub trait Trainer: Send + Sync {
    /// Runs all stages; returns when the pipeline ended. `Err` names the stage that failed with its last lines of output.
    fn execute(
        &self,
        job: &PipelineJob,
        observer: &dyn PipelineObserver,
        cancel: &Cancel,
    ) -> PortResult<PipelineOutcome>;
    /// Ends what still runs of a run that nobody waits for; returns once it is gone.
    fn stop(&self, run: &RunId);
    /// What a run printed.
    fn log(&self, run: &RunId) -> PathBuf;
}

/// One release that should exist, with its share of traffic.
#[derive(Debug, Clone)]
pub struct WantedRelease {
    pub release: Release,
    pub version: Arc<Version>,
    pub serve: ServeSpec,
    /// Percent of traffic; 0 keeps it warm.
    pub weight: f64,
}

/// How callers come to the releases of an environment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Manner {
    pub sticky: Option<Sticky>,
    /// Whether callers may choose a version.
    pub forced: bool,
    pub limit: Option<RequestLimit>,
    /// How long a replica may take until it begins its answer, where the target's own bound is not meant.
    pub timeout: Option<Millis>,
    /// Releases that were rejected: none of them answers in place of another.
    pub rejected: Vec<Release>,
    /// The release that the preview address leads to.
    pub preview: Option<Release>,
    pub copies: Option<Copies>,
    /// Whether replicas of one release end before those of another start.
    pub exclusive: bool,
}

/// Traffic that is copied to a release, which answers nobody.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Copies {
    pub release: Release,
    /// Percent of the traffic.
    pub share: f64,
    /// Largest absolute difference of two numbers that agree.
    pub tolerance: f64,
}

/// Everything that should exist for a model in an environment. Empty `releases`: nothing.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub manner: Manner,
    pub environment: Name,
    pub model: Name,
    /// Whether `/models/NAME/` leads here.
    pub live: bool,
    pub releases: Vec<WantedRelease>,
}

/// Of what a figure is asked for.
#[derive(Debug, Clone)]
pub struct Measured {
    pub environment: Name,
    pub model: Name,
    pub version: VersionNumber,
    /// The version that serves beside it.
    pub stable: Option<VersionNumber>,
    /// The version whose figure is asked for, too.
    pub compared_with: Option<VersionNumber>,
    /// Where the version can be called.
    pub preview: Option<String>,
}

/// Where figures come from that the router does not have.
pub trait Metrics: Send + Sync {
    /// Asks once, bounded in time.
    fn ask(&self, metric: &AnalysisMetric, of: &Measured) -> Answer;
}

/// A mechanism that serves releases.
pub trait Target: Send + Sync {
    /// Makes it so: returns at once after noting what is wanted; processes start, drain and stop behind it. Traffic moves
    /// only to ready replicas: while a wanted release has none, its share stays with those that have.
    fn apply(&self, wanted: &Wanted) -> PortResult<()>;
    /// Replicas as they are now.
    fn replicas(&self, environment: &Name, model: &Name) -> Vec<ReplicaStatus>;
    /// What the router measured of a rollout since its step began.
    fn traffic(&self, environment: &Name, model: &Name, rollout: &Rollout) -> Traffic;
    /// What the router measured of a release: since its share of the traffic changed, and over the last 10 seconds.
    fn served(&self, environment: &Name, model: &Name, release: Release) -> Served;
    /// What was asked of models lately, by environment and model: those that had no request in the last five minutes are left out. The
    /// mechanism is asked at most once a second.
    fn recent(&self) -> Arc<HashMap<(Name, Name), Recent>>;
    /// Whether anything was asked of any release in the last 10 seconds.
    fn busy(&self) -> bool;
    /// The release that has all traffic, as the router confirmed it; `None` while several share it or none serves.
    fn routed(&self, environment: &Name, model: &Name) -> Option<Release>;
    /// The log of the newest replica; `rejected`: of the newest release that died and was given up.
    fn log(&self, environment: &Name, model: &Name, rejected: bool) -> Option<PathBuf>;
    /// What the router counted since it started, in Prometheus text.
    fn metrics(&self) -> PortResult<String>;
    /// Where traffic enters, e.g. `http://127.0.0.1:8080`.
    fn address(&self) -> Option<String>;
    /// Why traffic does not enter, when it does not.
    fn trouble(&self) -> Option<String>;
}
