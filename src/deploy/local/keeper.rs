//! Keeps one router running: adopts it, replaces one of another binary without a gap, starts it again when it dies.

use super::{Shared, folder, lock, probe};
use crate::{
    ports::{PortError, PortResult},
    process::Identity,
    route::{RouterClient, RouterSettings, Started},
};
use std::{
    path::Path,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

/// How long a router may take to start.
const START: Duration = Duration::from_secs(20);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// A router that does not answer so often in a row, each time within [`RouterClient::ping`]'s limit, hangs.
const MISSES: u32 = 3;
const PING_EVERY: Duration = Duration::from_secs(5);

/// Makes sure that a router of this binary serves at the wanted address; returns its process.
pub async fn ensure(shared: &Arc<Shared>) -> PortResult<Identity> {
    let exe = shared.config.exe.clone();
    let ours =
        tokio::task::spawn_blocking(move || digest(&exe)).await.map_err(|e| PortError::retryable(e.to_string()))??;
    let wanted = shared.config.router_address;
    let fits = |a: std::net::SocketAddr| a.ip() == wanted.ip() && (wanted.port() == 0 || wanted.port() == a.port());
    let found = match shared.router.identity().await {
        Ok(found) if found.exe == ours && fits(found.address) => found,
        Ok(found) => {
            tracing::info!("router {} is of another binary or address: a new one takes over", found.pid);
            start(shared).await?
        }
        Err(_) => {
            end_hung(shared).await;
            start(shared).await?
        }
    };
    let routes = shared.router.routes().await?;
    *lock(&shared.routes) = routes.into_iter().map(|r| ((r.environment.clone(), r.model.clone()), r)).collect();
    *lock(&shared.address) = Some(found.address);
    let pid = i32::try_from(found.pid).ok();
    pid.and_then(Identity::of).ok_or_else(|| PortError::retryable("the router ended right after its start"))
}

/// Ends a router that holds its sockets and answers nothing: the port would stay with it.
async fn end_hung(shared: &Shared) {
    let found = shared.router.holder().await.and_then(Identity::of);
    // Told from one that is just about to end by asking once more.
    if let Some(hung) = found.filter(Identity::is_alive)
        && shared.router.ping().await.is_err()
    {
        tracing::error!("router {} does not answer: it is ended", hung.pid);
        hung.signal(libc::SIGKILL);
        probe::ended(hung.pidfd()).await;
    }
}

fn digest(exe: &Path) -> PortResult<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_mmap_rayon(exe).map_err(|e| PortError::permanent(format!("cannot read {}: {e}", exe.display())))?;
    Ok(hasher.finalize().to_hex().to_string())
}

async fn start(shared: &Shared) -> PortResult<crate::route::Identity> {
    let dir = shared.config.state_dir.join("router");
    RouterSettings::new(shared.config.router_address).save(&dir)?;
    let failed = |e: std::io::Error| PortError::retryable(format!("cannot start the router: {e}"));
    let log = std::fs::OpenOptions::new().create(true).append(true).open(dir.join("router.log")).map_err(failed)?;
    let mut child = Command::new(&shared.config.exe)
        .arg("internal-router")
        .arg(&dir)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .map_err(failed)?;
    let mut line = String::new();
    if let Some(out) = child.stdout.take() {
        let read = tokio::time::timeout(START, BufReader::new(out).read_line(&mut line)).await;
        read.map_err(|_| PortError::retryable("the router did not start in time"))?.map_err(failed)?;
    }
    // Collects it when it ends while this daemon lives.
    tokio::spawn(async move { child.wait().await });
    match serde_json::from_str(&line) {
        Ok(Started::Ready(identity)) => Ok(identity),
        Ok(Started::Failed(reason)) => Err(PortError::permanent(reason)),
        Err(_) => Err(PortError::retryable(format!(
            "the router ended at its start; see {}",
            dir.join("router.log").display()
        ))),
    }
}

/// Watches the router and starts it again when it ends. Its routes are on its disk, so it serves at once.
pub async fn keep(shared: Arc<Shared>, mut router: Identity) {
    loop {
        tokio::select! {
            () = probe::ended(router.pidfd()) => tracing::warn!("the router ended; starting it again"),
            () = hangs(&shared) => {
                tracing::error!("router {} hangs: it is ended and started again", router.pid);
                router.signal(libc::SIGKILL);
                probe::ended(router.pidfd()).await;
            }
        }
        let mut wait = Duration::from_millis(50);
        router = loop {
            match ensure(&shared).await {
                Ok(router) => break router,
                Err(e) => {
                    tracing::error!("{e}");
                    *lock(&shared.trouble) = Some(e.message);
                }
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY_MAX);
        };
        *lock(&shared.trouble) = None;
        // Whoever told the old one something that the new one does not know tells it again.
        for supervisor in lock(&shared.supervisors).values() {
            supervisor.send_modify(|_| ());
        }
    }
}

/// Returns once the router was asked several times in a row and did not answer. From the second time on others are told.
async fn hangs(shared: &Shared) {
    let mut misses = 0;
    while misses < MISSES {
        tokio::time::sleep(PING_EVERY).await;
        match shared.router.ping().await {
            Ok(()) if misses == 0 => {}
            Ok(()) => {
                misses = 0;
                *lock(&shared.trouble) = None;
            }
            Err(e) => {
                misses += 1;
                tracing::warn!("the router did not answer ({misses} of {MISSES}): {e}");
                if misses > 1 {
                    *lock(&shared.trouble) = Some("the router does not answer".into());
                }
            }
        }
    }
}

/// Stops the router and every replica below a state folder, whether a daemon runs there or not.
pub fn stop_everything(state: &Path) {
    stop_router(state);
    let all: Vec<_> = folder::scan(state).into_values().flatten().collect();
    for replica in &all {
        replica.handle.stop();
    }
    let until = Instant::now() + Duration::from_secs(12);
    for replica in all {
        if replica.handle.wait(|| Instant::now() > until).is_none() {
            replica.handle.kill();
        }
        folder::remove(&replica.dir);
    }
}

fn stop_router(state: &Path) {
    let client = RouterClient::new(&state.join("router"));
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let Ok(found) = client.identity().await else { return };
        let Some(router) = i32::try_from(found.pid).ok().and_then(Identity::of) else { return };
        let asked = client.shutdown().await;
        if asked.is_err() || tokio::time::timeout(Duration::from_secs(1), probe::ended(router.pidfd())).await.is_err() {
            router.signal(libc::SIGKILL);
            probe::ended(router.pidfd()).await;
        }
    });
}
