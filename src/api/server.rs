//! The server: what its handlers are given, how they refuse, and the router made of the one table of routes.

use super::{mlflow, openapi, routes, types::*, webhook};
use crate::{
    model::{
        tracking::{ErrorCode, TrackingError},
        *,
    },
    ports::ArtifactStore,
    reconcile::{Reconciler, SteerError},
    tracking::Tracker,
};
use axum::{
    Json, Router,
    extract::{ConnectInfo, DefaultBodyLimit, FromRequestParts, connect_info::Connected},
    http::{StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    serve::IncomingStream,
};
use std::{path::PathBuf, sync::Arc};
use tokio::net::UnixListener;

/// What the server is given.
#[derive(Clone)]
pub struct Api {
    pub reconciler: Reconciler,
    pub state: PathBuf,
    pub tracker: Tracker,
    pub artifacts: Arc<dyn ArtifactStore>,
    /// Signs addresses that are given out; the token.
    pub key: String,
    /// Secret of webhooks; without one they are refused.
    pub webhook_secret: Option<String>,
}

pub(super) type Shared = Arc<Api>;
pub(super) type Answer<T> = Result<Json<T>, Failure>;

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
            SteerError::Denied(_) => StatusCode::FORBIDDEN,
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

pub(super) fn missing(what: &str, name: impl std::fmt::Display) -> Failure {
    Failure(StatusCode::NOT_FOUND, format!("there is no {what} `{name}`"))
}

pub(super) fn model_name(text: &str) -> Result<Name, Failure> {
    Name::new(text).map_err(|_| missing("model", text.escape_debug()))
}

/// Runs what may block beside the server's own threads.
pub(super) async fn blocking<T: Send + 'static>(
    body: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(body).await;
    done.unwrap_or_else(|e| Err(Failure(StatusCode::INTERNAL_SERVER_ERROR, e.to_string())))
}

/// Who calls: decides what a call may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    /// The daemon's own user, over the unix socket.
    Socket,
    /// Whoever holds the token, over TCP.
    Tcp,
}

/// The user at the other end of the unix socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(Option<u32>);

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self(stream.io().peer_cred().ok().map(|peer| peer.uid()))
    }
}

/// Who calls, as far as the daemon can tell, for records.
pub(super) struct Who(pub String);

impl<S: Sync> FromRequestParts<S> for Who {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut http::request::Parts, _: &S) -> Result<Self, Self::Rejection> {
        let peer = parts.extensions.get::<ConnectInfo<Peer>>().and_then(|info| info.0.0);
        Ok(Self(match (parts.extensions.get::<Caller>(), peer) {
            (Some(Caller::Socket), Some(uid)) => {
                let user = nix::unistd::User::from_uid(uid.into()).ok().flatten();
                user.map_or(format!("uid {uid}"), |user| format!("{} (uid {uid})", user.name))
            }
            (Some(Caller::Socket), None) => "a user of the daemon's machine".into(),
            _ => "a holder of the token".into(),
        }))
    }
}

/// The routes of [`routes::table`], and what they have in common.
pub(super) fn router(api: Api, caller: Caller) -> Router {
    let table = routes::table();
    let document = Arc::new(openapi::document(&table));
    table
        .into_iter()
        .fold(Router::new(), |router, r| router.route(r.path, r.handler))
        .merge(mlflow::router())
        .fallback(|| async {
            Failure(StatusCode::NOT_FOUND, "there is no such page; GET /api/v1/openapi.json lists them".into())
        })
        .layer(DefaultBodyLimit::max(webhook::MAX_BODY))
        .layer(middleware::map_response(worded))
        .layer(axum::Extension(caller))
        .layer(axum::Extension(document))
        .with_state(Arc::new(api))
}

/// MLflow's API alone.
pub(super) fn tracking_router(api: Api) -> Router {
    mlflow::router()
        .fallback(|method: http::Method, uri: http::Uri| async move {
            TrackingError::new(ErrorCode::EndpointNotFound, format!("there is no call {method} {} here", uri.path()))
        })
        .layer(DefaultBodyLimit::max(webhook::MAX_BODY))
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
