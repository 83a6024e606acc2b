//! Files of runs, models and traces: the proxy for artifacts, and what shows and takes them by run or model.

mod allowed;
mod media;
mod parts;
mod send;
mod upload;

pub use parts::PARTS;

use super::{
    Answered, Call, Route, blocking, empty, json,
    request::{Check, Field, Kind, Request, Schema},
};
use crate::{
    api::server::Shared,
    model::{
        Level,
        tracking::{ErrorCode, TrackingError},
    },
    tracking::{ArtifactPath, Listed, Tracked},
};
use axum::{
    Router,
    body::Body,
    extract::{Path, RawQuery},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use futures::future::BoxFuture;
use send::Sent;
use serde::Serialize;
use std::fs::File;

/// What the user interface may upload at once, as in MLflow.
const SHOWN_MAX: usize = 10 * 1024 * 1024;

const LIST: Schema = Schema { fields: &[Field("path", Kind::Text)], checks: &[] };
const OF_RUN: Schema = Schema {
    fields: &[Field("run_id", Kind::Text), Field("run_uuid", Kind::Text), Field("path", Kind::Text)],
    checks: &[("path", &[Check::Required])],
};
const OF_VERSION: Schema = Schema {
    fields: &[Field("name", Kind::Text), Field("version", Kind::Text), Field("path", Kind::Text)],
    checks: &[("path", &[Check::Required])],
};
const OF_MODEL: Schema = Schema { fields: &[Field("artifact_file_path", Kind::Text)], checks: &[] };
const RUN_LIST: Schema = Schema {
    fields: &[Field("run_id", Kind::Text), Field("run_uuid", Kind::Text), Field("path", Kind::Text)],
    checks: &[("run_id", &[Check::Text, Check::Required]), ("path", &[Check::Text]), ("page_token", &[Check::Text])],
};
const MODEL_LIST: Schema = Schema {
    fields: &[Field("artifact_directory_path", Kind::Text)],
    checks: &[("artifact_directory_path", &[Check::Text])],
};

/// Operations that are like all others.
pub fn routes() -> Vec<Route> {
    vec![
        Route { method: Method::GET, path: "artifacts/list", schema: &RUN_LIST, handler: list_of_run },
        Route {
            method: Method::GET,
            path: "logged-models/{model_id}/artifacts/directories",
            schema: &MODEL_LIST,
            handler: list_of_model,
        },
    ]
}

/// Operations whose bodies or answers are files.
pub fn router() -> Router<Shared> {
    let mut router = Router::new()
        .route("/get-artifact", get(of_run))
        .route("/model-versions/get-artifact", get(of_version))
        .route("/ajax-api/2.0/mlflow/upload-artifact", post(upload_of_run))
        .route("/ajax-api/2.0/mlflow/logged-models/{model_id}/artifacts/files", get(of_model))
        .route(&format!("{PARTS}{{upload}}/{{number}}"), put(parts::part));
    for base in ["/api/2.0/mlflow-artifacts", "/ajax-api/2.0/mlflow-artifacts"] {
        router = router
            .route(&format!("{base}/artifacts"), get(list))
            .route(&format!("{base}/artifacts/{{*path}}"), get(download).put(take).delete(remove))
            .route(&format!("{base}/mpu/create/{{*path}}"), post(parts::create))
            .route(&format!("{base}/mpu/complete/{{*path}}"), post(parts::complete))
            .route(&format!("{base}/mpu/abort/{{*path}}"), post(parts::abort))
            .route(&format!("{base}/presigned/{{*path}}"), get(parts::presigned));
    }
    router
}

/// Whether the body of such a call is a file, to be taken in while it comes.
pub fn is_upload(method: &Method, path: &str) -> bool {
    let of_proxy = ["/api/2.0/mlflow-artifacts/artifacts/", "/ajax-api/2.0/mlflow-artifacts/artifacts/", PARTS];
    method == Method::PUT && of_proxy.iter().any(|base| path.starts_with(base))
}

fn artifact_path(given: &str) -> Tracked<ArtifactPath> {
    ArtifactPath::new(given)
}

async fn take(call: Call, Path(path): Path<String>, body: Body) -> Answered {
    let path = ArtifactPath::of_file(&path)?;
    call.may_edit(&path)?;
    upload::put(&call.api, path, body).await?;
    Ok(StatusCode::OK.into_response())
}

async fn remove(call: Call, Path(path): Path<String>) -> Answered {
    let path = artifact_path(&path)?;
    call.may_edit(&path)?;
    let tracker = call.api.tracker.clone();
    let gone = blocking(move || {
        tracker.check_artifact(&path)?;
        tracker.delete_artifacts(&path)
    });
    gone.await?.await?;
    call.api.reconciler.let_go();
    empty()
}

async fn download(call: Call, Path(path): Path<String>, headers: HeaderMap) -> Answered {
    let path = artifact_path(&path)?;
    call.may_read(&path)?;
    send(call, headers, path).await
}

/// Sends the file at the path.
async fn send(call: Call, headers: HeaderMap, path: ArtifactPath) -> Answered {
    blocking(move || {
        let file = call.tracker().artifact_file(&path)?;
        let gone = || TrackingError::new(ErrorCode::TemporarilyUnavailable, "The file was removed just now");
        let open = File::from(call.api.artifacts.open(&file.digest)?.ok_or_else(gone)?);
        let sent = Sent { name: path.name(), tag: file.digest.hex(), size: file.size };
        sent.answer(open, &headers).map_err(|e| TrackingError::new(ErrorCode::InternalError, e.to_string()))
    })
    .await
}

fn query(given: Option<String>, schema: &Schema) -> Tracked<Request> {
    Request::from_query(&given.unwrap_or_default(), schema)
}

/// Sends a file below the root of something.
pub async fn send_below(call: Call, headers: HeaderMap, root: &str, relative: &str) -> Answered {
    let path = below(root, &artifact_path(relative)?)?;
    call.may_read(&path)?;
    send(call, headers, path).await
}

async fn of_run(call: Call, RawQuery(given): RawQuery, headers: HeaderMap) -> Answered {
    let request = query(given, &OF_RUN)?;
    let root = call.tracker().artifact_root(request.run_id())?;
    send_below(call, headers, &root, request.text("path")).await
}

async fn of_version(call: Call, RawQuery(given): RawQuery, headers: HeaderMap) -> Answered {
    let request = query(given, &OF_VERSION)?;
    let (name, relative) = (request.text("name"), artifact_path(request.text("path"))?);
    call.demand_model(name, Level::Read)?;
    let path = below(&call.tracker().download_uri(name, request.text("version"))?, &relative)?;
    send(call, headers, path).await
}

async fn of_model(call: Call, Path(model): Path<String>, RawQuery(given): RawQuery, headers: HeaderMap) -> Answered {
    let request = query(given, &OF_MODEL)?;
    let Some(file) = request.filled("artifact_file_path") else {
        let words = "Request must include the \"artifact_file_path\" query parameter.";
        return Err(TrackingError::new(ErrorCode::BadRequest, words));
    };
    let root = call.tracker().model_artifact_root(&model)?;
    send_below(call, headers, &root, file).await
}

/// The path below the root of a run or a model.
fn below(uri: &str, relative: &ArtifactPath) -> Tracked<ArtifactPath> {
    let elsewhere = || {
        let words = format!("The artifacts at '{uri}' are not served by this server; read them from there.");
        TrackingError::new(ErrorCode::NotImplemented, words)
    };
    Ok(ArtifactPath::of_uri(uri).ok_or_else(elsewhere)?.join(relative))
}

/// An entry of a folder, as protobuf's JSON has it.
#[derive(Serialize)]
struct Entry {
    path: String,
    is_dir: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_size: Option<u64>,
}

#[derive(Serialize)]
struct Listing {
    #[serde(skip_serializing_if = "Option::is_none")]
    root_uri: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: Vec<Entry>,
}

/// Paths are told relative to `above`.
fn entries(listed: Vec<Listed>, above: &ArtifactPath) -> Vec<Entry> {
    let path = |name: String| match above.as_str() {
        "" => name,
        above => format!("{above}/{name}"),
    };
    listed.into_iter().map(|l| Entry { path: path(l.name), is_dir: l.size.is_none(), file_size: l.size }).collect()
}

/// The proxy's listing: names alone.
async fn list(call: Call, RawQuery(given): RawQuery) -> Answered {
    let folder = artifact_path(query(given, &LIST)?.text("path"))?;
    call.may_read(&folder)?;
    blocking(move || {
        let files = entries(call.tracker().list_artifacts(&folder)?, &artifact_path("")?);
        json(&Listing { root_uri: None, files })
    })
    .await
}

fn list_of_run(call: Call) -> BoxFuture<'static, Answered> {
    let root = call.tracker().artifact_root(call.request.run_id());
    Box::pin(list_below(call, "path", root))
}

