//! Answers that go on: server-sent events and logs.

use super::{
    server::{Failure, Shared, blocking, missing, model_name},
    types::*,
};
use crate::model::*;
use axum::{
    Json,
    body::Body,
    extract::{Path, Query, State},
    http::{HeaderMap, header},
    response::{
        IntoResponse, Response,
        sse::{KeepAlive, Sse},
    },
};
use futures::{Stream, StreamExt};
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

pub(super) async fn events(
    State(api): State<Shared>,
    Query(query): Query<EventsQuery>,
    headers: HeaderMap,
) -> Response {
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
    futures::stream::select(stored.chain(live), traffic(api.clone())).map(Ok)
}

/// A wake-up every few seconds while requests come in, and one after the last: figures have no event of their own, and
/// whoever looks at them should not have to ask. The router is asked only while somebody listens.
fn traffic(api: Shared) -> impl Stream<Item = axum::response::sse::Event> {
    const EVERY: Duration = Duration::from_secs(2);
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + EVERY, EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    futures::stream::unfold((api, ticks, false), |(api, mut ticks, mut before)| async move {
        loop {
            ticks.tick().await;
            let asked = api.clone();
            let busy = blocking(move || Ok(asked.reconciler.ports().target.busy())).await.unwrap_or(false);
            let tell = busy || before;
            before = busy;
            if tell {
                let event = api.reconciler.moved(None);
                return Some((sse(&event), (api, ticks, before)));
            }
        }
    })
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

pub(super) async fn run_log(
    State(api): State<Shared>,
    Path(id): Path<String>,
    Query(query): Query<LogQuery>,
) -> Result<Response, Failure> {
    let id = RunId(id);
    let run = {
        let (api, id) = (api.clone(), id.clone());
        blocking(move || api.reconciler.store().run(&id)?.ok_or_else(|| missing("run", id.0.escape_debug()))).await?
    };
    let path = api.reconciler.ports().trainer.log(&run.id);
    let over = move || {
        let run = api.reconciler.store().run(&id);
        !matches!(run, Ok(Some(Run { status: RunStatus::Running, .. })))
    };
    Ok(log(path, query, over))
}

pub(super) async fn replica_log(
    State(api): State<Shared>,
    Path((name, environment)): Path<(String, String)>,
    Query(query): Query<LogQuery>,
) -> Result<Response, Failure> {
    let (name, environment) = (model_name(&name)?, model_name(&environment)?);
    let what = if query.rejected { "log of a rejected release in" } else { "replica in" };
    let found = api.reconciler.ports().target.log(&environment, &name, query.rejected);
    let path = found.ok_or_else(|| missing(what, &environment))?;
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
