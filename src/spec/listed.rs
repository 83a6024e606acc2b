//! A tree of which a part was listed already: what a cold load asks of it again costs no object.

use crate::{model::*, ports::*};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// All files below `folder`, in the order of their paths, before the tree itself.
pub(super) struct Listed<'a> {
    pub tree: &'a dyn GitTree,
    folder: &'a str,
    files: &'a [TreeChange],
    /// Models share files of code: each is asked for once.
    sizes: Mutex<HashMap<ObjectId, u64>>,
}

impl<'a> Listed<'a> {
    /// `files` is everything below `folder`; nothing is known beforehand without.
    pub fn new(tree: &'a dyn GitTree, folder: &'a str, files: Option<&'a [TreeChange]>) -> Self {
        // Git sorts by the bytes of names; those that are no text are shown by others.
        let files = files.filter(|all| all.is_sorted_by(|a, b| a.path < b.path)).unwrap_or_default();
        Self { tree, folder: if folder == "." { "" } else { folder }, files, sizes: Mutex::default() }
    }

    fn knows(&self, path: &str) -> bool {
        let inside = self.folder.is_empty()
            || path == self.folder
            || path.strip_prefix(self.folder).is_some_and(|rest| rest.starts_with('/'));
        !self.files.is_empty() && inside
    }

    /// What comes at `path` and after.
    fn from(&self, path: &str) -> &'a [TreeChange] {
        &self.files[self.files.partition_point(|f| f.path.as_str() < path)..]
    }
}

impl GitTree for Listed<'_> {
    fn changes(&self, old: Option<&ObjectId>, new: &ObjectId, folder: &str) -> PortResult<Vec<TreeChange>> {
        self.tree.changes(old, new, folder)
    }

    fn list(&self, tree: &ObjectId, folder: &str) -> PortResult<Vec<TreeEntry>> {
        if folder.is_empty() || folder == "." || !self.knows(folder) {
            return self.tree.list(tree, folder);
        }
        let start = format!("{folder}/");
        let below = self.from(&start).iter().take_while(|f| f.path.starts_with(&start));
        Ok(below.filter_map(|f| f.new.clone()).collect())
    }

    fn entry(&self, tree: &ObjectId, path: &str) -> PortResult<Option<TreeEntry>> {
        if !self.knows(path) {
            return self.tree.entry(tree, path);
        }
        match self.from(path).first() {
            Some(found) if found.path == path => Ok(found.new.clone()),
            // A folder has files below it, and an id that is not listed.
            _ if self.from(&format!("{path}/")).first().is_some_and(|f| f.path.starts_with(&format!("{path}/"))) => {
                self.tree.entry(tree, path)
            }
            _ => Ok(None),
        }
    }

    fn size(&self, id: &ObjectId) -> PortResult<u64> {
        let sizes = || self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = sizes().get(id) {
            return Ok(*known);
        }
        let size = self.tree.size(id)?;
        sizes().insert(id.clone(), size);
        Ok(size)
    }

    fn blob(&self, id: &ObjectId, limit: u64) -> PortResult<Vec<u8>> {
        self.tree.blob(id, limit)
    }
}
