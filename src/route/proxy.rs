//! The way of one request: path to route, route to replica, and the answer back.

use super::{
    access::{Access, Line},
    answer::{Download, Held},
    attempts::Attempts,
    body::{HELD, Paced, Upload},
    exchange::{Failure, copy, exchange, spare},
    gate::{Full as QueueFull, Ticket},
    heads::{self, Caller, Key, REQUEST_ID},
    refusal::Refusal,
    shadow::{self, Tee},
    split::{Choice, Lease, Missing, RouteState},
    table::{Lookup, Table},
    tunnel::{self, Tunnel},
};
use crate::{model::VersionNumber, ports::Clock, process::SystemClock};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version, header, request::Parts};
use http_body_util::{Either, Full};
use hyper::{
    body::{Body, Bytes, Incoming},
    upgrade::OnUpgrade,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio_util::task::TaskTracker;

/// What is sent to a client.
pub type Answer = Either<Full<Bytes>, Download>;

/// Names the version that answers; in a request, where the route honours it, the one that is to answer.
pub const VERSION_HEADER: HeaderName = HeaderName::from_static("x-trimtab-version");

/// A request of the access log, before its answer.
pub struct Noted {
    line: Line,
    begun: Instant,
}

/// What every request needs.
pub struct Proxy {
    pub table: Arc<Table>,
    pub body_limit: u64,
    pub timeout: Duration,
    /// How long a client may pause while it sends a body.
    pub stall: Duration,
    pub access: Option<Access>,
    pub clock: SystemClock,
    /// Set once the router leaves: every answer then closes its connection.
    pub leaving: AtomicBool,
    /// Connections, and what outlives them.
    pub tasks: TaskTracker,
}

/// What is known of a request from its head.
struct Plan<'a> {
    whom: Lookup<'a>,
    /// What follows the model's name.
    rest: &'a str,
    prefix: &'a str,
    route: Arc<RouteState>,
    choice: Choice,
    /// To be set by the answer.
    cookie: Option<HeaderValue>,
}

