//! Runs as people read them.

use super::{now, wire::Shown};
use crate::{
    cli::text::{ago, paint, table_within, visible, width_of},
    model::Millis,
};
use serde_json::Value;
use std::collections::BTreeMap;

/// A value that was logged; `None` for what is no number.
pub fn number(value: &Value) -> Option<f64> {
    // MLflow makes the largest number of an infinity, to fit it into its databases.
    let whole = |n: f64| if n.abs() == f64::MAX { f64::INFINITY.copysign(n) } else { n };
    value.as_f64().map(whole).or_else(|| match value.as_str()? {
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    })
}

/// A figure in as few characters as tell it.
fn figure(value: &Value) -> String {
    match number(value) {
        Some(n) if n.is_infinite() || n == n.trunc() && n.abs() < 1e9 => format!("{n}"),
        Some(n) if n.abs() >= 1e6 || n.abs() < 1e-3 => format!("{n:.3e}"),
        Some(n) => format!("{n:.4}"),
        None => value.as_str().unwrap_or("-").to_owned(),
    }
}

fn took(run: &Shown) -> String {
    run.ended.map_or("-".into(), |ended| Millis(ended.saturating_sub(run.started).max(0) as u64).to_string())
}

fn began(run: &Shown) -> String {
    format!("{} ago", ago(now() - run.started))
}

/// A run's id. In short it is how the id begins, by which the run is found as well.
fn id(run: &Shown, short: bool) -> String {
    const SHORT: usize = 12;
    let random = run.run_id.len() == 32 && run.run_id.bytes().all(|b| b.is_ascii_hexdigit());
    if short && random { run.run_id[..SHORT].to_owned() } else { visible(&run.run_id) }
}

/// Runs with the metrics that most of them have; on a terminal with as many as fit into its width.
pub fn listed(runs: &[Shown], room: Option<usize>) -> String {
    /// Columns of metrics that a table has room for.
    const COLUMNS: usize = 5;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    runs.iter().flat_map(|r| r.metrics.keys()).for_each(|k| *counts.entry(k).or_default() += 1);
    let mut keys: Vec<(&str, usize)> = counts.into_iter().collect();
    keys.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let names: Vec<String> = keys.iter().map(|(k, _)| visible(k).to_uppercase()).collect();
    let with = |metrics: usize, short: bool| {
        let mut head = vec!["RUN", "NAME", "STATUS", "STARTED", "TOOK", "USER"];
        head.extend(names.iter().take(metrics).map(String::as_str));
        let row = |r: &Shown| {
            let fixed = [id(r, short), visible(&r.name), r.status.clone(), began(r), took(r), visible(&r.user)];
            let values = keys.iter().take(metrics).map(|(k, _)| r.metrics.get(*k).map_or("-".into(), figure));
            fixed.into_iter().chain(values).collect()
        };
        (head, runs.iter().map(row).collect::<Vec<Vec<String>>>())
    };
    let most = keys.len().min(COLUMNS);
    let fits = |shown: &usize| room.is_none_or(|room| width(&with(*shown, true)) <= room);
    let short = room.is_some_and(|room| width(&with(most, false)) > room);
    let shown = (1..=most).rev().find(fits).unwrap_or(most.min(1));
    let (head, rows) = with(shown, short);
    let table = table_within(&head, &rows, room, |column, text| match (column, text) {
        (2, "FINISHED") => Some(32),
        (2, "FAILED" | "KILLED") => Some(31),
        (2, "RUNNING") => Some(33),
        _ => None,
    });
    table + &left_out(&keys[shown..])
}

fn width((head, rows): &(Vec<&str>, Vec<Vec<String>>)) -> usize {
    width_of(head, rows)
}

/// `+3 more metrics: f1, mae, recall`.
fn left_out(keys: &[(&str, usize)]) -> String {
    const NAMED: usize = 10;
    if keys.is_empty() {
        return String::new();
    }
    let names: Vec<String> = keys.iter().take(NAMED).map(|(k, _)| visible(k)).collect();
    let dots = if keys.len() > NAMED { ", …" } else { "" };
    let metrics = if keys.len() == 1 { "metric" } else { "metrics" };
    let told = format!("+{} more {metrics}: {}{dots} (--json prints all)", keys.len(), names.join(", "));
    format!("{}\n", paint(&told, 2))
}

