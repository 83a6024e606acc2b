//! The approvals that a revision has. Who gave them is not in the tree: their commits say it.

use super::{load::Parsed, promotion};
use crate::model::*;
use std::collections::BTreeSet;

/// A file that approves something.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Given {
    /// From the repository's root.
    pub path: String,
    pub content: ObjectId,
    /// The revision in which this content was seen first. One that was taken back and given again may be somebody else's.
    pub seen: ObjectId,
}

/// The approvals of a revision; what did not change is shared with the one before.
#[derive(Debug, Clone, Default)]
pub struct Approvals {
    good: rpds::RedBlackTreeMapSync<String, Given>,
    /// Files that cannot be read.
    broken: rpds::RedBlackTreeMapSync<String, Vec<Diagnostic>>,
    /// Models that have other approvals than in the revision before.
    touched: BTreeSet<Name>,
    revision: Option<ObjectId>,
}

impl Approvals {
    /// What comes now is of this revision.
    pub(super) fn begin(&mut self, revision: &Revision) {
        self.touched.clear();
        self.revision = Some(revision.commit.clone());
    }

    /// Takes what a file is now; `None` when it is gone.
    pub(super) fn set(&mut self, path: &str, file: Option<(ObjectId, Parsed<Approval>)>) {
        // In the order of the path: FINGERPRINT.toml, ENVIRONMENT, MODEL.
        self.touched.extend(path.rsplit('/').nth(2).and_then(|model| Name::new(model).ok()));
        self.good.remove_mut(path);
        self.broken.remove_mut(path);
        let Some((content, parsed)) = file else { return };
        match (parsed.value, &self.revision) {
            (Some(_), Some(seen)) => {
                let given = Given { path: path.to_owned(), content, seen: seen.clone() };
                self.good.insert_mut(path.to_owned(), given);
            }
            _ => self.broken.insert_mut(path.to_owned(), parsed.diagnostics),
        }
    }

    /// The file that approves a content for an environment; `folder` is that of all specs.
    pub fn of(&self, folder: &str, model: &Name, environment: &Name, fingerprint: &Digest) -> Option<&Given> {
        self.good.get(&promotion::approval_file(folder, model, environment, fingerprint))
    }

    /// Models that have other approvals than in the revision before.
    pub fn touched(&self) -> &BTreeSet<Name> {
        &self.touched
    }

    pub(super) fn diagnostics(&self) -> impl Iterator<Item = &Diagnostic> {
        self.broken.values().flatten()
    }
}
