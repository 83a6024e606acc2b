//! Histories of metrics.

use super::{
    Answered, Call, Route, blocking,
    documents::MetricDoc,
    get, json,
    request::{
        Check::{Array, Int, Items, Required, Text, TextItems, Within},
        Field, Kind, Schema,
    },
};
use crate::{
    model::tracking::TrackingError,
    search::page,
    tracking::{self, Tracked},
};
use serde::Serialize;

const HISTORY: Schema = Schema {
    fields: &[
        Field("run_id", Kind::Text),
        Field("run_uuid", Kind::Text),
        Field("metric_key", Kind::Text),
        Field("page_token", Kind::Text),
        Field("max_results", Kind::Int),
    ],
    checks: &[("run_id", &[Text, Required]), ("metric_key", &[Text, Required]), ("page_token", &[Text])],
};
const BULK: Schema = Schema {
    fields: &[Field("run_id", Kind::Texts), Field("metric_key", Kind::Text), Field("max_results", Kind::Int)],
    checks: &[],
};
/// Values of one run in a sample, at most.
const SAMPLE: i64 = 2500;
const INTERVAL: Schema = Schema {
    fields: &[
        Field("run_ids", Kind::Texts),
        Field("metric_key", Kind::Text),
        Field("start_step", Kind::Int),
        Field("end_step", Kind::Int),
        Field("max_results", Kind::Int),
    ],
    checks: &[
        (
            "run_ids",
            &[
                Required,
                Array,
                TextItems,
                Items(RUNS, "GetMetricHistoryBulkInterval request must specify at most 100 run_ids. Received"),
            ],
        ),
        ("metric_key", &[Required, Text]),
        ("start_step", &[Int]),
        ("end_step", &[Int]),
        ("max_results", &[Int, Within(1, SAMPLE, "max_results must be between 1 and 2500.")]),
    ],
};
/// Runs of one call, at most.
const RUNS: usize = 100;
/// Values of one answer about many runs, at most.
const MOST: usize = 25_000;

pub(super) fn routes() -> Vec<Route> {
    vec![
        get("metrics/get-history", &HISTORY, |c| Box::pin(history(c))),
        get("metrics/get-history-bulk", &BULK, |c| Box::pin(bulk(c))),
        get("metrics/get-history-bulk-interval", &INTERVAL, |c| Box::pin(interval(c))),
    ]
}

#[derive(Serialize)]
struct Found<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    metrics: Vec<MetricDoc<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

fn document<'a>(key: &'a str, run_id: Option<&'a str>, v: &tracking::Value) -> MetricDoc<'a> {
    MetricDoc { key, value: v.value, timestamp: v.timestamp, step: v.step, run_id }
}

async fn history(call: Call) -> Answered {
    blocking(move || {
        let r = &call.request;
        let key = r.text("metric_key");
        let most = r.int("max_results");
        if let Some(n) = most.filter(|n| *n <= 0) {
            return Err(TrackingError::invalid(format!(
                "Invalid value {n} for parameter 'max_results' supplied. It must be a positive integer."
            )));
        }
        let values = call.tracker().history(r.run_id(), key)?;
        let offset = page::offset(r.text("page_token"))?.min(values.len());
        let most = most.and_then(|n| usize::try_from(n).ok()).unwrap_or(values.len());
        let end = offset.saturating_add(most).min(values.len());
        let next_page_token = (end < values.len()).then(|| page::token(end));
        let metrics = values[offset..end].iter().map(|v| document(key, None, v)).collect();
        json(&Found { metrics, next_page_token })
    })
    .await
}

async fn bulk(call: Call) -> Answered {
    #[derive(Serialize)]
    struct All<'a> {
        metrics: Vec<MetricDoc<'a>>,
    }
    let refused = |what: String| Err(TrackingError::invalid(format!("GetMetricHistoryBulk request {what}")));
    let mut ids = call.request.texts("run_id");
    if ids.is_empty() {
        return refused("must specify at least one run_id.".into());
    }
    if ids.len() > RUNS {
        let given = ids.len();
        return refused(format!("cannot specify more than {RUNS} run_ids. Received {given} run_ids."));
    }
    if call.request.given("metric_key").is_none() {
        return refused("must specify a metric_key.".into());
    }
    ids.sort();
    ids.dedup();
    blocking(move || {
        let key = call.request.text("metric_key");
        let most = call.request.int("max_results").and_then(|n| usize::try_from(n).ok()).unwrap_or(MOST).min(MOST);
        let histories = ids.iter().map(|id| Ok((id, call.tracker().history(id, key)?))).collect::<Tracked<Vec<_>>>()?;
        let all = histories.iter().flat_map(|(id, values)| values.iter().map(|v| document(key, Some(id), v)));
        json(&All { metrics: all.take(most).collect() })
    })
    .await
}

async fn interval(call: Call) -> Answered {
    blocking(move || {
        let r = &call.request;
        let (key, ids) = (r.text("metric_key"), r.texts("run_ids"));
        let steps = match (r.int("start_step"), r.int("end_step")) {
            (Some(first), Some(last)) if first > last => {
                return Err(TrackingError::invalid(format!(
                    "end_step must be greater than start_step. Found start_step={first} and end_step={last}."
                )));
            }
            (Some(first), Some(last)) => Some((first, last)),
            (None, None) => None,
            _ => {
                return Err(TrackingError::invalid(
                    "If either start step or end step are specified, both must be specified.",
                ));
            }
        };
        let most = r.int("max_results").and_then(|n| usize::try_from(n).ok()).unwrap_or(SAMPLE as usize);
        let sample = |id: &String| Ok((id.clone(), call.tracker().sampled(id, key, most, steps)?));
        let samples = ids.iter().map(sample).collect::<Tracked<Vec<_>>>()?;
        let all = samples.iter().flat_map(|(id, values)| values.iter().map(|v| document(key, Some(id), v)));
        json(&Found { metrics: all.collect(), next_page_token: None })
    })
    .await
}
