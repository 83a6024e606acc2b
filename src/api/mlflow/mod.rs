//! MLflow's REST API, so that its clients work unchanged. Each file holds the calls of one kind of thing; their paths stand in its `routes()`.
//!
//! Sources: `mlflow` 3.17.2, `server/handlers.py` (what is asked of a call and how it is refused) and `protos/` (fields).

mod absent;
pub(super) mod access;
mod artifacts;
mod documents;
mod experiments;
mod graphql;
mod logged_models;
mod metrics;
mod model_versions;
mod registered_models;
pub(super) mod request;
mod runs;
mod server;
mod traces;
mod ui;

use super::server::{Api, Shared};
use crate::{
    model::tracking::{ErrorCode, TrackingError},
    tracking::{Tracked, Tracker},
};
use access::Who;
use axum::{
    Router,
    extract::{RawPathParams, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{MethodFilter, MethodRouter, on},
};
use futures::future::BoxFuture;
use request::{Request, Schema};
use serde::Serialize;
use std::sync::Arc;

/// A call as its handler sees it.
pub(super) struct Call {
    pub api: Arc<Api>,
    pub who: Who,
    pub request: Request,
    /// Parts of the path, by name.
    pub path: Vec<(String, String)>,
}

impl Call {
    /// What the call is about.
    pub fn tracker(&self) -> &Tracker {
        &self.api.tracker
    }
    /// A part of the path.
    pub fn path(&self, name: &str) -> &str {
        self.path.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v)
    }
}

/// What a handler answers.
pub(super) type Answered = Result<Response, TrackingError>;
type Handler = fn(Call) -> BoxFuture<'static, Answered>;

/// One operation below `/api/2.0/mlflow/` (and `/ajax-api/2.0/mlflow/`).
pub(super) struct Route {
    pub method: Method,
    pub path: &'static str,
    pub schema: &'static Schema,
    pub handler: Handler,
}

/// An operation that reads.
fn get(path: &'static str, schema: &'static Schema, handler: Handler) -> Route {
    Route { method: Method::GET, path, schema, handler }
}

/// An operation that changes, or one whose question does not fit into a query.
fn post(path: &'static str, schema: &'static Schema, handler: Handler) -> Route {
    Route { method: Method::POST, path, schema, handler }
}

/// An operation that changes what is there.
fn patch(path: &'static str, schema: &'static Schema, handler: Handler) -> Route {
    Route { method: Method::PATCH, path, schema, handler }
}

/// An operation that takes away; what, its body says.
fn delete(path: &'static str, schema: &'static Schema, handler: Handler) -> Route {
    Route { method: Method::DELETE, path, schema, handler }
}

/// Runs what reads much, or from the disk, beside the server's own threads.
async fn blocking<T: Send + 'static>(body: impl FnOnce() -> Tracked<T> + Send + 'static) -> Tracked<T> {
    let done = tokio::task::spawn_blocking(body).await;
    done.unwrap_or_else(|e| Err(TrackingError::new(ErrorCode::InternalError, e.to_string())))
}

impl IntoResponse for TrackingError {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body<'a> {
            error_code: &'a str,
            message: &'a str,
        }
        let status = StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = Body { error_code: self.code.name(), message: &self.message };
        (status, axum::Json(body)).into_response()
    }
}

/// A success with this document.
pub(super) fn json(document: &impl Serialize) -> Answered {
    /// Most answers to writes are no larger: they grow no buffer.
    const ROOM: usize = 1024;
    let mut body = Vec::with_capacity(ROOM);
    serde_json::to_writer(&mut body, document)
        .map_err(|e| TrackingError::new(ErrorCode::InternalError, format!("the answer cannot be written: {e}")))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// A success that says nothing more.
pub(super) fn empty() -> Answered {
    Ok(([(header::CONTENT_TYPE, "application/json")], "{}").into_response())
}

/// How much of a call's body is taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is a file, written while it comes.
    Streamed,
    /// So many bytes, in memory.
    Whole(usize),
}

