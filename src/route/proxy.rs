//! The way of one request: path to route, route to replica, and the answer back.

use super::table::{Lease, Lookup, Missing, Table};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited};
use hyper::{
    body::{Body, Bytes, Frame, Incoming, SizeHint},
    client::conn::http1::SendRequest,
};
use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

/// What is sent to a replica.
pub type Upload = Either<Full<Bytes>, Limited<Incoming>>;
/// What is sent to a client.
pub type Answer = Either<Full<Bytes>, Download>;

/// Bodies up to this size are held, so that a request can be sent again.
const HELD: u64 = 64 << 10;
const ATTEMPTS: usize = 4;
static VERSION_HEADER: HeaderName = HeaderName::from_static("x-trimtab-version");
/// Headers that belong to one connection (RFC 9110, 7.6.1).
static HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// What every request needs.
pub struct Proxy {
    pub table: Arc<Table>,
    pub body_limit: u64,
    pub timeout: Duration,
    /// Set once the router leaves: every answer then closes its connection.
    pub leaving: AtomicBool,
}

/// A path that leads to a model: `prefix` is taken off before the replica sees it.
fn parse(path: &str) -> Option<(Lookup<'_>, &str)> {
    let split = |s: &str| s.find('/').unwrap_or(s.len());
    let (whom, rest) = if let Some(tail) = path.strip_prefix("/models/") {
        let end = split(tail);
        (Lookup::Live { model: &tail[..end] }, &tail[end..])
    } else {
        let tail = path.strip_prefix("/environments/")?;
        let (environment, tail) = tail.split_at(split(tail));
        let tail = tail.strip_prefix("/models/")?;
        let end = split(tail);
        (Lookup::In { environment, model: &tail[..end] }, &tail[end..])
    };
    Some((whom, rest))
}

/// Why an attempt brought no answer.
enum Failure {
    /// The replica could not be reached; the request is untouched.
    Connect(Request<Upload>, std::io::Error),
    /// The connection was closed before the request went out.
    Unsent(Request<Upload>),
    /// Broken after it went out.
    Broken(hyper::Error),
    Timeout,
}

