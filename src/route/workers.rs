//! The threads that carry requests: each has its own connections to clients and replicas, and waits for no other.

use super::{
    fast_path::{self, Left, Rewound},
    heads::Caller,
    proxy::Proxy,
};
use hyper::{
    rt::{Read, Write},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use nix::sys::socket::{setsockopt, sockopt};
use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{net::TcpStream, sync::mpsc};
use tokio_util::sync::CancellationToken;

/// Requests on one connection of HTTP/2 at a time.
const STREAMS: u32 = 200;
/// A client of HTTP/2 without a word is asked whether it is there, and given as long to say so.
const PING: Duration = Duration::from_secs(20);
/// A quiet connection is probed after so many seconds, so often, so many seconds apart: who is gone without a word is noticed.
const PROBE_AFTER: u32 = 60;
const PROBES: u32 = 3;
const PROBE_EVERY: u32 = 10;
/// How HTTP/2 begins; no method of HTTP/1 does.
const PREFACE: &[u8] = b"PRI ";

/// How clients are treated.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest head of a request in bytes.
    pub head: usize,
    /// For a head to come, and for a connection without a request.
    pub head_within: Duration,
    /// How long a client may leave an answer untaken.
    pub stall: Duration,
}

/// What all connections share.
pub struct Shared {
    pub proxy: Arc<Proxy>,
    pub limits: Limits,
    /// Tells connections to end once their requests have.
    pub end: CancellationToken,
    /// Random, other for each connection.
    pub seed: AtomicU64,
}

struct Worker {
    connections: mpsc::UnboundedSender<(std::net::TcpStream, SocketAddr)>,
    /// Connections that it holds.
    open: Arc<AtomicUsize>,
}

/// Runs until dropped.
pub struct Workers(Vec<Worker>);

impl Workers {
    /// Starts so many threads.
    pub fn start(count: usize, shared: &Arc<Shared>) -> io::Result<Self> {
        let start = |index: usize| -> io::Result<Worker> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let (connections, inbox) = mpsc::unbounded_channel();
            let open = Arc::new(AtomicUsize::new(0));
            let (shared, held) = (shared.clone(), open.clone());
            let thread = std::thread::Builder::new().name(format!("worker-{index}"));
            thread.spawn(move || runtime.block_on(work(index, shared, held, inbox)))?;
            Ok(Worker { connections, open })
        };
        Ok(Self((0..count).map(start).collect::<io::Result<_>>()?))
    }
    /// Gives a connection to the worker that has the fewest.
    pub fn give(&self, stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
        let Some(worker) = self.0.iter().min_by_key(|w| w.open.load(Relaxed)) else { return Ok(()) };
        let stream = stream.into_std()?;
        worker.open.fetch_add(1, Relaxed);
        // A worker ends only with the router.
        let _ = worker.connections.send((stream, peer));
        Ok(())
    }
}

async fn work(
    index: usize,
    shared: Arc<Shared>,
    open: Arc<AtomicUsize>,
    mut inbox: mpsc::UnboundedReceiver<(std::net::TcpStream, SocketAddr)>,
) {
    while let Some((stream, peer)) = inbox.recv().await {
        let (shared, open) = (shared.clone(), open.clone());
        let tasks = shared.proxy.tasks.clone();
        tasks.spawn(async move {
            if let Err(e) = connection(&shared, index, stream, peer.ip()).await {
                tracing::debug!("connection of {peer} ended: {e}");
            }
            open.fetch_sub(1, Relaxed);
        });
    }
}

/// A connection without these is slower or lasts longer, not broken.
fn tune(stream: &TcpStream, limits: &Limits) {
    let _ = stream.set_nodelay(true);
    let _ = setsockopt(stream, sockopt::KeepAlive, &true);
    let _ = setsockopt(stream, sockopt::TcpKeepIdle, &PROBE_AFTER);
    let _ = setsockopt(stream, sockopt::TcpKeepCount, &PROBES);
    let _ = setsockopt(stream, sockopt::TcpKeepInterval, &PROBE_EVERY);
    // The kernel ends a connection whose client takes nothing, for as long as a client may pause while it sends.
    let _ = setsockopt(stream, sockopt::TcpUserTimeout, &u32::try_from(limits.stall.as_millis()).unwrap_or(u32::MAX));
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

async fn connection(
    shared: &Arc<Shared>,
    worker: usize,
    stream: std::net::TcpStream,
    peer: IpAddr,
) -> Result<(), Failed> {
    let mut stream = TcpStream::from_std(stream)?;
    tune(&stream, &shared.limits);
    let is_http2 = tokio::time::timeout(shared.limits.head_within, begins_as_http2(&stream)).await??;
    let caller = Caller::new(worker, peer, splitmix(shared.seed.fetch_add(1, Relaxed)));
    // Boxed: a connection holds no room for what most never need.
    if is_http2 {
        return Box::pin(serve_http2(shared, caller, TokioIo::new(stream))).await;
    }
    match fast_path::serve(shared, &caller, &mut stream).await? {
        Left::Ended => Ok(()),
        Left::Other(read) => Box::pin(serve_http1(shared, caller, TokioIo::new(Rewound::new(read, stream)))).await,
    }
}

/// Looks at the first bytes without taking them.
async fn begins_as_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0; PREFACE.len()];
    loop {
        let n = stream.peek(&mut first).await?;
        if n == 0 || n == first.len() || first[..n] != PREFACE[..n] {
            return Ok(first[..n] == *PREFACE);
        }
        // More is on its way, which readiness does not tell while these bytes wait.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn serve_http1<S: Read + Write + Unpin + Send + 'static>(
    shared: &Arc<Shared>,
    caller: Caller,
    stream: S,
) -> Result<(), Failed> {
    let proxy = &shared.proxy;
    let caller = &caller;
    // Boxed, so that a connection without a request holds no room for one: hyper keeps that of the future as long as the connection.
    let answer =
        service_fn(|request| Box::pin(async move { Ok::<_, Infallible>(proxy.handle(caller, request).await) }));
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(shared.limits.head_within)
        .max_header_size(shared.limits.head)
        .max_buf_size(64 << 10)
        .serve_connection(stream, answer)
        .with_upgrades();
    tokio::select! {
        // Polled once at least: told to end before, it would not look at what was read already.
        biased;
        done = &mut connection => return Ok(done?),
        () = shared.end.cancelled() => {}
    }
    Pin::new(&mut connection).graceful_shutdown();
    Ok(connection.await?)
}

async fn serve_http2<S: Read + Write + Unpin + Send + 'static>(
    shared: &Arc<Shared>,
    caller: Caller,
    stream: S,
) -> Result<(), Failed> {
    let (proxy, caller) = (shared.proxy.clone(), Arc::new(caller));
    let answer = service_fn(move |request| {
        let (proxy, caller) = (proxy.clone(), caller.clone());
        async move { Ok::<_, Infallible>(proxy.handle(&caller, request).await) }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(shared.limits.head).unwrap_or(u32::MAX))
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .serve_connection(stream, answer);
    let mut connection = pin!(connection);
    tokio::select! {
        done = &mut connection => return Ok(done?),
        () = shared.end.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    Ok(connection.await?)
}

/// Spreads consecutive numbers over all (Steele, Lea, Flood: SplitMix).
fn splitmix(n: u64) -> u64 {
    let n = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}
