//! Calls of clients before 3: a trace is begun and ended, and is known as a request.

use super::{
    super::{Answered, Call, Route, get, json, request::KEY_VALUE},
    found, whole,
    wire::OldInfo,
};
use crate::{
    api::mlflow::request::{
        Check::{self, Array, Int, Required, Text, TextItems},
        Field, Kind, Request, Schema,
    },
    model::{
        Level,
        tracking::{ErrorCode, TrackingError},
    },
    tracking::{Trace, TraceEnd, TraceState, Tracked},
};
use axum::{body::Body, http::Method};
use serde::Serialize;

const NOTHING: Schema = Schema { fields: &[], checks: &[] };
const START: Schema = Schema {
    fields: &[
        Field("experiment_id", Kind::Text),
        Field("timestamp_ms", Kind::Int),
        Field("request_metadata", Kind::Messages(KEY_VALUE)),
        Field("tags", Kind::Messages(KEY_VALUE)),
    ],
    checks: &[("experiment_id", &[Text]), ("timestamp_ms", &[Int])],
};
const END: Schema = Schema {
    fields: &[
        Field("timestamp_ms", Kind::Int),
        Field("status", Kind::Enum(TraceState::WORDS)),
        Field("request_metadata", Kind::Messages(KEY_VALUE)),
        Field("tags", Kind::Messages(KEY_VALUE)),
    ],
    checks: &[("timestamp_ms", &[Int]), ("status", &[Text])],
};
const SEARCH: Schema = Schema {
    fields: &[
        Field("experiment_ids", Kind::Texts),
        Field("filter", Kind::Text),
        Field("max_results", Kind::Int),
        Field("order_by", Kind::Texts),
        Field("page_token", Kind::Text),
    ],
    checks: &[
        ("experiment_ids", &[Array, TextItems, Required]),
        ("filter", &[Text]),
        ("max_results", &[Int, Check::AtMost(500)]),
        ("order_by", &[Array, TextItems]),
        ("page_token", &[Text]),
    ],
};

pub fn routes() -> Vec<Route> {
    vec![
        get("traces", &SEARCH, |call| {
            let experiments = call.request.texts("experiment_ids");
            Box::pin(found::<OldInfo>(call, experiments))
        }),
        get("traces/{trace_id}/info", &NOTHING, |call| Box::pin(async move { told(call.trace(Level::Read)?) })),
        Route { method: Method::PATCH, path: "traces/{trace_id}", schema: &END, handler: |call| Box::pin(end(call)) },
    ]
}

fn told(trace: Trace) -> Answered {
    #[derive(Serialize)]
    struct Told {
        trace_info: OldInfo,
    }
    json(&Told { trace_info: trace.into() })
}

/// 32 hex digits.
fn new_id() -> Tracked<String> {
    let mut random = [0; 16];
    let failed = |e: getrandom::Error| TrackingError::new(ErrorCode::InternalError, e.to_string());
    getrandom::fill(&mut random).map_err(failed)?;
    Ok(random.iter().map(|b| format!("{b:02x}")).collect())
}

pub async fn start(call: Call, body: Body) -> Answered {
    let r = Request::from_body(&whole(body).await?, &START)?;
    let experiment = call.traced(r.text("experiment_id"), Level::Edit)?;
    let trace = Trace {
        id: new_id()?,
        experiment: experiment.id,
        started: r.int("timestamp_ms").unwrap_or_default(),
        state: TraceState::InProgress,
        metadata: r.pairs("request_metadata").into_iter().collect(),
        tags: r.pairs("tags").into_iter().collect(),
        ..Trace::default()
    };
    told(call.tracker().put_trace(trace).await?)
}

async fn end(call: Call) -> Answered {
    let trace = call.trace(Level::Edit)?;
    let r = &call.request;
    let end = TraceEnd {
        ended: r.int("timestamp_ms").unwrap_or_default(),
        state: TraceState::of(r.text("status")),
        metadata: r.pairs("request_metadata"),
        tags: r.pairs("tags"),
    };
    told(call.tracker().end_trace(&trace.id, end).await?)
}
