//! Who a process is: its pid alone may have been given to another since.

use serde::{Deserialize, Serialize};
use std::os::fd::{FromRawFd, OwnedFd};

/// A process on this machine since this boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub pid: i32,
    /// Start time in clock ticks after boot (`/proc/PID/stat`, field 22).
    pub started: u64,
    pub boot: String,
}

/// This boot of the machine.
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|s| s.trim().to_owned()).unwrap_or_default()
}

/// State letter and start time of a process.
fn stat(pid: i32) -> Option<(char, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, so fields are counted from its end.
    let rest = text.get(text.rfind(')')? + 1..)?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

impl Identity {
    /// The process with this pid as it is now.
    pub fn of(pid: i32) -> Option<Self> {
        Some(Self { pid, started: stat(pid)?.1, boot: boot_id() })
    }

    /// Whether that very process still runs (a zombie does not).
    pub fn is_alive(&self) -> bool {
        self.boot == boot_id()
            && stat(self.pid).is_some_and(|(state, started)| started == self.started && !matches!(state, 'Z' | 'X'))
    }

    /// A descriptor that is readable once the process has ended; `None` when it already has.
    pub fn pidfd(&self) -> Option<OwnedFd> {
        // SAFETY: pidfd_open takes two integers; a result of 0 or more is a descriptor that nobody else owns.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, self.pid, 0) };
        let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
        // SAFETY: as above.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // Checked after opening: from here on the descriptor stays with whoever has the pid now.
        self.is_alive().then_some(fd)
    }

    /// Sends a signal, when the process still runs.
    pub fn signal(&self, signal: i32) {
        if self.is_alive() {
            // SAFETY: kill has no memory effects; the identity was checked just now.
            unsafe { libc::kill(self.pid, signal) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pid_start_time_and_boot_must_all_match() {
        let me = Identity::of(std::process::id() as i32).unwrap();
        assert!(me.is_alive());
        assert!(!Identity { started: me.started + 1, ..me.clone() }.is_alive());
        assert!(!Identity { boot: "other".into(), ..me.clone() }.is_alive());
        assert!(!Identity { pid: i32::MAX, ..me }.is_alive());
    }
}
