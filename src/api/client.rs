//! Asks a daemon, over its unix socket or over TCP with a token.

use super::types::ErrorBody;
use crate::model::Event;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use std::{path::PathBuf, pin::Pin, time::Duration};

/// Why a call gave no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no daemon answers at {0}: start one with `trimtab daemon`, or say where it is with --state or --api")]
    Unreachable(String),
    /// 401 or 403.
    #[error("{0}")]
    Denied(String),
    /// 404.
    #[error("{0}")]
    NotFound(String),
    /// Any other refusal.
    #[error("{0}")]
    Refused(String),
    /// The answer is not what this version knows.
    #[error("the daemon's answer cannot be read: {0}")]
    Unreadable(String),
}

/// Where the daemon is.
#[derive(Debug, Clone)]
pub enum Endpoint {
    Socket(PathBuf),
    Http { url: String, token: Option<String> },
}

/// A daemon's API.
#[derive(Debug, Clone)]
pub struct Client {
    endpoint: Endpoint,
}

type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, ClientError>> + Send>>;

impl Client {
    /// Asks nothing yet.
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint }
    }

    fn name(&self) -> String {
        match &self.endpoint {
            Endpoint::Socket(path) => path.display().to_string(),
            Endpoint::Http { url, .. } => url.clone(),
        }
    }

    /// `GET`, as JSON.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.json("GET", path, Vec::new()).await
    }

    /// `POST` with a JSON body.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        let bytes = serde_json::to_vec(body).map_err(|e| ClientError::Unreadable(e.to_string()))?;
        self.json("POST", path, bytes).await
    }

    /// One whole answer. What only reads is answered at once; what acts may take snapshots of data or talk to a remote first.
    async fn json<T: DeserializeOwned>(&self, method: &str, path: &str, body: Vec<u8>) -> Result<T, ClientError> {
        let limit = Duration::from_secs(if method == "GET" { 30 } else { 3_600 });
        let silent = || ClientError::Unreachable(format!("{} (no answer within {} s)", self.name(), limit.as_secs()));
        tokio::time::timeout(limit, self.whole(method, path, body)).await.unwrap_or_else(|_| Err(silent()))
    }

    async fn whole<T: DeserializeOwned>(&self, method: &str, path: &str, body: Vec<u8>) -> Result<T, ClientError> {
        let mut chunks = self.send(method, path, body, None).await?;
        let mut all = Vec::new();
        while let Some(chunk) = chunks.next().await {
            all.extend_from_slice(&chunk?);
        }
        serde_json::from_slice(&all).map_err(|e| ClientError::Unreadable(e.to_string()))
    }

    /// A plain answer, piece by piece.
    pub async fn stream(&self, path: &str) -> Result<Chunks, ClientError> {
        self.send("GET", path, Vec::new(), None).await
    }

    /// `POST` with a JSON body; a plain answer, piece by piece.
    pub async fn post_stream(&self, path: &str, body: &impl Serialize) -> Result<Chunks, ClientError> {
        let bytes = serde_json::to_vec(body).map_err(|e| ClientError::Unreadable(e.to_string()))?;
        self.send("POST", path, bytes, None).await
    }

    /// Events after `after` and then as they come; an item of `None` says that some were missed.
    pub async fn events(
        &self,
        after: Option<u64>,
    ) -> Result<impl Stream<Item = Option<Event>> + Send + use<>, ClientError> {
        let path = after.map_or("/api/v1/events".to_owned(), |a| format!("/api/v1/events?after={a}"));
        let chunks = self.send("GET", &path, Vec::new(), Some("text/event-stream")).await?;
        let lines = futures::stream::unfold((chunks, Vec::new()), |(mut chunks, mut held)| async move {
            loop {
                // Cut at the blank line while still bytes: a chunk may end inside a character.
                if let Some(end) = held.windows(2).position(|w| w == b"\n\n") {
                    let block: Vec<u8> = held.drain(..end + 2).collect();
                    if let Some(data) = block.split(|b| *b == b'\n').find_map(|l| l.strip_prefix(b"data:")) {
                        return Some((serde_json::from_slice::<Event>(data).ok(), (chunks, held)));
                    }
                    continue;
                }
                let chunk = chunks.next().await?.ok()?;
                held.extend_from_slice(&chunk);
            }
        });
        Ok(Box::pin(lines))
    }

    async fn send(&self, method: &str, path: &str, body: Vec<u8>, accept: Option<&str>) -> Result<Chunks, ClientError> {
        match &self.endpoint {
            Endpoint::Socket(socket) => self.send_unix(socket, method, path, body, accept).await,
            Endpoint::Http { url, token } => self.send_http(url, token.as_deref(), method, path, body, accept).await,
        }
    }

    async fn send_unix(
        &self,
        socket: &std::path::Path,
        method: &str,
        path: &str,
        body: Vec<u8>,
        accept: Option<&str>,
    ) -> Result<Chunks, ClientError> {
        let unreachable = || ClientError::Unreachable(self.name());
        let connected = tokio::net::UnixStream::connect(socket).await;
        let stream = connected.map_err(|e| match e.kind() {
            std::io::ErrorKind::PermissionDenied => ClientError::Denied(format!(
                "{} may not be opened: it belongs to the user who runs the daemon; be that user, or use --api with TRIMTAB_TOKEN",
                self.name()
            )),
            _ => unreachable(),
        })?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|_| unreachable())?;
        // Its error shows in the answer's own.
        tokio::spawn(async move { drop(connection.await) });
        let mut request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "trimtab")
            .header("content-type", "application/json");
        if let Some(accept) = accept {
            request = request.header("accept", accept);
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|e| ClientError::Refused(e.to_string()))?;
        let answer = sender.send_request(request).await.map_err(|_| unreachable())?;
        let status = answer.status().as_u16();
        let stream = http_body_util::BodyStream::new(answer.into_body());
        let name = self.name();
        let chunks = stream.filter_map(move |frame| {
            let broken = ClientError::Unreachable(name.clone());
            async move {
                match frame {
                    Ok(frame) => frame.into_data().ok().map(Ok),
                    Err(_) => Some(Err(broken)),
                }
            }
        });
        checked(status, Box::pin(chunks)).await
    }

    async fn send_http(
        &self,
        url: &str,
        token: Option<&str>,
        method: &str,
        path: &str,
        body: Vec<u8>,
        accept: Option<&str>,
    ) -> Result<Chunks, ClientError> {
        // The cause stands at the end of the chain: a refused connection, a certificate that does not check out.
        let unreachable = |e: reqwest::Error| {
            let mut cause: &dyn std::error::Error = &e;
            while let Some(deeper) = cause.source() {
                cause = deeper;
            }
            ClientError::Unreachable(format!("{} ({cause})", self.name()))
        };
        let method = reqwest::Method::from_bytes(method.as_bytes()).map_err(|e| ClientError::Refused(e.to_string()))?;
        let mut request = web(url)
            .map_err(unreachable)?
            .request(method, format!("{}{path}", url.trim_end_matches('/')))
            .header("content-type", "application/json")
            .body(body);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(accept) = accept {
            request = request.header("accept", accept);
        }
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status().as_u16();
        let name = self.name();
        let chunks = answer.bytes_stream().map(move |c| c.map_err(|_| ClientError::Unreachable(name.clone())));
        checked(status, Box::pin(chunks)).await
    }
}