impl Proxy {
    /// Answers one request.
    pub async fn handle(&self, peer: SocketAddr, request: Request<Incoming>) -> Response<Answer> {
        let mut response = match self.forward(peer, request).await {
            Ok(response) => response,
            Err(refusal) => {
                if refusal.version.is_none() {
                    self.table.meters().refused(refusal.model.as_deref().unwrap_or_default(), refusal.status);
                }
                refusal.into_response()
            }
        };
        if self.leaving.load(Ordering::Relaxed) {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn forward(&self, peer: SocketAddr, request: Request<Incoming>) -> Result<Response<Answer>, Refusal> {
        let uri = request.uri().clone();
        let (whom, rest) = parse(uri.path()).ok_or_else(|| Refusal::unknown_path(uri.path()))?;
        // Held now, so that no drained replica is picked later for a body that came slowly.
        let mut request = self.prepare(peer, request, &uri, rest).await?;
        let spare = spare(&request);
        let mut tried = vec![];
        let mut fresh_only = false;
        for attempt in 1.. {
            let lease = self.table.lease(whom, &tried).map_err(|missing| Refusal::missing(missing, whom))?;
            let last = attempt == ATTEMPTS;
            let begun = Instant::now();
            let failure = match self.attempt(&lease, request, fresh_only, spare.is_some()).await {
                Ok((response, sender)) => return Ok(self.answer(lease, begun, response, sender)),
                Err(failure) => failure,
            };
            let refusal = Refusal::failed(&failure);
            request = match (failure, spare.as_ref()) {
                (Failure::Connect(request, e), _) if !last => {
                    tracing::debug!("replica {}: {e}", lease.replica.address);
                    lease.replica.suspect(self.table.now_ms());
                    tried.push(lease.replica.address);
                    request
                }
                (Failure::Unsent(request), _) if !last => request,
                (Failure::Broken(_), Some(spare)) if !last => copy(spare),
                _ => {
                    let took = begun.elapsed();
                    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                    lease.meter.record(refusal.status, took);
                    if !refusal.clients_fault() {
                        lease.stats.record(self.table.now_ms(), micros, true);
                    }
                    return Err(Refusal { version: Some(lease.version.clone()), ..refusal });
                }
            };
            fresh_only = true;
        }
        Err(Refusal::missing(Missing::Replica, whom))
    }

    /// The request as the replica sees it.
    async fn prepare(
        &self,
        peer: SocketAddr,
        request: Request<Incoming>,
        uri: &Uri,
        rest: &str,
    ) -> Result<Request<Upload>, Refusal> {
        let (mut parts, body) = request.into_parts();
        let path = match uri.query() {
            _ if rest.is_empty() && uri.query().is_none() => "/".to_owned(),
            Some(query) => format!("{}?{query}", if rest.is_empty() { "/" } else { rest }),
            None => rest.to_owned(),
        };
        let prefix = &uri.path()[..uri.path().len() - rest.len()];
        parts.uri = path.parse().map_err(|_| Refusal::unknown_path(uri.path()))?;
        parts.version = Version::HTTP_11;
        strip(&mut parts.headers);
        parts.headers.remove(header::EXPECT);
        forwarded(&mut parts.headers, peer, prefix);
        let size = body.size_hint();
        if size.lower() > self.body_limit {
            discard(body).await;
            return Err(Refusal::too_large(self.body_limit));
        }
        let body = if size.upper().is_some_and(|n| n <= HELD) {
            let bytes = tokio::time::timeout(self.timeout, body.collect()).await;
            let bytes = bytes.map_err(|_| Refusal::slow_client())?.map_err(|_| Refusal::broken_client())?;
            Either::Left(Full::new(bytes.to_bytes()))
        } else {
            Either::Right(Limited::new(body, usize::try_from(self.body_limit).unwrap_or(usize::MAX)))
        };
        Ok(Request::from_parts(parts, body))
    }

    async fn attempt(
        &self,
        lease: &Lease,
        request: Request<Upload>,
        fresh_only: bool,
        repeatable: bool,
    ) -> Result<(Response<Incoming>, SendRequest<Upload>), Failure> {
        let reused = if fresh_only { None } else { lease.replica.reuse(repeatable) };
        let mut sender = match reused {
            Some(sender) => sender,
            None => match lease.replica.connect().await {
                Ok(sender) => sender,
                Err(e) => return Err(Failure::Connect(request, e)),
            },
        };
        match tokio::time::timeout(self.timeout, sender.try_send_request(request)).await {
            Ok(Ok(response)) => Ok((response, sender)),
            Ok(Err(mut e)) => Err(match e.take_message() {
                Some(request) => Failure::Unsent(request),
                None => Failure::Broken(e.into_error()),
            }),
            Err(_) => Err(Failure::Timeout),
        }
    }

    fn answer(
        &self,
        lease: Lease,
        begun: Instant,
        response: Response<Incoming>,
        sender: SendRequest<Upload>,
    ) -> Response<Answer> {
        let took = begun.elapsed();
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        lease.meter.record(response.status(), took);
        lease.stats.record(self.table.now_ms(), micros, response.status().is_server_error());
        let (mut parts, body) = response.into_parts();
        parts.version = Version::HTTP_11;
        strip(&mut parts.headers);
        parts.headers.insert(VERSION_HEADER.clone(), lease.version.clone());
        let table = self.table.clone();
        let mut download = Download { inner: body, held: Some((lease, sender, table)) };
        if download.inner.is_end_stream() {
            download.finish();
        }
        Response::from_parts(parts, Either::Right(download))
    }
}

/// A copy of a request that may be sent twice: a safe method by HTTP's rules, with a body that is held.
fn spare(request: &Request<Upload>) -> Option<Request<Upload>> {
    let m = request.method();
    let repeatable = m.is_idempotent() || request.headers().contains_key("idempotency-key");
    (repeatable && matches!(request.body(), Either::Left(_)) && *m != Method::CONNECT).then(|| copy(request))
}
fn copy(request: &Request<Upload>) -> Request<Upload> {
    let body = match request.body() {
        Either::Left(full) => Either::Left(full.clone()),
        // Never reached: only held bodies are copied. An empty body keeps this total.
        Either::Right(_) => Either::Left(Full::default()),
    };
    let mut copy = Request::new(body);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// Reads on for a moment: a client that is still sending when the connection closes would never see the answer.
async fn discard(mut body: Incoming) {
    let all = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = tokio::time::timeout(Duration::from_millis(500), all).await;
}

fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .filter_map(|n| n.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

fn forwarded(headers: &mut HeaderMap, peer: SocketAddr, prefix: &str) {
    let peer = peer.ip().to_string();
    let chain = match headers.get("x-forwarded-for").and_then(|v| v.to_str().ok()) {
        Some(before) => format!("{before}, {peer}"),
        None => peer,
    };
    let host = headers.get(header::HOST).cloned();
    let mut set = |name: &'static str, value: Option<HeaderValue>| {
        if let Some(value) = value {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    set("x-forwarded-for", HeaderValue::from_str(&chain).ok());
    set("x-forwarded-proto", Some(HeaderValue::from_static("http")));
    set("x-forwarded-host", host);
    set("x-forwarded-prefix", HeaderValue::from_str(prefix).ok());
}

/// An answer on its way. Holds the replica's count until the last byte, then gives the connection back.
pub struct Download {
    inner: Incoming,
    held: Option<(Lease, SendRequest<Upload>, Arc<Table>)>,
}
impl Download {
    fn finish(&mut self) {
        if let Some((lease, sender, _)) = self.held.take() {
            lease.replica.give_back(sender);
        }
    }
}
impl Body for Download {
    type Data = Bytes;
    type Error = hyper::Error;
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(cx);
        match &frame {
            Poll::Ready(None) => self.finish(),
            Poll::Ready(Some(Err(_))) => {
                if let Some((lease, _, table)) = self.held.take() {
                    lease.stats.broke_off(table.now_ms());
                }
            }
            Poll::Ready(Some(Ok(_))) if self.inner.is_end_stream() => self.finish(),
            _ => {}
        }
        frame
    }
    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// An answer of the router itself.
struct Refusal {
    status: StatusCode,
    error: String,
    help: &'static str,
    retry: bool,
    version: Option<HeaderValue>,
    /// The model, when it has a route.
    model: Option<String>,
}
impl Refusal {
    fn new(status: StatusCode, error: impl Into<String>, help: &'static str) -> Self {
        Self { status, error: error.into(), help, retry: false, version: None, model: None }
    }
    fn unknown_path(path: &str) -> Self {
        let help = "call /models/NAME/... or /environments/ENV/models/NAME/...; `trimtab status` lists the models";
        Self::new(StatusCode::NOT_FOUND, format!("no model at `{path}`"), help)
    }
    fn missing(missing: Missing, whom: Lookup<'_>) -> Self {
        let (name, what) = match whom {
            Lookup::Live { model } => (model, format!("model `{model}`")),
            Lookup::In { environment, model } => (model, format!("model `{model}` in environment `{environment}`")),
        };
        match missing {
            Missing::Route => Self::new(
                StatusCode::NOT_FOUND,
                format!("{what} is not deployed"),
                "`trimtab status` lists the models and where they are deployed",
            ),
            Missing::Replica => Self {
                retry: true,
                model: Some(name.to_owned()),
                ..Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    format!("{what} has no ready replica"),
                    "try again; `trimtab status MODEL` says why",
                )
            },
        }
    }
    fn too_large(limit: u64) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the request body is larger than {limit} bytes"),
            "send less, or raise the router's body_limit",
        )
    }
    fn slow_client() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "the request body did not arrive in time", "send it again")
    }
    fn broken_client() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "the request body broke off", "send it again")
    }
    fn failed(failure: &Failure) -> Self {
        match failure {
            Failure::Connect(_, e) => Self {
                retry: true,
                ..Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    format!("no replica could be reached: {e}"),
                    "try again; `trimtab status MODEL` says why",
                )
            },
            Failure::Unsent(_) => Self {
                retry: true,
                ..Self::new(StatusCode::BAD_GATEWAY, "the replica closes connections", "try again")
            },
            Failure::Broken(e) if is_too_large(e) => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "the request body is too large", "send less")
            }
            Failure::Broken(e) if e.is_user() => Self::broken_client(),
            Failure::Broken(e) => Self::new(
                StatusCode::BAD_GATEWAY,
                format!("the replica broke off before it answered: {e}"),
                "it may have worked on the request; `trimtab logs MODEL` shows its output",
            ),
            Failure::Timeout => Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                "the replica did not answer in time",
                "`trimtab logs MODEL` shows its output",
            ),
        }
    }
    fn clients_fault(&self) -> bool {
        self.status.is_client_error()
    }
    fn into_response(self) -> Response<Answer> {
        let json = serde_json::json!({ "error": self.error, "help": self.help }).to_string();
        let mut response = Response::new(Either::Left(Full::new(Bytes::from(json))));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.retry {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if let Some(version) = self.version {
            headers.insert(VERSION_HEADER.clone(), version);
        }
        response
    }
}

