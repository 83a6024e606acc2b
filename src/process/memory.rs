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
