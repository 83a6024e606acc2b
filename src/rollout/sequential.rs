//! Comparing two releases while requests come in, without being fooled by noise however often one looks.
//!
//! A request is bad or good. For each release the share of bad ones lies, at every instant at once, within a *confidence sequence*: the
//! beta-binomial mixture bound of Robbins ("Statistical methods related to the law of the iterated logarithm", Ann. Math. Statist. 41,
//! 1970), as in Howard, Ramdas, McAuliffe and Sekhon ("Time-uniform, nonparametric, nonasymptotic confidence sequences", Ann. Statist. 49,
//! 2021). With a prior Beta(a, b) over the share and k bad ones among n,
//!
//! ```text
//! M(p) = B(a + k, b + n - k) / (B(a, b) p^k (1 - p)^(n - k))
//! ```
//!
//! is a martingale for the true p, so that by Ville's inequality it ever exceeds 1/α with a chance of at most α: the shares with M(p) < 1/α
//! are the sequence. Exact for every n; no approximation by a normal distribution, of which there is none at rates near zero.

/// Jeffreys' prior: narrow where shares of failures are, near zero.
const PRIOR: f64 = 0.5;

/// Bad requests among some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub bad: u64,
    pub of: u64,
}
impl Counts {
    /// The share of bad ones, 0 to 1.
    pub fn share(self) -> f64 {
        if self.of == 0 { 0.0 } else { self.bad.min(self.of) as f64 / self.of as f64 }
    }
}

/// What can be said of a release beside another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compared {
    /// It is worse by more than the slack; wrong with a chance of at most α, however often one asks.
    Worse,
    /// Its figure is worse by more than the slack, which may be chance.
    Unclear,
    /// Its figure is within the slack.
    NotWorse,
}

/// Compares shares of bad requests; `slack` is how much larger the new one may be.
pub fn compare(new: Counts, stable: Counts, slack: f64, alpha: f64) -> Compared {
    // Each of the two may be wrong with half the chance.
    let (lowest, _) = bounds(new, alpha / 2.0);
    let (_, highest) = bounds(stable, alpha / 2.0);
    if lowest > highest + slack {
        Compared::Worse
    } else if new.share() > stable.share() + slack {
        Compared::Unclear
    } else {
        Compared::NotWorse
    }
}

/// Says whether a share is above a fixed one; wrong with a chance of at most `alpha`.
pub fn exceeds(new: Counts, share: f64, alpha: f64) -> Compared {
    if bounds(new, alpha).0 > share {
        Compared::Worse
    } else if new.share() > share {
        Compared::Unclear
    } else {
        Compared::NotWorse
    }
}

/// The confidence sequence at this instant: (lowest, highest) share that is not ruled out.
pub fn bounds(counts: Counts, alpha: f64) -> (f64, f64) {
    let (n, k) = (counts.of as f64, counts.bad.min(counts.of) as f64);
    if n == 0.0 {
        return (0.0, 1.0);
    }
    let weight = ln_beta(PRIOR + k, PRIOR + n - k) - ln_beta(PRIOR, PRIOR);
    let limit = (1.0 / alpha).ln();
    // x ln p is 0 for x = 0, whatever p.
    let times_ln = |x: f64, p: f64| if x == 0.0 { 0.0 } else { x * p.ln() };
    let ruled_out = |p: f64| weight - times_ln(k, p) - times_ln(n - k, 1.0 - p) > limit;
    let middle = k / n;
    // The function falls towards the middle and rises after it.
    let edge = |mut outside: f64, mut inside: f64| {
        if !ruled_out(outside) {
            return outside;
        }
        for _ in 0..60 {
            let p = f64::midpoint(outside, inside);
            *(if ruled_out(p) { &mut outside } else { &mut inside }) = p;
        }
        inside
    };
    (edge(0.0, middle), edge(1.0, middle))
}

fn ln_beta(a: f64, b: f64) -> f64 {
    libm::lgamma(a) + libm::lgamma(b) - libm::lgamma(a + b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(bad: u64, of: u64) -> Counts {
        Counts { bad, of }
    }

    #[test]
    fn the_bounds_are_those_of_the_formula() {
        // The roots of ln M(p) = ln 40 by scipy's `betaln` and `brentq`.
        let by_scipy = [
            (of(0, 100), 0.0, 0.063_542_176_903_328_2),
            (of(3, 100), 0.001_471_872_009_864_993_7, 0.130_874_689_591_255_87),
            (of(50, 1_000), 0.027_842_998_681_623_95, 0.080_936_918_662_612_78),
            (of(1_000, 1_000), 0.992_314_439_087_572_2, 1.0),
            (of(7, 100_000), 7.158_876_823_865_787e-6, 0.000_258_090_037_394_625_96),
        ];
        for (counts, lowest, highest) in by_scipy {
            let (l, h) = bounds(counts, 0.025);
            assert!((l - lowest).abs() < 1e-9 && (h - highest).abs() < 1e-9, "{counts:?}: {l} {h}");
        }
        assert_eq!(bounds(of(0, 0), 0.05), (0.0, 1.0));
    }

    #[test]
    fn little_traffic_is_no_verdict_and_much_is() {
        let stable = of(10, 10_000);
        assert_eq!(compare(of(2, 20), stable, 0.01, 0.05), Compared::Unclear);
        assert_eq!(compare(of(100, 1_000), stable, 0.01, 0.05), Compared::Worse);
        assert_eq!(compare(of(1, 1_000), stable, 0.01, 0.05), Compared::NotWorse);
        assert_eq!(compare(of(0, 0), of(0, 0), 0.0, 0.05), Compared::NotWorse);
        assert_eq!(exceeds(of(3, 100), 0.01, 0.05), Compared::Unclear);
        assert_eq!(exceeds(of(60, 1_000), 0.01, 0.05), Compared::Worse);
    }

    /// Two releases that fail alike, looked at after every request: few of many such rollouts may ever be called worse.
    #[test]
    fn equal_releases_are_seldom_called_worse_however_often_one_looks() {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let mut wrong = 0;
        for _ in 0..400 {
            let (mut new, mut stable) = (of(0, 0), of(0, 0));
            for _ in 0..500 {
                for counts in [&mut new, &mut stable] {
                    counts.of += 1;
                    counts.bad += u64::from(random() < 0.05);
                }
                if compare(new, stable, 0.0, 0.05) == Compared::Worse {
                    wrong += 1;
                    break;
                }
            }
        }
        assert!(wrong <= 20, "{wrong} of 400, at most 5 % may be");
    }

    proptest! {
        #[test]
        fn the_share_itself_is_never_ruled_out(k in 0u64..2_000, more in 0u64..2_000_000, alpha in 0.001f64..0.5) {
            let counts = of(k, k + more);
            let (l, h) = bounds(counts, alpha);
            prop_assert!((0.0..=1.0).contains(&l) && l <= counts.share() + 1e-12 && counts.share() <= h + 1e-12 && h <= 1.0);
        }

        #[test]
        fn more_of_the_same_says_more(k in 0u64..50, n in 50u64..200, alpha in 0.001f64..0.5) {
            let (l, h) = bounds(of(k, n), alpha);
            let (closer_l, closer_h) = bounds(of(k * 10, n * 10), alpha);
            prop_assert!(closer_l >= l - 1e-12 && closer_h <= h + 1e-12);
        }
    }
}
