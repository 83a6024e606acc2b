//! `trimtab tui`.

use super::{
    fail::{Failure, Outcome},
    global::Global,
};

pub fn run(global: &Global) -> Outcome {
    let _ = global;
    Err(Failure::new("not here yet"))
}
