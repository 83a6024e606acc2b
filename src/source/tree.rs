//! Reading trees and blobs by object id.

use super::git::GitSource;
use crate::{model::*, ports::*};
use git2::{ObjectType, Oid, Repository, Tree};
use std::cmp::Ordering;

/// Folders deeper than this are not looked into.
const MAX_DEPTH: usize = 64;

pub(super) fn failed(e: &git2::Error) -> PortError {
    PortError::retryable(format!("git: {}", e.message()))
}

pub(super) fn oid(id: &ObjectId) -> PortResult<Oid> {
    Oid::from_str(&id.0).map_err(|e| failed(&e))
}

pub(super) fn id(oid: Oid) -> ObjectId {
    ObjectId(oid.to_string().into())
}

fn entry(path: String, e: &git2::TreeEntry) -> TreeEntry {
    TreeEntry { path, mode: e.filemode() as u32, id: id(e.id()) }
}

fn join(folder: &str, name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    if folder.is_empty() { name.into_owned() } else { format!("{folder}/{name}") }
}

/// The tree of a folder, if there is one.
fn folder<'r>(repo: &'r Repository, root: &ObjectId, path: &str) -> PortResult<Option<Tree<'r>>> {
    let root = repo.find_tree(oid(root)?).map_err(|e| failed(&e))?;
    if path.is_empty() || path == "." {
        return Ok(Some(root));
    }
    match root.get_path(std::path::Path::new(path)) {
        Ok(e) if e.kind() == Some(ObjectType::Tree) => repo.find_tree(e.id()).map(Some).map_err(|e| failed(&e)),
        Ok(_) => Ok(None),
        Err(e) if e.code() == git2::ErrorCode::NotFound => Ok(None),
        Err(e) => Err(failed(&e)),
    }
}

/// Git's order of entries: folders as if their names ended in `/`.
fn order(a: &git2::TreeEntry, b: &git2::TreeEntry) -> Ordering {
    let key = |e: &git2::TreeEntry| {
        let mut k = e.name_bytes().to_vec();
        if e.kind() == Some(ObjectType::Tree) {
            k.push(b'/');
        }
        k
    };
    key(a).cmp(&key(b))
}

struct Walk<'r> {
    repo: &'r Repository,
    out: Vec<TreeChange>,
}

impl Walk<'_> {
    /// Compares two folders entry by entry; what has the same id is not looked into.
    fn diff(&mut self, path: &str, old: Option<&Tree>, new: Option<&Tree>, depth: usize) -> PortResult<()> {
        if depth > MAX_DEPTH {
            return Ok(());
        }
        let (mut a, mut b) =
            (old.into_iter().flat_map(Tree::iter).peekable(), new.into_iter().flat_map(Tree::iter).peekable());
        loop {
            let side = match (a.peek(), b.peek()) {
                (None, None) => return Ok(()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(x), Some(y))
                    if x.id() == y.id() && x.filemode() == y.filemode() && x.name_bytes() == y.name_bytes() =>
                {
                    a.next();
                    b.next();
                    continue;
                }
                (Some(x), Some(y)) => order(x, y),
            };
            let before = if side == Ordering::Greater { None } else { a.next() };
            let after = if side == Ordering::Less { None } else { b.next() };
            self.pair(path, before.as_ref(), after.as_ref(), depth)?;
        }
    }

    fn pair(
        &mut self,
        path: &str,
        old: Option<&git2::TreeEntry>,
        new: Option<&git2::TreeEntry>,
        depth: usize,
    ) -> PortResult<()> {
        let Some(name) = new.or(old).map(|e| join(path, e.name_bytes())) else { return Ok(()) };
        let subtree = |e: Option<&git2::TreeEntry>| match e.filter(|e| e.kind() == Some(ObjectType::Tree)) {
            Some(e) => self.repo.find_tree(e.id()).map(Some).map_err(|e| failed(&e)),
            None => Ok(None),
        };
        let (old_tree, new_tree) = (subtree(old)?, subtree(new)?);
        if old_tree.is_some() || new_tree.is_some() {
            self.diff(&name, old_tree.as_ref(), new_tree.as_ref(), depth + 1)?;
        }
        let file = |e: Option<&git2::TreeEntry>| {
            e.filter(|e| e.kind() != Some(ObjectType::Tree)).map(|e| entry(name.clone(), e))
        };
        let (old, new) = (file(old), file(new));
        if old.is_some() || new.is_some() {
            self.out.push(TreeChange { path: name, old, new });
        }
        Ok(())
    }
}

pub(super) fn changes(
    repo: &Repository,
    old: Option<&ObjectId>,
    new: &ObjectId,
    path: &str,
) -> PortResult<Vec<TreeChange>> {
    let before = old.map(|o| folder(repo, o, path)).transpose()?.flatten();
    let after = folder(repo, new, path)?;
    let mut walk = Walk { repo, out: vec![] };
    let start = if path == "." { "" } else { path };
    if before.as_ref().map(Tree::id) != after.as_ref().map(Tree::id) {
        walk.diff(start, before.as_ref(), after.as_ref(), 0)?;
    }
    Ok(walk.out)
}

impl GitTree for GitSource {
    fn changes(&self, old: Option<&ObjectId>, new: &ObjectId, folder: &str) -> PortResult<Vec<TreeChange>> {
        self.with_repo(|repo| changes(repo, old, new, folder))
    }

    fn list(&self, tree: &ObjectId, folder: &str) -> PortResult<Vec<TreeEntry>> {
        let all = self.with_repo(|repo| changes(repo, None, tree, folder))?;
        Ok(all.into_iter().filter_map(|c| c.new).collect())
    }

    fn entry(&self, tree: &ObjectId, path: &str) -> PortResult<Option<TreeEntry>> {
        self.with_repo(|repo| {
            let root = repo.find_tree(oid(tree)?).map_err(|e| failed(&e))?;
            match root.get_path(std::path::Path::new(path)) {
                Ok(e) => Ok(Some(entry(path.to_owned(), &e))),
                Err(e) if e.code() == git2::ErrorCode::NotFound => Ok(None),
                Err(e) => Err(failed(&e)),
            }
        })
    }

    fn blob(&self, id: &ObjectId, limit: u64) -> PortResult<Vec<u8>> {
        self.with_repo(|repo| {
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
