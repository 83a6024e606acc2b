//! Answers of the router itself: what is wrong, and what to do.

use super::{
    body::BodyFault,
    proxy::VERSION_HEADER,
    split::{Missing, RouteState},
    table::Lookup,
};
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Bytes;
use std::fmt::Display;

/// An answer of the router itself.
#[derive(Debug)]
pub struct Refusal {
    pub status: StatusCode,
    error: String,
    help: String,
    retry: bool,
    /// The version that was asked.
    pub version: Option<HeaderValue>,
    /// The model, when it has a route.
    pub model: Option<String>,
}

impl Refusal {
    fn new(status: StatusCode, error: impl Into<String>, help: impl Into<String>) -> Self {
        Self { status, error: error.into(), help: help.into(), retry: false, version: None, model: None }
    }
    fn retry(self) -> Self {
        Self { retry: true, ..self }
    }
    fn of(self, model: &str) -> Self {
        Self { model: Some(model.to_owned()), ..self }
    }
    /// A version was asked.
    pub fn by(self, version: HeaderValue) -> Self {
        Self { version: Some(version), ..self }
    }
    pub fn unknown_path(path: &str) -> Self {
        let help = "call /models/NAME/... or /environments/ENV/models/NAME/...; `trimtab status` lists the models";
        Self::new(StatusCode::NOT_FOUND, format!("no model at `{path}`"), help)
    }
    pub fn missing(missing: Missing, whom: Lookup<'_>, route: Option<&RouteState>) -> Self {
        let (model, what) = match whom {
            Lookup::Live { model } => (model, format!("model `{model}`")),
            Lookup::In { environment, model } | Lookup::Preview { environment, model } => {
                (model, format!("model `{model}` in environment `{environment}`"))
            }
        };
        match missing {
            Missing::Route => {
                let help = "`trimtab status` lists the models and where they are deployed";
                Self::new(StatusCode::NOT_FOUND, format!("{what} is not deployed"), help)
            }
            Missing::Replica => {
                let help = "try again; `trimtab status MODEL` says why";
                let error = format!("{what} has no ready replica");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, error, help).of(model).retry()
            }
            Missing::Version(version) => {
                let ready = route.iter().flat_map(|r| &r.releases).filter(|r| !r.replicas.is_empty());
                let mut ready: Vec<_> = ready.map(|r| r.release.version).collect();
                ready.sort_unstable();
                ready.dedup();
                let ready: Vec<String> = ready.iter().map(ToString::to_string).collect();
                let help = format!("leave out the header {VERSION_HEADER}, or ask for one of: {}", ready.join(", "));
                Self::new(StatusCode::NOT_FOUND, format!("{what} has no ready replica of {version}"), help).of(model)
            }
            Missing::Preview => {
                let help = "`trimtab status MODEL` says whether a version waits to be looked at";
                Self::new(StatusCode::NOT_FOUND, format!("{what} has no preview"), help).of(model)
            }
        }
    }
    pub fn not_a_version(given: &HeaderValue) -> Self {
        let error = format!("{VERSION_HEADER}: `{}` names no version", String::from_utf8_lossy(given.as_bytes()));
        Self::new(StatusCode::BAD_REQUEST, error, "versions are written v1, v2, ...")
    }
    pub fn busy(model: &str) -> Self {
        let error = format!("model `{model}` has as many requests as it may work on, and its queue is full");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error, "try again later").of(model).retry()
    }
    pub fn too_large(limit: u64) -> Self {
        let help = "send less, or raise the router's body_limit";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the request body is larger than {limit} bytes"), help)
    }
    pub fn unreachable(e: &std::io::Error) -> Self {
        let help = "try again; `trimtab status MODEL` says why";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, format!("no replica could be reached: {e}"), help).retry()
    }
    pub fn unsent() -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "the replica closes connections", "try again").retry()
    }
    pub fn timeout() -> Self {
        let help = "`trimtab logs MODEL` shows its output";
        Self::new(StatusCode::GATEWAY_TIMEOUT, "the replica did not answer in time", help)
    }
    pub fn unasked_upgrade() -> Self {
        let help = "`trimtab logs MODEL` shows its output";
        Self::new(StatusCode::BAD_GATEWAY, "the replica changed the protocol without being asked", help)
    }
    /// The connection broke: by the client, when its body is the cause.
    pub fn broken(e: &hyper::Error) -> Self {
        let mut source = std::error::Error::source(e);
        while let Some(cause) = source {
            if let Some(fault) = cause.downcast_ref::<BodyFault>() {
                return fault.into();
            }
            source = cause.source();
        }
        Self::broke_off(e)
    }
    /// The replica broke off.
    pub fn broke_off(why: &dyn Display) -> Self {
        let help = "it may have worked on the request; `trimtab logs MODEL` shows its output";
        Self::new(StatusCode::BAD_GATEWAY, format!("the replica broke off before it answered: {why}"), help)
    }
    /// What is said, as JSON.
    pub fn text(&self) -> String {
        serde_json::json!({ "error": self.error, "help": self.help }).to_string()
    }
    /// The whole answer of HTTP/1.1.
    pub fn into_bytes(self, id: &[u8], closes: bool, date: &str) -> Vec<u8> {
        let text = Bytes::from(self.text());
        let response = self.saying(text.clone());
        let status = response.status();
        let mut out = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\ndate: {date}\r\n", text.len()).into_bytes();
        for (name, value) in response.headers() {
            out.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        let connection: &[u8] = if closes { b"connection: close\r\n" } else { b"" };
        out.extend([b"x-request-id: ", id, b"\r\n", connection, b"\r\n", &text].concat());
        out
    }
    pub fn into_response(self) -> Response<Full<Bytes>> {
        let text = Bytes::from(self.text());
        self.saying(text)
    }
    fn saying(self, text: Bytes) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(text));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.retry {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if let Some(version) = self.version {
            headers.insert(VERSION_HEADER, version);
        }
        response
    }
}

impl From<&BodyFault> for Refusal {
    fn from(fault: &BodyFault) -> Self {
        match fault {
            BodyFault::TooLarge(limit) => Self::too_large(*limit),
            BodyFault::Slow => {
                Self::new(StatusCode::REQUEST_TIMEOUT, "the request body did not arrive in time", "send it again")
            }
            BodyFault::Broken(_) => Self::new(StatusCode::BAD_REQUEST, "the request body broke off", "send it again"),
        }
    }
}
