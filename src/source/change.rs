//! What a commit did to its branch, and what undoing it comes to.

use super::{
    commit::{Made, files, trees_before, walk},
    folder::Folders,
    git::{GitSource, revision},
    tree::{changes, failed, folder, id, oid},
    walk,
};
use crate::{model::*, ports::*};
use git2::{IndexConflict, Oid, Repository};
use std::collections::BTreeSet;

/// Commits of a merge that are named, at most.
const MERGED: usize = 50;
/// Bytes of a message that are shown, at most.
const MESSAGE: usize = 16 * 1024;

fn change(folders: &Folders, repo: &Repository, commit: &ObjectId) -> PortResult<Change> {
    folders.loose.refuse(oid(commit)?)?;
    let found = repo.find_commit(oid(commit)?).map_err(|e| failed(&e))?;
    let before = trees_before(repo, &found)?[0];
    let mut merged = vec![];
    if found.parent_count() > 1 {
        let onto = id(found.parent_id(0).map_err(|e| failed(&e))?);
        // The merge itself is the first that the walk finds.
        for one in walk(folders, repo, Some(&onto), commit)?.skip(1).take(MERGED) {
            merged.push(id(one.map_err(|e| failed(&e))?));
        }
    }
    let message = found.message_bytes();
    let message = String::from_utf8_lossy(&message[..message.len().min(MESSAGE)]).into_owned();
    Ok(Change { revision: revision(&found), before: id(before), merged, message })
}

/// Whether a path lies in a folder of the repository.
fn is_inside(path: &str, folder: &str) -> bool {
    matches!(folder, "" | ".") || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

fn path_of(conflict: IndexConflict) -> String {
    let entry = conflict.our.or(conflict.their).or(conflict.ancestor);
    entry.map_or(String::new(), |e| String::from_utf8_lossy(&e.path).into_owned())
}

fn undo(folders: &Folders, repo: &Repository, commit: &ObjectId, head: &ObjectId, folder: &str) -> PortResult<Undone> {
    folders.loose.refuse_any()?;
    let (target, tip) = (oid(commit)?, oid(head)?);
    let short = commit.short();
    if target != tip && !repo.graph_descendant_of(tip, target).map_err(|e| failed(&e))? {
        return Err(PortError::permanent(format!("{short} is not among the commits of the branch")));
    }
    let found = |at: Oid| repo.find_commit(at).map_err(|e| failed(&e));
    let (target, tip) = (found(target)?, found(tip)?);
    if target.parent_count() == 0 {
        return Err(PortError::permanent(format!(
            "{short} is the first commit: there is nothing before it to go back to"
        )));
    }
    let mainline = u32::from(target.parent_count() > 1);
    // libgit2 merges in memory; it writes blobs of files that both sides changed, to which nothing leads.
    let mut index = repo.revert_commit(&target, &tip, mainline, None).map_err(|e| failed(&e))?;
    let conflicts: BTreeSet<String> = index
        .conflicts()
        .map_err(|e| failed(&e))?
        .map(|c| c.map(path_of).map_err(|e| failed(&e)))
        .collect::<PortResult<_>>()?;
    let (inside, mut outside): (BTreeSet<_>, BTreeSet<_>) = conflicts.into_iter().partition(|p| is_inside(p, folder));
    if !inside.is_empty() {
        return Ok(Undone::Conflicts(inside.into_iter().collect()));
    }
    for path in &outside {
        // It stays as it is, whatever the merge would have made of it.
        index.conflict_remove(path.as_ref()).map_err(|e| failed(&e))?;
    }
    let tree = id(index.write_tree_to(repo).map_err(|e| failed(&e))?);
    let now = id(tip.tree_id());
    let content = |new: Option<TreeEntry>| new.map_or(FileContent::Deleted, FileContent::Object);
    let below = changes(folders, repo, Some(&now), &tree, folder)?;
    let files = below.into_iter().map(|c| FileChange { path: c.path, content: content(c.new) }).collect();
    let all = changes(folders, repo, Some(&now), &tree, "")?;
    outside.extend(all.into_iter().map(|c| c.path).filter(|p| !is_inside(p, folder)));
    Ok(Undone::Files { files, outside: outside.into_iter().collect() })
}

impl History for GitSource {
    fn change(&self, commit: &ObjectId) -> PortResult<Change> {
        self.with_repo(|repo| change(&self.folders, repo, commit))
    }

    fn differing(&self, old: &ObjectId, new: &ObjectId, path: &str) -> PortResult<Vec<String>> {
        self.with_repo(|repo| {
            let at = |root| folder(&self.folders, repo, root, path);
            let (before, after) = (at(old)?, at(new)?);
            if before == after { Ok(vec![]) } else { walk::names(repo, &self.folders.loose, before, after) }
        })
    }

    fn undo(&self, commit: &ObjectId, head: &ObjectId, folder: &str) -> PortResult<Undone> {
        self.with_repo(|repo| undo(&self.folders, repo, commit, head, folder))
    }

    fn draft(&self, commit: &BotCommit) -> PortResult<Option<Revision>> {
        self.with_repo(|repo| {
            let made = files(&self.folders, repo, oid(&commit.decided_on)?, commit)?;
            let Made::Commit(new) = made else { return Ok(None) };
            Ok(Some(revision(&repo.find_commit(new).map_err(|e| failed(&e))?)))
        })
    }
}
