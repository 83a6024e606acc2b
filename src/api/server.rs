//! The routes: each takes its arguments, asks the loop or the store, and answers with a wire type.

use super::{openapi, types::*, views};
use crate::{
    model::*,
    reconcile::{Reconciler, SteerError, SyncRequest},
    rollout::Steer,
    source::webhook,
};
use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    middleware,
    response::{
        IntoResponse, Response,
        sse::{KeepAlive, Sse},
    },
    routing::{get, post},
};
use futures::{Stream, StreamExt};
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    convert::Infallible,
    io::{Read, Seek, SeekFrom},
    path::{Path as FsPath, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// What the server is given.
#[derive(Clone)]
pub struct Api {
    pub reconciler: Reconciler,
    pub state: PathBuf,
    /// Secret of webhooks; without one they are refused.
    pub webhook_secret: Option<String>,
}

type Shared = Arc<Api>;
type Answer<T> = Result<Json<T>, Failure>;

/// An answer that is no success.
pub(super) struct Failure(pub StatusCode, pub String);
impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(ErrorBody { error: self.1 })).into_response()
    }
}
impl From<SteerError> for Failure {
    fn from(e: SteerError) -> Self {
        let status = match e {
            SteerError::NotFound(_) => StatusCode::NOT_FOUND,
            SteerError::Conflict(_) => StatusCode::CONFLICT,
            SteerError::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(status, e.to_string())
    }
}
impl From<crate::store::StoreError> for Failure {
    fn from(e: crate::store::StoreError) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, e.to_string())
    }
}
impl From<crate::ports::PortError> for Failure {
    fn from(e: crate::ports::PortError) -> Self {
        Self(if e.retryable { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::CONFLICT }, e.message)
    }
}

fn missing(what: &str, name: impl std::fmt::Display) -> Failure {
    Failure(StatusCode::NOT_FOUND, format!("there is no {what} `{name}`"))
}

fn model_name(text: &str) -> Result<Name, Failure> {
    Name::new(text).map_err(|_| missing("model", text.escape_debug()))
}

/// Runs what may block beside the server's own threads.
async fn blocking<T: Send + 'static>(body: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(body).await;
    done.unwrap_or_else(|e| Err(Failure(StatusCode::INTERNAL_SERVER_ERROR, e.to_string())))
}

/// The routes; each stands in [`openapi::ROUTES`].
pub(super) fn routes(api: Api) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/webhook", post(take_webhook).layer(DefaultBodyLimit::max(webhook::MAX_BODY)))
        .route("/api/v1/openapi.json", get(|| async { Json(openapi::document()) }))
        .route("/api/v1/fleet", get(fleet))
        .route("/api/v1/plan", get(plan))
        .route("/api/v1/sync", post(sync))
        .route("/api/v1/backup", post(backup))
        .route("/api/v1/events", get(events))
        .route("/api/v1/models/{name}", get(detail))
        .route("/api/v1/models/{name}/versions", get(versions))
        .route("/api/v1/models/{name}/versions/{number}", get(version))
        .route("/api/v1/models/{name}/runs", get(runs))
        .route("/api/v1/models/{name}/plan", get(model_plan))
        .route("/api/v1/models/{name}/diff", get(diff))
        .route("/api/v1/models/{name}/refresh", post(refresh))
        .route("/api/v1/models/{name}/suspend", post(suspend))
        .route("/api/v1/models/{name}/resume", post(resume))
        .route("/api/v1/models/{name}/rollback", post(rollback))
        .route("/api/v1/models/{name}/rollout/{verb}", post(steer))
        .route("/api/v1/models/{name}/replicas/{environment}/log", get(replica_log))
        .route("/api/v1/runs/{id}/log", get(run_log))
        .fallback(|| async {
            Failure(StatusCode::NOT_FOUND, "there is no such page; GET /api/v1/openapi.json lists them".into())
        })
        .layer(middleware::map_response(worded))
        .with_state(Arc::new(api))
}

/// Gives the framework's own refusals (a bad query, a wrong method, a body that is too large) the shape of all others.
async fn worded(answer: Response) -> Response {
    const LONGEST: usize = 4096;
    let status = answer.status();
    let json = answer.headers().get(header::CONTENT_TYPE).is_some_and(|t| t.as_bytes() == b"application/json");
    // 503 is `/readyz`, which is for probes and speaks plain text.
    if json || !(status.is_client_error() || status == StatusCode::INTERNAL_SERVER_ERROR) {
        return answer;
    }
    let allow = answer.headers().get(header::ALLOW).cloned();
    let said = axum::body::to_bytes(answer.into_body(), LONGEST).await.unwrap_or_default();
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    let words = if said.is_empty() { status.canonical_reason().unwrap_or("refused").to_owned() } else { said };
    let mut told = Failure(status, words).into_response();
    if let Some(allow) = allow {
        told.headers_mut().insert(header::ALLOW, allow);
    }
    told
}

