//! Commits of the source: what each did, and the commit that undoes one.

use super::{Reconciler, lock};
use crate::{model::*, ports::*, spec::Loaded, store::StoreError};
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex},
};

/// Models whose specs are compared for one commit, at most.
const COMPARED: usize = 50;

/// What a commit did to the specs.
#[derive(Debug, Clone, PartialEq)]
pub struct Did {
    pub change: Change,
    /// Folders of models that it changed, the first so many.
    pub models: Vec<String>,
    pub models_changed: usize,
    /// What else it changed in the folder of specs.
    pub others: Vec<String>,
}

/// What commits did, which never becomes anything else: the listing of ten thousand models is compared once for each.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<HashMap<ObjectId, Arc<Did>>>);

impl Known {
    /// More than a time line shows.
    const KEPT: usize = 2_000;

    fn get(&self, commit: &ObjectId) -> Option<Arc<Did>> {
        lock(&self.0).get(commit).cloned()
    }

    fn put(&self, did: Did) -> Arc<Did> {
        let mut all = lock(&self.0);
        if all.len() >= Self::KEPT {
            all.clear();
        }
        let did = Arc::new(did);
        all.insert(did.change.revision.commit.clone(), did.clone());
        did
    }
}

/// One commit as the time line shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Past {
    pub did: Arc<Did>,
    /// Whether trimtab made it by itself.
    pub bot: bool,
    /// What it caused, oldest first.
    pub events: Vec<Event>,
    /// Whether events between the first and the newest were left out.
    pub cut: bool,
}

/// The desired states before a commit and after it, of the models that it changed.
pub struct Compared {
    pub before: Loaded,
    pub after: Loaded,
    pub touched: BTreeSet<Name>,
    /// Whether there are more than were compared.
    pub cut: bool,
}

/// The commit that would undo another.
pub struct Undoing {
    pub change: Change,
    /// Files outside of the folder of specs that the commit changed, too: they stay.
    pub outside: Vec<String>,
    pub commit: BotCommit,
}

impl Reconciler {
    fn head(&self) -> PortResult<Revision> {
        let head = self.loaded().state().revision.as_deref().cloned();
        head.ok_or_else(|| PortError::retryable("no revision is loaded yet"))
    }

    /// The newest commits that changed the folder of specs, newest first; of each, about so many events.
    pub fn commits(&self, limit: usize, events: usize) -> PortResult<Vec<Past>> {
        let head = self.head()?;
        let folder = self.source_status().path;
        let log = self.0.ports.source.log(None, &head.commit, std::slice::from_ref(&folder), limit)?;
        log.iter().map(|r| self.past(&r.commit, events)).collect()
    }

    /// One commit with what it caused.
    pub fn past(&self, commit: &ObjectId, events: usize) -> PortResult<Past> {
        let did = self.did(commit)?;
        let loaded = self.loaded();
        let (by, settings) = (&did.change.revision, &loaded.state().settings);
        let bot = by.author == settings.bot_name && by.email == settings.bot_email;
        let caused = self.caused(&did.change, events);
        let (events, cut) = caused.map_err(|e| PortError::retryable(e.to_string()))?;
        Ok(Past { did, bot, events, cut })
    }

    fn did(&self, commit: &ObjectId) -> PortResult<Arc<Did>> {
        if let Some(known) = self.0.past.get(commit) {
            return Ok(known);
        }
        let source = &self.0.ports.source;
        let folder = self.source_status().path;
        let change = source.change(commit)?;
        let differing = |below: &str| source.differing(&change.before, &change.revision.tree, below);
        let (with_models, others): (Vec<_>, Vec<_>) = differing(&folder)?.into_iter().partition(|n| n == "models");
        let mut models = if with_models.is_empty() { vec![] } else { differing(&joined(&folder, "models"))? };
        let models_changed = models.len();
        models.truncate(COMPARED);
        Ok(self.0.past.put(Did { change, models, models_changed, others }))
    }

    /// What a commit, or those that a merge brought in, led to.
    fn caused(&self, change: &Change, limit: usize) -> Result<(Vec<Event>, bool), StoreError> {
        let (mut all, mut cut) = self.0.store.events_of_commit(&change.revision.commit, limit)?;
        for commit in &change.merged {
            let room = limit.saturating_sub(all.len());
            let (more, some_left) = self.0.store.events_of_commit(commit, room)?;
            all.extend(more);
            cut |= some_left || room == 0;
        }
        all.sort_by_key(|e| e.seq);
        Ok((all, cut))
    }

    /// What a commit asked for: the states that it led from and to. Only what it changed is read, and of that so many models; those that merely
    /// share a dataset or an environment with it are taken as they stand now.
    pub fn compared(&self, past: &Past) -> PortResult<Compared> {
        self.head()?;
        let folder = self.source_status().path;
        let did = &past.did;
        let models = did.models.iter().map(|m| joined(&folder, &format!("models/{m}")));
        let shared = did.others.iter().map(|o| joined(&folder, o));
        let paths: Vec<String> = models.chain(shared).collect();
        let revision = &did.change.revision;
        let then = Revision { tree: did.change.before.clone(), ..revision.clone() };
        let (before, _) = self.load_below(&self.loaded(), &paths, &then)?;
        let (after, touched) = self.load_below(&before, &paths, revision)?;
        Ok(Compared { before, after, touched, cut: did.models_changed > did.models.len() })
    }

