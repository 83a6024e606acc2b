//! The watched repository.

use super::{
    backoff, branches,
    bring::Mending,
    checkout, commit,
    damage::Look,
    folder::Folders,
    line::Line,
    location::{Credentials, Location, branch as checked_branch},
    mirror::Mirror,
    remote::Remote,
    tree::{failed, id, oid},
};
use crate::{model::*, ports::*};
use git2::{ErrorCode, Repository};
use notify::{RecursiveMode, Watcher};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::Duration,
};

/// What is watched, and how.
#[derive(Debug, Clone)]
pub struct SourceConfig {
    /// A path or URL, as a person writes it.
    pub location: String,
    /// `None`: the repository's default branch.
    pub branch: Option<String>,
    /// Folder of specs inside the repository; empty for its root.
    pub folder: String,
    pub state: PathBuf,
    /// Used where the URL holds none.
    pub credentials: Credentials,
    pub timeout: Duration,
    pub ca: Option<PathBuf>,
    /// Any number, to spread retries by.
    pub random: fn() -> u64,
}

/// A Git repository as a source.
pub struct GitSource {
    /// Where the objects are: the local repository itself, or the mirror of a remote.
    pub(super) path: PathBuf,
    pub(super) remote: Option<Remote>,
    pub(super) branch: Mutex<Option<String>>,
    folder: String,
    pub(super) shown: String,
    /// One conversation with the remote at a time: two fetches into one mirror would fight over its branch.
    pub(super) talking: Mutex<()>,
    /// Commits of our own that wait for their push.
    line: Line,
    /// Asked for when the daemon ends.
    stop: Cancel,
    random: fn() -> u64,
    pool: Mutex<Pool>,
    pub(super) folders: Folders,
    /// Something in the mirror could not be read: it is checked before it is used again.
    pub(super) doubted: AtomicBool,
    pub(super) mending: Mutex<Mending>,
}

