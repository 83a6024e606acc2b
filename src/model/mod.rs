//! The words: identifiers, specs, desired and observed state, plan, rollout. Plain data; imports nothing of ours.

mod access;
mod delivery;
mod gc;
mod id;
mod import;
mod mirror;
mod monitor;
mod observed;
mod plan;
mod promotion;
mod rollout;
mod runtime;
mod spec;
mod text;
pub mod tracking;
mod version;

pub use access::*;
pub use delivery::*;
pub use gc::*;
pub use id::*;
pub use import::*;
pub use mirror::*;
pub use monitor::*;
pub use observed::*;
pub use plan::*;
pub use promotion::*;
pub use rollout::*;
pub use runtime::*;
pub use spec::*;
pub use text::*;
pub use version::*;
