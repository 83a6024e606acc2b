//! The watched repository.

use super::{
    backoff, checkout, commit,
    folder::Folders,
    location::{Credentials, Location, branch as checked_branch},
    remote::{self, Remote},
    tree::{failed, id, oid},
};
use crate::{model::*, ports::*};
use git2::{ErrorCode, Repository};
use notify::{RecursiveMode, Watcher};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
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
    path: PathBuf,
    remote: Option<Remote>,
    branch: Mutex<Option<String>>,
    folder: String,
    shown: String,
    /// One conversation with the remote at a time: two fetches into one mirror would fight over its branch.
    talking: Mutex<()>,
    /// One commit of our own at a time: two would only race with each other.
    writing: Mutex<()>,
    /// Asked for when the daemon ends.
    stop: Cancel,
    random: fn() -> u64,
    /// libgit2's handles are for one thread at a time; free ones wait here.
    pool: Mutex<Vec<Repository>>,
    pub(super) folders: Folders,
}

impl GitSource {
    /// Checks the location and opens what is local. A remote is first asked by [`Source::fetch`].
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
        let (path, remote) = match &location {
            Location::Local(path) => (path.clone(), None),
            _ => {
                let mirror = config.state.join("sources").join(&Digest::of(shown.as_bytes()).hex()[..16]);
                remote::mirror(&mirror)?;
                let remote = Remote {
                    location,
                    credentials,
                    timeout: config.timeout,
                    mirror: mirror.clone(),
                    ca: config.ca.clone(),
                    stop: stop.clone(),
                };
                (mirror, Some(remote))
            }
        };
        let source = Self {
            path,
            remote,
            branch: Mutex::new(branch),
            folder: config.folder.clone(),
            shown,
            talking: Mutex::default(),
            writing: Mutex::default(),
            stop,
            random: config.random,
            pool: Mutex::default(),
            folders: Folders::default(),
        };
        // What a work tree checks out later is not what is followed; a detached HEAD is told by the fetch.
        let found = source.with_repo(|repo| Ok(source.local_branch(repo).ok()))?;
        if source.remote.is_none() {
            *source.branch.lock().unwrap_or_else(PoisonError::into_inner) = found;
        }
        Ok(source)
    }

    /// Lends a handle.
    pub(super) fn with_repo<T>(&self, body: impl FnOnce(&Repository) -> PortResult<T>) -> PortResult<T> {
        let free = self.pool.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let repo = match free {
            Some(repo) => repo,
            None => Repository::open(&self.path).map_err(|e| {
                PortError::permanent(format!("cannot open the repository {}: {}", self.shown, e.message()))
            })?,
        };
        let result = body(&repo);
        self.pool.lock().unwrap_or_else(PoisonError::into_inner).push(repo);
        result
    }

    fn branch(&self) -> Option<String> {
        self.branch.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The branch, once known: the one given, or the repository's default.
    fn local_branch(&self, repo: &Repository) -> PortResult<String> {
        if let Some(b) = self.branch() {
            return Ok(b);
        }
        let head = repo.find_reference("HEAD").map_err(|e| failed(&e))?;
        let name = head.symbolic_target().ok().flatten().and_then(|t| t.strip_prefix("refs/heads/")).map(str::to_owned);
        name.ok_or_else(|| PortError::permanent("HEAD is detached: say which branch to follow with --branch"))
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

    /// Brings the mirror of a remote up to date; `Err(Ok(..))` says that there is nothing to bring.
    fn bring(&self, previous: Option<&ObjectId>) -> PortResult<Option<Fetched>> {
        let Some(remote) = &self.remote else { return Ok(None) };
        let _talking = self.talking.lock().unwrap_or_else(PoisonError::into_inner);
        let branch = match self.branch() {
            Some(branch) => Some(branch),
            None => remote.default_branch()?,
        };
        let Some(branch) = branch else { return Ok(Some(Fetched::Empty)) };
        if !remote.fetch(&branch)? {
            return Ok(Some(if previous.is_some() { Fetched::BranchGone } else { Fetched::Empty }));
        }
        *self.branch.lock().unwrap_or_else(PoisonError::into_inner) = Some(branch);
        Ok(None)
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

    /// Makes a commit by `make` on the newest head and publishes it, again when others were faster: each time after a longer pause, so that
    /// several that race do not go on in step.
    fn write(&self, make: impl Fn(&Repository, git2::Oid) -> PortResult<commit::Made>) -> PortResult<Pushed> {
        const TRIES: u32 = 12;
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        for tried in 0..TRIES {
            if self.stop.is_cancelled() {
                return Err(PortError::retryable(self.stop.reason()));
            }
            if tried > 0 {
                std::thread::sleep(backoff::race(tried, (self.random)()));
            }
            if self.bring(None)?.is_some() {
                return Err(PortError::retryable("the branch is gone"));
            }
            let outcome = self.with_repo(|repo| {
                if let Some(why) = self.held(repo)? {
                    return Ok(Some(Pushed::ReadOnly(why)));
                }
                let head = self.local_head(repo)?.ok_or_else(|| PortError::retryable("the branch has no commit"))?;
                match make(repo, head)? {
                    commit::Made::Already => Ok(Some(Pushed::AlreadyThere)),
                    commit::Made::Superseded => Ok(Some(Pushed::Superseded)),
                    commit::Made::Commit(new) if self.publish(repo, new, head)? => {
                        if let (Some(_), Ok(branch)) = (&self.remote, self.local_branch(repo)) {
                            // The mirror follows at once; the next fetch would do it too.
                            let _ = repo.reference(&format!("refs/heads/{branch}"), new, true, "trimtab");
                        }
                        Ok(Some(Pushed::Done(revision(&repo.find_commit(new).map_err(|e| failed(&e))?))))
                    }
                    commit::Made::Commit(_) => Ok(None),
                }
            })?;
            if let Some(done) = outcome {
                return Ok(done);
            }
        }
        Err(PortError::retryable(format!("others pushed {TRIES} times in between; tried again later")))
    }
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
        let branch = self.with_repo(|r| self.local_branch(r)).ok().or_else(|| self.branch()).unwrap_or_default();
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
        self.with_repo(|repo| {
            let Some(head) = self.local_head(repo)? else {
                return Ok(if previous.is_some() { Fetched::BranchGone } else { Fetched::Empty });
            };
            let commit = repo.find_commit(head).map_err(|e| failed(&e))?;
            let rewritten = match previous.map(oid).transpose()? {
                Some(old) if old != head => !repo.graph_descendant_of(head, old).unwrap_or(false),
                _ => false,
            };
            Ok(Fetched::Head { revision: revision(&commit), rewritten })
        })
    }

    fn resolve(&self, text: &str) -> PortResult<Revision> {
        let here = |name: &str| {
            self.with_repo(|repo| {
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
            let _talking = self.talking.lock().unwrap_or_else(PoisonError::into_inner);
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

    fn recent(&self, new: &ObjectId, since: WallMs) -> PortResult<Vec<Revision>> {
        self.with_repo(|repo| commit::recent(repo, new, since))
    }

    fn push(&self, bot: &BotCommit) -> PortResult<Pushed> {
        self.write(|repo, head| commit::files(&self.folders, repo, head, bot))
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
