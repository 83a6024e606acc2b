//! The watched Git repository: fetch, read by object id, push bot commits, notifications.

mod backoff;
mod branches;
mod bring;
mod change;
mod checkout;
mod commit;
mod damage;
mod failure;
mod folder;
mod git;
mod line;
mod location;
mod mirror;
mod remote;
mod talk;
mod tree;
mod walk;
mod worktree;

pub use git::{GitSource, SourceConfig};
pub use location::{Credentials, Location};
pub use worktree::Worktree;
