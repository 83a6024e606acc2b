//! Limits of this process.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Lets this process, and what it starts, open as many files as the system allows; with `most`, not more than that.
pub fn raise_file_limit(most: Option<u64>) {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let wanted = most.map_or(hard, |m| hard.min(m));
    if wanted > soft
        && let Err(e) = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)
    {
        tracing::warn!("the limit of open files stays as it is: {e}");
    }
}
