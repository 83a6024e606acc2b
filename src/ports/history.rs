//! The commits of the watched repository, for people: what each changed, and what undoing one comes to.

use super::{BotCommit, FileChange, GitTree, PortResult};
use crate::model::*;

/// A commit as the change that it is to the branch it was made on: what it says against its first parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub revision: Revision,
    /// The tree of its first parent; the empty one where there is none.
    pub before: ObjectId,
    /// Of a merge: the newest commits that it brought in.
    pub merged: Vec<ObjectId>,
    /// Whole message.
    pub message: String,
}

/// What undoing a commit comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undone {
    /// These files become what they were before it; those outside of the folder, which stay as they are, are named.
    Files { files: Vec<FileChange>, outside: Vec<String> },
    /// Later commits changed the same places of these files.
    Conflicts(Vec<String>),
}

/// What a repository's commits did.
pub trait History: GitTree {
    /// What a commit is to its branch. Cheap: no file is compared.
    fn change(&self, commit: &ObjectId) -> PortResult<Change>;
    /// The names right below a folder at which two root trees differ. What lies below them is not read, so that a commit of ten thousand files
    /// costs what the folder's listing does.
    fn differing(&self, old: &ObjectId, new: &ObjectId, folder: &str) -> PortResult<Vec<String>>;
    /// What `git revert` of a commit on `head` changes below a folder; a merge is reverted against its first parent. Nothing is written to any
    /// branch.
    fn undo(&self, commit: &ObjectId, head: &ObjectId, folder: &str) -> PortResult<Undone>;
    /// Makes a commit on the one that it was decided on, as [`super::Source::push`] would, and leads no branch to it. `None` when it would
    /// change nothing.
    fn draft(&self, commit: &BotCommit) -> PortResult<Option<Revision>>;
}
