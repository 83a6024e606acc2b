//! Scales: where the ticks of an axis are, and what stands at them.

use crate::model::Millis;

/// An axis of a chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Scale {
    pub from: f64,
    pub to: f64,
    /// Places, and what stands at them.
    pub ticks: Vec<(f64, String)>,
}

impl Scale {
    /// Where a value is between both ends, from 0 to 1.
    pub fn share(&self, value: f64) -> f64 {
        // Halves: what lies between may be more than there are numbers for.
        ((value / 2.0 - self.from / 2.0) / (self.to / 2.0 - self.from / 2.0)).clamp(0.0, 1.0)
    }
}

/// The least of 1, 2 and 5 times a power of ten that is at least this.
fn round_up(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * power).find(|n| *n >= least * (1.0 - 1e-9)).unwrap_or(least)
}

/// Multiples of `by` between both ends. Few, whatever is asked: between numbers that are too close there may be none.
fn multiples(from: f64, to: f64, by: f64) -> Vec<f64> {
    const MOST: usize = 50;
    let first = (from / by).ceil();
    (0..MOST).map(|n| (first + n as f64) * by).take_while(|t| *t <= to).collect()
}

/// Ends that are apart.
fn apart(from: f64, to: f64) -> (f64, f64) {
    if to > from {
        return (from, to);
    }
    let room = if from == 0.0 { 1.0 } else { from.abs() * 0.1 };
    (from - room, from + room)
}

/// Of values, with about so many ticks.
pub fn values(from: f64, to: f64, ticks: usize) -> Scale {
    let (from, to) = apart(from, to);
    // Halves: what lies between may be more than there are numbers for.
    let half = |from: f64, to: f64| to / 2.0 - from / 2.0;
    let room = half(from, to) * 0.08;
    let (from, to) = ((from - room).max(f64::MIN), (to + room).min(f64::MAX));
    let by = round_up((half(from, to) / ticks.max(1) as f64 * 2.0).min(f64::MAX / 2.0));
    let text = |t: f64| {
        // What is left of nothing after many additions.
        let t = if t.abs() < by / 1e3 { 0.0 } else { t };
        let decimals = (-by.log10() - 1e-9).ceil().max(0.0);
        match t.abs().max(by) {
            size if size >= 1e6 || decimals > 5.0 => {
                if t == 0.0 {
                    return "0".to_owned();
                }
                // As many figures as tell a tick from the next.
                let figures = (size.log10().floor() - by.log10().floor()).clamp(0.0, 8.0);
                format!("{t:.0$e}", figures as usize)
            }
            _ => format!("{t:.0$}", decimals as usize),
        }
    };
    Scale { from, to, ticks: multiples(from, to, by).into_iter().map(|t| (t, text(t))).collect() }
}

/// Of steps, which are whole.
pub fn steps(from: f64, to: f64, ticks: usize) -> Scale {
    let (from, to) = if to > from { (from, to) } else { (from - 1.0, from + 1.0) };
    let by = round_up((to - from) / ticks.max(1) as f64).max(1.0);
    let text = |t: f64| match t.abs() {
        1e9.. => format!("{t:e}"),
        1e6.. if t % 1e5 == 0.0 => format!("{}M", t / 1e6),
        1e4.. if t % 100.0 == 0.0 => format!("{}k", t / 1e3),
        _ => format!("{t:.0}"),
    };
    Scale { from, to, ticks: multiples(from, to, by).into_iter().map(|t| (t, text(t))).collect() }
}

/// Of seconds.
pub fn seconds(from: f64, to: f64, ticks: usize) -> Scale {
    const ROUND: [f64; 16] =
        [1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 21_600.0, 86_400.0];
    let (from, to) = if to > from { (from, to) } else { (from - 1.0, from + 1.0) };
    let least = (to - from) / ticks.max(1) as f64;
    let round = ROUND.into_iter().find(|s| *s >= least && least > 0.5);
    let by = round.unwrap_or_else(|| if least > 1.0 { round_up(least / 86_400.0) * 86_400.0 } else { round_up(least) });
    let text = |t: f64| match (t * 1000.0).round() {
        0.0 => "0".to_owned(),
        ms => format!("{}{}", if ms < 0.0 { "-" } else { "" }, Millis(ms.abs() as u64)),
    };
    Scale { from, to, ticks: multiples(from, to, by).into_iter().map(|t| (t, text(t))).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(scale: &Scale) -> Vec<&str> {
        scale.ticks.iter().map(|(_, t)| t.as_str()).collect()
    }

    #[test]
    fn ticks_are_round_and_say_no_more_than_needed() {
        assert_eq!(texts(&values(0.61, 0.98, 5)), ["0.6", "0.7", "0.8", "0.9"]);
        assert_eq!(texts(&values(0.0, 120.0, 4)), ["0", "50", "100"]);
        assert_eq!(texts(&values(-1.0, 1.0, 4)), ["-1", "0", "1"]);
        assert_eq!(texts(&values(1e-8, 3e-8, 3)), ["1e-8", "2e-8", "3e-8"]);
        assert_eq!(texts(&values(-1.7e308, 1.7e308, 4)), ["-1e308", "0", "1e308"]);
        assert_eq!(texts(&values(0.0, 3e6, 4)), ["0", "1e6", "2e6", "3e6"]);
        assert_eq!(texts(&steps(0.0, 20_000.0, 4)), ["0", "5000", "10k", "15k", "20k"]);
        assert_eq!(texts(&steps(0.0, 3.0, 9)), ["0", "1", "2", "3"]);
        assert_eq!(texts(&seconds(0.0, 200.0, 4)), ["0", "1m", "2m", "3m"]);
        assert_eq!(texts(&seconds(0.0, 0.4, 2)), ["0", "200ms", "400ms"]);
        assert_eq!(texts(&seconds(0.0, 400_000.0, 3)), ["0", "2d", "4d"]);
    }

    proptest! {
        #[test]
        fn any_ends_have_a_scale(a in any::<f64>(), b in any::<f64>(), ticks in 0usize..40) {
            prop_assume!(a.is_finite() && b.is_finite());
            for scale in [values(a.min(b), a.max(b), ticks), steps(a.min(b), a.max(b), ticks), seconds(a.min(b), a.max(b), ticks)] {
                prop_assert!(scale.ticks.len() <= 50);
                prop_assert!(scale.ticks.iter().all(|(t, _)| t.is_finite()), "{scale:?}");
                prop_assert!((0.0..=1.0).contains(&scale.share(a)) || scale.share(a).is_nan());
            }
        }
    }
}