/// A run with all that was logged to it.
pub fn whole(run: &Shown, experiment: Option<&str>) -> String {
    let mut out = format!("{}   {}\n", visible(&run.name), run.status);
    let mut line = |what: &str, text: String| out.push_str(&format!("  {what:<11} {text}\n"));
    line("run", visible(&run.run_id));
    line("experiment", format!("{} ({})", visible(experiment.unwrap_or("deleted")), run.experiment_id));
    let by = if run.user.is_empty() { String::new() } else { format!(" by {}", visible(&run.user)) };
    let ended = run.ended.map_or(String::new(), |_| format!(", took {}", took(run)));
    line("began", format!("{}{by}{ended}", began(run)));
    for (key, value) in &run.metrics {
        let value = number(value).map_or_else(|| figure(value), |n| n.to_string());
        line("metric", format!("{} = {value}", visible(key)));
    }
    run.params.iter().for_each(|(k, v)| line("param", format!("{} = {}", visible(k), visible(v))));
    run.tags.iter().for_each(|(k, v)| line("tag", format!("{} = {}", visible(k), visible(v))));
    out
}

/// Params that are not the same in all runs.
pub fn differing(runs: &[Shown]) -> Vec<String> {
    let mut keys: Vec<&String> = runs.iter().flat_map(|r| r.params.keys()).collect();
    keys.sort();
    keys.dedup();
    let differs = |key: &&String| {
        let mut values = runs.iter().map(|r| r.params.get(*key));
        let first = values.next();
        values.any(|v| Some(v) != first)
    };
    keys.into_iter().filter(differs).cloned().collect()
}

/// Runs beside each other.
pub fn compared(runs: &[Shown], room: Option<usize>) -> String {
    let mut head = vec![String::new()];
    head.extend(runs.iter().map(|r| visible(&r.name)));
    if runs.len() == 2 {
        head.push("CHANGE".into());
    }
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let line = |name: &str, value: &dyn Fn(&Shown) -> String| {
        let mut row = vec![name.to_owned()];
        row.extend(runs.iter().map(value));
        row
    };
    let differing = differing(runs);
    let mut keys: Vec<&String> = runs.iter().flat_map(|r| r.metrics.keys()).collect();
    keys.sort();
    keys.dedup();
    let with = |short: bool| {
        let mut rows = vec![
            line("run", &|r| id(r, short)),
            line("status", &|r| r.status.clone()),
            line("started", &began),
            line("took", &took),
        ];
        rows.extend(differing.iter().map(|key| {
            line(&format!("param {}", visible(key)), &|r| r.params.get(key).map_or("-".into(), |v| visible(v)))
        }));
        rows.extend(keys.iter().map(|key| {
            let of = |r: &Shown| r.metrics.get(*key).map_or("-".into(), figure);
            let mut row = line(&format!("metric {}", visible(key)), &of);
            if let [a, b] = runs {
                let number = |r: &Shown| r.metrics.get(*key).and_then(number);
                row.push(number(a).zip(number(b)).map_or(String::new(), |(a, b)| change(a, b)));
            }
            row
        }));
        rows
    };
    let rows = with(room.is_some_and(|room| width_of(&head, &with(false)) > room));
    let same = runs.first().map_or(0, |r| r.params.len()).saturating_sub(differing.len());
    let note = match (differing.len(), same) {
        (_, 0) => String::new(),
        (0, 1) => "The only param is the same.".to_owned(),
        (0, n) => format!("All {n} params are the same."),
        (_, 1) => "1 more param is the same.".to_owned(),
        (_, n) => format!("{n} more params are the same."),
    };
    let note = if note.is_empty() { note } else { format!("{}\n", paint(&note, 2)) };
    table_within(&head, &rows, room, |_, _| None) + &note
}