/// libgit2's handles are for one thread at a time; free ones wait here.
#[derive(Default)]
struct Pool {
    free: Vec<Repository>,
    /// Handles of an earlier mirror are not taken back.
    generation: u64,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl GitSource {
    /// Checks the location. What is there is first read by [`Source::fetch`]: a repository that is damaged or gone is told by that.
    pub fn open(config: &SourceConfig) -> PortResult<Self> {
        let (location, in_url) = Location::parse(&config.location).map_err(PortError::permanent)?;
        let branch = config.branch.as_deref().map(checked_branch).transpose().map_err(PortError::permanent)?;
        let shown = location.to_string();
        let given = &config.credentials;
        let credentials = Credentials {
            username: in_url.username.or_else(|| given.username.clone()),
            secret: in_url.secret.or_else(|| given.secret.clone()),
            ssh_key: given.ssh_key.clone(),
            known_hosts: given.known_hosts.clone(),
        };
        let stop = Cancel::default();
        let mut wrong = None;
        let (path, remote) = match &location {
            Location::Local(path) => (path.clone(), None),
            _ => {
                let path = config.state.join("sources").join(&Digest::of(shown.as_bytes()).hex()[..16]);
                let mirror = Mirror { path: path.clone(), trash: config.state.join("trash") };
                wrong = mirror.open()?;
                let remote = Remote {
                    location,
                    credentials,
                    timeout: config.timeout,
                    mirror,
                    ca: config.ca.clone(),
                    stop: stop.clone(),
                };
                (path, Some(remote))
            }
        };
        let source = Self {
            path,
            remote,
            branch: Mutex::new(branch),
            folder: config.folder.clone(),
            shown,
            talking: Mutex::default(),
            line: Line::default(),
            stop,
            random: config.random,
            pool: Mutex::default(),
            folders: Folders::default(),
            doubted: AtomicBool::new(false),
            mending: Mutex::default(),
        };
        if let Some(wrong) = wrong {
            source.note_mending(&wrong);
        }
        source.look(Look::All);
        if let Some((remote, what)) = source.remote.as_ref().zip(source.damaged_object()) {
            source.renew_mirror(remote, &what)?;
        }
        // A detached HEAD is told by the fetch, as is all else that cannot be read.
        let _ = source.with_repo(|repo| source.local_branch(repo));
        Ok(source)
    }

    /// Whether it can be opened; a remote is not asked.
    pub fn is_there(&self) -> PortResult<()> {
        self.with_repo(|_| Ok(()))
    }

    /// Lends a handle.
    pub(super) fn with_repo<T>(&self, body: impl FnOnce(&Repository) -> PortResult<T>) -> PortResult<T> {
        let (free, generation) = {
            let mut pool = lock(&self.pool);
            (pool.free.pop(), pool.generation)
        };
        let repo = match free {
            Some(repo) => repo,
            None => Repository::open(&self.path).map_err(|e| self.unopened(&e))?,
        };
        let result = body(&repo);
        {
            let mut pool = lock(&self.pool);
            if pool.generation == generation {
                pool.free.push(repo);
            }
        }
        result.map_err(|e| if e.reason == Some(SourceReason::Damaged) { self.unreadable(&e) } else { e })
    }

    pub(super) fn forget_handles(&self) {
        let mut pool = lock(&self.pool);
        pool.free.clear();
        pool.generation += 1;
    }

    /// Says why the repository does not open.
    fn unopened(&self, e: &git2::Error) -> PortError {
        let shown = &self.shown;
        if self.remote.is_some() {
            return self.unreadable(&PortError::retryable(e.message()));
        }
        if !self.path.exists() {
            let said = format!(
                "cannot open the repository {shown}: it was moved or deleted, or never was there; put it back, or name its place with --repo"
            );
            return PortError::retryable(said).because(SourceReason::Unreachable);
        }
        if e.code() == ErrorCode::NotFound {
            let said = format!("{shown} is no Git repository: name one with --repo, or make it one with `git init`");
            return PortError::retryable(said).because(SourceReason::NotFound);
        }
        PortError::retryable(format!("cannot open the repository {shown}: {}", e.message()))
            .because(SourceReason::Damaged)
    }

    pub(super) fn branch(&self) -> Option<String> {
        lock(&self.branch).clone()
    }

    /// The branch, once known: the one given, or the repository's default.
    fn local_branch(&self, repo: &Repository) -> PortResult<String> {
        if let Some(b) = self.branch() {
            return Ok(b);
        }
        let head = repo.find_reference("HEAD").map_err(|e| failed(&e))?;
        let name = head.symbolic_target().ok().flatten().and_then(|t| t.strip_prefix("refs/heads/")).map(str::to_owned);
        let name =
            name.ok_or_else(|| PortError::permanent("HEAD is detached: say which branch to follow with --branch"))?;
        if self.remote.is_none() {
            // What a work tree checks out later is not what is followed.
            *lock(&self.branch) = Some(name.clone());
        }
        Ok(name)
    }

    /// The newest commit on the branch, of the objects that are here.
    pub(super) fn local_head(&self, repo: &Repository) -> PortResult<Option<git2::Oid>> {
        let branch = self.local_branch(repo)?;
        match repo.refname_to_id(&format!("refs/heads/{branch}")) {
            Ok(id) => Ok(Some(id)),
            Err(e) if e.code() == ErrorCode::NotFound => Ok(None),
            Err(e) => Err(failed(&e)),
        }
    }

    /// Moves the branch to a commit made on `parent`; `false` when it moved meanwhile.
    fn publish(&self, repo: &Repository, commit: git2::Oid, parent: git2::Oid) -> PortResult<bool> {
        let branch = self.local_branch(repo)?;
        if let Some(remote) = &self.remote {
            return remote.push(&commit.to_string(), &branch);
        }
        match repo.reference_matching(&format!("refs/heads/{branch}"), commit, true, parent, "trimtab") {
            Ok(_) => Ok(true),
            Err(e) if matches!(e.code(), ErrorCode::Modified | ErrorCode::Locked | ErrorCode::Exists) => Ok(false),
            Err(e) => Err(failed(&e)),
        }
    }

    /// The work tree on whose account nothing may be written to the branch now.
    fn holder(&self, repo: &Repository) -> PortResult<Option<PathBuf>> {
        match &self.remote {
            Some(_) => Ok(None),
            None => checkout::holder(repo, &self.local_branch(repo)?),
        }
    }

    fn held(&self, repo: &Repository) -> PortResult<Option<String>> {
        let Some(at) = self.holder(repo)? else { return Ok(None) };
        let branch = self.local_branch(repo)?;
        Ok(Some(format!("`{branch}` is checked out in {}: data stays pinned in the store", at.display())))
    }

    /// Makes these commits on the newest head, one upon the other, and publishes them in one push; again when others were faster: each time
    /// after a longer pause, so that several that race do not go on in step.
    fn write(&self, bots: &[BotCommit]) -> Vec<PortResult<Pushed>> {
        const TRIES: u32 = 12;
        for tried in 0..TRIES {
            if self.stop.is_cancelled() {
                return vec![Err(PortError::retryable(self.stop.reason())); bots.len()];
            }
            if tried > 0 {
                std::thread::sleep(backoff::race(tried, (self.random)()));
            }
            match self.try_write(bots) {
                Ok(Tried::Over(outcomes)) => return outcomes,
                Ok(Tried::Declined(_)) if bots.len() > 1 => return self.write_apart(bots),
                Ok(Tried::Declined(e)) | Err(e) => return vec![Err(e); bots.len()],
                Ok(Tried::Overtaken) => {}
            }
        }
        let e = PortError::retryable(format!("others pushed {TRIES} times in between; tried again later"));
        vec![Err(e); bots.len()]
    }

    fn try_write(&self, bots: &[BotCommit]) -> PortResult<Tried> {
        if self.bring(None)?.is_some() {
            return Err(PortError::retryable("the branch is gone"));
        }
        self.with_repo(|repo| {
            if let Some(why) = self.held(repo)? {
                return Ok(Tried::Over(vec![Ok(Pushed::ReadOnly(why)); bots.len()]));
            }
            let head = self.local_head(repo)?.ok_or_else(|| PortError::retryable("the branch has no commit"))?;
            let mut tip = head;
            let mut outcomes = Vec::with_capacity(bots.len());
            for bot in bots {
                outcomes.push(match commit::files(&self.folders, repo, tip, bot) {
                    Ok(commit::Made::Already) => Ok(Pushed::AlreadyThere),
                    Ok(commit::Made::Superseded) => Ok(Pushed::Superseded),
                    Ok(commit::Made::Commit(new)) => {
                        tip = new;
                        Ok(Pushed::Done(revision(&repo.find_commit(new).map_err(|e| failed(&e))?)))
                    }
                    // A lock that cannot be made stops no other.
                    Err(e) => Err(e),
                });
            }
            if tip == head {
                return Ok(Tried::Over(outcomes));
            }
            match self.publish(repo, tip, head) {
                Ok(false) => Ok(Tried::Overtaken),
                Ok(true) => {
                    if let (Some(_), Ok(branch)) = (&self.remote, self.local_branch(repo)) {
                        // The mirror follows at once; the next fetch would do it too.
                        let _ = repo.reference(&format!("refs/heads/{branch}"), tip, true, "trimtab");
                    }
                    Ok(Tried::Over(outcomes))
                }
                Err(e) if e.reason == Some(SourceReason::PushDeclined) => Ok(Tried::Declined(e)),
                Err(e) => Err(e),
            }
        })
    }

    /// Pushes each by itself, where the remote declined them together: it may want only some of them. Begins anywhere, and gives up after a
    /// few in a row, so that a remote that wants none is not asked for each, and yet each comes to its turn in time.
    fn write_apart(&self, bots: &[BotCommit]) -> Vec<PortResult<Pushed>> {
        const IN_A_ROW: usize = 3;
        let from = (self.random)() as usize % bots.len();
        let (mut outcomes, mut declined) = (Vec::with_capacity(bots.len()), Vec::new());
        for bot in bots[from..].iter().chain(&bots[..from]) {
            let mut outcome = match declined.get(IN_A_ROW - 1) {
                Some(said) => vec![Err(PortError::clone(said))],
                None => self.write(std::slice::from_ref(bot)),
            };
            match outcome.first() {
                Some(Err(e)) if e.reason == Some(SourceReason::PushDeclined) => declined.push(e.clone()),
                _ => declined.clear(),
            }
            outcomes.append(&mut outcome);
        }
        outcomes.rotate_right(from);
        outcomes
    }
}

/// What became of a push.
enum Tried {
    /// Of each commit.
    Over(Vec<PortResult<Pushed>>),
    /// Others were faster.
    Overtaken,
    /// The remote does not want it.
    Declined(PortError),
}

/// What people are shown of a commit.
pub(super) fn revision(commit: &git2::Commit) -> Revision {
    let author = commit.author();
    let text = |b: &[u8]| String::from_utf8_lossy(b).chars().take(200).collect::<String>();
    Revision {
        commit: id(commit.id()),
        tree: id(commit.tree_id()),
        author: text(author.name_bytes()),
        email: text(author.email_bytes()),
        summary: commit.summary_bytes().map(text).unwrap_or_default(),
        time: WallMs(author.when().seconds().saturating_mul(1000)),
    }
}

impl Source for GitSource {
    fn describe(&self) -> SourceStatus {
        // Of a remote it is not known before it was asked.
        let found = if self.remote.is_none() { self.with_repo(|r| self.local_branch(r)).ok() } else { None };
        let branch = found.or_else(|| self.branch()).unwrap_or_default();
        SourceStatus {
            url: self.shown.clone(),
            branch,
            path: self.folder.clone(),
            pins_in_store: self.read_only(),
            ..SourceStatus::default()
        }
    }