/// A client for `url`. What is on this machine is asked directly: a proxy of the environment would look for it on its own.
pub fn web(url: &str) -> reqwest::Result<reqwest::Client> {
    let here = url.parse::<reqwest::Url>().ok().and_then(|u| u.host_str().map(is_here)).unwrap_or_default();
    let builder = reqwest::Client::builder();
    if here { builder.no_proxy() } else { builder }.build()
}

fn is_here(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    // An unspecified address is where something listens, and this machine where it is called.
    address.map_or(host == "localhost", |a| a.is_loopback() || a.is_unspecified())
}

/// Turns an answer that is no success into an error with the daemon's own words.
async fn checked(status: u16, mut chunks: Chunks) -> Result<Chunks, ClientError> {
    if (200..300).contains(&status) {
        return Ok(chunks);
    }
    let mut all = Vec::new();
    while let Some(Ok(chunk)) = chunks.next().await {
        all.extend_from_slice(&chunk);
    }
    let said = serde_json::from_slice::<ErrorBody>(&all)
        .map_or_else(|_| String::from_utf8_lossy(&all).into_owned(), |b| b.error);
    Err(match status {
        401 | 403 => ClientError::Denied(said),
        404 => ClientError::NotFound(said),
        _ => ClientError::Refused(said),
    })
}
