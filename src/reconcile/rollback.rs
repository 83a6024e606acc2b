//! `trimtab rollback`: the commit that brings a model's files back, as `git revert` would.

use super::Reconciler;
use crate::{model::*, ports::*, spec};

/// Where a model's files shall be again.
pub(super) struct Goal {
    pub tree: ObjectId,
    /// The lock of then, where the tree has another one or none.
    pub lock: Option<FileChange>,
    /// What is undone, newest first.
    pub undone: Vec<Revision>,
    /// The datasets that the model reads then.
    pub datasets: Vec<Name>,
}

/// Commits that are looked through for the one that changed the model.
const LOOKED_AT: usize = 100;

impl Reconciler {
    /// Makes and pushes one commit that undoes the newest change of the model (with the locks that followed from it), or everything
    /// since the version `to`. Only the model's own files move: its folder, and the specs of datasets that no other model reads.
    pub fn rollback(&self, model: &Name, to: Option<VersionNumber>) -> PortResult<Revision> {
        let loaded = self.loaded();
        let head = loaded.state().revision.as_deref().cloned();
        let head = head.ok_or_else(|| PortError::retryable("no revision is loaded yet"))?;
        let observed =
            self.view(model).ok_or_else(|| PortError::permanent(format!("there is no model `{model}`")))?.observed;
        let desired =
            observed.desired.ok_or_else(|| PortError::permanent(format!("`{model}` was retired: restore its spec")))?;
        let goal = match to {
            None => self.before_the_newest_change(&desired, &head)?,
            Some(number) => self.as_of_version(&desired, &head, number)?,
        };
        let message = message(model, to, &goal.undone);
        self.push_goal(&desired, head, &goal, message)
    }

    /// Makes and pushes the commit that brings the files of a goal back. A person's commit to the model meanwhile wins.
    pub(super) fn push_goal(
        &self,
        desired: &DesiredModel,
        head: Revision,
        goal: &Goal,
        message: String,
    ) -> PortResult<Revision> {
        let files = self.files_that_move(desired, &head, goal)?;
        let settings = self.loaded().state().settings.clone();
        let commit = BotCommit {
            files,
            message,
            name: settings.bot_name,
            email: settings.bot_email,
            decided_on: head.commit,
            guard: folder(desired).to_owned(),
        };
        match self.0.ports.source.push(&commit)? {
            Pushed::Done(revision) => {
                self.wake_source();
                Ok(revision)
            }
            Pushed::AlreadyThere => Err(PortError::permanent("Git has that content already")),
            Pushed::Superseded => Err(PortError::retryable("a person changed the model meanwhile; look again")),
            Pushed::ReadOnly(why) => {
                let ids: Vec<&str> = goal.undone.iter().map(|r| r.commit.short()).collect();
                Err(PortError::permanent(format!("{why}; run `git revert {}` there yourself", ids.join(" "))))
            }
        }
    }

    /// Before the newest commit that changed the model. A lock that only followed from a change goes with that change.
    fn before_the_newest_change(&self, desired: &DesiredModel, head: &Revision) -> PortResult<Goal> {
        let source = &self.0.ports.source;
        let paths = self.paths(desired);
        let mut undone = Vec::new();
        for commit in source.log(None, &head.commit, &paths, LOOKED_AT)? {
            let before = source.resolve(&format!("{}^", commit.commit.0)).ok();
            let follows = before.as_ref().map_or(Ok(false), |b| self.is_lock_of_a_change(desired, b, &commit))?;
            undone.push(commit);
            if follows {
                continue;
            }
            let there = |b: &Revision| source.entry(&b.tree, &desired.file).map(|e| e.is_some());
            return match before {
                Some(before) if there(&before)? => {
                    let loaded = self.load_revision(&before.commit.0)?;
                    let then = loaded.state().models.get(&desired.spec.name).ok_or_else(|| {
                        PortError::permanent(format!(
                            "before that change, at {}, the spec was broken: go back with --to VERSION",
                            before.commit.short()
                        ))
                    })?;
                    let datasets = then.spec.data.values().cloned().collect();
                    Ok(Goal { tree: before.tree, lock: None, undone, datasets })
                }
                _ => Err(PortError::permanent(format!(
                    "the newest change is the commit that made {}: there is nothing to go back to (delete its spec to retire it)",
                    desired.spec.name
                ))),
            };
        }
        Err(PortError::permanent(format!("no commit changed {}: there is nothing to revert", desired.spec.name)))
    }

    /// Whether `commit` does nothing for the model but to pin the data that the spec before it had left open.
    fn is_lock_of_a_change(&self, desired: &DesiredModel, before: &Revision, commit: &Revision) -> PortResult<bool> {
        let source = &self.0.ports.source;
        let lock = lock_path(desired);
        let changed = source.changes(Some(&before.tree), &commit.tree, folder(desired))?;
        if changed.is_empty() || changed.iter().any(|c| c.path != lock) {
            return Ok(false);
        }
        let then = self.load_revision(&before.commit.0)?;
        let left_open = |m: &std::sync::Arc<DesiredModel>| m.spec.data.keys().any(|input| m.locked(input).is_none());
        Ok(then.state().models.get(&desired.spec.name).is_some_and(left_open))
    }

