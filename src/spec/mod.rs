//! TOML text to typed specs with positions, and specs to the desired state. Pure: reads only through a given tree.

mod decode;
mod listed;
mod load;
pub mod lock;
mod model;
mod others;
mod paths;
pub mod pipeline;
pub mod render;
mod replaced;
mod resolve;
mod units;

pub use load::Loaded;
pub use resolve::{code_files, dataset_file};
pub use units::duration;

#[cfg(test)]
mod tests;
