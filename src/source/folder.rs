//! Git's tree objects: reading their entries, and finding one by its name.
//! The format: <https://git-scm.com/book/en/v2/Git-Internals-Git-Objects>.

use super::{
    damage::Loose,
    tree::{failed, id},
};
use crate::{model::*, ports::*};
use git2::{Oid, Repository};
use std::{
    cmp::Ordering,
    sync::{Arc, Mutex, PoisonError},
};

/// The mode of a folder.
pub(super) const TREE: u32 = 0o040_000;
const OID_BYTES: usize = 20;

/// One entry of a raw tree.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Raw<'t> {
    pub mode: u32,
    pub name: &'t [u8],
    pub oid: &'t [u8],
}

impl<'t> Raw<'t> {
    /// The entry at the start of `bytes`, and the rest; `None` at the end and where the object is damaged.
    pub fn first(bytes: &'t [u8]) -> Option<(Self, &'t [u8])> {
        let space = bytes.iter().position(|b| *b == b' ')?;
        let mode = u32::from_str_radix(std::str::from_utf8(bytes.get(..space)?).ok()?, 8).ok()?;
        let rest = bytes.get(space + 1..)?;
        let end = rest.iter().position(|b| *b == 0)?;
        let (name, rest) = (rest.get(..end)?, rest.get(end + 1..)?);
        Some((Self { mode, name, oid: rest.get(..OID_BYTES)? }, rest.get(OID_BYTES..)?))
    }

    pub fn is_tree(&self) -> bool {
        self.mode == TREE
    }

    /// Git's order of entries: folders as if their names ended in `/`.
    pub fn order(&self, other: &Self) -> Ordering {
        let end = |e: &Self| e.is_tree().then_some(b'/');
        self.name.iter().copied().chain(end(self)).cmp(other.name.iter().copied().chain(end(other)))
    }

    pub fn id(&self) -> PortResult<ObjectId> {
        Oid::from_bytes(self.oid).map(id).map_err(|e| failed(&e))
    }

    pub fn file(&self, path: &str) -> PortResult<TreeEntry> {
        Ok(TreeEntry { path: path.to_owned(), mode: self.mode, id: self.id()? })
    }
}

/// A tree object with the places of its entries, so that a name is found by halving.
struct Folder {
    oid: Oid,
    bytes: Vec<u8>,
    starts: Vec<u32>,
}

impl Folder {
    fn read(repo: &Repository, oid: Oid) -> PortResult<Self> {
        let odb = repo.odb().map_err(|e| failed(&e))?;
        let object = odb.read(oid).map_err(|e| failed(&e))?;
        if object.kind() != git2::ObjectType::Tree {
            return Err(PortError::permanent(format!("git: {oid} is no folder")));
        }
        let bytes = object.data().to_vec();
        let (mut starts, mut rest) = (Vec::new(), bytes.as_slice());
        while !rest.is_empty() {
            let (_, after) = Raw::first(rest).ok_or_else(|| damaged(oid))?;
            starts.push((bytes.len() - rest.len()) as u32);
            rest = after;
        }
        Ok(Self { oid, bytes, starts })
    }

    fn at(&self, start: u32) -> Option<Raw<'_>> {
        Raw::first(self.bytes.get(start as usize..)?).map(|(raw, _)| raw)
    }

    /// A folder and a file of one name would stand in different places.
    fn find(&self, name: &str) -> Option<Raw<'_>> {
        let wanted = |mode| Raw { mode, name: name.as_bytes(), oid: &[] };
        [wanted(TREE), wanted(0)].into_iter().find_map(|wanted| {
            let order = |start: &u32| self.at(*start).map_or(Ordering::Less, |raw| raw.order(&wanted));
            let found = self.starts.binary_search_by(order).ok()?;
            self.at(self.starts[found]).filter(|raw| raw.name == wanted.name)
        })
    }
}

pub(super) fn damaged(tree: Oid) -> PortError {
    PortError::permanent(format!("git: the tree {tree} is damaged"))
}

/// Folders that were looked into last: the few on the way to a spec are the same for every spec, and may have 100,000 entries.
#[derive(Default)]
pub(super) struct Folders {
    kept: Mutex<Vec<Arc<Folder>>>,
    /// What may not be read.
    pub loose: Loose,
}

/// Deeper than specs lie, so that their folders stay while one that holds only one of them passes through.
const KEPT: usize = 8;

impl Folders {
    fn get(&self, repo: &Repository, oid: Oid) -> PortResult<Arc<Folder>> {
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept().iter().find(|f| f.oid == oid).cloned();
        let folder = match found {
            Some(folder) => folder,
            // Not under the lock: others look up meanwhile.
            None => {
                self.loose.refuse(oid)?;
                Arc::new(Folder::read(repo, oid)?)
            }
        };
        let mut kept = kept();
        kept.retain(|f| f.oid != oid);
        kept.insert(0, folder.clone());
        kept.truncate(KEPT);
        Ok(folder)
    }

    /// The entry at `path` below the tree `root`.
    pub fn entry(&self, repo: &Repository, root: Oid, path: &str) -> PortResult<Option<TreeEntry>> {
        let (mut folder, mut parts) = (self.get(repo, root)?, path.split('/').peekable());
        while let Some(part) = parts.next() {
            let Some(raw) = folder.find(part) else { return Ok(None) };
            if parts.peek().is_none() {
                return raw.file(path).map(Some);
            }
            if !raw.is_tree() {
                return Ok(None);
            }
            let below = Oid::from_bytes(raw.oid).map_err(|e| failed(&e))?;
            folder = self.get(repo, below)?;
        }
        Ok(None)
    }
}
