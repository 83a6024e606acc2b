//! One request to one replica, and what can go wrong.

use super::{
    attempts::Fault,
    body::Upload,
    refusal::Refusal,
    replica::{Link, Replica},
};
use http::{Method, Request, Response};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use std::{sync::atomic::Ordering::Relaxed, time::Duration};
use tokio::time::Instant;

/// Why an attempt brought no answer.
pub enum Failure {
    /// The replica could not be reached; the request is untouched.
    Connect(Request<Upload>, std::io::Error),
    /// The connection was closed before the request went out.
    Unsent(Request<Upload>),
    /// Broken after it went out.
    Broken(hyper::Error),
    Timeout,
}
impl Failure {
    pub fn fault(&self) -> Fault {
        match self {
            Self::Connect(..) => Fault::Connect,
            Self::Unsent(_) => Fault::Unsent,
            Self::Broken(_) => Fault::Broken,
            Self::Timeout => Fault::Timeout,
        }
    }
    /// The request, where nothing of it went out.
    pub fn request(self) -> Option<Request<Upload>> {
        match self {
            Self::Connect(request, _) | Self::Unsent(request) => Some(request),
            Self::Broken(_) | Self::Timeout => None,
        }
    }
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Connect(_, e) => Refusal::unreachable(e),
            Self::Unsent(_) => Refusal::unsent(),
            Self::Broken(e) => Refusal::broken(e),
            Self::Timeout => Refusal::timeout(),
        }
    }
}

/// Which connections a request may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// Any that is open: the request can be sent again.
    Any,
    /// One that was used a moment ago.
    Fresh,
    No,
}

/// Sends a request and waits for the answer to begin.
pub async fn exchange(
    replica: &Replica,
    worker: usize,
    request: Request<Upload>,
    reuse: Reuse,
    timeout: Duration,
) -> Result<(Response<Incoming>, Link), Failure> {
    let reused = if reuse == Reuse::No { None } else { replica.reuse(worker, reuse == Reuse::Any) };
    let mut link = match reused {
        Some(link) => link,
        None => match replica.connect().await {
            Ok(link) => link,
            Err(e) => return Err(Failure::Connect(request, e)),
        },
    };
    let moved = match request.body() {
        Either::Left(_) => None,
        Either::Right(paced) => Some(paced.moved()),
    };
    let begun = Instant::now();
    let mut answer = std::pin::pin!(link.try_send_request(request));
    let mut until = begun + timeout;
    loop {
        match tokio::time::timeout_at(until, &mut answer).await {
            Ok(Ok(response)) => break Ok((response, link)),
            Ok(Err(mut e)) => {
                break Err(match e.take_message() {
                    Some(request) => Failure::Unsent(request),
                    None => Failure::Broken(e.into_error()),
                });
            }
            Err(_) => {
                // A body that is still on its way gives the replica as long again from when it last moved.
                let last = moved.as_ref().map_or(0, |m| m.load(Relaxed));
                let later = begun + Duration::from_millis(last) + timeout;
                if later <= Instant::now() {
                    break Err(Failure::Timeout);
                }
                until = later;
            }
        }
    }
}

/// A copy of a request that may be sent twice: a safe method by HTTP's rules, with a body that is held.
pub fn spare(request: &Request<Upload>) -> Option<Request<Upload>> {
    let m = request.method();
    let repeatable = m.is_idempotent() || request.headers().contains_key("idempotency-key");
    if repeatable && *m != Method::CONNECT { copy(request) } else { None }
}

/// A copy of a request whose body is held.
pub fn copy(request: &Request<Upload>) -> Option<Request<Upload>> {
    let Either::Left(full) = request.body() else { return None };
    let mut copy = Request::new(Either::Left(Full::clone(full)));
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}