/// Bytes of a body: a dataset's profile has up to 16 MiB, which may be escaped.
const BODY_MAX: usize = 32 * 1024 * 1024;

/// What becomes of the body of such a call; `None` when it is none of MLflow's.
pub(super) fn body(method: &Method, path: &str) -> Option<Taken> {
    if artifacts::is_upload(method, path) {
        return Some(Taken::Streamed);
    }
    is_path(path).then_some(Taken::Whole(BODY_MAX))
}

/// Whether the call needs no token: a probe, or one that shows a signature instead.
pub(super) fn is_open(method: &Method, path: &str) -> bool {
    matches!(path, "/health" | "/version") || method == Method::PUT && path.starts_with(artifacts::PARTS)
}

/// A body that is posted is JSON, and says so.
fn is_json(method: &Method, headers: &HeaderMap) -> Result<(), TrackingError> {
    if method != Method::POST {
        return Ok(());
    }
    match headers.get(header::CONTENT_TYPE).map(|v| v.to_str().unwrap_or_default().split(';').next()) {
        None => Err(TrackingError::invalid("Bad Request. Content-Type header is missing.")),
        Some(Some("application/json")) => Ok(()),
        Some(_) => Err(TrackingError::invalid("Bad Request. Content-Type must be one of ['application/json'].")),
    }
}

fn served(route: &Route) -> Option<MethodRouter<Shared>> {
    let (schema, handler) = (route.schema, route.handler);
    let (method, name) = (route.method.clone(), route.path);
    let reads = method == Method::GET;
    let call = async move |State(api): State<Shared>, path: RawPathParams, request: axum::extract::Request| {
        let path = path.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        let who = request.extensions().get::<Who>().cloned().unwrap_or_default();
        if let Err(e) = is_json(request.method(), request.headers()) {
            return e.into_response();
        }
        let query = request.uri().query().unwrap_or_default().to_owned();
        let request = if reads && !query.is_empty() {
            Request::from_query(&query, schema)
        } else {
            match axum::body::to_bytes(request.into_body(), usize::MAX).await {
                Ok(body) => Request::from_body(&body, schema),
                Err(e) => Err(TrackingError::new(ErrorCode::BadRequest, format!("the body did not come whole: {e}"))),
            }
        };
        let call = request.map(|request| Call { api, who, request, path });
        let answer = match call.and_then(|call| call.check(&method, name).map(|()| call)) {
            Ok(call) => handler(call).await,
            Err(e) => Err(e),
        };
        answer.unwrap_or_else(IntoResponse::into_response)
    };
    Some(on(MethodFilter::try_from(route.method.clone()).ok()?, call))
}

/// Every operation.
fn table() -> Vec<Route> {
    let all = [
        artifacts::routes(),
        experiments::routes(),
        runs::routes(),
        metrics::routes(),
        registered_models::routes(),
        model_versions::routes(),
        logged_models::routes(),
        traces::routes(),
    ];
    all.into_iter().flatten().collect()
}

/// All paths of MLflow's API.
pub(super) fn router() -> Router<Shared> {
    let others = [artifacts::router(), traces::router(), graphql::router(), ui::router(), absent::router()];
    let mut router = others.into_iter().fold(server::router(), Router::merge);
    for route in table() {
        for base in ["/api/2.0/mlflow", "/ajax-api/2.0/mlflow", "/api/3.0/mlflow", "/ajax-api/3.0/mlflow"] {
            if let Some(handler) = served(&route) {
                router = router.route(&format!("{base}/{}", route.path), handler);
            }
        }
    }
    router
}

/// Whether a path is one of MLflow's.
pub(super) fn is_path(path: &str) -> bool {
    const BASES: &[&str] = &[
        "/api/2.0/mlflow",
        "/ajax-api/",
        "/api/3.0/mlflow",
        "/v1/traces",
        "/get-artifact",
        "/model-versions/",
        "/graphql",
    ];
    BASES.iter().any(|base| path.starts_with(base)) || ui::is_path(path)
}