    fn read_only(&self) -> Option<String> {
        // What cannot be read is told by the fetch, and again by whoever tries to write.
        self.with_repo(|r| self.held(r)).ok().flatten()
    }

    fn fetch(&self, previous: Option<&ObjectId>) -> PortResult<Fetched> {
        if let Some(nothing) = self.bring(previous)? {
            return Ok(nothing);
        }
        if self.remote.is_none() && !self.path.exists() {
            // Handles that are open would find nothing in it.
            self.forget_handles();
        }
        self.with_repo(|repo| {
            let Some(head) = self.local_head(repo)? else {
                if previous.is_some() {
                    return Ok(Fetched::BranchGone);
                }
                return self.no_branch(&self.local_branch(repo)?, branches::local(repo)?);
            };
            if self.remote.is_none() {
                self.look_at(previous, Some(head));
            }
            self.folders.loose.refuse(head)?;
            let commit = repo.find_commit(head).map_err(|e| failed(&e))?;
            let rewritten = match previous.map(oid).transpose()? {
                Some(old) if old != head => {
                    self.folders.loose.refuse_history(repo, &[head, old])?;
                    !repo.graph_descendant_of(head, old).unwrap_or(false)
                }
                _ => false,
            };
            let mended = lock(&self.mending).what.take();
            Ok(Fetched::Head { revision: revision(&commit), rewritten, mended })
        })
    }

