//! The words: identifiers, specs, desired and observed state, plan, rollout. Plain data; imports nothing of ours.

mod gc;
mod id;
mod observed;
mod plan;
mod spec;
mod text;
mod version;

pub use gc::*;
pub use id::*;
pub use observed::*;
pub use plan::*;
pub use spec::*;
pub use text::*;
pub use version::*;
