//! How long to wait after a lost race.

use std::time::Duration;

/// Until a push that others overtook is tried again, after it was tried `tried` times: anything up to a bound that doubles from 50 ms to 2 s.
pub fn race(tried: u32, random: u64) -> Duration {
    let bound = (25u64 << tried.min(16)).min(2_000);
    Duration::from_millis(random % (bound + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn races_are_spread_within_a_bound_that_grows() {
        for (tried, bound) in [(1, 50), (2, 100), (6, 1_600), (7, 2_000), (u32::MAX, 2_000)] {
            for random in [0, 49, 1_999, 123_456_789, u64::MAX] {
                assert!(race(tried, random) <= Duration::from_millis(bound), "{tried} {random}");
            }
            assert_eq!(race(tried, bound), Duration::from_millis(bound));
        }
    }
}