fn list_of_model(call: Call) -> BoxFuture<'static, Answered> {
    let root = call.tracker().model_artifact_root(call.path("model_id"));
    Box::pin(list_below(call, "artifact_directory_path", root))
}

/// A listing below the root of a run or a model; paths are told from there.
async fn list_below(call: Call, field: &'static str, root: Tracked<String>) -> Answered {
    let relative = artifact_path(call.request.text(field))?;
    let root_uri = root?;
    let folder = below(&root_uri, &relative)?;
    call.may_read(&folder)?;
    blocking(move || {
        let files = entries(call.tracker().list_artifacts(&folder)?, &relative);
        json(&Listing { root_uri: Some(root_uri), files })
    })
    .await
}

/// What the user interface uploads to a run.
async fn upload_of_run(call: Call, RawQuery(given): RawQuery, headers: HeaderMap, body: Body) -> Answered {
    let request = query(given, &Schema { checks: &[], ..OF_RUN })?;
    let missing = |what: &str| TrackingError::invalid(format!("Request must specify {what}."));
    let run = request.filled("run_uuid").ok_or_else(|| missing("run_uuid"))?;
    let relative = ArtifactPath::of_file(request.filled("path").ok_or_else(|| missing("path"))?)?;
    let size = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    let large = || TrackingError::invalid("Artifact size is too large. Max size is 10MB.");
    if size.is_some_and(|s| s > SHOWN_MAX) {
        return Err(large());
    }
    let bytes = axum::body::to_bytes(body, SHOWN_MAX).await.map_err(|_| large())?;
    if bytes.is_empty() {
        return Err(missing("data"));
    }
    let path = below(&call.tracker().artifact_root(run)?, &relative)?;
    call.may_edit(&path)?;
    upload::put(&call.api, path, Body::from(bytes)).await?;
    Ok(Response::builder().header(header::CONTENT_TYPE, "application/json").body(Body::empty()).unwrap_or_default())
}
