//! What a client asks of the server itself.

use super::Shared;
use axum::{Json, Router, routing::get};
use serde::Serialize;

/// The version of MLflow whose API this is.
pub const VERSION: &str = "3.17.2";

#[derive(Serialize)]
struct Info {
    store_type: &'static str,
    workspaces_enabled: bool,
    trace_archival_enabled: bool,
    multipart_uploads_enabled: bool,
    multipart_downloads_enabled: bool,
    presigned_upload_run_id_supported: bool,
    presigned_upload_model_id_supported: bool,
    features_enabled: Features,
}

/// What else is there besides tracking and registry.
#[derive(Serialize)]
struct Features {
    gateway: bool,
}

async fn info() -> Json<Info> {
    Json(Info {
        store_type: "SqlStore",
        workspaces_enabled: false,
        trace_archival_enabled: false,
        multipart_uploads_enabled: false,
        multipart_downloads_enabled: false,
        presigned_upload_run_id_supported: false,
        presigned_upload_model_id_supported: false,
        features_enabled: Features { gateway: false },
    })
}

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/health", get(|| async { "OK" }))
        .route("/version", get(|| async { VERSION }))
        .route("/api/3.0/mlflow/server-info", get(info))
        .route("/ajax-api/3.0/mlflow/server-info", get(info))
}
