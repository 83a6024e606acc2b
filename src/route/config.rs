//! What the router is told and what it tells: wire types, and the routes on disk.

use super::RouteError;
use crate::model::{LatencyBucket, Name, Release, RequestLimit, Sticky};
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
    /// Largest head of a request in bytes, at least 8 KiB.
    #[serde(default = "default_header_limit")]
    pub header_limit: usize,
    /// Milliseconds until a replica must have begun its answer, once it has the request.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
    /// Milliseconds that a client may take to send the head of a request, and stay connected without a request.
    #[serde(default = "default_header_timeout_ms")]
    pub header_timeout_ms: u64,
    /// Milliseconds that a client may pause while it sends a body or should take an answer.
    #[serde(default = "default_stall_ms")]
    pub stall_ms: u64,
    /// What is noted of requests in `DIR/access.log`.
    #[serde(default)]
    pub access_log: AccessLog,
    /// Threads that carry requests; 0: one for each core.
    #[serde(default)]
    pub workers: usize,
}
/// A share of all requests is noted, a line of JSON each. Past `max_bytes` the file becomes `access.log.1`, in place of the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessLog {
    /// Thousandths of a percent. 0: none.
    pub share: u32,
    pub max_bytes: u64,
}
impl Default for AccessLog {
    fn default() -> Self {
        Self { share: 1_000, max_bytes: 16 << 20 }
    }
}
fn default_body_limit() -> u64 {
    256 << 20
}
fn default_header_limit() -> usize {
    32 << 10
}
fn default_timeout_ms() -> u64 {
    60_000
}
fn default_header_timeout_ms() -> u64 {
    75_000
}
fn default_stall_ms() -> u64 {
    10_000
}
impl RouterSettings {
    /// Default limits.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            body_limit: default_body_limit(),
            header_limit: default_header_limit(),
            timeout_ms: default_timeout_ms(),
            header_timeout_ms: default_header_timeout_ms(),
            stall_ms: default_stall_ms(),
            access_log: AccessLog::default(),
            workers: 0,
        }
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    pub environment: Name,
    pub model: Name,
    /// Grows with every change; an older one is refused.
    pub generation: u64,
    /// Whether `/models/NAME/` leads here.
    pub live: bool,
    /// In order of preference when no release with weight has a replica; `preview` and the shadow's never stand in.
    pub releases: Vec<ReleaseRoute>,
    /// What keeps a caller at one version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
    /// Whether the request header `x-trimtab-version: v7` chooses the version.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forced: bool,
    /// Which of `releases` answers at `/previews/ENV/models/NAME/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<Release>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<RequestLimit>,
    /// Milliseconds until a replica must have begun its answer, where the router's own setting is not meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Ejection::is_default")]
    pub ejection: Ejection,
}
impl Route {
    /// A route that does no more than split.
    pub fn new(environment: Name, model: Name, generation: u64, live: bool, releases: Vec<ReleaseRoute>) -> Self {
        Self {
            environment,
            model,
            generation,
            live,
            releases,
            sticky: None,
            forced: false,
            preview: None,
            shadow: None,
            limit: None,
            timeout_ms: None,
            ejection: Ejection::default(),
        }
    }
}
/// A release that gets copies of requests; its answers are compared with those that callers get, and thrown away.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shadow {
    /// One of the route's releases.
    pub release: Release,
    /// Requests that are copied, in thousandths of a percent.
    pub share: u32,
    /// Numbers that differ by no more than this are equal.
    pub tolerance: f64,
}
/// When a replica that fails is passed over. At most half of a release's replicas are, and never the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ejection {
    /// 5xx answers, time-outs and broken connections in a row. 0: never.
    pub failures: u32,
    /// Milliseconds; each further time in a row takes that much longer.
    pub base_ms: u64,
    /// Milliseconds, at most.
    pub max_ms: u64,
}
impl Default for Ejection {
    fn default() -> Self {
        Self { failures: 5, base_ms: 5_000, max_ms: 60_000 }
    }
}
impl Ejection {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
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
    #[serde(default)]
    pub p90_ms: f64,
    /// Milliseconds until the answer began.
    pub p99_ms: f64,
    /// Those that the release answered without a share, as none that has one could.
    #[serde(default)]
    pub stood_in: u64,
}
/// How a shadow's answers compare with those that callers got, since the route names it as it does now.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, Default)]
pub struct Agreement {
    /// Pairs of answers that were compared.
    pub compared: u64,
    /// Pairs of one status class with equal contents; numbers within the tolerance.
    pub agreed: u64,
    /// Copies that got no answer of the shadow.
    pub failed: u64,
    /// Requests that were not copied: too large, too many copies under way, or an answer that cannot be compared.
    pub skipped: u64,
    /// Absolute difference of two numbers at the same place, over all of them.
    pub mean_difference: f64,
    pub max_difference: f64,
    /// Milliseconds until the shadow's answer began.
    pub p50_ms: f64,
    pub p90_ms: f64,
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
    /// Requests of each whole quarter of a minute of the last five minutes, oldest first; empty when there were none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<u64>,
    /// Of the release that shadows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Agreement>,
    /// Requests since the weight last changed by how long they took; where one model is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub latency: Vec<LatencyBucket>,
    /// Those of them that have no answer yet, by how long they have waited; where one model is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<LatencyBucket>,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Digest, VersionNumber};

    #[test]
    fn older_route_files_load_and_newer_fields_come_back() {
        let old = r#"{"environment":"prod","model":"m","generation":3,"live":true,"releases":[]}"#;
        let route: Route = serde_json::from_str(old).unwrap();
        let name = |s| Name::new(s).unwrap();
        assert_eq!(route, Route::new(name("prod"), name("m"), 3, true, vec![]));
        assert_eq!(serde_json::to_string(&route).unwrap(), old);
        let release = Release { version: VersionNumber(7), serve: Digest::of(b"") };
        let full = Route {
            sticky: Some(Sticky::Cookie("seat".into())),
            forced: true,
            preview: Some(release),
            shadow: Some(Shadow { release, share: 100_000, tolerance: 1e-6 }),
            limit: Some(RequestLimit { concurrent: 2, queue: 8 }),
            timeout_ms: Some(2_000),
            ejection: Ejection { failures: 0, ..Ejection::default() },
            ..route
        };
        let text = serde_json::to_string(&full).unwrap();
        assert_eq!(serde_json::from_str::<Route>(&text).unwrap(), full, "{text}");
        let window: Window = serde_json::from_str(r#"{"requests":1,"errors":0,"p50_ms":1.0,"p99_ms":2.0}"#).unwrap();
        assert_eq!(window.p90_ms, 0.0);
    }
}
