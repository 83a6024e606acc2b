//! Commits that trimtab makes itself.

use super::{
    folder::Folders,
    git::revision,
    tree::{changes, failed, id, oid},
};
use crate::{model::*, ports::*};
use git2::{Oid, Repository, Signature, build::TreeUpdateBuilder};
use std::collections::BTreeSet;

/// What became of the making.
pub enum Made {
    Commit(Oid),
    /// The head has this content.
    Already,
    /// A person changed what the commit was decided on.
    Superseded,
}

fn signed<'a>(name: &str, email: &str) -> PortResult<Signature<'a>> {
    Signature::now(name, email).map_err(|e| failed(&e))
}

/// A commit of files on `head`, unless a person changed any of them, or anything else under the guarded folder, since the decision.
pub fn files(folders: &Folders, repo: &Repository, head: Oid, bot: &BotCommit) -> PortResult<Made> {
    folders.loose.refuse_any()?;
    let parent = repo.find_commit(head).map_err(|e| failed(&e))?;
    let tree = parent.tree().map_err(|e| failed(&e))?;
    let decided = repo.find_commit(oid(&bot.decided_on)?).and_then(|c| c.tree()).map_err(|e| failed(&e))?;
    let ours = |path: &str| bot.files.iter().any(|f| f.path == path);
    if changes(folders, repo, Some(&id(decided.id())), &id(tree.id()), &bot.guard)?.iter().any(|c| !ours(&c.path)) {
        return Ok(Made::Superseded);
    }
    let mut update = TreeUpdateBuilder::new();
    for file in &bot.files {
        let path = file.path.as_str();
        match &file.content {
            FileContent::Bytes(content) => {
                update.upsert(path, repo.blob(content).map_err(|e| failed(&e))?, git2::FileMode::Blob)
            }
            FileContent::Object(entry) => update.upsert(path, oid(&entry.id)?, mode(entry.mode)),
            FileContent::Deleted => update.remove(path),
        };
    }
    let new = update.create_updated(repo, &tree).map_err(|e| failed(&e))?;
    if new == tree.id() {
        return Ok(Made::Already);
    }
    // A file itself may have been changed by a person: theirs wins.
    for file in &bot.files {
        if touches(folders, repo, decided.id(), tree.id(), &file.path)? {
            return Ok(Made::Superseded);
        }
    }
    let new = repo.find_tree(new).map_err(|e| failed(&e))?;
    let who = signed(&bot.name, &bot.email)?;
    // Not `Repository::commit`: libgit2 1.9 says that one is made which it could not write, as on a full disk.
    let text = repo.commit_create_buffer(&who, &who, &bot.message, &new, &[&parent]).map_err(|e| failed(&e))?;
    let made = repo.odb().and_then(|objects| objects.write(git2::ObjectType::Commit, &text));
    made.map(Made::Commit).map_err(|e| failed(&e))
}

fn mode(bits: u32) -> git2::FileMode {
    match bits {
        0o100755 => git2::FileMode::BlobExecutable,
        0o120000 => git2::FileMode::Link,
        0o160000 => git2::FileMode::Commit,
        _ => git2::FileMode::Blob,
    }
}

/// Whether a file or folder differs between two root trees.
fn touches(folders: &Folders, repo: &Repository, old: Oid, new: Oid, path: &str) -> PortResult<bool> {
    if matches!(path, "" | ".") {
        return Ok(old != new);
    }
    let at = |root: Oid| folders.entry(repo, root, path).map(|e| e.map(|e| (e.mode, e.id)));
    Ok(old != new && at(old)? != at(new)?)
}

/// Commits from `old` (exclusive) to `new`, newest first.
pub(super) fn walk<'r>(
    folders: &Folders,
    repo: &'r Repository,
    old: Option<&ObjectId>,
    new: &ObjectId,
) -> PortResult<git2::Revwalk<'r>> {
    let ends: Vec<Oid> = old.into_iter().chain([new]).map(oid).collect::<PortResult<_>>()?;
    folders.loose.refuse_history(repo, &ends)?;
    let mut walk = repo.revwalk().map_err(|e| failed(&e))?;
    walk.set_sorting(git2::Sort::TOPOLOGICAL).map_err(|e| failed(&e))?;
    walk.push(oid(new)?).map_err(|e| failed(&e))?;
    if let Some(old) = old {
        // A rewritten branch may not know the old commit any more.
        let _ = walk.hide(oid(old)?);
    }
    Ok(walk)
}

/// The trees that a commit came from: the empty one for the first.
pub(super) fn trees_before(repo: &Repository, commit: &git2::Commit) -> PortResult<Vec<Oid>> {
    let before: Vec<Oid> = commit.parents().map(|p| p.tree_id()).collect();
    if before.is_empty() {
        return Ok(vec![repo.treebuilder(None).and_then(|t| t.write()).map_err(|e| failed(&e))?]);
    }
    Ok(before)
}