async fn ready(State(api): State<Shared>) -> Response {
    match api.reconciler.source_status().revision {
        Some(_) => "ready\n".into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "no revision is loaded yet\n").into_response(),
    }
}

async fn metrics(State(api): State<Shared>) -> Result<String, Failure> {
    blocking(move || super::metrics::text(&api.reconciler)).await
}

async fn take_webhook(
    State(api): State<Shared>,
    headers: HeaderMap,
    body: axum::body::Bytes,
) -> Result<(StatusCode, Json<Done>), Failure> {
    let Some(secret) = &api.webhook_secret else {
        return Err(Failure(
            StatusCode::FORBIDDEN,
            "webhooks are off: start the daemon with TRIMTAB_WEBHOOK_SECRET".into(),
        ));
    };
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    webhook::verify(secret.as_bytes(), header, &body).map_err(|e| Failure(StatusCode::UNAUTHORIZED, e.to_string()))?;
    // A flood of these is one look: wake-ups carry no data and collapse.
    api.reconciler.wake_source();
    Ok((StatusCode::ACCEPTED, Json(Done { message: "looking".into(), revision: None })))
}

async fn fleet(State(api): State<Shared>) -> Answer<Fleet> {
    blocking(move || Ok(Json(views::fleet(&api.reconciler)))).await
}

#[derive(Deserialize)]
struct PlanQuery {
    rev: Option<String>,
}

async fn plan(State(api): State<Shared>, Query(query): Query<PlanQuery>) -> Answer<FleetPlan> {
    blocking(move || {
        let loaded = match query.rev {
            None => api.reconciler.loaded(),
            Some(rev) => Arc::new(api.reconciler.load_revision(&rev)?),
        };
        Ok(Json(views::fleet_plan(&api.reconciler, loaded.state())))
    })
    .await
}

/// A body that may be left out.
fn body<T: DeserializeOwned + Default>(bytes: &[u8]) -> Result<T, Failure> {
    if bytes.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(bytes)
        .map_err(|e| Failure(StatusCode::BAD_REQUEST, format!("the body is not what this call takes: {e}")))
}

async fn sync(State(api): State<Shared>, bytes: axum::body::Bytes) -> Answer<Done> {
    let asked: SyncBody = body(&bytes)?;
    blocking(move || {
        let status = api.reconciler.sync(&SyncRequest { prune: asked.prune })?;
        let at = status.revision.as_ref().map_or("no revision".to_owned(), |r| r.commit.short().to_owned());
        Ok(Json(Done { message: format!("synced to {at}"), revision: status.revision }))
    })
    .await
}

async fn backup(State(api): State<Shared>, Json(asked): Json<BackupBody>) -> Answer<Done> {
    blocking(move || {
        if !asked.file.is_absolute() {
            return Err(Failure(StatusCode::BAD_REQUEST, "write an absolute path".into()));
        }
        api.reconciler.store().backup(&asked.file)?;
        Ok(Json(Done { message: format!("written to {}", asked.file.display()), revision: None }))
    })
    .await
}

#[derive(Deserialize)]
struct EventsQuery {
    after: Option<u64>,
    limit: Option<usize>,
}

async fn events(State(api): State<Shared>, Query(query): Query<EventsQuery>, headers: HeaderMap) -> Response {
    let wants_stream =
        headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).is_some_and(|v| v.contains("text/event-stream"));
    let last = headers.get("last-event-id").and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    if wants_stream {
        let stream = event_stream(&api, last.or(query.after));
        return Sse::new(stream).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))).into_response();
    }
    let limit = query.limit.unwrap_or(200).min(10_000);
    let answer = blocking(move || {
        let store = api.reconciler.store();
        Ok(Json(match query.after {
            Some(after) => store.events(after, limit)?,
            None => store.newest_events(limit)?,
        }))
    });
    answer.await.into_response()
}

