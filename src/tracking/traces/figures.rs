//! Figures over traces: how many, how long, how many tokens; by time, name and outcome (`mlflow/store/tracking/utils/sql_trace_metrics_utils.py`).

use super::{
    Trace, of_experiment,
    trace::{NAME, SESSION, TOKENS},
};
use crate::{
    model::tracking::TrackingError,
    search::{Filter, Subject},
    store::{Step, Table},
    tracking::{Tracked, Tracker, check},
};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// How the values of a group become one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Aggregation {
    Count,
    Sum,
    Avg,
    Min,
    Max,
    /// From 0 to 100.
    Percentile(f64),
}

impl Aggregation {
    /// As on the wire.
    pub const WORDS: &[&str] = &["COUNT", "SUM", "AVG", "PERCENTILE", "MIN", "MAX"];

    /// From the wire.
    pub fn of(word: &str, percentile: Option<f64>) -> Tracked<Self> {
        let refused = |words: &str| Err(TrackingError::invalid(words));
        Ok(match (word, percentile) {
            ("PERCENTILE", None) => return refused("Percentile value is required for PERCENTILE aggregation"),
            ("PERCENTILE", Some(p)) if (0.0..=100.0).contains(&p) => Self::Percentile(p),
            ("PERCENTILE", Some(p)) => {
                return refused(&format!("Percentile value must be between 0 and 100, got {p:?}"));
            }
            (word, Some(_)) => {
                return refused(&format!(
                    "Percentile value is only allowed for PERCENTILE aggregation type, got {word}"
                ));
            }
            ("COUNT", _) => Self::Count,
            ("SUM", _) => Self::Sum,
            ("AVG", _) => Self::Avg,
            ("MIN", _) => Self::Min,
            ("MAX", _) => Self::Max,
            _ => return refused("Unsupported aggregation type"),
        })
    }

    fn word(self) -> &'static str {
        match self {
            Self::Count => "COUNT",
            Self::Sum => "SUM",
            Self::Avg => "AVG",
            Self::Min => "MIN",
            Self::Max => "MAX",
            Self::Percentile(_) => "PERCENTILE",
        }
    }

    /// What the value is called in an answer.
    fn label(self) -> String {
        match self {
            Self::Percentile(p) => format!("P{p:?}"),
            other => other.word().to_owned(),
        }
    }

    /// Of values in ascending order.
    fn over(self, sorted: &[f64]) -> Option<f64> {
        let sum = || sorted.iter().sum::<f64>();
        match self {
            Self::Count => Some(sorted.len() as f64),
            _ if sorted.is_empty() => None,
            Self::Sum => Some(sum()),
            Self::Avg => Some(sum() / sorted.len() as f64),
            Self::Min => sorted.first().copied(),
            Self::Max => sorted.last().copied(),
            Self::Percentile(p) => Some(percentile(sorted, p)),
        }
    }
}

/// By linear interpolation (Hyndman and Fan 1996, method 7), as `PERCENTILE_CONT` of SQL.
fn percentile(sorted: &[f64], p: f64) -> f64 {
    let place = p / 100.0 * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    low + (high - low) * place.fract()
}

/// What is asked. Times are milliseconds since the Unix epoch, both included.
#[derive(Debug, Default)]
pub struct FiguresQuery {
    pub metric: String,
    pub aggregations: Vec<Aggregation>,
    pub dimensions: Vec<String>,
    /// Clauses such as `trace.status = 'ERROR'`, all of which hold.
    pub filters: Vec<String>,
    /// Seconds of one bucket of time.
    pub interval: Option<i64>,
    pub from: Option<i64>,
    pub to: Option<i64>,
    pub max_results: usize,
}

/// The figures of one group.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    pub metric_name: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub dimensions: BTreeMap<&'static str, String>,
    pub values: BTreeMap<String, f64>,
}

const BUCKET: &str = "time_bucket";
const TRACE_NAME: &str = "trace_name";
const TRACE_STATUS: &str = "trace_status";

/// What may be asked of a metric.
struct Metric {
    name: &'static str,
    aggregations: &'static [&'static str],
    dimensions: &'static [&'static str],
}

const OF_TOKENS: &[&str] = &["AVG", "MAX", "MIN", "PERCENTILE", "SUM"];
const METRICS: &[Metric] = &[
    Metric { name: "trace_count", aggregations: &["COUNT"], dimensions: &[TRACE_NAME, TRACE_STATUS] },
    Metric { name: "session_count", aggregations: &["COUNT"], dimensions: &[] },
    Metric { name: "latency", aggregations: &["AVG", "MAX", "MIN", "PERCENTILE"], dimensions: &[TRACE_NAME] },
    Metric { name: "input_tokens", aggregations: OF_TOKENS, dimensions: &[TRACE_NAME] },
    Metric { name: "output_tokens", aggregations: OF_TOKENS, dimensions: &[TRACE_NAME] },
    Metric { name: "total_tokens", aggregations: OF_TOKENS, dimensions: &[TRACE_NAME] },
    Metric { name: "cache_read_input_tokens", aggregations: OF_TOKENS, dimensions: &[TRACE_NAME] },
    Metric { name: "cache_creation_input_tokens", aggregations: OF_TOKENS, dimensions: &[TRACE_NAME] },
];

