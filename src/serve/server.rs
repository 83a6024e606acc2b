//! HTTP: a thread a core, each with an event loop of its own, over which connections are spread as they come.

use super::{
    Called, Served,
    engine::Engine,
    invocations::{self, Invocation},
    onnx::Model,
    v2,
};
use http::{HeaderMap, Method, Request, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use serde_json::{Value, json};
use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, TcpListener, TcpStream},
    rc::Rc,
    sync::Arc,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    task::LocalSet,
};

/// Bytes of a body, and of all bodies that are under way at once: their tensors take some times as much.
const LARGEST_BODY: usize = 16 << 20;
const ALL_BODIES: usize = 64 << 20;
/// How long a client may take to send its headers, or its body.
const SLOWEST: Duration = Duration::from_secs(75);
/// Requests under way may take this long after SIGTERM; the shim waits for ten seconds.
const LAST_REQUESTS: Duration = Duration::from_secs(8);

/// What all threads see.
struct Shared {
    called: Called,
    model: Arc<Model>,
    /// Bytes of bodies under way.
    held: AtomicUsize,
}

/// Serves at a port of this machine until SIGTERM.
pub fn run(served: Served, port: u16) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    let Served { called, model, batching } = served;
    let shared = Arc::new(Shared { called, model, held: AtomicUsize::new(0) });
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut senders = Vec::with_capacity(threads);
    let mut workers = Vec::with_capacity(threads);
    for i in 0..threads {
        let (sender, connections) = unbounded_channel();
        let shared = shared.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let body = move || {
            let engine = Engine::new(shared.model.clone(), batching);
            LocalSet::new().block_on(&runtime, work(shared, engine, connections));
        };
        workers.push(std::thread::Builder::new().name(format!("serve-{i}")).spawn(body)?);
        senders.push(sender);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let mut term = signal(SignalKind::terminate())?;
        let mut next = senders.iter().cycle();
        loop {
            tokio::select! {
                _ = term.recv() => return Ok::<(), io::Error>(()),
                accepted = listener.accept() => match accepted.and_then(|(stream, _)| stream.into_std()) {
                    Ok(stream) => {
                        // A worker takes connections until its sender is gone.
                        let _ = next.next().map(|worker| worker.send(stream));
                    }
                    Err(e) => {
                        tracing::warn!("a connection cannot be taken: {e}");
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                },
            }
        }
    })?;
    drop(senders);
    for worker in workers {
        worker.join().map_err(|_| io::Error::other("a thread broke off"))?;
    }
    Ok(())
}

async fn work(shared: Arc<Shared>, engine: Rc<Engine>, mut connections: UnboundedReceiver<TcpStream>) {
    let graceful = GracefulShutdown::new();
    while let Some(stream) = connections.recv().await {
        let stream = stream.set_nodelay(true).and_then(|()| tokio::net::TcpStream::from_std(stream));
        let Ok(stream) = stream.inspect_err(|e| tracing::warn!("a connection broke off: {e}")) else { continue };
        let (shared, engine) = (shared.clone(), engine.clone());
        let service = service_fn(move |request| {
            let (shared, engine) = (shared.clone(), engine.clone());
            async move { Ok::<_, Infallible>(answer(&shared, &engine, request).await) }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(SLOWEST).pipeline_flush(true).half_close(true);
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::task::spawn_local(async move {
            // Clients go away.
            let _ = connection.await;
        });
    }
    // What still runs then is cut off.
    let _ = tokio::time::timeout(LAST_REQUESTS, graceful.shutdown()).await;
}

type Answer = Response<Full<Bytes>>;

/// An error, in the words of the protocol in which was asked.
struct Refused(StatusCode, String);

impl Refused {
    fn bad(e: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, e.into())
    }
}

fn reply(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

const JSON: &str = "application/json";

fn document(status: StatusCode, body: &Value) -> Answer {
    reply(status, JSON, body.to_string())
}

async fn answer(shared: &Shared, engine: &Rc<Engine>, request: Request<Incoming>) -> Answer {
    let (head, mut incoming) = request.into_parts();
    let old = head.uri.path() == "/invocations";
    let answered = match old {
        true => invocation(shared, engine, &head, &mut incoming).await,
        false => route(shared, engine, &head, &mut incoming).await,
    };
    match answered {
        Ok(answer) => answer,
        Err(Refused(status, message)) => {
            discard(incoming).await;
            let code = if status.is_client_error() { "BAD_REQUEST" } else { "INTERNAL_ERROR" };
            let body =
                if old { json!({ "error_code": code, "message": message }) } else { json!({ "error": message }) };
            document(status, &body)
        }
    }
}

/// Reads what is left of a body, within reason: a client that still writes would be cut off before it reads its answer.
async fn discard(mut body: Incoming) {
    let all = async {
        let mut left = ALL_BODIES;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                break;
            }
        }
    };
    // A client that takes longer has its answer all the same, if it is still there.
    let _ = tokio::time::timeout(SLOWEST, all).await;
}

