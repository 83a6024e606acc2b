//! What the router is told and what it tells: wire types, and the routes on disk.

use super::RouteError;
use crate::model::{Name, Release};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// `DIR/router.json`: how a router starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouterSettings {
    /// Where requests enter. Port 0: any free port, the same again after a restart when it is still free.
    pub listen: SocketAddr,
    /// Largest request body in bytes.
    #[serde(default = "default_body_limit")]
    pub body_limit: u64,
    /// Milliseconds until a replica must have begun its answer.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
}
fn default_body_limit() -> u64 {
    256 << 20
}
fn default_timeout_ms() -> u64 {
    60_000
}
impl RouterSettings {
    /// Default limits.
    pub fn new(listen: SocketAddr) -> Self {
        Self { listen, body_limit: default_body_limit(), timeout_ms: default_timeout_ms() }
    }
    /// Reads `DIR/router.json`.
    pub fn load(dir: &Path) -> Result<Self, RouteError> {
        read_json(&dir.join("router.json"))
    }
    /// Writes `DIR/router.json`.
    pub fn save(&self, dir: &Path) -> Result<(), RouteError> {
        fs::create_dir_all(dir).map_err(RouteError::file(dir))?;
        write_json(&dir.join("router.json"), self)
    }
}

/// Where one model's requests go in one environment. No releases: the route is taken away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    pub environment: Name,
    pub model: Name,
    /// Grows with every change; an older one is refused.
    pub generation: u64,
    /// Whether `/models/NAME/` leads here.
    pub live: bool,
    /// In order of preference when no release with weight has a replica.
    pub releases: Vec<ReleaseRoute>,
}
/// One release of a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRoute {
    pub release: Release,
    /// Share in thousandths of a percent; only releases with replicas count.
    pub weight: u32,
    /// Ready replicas.
    pub replicas: Vec<SocketAddr>,
}
/// All routes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct RoutesFile {
    pub routes: Vec<Route>,
}

/// Who the router is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub pid: u32,
    /// Version of the binary.
    pub version: String,
    /// blake3 of the executable, in hex.
    pub exe: String,
    pub address: SocketAddr,
}

/// The one line that a starting router prints: ready, or why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Started {
    Ready(Identity),
    Failed(String),
}

/// Requests of a span of time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, Default)]
pub struct Window {
    pub requests: u64,
    /// 5xx answers, timeouts and broken connections.
    pub errors: u64,
    /// Milliseconds until the answer began.
    pub p50_ms: f64,
    /// Milliseconds until the answer began.
    pub p99_ms: f64,
}
/// What was measured of one release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReleaseStats {
    pub environment: Name,
    pub model: Name,
    pub release: Release,
    pub weight: u32,
    pub in_flight: u64,
    /// Since the weight last changed.
    pub epoch: Window,
    /// The last 10 seconds.
    pub recent: Window,
}
/// Answer of `GET /stats`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct StatsAnswer {
    /// The router's clock: give it as `since` to be told only what had requests after it.
    pub now_ms: u64,
    pub releases: Vec<ReleaseStats>,
}

pub(super) fn read_json<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<T, RouteError> {
    let bytes = fs::read(path).map_err(RouteError::file(path))?;
    serde_json::from_slice(&bytes).map_err(|e| RouteError::File { path: path.into(), reason: e.to_string() })
}
pub(super) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), RouteError> {
    let json = serde_json::to_vec(value).map_err(|e| RouteError::File { path: path.into(), reason: e.to_string() })?;
    write_atomic(path, &json).map_err(RouteError::file(path))
}
/// Replaces a file whole: afterwards it is durable, and at no time half there.
fn write_atomic(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let mut tmp = tempfile::Builder::new().prefix(".new-").tempfile_in(parent)?;
    tmp.write_all(bytes)?;
    tmp.as_file().sync_all()?;
    tmp.persist(path).map_err(|e| e.error)?;
    fs::File::open(parent)?.sync_all()
}

/// The routes on disk: `DIR/routes/ENV/MODEL.json`.
#[derive(Debug, Clone)]
pub(super) struct RouteFiles(PathBuf);
impl RouteFiles {
    pub fn new(dir: &Path) -> Self {
        Self(dir.join("routes"))
    }
    /// Keeps one route, or takes it away when it has no releases.
    pub fn put(&self, route: &Route) -> Result<(), RouteError> {
        let folder = self.0.join(route.environment.as_str());
        let file = folder.join(format!("{}.json", route.model));
        if route.releases.is_empty() {
            return match fs::remove_file(&file) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(RouteError::file(file)(e)),
                _ => Ok(()),
            };
        }
        fs::create_dir_all(&folder).map_err(RouteError::file(&folder))?;
        write_json(&file, route)
    }
    /// Every route that can be read; a damaged file is told and left out.
    pub fn load(&self) -> Vec<Route> {
        let files = walkdir::WalkDir::new(&self.0).min_depth(2).max_depth(2).into_iter().flatten();
        let mut routes = vec![];
        for file in files.filter(|f| f.path().extension().is_some_and(|e| e == "json")) {
            match read_json::<Route>(file.path()) {
                Ok(route) => routes.push(route),
                Err(e) => tracing::warn!("route left out, the daemon will send it again: {e}"),
            }
        }
        routes
    }
}
