//! Figures over traces, which MLflow's interface draws.

use super::{
    Answered, Array, Call, Field, Int, Kind, NEEDED, Request, Required, Route, Schema, Text, TextItems, blocking, json,
    post,
};
use crate::tracking::{Aggregation, Figure, FiguresQuery, Tracked};
use serde::Serialize;

/// What figures are over. Spans are a file of their trace, and nobody judges them here: of those there are none.
const VIEWS: &[&str] = &["TRACES", "SPANS", "ASSESSMENTS"];
/// Groups of one answer when the caller does not say.
const MOST: i64 = 1000;
const AGGREGATION: &[Field] =
    &[Field("aggregation_type", Kind::Enum(Aggregation::WORDS)), Field("percentile_value", Kind::Double)];
const QUERY: Schema = Schema {
    fields: &[
        Field("experiment_ids", Kind::Texts),
        Field("view_type", Kind::Enum(VIEWS)),
        Field("metric_name", Kind::Text),
        Field("aggregations", Kind::Messages(AGGREGATION)),
        Field("dimensions", Kind::Texts),
        Field("filters", Kind::Texts),
        Field("time_interval_seconds", Kind::Int),
        Field("start_time_ms", Kind::Int),
        Field("end_time_ms", Kind::Int),
        Field("max_results", Kind::Int),
        Field("page_token", Kind::Text),
    ],
    checks: &[
        ("experiment_ids", &[Array, Required, TextItems]),
        ("view_type", &[Required]),
        ("metric_name", NEEDED),
        ("aggregations", &[Array, Required]),
        ("dimensions", &[Array, TextItems]),
        ("filters", &[Array, TextItems]),
        ("time_interval_seconds", &[Int]),
        ("start_time_ms", &[Int]),
        ("end_time_ms", &[Int]),
        ("max_results", &[Int]),
        ("page_token", &[Text]),
    ],
};

pub fn routes() -> Vec<Route> {
    vec![post("traces/metrics", &QUERY, |call| Box::pin(figures(call)))]
}

async fn figures(call: Call) -> Answered {
    #[derive(Serialize)]
    struct Figures {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        data_points: Vec<Figure>,
    }
    let r = &call.request;
    if r.given("view_type") != Some("TRACES") {
        return json(&Figures { data_points: vec![] });
    }
    let aggregation = |a: &Request| Aggregation::of(a.text("aggregation_type"), a.double("percentile_value"));
    let query = FiguresQuery {
        metric: r.text("metric_name").to_owned(),
        aggregations: r.each("aggregations").iter().map(aggregation).collect::<Tracked<_>>()?,
        dimensions: r.texts("dimensions"),
        filters: r.texts("filters"),
        interval: r.int("time_interval_seconds").filter(|s| *s > 0),
        from: r.int("start_time_ms"),
        to: r.int("end_time_ms"),
        max_results: usize::try_from(r.int("max_results").unwrap_or(MOST)).unwrap_or(0),
    };
    let experiments = call.seen(r.texts("experiment_ids"));
    blocking(move || json(&Figures { data_points: call.tracker().trace_figures(&experiments, &query)? })).await
}
