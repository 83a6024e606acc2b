//! The memory of this process.

/// Gives pages that are free back to the system. glibc keeps what a passing peak left behind, and the load of a whole fleet is one: for
/// 10,000 models a tenth of all memory. Takes milliseconds, so it is for after such work, not for each commit.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes glibc's own locks, and touches no memory that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Has threads share four of glibc's arenas; called before there are threads. By itself it takes eight a core, and what one thread frees in
/// its arena is room that threads of another do not use: with 150,000 runs, 15 to 30 MB of 180. Two arenas made searches that answer with
/// many runs slower.
pub fn share_arenas() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a number of glibc's.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 4);
    }
}