/// See [`Source::blame`].
pub fn blame(
    folders: &Folders,
    repo: &Repository,
    old: Option<&ObjectId>,
    new: &ObjectId,
    paths: &[(Name, Vec<String>)],
) -> PortResult<Vec<(Name, Revision)>> {
    /// Commits that are looked at, at most.
    const SEEN: usize = 500;
    let mut open: Vec<&(Name, Vec<String>)> = paths.iter().collect();
    let mut out = Vec::new();
    folders.loose.refuse(oid(new)?)?;
    let head = repo.find_commit(oid(new)?).map_err(|e| failed(&e))?;
    if head.parent_count() == 1 && old.map(oid).transpose()? == head.parent_id(0).ok() {
        // The one commit that came is to blame for all that changed.
        return Ok(paths.iter().map(|(name, _)| (name.clone(), revision(&head))).collect());
    }
    for next in walk(folders, repo, old, new)?.take(SEEN) {
        if open.is_empty() {
            break;
        }
        let commit = next.and_then(|o| repo.find_commit(o)).map_err(|e| failed(&e))?;
        let before = trees_before(repo, &commit)?;
        let mut left = Vec::new();
        for one in open {
            let mut from_all = true;
            for tree in &before {
                from_all &= any_touched(folders, repo, *tree, commit.tree_id(), &one.1)?;
            }
            if from_all {
                out.push((one.0.clone(), revision(&commit)));
            } else {
                left.push(one);
            }
        }
        open = left;
    }
    Ok(out)
}

/// See [`Source::made_by`].
pub fn made_by(folders: &Folders, repo: &Repository, new: &ObjectId, path: &str) -> PortResult<Option<Revision>> {
    /// Commits that are looked at, at most.
    const SEEN: usize = 100_000;
    folders.loose.refuse(oid(new)?)?;
    let at = |tree: Oid| folders.entry(repo, tree, path).map(|e| e.map(|e| (e.mode, e.id)));
    let content = at(repo.find_commit(oid(new)?).map_err(|e| failed(&e))?.tree_id())?;
    for next in walk(folders, repo, None, new)?.take(SEEN) {
        let commit = next.and_then(|o| repo.find_commit(o)).map_err(|e| failed(&e))?;
        // A side whose content the merge did not take gave it nothing.
        let mut from_all = at(commit.tree_id())? == content;
        for tree in trees_before(repo, &commit)? {
            from_all = from_all && touches(folders, repo, tree, commit.tree_id(), path)?;
        }
        if from_all {
            return Ok(Some(revision(&commit)));
        }
    }
    Ok(None)
}

fn any_touched(folders: &Folders, repo: &Repository, old: Oid, new: Oid, paths: &[String]) -> PortResult<bool> {
    for path in paths {
        if touches(folders, repo, old, new, path)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Commits from `old` (exclusive) to `new`, newest first, that change something at `paths`; a merge as the one change that it is to the
/// branch it was made on.
pub fn log(
    folders: &Folders,
    repo: &Repository,
    old: Option<&ObjectId>,
    new: &ObjectId,
    paths: &[String],
    limit: usize,
) -> PortResult<Vec<Revision>> {
    /// Commits that are looked at, at most.
    const SEEN: usize = 10_000;
    let mut walk = walk(folders, repo, old, new)?;
    walk.simplify_first_parent().map_err(|e| failed(&e))?;
    let mut out = Vec::new();
    for next in walk.take(SEEN) {
        let commit = next.and_then(|o| repo.find_commit(o)).map_err(|e| failed(&e))?;
        let before = trees_before(repo, &commit)?[0];
        if any_touched(folders, repo, before, commit.tree_id(), paths)? {
            out.push(revision(&commit));
        }
        if out.len() >= limit {
            break;
        }
    }
    Ok(out)
}

/// The commits that lead to `new` and were made at `since` or later, and those right before them; without `new` itself.
pub fn recent(folders: &Folders, repo: &Repository, new: &ObjectId, since: WallMs) -> PortResult<Vec<Revision>> {
    /// Older commits in a row after which no younger one is expected behind them, whatever the clocks of their makers.
    const OLDER: usize = 100;
    let new = oid(new)?;
    folders.loose.refuse_history(repo, &[new])?;
    let mut walk = repo.revwalk().map_err(|e| failed(&e))?;
    walk.set_sorting(git2::Sort::TOPOLOGICAL | git2::Sort::TIME).map_err(|e| failed(&e))?;
    walk.push(new).map_err(|e| failed(&e))?;
    let (mut out, mut before, mut older) = (Vec::new(), BTreeSet::from([new]), 0);
    for next in walk {
        let commit = next.and_then(|o| repo.find_commit(o)).map_err(|e| failed(&e))?;
        let young = commit.time().seconds().saturating_mul(1000) >= since.0;
        older = if young { 0 } else { older + 1 };
        if young {
            before.extend(commit.parent_ids());
        }
        if older > OLDER {
            break;
        }
        if commit.id() != new && (young || before.contains(&commit.id())) {
            out.push(revision(&commit));
        }
    }
    Ok(out)
}
