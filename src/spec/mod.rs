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
mod resolve;
mod units;

pub use load::Loaded;
pub use resolve::{code_files, dataset_file};
pub use units::duration;

/// How an input or a param is called in an environment variable: `train` → `TRAIN`, `features/a.parquet` → `FEATURES_A_PARQUET`.
pub fn variable(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

#[cfg(test)]
mod tests;