    /// Another revision's specs below these folders; elsewhere everything stays as in `base`, which is of some revision. Returns the models that
    /// are others then.
    pub(super) fn load_below(
        &self,
        base: &Loaded,
        folders: &[String],
        revision: &Revision,
    ) -> PortResult<(Loaded, BTreeSet<Name>)> {
        let source = self.0.ports.source.as_ref();
        let old = base.state().revision.as_ref().map(|r| &r.tree);
        let each = folders.iter().map(|folder| source.changes(old, &revision.tree, folder));
        let changes = each.collect::<PortResult<Vec<_>>>()?.concat();
        base.update(&changes, revision, &self.source_status().path, source)
    }

    /// The commit that undoes another as `git revert` does, below the folder of specs; `on` is the commit on which that was decided, the newest
    /// when left out.
    pub fn undoing(&self, commit: &str, on: Option<&ObjectId>) -> PortResult<Undoing> {
        let source = &self.0.ports.source;
        let head = on.map_or_else(|| self.head().map(|r| r.commit), |on| Ok(on.clone()))?;
        let folder = self.source_status().path;
        let change = source.change(&source.resolve(commit)?.commit)?;
        let short = change.revision.commit.short();
        let (files, outside) = match source.undo(&change.revision.commit, &head, &folder)? {
            Undone::Files { files, outside } => (files, outside),
            Undone::Conflicts(files) => {
                return Err(PortError::permanent(format!(
                    "{short} cannot be reverted: later commits changed the same places of {}; run `{}` yourself and resolve it there",
                    listed(&files),
                    by_hand(&change)
                )));
            }
        };
        if files.is_empty() {
            let left = if outside.is_empty() { String::new() } else { format!(" in `{folder}`") };
            return Err(PortError::permanent(format!("nothing of {short} is left{left}: there is nothing to revert")));
        }
        let settings = self.loaded().state().settings.clone();
        let commit = BotCommit {
            message: message(&change, &outside),
            guard: common_folder(&files),
            files,
            name: settings.bot_name,
            email: settings.bot_email,
            decided_on: head,
        };
        Ok(Undoing { change, outside, commit })
    }

    /// The specs as they would be. They are read from a commit that is made as any, and to which no branch or tag leads: nobody fetches it,
    /// nothing follows it, and Git's own clean-up removes it in time.
    pub fn as_if_undone(&self, undoing: &Undoing) -> PortResult<Loaded> {
        let draft = self.0.ports.source.draft(&undoing.commit)?;
        let draft = draft.ok_or_else(|| PortError::permanent("Git has that content already"))?;
        self.load_revision(&draft.commit.0)
    }

    /// Makes and pushes it. A person's commit to the same places meanwhile wins.
    pub fn push_undoing(&self, undoing: &Undoing) -> PortResult<Revision> {
        match self.0.ports.source.push(&undoing.commit)? {
            Pushed::Done(revision) => {
                self.wake_source();
                Ok(revision)
            }
            Pushed::AlreadyThere => Err(PortError::permanent("Git has that content already")),
            Pushed::Superseded => Err(PortError::retryable(
                "these files, or others beside them, were changed meanwhile: nothing was pushed; look at the new plan",
            )),
            Pushed::ReadOnly(why) => {
                Err(PortError::permanent(format!("{why}; run `{}` there yourself", by_hand(&undoing.change))))
            }
        }
    }
}

pub(super) fn joined(folder: &str, path: &str) -> String {
    if matches!(folder, "" | ".") { path.to_owned() } else { format!("{folder}/{path}") }
}

/// What a person types for the same.
fn by_hand(change: &Change) -> String {
    let mainline = if change.merged.is_empty() { "" } else { "-m 1 " };
    format!("git revert {mainline}{}", change.revision.commit.short())
}

/// Names, the first few where there are many.
fn listed(names: &[String]) -> String {
    const TOLD: usize = 5;
    // A name may hold lines that would pass for trailers of a message.
    let told = names.iter().take(TOLD).map(|n| visible(n)).collect::<Vec<_>>().join(", ");
    if names.len() > TOLD { format!("{told} and {} more", names.len() - TOLD) } else { told }
}

/// The deepest folder that holds all of them: what a person changes there meanwhile is not overruled.
fn common_folder(files: &[FileChange]) -> String {
    let parts = |f: &FileChange| {
        f.path.rsplit_once('/').map_or(vec![], |(folder, _)| folder.split('/').map(str::to_owned).collect())
    };
    let mut all = files.iter().map(parts);
    let mut common: Vec<String> = all.next().unwrap_or_default();
    for folder in all {
        let same = common.iter().zip(&folder).take_while(|(a, b)| a == b).count();
        common.truncate(same);
    }
    common.join("/")
}

/// As `git revert` writes it, with a trailer.
fn message(change: &Change, outside: &[String]) -> String {
    let (title, commit) = (&change.revision.summary, &change.revision.commit);
    let left = if outside.is_empty() {
        String::new()
    } else {
        format!("\nWhat it changed elsewhere stays: {}\n", listed(outside))
    };
    format!("Revert \"{title}\"\n\nThis reverts commit {commit}.\n{left}\nTrimtab-Reason: revert asked for by hand\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guard_is_the_deepest_folder_that_holds_all_files() {
        let of = |paths: &[&str]| {
            let file = |p: &&str| FileChange { path: (*p).to_owned(), content: FileContent::Deleted };
            common_folder(&paths.iter().map(file).collect::<Vec<_>>())
        };
        assert_eq!(of(&["specs/models/fraud/model.toml"]), "specs/models/fraud");
        assert_eq!(of(&["specs/models/fraud/model.toml", "specs/models/fraud/code/a.py"]), "specs/models/fraud");
        assert_eq!(of(&["specs/models/fraud/model.toml", "specs/models/frau/model.toml"]), "specs/models");
        assert_eq!(of(&["specs/models/fraud/model.toml", "trimtab.toml"]), "");
    }
}
