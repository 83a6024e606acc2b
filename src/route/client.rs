//! Orders to a router, for the daemon.

use super::{Identity, Route, RouteError, RoutesFile, StatsAnswer, handover::short_path};
use crate::model::Name;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::net::UnixStream;

/// How long an order may take.
const ORDER: Duration = Duration::from_secs(10);
/// How long figures may take: whoever asks for them shows something without.
const FIGURES: Duration = Duration::from_secs(2);

/// A router that lives answers within this, on the busiest of machines.
const PING: Duration = Duration::from_secs(5);

/// Speaks to the router of one folder; a connection for each call.
#[derive(Debug, Clone)]
pub struct RouterClient {
    dir: PathBuf,
}

impl RouterClient {
    /// The router in `dir`, whether it runs or not.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.into() }
    }
    /// Who answers.
    pub async fn identity(&self) -> Result<Identity, RouteError> {
        self.get("/identity", ORDER).await
    }
    /// Whether it answers at all.
    pub async fn ping(&self) -> Result<(), RouteError> {
        self.get::<Identity>("/identity", PING).await.map(drop)
    }
    /// The process that holds the control socket, whether it answers or not.
    pub async fn holder(&self) -> Option<i32> {
        let (_open, path) = short_path(&self.dir, "router.sock").ok()?;
        UnixStream::connect(path).await.ok()?.peer_cred().ok()?.pid()
    }
    /// The routes in use.
    pub async fn routes(&self) -> Result<Vec<Route>, RouteError> {
        Ok(self.get::<RoutesFile>("/config", ORDER).await?.routes)
    }
    /// Replaces all routes; returns once they are used and durable.
    pub async fn put_routes(&self, routes: Vec<Route>) -> Result<(), RouteError> {
        self.send(Method::PUT, "/config", &RoutesFile { routes }, ORDER).await.map(drop)
    }
    /// Replaces one route; returns once it is used and durable.
    pub async fn put_route(&self, route: &Route) -> Result<(), RouteError> {
        self.send(Method::PUT, "/route", route, ORDER).await.map(drop)
    }
    /// Measurements of one model in one environment.
    pub async fn stats(&self, environment: &Name, model: &Name) -> Result<StatsAnswer, RouteError> {
        self.get(&format!("/stats?environment={environment}&model={model}"), FIGURES).await
    }
    /// Measurements of every release that had requests since this time of the router's clock.
    pub async fn stats_since(&self, since: u64) -> Result<StatsAnswer, RouteError> {
        self.get(&format!("/stats?since={since}"), FIGURES).await
    }
    /// Waits until a replica that left the routes holds no request; the number it still holds after `wait`.
    pub async fn drained(&self, address: SocketAddr, wait: Duration) -> Result<u64, RouteError> {
        self.get(&format!("/drained?address={address}&wait_ms={}", wait.as_millis()), wait + ORDER).await
    }
    /// What it counted since it started, in Prometheus text.
    pub async fn metrics(&self) -> Result<String, RouteError> {
        let bytes = self.send(Method::GET, "/metrics", &(), FIGURES).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
    /// Asks the router to finish what it holds and end.
    pub async fn shutdown(&self) -> Result<(), RouteError> {
        self.send(Method::POST, "/shutdown", &(), ORDER).await.map(drop)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, limit: Duration) -> Result<T, RouteError> {
        let bytes = self.send(Method::GET, path, &(), limit).await?;
        serde_json::from_slice(&bytes).map_err(|e| RouteError::Refused { status: 200, body: e.to_string() })
    }

    async fn send<T: serde::Serialize>(
        &self,
        method: Method,
        path: &str,
        body: &T,
        limit: Duration,
    ) -> Result<Bytes, RouteError> {
        let json = serde_json::to_vec(body).map_err(|e| self.unreachable(&e))?;
        let (status, bytes) = match tokio::time::timeout(limit, self.exchange(method, path, json)).await {
            Ok(answer) => answer.map_err(|e| self.unreachable(&e))?,
            Err(_) => return Err(self.unreachable(&"no answer in time")),
        };
        if status.is_success() {
            return Ok(bytes);
        }
        if status == StatusCode::CONFLICT
            && let Some(current) =
                serde_json::from_slice::<serde_json::Value>(&bytes).ok().and_then(|v| v["current"].as_u64())
        {
            return Err(RouteError::Stale { current });
        }
        Err(RouteError::Refused { status: status.as_u16(), body: String::from_utf8_lossy(&bytes).into_owned() })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        json: Vec<u8>,
    ) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let stream = {
            let (_open, path) = short_path(&self.dir, "router.sock")?;
            UnixStream::connect(path).await?
        };
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "router")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(json)))?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let bytes = response.into_body().collect().await?.to_bytes();
        connection.abort();
        Ok((status, bytes))
    }

    fn unreachable(&self, reason: &dyn std::fmt::Display) -> RouteError {
        RouteError::Unreachable { path: self.dir.join("router.sock"), reason: reason.to_string() }
    }
}
