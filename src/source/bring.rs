//! Bringing the mirror of a remote up to date, and anew when it is damaged.

use super::{
    branches,
    damage::Look,
    git::{GitSource, lock},
    remote::Remote,
    tree::id,
};
use crate::{model::*, ports::*};
use git2::Repository;
use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

/// What became of damaged mirrors.
#[derive(Default)]
pub(super) struct Mending {
    /// What was damaged, until it is told.
    pub what: Option<String>,
    last: Option<Instant>,
}

/// Least time between two mirrors that are set aside: a disk that damages all that it is given is not fed for ever.
const MENDED_EVERY: Duration = Duration::from_secs(600);

impl GitSource {
    /// Brings the mirror of a remote up to date; what there is to say instead when there is nothing to bring. A mirror that turns out to be
    /// damaged is fetched anew.
    pub(super) fn bring(&self, previous: Option<&ObjectId>) -> PortResult<Option<Fetched>> {
        let Some(remote) = &self.remote else { return Ok(None) };
        let _talking = lock(&self.talking);
        if self.doubted.swap(false, Ordering::AcqRel)
            && let Some(what) = self.damage(remote)
        {
            self.renew_mirror(remote, &what)?;
        }
        let brought = self.bring_once(remote, previous);
        let damage = match &brought {
            Err(e) if e.reason == Some(SourceReason::Damaged) => self.damage(remote),
            Err(_) => None,
            Ok(_) => self.damaged_object(),
        };
        let Some(what) = damage else { return brought };
        self.renew_mirror(remote, &what)?;
        self.bring_once(remote, previous)
    }

    fn bring_once(&self, remote: &Remote, previous: Option<&ObjectId>) -> PortResult<Option<Fetched>> {
        let branch = match self.branch() {
            Some(branch) => Some(branch),
            None => remote.default_branch()?,
        };
        let Some(branch) = branch else {
            let all = remote.branches()?;
            return if all.is_empty() { Ok(Some(Fetched::Empty)) } else { Err(branches::no_default(&self.shown, all)) };
        };
        if !remote.fetch(&branch)? {
            if previous.is_some() {
                return Ok(Some(Fetched::BranchGone));
            }
            return self.no_branch(&branch, remote.branches()?).map(Some);
        }
        *lock(&self.branch) = Some(branch);
        let head = self.with_repo(|repo| self.local_head(repo))?;
        self.look_at(previous, head);
        Ok(None)
    }

    /// Looks for damaged objects: now and then, when nothing moved and so nobody waits, at all.
    pub(super) fn look_at(&self, previous: Option<&ObjectId>, head: Option<git2::Oid>) {
        let rests = previous.is_some_and(|p| head.is_some_and(|h| id(h) == *p));
        self.look(if rests && self.folders.loose.is_due() { Look::All } else { Look::New });
    }

    /// What is said of a branch that is not there.
    pub(super) fn no_branch(&self, branch: &str, all: Vec<String>) -> PortResult<Fetched> {
        if all.is_empty() { Ok(Fetched::Empty) } else { Err(branches::missing(&self.shown, branch, all)) }
    }

    /// What is damaged in the mirror.
    fn damage(&self, remote: &Remote) -> Option<String> {
        if let Err(e) = Repository::open_bare(&self.path) {
            return Some(e.message().to_owned());
        }
        self.look(Look::All);
        self.damaged_object().or_else(|| remote.damage())
    }

    /// An empty mirror in the place of a damaged one.
    pub(super) fn renew_mirror(&self, remote: &Remote, what: &str) -> PortResult<()> {
        let last = lock(&self.mending).last;
        if last.is_some_and(|at| at.elapsed() < MENDED_EVERY) {
            let said = format!(
                "what is kept here of {} was fetched anew and is damaged again ({what}): check the disk",
                self.shown
            );
            return Err(PortError::retryable(said).because(SourceReason::Damaged));
        }
        remote.mirror.renew()?;
        self.note_mending(what);
        self.forget_handles();
        self.look(Look::All);
        Ok(())
    }

    pub(super) fn note_mending(&self, what: &str) {
        tracing::warn!("what was kept here of {} is damaged ({what}): it is set aside and fetched anew", self.shown);
        *lock(&self.mending) = Mending { what: Some(what.to_owned()), last: Some(Instant::now()) };
    }

    /// Says whose damage it is. A mirror is checked before the next use.
    pub(super) fn unreadable(&self, e: &PortError) -> PortError {
        let (shown, said) = (&self.shown, &e.message);
        let said = if self.remote.is_some() {
            self.doubted.store(true, Ordering::Release);
            format!("what is kept here of {shown} is damaged and is checked at the next fetch: {said}")
        } else {
            format!(
                "{shown} is damaged: {said}: `git fsck` in it tells what is lost, which may be in another clone; \
                 what a shallow or partial clone lacks is to be fetched"
            )
        };
        PortError { message: said, ..e.clone() }
    }

    /// Looks for damaged objects.
    pub(super) fn look(&self, how: Look) {
        let Ok(objects) = self.with_repo(|r| Ok(r.commondir().join("objects"))) else { return };
        self.folders.loose.look(&objects, how);
    }

    pub(super) fn damaged_object(&self) -> Option<String> {
        self.folders.loose.first().map(|path| format!("{} ends early or is garbled", path.display()))
    }
}
