//! MLflow's own web interface: its files as the user's Python has them, for a browser. Off until `[ui] mlflow = true` stands in Git.
//!
//! Source: `serve` and `serve_static_file` in `mlflow/server/__init__.py`.

mod find;

use crate::{
    api::server::Shared,
    model::tracking::{ErrorCode, TrackingError},
};
use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use find::Folder;
use std::{
    path::{Component, Path as FsPath, PathBuf},
    sync::Arc,
    time::SystemTime,
};
use tokio_util::io::ReaderStream;

/// Where the page expects its files.
const FILES: &str = "/static-files/";

/// Media types of what is in the folder; a browser runs a script by its type alone.
const MEDIA: &[(&str, &str)] = &[
    ("css", "text/css; charset=utf-8"),
    ("gif", "image/gif"),
    ("html", "text/html; charset=utf-8"),
    ("ico", "image/vnd.microsoft.icon"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("map", "application/json"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("ttf", "font/ttf"),
    ("txt", "text/plain; charset=utf-8"),
    ("wasm", "application/wasm"),
    ("webp", "image/webp"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
];

/// Whether a path is one of the interface's.
pub(super) fn is_path(path: &str) -> bool {
    matches!(path, "/" | "/index.html") || path.starts_with(FILES)
}

pub(super) fn router() -> Router<Shared> {
    let folder = Arc::new(Folder::default());
    let of = folder.clone();
    let index =
        get(async move |State(api): State<Shared>, headers: HeaderMap| file(&api, &of, "index.html", &headers).await);
    let one = async move |State(api): State<Shared>, Path(path): Path<String>, headers: HeaderMap| {
        file(&api, &folder, &path, &headers).await
    };
    Router::new().route("/", index.clone()).route("/index.html", index).route(&format!("{FILES}{{*path}}"), get(one))
}

fn missing(what: impl Into<String>) -> TrackingError {
    TrackingError::new(ErrorCode::EndpointNotFound, what)
}

async fn file(api: &Shared, folder: &Folder, path: &str, asked: &HeaderMap) -> Response {
    let settings = api.reconciler.loaded().state().settings.ui.clone();
    if !settings.mlflow {
        return missing(
            "this server shows no user interface: `[ui] mlflow = true` in trimtab.toml turns MLflow's own on",
        )
        .into_response();
    }
    let found = match folder.find(settings.python.as_deref()).await {
        Ok(folder) => sent(&folder, path, asked).await,
        Err(why) => return missing(why).into_response(),
    };
    // Why is for the log alone: a caller learns nothing about the folder.
    found.unwrap_or_else(|e| {
        tracing::debug!("no file of the user interface at {path:?}: {e}");
        missing("there is no such file").into_response()
    })
}

/// The path in the folder: no other, through no link either.
fn inside(folder: &FsPath, path: &str) -> std::io::Result<PathBuf> {
    let outside = || std::io::Error::other("it leads out of the folder");
    let relative = FsPath::new(path);
    if relative.components().any(|c| !matches!(c, Component::Normal(_))) {
        return Err(outside());
    }
    let place = folder.join(relative).canonicalize()?;
    if place.starts_with(folder) { Ok(place) } else { Err(outside()) }
}

async fn sent(folder: &FsPath, path: &str, asked: &HeaderMap) -> std::io::Result<Response> {
    let place = inside(folder, path)?;
    let file = tokio::fs::File::open(&place).await?;
    let facts = file.metadata().await?;
    if !facts.is_file() {
        return Err(std::io::Error::other("it is no file"));
    }
    let written = facts.modified()?.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let tag = format!("\"{:x}-{:x}\"", written.as_nanos(), facts.len());
    let ending = place.extension().and_then(|e| e.to_str()).unwrap_or_default();
    let media = MEDIA.iter().find(|(e, _)| *e == ending).map_or("application/octet-stream", |(_, media)| media);
    let headers = [
        (header::CONTENT_TYPE, media),
        (header::ETAG, &tag),
        // Names below `static` tell the content; the rest is asked for anew.
        (header::CACHE_CONTROL, if path.starts_with("static/") { "private, max-age=2419200" } else { "no-cache" }),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "SAMEORIGIN"),
    ];
    let known = asked.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if known.split(',').any(|t| t.trim().trim_start_matches("W/") == tag) {
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    let length = [(header::CONTENT_LENGTH, facts.len().to_string())];
    Ok((headers, length, Body::from_stream(ReaderStream::with_capacity(file, 64 * 1024))).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_outside_of_the_folder_is_sent() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().canonicalize().unwrap().join("build");
        std::fs::create_dir_all(folder.join("static")).unwrap();
        std::fs::write(folder.join("static/a.js"), "1").unwrap();
        std::fs::write(folder.join("../secret.js"), "2").unwrap();
        std::os::unix::fs::symlink("../secret.js", folder.join("link.js")).unwrap();
        std::os::unix::fs::symlink("a.js", folder.join("static/b.js")).unwrap();
        for path in
            ["../secret.js", "static/../../secret.js", "/etc/passwd", "link.js", "static", "", ".", "none.js", "a\0b"]
        {
            assert!(sent(&folder, path, &HeaderMap::new()).await.is_err(), "{path:?}");
        }
        for path in ["static/a.js", "static/b.js"] {
            let answer = sent(&folder, path, &HeaderMap::new()).await.unwrap();
            assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/javascript; charset=utf-8");
            let known = HeaderMap::from_iter([(header::IF_NONE_MATCH, answer.headers()[header::ETAG].clone())]);
            assert_eq!(sent(&folder, path, &known).await.unwrap().status(), StatusCode::NOT_MODIFIED);
        }
    }
}
