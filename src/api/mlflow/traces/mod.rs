//! Calls on traces. Their spans are a file that clients upload (`traces.json`): as with MLflow's file store they are told that spans one by
//! one are not taken (`server/otel_api.py`), and send the file instead (`tracing/export/mlflow_v3.py`).

mod figures;
mod old;
mod wire;

use super::{
    Answered, Call, Route, artifacts, blocking, empty, get, json, post,
    request::{
        Check::{self, Array, Int, Required, Text, TextItems},
        Field, Kind, Request, Schema,
    },
};
use crate::{
    api::server::Shared,
    model::{
        Level, Thing,
        tracking::{ErrorCode, Experiment, TrackingError},
    },
    tracking::{Trace, TraceQuery, Tracked, Unwanted},
};
use axum::{
    Router,
    body::Body,
    extract::RawQuery,
    http::{HeaderMap, Method},
    routing,
};
use bytes::Bytes;
use futures::future::BoxFuture;
use serde::Serialize;

/// Bytes of what is known of a trace.
const BODY_MAX: usize = 16 * 1024 * 1024;
/// The file with a trace's spans.
const SPANS: &str = "traces.json";

const LOCATION: &[Field] = &[Field("mlflow_experiment", Kind::Message(&[Field("experiment_id", Kind::Text)]))];
const NEEDED: &[Check] = &[Text, Required];
const NOTHING: Schema = Schema { fields: &[], checks: &[] };
const SEARCH: Schema = Schema {
    fields: &[
        Field("locations", Kind::Messages(LOCATION)),
        Field("filter", Kind::Text),
        Field("max_results", Kind::Int),
        Field("order_by", Kind::Texts),
        Field("page_token", Kind::Text),
    ],
    checks: &[
        ("locations", &[Array, Required]),
        ("filter", &[Text]),
        ("max_results", &[Int, Check::AtMost(500)]),
        ("order_by", &[Array, TextItems]),
        ("page_token", &[Text]),
    ],
};
const IDS: Schema = Schema {
    fields: &[Field("trace_ids", Kind::Texts), Field("experiment_ids", Kind::Texts)],
    checks: &[("trace_ids", &[Array, Required, TextItems]), ("experiment_ids", &[Array, TextItems])],
};
const LINK: Schema = Schema {
    fields: &[Field("trace_ids", Kind::Texts), Field("run_id", Kind::Text)],
    checks: &[("trace_ids", &[Array, Required, TextItems]), ("run_id", NEEDED)],
};
const TAG: Schema = Schema {
    fields: &[Field("key", Kind::Text), Field("value", Kind::Text)],
    checks: &[("key", NEEDED), ("value", &[Text])],
};
const DELETE: Schema = Schema {
    fields: &[
        Field("experiment_id", Kind::Text),
        Field("max_timestamp_millis", Kind::Int),
        Field("max_traces", Kind::Int),
        Field("request_ids", Kind::Texts),
    ],
    checks: &[
        ("experiment_id", NEEDED),
        ("max_timestamp_millis", &[Int]),
        ("max_traces", &[Int]),
        ("request_ids", &[Array, TextItems]),
    ],
};
const FILE: Schema = Schema { fields: &[Field("request_id", Kind::Text), Field("path", Kind::Text)], checks: &[] };

/// Operations that are like all others.
pub fn routes() -> Vec<Route> {
    let new = vec![
        post("traces/search", &SEARCH, |call| Box::pin(search(call))),
        post("traces/batchGetInfos", &IDS, |call| Box::pin(infos(call))),
        post("traces/link-to-run", &LINK, |call| Box::pin(link(call))),
        post("traces/delete-traces", &DELETE, |call| Box::pin(delete(call))),
        get("traces/{trace_id}", &NOTHING, |call| Box::pin(info(call))),
        Route { method: Method::PATCH, path: "traces/{trace_id}/tags", schema: &TAG, handler: set_tag },
        Route { method: Method::DELETE, path: "traces/{trace_id}/tags", schema: &TAG, handler: delete_tag },
    ];
    new.into_iter().chain(figures::routes()).chain(old::routes()).collect()
}

/// Operations whose bodies or answers are none of the others' kind.
pub fn router() -> Router<Shared> {
    let mut router = Router::new().route("/v1/traces", routing::post(spans));
    for base in ["/api/3.0/mlflow", "/ajax-api/3.0/mlflow"] {
        router = router.route(&format!("{base}/traces"), routing::post(start));
    }
    for base in ["/api/2.0/mlflow", "/ajax-api/2.0/mlflow"] {
        router = router.route(&format!("{base}/traces"), routing::post(old::start));
    }
    for version in ["2.0", "3.0"] {
        let path = format!("/ajax-api/{version}/mlflow/get-trace-artifact");
        router = router.route(&path, routing::get(file));
    }
    router
}

/// Clients know by these words that they are to send spans as a file.
async fn spans() -> Answered {
    let words = "REST OTLP span logging is not supported by this server; spans are taken as a file of their trace";
    Err(TrackingError::new(ErrorCode::NotImplemented, words))
}

impl Call {
    /// The trace of this id, for who may do this with it.
    fn trace_of(&self, id: &str, level: Level) -> Tracked<Trace> {
        let trace = self.tracker().trace(id)?;
        let experiment = self.tracker().experiment(&trace.experiment.to_string())?;
        self.demand(Thing::Experiment(&experiment.name), &format!("the experiment of trace `{id}`"), level)?;
        Ok(trace)
    }

