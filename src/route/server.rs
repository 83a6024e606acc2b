//! The router process from start to end.

use super::{
    Identity, RouteError, RouterClient, RouterSettings, Started,
    config::RouteFiles,
    control::{self, Control},
    handover,
    proxy::Proxy,
    table::Table,
};
use crate::process::raise_file_limit;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use std::{
    convert::Infallible,
    io::Write,
    net::{SocketAddr, TcpListener as StdListener},
    path::Path,
    process::ExitCode,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{Mutex, watch},
};
use tokio_util::task::TaskTracker;

/// How long a client may take to send its headers, and an idle connection stays open.
const HEADERS: Duration = Duration::from_secs(75);
/// While the router leaves, idle connections are closed after this; until then they end with their next answer.
const IDLE_WHILE_LEAVING: Duration = Duration::from_secs(5);
/// Requests under way may take this long once the router leaves.
const LAST_REQUESTS: Duration = Duration::from_secs(120);

/// Runs the router of `dir` until it is told to end. Prints one line ([`Started`]) once it serves or cannot.
pub fn run(dir: &Path) -> ExitCode {
    // In a session of its own, no terminal and no stop of the daemon reaches it. Fails when it leads one already.
    let _ = nix::unistd::setsid();
    raise_file_limit(None);
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return fail(&e),
    };
    match runtime.block_on(serve(dir)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => fail(&e),
    }
}

fn fail(e: &dyn std::error::Error) -> ExitCode {
    tracing::error!("{e}");
    say(&Started::Failed(e.to_string()));
    ExitCode::FAILURE
}

/// Whoever started the router may be gone: then nobody needs the line.
fn say(started: &Started) {
    let Ok(line) = serde_json::to_string(started) else { return };
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

async fn serve(dir: &Path) -> Result<(), RouteError> {
    let settings = RouterSettings::load(dir)?;
    let table = Arc::new(Table::default());
    let files = RouteFiles::new(dir);
    table.replace(files.load());
    let before = RouterClient::new(dir);
    let (socket, address, taken) = open_port(dir, settings.listen)?;
    let identity = Identity {
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").into(),
        exe: exe_digest().map_err(RouteError::file("/proc/self/exe"))?,
        address,
    };
    let (leave, leaving) = watch::channel(false);
    stop_on_signal(leave.clone())?;
    let proxy = Arc::new(Proxy {
        table: table.clone(),
        body_limit: settings.body_limit,
        timeout: Duration::from_millis(settings.timeout_ms),
        leaving: false.into(),
    });
    let gift: handover::Gift = Arc::new(Some(socket.try_clone().map_err(RouteError::file(dir))?).into());
    let listener = TcpListener::from_std(socket).map_err(RouteError::file(dir))?;
    let data = tokio::spawn(accept(listener, gift.clone(), proxy, leaving));
    if taken {
        // From here on both accept from the same queue; the old router finishes what it holds and ends.
        if let Err(e) = before.shutdown().await {
            tracing::warn!("the router before could not be asked to leave: {e}");
        }
    }
    let giving = handover::listen(dir, "handover.sock")?;
    let orders = handover::listen(dir, "router.sock")?;
    std::thread::spawn(move || handover::give(&giving, &gift));
    orders.set_nonblocking(true).map_err(RouteError::file(dir))?;
    let orders = tokio::net::UnixListener::from_std(orders).map_err(RouteError::file(dir))?;
    let control = Control { table, files, identity: identity.clone(), leave, writing: Mutex::new(()) };
    let served = axum::serve(orders, control::app(Arc::new(control))).into_future();
    tokio::spawn(async move {
        if let Err(e) = served.await {
            tracing::error!("the control socket ended: {e}");
        }
    });
    tracing::info!("router {} serves on {address}", identity.pid);
    say(&Started::Ready(identity));
    data.await.map_err(|e| RouteError::Refused { status: 500, body: e.to_string() })
}

/// The port, from the router that runs in `dir` or from the system; whether it came from the former.
fn open_port(dir: &Path, wanted: SocketAddr) -> Result<(StdListener, SocketAddr, bool), RouteError> {
    let failed = |address| {
        move |e: std::io::Error| {
            let reason = match e.kind() {
                std::io::ErrorKind::AddrInUse => {
                    format!(
                        "port {} is in use by another program: stop it, or choose another with `--router`",
                        wanted.port()
                    )
                }
                std::io::ErrorKind::PermissionDenied => {
                    format!("not allowed to use port {}: choose one above 1023 with `--router`", wanted.port())
                }
                _ => e.to_string(),
            };
            RouteError::Bind { address, reason }
        }
    };
    let bound = dir.join("router.address");
    let before = handover::take(dir);
    let last: Option<SocketAddr> = std::fs::read_to_string(&bound).ok().and_then(|s| s.trim().parse().ok());
    let same = |a: SocketAddr| a.ip() == wanted.ip() && (wanted.port() == 0 || wanted.port() == a.port());
    let (socket, taken) = match before {
        Some(socket) if socket.local_addr().is_ok_and(same) => (socket, true),
        other => {
            let again = last.filter(|a| wanted.port() == 0 && same(*a));
            let socket = again.and_then(|a| StdListener::bind(a).ok());
            let socket = socket.map_or_else(|| StdListener::bind(wanted), Ok).map_err(failed(wanted))?;
            (socket, other.is_some())
        }
    };
    socket.set_nonblocking(true).map_err(failed(wanted))?;
    let address = socket.local_addr().map_err(failed(wanted))?;
    std::fs::write(&bound, address.to_string()).map_err(RouteError::file(bound))?;
    Ok((socket, address, taken))
}

/// blake3 of this executable, in hex.
fn exe_digest() -> std::io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_mmap_rayon("/proc/self/exe")?;
    Ok(hasher.finalize().to_hex().to_string())
}

