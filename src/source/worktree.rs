//! A plain folder as a tree: for `trimtab check`, `trimtab run` and offline plans. Symbolic links are reported, never followed.

use crate::{model::*, ports::*};
use git2::{ObjectType, Oid, Repository};
use std::{
    collections::HashMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};
use walkdir::WalkDir;

/// A folder on disk. Object ids are those that Git would give, so that a clean checkout is the very content of its commit.
pub struct Worktree {
    root: PathBuf,
    /// Where the content of an id was found.
    places: Mutex<HashMap<ObjectId, PathBuf>>,
    /// What Git ignores is no content. A handle is for one thread at a time.
    repo: Mutex<Option<Repository>>,
}

impl Worktree {
    /// Reads below `root`.
    pub fn new(root: &Path) -> Self {
        let repo = Repository::discover(root).ok();
        Self { root: root.to_owned(), places: Mutex::default(), repo: Mutex::new(repo) }
    }

    fn is_ignored(&self, path: &Path) -> bool {
        let repo = self.repo.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let inside = repo.as_ref().and_then(|r| Some((r, r.workdir()?.canonicalize().ok()?)));
        inside.is_some_and(|(repo, top)| {
            whole.strip_prefix(&top).is_ok_and(|relative| repo.status_should_ignore(relative).unwrap_or(false))
        })
    }

    fn read(&self, path: &Path) -> Option<TreeEntry> {
        let relative = path.strip_prefix(&self.root).ok()?.to_string_lossy().replace('\\', "/");
        let meta = fs::symlink_metadata(path).ok()?;
        let mode = match () {
            () if meta.is_symlink() => 0o120000,
            () if meta.is_dir() => 0o040000,
            // Git knows neither pipes nor sockets, and opening one may wait for ever.
            () if !meta.is_file() => return None,
            () if meta.permissions().mode() & 0o111 != 0 => 0o100755,
            () => 0o100644,
        };
        if !meta.is_file() {
            return Some(TreeEntry { path: relative, mode, id: ObjectId("".into()) });
        }
        let id = ObjectId(Oid::hash_file(ObjectType::Blob, path).ok()?.to_string().into());
        self.places.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), path.to_owned());
        Some(TreeEntry { path: relative, mode, id })
    }

    /// Where the content of an id was found.
    fn place(&self, id: &ObjectId) -> PortResult<PathBuf> {
        let known = self.places.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        known.ok_or_else(|| PortError::permanent("no such file"))
    }

    /// Whether a path leads through a symbolic link, which Git would not follow.
    fn is_behind_a_link(&self, path: &str) -> bool {
        let mut at = self.root.clone();
        path.split('/').any(|part| {
            at.push(part);
            fs::symlink_metadata(&at).is_ok_and(|m| m.is_symlink())
        })
    }
}

impl GitTree for Worktree {
    fn changes(&self, _old: Option<&ObjectId>, new: &ObjectId, folder: &str) -> PortResult<Vec<TreeChange>> {
        let all = self.list(new, folder)?;
        Ok(all.into_iter().map(|e| TreeChange { path: e.path.clone(), old: None, new: Some(e) }).collect())
    }

    fn list(&self, _tree: &ObjectId, folder: &str) -> PortResult<Vec<TreeEntry>> {
        let skip =
            |e: &walkdir::DirEntry| matches!(e.file_name().to_str(), Some(".git" | "__pycache__" | "target" | ".venv"));
        if self.is_behind_a_link(folder) {
            return Ok(vec![]);
        }
        let walk = WalkDir::new(self.root.join(folder))
            .sort_by_file_name()
            .into_iter()
            .filter_entry(|e| e.depth() == 0 || (!skip(e) && !self.is_ignored(e.path())));
        Ok(walk.flatten().filter(|e| !e.file_type().is_dir()).filter_map(|e| self.read(e.path())).collect())
    }

    fn entry(&self, _tree: &ObjectId, path: &str) -> PortResult<Option<TreeEntry>> {
        let above = path.rsplit_once('/').map_or("", |(above, _)| above);
        Ok(if self.is_behind_a_link(above) { None } else { self.read(&self.root.join(path)) })
    }

    fn size(&self, id: &ObjectId) -> PortResult<u64> {
        let path = self.place(id)?;
        fs::metadata(&path).map(|m| m.len()).map_err(|e| PortError::permanent(format!("{}: {e}", path.display())))
    }

    fn blob(&self, id: &ObjectId, limit: u64) -> PortResult<Vec<u8>> {
        let size = self.size(id)?;
        if size > limit {
            return Err(PortError::permanent(format!("the file has {size} bytes, more than {limit}")));
        }
        let path = self.place(id)?;
        fs::read(&path).map_err(|e| PortError::permanent(format!("{}: {e}", path.display())))
    }
}
