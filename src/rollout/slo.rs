//! Whether a release that has all traffic spends its error budget too fast.
//!
//! The burn rate is the share of bad requests over the share that the objective allows (Google's SRE Workbook, chapter 5). As there, it must be
//! too high over a long window, so that it matters, and over a short one, so that what is over is not acted on. The long window is all that the
//! release has served since it got all traffic; that it is too high there must be sure ([`sequential::exceeds`]), since one failure among ten
//! requests is a burn rate of a hundred and says little.

use super::sequential::{self, Compared, Counts};
use crate::model::*;
use std::borrow::Cow;

/// The chance of taking back a release that keeps its objectives, however long it is watched.
const ALPHA: f64 = 0.01;

/// The objective that burns, in words; `None` while all hold or nothing is sure.
pub fn burning(slo: &SloSpec, served: &Served) -> Option<String> {
    slo.objectives.iter().find_map(|objective| burns(objective, slo.burn_rate, served))
}

fn burns(objective: &Objective, rate: f64, served: &Served) -> Option<String> {
    let budget = objective.budget();
    // A budget so large that no traffic could spend it so fast is burnt by half of what it leaves.
    let share = (budget * rate).min(f64::midpoint(budget, 1.0));
    let since = match objective {
        Objective::Latency { max, .. } => served.since.with_overdue(max.0 as f64),
        Objective::Availability(_) => Cow::Borrowed(&served.since),
    };
    let counts = Counts { bad: bad(objective, &since)?, of: since.requests };
    let sure = sequential::exceeds(counts, share, ALPHA) == Compared::Worse;
    (sure && goes_on(objective, share, &served.recent)).then(|| {
        let factor =
            if budget > 0.0 { format!(", {:.0} × its budget", counts.share() / budget) } else { String::new() };
        let of = since.requests;
        format!("{} is broken: {:.2} % of {of} requests{factor}", objective.show(), counts.share() * 100.0)
    })
}

/// The share of the error budget of these requests that is spent: 1 is all of it. `None` where nobody knows.
pub fn spent(objective: &Objective, since: &TrafficStats) -> Option<f64> {
    let allowed = objective.budget() * since.requests as f64;
    bad(objective, since).filter(|_| allowed > 0.0).map(|bad| bad as f64 / allowed)
}

/// Whether the objective is kept over these requests, as far as is known.
pub fn is_kept(objective: &Objective, since: &TrafficStats) -> bool {
    match objective {
        Objective::Availability(_) => spent(objective, since).is_none_or(|s| s <= 1.0),
        Objective::Latency { quantile, max } => since.requests == 0 || since.quantile(*quantile) <= max.0 as f64,
    }
}

/// Bad requests since the release has all traffic.
fn bad(objective: &Objective, since: &TrafficStats) -> Option<u64> {
    match objective {
        Objective::Availability(_) => Some(since.errors),
        // Without a histogram nobody knows.
        Objective::Latency { .. } if since.latency.is_empty() => None,
        Objective::Latency { max, .. } => Some(since.slower_than(max.0 as f64)),
    }
}

/// Whether the last seconds were as bad.
fn goes_on(objective: &Objective, share: f64, recent: &TrafficStats) -> bool {
    match objective {
        Objective::Availability(_) => recent.error_rate() > share,
        Objective::Latency { quantile, max } => {
            let late = recent.overdue(max.0 as f64) as f64;
            let waits = late > (1.0 - quantile) * (recent.requests as f64 + late);
            waits || (recent.requests > 0 && recent.quantile(*quantile) > max.0 as f64)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(since: (u64, u64), recent: (u64, u64)) -> Served {
        let stats = |(requests, errors)| TrafficStats { requests, errors, ..TrafficStats::default() };
        Served { since: stats(since), recent: stats(recent) }
    }

    fn slow(since: (u64, u64), recent_p99: f64) -> Served {
        let bucket = |up_to, requests| LatencyBucket { up_to, requests };
        let latency = vec![bucket(20.0, since.0 - since.1), bucket(90.0, since.1)];
        let since = TrafficStats { requests: since.0, latency, ..TrafficStats::default() };
        let recent = TrafficStats { requests: 10, p99_ms: recent_p99, ..TrafficStats::default() };
        Served { since, recent }
    }

    #[test]
    fn it_burns_when_that_is_sure_and_goes_on() {
        let available = Objective::Availability(0.999);
        let rows = [
            // One failure among ten requests says little, whatever its rate.
            ((10, 1), (10, 1), false),
            ((10_000, 10), (1_000, 10), false),
            // 14.4 times the budget is 1.44 %.
            ((10_000, 140), (1_000, 20), false),
            ((10_000, 400), (1_000, 50), true),
            ((10_000, 400), (1_000, 0), false),
            ((10_000, 400), (0, 0), false),
            ((20, 20), (20, 20), true),
            ((0, 0), (0, 0), false),
        ];
        for (since, recent, expected) in rows {
            let burns = burns(&available, DEFAULT_BURN_RATE, &served(since, recent));
            assert_eq!(burns.is_some(), expected, "{since:?} {recent:?}: {burns:?}");
        }
        let slo = SloSpec { objectives: vec![available], burn_rate: 14.4, watch: DEFAULT_WATCH };
        assert_eq!(
            burning(&slo, &served((10_000, 400), (1_000, 50))).unwrap(),
            "availability 0.999 is broken: 4.00 % of 10000 requests, 40 × its budget"
        );
    }

    #[test]
    fn slow_requests_spend_the_budget_of_a_quantile() {
        let quick = Objective::Latency { quantile: 0.99, max: Millis(50) };
        assert!(burns(&quick, 14.4, &slow((1_000, 100), 90.0)).is_none(), "a tenth is ten times the budget");
        assert!(burns(&quick, 14.4, &slow((1_000, 300), 90.0)).is_some());
        assert!(burns(&quick, 14.4, &slow((1_000, 300), 20.0)).is_none(), "over");
        let open = vec![LatencyBucket { up_to: 4_000.0, requests: 30 }];
        let hangs = TrafficStats { open, ..TrafficStats::default() };
        let hangs = Served { since: hangs.clone(), recent: hangs };
        assert_eq!(
            burns(&quick, 14.4, &hangs).unwrap(),
            "latency_p99 50ms is broken: 100.00 % of 30 requests, 100 × its budget"
        );
        let median = Objective::Latency { quantile: 0.5, max: Millis(50) };
        assert!(
            burns(
                &median,
                14.4,
                &Served {
                    recent: TrafficStats { p50_ms: 90.0, ..slow((1_000, 900), 0.0).recent },
                    ..slow((1_000, 900), 0.0)
                }
            )
            .is_some()
        );
        assert!(
            burns(&quick, 14.4, &served((1_000, 1_000), (10, 10))).is_none(),
            "nothing is known without a histogram"
        );
    }
}
