//! The router's orders, over its unix socket.

use super::{Identity, Route, RouteError, RoutesFile, StatsAnswer, config::RouteFiles, table::Table};
use crate::model::Name;
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use serde::Deserialize;
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};
use tokio::sync::{Mutex, watch};

/// What orders act on.
pub struct Control {
    pub table: Arc<Table>,
    pub files: RouteFiles,
    pub identity: Identity,
    pub leave: watch::Sender<bool>,
    /// Changes are kept on disk in the order in which they are used.
    pub writing: Mutex<()>,
}

impl IntoResponse for RouteError {
    fn into_response(self) -> Response {
        let (status, current) = match &self {
            Self::Stale { current } => (StatusCode::CONFLICT, Some(*current)),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, None),
        };
        (status, Json(serde_json::json!({ "error": self.to_string(), "current": current }))).into_response()
    }
}

#[derive(Deserialize)]
struct StatsQuery {
    environment: Option<Name>,
    model: Option<Name>,
    since: Option<u64>,
}
#[derive(Deserialize)]
struct DrainedQuery {
    address: SocketAddr,
    /// How long to wait for its last request.
    wait_ms: u64,
}

/// The routes of the control socket.
pub fn app(control: Arc<Control>) -> Router {
    Router::new()
        .route("/config", get(config).put(put_config))
        .route("/route", put(put_route))
        .route("/stats", get(stats))
        .route("/metrics", get(metrics))
        .route("/identity", get(identity))
        .route("/inflight", get(in_flight))
        .route("/drained", get(drained))
        .route("/shutdown", post(shutdown))
        .layer(DefaultBodyLimit::max(256 << 20))
        .with_state(control)
}

async fn config(State(c): State<Arc<Control>>) -> Json<RoutesFile> {
    Json(RoutesFile { routes: c.table.routes() })
}

async fn put_config(State(c): State<Arc<Control>>, Json(new): Json<RoutesFile>) -> Result<StatusCode, RouteError> {
    let _one = c.writing.lock().await;
    let old: BTreeMap<(Name, Name), Route> =
        c.table.routes().into_iter().map(|r| ((r.environment.clone(), r.model.clone()), r)).collect();
    let mut gone = old.clone();
    let mut changed = vec![];
    for route in &new.routes {
        let key = (route.environment.clone(), route.model.clone());
        if gone.remove(&key).as_ref() != Some(route) {
            changed.push(route.clone());
        }
    }
    changed.extend(gone.into_values().map(|r| Route { releases: vec![], ..r }));
    keep(&c.files, changed).await?;
    c.table.replace(new.routes);
    Ok(StatusCode::NO_CONTENT)
}

async fn put_route(State(c): State<Arc<Control>>, Json(route): Json<Route>) -> Result<StatusCode, RouteError> {
    let _one = c.writing.lock().await;
    c.table.check(&route)?;
    keep(&c.files, vec![route.clone()]).await?;
    c.table.put(route);
    Ok(StatusCode::NO_CONTENT)
}

async fn keep(files: &RouteFiles, routes: Vec<Route>) -> Result<(), RouteError> {
    let files = files.clone();
    tokio::task::spawn_blocking(move || routes.iter().try_for_each(|r| files.put(r)))
        .await
        .unwrap_or_else(|e| Err(RouteError::Refused { status: 500, body: e.to_string() }))
}

async fn stats(State(c): State<Arc<Control>>, Query(q): Query<StatsQuery>) -> Json<StatsAnswer> {
    Json(c.table.stats(q.environment.as_ref().zip(q.model.as_ref()), q.since))
}

async fn metrics(State(c): State<Arc<Control>>) -> Result<String, RouteError> {
    c.table.meters().text().map_err(|e| RouteError::Refused { status: 500, body: e.to_string() })
}

async fn identity(State(c): State<Arc<Control>>) -> Json<Identity> {
    Json(c.identity.clone())
}

async fn in_flight(State(c): State<Arc<Control>>) -> Json<BTreeMap<SocketAddr, u64>> {
    Json(c.table.in_flight().into_iter().collect())
}

/// Answers with the number of requests that a replica holds: as soon as it is 0, or after `wait_ms`.
async fn drained(State(c): State<Arc<Control>>, Query(q): Query<DrainedQuery>) -> Json<u64> {
    let Some(replica) = c.table.replica(q.address) else { return Json(0) };
    // Timing out is an answer too: what is still held.
    let _ = tokio::time::timeout(Duration::from_millis(q.wait_ms), replica.drained()).await;
    Json(replica.in_flight())
}

async fn shutdown(State(c): State<Arc<Control>>) -> StatusCode {
    c.leave.send_replace(true);
    StatusCode::ACCEPTED
}
