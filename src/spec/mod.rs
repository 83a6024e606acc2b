//! TOML text to typed specs with positions, and specs to the desired state. Pure: reads only through a given tree.

mod analysis;
mod approvals;
pub mod decode;
mod deploy;
mod listed;
mod load;
pub mod lock;
mod model;
mod monitor;
mod others;
mod paths;
pub mod pipeline;
pub mod promotion;
mod relation;
pub mod render;
mod replaced;
mod resolve;
mod serve;
mod units;
mod unread;

pub use approvals::{Approvals, Given};
pub use load::Loaded;
pub use resolve::{code_files, dataset_file};
pub use units::duration;
pub use unread::{SETTINGS, unread};

#[cfg(test)]
mod tests;