    /// The trace that the path names, for who may do this with it.
    fn trace(&self, level: Level) -> Tracked<Trace> {
        self.trace_of(self.path("trace_id"), level)
    }

    /// The experiment of this id, for who may do this with its traces.
    fn traced(&self, id: &str, level: Level) -> Tracked<Experiment> {
        let experiment = self.tracker().experiment(id)?;
        self.demand(Thing::Experiment(&experiment.name), &format!("experiment `{id}`"), level)?;
        Ok(experiment)
    }
}

async fn whole(body: Body) -> Tracked<Bytes> {
    let broke = |e| TrackingError::new(ErrorCode::BadRequest, format!("the body did not come whole: {e}"));
    axum::body::to_bytes(body, BODY_MAX).await.map_err(broke)
}

async fn start(call: Call, body: Body) -> Answered {
    let body = whole(body).await?;
    let invalid =
        |e: serde_json::Error| TrackingError::invalid(format!("Invalid value for parameter 'trace' supplied: {e}"));
    let whole: wire::Whole = serde_json::from_slice(&body).map_err(invalid)?;
    let missing = || {
        let words = "Missing value for required parameter 'trace'. See the API docs for more information about request parameters.";
        TrackingError::invalid(words)
    };
    let info = whole.trace.ok_or_else(missing)?.trace_info;
    let experiment = call.traced(info.experiment(), Level::Edit)?;
    let trace = call.tracker().put_trace(info.read(experiment.id)?).await?;
    json(&wire::Whole::from(trace))
}

async fn info(call: Call) -> Answered {
    json(&wire::Whole::from(call.trace(Level::Read)?))
}

#[derive(Serialize)]
struct Page<T> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    traces: Vec<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

/// A page of traces, each as the caller knows it.
async fn found<T: From<Trace> + Serialize>(call: Call, experiments: Vec<String>) -> Answered {
    let experiments = call.seen(experiments);
    let r = &call.request;
    let query = TraceQuery {
        filter: r.text("filter").to_owned(),
        max_results: r.int("max_results").unwrap_or(100),
        order_by: r.texts("order_by"),
        page_token: r.text("page_token").to_owned(),
    };
    blocking(move || {
        let (traces, next_page_token) = call.tracker().search_traces(&experiments, &query)?;
        json(&Page { traces: traces.into_iter().map(T::from).collect(), next_page_token })
    })
    .await
}

async fn search(call: Call) -> Answered {
    let id = |l: &Request| Some(l.message("mlflow_experiment")?.text("experiment_id").to_owned());
    let experiments = call.request.each("locations").iter().filter_map(id).collect();
    found::<wire::Info>(call, experiments).await
}

async fn infos(call: Call) -> Answered {
    #[derive(Serialize)]
    struct Infos {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        trace_infos: Vec<wire::Info>,
    }
    blocking(move || {
        let within = call.request.raw("experiment_ids").is_some().then(|| call.request.texts("experiment_ids"));
        let shown = |trace: &Trace| within.as_ref().is_none_or(|w| w.contains(&trace.experiment.to_string()));
        let ids = call.request.texts("trace_ids");
        let traces = ids.iter().filter_map(|id| call.trace_of(id, Level::Read).ok()).filter(shown);
        json(&Infos { trace_infos: traces.map(wire::Info::from).collect() })
    })
    .await
}

async fn link(call: Call) -> Answered {
    call.tracker().link_traces(&call.request.texts("trace_ids"), call.request.run_id()).await?;
    empty()
}

async fn delete(call: Call) -> Answered {
    #[derive(Serialize)]
    struct Deleted {
        traces_deleted: usize,
    }
    let r = &call.request;
    let experiment = call.traced(r.text("experiment_id"), Level::Manage)?;
    let which = Unwanted {
        experiment: experiment.id,
        until: r.int("max_timestamp_millis"),
        most: r.int("max_traces"),
        ids: r.texts("request_ids"),
    };
    let traces_deleted = call.tracker().delete_traces(which).await?;
    call.api.reconciler.let_go();
    json(&Deleted { traces_deleted })
}

fn set_tag(call: Call) -> BoxFuture<'static, Answered> {
    Box::pin(async move {
        let trace = call.trace(Level::Edit)?;
        let (key, value) = (call.request.text("key").to_owned(), call.request.text("value"));
        call.tracker().set_trace_tag(&trace.id, key, value).await?;
        empty()
    })
}

fn delete_tag(call: Call) -> BoxFuture<'static, Answered> {
    Box::pin(async move {
        let trace = call.trace(Level::Edit)?;
        call.tracker().delete_trace_tag(&trace.id, call.request.text("key").to_owned()).await?;
        empty()
    })
}

/// A trace's spans, or an attachment, for the user interface.
async fn file(call: Call, RawQuery(given): RawQuery, headers: HeaderMap) -> Answered {
    let request = Request::from_query(&given.unwrap_or_default(), &FILE)?;
    let id = request.filled("request_id").ok_or_else(|| {
        TrackingError::new(ErrorCode::BadRequest, "Request must include the \"request_id\" query parameter.")
    })?;
    let root = call.tracker().trace_artifact_root(id)?;
    let name = request.filled("path").map_or_else(|| SPANS.to_owned(), |path| format!("attachments/{path}"));
    artifacts::send_below(call, headers, &root, &name).await
}
