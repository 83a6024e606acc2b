//! `POST /api/v1/import`: a thread of its own brings things in, and tells of each by a line of the answer. Whoever stops reading stops it.

use super::{
    server::{Failure, Shared},
    types::{ImportBody, ImportLogin},
};
use crate::{
    exchange::import::{Import, Wish},
    mlflow::{Login, Remote, check_url},
    model::ImportProgress,
};
use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::StreamExt;
use std::convert::Infallible;
use tokio::sync::mpsc::{Sender, channel};

/// Of the answer's lines.
pub(super) const LINES: &str = "application/x-ndjson";
/// Lines that wait for a slow reader.
const WAITING: usize = 256;
/// How often what reads is asked for.
const TRIES: u32 = 5;

pub(super) async fn import(State(api): State<Shared>, bytes: Bytes) -> Result<Response, Failure> {
    let asked: ImportBody = super::handlers::body(&bytes)?;
    check_url(&asked.url).map_err(|why| Failure(StatusCode::BAD_REQUEST, why))?;
    let (lines, read) = channel(WAITING);
    let started = std::thread::Builder::new().name("import".into()).spawn(move || bring(&api, asked, &lines));
    started.map_err(|e| Failure(StatusCode::INTERNAL_SERVER_ERROR, format!("no thread for the import: {e}")))?;
    let stream = tokio_stream::wrappers::ReceiverStream::new(read).map(Ok::<Bytes, Infallible>);
    Ok(([(header::CONTENT_TYPE, LINES)], Body::from_stream(stream)).into_response())
}

fn bring(api: &Shared, asked: ImportBody, lines: &Sender<Bytes>) {
    let tell = |progress: ImportProgress| {
        let mut line = serde_json::to_vec(&progress).unwrap_or_default();
        line.push(b'\n');
        lines.blocking_send(line.into()).is_ok()
    };
    let login = match asked.login {
        ImportLogin { username: Some(user), password, .. } => {
            Login::Password { user, password: password.unwrap_or_default() }
        }
        ImportLogin { token: Some(token), .. } => Login::Token(token),
        _ => Login::Nobody,
    };
    let wish = Wish { experiments: asked.experiments, models: asked.models, dry_run: asked.dry_run };
    let end = Remote::new(&asked.url, login, TRIES).map_err(Into::into).and_then(|remote| {
        let import = Import::new(&remote, &api.tracker, &*api.artifacts, &wish, &tell);
        let done = import.run();
        if import.replaced() {
            api.reconciler.let_go();
        }
        done
    });
    // Nobody listens any more, perhaps.
    tell(end.map_or_else(|stop| stop.told(), |report| ImportProgress::End { report }));
}