/// The values of one group; sessions are counted once.
#[derive(Default)]
struct Group {
    values: Vec<f64>,
    sessions: BTreeSet<String>,
}

/// Time bucket, then the dimensions in the order asked for.
type Key = (Option<i64>, Vec<String>);

/// Traces that come one by one, in groups.
struct Groups<'a> {
    query: &'a FiguresQuery,
    metric: &'static Metric,
    dimensions: Vec<&'static str>,
    groups: BTreeMap<Key, Group>,
}

impl<'a> Groups<'a> {
    fn new(query: &'a FiguresQuery) -> Tracked<Self> {
        let names = || METRICS.iter().map(|m| format!("'{}'", m.name)).collect::<Vec<_>>().join(", ");
        let metric = METRICS.iter().find(|m| m.name == query.metric).ok_or_else(|| {
            TrackingError::invalid(format!("metric_name must be one of [{}], got '{}'", names(), query.metric))
        })?;
        let listed = |words: &[&str]| words.iter().map(|w| format!("'{w}'")).collect::<Vec<_>>().join(", ");
        if let Some(wrong) = query.aggregations.iter().find(|a| !metric.aggregations.contains(&a.word())) {
            return Err(TrackingError::invalid(format!(
                "Found invalid aggregation_type(s): ['{}']. Supported aggregation types: [{}]",
                wrong.word(),
                listed(metric.aggregations)
            )));
        }
        let known = |d: &'a String| metric.dimensions.iter().copied().find(|k| *k == d.as_str()).ok_or(d);
        let dimensions = query.dimensions.iter().map(known).collect::<Result<Vec<_>, _>>().map_err(|wrong| {
            TrackingError::invalid(format!(
                "Found invalid dimension(s): ['{wrong}']. Supported dimensions: [{}]",
                listed(metric.dimensions)
            ))
        })?;
        let mut groups = BTreeMap::new();
        if dimensions.is_empty() && query.interval.is_none() {
            // There is one group, also without a trace.
            groups.insert((None, vec![]), Group::default());
        }
        Ok(Self { query, metric, dimensions, groups })
    }

    fn take(&mut self, trace: &Trace) {
        let outside = |bound: Option<i64>, beyond: fn(&i64, &i64) -> bool| {
            bound.is_some_and(|bound| beyond(&trace.started, &bound))
        };
        if outside(self.query.from, i64::lt) || outside(self.query.to, i64::gt) {
            return;
        }
        let session = trace.metadata.get(SESSION);
        let value = match self.metric.name {
            "trace_count" => Some(1.0),
            "session_count" => session.map(|_| 1.0),
            "latency" => trace.duration.map(|d| d as f64),
            tokens => used(trace, tokens),
        };
        let dimension = |d: &&'static str| match *d {
            TRACE_NAME => trace.tags.get(NAME).cloned(),
            _ => Some(trace.state.name().to_owned()),
        };
        let (Some(value), Some(named)) = (value, self.dimensions.iter().map(dimension).collect::<Option<Vec<_>>>())
        else {
            return;
        };
        let bucket = self.query.interval.map(|s| s.saturating_mul(1000).max(1));
        let bucket = bucket.map(|size| trace.started.div_euclid(size).saturating_mul(size));
        let group = self.groups.entry((bucket, named)).or_default();
        group.values.push(value);
        group.sessions.extend(session.cloned());
    }

    fn end(self) -> Vec<Figure> {
        let Self { query, metric, dimensions, groups } = self;
        let figure = |((bucket, named), mut group): (Key, Group)| {
            if metric.name == "session_count" {
                group.values = vec![1.0; group.sessions.len()];
            }
            group.values.sort_by(f64::total_cmp);
            let value = |a: &Aggregation| Some((a.label(), a.over(&group.values)?));
            let values: BTreeMap<String, f64> = query.aggregations.iter().filter_map(value).collect();
            let time = bucket.map(|ms| (BUCKET, iso(ms)));
            let dimensions = time.into_iter().chain(dimensions.iter().copied().zip(named)).collect();
            (!values.is_empty()).then(|| Figure { metric_name: query.metric.clone(), dimensions, values })
        };
        groups.into_iter().filter_map(figure).take(query.max_results).collect()
    }
}

