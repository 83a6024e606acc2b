//! Metrics that a run appended: JSON lines; the last value of each name counts.

use std::collections::BTreeMap;

/// Reads the lines; what is no JSON object with finite numbers is skipped and counted.
pub fn parse(text: &str) -> (BTreeMap<String, f64>, usize) {
    let (mut out, mut bad) = (BTreeMap::new(), 0);
    for line in text.lines().filter(|l| !l.trim().is_empty()) {
        match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(line) {
            Ok(map) => {
                for (name, value) in map.into_iter().filter(|(n, _)| n != "step") {
                    match value.as_f64().filter(|v| v.is_finite()) {
                        Some(v) => drop(out.insert(name, v)),
                        None => bad += 1,
                    }
                }
            }
            Err(_) => bad += 1,
        }
    }
    (out, bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_counts_and_bad_lines_are_counted() {
        let (m, bad) = parse(
            "{\"step\": 1, \"loss\": 0.5}\nnot json\n{\"loss\": 0.25, \"auc\": 1}\n{\"auc\": \"x\"}\n{\"auc\": NaN}\n\n",
        );
        assert_eq!(m, BTreeMap::from([("loss".into(), 0.25), ("auc".into(), 1.0)]));
        assert_eq!(bad, 3);
    }
}