/// `+0.0120 (+1.3 %)`; nothing between what is infinite.
fn change(from: f64, to: f64) -> String {
    if from == to {
        return "same".into();
    }
    let by = to - from;
    if !by.is_finite() {
        return String::new();
    }
    let share = by / from.abs() * 100.0;
    let share = match share.abs() {
        size if !size.is_finite() => String::new(),
        1e6.. => format!(" ({share:+.1e} %)"),
        0.05.. => format!(" ({share:+.1} %)"),
        0.005.. => format!(" ({share:+.2} %)"),
        _ => " (< 0.01 %)".to_owned(),
    };
    match by.abs() {
        1e-4..1e6 => format!("{by:+.4}{share}"),
        _ => format!("{by:+.2e}{share}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::wire::RunDoc, *};
    use serde_json::json;
    use unicode_width::UnicodeWidthStr;

    fn run(id: &str, depth: &str, metrics: &[(&str, Value)]) -> Shown {
        let metrics: Vec<Value> = metrics.iter().map(|(k, v)| json!({"key": k, "value": v})).collect();
        let run = json!({"info": {"run_id": id, "experiment_id": "1", "run_name": format!("train {id}"), "status": "FINISHED",
            "start_time": 0, "end_time": 2500, "user_id": "ada"},
            "data": {"metrics": metrics, "params": [{"key": "depth", "value": depth}, {"key": "seed", "value": "1"}]}});
        serde_json::from_value::<RunDoc>(run).unwrap().into()
    }

    #[test]
    fn what_differs_is_shown_and_what_is_the_same_is_counted() {
        let of = |id: &str, depth: &str, auc: f64| run(id, depth, &[("auc", json!(auc)), ("loss", json!("NaN"))]);
        let text = compared(&[of("a", "6", 0.9), of("b", "8", 0.912)], None);
        assert!(text.contains("param depth") && !text.contains("param seed"), "{text}");
        assert!(text.contains("+0.0120 (+1.3 %)") && text.contains("NaN"), "{text}");
        assert!(text.ends_with("1 more param is the same.\n"), "{text}");
    }

    #[test]
    fn figures_are_short_and_infinities_are_told() {
        for (value, text) in [(0.91234, "0.9123"), (12.0, "12"), (1e-9, "1.000e-9"), (2.5e7, "25000000"), (0.0, "0")] {
            assert_eq!(figure(&json!(value)), text);
        }
        for (value, text) in [(json!(f64::MAX), "inf"), (json!(f64::MIN), "-inf"), (json!("-Infinity"), "-inf")] {
            assert_eq!(figure(&value), text);
        }
        assert_eq!(figure(&json!("NaN")), "NaN");
    }

    #[test]
    fn a_change_is_told_in_figures_that_are_not_zero() {
        for (from, to, text) in [
            (0.9, 0.912, "+0.0120 (+1.3 %)"),
            (0.9, 0.8998, "-0.0002 (-0.02 %)"),
            (9.0, 8.9998, "-0.0002 (< 0.01 %)"),
            (1.0, 1.00001, "+1.00e-5 (< 0.01 %)"),
            (0.0, 0.5, "+0.5000"),
            (1.0, 1.0, "same"),
            (1e-3, 1e9, "+1.00e9 (+1.0e14 %)"),
            (f64::INFINITY, f64::INFINITY, "same"),
            (f64::INFINITY, 1.0, ""),
            (-1.7e308, 1.7e308, ""),
        ] {
            assert_eq!(change(from, to), text);
        }
    }

    #[test]
    fn a_table_fits_into_the_terminal_and_says_what_has_no_room() {
        let metrics: Vec<(String, Value)> = (0..8).map(|n| (format!("metric_{n}"), json!(0.5))).collect();
        let metrics: Vec<(&str, Value)> = metrics.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
        let runs = [run("126f79327bc840b69df07a4bed4d202a", &"long ".repeat(40), &metrics), run("b", "8", &metrics)];
        let piped = listed(&runs, None);
        assert!(piped.contains("126f79327bc840b69df07a4bed4d202a  train 126f79327bc840b69df07a4bed4d202a"), "{piped}");
        assert!(piped.ends_with("+3 more metrics: metric_5, metric_6, metric_7 (--json prints all)\n"), "{piped}");
        for room in [20, 40, 80, 100, 140] {
            let text = listed(&runs, Some(room));
            let (table, note) = text.trim_end().rsplit_once('\n').unwrap();
            assert!(table.lines().all(|l| l.width() <= room), "{room}: {text}");
            let shown = table.lines().next().unwrap().matches("METRIC_").count();
            assert!(room < 80 || note.starts_with(&format!("+{} more metrics", 8 - shown)), "{room}: {text}");
            assert!(
                room < 80 || text.contains("126f79327bc8"),
                "what is left of an id is what the run is found by: {text}"
            );
            let text = compared(&runs, Some(room));
            assert!(text.lines().take(14).all(|l| l.width() <= room), "{room}: {text}");
        }
        assert!(listed(&runs, Some(80)).contains("126f79327bc8  train 126"));
    }

    #[test]
    fn a_run_is_told_whole() {
        let one = run("b", "8\n9", &[("auc", json!(0.912345678)), ("best", json!(f64::MIN))]);
        let text = whole(&one, Some("churn"));
        for part in [
            "train b   FINISHED",
            "churn (1)",
            "auc = 0.912345678",
            "best = -inf",
            "depth = 8\\n9",
            "by ada, took 2.5s",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
