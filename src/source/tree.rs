//! Reading trees and blobs by object id.

use super::{
    folder::{Folders, TREE},
    git::GitSource,
    walk::walk,
};
use crate::{model::*, ports::*};
use git2::{ObjectType, Oid, Repository};

pub(super) fn failed(e: &git2::Error) -> PortError {
    use git2::ErrorClass::*;
    let error = PortError::retryable(format!("git: {}", e.message()));
    let damage = match e.class() {
        Odb | Zlib | Object | Sha1 | Tree => true,
        Reference => e.message().contains("corrupt"),
        _ => e.message().contains("packfile"),
    };
    if damage { error.because(SourceReason::Damaged) } else { error }
}

pub(super) fn oid(id: &ObjectId) -> PortResult<Oid> {
    Oid::from_str(&id.0).map_err(|e| failed(&e))
}

pub(super) fn id(oid: Oid) -> ObjectId {
    ObjectId(oid.to_string().into())
}

/// The tree of a folder, if there is one.
pub(super) fn folder(folders: &Folders, repo: &Repository, root: &ObjectId, path: &str) -> PortResult<Option<Oid>> {
    let root = oid(root)?;
    if path.is_empty() || path == "." {
        return Ok(Some(root));
    }
    let found = folders.entry(repo, root, path)?.filter(|e| e.mode == TREE);
    found.map(|e| oid(&e.id)).transpose()
}

/// Files below `path` that differ between two root trees.
pub(super) fn changes(
    folders: &Folders,
    repo: &Repository,
    old: Option<&ObjectId>,
    new: &ObjectId,
    path: &str,
) -> PortResult<Vec<TreeChange>> {
    let before = old.map(|o| folder(folders, repo, o, path)).transpose()?.flatten();
    let after = folder(folders, repo, new, path)?;
    let start = if path == "." { "" } else { path };
    if before == after { Ok(Vec::new()) } else { walk(repo, &folders.loose, before, after, start) }
}

impl GitTree for GitSource {
    fn changes(&self, old: Option<&ObjectId>, new: &ObjectId, folder: &str) -> PortResult<Vec<TreeChange>> {
        self.with_repo(|repo| changes(&self.folders, repo, old, new, folder))
    }

    fn list(&self, tree: &ObjectId, folder: &str) -> PortResult<Vec<TreeEntry>> {
        let all = self.changes(None, tree, folder)?;
        Ok(all.into_iter().filter_map(|c| c.new).collect())
    }

    fn entry(&self, tree: &ObjectId, path: &str) -> PortResult<Option<TreeEntry>> {
        self.with_repo(|repo| self.folders.entry(repo, oid(tree)?, path))
    }

    fn size(&self, id: &ObjectId) -> PortResult<u64> {
        self.with_repo(|repo| {
            let odb = repo.odb().map_err(|e| failed(&e))?;
            let (size, _) = odb.read_header(oid(id)?).map_err(|e| failed(&e))?;
            Ok(size as u64)
        })
    }

    fn blob(&self, id: &ObjectId, limit: u64) -> PortResult<Vec<u8>> {
        self.with_repo(|repo| {
            self.folders.loose.refuse(oid(id)?)?;
            let odb = repo.odb().map_err(|e| failed(&e))?;
            let (size, kind) = odb.read_header(oid(id)?).map_err(|e| failed(&e))?;
            if kind != ObjectType::Blob {
                return Err(PortError::permanent(format!("{} is no file", id.short())));
            }
            if size as u64 > limit {
                return Err(PortError::permanent(format!("the file has {size} bytes, more than {limit}")));
            }
            Ok(repo.find_blob(oid(id)?).map_err(|e| failed(&e))?.content().to_vec())
        })
    }
}
