//! Commits that trimtab makes itself.

use super::{
    folder::Folders,
    git::revision,
    tree::{changes, failed, id, oid},
};
use crate::{model::*, ports::*};
use git2::{Oid, Repository, Signature, build::TreeUpdateBuilder};

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

/// A commit of files on `head`, unless a person changed anything but these files under the guarded folder since the decision.
pub fn files(repo: &Repository, head: Oid, bot: &BotCommit) -> PortResult<Made> {
    let parent = repo.find_commit(head).map_err(|e| failed(&e))?;
    let tree = parent.tree().map_err(|e| failed(&e))?;
    let decided = repo.find_commit(oid(&bot.decided_on)?).and_then(|c| c.tree()).map_err(|e| failed(&e))?;
    let moved = changes(&Folders::default(), repo, Some(&id(decided.id())), &id(tree.id()), &bot.guard)?;
    if moved.iter().any(|c| !bot.files.iter().any(|f| f.path == c.path)) {
        return Ok(Made::Superseded);
    }
    let mut update = TreeUpdateBuilder::new();
    for file in &bot.files {
        match &file.content {
            Some(content) => {
                update.upsert(file.path.as_str(), repo.blob(content).map_err(|e| failed(&e))?, git2::FileMode::Blob)
            }
            None => update.remove(file.path.as_str()),
        };
    }
    let new = update.create_updated(repo, &tree).map_err(|e| failed(&e))?;
    if new == tree.id() {
        return Ok(Made::Already);
    }
    // The file itself may have been changed by a person: theirs wins.
    if !moved.is_empty() {
        return Ok(Made::Superseded);
    }
    let new = repo.find_tree(new).map_err(|e| failed(&e))?;
    let who = signed(&bot.name, &bot.email)?;
    repo.commit(None, &who, &who, &bot.message, &new, &[&parent]).map(Made::Commit).map_err(|e| failed(&e))
}

/// The revert of `target` on `head`, as `git revert` makes it.
pub fn revert(repo: &Repository, head: Oid, target: Oid, message: &str, name: &str, email: &str) -> PortResult<Made> {
    let parent = repo.find_commit(head).map_err(|e| failed(&e))?;
    let target = repo.find_commit(target).map_err(|e| failed(&e))?;
    let mainline = u32::from(target.parent_count() > 1);
    let mut index = repo.revert_commit(&target, &parent, mainline, None).map_err(|e| failed(&e))?;
    if index.has_conflicts() {
        let paths: Vec<String> = index
            .conflicts()
            .map_err(|e| failed(&e))?
            .flatten()
            .filter_map(|c| c.our.or(c.their).or(c.ancestor))
            .map(|e| String::from_utf8_lossy(&e.path).into_owned())
            .collect();
        return Err(PortError::permanent(format!("the revert conflicts in {}: revert by hand", paths.join(", "))));
    }
    let tree = index.write_tree_to(repo).map_err(|e| failed(&e))?;
    if tree == parent.tree_id() {
        return Ok(Made::Already);
    }
    let tree = repo.find_tree(tree).map_err(|e| failed(&e))?;
    let who = signed(name, email)?;
    repo.commit(None, &who, &who, message, &tree, &[&parent]).map(Made::Commit).map_err(|e| failed(&e))
}

/// Commits from `old` (exclusive) to `new`, newest first, that change something under `path`.
pub fn log(
    repo: &Repository,
    old: Option<&ObjectId>,
    new: &ObjectId,
    path: &str,
    limit: usize,
) -> PortResult<Vec<Revision>> {
    /// Commits that are looked at, at most.
    const SEEN: usize = 10_000;
    let mut walk = repo.revwalk().map_err(|e| failed(&e))?;
    walk.push(oid(new)?).map_err(|e| failed(&e))?;
    if let Some(old) = old {
        // A rewritten branch may not know the old commit any more.
        let _ = walk.hide(oid(old)?);
    }
    let (mut out, folders) = (Vec::new(), Folders::default());
    for next in walk.take(SEEN) {
        let commit = next.and_then(|o| repo.find_commit(o)).map_err(|e| failed(&e))?;
        let before = commit.parent(0).ok().map(|p| id(p.tree_id()));
        if !changes(&folders, repo, before.as_ref(), &id(commit.tree_id()), path)?.is_empty() {
            out.push(revision(&commit));
        }
        if out.len() >= limit {
            break;
        }
    }
    Ok(out)
}