/// Stored events after `after`, page by page, then live ones. A reader that is too slow is told to look at everything again.
fn event_stream(
    api: &Shared,
    after: Option<u64>,
) -> impl Stream<Item = Result<axum::response::sse::Event, Infallible>> + use<> {
    // Subscribed before the store is read: nothing falls between; what is in both is left out by its number.
    let live = tokio_stream::wrappers::BroadcastStream::new(api.reconciler.subscribe());
    let newest = Arc::new(AtomicU64::new(0));
    let stored = stored_events(api.clone(), after, newest.clone());
    let live = live.filter_map(move |item| {
        let told = newest.load(Ordering::Relaxed);
        async move {
            match item {
                Ok(e) if e.seq != 0 && e.seq <= told => None,
                Ok(e) => Some(sse(&e)),
                Err(_) => Some(lagged()),
            }
        }
    });
    stored.chain(live).map(Ok)
}

/// Every stored event after `after`; `newest` keeps the number of the last one. Nothing without `after`.
fn stored_events(
    api: Shared,
    after: Option<u64>,
    newest: Arc<AtomicU64>,
) -> impl Stream<Item = axum::response::sse::Event> {
    const PAGE: usize = 1000;
    let pages = futures::stream::unfold(after, move |from| {
        let (api, newest) = (api.clone(), newest.clone());
        async move {
            let from = from?;
            match blocking(move || Ok(api.reconciler.store().events(from, PAGE)?)).await {
                Ok(page) => {
                    let last = page.last()?.seq;
                    newest.store(last, Ordering::Relaxed);
                    Some((page.iter().map(sse).collect::<Vec<_>>(), Some(last)))
                }
                // The reader must not take a hole for the whole.
                Err(_) => Some((vec![lagged()], None)),
            }
        }
    });
    pages.flat_map(futures::stream::iter)
}

fn lagged() -> axum::response::sse::Event {
    axum::response::sse::Event::default().event("lagged").data("{}")
}

fn sse(e: &Event) -> axum::response::sse::Event {
    let event = axum::response::sse::Event::default().event("event").data(serde_json::to_string(e).unwrap_or_default());
    if e.seq == 0 { event } else { event.id(e.seq.to_string()) }
}

async fn detail(State(api): State<Shared>, Path(name): Path<String>) -> Answer<ModelDetail> {
    let name = model_name(&name)?;
    blocking(move || views::detail(&api.reconciler, &name)?.map(Json).ok_or_else(|| missing("model", &name))).await
}

fn view(api: &Api, name: &Name) -> Result<crate::reconcile::ModelView, Failure> {
    api.reconciler.view(name).ok_or_else(|| missing("model", name))
}

async fn versions(State(api): State<Shared>, Path(name): Path<String>) -> Answer<Vec<VersionBrief>> {
    let name = model_name(&name)?;
    blocking(move || Ok(Json(views::briefs(&api.reconciler, &view(&api, &name)?.observed)?))).await
}

async fn version(State(api): State<Shared>, Path((name, number)): Path<(String, String)>) -> Answer<Version> {
    let name = model_name(&name)?;
    let parsed = number
        .trim_start_matches('v')
        .parse()
        .map(VersionNumber)
        .map_err(|_| missing("version", number.escape_debug()))?;
    blocking(move || api.reconciler.store().version(&name, parsed)?.map(Json).ok_or_else(|| missing("version", parsed)))
        .await
}

async fn runs(State(api): State<Shared>, Path(name): Path<String>) -> Answer<Vec<Run>> {
    let name = model_name(&name)?;
    blocking(move || {
        view(&api, &name)?;
        Ok(Json(api.reconciler.store().runs(&name, 200)?))
    })
    .await
}

async fn model_plan(State(api): State<Shared>, Path(name): Path<String>) -> Answer<ModelPlan> {
    let name = model_name(&name)?;
    blocking(move || {
        let seen = view(&api, &name)?.observed;
        let desired = api.reconciler.loaded().state().models.get(&name).cloned().or(seen.desired);
        Ok(Json(api.reconciler.fresh_plan(&name, desired.as_deref())))
    })
    .await
}

async fn diff(State(api): State<Shared>, Path(name): Path<String>) -> Answer<Vec<FieldDiff>> {
    let name = model_name(&name)?;
    blocking(move || views::diff(&api.reconciler, &name).map(Json).ok_or_else(|| missing("model", &name))).await
}

async fn refresh(State(api): State<Shared>, Path(name): Path<String>) -> Answer<Done> {
    let name = model_name(&name)?;
    blocking(move || {
        let changed = api.reconciler.refresh(&name)?;
        let list: Vec<&str> = changed.iter().map(Name::as_str).collect();
        let message = if list.is_empty() {
            "the data is what it was".to_owned()
        } else {
            format!("new data: {}", list.join(", "))
        };
        Ok(Json(Done { message, revision: None }))
    })
    .await
}

