//! A plain folder as a tree: for `trimtab check` and offline plans. Symbolic links are reported, never followed.

use crate::{model::*, ports::*};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use walkdir::WalkDir;

/// A folder on disk. Object ids are content hashes of the files (not Git's own).
pub struct Worktree {
    root: PathBuf,
}

impl Worktree {
    /// Reads below `root`.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    fn read(&self, path: &Path) -> Option<TreeEntry> {
        let relative = path.strip_prefix(&self.root).ok()?.to_string_lossy().replace('\\', "/");
        let meta = fs::symlink_metadata(path).ok()?;
        let mode = match () {
            () if meta.is_symlink() => 0o120000,
            () if meta.permissions().mode() & 0o111 != 0 => 0o100755,
            () => 0o100644,
        };
        // The id leads back to the file and changes with its content.
        let content = if meta.is_file() { fs::read(path).ok()? } else { vec![] };
        let id = format!("{}:{relative}", Digest::of(&content).hex());
        Some(TreeEntry { path: relative, mode, id: ObjectId(id.into()) })
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
        let walk = WalkDir::new(self.root.join(folder))
            .sort_by_file_name()
            .into_iter()
            .filter_entry(move |e| e.depth() == 0 || !skip(e));
        Ok(walk.flatten().filter(|e| !e.file_type().is_dir()).filter_map(|e| self.read(e.path())).collect())
    }

    fn entry(&self, _tree: &ObjectId, path: &str) -> PortResult<Option<TreeEntry>> {
        Ok(self.read(&self.root.join(path)))
    }

    fn blob(&self, id: &ObjectId, limit: u64) -> PortResult<Vec<u8>> {
        let Some((_, path)) = id.0.split_once(':') else { return Err(PortError::permanent("no such file")) };
        let full = self.root.join(path);
        let size = fs::metadata(&full).map_err(|e| PortError::permanent(format!("{path}: {e}")))?.len();
        if size > limit {
            return Err(PortError::permanent(format!("the file has {size} bytes, more than {limit}")));
        }
        fs::read(&full).map_err(|e| PortError::permanent(format!("{path}: {e}")))
    }
}
