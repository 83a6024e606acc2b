//! The one place that reads the clocks.

use super::identity::boot_id;
use crate::{model::*, ports::Clock};
use serde::{Deserialize, Serialize};

/// Where the steady clock stood, kept in the store so that it goes on after a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockBase {
    pub boot: String,
    /// Milliseconds since boot, sleep included.
    pub since_boot: u64,
    pub steady: u64,
    pub wall: i64,
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    base: ClockBase,
}

/// Steady time at a reading: on the same boot it goes on by the machine's uptime; after a reboot by the wall clock, unless that went back.
fn steady(base: &ClockBase, boot: &str, since_boot: u64, wall: i64) -> u64 {
    let passed = if base.boot == boot {
        since_boot.saturating_sub(base.since_boot)
    } else {
        wall.saturating_sub(base.wall).max(0) as u64
    };
    base.steady.saturating_add(passed)
}

fn since_boot() -> u64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME);
    time.map_or(0, |t| t.tv_sec() as u64 * 1000 + t.tv_nsec() as u64 / 1_000_000)
}

#[expect(clippy::disallowed_methods, reason = "everything else is given the time")]
fn wall() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| d.as_millis() as i64)
}

impl SystemClock {
    /// Goes on from where an earlier process stood; from the wall clock when there was none.
    pub fn continuing(stored: Option<ClockBase>) -> Self {
        let (boot, up, wall) = (boot_id(), since_boot(), wall());
        let steady = stored.map_or(wall.max(0) as u64, |base| steady(&base, &boot, up, wall));
        Self { base: ClockBase { boot, since_boot: up, steady, wall } }
    }

    /// What to keep for the next process.
    pub fn base(&self) -> ClockBase {
        let now = self.now();
        ClockBase { boot: self.base.boot.clone(), since_boot: since_boot(), steady: now.steady.0, wall: now.wall.0 }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let wall = wall();
        Now { wall: WallMs(wall), steady: SteadyMs(steady(&self.base, &self.base.boot, since_boot(), wall)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steady_time_never_goes_back() {
        let base = ClockBase { boot: "a".into(), since_boot: 1_000, steady: 50_000, wall: 9_000_000 };
        for (boot, up, wall, expected) in [
            ("a", 1_500, 9_000_500, 50_500),
            ("a", 1_500, 1, 50_500),          // the wall clock was set back
            ("a", 1_500, 99_000_000, 50_500), // or forward
            ("b", 20, 9_010_000, 60_000),     // a reboot
            ("b", 20, 1, 50_000),             // a reboot with the clock set back
        ] {
            assert_eq!(steady(&base, boot, up, wall), expected, "{boot} {up} {wall}");
        }
    }
}
