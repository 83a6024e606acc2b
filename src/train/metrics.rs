//! Metrics that a run appended: JSON lines; the last value of each name counts.

use crate::ports::LoggedMetric;
use std::collections::BTreeMap;

/// Metrics of one run; more are left out.
const MOST: usize = 1000;
const LONGEST_NAME: usize = 250;

/// What a run's file of metrics holds.
#[derive(Debug, Default, PartialEq)]
pub struct Metrics {
    pub values: BTreeMap<String, f64>,
    /// All values as they came; the step is the line's, or how many of the name came before.
    pub series: Vec<LoggedMetric>,
    /// Values that are no finite numbers in a JSON object.
    pub bad: usize,
    /// Past the most that are kept.
    pub too_many: usize,
    /// Names that are refused, the first few.
    pub bad_names: Vec<String>,
}

/// The names that other trackers take too: they go to terminals, web pages and time series.
pub fn is_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_./ -".contains(&b))
}

/// Reads the lines; what is no JSON object with finite numbers, and what has a bad name, is skipped and counted.
pub fn parse(text: &str) -> Metrics {
    /// Enough to find the line that writes them.
    const TOLD: usize = 5;
    let (mut out, mut counts) = (Metrics::default(), BTreeMap::<String, i64>::new());
    for line in text.lines().filter(|l| !l.trim().is_empty()) {
        let Ok(map) = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(line) else {
            out.bad += 1;
            continue;
        };
        let step = map.get("step").and_then(serde_json::Value::as_i64);
        for (name, value) in map.into_iter().filter(|(n, _)| n != "step") {
            let Some(value) = value.as_f64().filter(|v| v.is_finite()) else {
                out.bad += 1;
                continue;
            };
            if !is_name(&name) {
                if out.bad_names.len() < TOLD && !out.bad_names.contains(&name) {
                    out.bad_names.push(name);
                }
            } else if out.values.len() < MOST || out.values.contains_key(&name) {
                out.values.insert(name.clone(), value);
                let nth = counts.entry(name.clone()).or_insert(0);
                out.series.push(LoggedMetric { name, value, step: step.unwrap_or(*nth) });
                *nth += 1;
            } else {
                out.too_many += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_counts_and_bad_lines_are_counted() {
        let m = parse(
            "{\"step\": 1, \"loss\": 0.5}\nnot json\n{\"loss\": 0.25, \"auc\": 1}\n{\"auc\": \"x\"}\n{\"auc\": NaN}\n\n",
        );
        assert_eq!(m.values, BTreeMap::from([("loss".into(), 0.25), ("auc".into(), 1.0)]));
        assert_eq!((m.bad, m.too_many, m.bad_names), (3, 0, vec![]));
        let steps: Vec<(&str, f64, i64)> = m.series.iter().map(|l| (&*l.name, l.value, l.step)).collect();
        assert_eq!(steps, [("loss", 0.5, 1), ("auc", 1.0, 0), ("loss", 0.25, 1)]);
    }

    #[test]
    fn bad_names_and_too_many_are_left_out() {
        let mut text = "{\"a\\u001b[31m\": 1, \"\": 2, \"val/f1-score @5\": 3, \"val/f1-score 5\": 4}\n".to_owned();
        assert_eq!(parse(&text).values, BTreeMap::from([("val/f1-score 5".into(), 4.0)]));
        assert_eq!(parse(&text).bad_names, ["", "a\u{1b}[31m", "val/f1-score @5"]);
        (0..2000).for_each(|i| text.push_str(&format!("{{\"m{i}\": {i}}}\n")));
        text.push_str("{\"m0\": 7}\n");
        let m = parse(&text);
        assert_eq!((m.values.len(), m.too_many, m.values["m0"]), (1000, 1001, 7.0));
    }
}