    fn resolve(&self, text: &str) -> PortResult<Revision> {
        let here = |name: &str| {
            self.look(Look::New);
            self.with_repo(|repo| {
                self.folders.loose.refuse_any()?;
                let found = repo.revparse_single(name).and_then(|o| o.peel_to_commit());
                let commit = found.map_err(|e| {
                    PortError::permanent(format!("there is no commit `{}`: {}", text.escape_debug(), e.message()))
                })?;
                Ok(revision(&commit))
            })
        };
        let Some(remote) = &self.remote else { return here(text) };
        let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
        here(text).or_else(|missing| {
            // Another branch of the remote, or the head of a pull request: the mirror holds only what is followed.
            if !plain || text.starts_with('-') || text.contains("..") {
                return Err(missing);
            }
            let _talking = lock(&self.talking);
            remote.fetch_aside(text).map_err(|e| if e.message.contains("remote ref") { missing } else { e })?;
            here("refs/trimtab/asked")
        })
    }

    fn log(&self, old: Option<&ObjectId>, new: &ObjectId, paths: &[String], limit: usize) -> PortResult<Vec<Revision>> {
        self.with_repo(|repo| commit::log(&self.folders, repo, old, new, paths, limit))
    }

    fn blame(
        &self,
        old: Option<&ObjectId>,
        new: &ObjectId,
        paths: &[(Name, Vec<String>)],
    ) -> PortResult<Vec<(Name, Revision)>> {
        self.with_repo(|repo| commit::blame(&self.folders, repo, old, new, paths))
    }

    fn made_by(&self, new: &ObjectId, path: &str) -> PortResult<Option<Revision>> {
        self.with_repo(|repo| commit::made_by(&self.folders, repo, new, path))
    }

    fn recent(&self, new: &ObjectId, since: WallMs) -> PortResult<Vec<Revision>> {
        self.with_repo(|repo| commit::recent(&self.folders, repo, new, since))
    }

    fn push(&self, bot: &BotCommit) -> PortResult<Pushed> {
        self.line.push(bot, |bots| self.write(bots))
    }

    fn stop(&self) {
        self.stop.cancel("the daemon is stopping");
    }

    fn watch(&self, wake: Arc<dyn Fn() + Send + Sync>) -> PortResult<Box<dyn Send>> {
        if self.remote.is_some() {
            return Ok(Box::new(()));
        }
        let git_dir = self.with_repo(|r| Ok(r.commondir().to_path_buf()))?;
        let refused = |e: notify::Error| PortError::retryable(format!("cannot watch {}: {e}", self.shown));
        let relevant = |p: &Path| {
            let name = p.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            !name.ends_with(".lock")
                && (name == "packed-refs" || name == "HEAD" || p.components().any(|c| c.as_os_str() == "refs"))
        };
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // An error means that events may be lost, which is a reason to look.
            if event.map_or(true, |e| !e.kind.is_access() && e.paths.iter().any(|p| relevant(p))) {
                wake();
            }
        })
        .map_err(refused)?;
        watcher.watch(&git_dir, RecursiveMode::NonRecursive).map_err(refused)?;
        watcher.watch(&git_dir.join("refs"), RecursiveMode::Recursive).map_err(refused)?;
        Ok(Box::new(watcher))
    }
}