async fn route(shared: &Shared, engine: &Rc<Engine>, head: &Parts, incoming: &mut Incoming) -> Result<Answer, Refused> {
    let path = head.uri.path();
    let ok = |body: Value| Ok(document(StatusCode::OK, &body));
    let rest = match path {
        "/v2/health/live" => return ok(json!({ "live": true })),
        // Only one that was warmed up listens.
        "/v2/health/ready" => return ok(json!({ "ready": true })),
        "/v2" | "/v2/" => return ok(v2::server()),
        "/ping" | "/health" => return Ok(reply(StatusCode::OK, JSON, "\n")),
        "/version" => return Ok(reply(StatusCode::OK, "text/plain", env!("CARGO_PKG_VERSION"))),
        _ => path.strip_prefix("/v2/models/"),
    };
    let unknown = || Refused(StatusCode::NOT_FOUND, format!("there is nothing at {path}"));
    let mut parts = rest.ok_or_else(unknown)?.split('/');
    let name = parts.next().unwrap_or_default();
    let called = &shared.called;
    if name != called.name {
        return Err(Refused(StatusCode::NOT_FOUND, format!("there is no model `{name}` here, but `{}`", called.name)));
    }
    let mut verb = parts.next();
    if verb == Some("versions") {
        let version = parts.next().unwrap_or_default();
        if version != called.version && Some(version) != called.version.strip_prefix('v') {
            return Err(Refused(
                StatusCode::NOT_FOUND,
                format!("there is no version `{version}` here, but {}", called.version),
            ));
        }
        verb = parts.next();
    }
    if parts.next().is_some() {
        return Err(unknown());
    }
    match (verb.unwrap_or_default(), &head.method) {
        ("", &Method::GET) => ok(v2::metadata(called, &shared.model)),
        ("ready", &Method::GET) => ok(json!({ "name": called.name, "ready": true })),
        ("infer", &Method::POST) => {
            if head.headers.contains_key("inference-header-content-length") {
                return Err(Refused::bad("tensors are taken as JSON, not in binary form"));
            }
            let (_held, body) = body(shared, &head.headers, incoming).await?;
            let mut infer = v2::read(&shared.model, &body).map_err(Refused::bad)?;
            let results = engine.infer(std::mem::take(&mut infer.inputs)).await.map_err(Refused::bad)?;
            Ok(reply(StatusCode::OK, JSON, infer.reply(called, &shared.model, &results)))
        }
        ("" | "ready" | "infer", method) => {
            Err(Refused(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not for {path}")))
        }
        _ => Err(unknown()),
    }
}

async fn invocation(
    shared: &Shared,
    engine: &Rc<Engine>,
    head: &Parts,
    incoming: &mut Incoming,
) -> Result<Answer, Refused> {
    if head.method != Method::POST {
        return Err(Refused(StatusCode::METHOD_NOT_ALLOWED, "call it with POST".into()));
    }
    let read: fn(&Model, &[u8]) -> Result<Invocation, String> = match content_type(&head.headers).as_deref() {
        Some(JSON) => invocations::read,
        Some("text/csv") => invocations::read_csv,
        other => {
            let found = other.unwrap_or("nothing");
            let message = format!("the content type must be application/json or text/csv, in UTF-8, not {found}");
            return Err(Refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
    };
    let (_held, body) = body(shared, &head.headers, incoming).await?;
    let mut invocation = read(&shared.model, &body).map_err(Refused::bad)?;
    let results = engine.infer(std::mem::take(&mut invocation.inputs)).await.map_err(Refused::bad)?;
    Ok(reply(StatusCode::OK, JSON, invocation.reply(&shared.model, &results).map_err(Refused::bad)?))
}

/// Without its parameters; whole when they name another character set.
fn content_type(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::CONTENT_TYPE)?.to_str().ok()?.to_ascii_lowercase();
    let (kind, parameters) = text.split_once(';').unwrap_or((&text, ""));
    let foreign = parameters.split_once("charset=").is_some_and(|(_, set)| set.trim().trim_matches('"') != "utf-8");
    Some(if foreign { text } else { kind.trim().to_owned() })
}

/// Bytes that count among [`ALL_BODIES`] until the request is answered.
struct Held<'a>(&'a AtomicUsize, usize);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

async fn body<'a>(
    shared: &'a Shared,
    headers: &HeaderMap,
    incoming: &mut Incoming,
) -> Result<(Held<'a>, Bytes), Refused> {
    let too_large = || Refused(StatusCode::PAYLOAD_TOO_LARGE, format!("a body may have {} MiB", LARGEST_BODY >> 20));
    let length = headers.get(header::CONTENT_LENGTH).and_then(|l| l.to_str().ok()?.parse::<usize>().ok());
    // One that does not say how long it is may become as long as any.
    let length = length.unwrap_or(LARGEST_BODY);
    if length > LARGEST_BODY {
        return Err(too_large());
    }
    let before = shared.held.fetch_add(length, Ordering::Relaxed);
    let held = Held(&shared.held, length);
    if before > 0 && before + length > ALL_BODIES {
        return Err(Refused(StatusCode::SERVICE_UNAVAILABLE, "too many large requests are under way".into()));
    }
    let whole = tokio::time::timeout(SLOWEST, Limited::new(incoming, LARGEST_BODY).collect()).await;
    match whole {
        Ok(Ok(whole)) => Ok((held, whole.to_bytes())),
        Ok(Err(e)) if e.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Refused::bad("the body broke off")),
        Err(_) => Err(Refused(StatusCode::REQUEST_TIMEOUT, "the body did not come in time".into())),
    }
}
