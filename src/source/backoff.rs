//! How long to wait until the remote is asked again.

use crate::model::Millis;
use std::time::Duration;

/// Longest pause while a remote cannot be reached, in milliseconds.
const CAP_MS: u64 = 300_000;

/// The interval, doubled for each failure in a row up to five minutes, and spread by a fifth either way by `random`, so that many daemons
/// do not ask in step.
pub fn pause(interval: Millis, failures: u32, random: u64) -> Duration {
    let base = interval.0.max(100);
    let grown = base.saturating_mul(1 << failures.min(16)).min(CAP_MS.max(base));
    let spread = grown / 5;
    let offset = if spread == 0 { 0 } else { random % (2 * spread + 1) };
    Duration::from_millis(grown - spread + offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_its_cap_and_stays_within_a_fifth() {
        for (failures, middle) in [(0, 10_000), (1, 20_000), (3, 80_000), (9, 300_000), (60, 300_000)] {
            for random in [0, 1, 12_345, u64::MAX] {
                let ms = pause(Millis(10_000), failures, random).as_millis() as u64;
                assert!((middle * 4 / 5..=middle * 6 / 5).contains(&ms), "{failures} {random}: {ms}");
            }
        }
    }
}
