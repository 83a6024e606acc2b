//! Numbers that were logged, and what is said of them.

use serde::{Deserialize, Deserializer};
use std::fmt;

/// A number that may be none: equal when it reads the same.
#[derive(Debug, Clone, Copy)]
pub struct Figure(pub f64);

impl PartialEq for Figure {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}
impl Eq for Figure {}

impl<'de> Deserialize<'de> for Figure {
    /// What JSON cannot write comes as a word.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(from)?;
        let number = value.as_f64().or_else(|| match value.as_str()? {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        });
        // What MLflow makes of infinity, to fit it into its databases.
        let number = number.map(|n| if n.abs() == f64::MAX { f64::INFINITY.copysign(n) } else { n });
        number.map(Self).ok_or_else(|| serde::de::Error::custom(format!("{value} is no number")))
    }
}

impl fmt::Display for Figure {
    /// In as few characters as tell it, at most nine.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (n, size) = (self.0, self.0.abs());
        let text = match size {
            _ if n.is_nan() => "NaN".to_owned(),
            _ if n.is_infinite() => if n > 0.0 { "inf" } else { "-inf" }.to_owned(),
            0.0 => "0".to_owned(),
            _ if n == n.trunc() && size < 1e7 => format!("{n}"),
            _ if !(1e-3..1e6).contains(&size) => format!("{n:.2e}"),
            1e3.. => format!("{n:.1}"),
            100.0.. => format!("{n:.2}"),
            10.0.. => format!("{n:.3}"),
            0.01.. => format!("{n:.4}"),
            _ => format!("{n:.5}"),
        };
        f.pad(&text)
    }
}

/// Which way a metric is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    Higher,
    Lower,
    /// It is no measure of a model: what the machine does, how far a training is.
    Neither,
}

/// What a name says of it. A guess: it is shown beside what follows from it.
pub fn better(key: &str) -> Better {
    const NEITHER: &[&str] = &[
        "lr",
        "rate",
        "epoch",
        "epochs",
        "step",
        "steps",
        "iteration",
        "iterations",
        "samples",
        "tokens",
        "batch",
        "norm",
        "count",
        "num",
        "seed",
        "momentum",
        "size",
    ];
    const LESS: &[&str] = &[
        "loss",
        "error",
        "err",
        "mae",
        "mse",
        "rmse",
        "rmsle",
        "msle",
        "mape",
        "smape",
        "logloss",
        "brier",
        "perplexity",
        "ppl",
        "latency",
        "time",
        "seconds",
        "duration",
        "ms",
        "wer",
        "cer",
        "fid",
        "nll",
        "kl",
        "fpr",
        "fnr",
        "misses",
        "regret",
        "deviance",
        "entropy",
    ];
    let key = key.to_lowercase();
    let has = |words: &[&str]| key.split(|c: char| !c.is_alphanumeric()).any(|word| words.contains(&word));
    match () {
        () if is_of_machine(&key) => Better::Neither,
        () if has(LESS) || key.ends_with("loss") => Better::Lower,
        () if has(NEITHER) => Better::Neither,
        () => Better::Higher,
    }
}

impl Better {
    /// An arrow, or nothing.
    pub fn arrow(self) -> &'static str {
        match self {
            Self::Higher => "↑",
            Self::Lower => "↓",
            Self::Neither => "",
        }
    }

    /// The best of some numbers, where that means anything.
    pub fn best(self, all: impl Iterator<Item = f64>) -> Option<f64> {
        let numbers = all.filter(|n| n.is_finite());
        match self {
            Self::Higher => numbers.max_by(f64::total_cmp),
            Self::Lower => numbers.min_by(f64::total_cmp),
            Self::Neither => None,
        }
    }
}

/// Whether a metric is of the machine that a run is on, which is of interest last.
pub fn is_of_machine(key: &str) -> bool {
    key.starts_with("system/")
}

/// `+1.3 %`, or by how much where no share can be given; `None` between equal ones and what is no number.
pub fn change(from: f64, to: f64) -> Option<String> {
    let by = to - from;
    if !by.is_finite() || by == 0.0 {
        return None;
    }
    let share = by / from.abs() * 100.0;
    Some(match share.abs() {
        _ if from == 0.0 => format!("{}{}", if by > 0.0 { "+" } else { "" }, Figure(by)),
        1000.0.. => format!("{}{} ×", if share > 0.0 { "" } else { "-" }, Figure((to / from).abs().round())),
        100.0.. => format!("{share:+.0} %"),
        0.05.. => format!("{share:+.1} %"),
        _ => "≈".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_tell_what_they_are() {
        for (n, text) in [
            (0.91234, "0.9123"),
            (12.0, "12"),
            (-12.5, "-12.500"),
            (1e-9, "1.00e-9"),
            (2.5e7, "2.50e7"),
            (0.00523, "0.00523"),
            (123456.78, "123456.8"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-inf"),
            (-0.0, "0"),
        ] {
            assert_eq!(Figure(n).to_string(), text);
        }
        for n in [1.0, -1.0].into_iter().flat_map(|s| (-320..308).map(move |e| s * 1.23456789 * 10f64.powi(e))) {
            assert!(Figure(n).to_string().len() <= 10, "{n}: {}", Figure(n));
        }
        let read: Vec<Figure> = serde_json::from_str(r#"["NaN", "-Infinity", 1, 1.7976931348623157e308]"#).unwrap();
        assert_eq!(read, [f64::NAN, f64::NEG_INFINITY, 1.0, f64::INFINITY].map(Figure));
        assert!(serde_json::from_str::<Figure>("\"many\"").is_err());
    }

    #[test]
    fn what_is_better_follows_from_words_of_the_name() {
        use Better::*;
        for (key, way) in [
            ("auc", Higher),
            ("accuracy", Higher),
            ("times_won", Higher),
            ("val_loss", Lower),
            ("valLoss", Lower),
            ("eval/rmse", Lower),
            ("error_rate", Lower),
            ("learning_rate", Neither),
            ("system/cpu_time", Neither),
            ("system/gpu_0_power", Neither),
        ] {
            assert_eq!(better(key), way, "{key}");
        }
        assert_eq!(Lower.best([3.0, f64::NAN, 1.0, f64::NEG_INFINITY].into_iter()), Some(1.0));
        assert_eq!(Neither.best([3.0].into_iter()), None);
    }

    #[test]
    fn changes_are_shares_where_there_is_one() {
        assert_eq!(change(0.9, 0.912).as_deref(), Some("+1.3 %"));
        assert_eq!(change(2.0, 1.0).as_deref(), Some("-50.0 %"));
        assert_eq!(change(-2.0, -1.0).as_deref(), Some("+50.0 %"), "upwards is upwards");
        assert_eq!(change(0.0, 0.5).as_deref(), Some("+0.5000"));
        assert_eq!(change(1.0, 1.0001).as_deref(), Some("≈"));
        assert_eq!(change(1.0, 40.0).as_deref(), Some("40 ×"));
        for (a, b) in [(1.0, 1.0), (f64::NAN, 1.0), (1.0, f64::INFINITY)] {
            assert_eq!(change(a, b), None);
        }
    }
}