impl Proxy {
    /// Answers one request.
    pub async fn handle(&self, caller: &Caller, request: Request<Incoming>) -> Response<Answer> {
        let id = caller.request_id(request.headers());
        let closes = request.version() < Version::HTTP_2;
        let noted =
            self.noted(|| (text(id.as_bytes()), caller, request.method().to_string(), request.uri().path().to_owned()));
        let mut response = match self.forward(caller, request, &id).await {
            Ok(response) => response,
            Err(refusal) => {
                if refusal.version.is_none() {
                    self.table.meters().refused(refusal.model.as_deref().unwrap_or_default(), refusal.status);
                }
                refusal.into_response().map(Either::Left)
            }
        };
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, id);
        if closes && self.leaving.load(Ordering::Relaxed) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        self.note(noted, response.status(), response.headers().get(VERSION_HEADER));
        response
    }

    /// Now, as HTTP writes it.
    pub fn date(&self) -> String {
        let since = Duration::from_millis(u64::try_from(self.clock.now().wall.0).unwrap_or_default());
        httpdate::fmt_http_date(std::time::UNIX_EPOCH + since)
    }

    /// What the access log says of a request, if it is one of the sample: its id, who sent it, its method and path.
    pub fn noted<'c>(&self, of: impl FnOnce() -> (String, &'c Caller, String, String)) -> Option<Box<Noted>> {
        self.access.as_ref().filter(|a| a.is_noted())?;
        let (id, caller, method, path) = of();
        let peer = text(caller.peer.as_bytes());
        let line = Line { id, peer, method, path, status: 0, version: None, ms: 0.0 };
        Some(Box::new(Noted { line, begun: Instant::now() }))
    }

    /// The answer to such a request began.
    pub fn note(&self, noted: Option<Box<Noted>>, status: StatusCode, version: Option<&HeaderValue>) {
        let Some((noted, access)) = noted.zip(self.access.as_ref()) else { return };
        let Noted { line, begun } = *noted;
        let version = version.map(|v| text(v.as_bytes()));
        access.note(Line { status: status.as_u16(), version, ms: begun.elapsed().as_secs_f64() * 1000.0, ..line });
    }

    async fn forward(
        &self,
        caller: &Caller,
        mut request: Request<Incoming>,
        id: &HeaderValue,
    ) -> Result<Response<Answer>, Refusal> {
        let upgrade = (request.version() == Version::HTTP_11 && heads::wants_upgrade(request.headers()))
            .then(|| hyper::upgrade::on(&mut request));
        let (mut parts, body) = request.into_parts();
        let uri = std::mem::take(&mut parts.uri);
        let size = body.size_hint();
        let body = Paced::new(body, self.body_limit, self.stall);
        if size.lower() > self.body_limit {
            return Err(Refusal::too_large(self.body_limit));
        }
        let plan = self.plan(&parts.headers, &uri)?;
        parts.uri = heads::local_uri(&uri, plan.rest).ok_or_else(|| Refusal::unknown_path(uri.path()))?;
        self.rewrite(&mut parts, caller, &uri, &plan, id, upgrade.is_some());
        // Held now, so that no drained replica is picked later for a body that came slowly.
        let body = match size.upper() {
            Some(0) => Either::Left(Full::default()),
            Some(n) if n <= HELD => Either::Left(Full::new(body.held().await.map_err(|e| Refusal::from(&e))?)),
            _ => Either::Right(body),
        };
        let ticket = self.admit(&plan).await?;
        let cookie = plan.cookie.clone();
        let mut response = self.attempts(caller, Request::from_parts(parts, body), plan, ticket, upgrade).await?;
        if let Some(cookie) = cookie {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
        Ok(response)
    }

    /// Finds the route, and how it chooses.
    fn plan<'a>(&self, headers: &HeaderMap, uri: &'a Uri) -> Result<Plan<'a>, Refusal> {
        let path = uri.path();
        let (whom, rest) = heads::parse(path).ok_or_else(|| Refusal::unknown_path(path))?;
        let route = self.table.find(whom).ok_or_else(|| Refusal::missing(Missing::Route, whom, None))?;
        let prefix = &path[..path.len() - rest.len()];
        let (mut choice, mut cookie) = (Choice::Weight, None);
        if matches!(whom, Lookup::Preview { .. }) {
            choice = Choice::Preview;
        } else if let Some(given) = headers.get(VERSION_HEADER).filter(|_| route.config.forced) {
            choice = Choice::Version(version(given).ok_or_else(|| Refusal::not_a_version(given))?);
        } else if let Some(sticky) = &route.config.sticky {
            match heads::sticky_key(sticky, headers, prefix) {
                Some(Key::Found(key)) => choice = route.key(key),
                Some(Key::Made(set, key)) => (choice, cookie) = (route.key(key.as_bytes()), Some(set)),
                None => {}
            }
        }
        Ok(Plan { whom, rest, prefix, route, choice, cookie })
    }

    /// The head as the replica sees it.
    fn rewrite(&self, parts: &mut Parts, caller: &Caller, uri: &Uri, plan: &Plan<'_>, id: &HeaderValue, upgrade: bool) {
        parts.version = Version::HTTP_11;
        let protocol = parts.headers.get(header::UPGRADE).filter(|_| upgrade).cloned();
        heads::strip(&mut parts.headers);
        parts.headers.remove(header::EXPECT);
        let authority = uri.authority().map(|a| a.as_str());
        heads::forwarded(&mut parts.headers, &caller.peer, plan.prefix, authority);
        parts.headers.insert(REQUEST_ID, id.clone());
        if let Some(protocol) = protocol {
            tunnel::ask(&mut parts.headers, protocol);
        }
    }

    /// Waits for a place among the requests that the model works on, where that is limited.
    async fn admit(&self, plan: &Plan<'_>) -> Result<Option<Ticket>, Refusal> {
        let Some(limit) = plan.route.config.limit else { return Ok(None) };
        let busy = || Refusal::busy(plan.route.config.model.as_str());
        match plan.route.gate.enter(limit) {
            Ok(Ok(ticket)) => Ok(Some(ticket)),
            Ok(Err(place)) => match tokio::time::timeout(self.timeout_of(&plan.route), place).await {
                Ok(Ok(ticket)) => Ok(Some(ticket)),
                _ => Err(busy()),
            },
            Err(QueueFull) => Err(busy()),
        }
    }

    /// How long a replica may take until it begins its answer.
    pub fn timeout_of(&self, route: &RouteState) -> Duration {
        route.config.timeout_ms.map_or(self.timeout, Duration::from_millis)
    }

    async fn attempts(
        &self,
        caller: &Caller,
        mut request: Request<Upload>,
        plan: Plan<'_>,
        ticket: Option<Ticket>,
        upgrade: Option<OnUpgrade>,
    ) -> Result<Response<Answer>, Refusal> {
        let Plan { whom, mut route, choice, .. } = plan;
        let (spare, timeout) = (spare(&request), self.timeout_of(&route));
        let shadowed = matches!(choice, Choice::Weight | Choice::Key(_)) && upgrade.is_none() && route.is_copied();
        let mut tee: Option<Tee> = None;
        let mut attempts = Attempts::new(spare.is_some());
        loop {
            let begun = Instant::now();
            let lease = self.table.lease(&mut route, choice, attempts.tried(), self.table.ms_at(begun));
            let lease = lease.map_err(|missing| Refusal::missing(missing, whom, Some(&route)))?;
            if shadowed
                && attempts.is_first()
                && route.config.shadow.is_some_and(|s| s.release != lease.release.release)
            {
                tee = shadow::send(&self.table, &route, caller.worker, copy(&request), timeout);
            }
            let waits = lease.release.stats.waits(caller.worker, begun);
            let exchanged = exchange(&lease.replica, caller.worker, request, attempts.reuse(), timeout).await;
            drop(waits);
            let failure = match exchanged {
                Ok((response, link)) => {
                    self.record(&lease, caller.worker, begun, response.status());
                    let held = Held { lease, _ticket: ticket, table: self.table.clone(), worker: caller.worker };
                    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                        return tunnel::open(&self.tasks, response, Tunnel { client: upgrade, held, link });
                    }
                    let (mut parts, body) = response.into_parts();
                    parts.version = Version::HTTP_11;
                    heads::strip(&mut parts.headers);
                    parts.headers.insert(VERSION_HEADER, held.lease.release.header.clone());
                    if let Some(tee) = &mut tee {
                        tee.begin(parts.status);
                    }
                    return Ok(Response::from_parts(parts, Either::Right(Download::new(body, held, link, tee))));
                }
                Err(failure) => failure,
            };
            if let Failure::Connect(_, e) = &failure {
                tracing::debug!("replica {}: {e}", lease.replica.address);
            }
            let refusal = failure.refusal();
            let again = attempts.again(failure.fault(), refusal.status, (&self.table, caller.worker), &lease, begun);
            request = match failure.request().or_else(|| copy(spare.as_ref()?)).filter(|_| again) {
                Some(request) => request,
                None => return Err(refusal.by(lease.release.header.clone())),
            };
        }
    }

    /// An answer began.
    pub fn record(&self, lease: &Lease, worker: usize, begun: Instant, status: StatusCode) {
        let now = Instant::now();
        let (took, now_ms) = (now.saturating_duration_since(begun), self.table.ms_at(now));
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let (release, failed) = (&lease.release, status.is_server_error());
        release.meter.record(status, took);
        release.stats.record(worker, now_ms, micros, failed);
        if lease.stands_in {
            release.stats.stood_in(worker, now_ms);
            release.meter.stood_in();
        }
        if failed {
            release.failed(&lease.replica, now_ms);
        } else {
            lease.replica.succeeded();
        }
    }
}

/// `v7`
fn version(given: &HeaderValue) -> Option<VersionNumber> {
    given.to_str().ok()?.trim().strip_prefix('v')?.parse().ok().map(VersionNumber)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
