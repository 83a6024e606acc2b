//! How long to wait until the remote is asked again.

use crate::model::{Millis, SourceReason};
use std::time::Duration;

/// Longest pause while a remote cannot be reached, in milliseconds.
const CAP_MS: u64 = 300_000;
/// Shortest and longest pause while it waits for a person.
const SLOW_MS: (u64, u64) = (60_000, 1_800_000);

/// The interval, doubled for each failure in a row up to five minutes, and spread by a fifth either way by `random`, so that many daemons
/// do not ask in step. What waits for a person (refused credentials, a certificate, ...) is asked for more seldom: after two
/// minutes at the soonest, doubled up to half an hour.
pub(super) fn pause(interval: Millis, failures: u32, reason: Option<SourceReason>, random: u64) -> Duration {
    let base = interval.0.max(100);
    let (base, cap) = match reason {
        Some(reason) if reason.waits_for_a_person() => (base.max(SLOW_MS.0), SLOW_MS.1),
        _ => (base, CAP_MS),
    };
    let grown = base.saturating_mul(1 << failures.min(16)).min(cap.max(base));
    let spread = grown / 5;
    let offset = if spread == 0 { 0 } else { random % (2 * spread + 1) };
    Duration::from_millis(grown - spread + offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use SourceReason::*;

    #[test]
    fn grows_to_its_cap_and_stays_within_a_fifth() {
        let table = [
            (0, None, 10_000),
            (1, Some(Unreachable), 20_000),
            (3, Some(Timeout), 80_000),
            (9, Some(Other), 300_000),
            (60, None, 300_000),
            (1, Some(Authentication), 120_000),
            (2, Some(Certificate), 240_000),
            (9, Some(HostKey), 1_800_000),
            (60, Some(NotFound), 1_800_000),
        ];
        for (failures, reason, middle) in table {
            for random in [0, 1, 12_345, u64::MAX] {
                let ms = pause(Millis(10_000), failures, reason, random).as_millis() as u64;
                assert!((middle * 4 / 5..=middle * 6 / 5).contains(&ms), "{failures} {reason:?} {random}: {ms}");
            }
        }
    }
}