fn is_too_large(e: &hyper::Error) -> bool {
    let mut source = std::error::Error::source(e);
    while let Some(e) = source {
        if e.is::<LengthLimitError>() {
            return true;
        }
        source = e.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_models() {
        assert_eq!(parse("/models/a/predict/x"), Some((Lookup::Live { model: "a" }, "/predict/x")));
        assert_eq!(parse("/models/a"), Some((Lookup::Live { model: "a" }, "")));
        let staged = Lookup::In { environment: "e", model: "a" };
        assert_eq!(parse("/environments/e/models/a/"), Some((staged, "/")));
        for other in ["/", "/model/a", "/environments/e/a", "/environments/e", ""] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn headers_of_the_connection_are_taken_off() {
        let mut h = HeaderMap::new();
        for (name, value) in [("connection", "close, X-Mine"), ("x-mine", "1"), ("te", "trailers"), ("accept", "*/*")] {
            h.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        strip(&mut h);
        assert_eq!(h.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
        h.insert("x-forwarded-for", HeaderValue::from_static("10.0.0.1"));
        forwarded(&mut h, SocketAddr::from(([127, 0, 0, 1], 5)), "/models/a");
        assert_eq!(h.get("x-forwarded-for").and_then(|v| v.to_str().ok()), Some("10.0.0.1, 127.0.0.1"));
        assert_eq!(h.get("x-forwarded-prefix").and_then(|v| v.to_str().ok()), Some("/models/a"));
    }
}
