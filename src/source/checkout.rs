//! Whether somebody works on a branch.

use crate::{
    ports::{PortError, PortResult},
    source::tree::failed,
};
use git2::Repository;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Files beside a work tree's `HEAD` that name the branch which it goes back to: during a rebase, `git am`, a bisection.
const UNDER_WAY: &[&str] = &["rebase-merge/head-name", "rebase-apply/head-name", "BISECT_START"];

/// The work tree that has a branch checked out, or is rewriting it: the main one, or one that `git worktree add` linked (to a bare
/// repository, too). Git itself refuses to move such a branch by a push, since index and files would no longer fit it.
pub fn holder(repo: &Repository, branch: &str) -> PortResult<Option<PathBuf>> {
    let common = repo.commondir();
    let main = Repository::open(common).map_err(|e| failed(&e))?;
    if let Some(folder) = main.workdir()
        && holds(common, branch)?
    {
        return Ok(Some(folder.to_owned()));
    }
    for name in repo.worktrees().map_err(|e| failed(&e))?.iter().flatten().flatten() {
        let linked = common.join("worktrees").join(name);
        if holds(&linked, branch)? {
            // It names the `.git` file in the work tree.
            let file = read(&linked.join("gitdir"))?.unwrap_or_default();
            return Ok(Some(Path::new(file.trim()).parent().unwrap_or(&linked).to_owned()));
        }
    }
    Ok(None)
}

/// Whether the work tree whose `HEAD` lies in this folder has the branch.
fn holds(folder: &Path, branch: &str) -> PortResult<bool> {
    if read(&folder.join("HEAD"))?.is_some_and(|h| h.trim().strip_prefix("ref: refs/heads/") == Some(branch)) {
        return Ok(true);
    }
    for file in UNDER_WAY {
        if read(&folder.join(file))?.is_some_and(|n| n.trim().trim_start_matches("refs/heads/") == branch) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn read(file: &Path) -> PortResult<Option<String>> {
    match fs::read(file) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(PortError::retryable(format!("cannot read {}: {e}", file.display()))),
    }
}