async fn suspend(State(api): State<Shared>, Path(name): Path<String>) -> Answer<Done> {
    set_suspended(api, name, true).await
}

async fn resume(State(api): State<Shared>, Path(name): Path<String>) -> Answer<Done> {
    set_suspended(api, name, false).await
}

async fn set_suspended(api: Shared, name: String, suspended: bool) -> Answer<Done> {
    let name = model_name(&name)?;
    blocking(move || {
        api.reconciler.suspend(&name, suspended)?;
        Ok(Json(Done {
            message: format!("{name} is {}", if suspended { "suspended" } else { "resumed" }),
            revision: None,
        }))
    })
    .await
}

async fn rollback(State(api): State<Shared>, Path(name): Path<String>, bytes: axum::body::Bytes) -> Answer<Done> {
    let name = model_name(&name)?;
    let asked: RollbackBody = body(&bytes)?;
    blocking(move || {
        let revision = api.reconciler.rollback(&name, asked.to)?;
        Ok(Json(Done { message: format!("reverted by {}", revision.commit.short()), revision: Some(revision) }))
    })
    .await
}

#[derive(Deserialize)]
struct SteerQuery {
    environment: Option<Name>,
}

async fn steer(
    State(api): State<Shared>,
    Path((name, verb)): Path<(String, String)>,
    Query(query): Query<SteerQuery>,
) -> Answer<Done> {
    let name = model_name(&name)?;
    let word = match verb.as_str() {
        "pause" => Some(Steer::Pause),
        "resume" => Some(Steer::Resume),
        "promote" => Some(Steer::Promote),
        "abort" => Some(Steer::Abort),
        "retry" => None,
        other => return Err(missing("verb", other.escape_debug())),
    };
    blocking(move || {
        let message = match word {
            None => {
                api.reconciler.retry(&name, query.environment.as_ref()).map(|()| format!("{name} is tried again"))?
            }
            Some(word) => {
                let environment = api.reconciler.steer(&name, query.environment.as_ref(), word)?;
                format!("{verb} {name} in {environment}")
            }
        };
        Ok(Json(Done { message, revision: None }))
    })
    .await
}

#[derive(Deserialize)]
struct LogQuery {
    #[serde(default)]
    from: u64,
    #[serde(default)]
    follow: bool,
}

async fn run_log(
    State(api): State<Shared>,
    Path(id): Path<String>,
    Query(query): Query<LogQuery>,
) -> Result<Response, Failure> {
    let id = RunId(id);
    let run = {
        let (api, id) = (api.clone(), id.clone());
        blocking(move || api.reconciler.store().run(&id)?.ok_or_else(|| missing("run", id.0.escape_debug()))).await?
    };
    let path = crate::train::run_log(&api.state, &run.id);
    let over = move || {
        let run = api.reconciler.store().run(&id);
        !matches!(run, Ok(Some(Run { status: RunStatus::Running, .. })))
    };
    Ok(log(path, query, over))
}

async fn replica_log(
    State(api): State<Shared>,
    Path((name, environment)): Path<(String, String)>,
    Query(query): Query<LogQuery>,
) -> Result<Response, Failure> {
    let (name, environment) = (model_name(&name)?, model_name(&environment)?);
    let path =
        api.reconciler.ports().target.log(&environment, &name).ok_or_else(|| missing("replica in", &environment))?;
    Ok(log(path, query, || false))
}

/// A log file from a byte on; followed until `over`.
fn log(path: PathBuf, query: LogQuery, over: impl Fn() -> bool + Send + 'static) -> Response {
    const LOOK_MS: u64 = 100;
    let state = (path, query.from, query.follow, over, false);
    let stream = futures::stream::unfold(state, |(path, from, follow, over, last)| async move {
        loop {
            // Asked before the read: what was written before the end is then surely read.
            let ended = !follow || over();
            let bytes = read_from(&path, from);
            if !bytes.is_empty() {
                let next = from + bytes.len() as u64;
                return Some((Ok::<_, Infallible>(bytes), (path, next, follow, over, last)));
            }
            if ended {
                return None;
            }
            // A log has no event of its own; the file grows by another process.
            tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
        }
    });
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], Body::from_stream(stream)).into_response()
}

fn read_from(path: &FsPath, from: u64) -> Vec<u8> {
    const PIECE: u64 = 64 * 1024;
    let read = || {
        let mut file = std::fs::File::open(path)?;
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(PIECE).read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(bytes)
    };
    // A log that is not there yet is empty.
    read().unwrap_or_default()
}
