//! Child processes that outlive the daemon: the shim, process identity, adoption.
//!
//! A shim is a small process of this same binary that holds one child, as containerd's does: it keeps the child's log and writes its
//! exit status to disk, so that a daemon that died and came back takes up what happened meanwhile.

mod clock;
pub mod environment;
mod handle;
mod identity;
mod limits;
mod mask;
mod memory;
pub mod shim;

pub use clock::{ClockBase, SystemClock};
pub use handle::{Handle, State, adopt, spawn};
pub use identity::Identity;
pub use limits::raise_file_limit;
pub use mask::Mask;
pub use memory::{give_back, share_arenas};
pub use shim::{ExitRecord, ShimSpec, keep_log};