/// Tokens that a trace says it used.
fn used(trace: &Trace, kind: &str) -> Option<f64> {
    let usage: serde_json::Value = serde_json::from_str(trace.metadata.get(TOKENS)?).ok()?;
    usage.get(kind)?.as_f64()
}

/// As Python's `datetime.isoformat` writes a whole second of UTC.
fn iso(millis: i64) -> String {
    let time = Timestamp::from_millisecond(millis).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()
}

impl Tracker {
    /// Figures over the traces of these experiments, by time and then by dimensions.
    pub fn trace_figures(&self, experiments: &[String], query: &FiguresQuery) -> Tracked<Vec<Figure>> {
        let clause = |f: &String| {
            let inner = f.trim().strip_prefix("trace.").ok_or_else(|| {
                TrackingError::invalid(format!(
                    "Invalid filter: '{f}'. Figures over traces are filtered by 'trace.status', 'trace.tag.<key>' and 'trace.metadata.<key>'"
                ))
            })?;
            Ok(inner.to_owned())
        };
        let clauses = query.filters.iter().map(clause).collect::<Tracked<Vec<_>>>()?;
        let filter = Filter::parse(Subject::Traces, &clauses.join(" AND "))?;
        let mut groups = Groups::new(query)?;
        for id in check::experiment_ids(experiments)? {
            self.0.store.walk_tracked(Table::Trace, of_experiment(id), |_, trace: Trace| {
                if filter.matches(&trace) {
                    groups.take(&trace);
                }
                Ok(Step::Next)
            })?;
        }
        Ok(groups.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracking::TraceState;

    fn trace(started: i64, duration: i64, name: &str, state: TraceState) -> Trace {
        let mut trace = Trace { started, duration: Some(duration), state, ..Trace::default() };
        trace.tags.insert(NAME.into(), name.into());
        trace.metadata.insert(SESSION.into(), format!("s{}", started / 1000 % 2));
        trace.metadata.insert(TOKENS.into(), format!(r#"{{"input_tokens": {duration}}}"#));
        trace
    }

    fn figures(query: &FiguresQuery) -> Tracked<Vec<(String, Vec<f64>)>> {
        let mut groups = Groups::new(query)?;
        for (n, state) in [TraceState::Ok, TraceState::Error, TraceState::Ok, TraceState::Ok].into_iter().enumerate() {
            let n = n as i64;
            groups.take(&trace(1_700_000_000_000 + n * 1000, n * 10, if n < 3 { "ask" } else { "other" }, state));
        }
        let shown = |f: Figure| {
            let dimensions: Vec<String> = f.dimensions.into_values().collect();
            (dimensions.join(" "), f.values.into_values().collect())
        };
        Ok(groups.end().into_iter().map(shown).collect())
    }

    #[test]
    fn counts_times_and_tokens_by_time_name_and_outcome() {
        let query =
            |metric: &str, aggregations: &[Aggregation], dimensions: &[&str], interval: Option<i64>| FiguresQuery {
                metric: metric.into(),
                aggregations: aggregations.to_vec(),
                dimensions: dimensions.iter().map(|d| (*d).into()).collect(),
                interval,
                max_results: 1000,
                ..FiguresQuery::default()
            };
        let one = |label: &str, values: &[f64]| (label.to_owned(), values.to_vec());
        use Aggregation::*;
        let all = |q: FiguresQuery| figures(&q).unwrap();
        assert_eq!(all(query("trace_count", &[Count], &[], None)), [one("", &[4.0])]);
        assert_eq!(all(query("session_count", &[Count], &[], None)), [one("", &[2.0])]);
        assert_eq!(
            all(query("trace_count", &[Count], &[TRACE_STATUS], None)),
            [one("ERROR", &[1.0]), one("OK", &[3.0])]
        );
        assert_eq!(
            all(query("latency", &[Avg, Percentile(50.0), Percentile(75.0)], &[], None)),
            [one("", &[15.0, 15.0, 22.5])]
        );
        assert_eq!(
            all(query("input_tokens", &[Sum, Max], &[TRACE_NAME], None)),
            [one("ask", &[20.0, 30.0]), one("other", &[30.0, 30.0])]
        );
        assert_eq!(
            all(query("trace_count", &[Count], &[], Some(2))),
            [one("2023-11-14T22:13:20+00:00", &[2.0]), one("2023-11-14T22:13:22+00:00", &[2.0])]
        );
        let late = FiguresQuery { from: Some(1_700_000_002_000), ..query("trace_count", &[Count], &[], None) };
        assert_eq!(all(late), [one("", &[2.0])]);
        for bad in [
            query("nope", &[Count], &[], None),
            query("latency", &[Sum], &[], None),
            query("latency", &[Avg], &[TRACE_STATUS], None),
        ] {
            assert!(figures(&bad).is_err(), "{bad:?}");
        }
    }
}
