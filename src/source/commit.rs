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

/// A commit of files on `head`, unless a person changed any of them, or anything else under the guarded folder, since the decision.
pub fn files(folders: &Folders, repo: &Repository, head: Oid, bot: &BotCommit) -> PortResult<Made> {
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
    repo.commit(None, &who, &who, &bot.message, &new, &[&parent]).map(Made::Commit).map_err(|e| failed(&e))
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

/// Commits from `old` (exclusive) to `new`, newest first, that change something at `paths`.
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
    let mut walk = repo.revwalk().map_err(|e| failed(&e))?;
    walk.set_sorting(git2::Sort::TOPOLOGICAL).map_err(|e| failed(&e))?;
    walk.push(oid(new)?).map_err(|e| failed(&e))?;
    if let Some(old) = old {
        // A rewritten branch may not know the old commit any more.
        let _ = walk.hide(oid(old)?);
    }
    let mut out = Vec::new();
    for next in walk.take(SEEN) {
        let commit = next.and_then(|o| repo.find_commit(o)).map_err(|e| failed(&e))?;
        let before = match commit.parent(0) {
            Ok(parent) => parent.tree_id(),
            Err(_) => repo.treebuilder(None).and_then(|t| t.write()).map_err(|e| failed(&e))?,
        };
        for path in paths {
            if touches(folders, repo, before, commit.tree_id(), path)? {
                out.push(revision(&commit));
                break;
            }
        }
        if out.len() >= limit {
            break;
        }
    }
    Ok(out)
}
