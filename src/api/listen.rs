//! Where the API listens: a unix socket for this machine's user, and TCP with a token when asked for.

use super::{
    routes,
    server::{Api, Caller, Failure, router},
    webhook,
};
use crate::model::Digest;
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{
    net::{SocketAddr, TcpListener},
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::{Path as FsPath, PathBuf},
    sync::Arc,
    time::Duration,
};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

/// How long a caller over TCP may take to send its headers, and an idle connection stays open.
const HEADERS: Duration = Duration::from_secs(10);
/// How long it may take to send a body.
const BODY: Duration = Duration::from_secs(15);
/// Connections over TCP at once; more wait in the system's queue. The daemon's other work needs descriptors too.
const CONNECTIONS: usize = 256;

/// Longest path of a unix socket on Linux.
const SOCKET_PATH_MAX: usize = 107;

/// Where it listens.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    pub socket: PathBuf,
    pub tcp: Option<SocketAddr>,
    /// Where the TCP address is kept while there is one: port 0 asks for any that is free.
    pub address: PathBuf,
    /// Asked for on TCP.
    pub token: String,
}

/// What is listened on: bound before anything else starts, so that an address in use leaves nothing behind.
#[derive(Debug)]
pub struct Listening {
    unix: UnixListener,
    tcp: Option<TcpListener>,
    token: String,
}

/// Takes the addresses. The socket is 0600. Nobody is answered before [`serve`].
pub fn bind(config: &ServerConfig) -> std::io::Result<Listening> {
    let tcp = config.tcp.map(|address| {
        let failed = |e: std::io::Error| {
            let help = match e.kind() {
                std::io::ErrorKind::AddrInUse => ": stop the program that uses it, or choose another with `--listen`",
                std::io::ErrorKind::PermissionDenied => ": choose a port above 1023 with `--listen`",
                _ => "",
            };
            std::io::Error::new(e.kind(), format!("cannot listen on {address}: {e}{help}"))
        };
        let listener = TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map(|()| listener)
    });
    let tcp = tcp.transpose()?;
    match std::fs::remove_file(&config.address) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    if let Some(tcp) = &tcp {
        let bound = tcp.local_addr()?;
        tracing::info!("the API is on http://{bound} too");
        std::fs::write(&config.address, bound.to_string())?;
    }
    let unix = private_socket(&config.socket)?;
    unix.set_nonblocking(true)?;
    Ok(Listening { unix, tcp, token: config.token.clone() })
}

/// Serves until `stop` ends. TCP asks for the token.
pub async fn serve(
    api: Api,
    listening: Listening,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let (send, stopped) = tokio::sync::watch::channel(false);
    tokio::spawn(async move {
        stop.await;
        // Without a listener left there is nobody to tell.
        let _ = send.send(true);
    });
    let wait = |mut stopped: tokio::sync::watch::Receiver<bool>| async move {
        let _ = stopped.wait_for(|s| *s).await;
    };
    let unix = tokio::net::UnixListener::from_std(listening.unix)?;
    if let Some(tcp) = listening.tcp {
        let tcp = tokio::net::TcpListener::from_std(tcp)?;
        let token = Arc::new(listening.token);
        let guarded = router(api.clone(), Caller::Tcp)
            .layer(middleware::from_fn(whole_body))
            .layer(middleware::from_fn(move |request, next| authorise(token.clone(), request, next)));
        let stopped = wait(stopped.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = accept(tcp, guarded) => {}
                () = stopped => {}
            }
        });
    }
    // Event streams never end by themselves: after the signal what is open is dropped.
    tokio::select! {
        done = axum::serve(unix, router(api, Caller::Socket)).into_future() => done,
        () = wait(stopped) => Ok(()),
    }
}

/// Accepts callers that nobody vouches for: none holds a connection for long without asking anything.
async fn accept(listener: tokio::net::TcpListener, app: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEADERS);
    // The semaphore is never closed.
    while let Ok(place) = places.clone().acquire_owned().await {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(e) => {
                // Out of descriptors, most likely: those that are open must end first.
                tracing::warn!("cannot accept: {e}");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let connection = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app.clone()));
        tokio::spawn(async move {
            if let Err(e) = connection.await {
                tracing::debug!("connection of {peer} ended: {e}");
            }
            drop(place);
        });
    }
}

/// Takes a body in before it is looked at: not larger than any that is asked for, and within the time.
async fn whole_body(request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let size = head.headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    let refused = |status, said: &str| Failure(status, said.into()).into_response();
    let too_large = || refused(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large");
    if size.is_some_and(|s| s > webhook::MAX_BODY as u64) {
        return too_large();
    }
    match tokio::time::timeout(BODY, to_bytes(body, webhook::MAX_BODY)).await {
        Ok(Ok(bytes)) => next.run(Request::from_parts(head, Body::from(bytes))).await,
        Ok(Err(_)) => too_large(),
        Err(_) => refused(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"),
    }
}

/// Listens on a socket that only this user can open, in the place of one that a dead daemon left (two daemons on one state
/// are kept apart by the store's lock). Bound in a folder of its own and then renamed: nobody connects before the mode is
/// set, and the umask, which all threads share, stays as it is.
fn private_socket(place: &FsPath) -> std::io::Result<UnixListener> {
    let length = place.as_os_str().len();
    if length > SOCKET_PATH_MAX {
        let over = length - SOCKET_PATH_MAX;
        return Err(std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            format!(
                "the path of the API's socket, {}, is longer than the {SOCKET_PATH_MAX} bytes that the system allows: choose a state folder \
                 (`--state`) whose path is at least {over} bytes shorter",
                place.display()
            ),
        ));
    }
    let parent = place.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(FsPath::new("."));
    let folder = tempfile::Builder::new().prefix(".s").rand_bytes(4).tempdir_in(parent)?;
    let made = folder.path().join("s");
    let listener = UnixListener::bind(&made)?;
    std::fs::set_permissions(&made, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&made, place)?;
    Ok(listener)
}

/// The token of this state folder, made at the first start.
pub fn token(state: &FsPath) -> std::io::Result<String> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let path = state.join("token");
    match std::fs::read_to_string(&path) {
        Ok(text) if text.trim().len() >= 32 => return Ok(text.trim().to_owned()),
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|e| std::io::Error::other(e.to_string()))?;
    let text = Digest::of(&bytes).hex();
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    // The mode above is only for a new file.
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(text)
}

/// Health, readiness and signed webhooks are open; everything else asks for the token.
async fn authorise(token: Arc<String>, request: Request, next: Next) -> Response {
    let open = routes::OPEN.contains(&request.uri().path());
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.split_once(' '))
        // The scheme's case means nothing (RFC 9110, 11.1).
        .and_then(|(scheme, token)| scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start()));
    let good = given.is_some_and(|g| bool::from(g.as_bytes().ct_eq(token.as_bytes())));
    if open || good {
        return next.run(request).await;
    }
    Failure(
        StatusCode::UNAUTHORIZED,
        "a token is needed: set TRIMTAB_TOKEN to the content of the daemon's state/token".into(),
    )
    .into_response()
}
