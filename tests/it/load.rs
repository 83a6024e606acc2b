//! Requests over several keep-alive connections, counted; nothing is retried.

use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes, client::conn::http1::SendRequest, header};
use hyper_util::rt::TokioIo;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::net::TcpStream;

/// What became of the requests.
#[derive(Debug, Clone, Default)]
pub struct Report {
    pub requests: u64,
    /// The first of them, with how many there were.
    pub failures: Vec<String>,
    pub failed: u64,
    /// By `x-trimtab-version`.
    pub versions: BTreeMap<String, u64>,
}

#[derive(Default)]
struct Counts {
    report: Mutex<Report>,
    grew: Condvar,
    stop: AtomicBool,
}

/// Load that runs until it is stopped.
pub struct Load {
    counts: Arc<Counts>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// One connection; opened again when an answer says so.
pub struct Client {
    address: SocketAddr,
    sender: Option<SendRequest<Full<Bytes>>>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub version: Option<String>,
    pub headers: hyper::HeaderMap,
    pub body: Bytes,
}
impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, sender: None }
    }
    pub async fn get(&mut self, path: &str) -> Result<Answer, String> {
        self.call(Request::get(path).body(Full::default()).unwrap()).await
    }
    pub async fn post(&mut self, path: &str, body: impl Into<Bytes>) -> Result<Answer, String> {
        self.call(Request::post(path).body(Full::new(body.into())).unwrap()).await
    }
    pub async fn call(&mut self, mut request: Request<Full<Bytes>>) -> Result<Answer, String> {
        let mut sender = match self.sender.take() {
            Some(sender) => sender,
            None => {
                let stream = TcpStream::connect(self.address).await.map_err(|e| format!("connect: {e}"))?;
                stream.set_nodelay(true).map_err(|e| e.to_string())?;
                let (sender, connection) =
                    hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
                tokio::spawn(connection);
                sender
            }
        };
        request.headers_mut().insert(header::HOST, header::HeaderValue::from_static("router.test"));
        sender.ready().await.map_err(|e| format!("idle connection was closed: {e}"))?;
        let response = sender.send_request(request).await.map_err(|e| format!("{e:?}"))?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(|e| format!("body: {e}"))?.to_bytes();
        if parts.headers.get(header::CONNECTION).is_none_or(|c| c != "close") {
            self.sender = Some(sender);
        }
        let version = parts.headers.get("x-trimtab-version").and_then(|v| v.to_str().ok()).map(str::to_owned);
        Ok(Answer { status: parts.status.as_u16(), version, headers: parts.headers, body })
    }
}

impl Load {
    /// GET and POST in turn on `connections` connections.
    pub fn start(address: SocketAddr, path: &str, connections: usize) -> Self {
        let counts = Arc::new(Counts::default());
        let (shared, path) = (counts.clone(), path.to_owned());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let all = (0..connections).map(|_| connection(shared.clone(), address, path.clone()));
                futures::future::join_all(all).await;
            });
        });
        Self { counts, thread: Some(thread) }
    }
    /// Waits until this many requests more were answered than at the call.
    pub fn more(&self, n: u64) {
        let report = self.counts.report.lock().unwrap();
        let until = report.requests + n;
        let (_report, timeout) =
            self.counts.grew.wait_timeout_while(report, Duration::from_secs(60), |r| r.requests < until).unwrap();
        assert!(!timeout.timed_out(), "the load came to a halt");
    }
    /// Requests so far.
    pub fn requests(&self) -> u64 {
        self.counts.report.lock().unwrap().requests
    }
    /// Waits until this version answers.
    pub fn seen(&self, version: &str, within: Duration) {
        let report = self.counts.report.lock().unwrap();
        let before = report.versions.get(version).copied().unwrap_or(0);
        let unseen = |r: &mut Report| r.versions.get(version).copied().unwrap_or(0) == before;
        let (report, timeout) = self.counts.grew.wait_timeout_while(report, within, unseen).unwrap();
        assert!(!timeout.timed_out(), "{version} did not answer within {within:?}: {report:?}");
    }
    /// Stops and tells.
    pub fn stop(mut self) -> Report {
        self.counts.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
        self.counts.report.lock().unwrap().clone()
    }
}
impl Drop for Load {
    fn drop(&mut self) {
        self.counts.stop.store(true, Ordering::SeqCst);
    }
}

async fn connection(counts: Arc<Counts>, address: SocketAddr, path: String) {
    let mut client = Client::new(address);
    let mut n = 0u64;
    while !counts.stop.load(Ordering::SeqCst) {
        n += 1;
        let begun = Instant::now();
        let answer = if n.is_multiple_of(2) {
            client.get(&path).await
        } else {
            client.post(&path, format!("{{\"n\":{n}}}")).await
        };
        let mut report = counts.report.lock().unwrap();
        report.requests += 1;
        match answer {
            Ok(Answer { status: 200, version, .. }) => {
                *report.versions.entry(version.unwrap_or_default()).or_default() += 1;
            }
            other => {
                report.failed += 1;
                if report.failures.len() < 10 {
                    report.failures.push(format!("request {n} after {:?}: {other:?}", begun.elapsed()));
                }
            }
        }
        counts.grew.notify_all();
    }
}
