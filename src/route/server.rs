//! The router process from start to end.

use super::{
    Identity, RouteError, RouterClient, RouterSettings, Started,
    access::Access,
    config::RouteFiles,
    control::{self, Control},
    handover,
    proxy::Proxy,
    table::Table,
    workers::{Limits, Shared, Workers},
};
use crate::process::{SystemClock, raise_file_limit};
use std::{
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
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// While the router leaves, idle connections are closed after this; until then they end with their next answer.
const IDLE_WHILE_LEAVING: Duration = Duration::from_secs(5);
/// How often connections that replicas have closed are let go of.
const SWEEP: Duration = Duration::from_secs(15);
/// Requests under way may take this long once the router leaves.
const LAST_REQUESTS: Duration = Duration::from_secs(120);

/// Runs the router of `dir` until it is told to end. Prints one line ([`Started`]) once it serves or cannot.
pub fn run(dir: &Path) -> ExitCode {
    // In a session of its own, no terminal and no stop of the daemon reaches it. Fails when it leads one already.
    let _ = nix::unistd::setsid();
    raise_file_limit(None);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
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
    let workers = match settings.workers {
        0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
        n => n,
    };
    let table = Arc::new(Table::new(workers));
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
        stall: Duration::from_millis(settings.stall_ms),
        access: Access::open(dir, settings.access_log),
        clock: SystemClock::continuing(None),
        leaving: false.into(),
        tasks: TaskTracker::new(),
    });
    let limits = Limits {
        head: settings.header_limit,
        head_within: Duration::from_millis(settings.header_timeout_ms),
        stall: Duration::from_millis(settings.stall_ms),
    };
    let seed = getrandom::u64().map_err(|e| RouteError::File { path: "/dev/urandom".into(), reason: e.to_string() })?;
    let shared = Arc::new(Shared { proxy, limits, end: CancellationToken::new(), seed: seed.into() });
    let workers = Workers::start(workers, &shared).map_err(RouteError::file(dir))?;
    let gift: handover::Gift = Arc::new(Some(socket.try_clone().map_err(RouteError::file(dir))?).into());
    let listener = TcpListener::from_std(socket).map_err(RouteError::file(dir))?;
    let data = tokio::spawn(accept(listener, gift.clone(), workers, shared, leaving));
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
    tokio::spawn(sweep(table.clone()));
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

/// Until the router ends.
async fn sweep(table: Arc<Table>) {
    let mut pace = tokio::time::interval(SWEEP);
    loop {
        pace.tick().await;
        table.sweep();
    }
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
async fn accept(
    listener: TcpListener,
    gift: handover::Gift,
    workers: Workers,
    shared: Arc<Shared>,
    mut leaving: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = leaving.wait_for(|l| *l) => break,
        };
        if let Err(e) = accepted.and_then(|(stream, peer)| workers.give(stream, peer)) {
            // Out of descriptors, most likely: those that are open must end first.
            tracing::warn!("cannot accept: {e}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    drop(listener);
    gift.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Proxy { leaving, tasks, .. } = &*shared.proxy;
    leaving.store(true, Ordering::Relaxed);
    tasks.close();
    // A client on an idle connection may be sending just now: it gets its answer, and with it the word to reconnect.
    if tokio::time::timeout(IDLE_WHILE_LEAVING, tasks.wait()).await.is_ok() {
        return;
    }
    shared.end.cancel();
    if tokio::time::timeout(LAST_REQUESTS, tasks.wait()).await.is_err() {
        tracing::warn!("{} connections were still busy and are cut", tasks.len());
    }
}