fn stop_on_signal(leave: watch::Sender<bool>) -> Result<(), RouteError> {
    let mut term = signal(SignalKind::terminate()).map_err(RouteError::file("SIGTERM"))?;
    let mut hangup = signal(SignalKind::hangup()).map_err(RouteError::file("SIGHUP"))?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = term.recv() => { leave.send_replace(true); }
                // The terminal that it was once started from is gone: no reason to end.
                _ = hangup.recv() => {}
            }
        }
    });
    Ok(())
}

/// Accepts until the router leaves, then lets what is under way end.
async fn accept(listener: TcpListener, gift: handover::Gift, proxy: Arc<Proxy>, mut leaving: watch::Receiver<bool>) {
    let graceful = GracefulShutdown::new();
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = leaving.wait_for(|l| *l) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(e) => {
                // Out of descriptors, most likely: those that are open must end first.
                tracing::warn!("cannot accept: {e}");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        // A connection without it is slower, not broken.
        let _ = stream.set_nodelay(true);
        let proxy = proxy.clone();
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            .max_buf_size(64 << 10)
            .serve_connection(
                TokioIo::new(stream),
                service_fn(move |request| {
                    let proxy = proxy.clone();
                    async move { Ok::<_, Infallible>(proxy.handle(peer, request).await) }
                }),
            );
        let connection = graceful.watch(connection);
        connections.spawn(async move {
            if let Err(e) = connection.await {
                tracing::debug!("connection of {peer} ended: {e}");
            }
        });
    }
    drop(listener);
    gift.lock().unwrap_or_else(PoisonError::into_inner).take();
    proxy.leaving.store(true, Ordering::Relaxed);
    connections.close();
    // A client on an idle connection may be sending just now: it gets its answer, and with it the word to reconnect.
    if tokio::time::timeout(IDLE_WHILE_LEAVING, connections.wait()).await.is_err()
        && tokio::time::timeout(LAST_REQUESTS, graceful.shutdown()).await.is_err()
    {
        tracing::warn!("{} connections were still busy and are cut", connections.len());
    }
}