    pub(super) fn as_of_version(
        &self,
        desired: &DesiredModel,
        head: &Revision,
        number: VersionNumber,
    ) -> PortResult<Goal> {
        let model = &desired.spec.name;
        let found = self.0.store.version(model, number).map_err(|e| PortError::retryable(e.to_string()))?;
        let version = found.ok_or_else(|| {
            PortError::permanent(format!("{model} has no version {number}; see `trimtab history {model}`"))
        })?;
        let loaded = self.load_revision(&version.revision.commit.0)?;
        let then = loaded.state().models.get(model).filter(|m| m.file == desired.file);
        let then = then.ok_or_else(|| {
            let commit = version.revision.commit.short();
            PortError::permanent(format!(
                "at {commit}, which made {number}, {model} was not in {}: revert by hand",
                desired.file
            ))
        })?;
        let pins = then.lock_for(&version.snapshots);
        let lock = (!pins.is_empty() && then.lock != pins && self.loaded().state().settings.push).then(|| FileChange {
            path: lock_path(desired),
            content: FileContent::Bytes(spec::lock::render(&pins).into_bytes()),
        });
        let undone =
            self.0.ports.source.log(Some(&version.revision.commit), &head.commit, &self.paths(desired), LOOKED_AT)?;
        let datasets = then.spec.data.values().cloned().collect();
        Ok(Goal { tree: version.revision.tree, lock, undone, datasets })
    }

    /// What must change at the head for the model's files to be as in the goal.
    fn files_that_move(&self, desired: &DesiredModel, head: &Revision, goal: &Goal) -> PortResult<Vec<FileChange>> {
        let source = &self.0.ports.source;
        let content = |new: Option<TreeEntry>| new.map_or(FileContent::Deleted, FileContent::Object);
        let lock = goal.lock.as_ref().map(|l| l.path.as_str());
        let in_folder = source.changes(Some(&head.tree), &goal.tree, folder(desired))?.into_iter();
        let mut files: Vec<FileChange> = in_folder
            .filter(|c| lock != Some(&c.path))
            .map(|c| FileChange { path: c.path, content: content(c.new) })
            .collect();
        files.extend(goal.lock.clone());
        let specs = self.source_status().path;
        let names: std::collections::BTreeSet<&Name> = desired.datasets.keys().chain(&goal.datasets).collect();
        for name in names {
            let path = spec::dataset_file(&specs, name);
            let (now, then) = (source.entry(&head.tree, &path)?, source.entry(&goal.tree, &path)?);
            if now == then {
                continue;
            }
            let others = self.others_that_read(name, &desired.spec.name);
            if !others.is_empty() {
                let ids: Vec<&str> = goal.undone.iter().map(|r| r.commit.short()).collect();
                return Err(PortError::permanent(format!(
                    "the dataset `{name}` changed too, and {} {} it: run `git revert {}` to move all of them",
                    others.join(", "),
                    if others.len() == 1 { "reads" } else { "read" },
                    ids.join(" ")
                )));
            }
            files.push(FileChange { path, content: content(then) });
        }
        Ok(files)
    }

    fn others_that_read(&self, dataset: &Name, model: &Name) -> Vec<String> {
        let loaded = self.loaded();
        let reads = |(name, m): &(&Name, &std::sync::Arc<DesiredModel>)| {
            *name != model && m.spec.data.values().any(|d| d == dataset)
        };
        loaded.state().models.iter().filter(reads).map(|(name, _)| name.to_string()).take(3).collect()
    }

    /// The files of the datasets that a model reads.
    fn dataset_files<'a>(&self, desired: &'a DesiredModel) -> Vec<(&'a Name, String)> {
        let specs = self.source_status().path;
        desired.datasets.keys().map(|name| (name, spec::dataset_file(&specs, name))).collect()
    }

    /// What belongs to a model: its folder, and the specs of its datasets.
    pub(super) fn paths(&self, desired: &DesiredModel) -> Vec<String> {
        let datasets = self.dataset_files(desired).into_iter().map(|(_, path)| path);
        std::iter::once(folder(desired).to_owned()).chain(datasets).collect()
    }
}

/// The folder of a model's spec.
pub(super) fn folder(desired: &DesiredModel) -> &str {
    desired.file.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Where a model's lock lies.
pub(super) fn lock_path(desired: &DesiredModel) -> String {
    match folder(desired) {
        "" => "trimtab.lock".to_owned(),
        folder => format!("{folder}/trimtab.lock"),
    }
}

/// As `git revert` writes it, with trailers.
fn message(model: &Name, to: Option<VersionNumber>, undone: &[Revision]) -> String {
    // The oldest of them is the change; what came after followed from it.
    let title = match (to, undone.last()) {
        (None, Some(change)) => format!("Revert \"{}\"", change.summary),
        (Some(number), _) => format!("Revert {model} to {number}"),
        (None, None) => format!("Revert {model}"),
    };
    let reverted: Vec<String> = undone.iter().map(|r| format!("This reverts commit {}.\n", r.commit.0)).collect();
    format!("{title}\n\n{}\nTrimtab-Model: {model}\nTrimtab-Reason: rollback asked for by hand\n", reverted.concat())
}
