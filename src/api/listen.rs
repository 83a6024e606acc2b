//! Where the API listens: a unix socket for this machine's user, and TCP with a token when asked for.

use super::{
    again::Again,
    mlflow::{
        self, Taken,
        access::{self, Who},
    },
    routes,
    server::{Api, Caller, Failure, Peer, router, tracking_router},
    webhook,
};
use crate::model::{
    Digest,
    tracking::{ErrorCode, TrackingError},
};
use crate::reconcile::Reconciler;
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use futures::StreamExt;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{
    error::Error,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
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
/// How long nothing may come of a body that takes its time.
const IDLE: Duration = Duration::from_secs(30);
/// Connections over TCP at once; more wait in the system's queue. The daemon's other work needs descriptors too.
const CONNECTIONS: usize = 256;

/// Longest path of a unix socket on Linux.
const SOCKET_PATH_MAX: usize = 107;

/// Where it listens.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    pub socket: PathBuf,
    /// Where everything is served over TCP.
    pub tcp: Option<SocketAddr>,
    /// Where the TCP address is kept while there is one: port 0 asks for any that is free.
    pub address: PathBuf,
    /// Where clients of MLflow are served; a free port of this machine when nobody says, the same again at the next start.
    pub tracking: Option<SocketAddr>,
    /// Where that address is kept.
    pub tracking_address: PathBuf,
    /// Asked for on TCP.
    pub token: String,
}

/// What is listened on: bound before anything else starts, so that an address in use leaves nothing behind.
#[derive(Debug)]
pub struct Listening {
    unix: UnixListener,
    tcp: Option<TcpListener>,
    tracking: TcpListener,
    token: String,
}

impl Listening {
    /// Where clients on this machine find the tracking server.
    pub fn tracking_url(&self) -> std::io::Result<String> {
        let mut address = self.tracking.local_addr()?;
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        Ok(format!("http://{address}"))
    }
}

fn listener(address: SocketAddr, flag: &str) -> std::io::Result<TcpListener> {
    let failed = |e: std::io::Error| {
        let help = match e.kind() {
            std::io::ErrorKind::AddrInUse => {
                format!(": stop the program that uses it, or choose another with `{flag}`")
            }
            std::io::ErrorKind::PermissionDenied => format!(": choose a port above 1023 with `{flag}`"),
            _ => String::new(),
        };
        std::io::Error::new(e.kind(), format!("cannot listen on {address}: {e}{help}"))
    };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map(|()| listener)
}

/// The tracking server's own place: runs that a daemon before this one started find it where they were told.
fn tracking_listener(config: &ServerConfig) -> std::io::Result<TcpListener> {
    const FLAG: &str = "--tracking";
    if let Some(address) = config.tracking {
        return listener(address, FLAG);
    }
    let before =
        std::fs::read_to_string(&config.tracking_address).ok().and_then(|a| a.trim().parse::<SocketAddr>().ok());
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    match before.filter(|a| a.ip().is_loopback()).map(|address| listener(address, FLAG)) {
        Some(Ok(found)) => Ok(found),
        Some(Err(e)) if e.kind() == std::io::ErrorKind::AddrInUse => {
            tracing::warn!("{e}: clients of MLflow find the tracking server at another port now");
            listener(free, FLAG)
        }
        _ => listener(free, FLAG),
    }
}

/// Takes the addresses. The socket is 0600. Nobody is answered before [`serve`].
pub fn bind(config: &ServerConfig) -> std::io::Result<Listening> {
    let tcp = config.tcp.map(|address| listener(address, "--listen")).transpose()?;
    match std::fs::remove_file(&config.address) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    if let Some(tcp) = &tcp {
        let bound = tcp.local_addr()?;
        tracing::info!("the API is on http://{bound} too");
        std::fs::write(&config.address, bound.to_string())?;
    }
    let tracking = tracking_listener(config)?;
    std::fs::write(&config.tracking_address, tracking.local_addr()?.to_string())?;
    let unix = private_socket(&config.socket)?;
    unix.set_nonblocking(true)?;
    Ok(Listening { unix, tcp, tracking, token: config.token.clone() })
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
    let tracking = tracking_token(&listening.token);
    let secrets = Arc::new(Secrets { all: listening.token, tracking, reconciler: api.reconciler.clone() });
    let offered = |listener: TcpListener, app: Router| -> std::io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let secrets = secrets.clone();
        let guarded = app
            .layer(middleware::from_fn(whole_body))
            .layer(middleware::from_fn(move |request, next| authorise(secrets.clone(), request, next)));
        let stopped = wait(stopped.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = accept(listener, guarded) => {}
                () = stopped => {}
            }
        });
        Ok(())
    };
    if let Some(tcp) = listening.tcp {
        offered(tcp, router(api.clone(), Caller::Tcp))?;
    }
    offered(listening.tracking, tracking_router(api.clone()))?;
    let socket = router(api, Caller::Socket).into_make_service_with_connect_info::<Peer>();
    // Event streams never end by themselves: after the signal what is open is dropped.
    tokio::select! {
        done = axum::serve(unix, socket).into_future() => done,
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
            if let Err(e) = Again::new(connection).await {
                tracing::debug!("connection of {peer} ended: {e}");
            }
            drop(place);
        });
    }
}

/// Takes a body in before it is looked at: not larger than any that is asked for, and within the time. Of MLflow's clients files are passed
/// on as they come, and other bodies may be large: they are cut when nothing comes for long.
async fn whole_body(request: Request, next: Next) -> Response {
    let taken = mlflow::body(request.method(), request.uri().path());
    let (head, body) = request.into_parts();
    let size = head.headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    let refused = |status, said: &str| Failure(status, said.into()).into_response();
    let too_large = || refused(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large");
    let (body, limit, time) = match taken {
        Some(Taken::Streamed) => return next.run(Request::from_parts(head, patient(body))).await,
        Some(Taken::Whole(limit)) => (patient(body), limit, Duration::MAX),
        None => (body, webhook::MAX_BODY, BODY),
    };
    if size.is_some_and(|s| s > limit as u64) {
        return too_large();
    }
    match tokio::time::timeout(time, to_bytes(body, limit)).await {
        Ok(Ok(bytes)) => next.run(Request::from_parts(head, Body::from(bytes))).await,
        Ok(Err(e)) if e.source().is_some_and(|e| e.is::<http_body_util::LengthLimitError>()) => too_large(),
        Ok(Err(_)) | Err(_) => refused(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"),
    }
}

/// The same body, which ends with an error when nothing comes for a while.
fn patient(body: Body) -> Body {
    let late = |_| std::io::Error::new(std::io::ErrorKind::TimedOut, "nothing more came for a while");
    let pieces = futures::stream::unfold(Some(body.into_data_stream()), move |stream| async move {
        let mut stream = stream?;
        match tokio::time::timeout(IDLE, stream.next()).await.map_err(late) {
            Ok(piece) => Some((piece?.map_err(std::io::Error::other), Some(stream))),
            Err(e) => Some((Err(e), None)),
        }
    });
    Body::from_stream(pieces)
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

/// What may be shown instead of a name: the token of this state folder opens everything, that of its runs the tracking server.
struct Secrets {
    all: String,
    tracking: String,
    /// Knows the users that Git names.
    reconciler: Reconciler,
}

/// The token that runs are given: it follows from the other, and opens the tracking server alone.
pub fn tracking_token(token: &str) -> String {
    Digest::of(format!("trimtab tracking {token}").as_bytes()).hex()
}

/// What a caller shows.
struct Shown {
    user: Option<String>,
    secret: String,
}

/// A bearer token, or the password of basic authentication, as MLflow's clients send them. The scheme's case means nothing (RFC 9110, 11.1).
fn shown(request: &Request) -> Option<Shown> {
    let given = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, secret) = given.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Shown { user: None, secret: secret.trim_start().to_owned() });
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, secret.trim()).ok()?;
    let (user, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some(Shown { user: Some(user.to_owned()), secret: password.to_owned() })
}

impl Secrets {
    /// Who shows this; `None` when nobody who may call here.
    fn who(&self, shown: &Shown, tracking: bool) -> Option<Who> {
        let is = |secret: &str| bool::from(shown.secret.as_bytes().ct_eq(secret.as_bytes()));
        if is(&self.all) || tracking && is(&self.tracking) {
            return Some(Who::Owner);
        }
        if !tracking {
            return None;
        }
        access::user(&self.reconciler, shown.user.as_deref(), &shown.secret)
    }
}

/// Whether a page of another site asks for a change: a browser adds what its user typed here to whatever any page asks of this server. As
/// `should_block_cors_request` in `mlflow/server/security_utils.py`, but told by what browsers say of it where they do.
fn from_elsewhere(request: &Request) -> bool {
    let text = |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok());
    if request.method().is_safe() {
        return false;
    }
    match (text("sec-fetch-site"), text("origin")) {
        (Some(site), _) => !matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => origin.split_once("://").map(|(_, authority)| authority) != text("host"),
        (None, None) => false,
    }
}

/// Health, readiness, signed webhooks and signed uploads are open; everything else asks for the token.
async fn authorise(secrets: Arc<Secrets>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let open = routes::OPEN.contains(&path) || mlflow::is_open(request.method(), path);
    let tracking = mlflow::is_path(path);
    let shown = shown(&request);
    let who = shown.as_ref().and_then(|shown| secrets.who(shown, tracking));
    if let Some(who) = who {
        if from_elsewhere(&request) {
            let said = "a page of another site asks for this change: it is refused";
            return TrackingError::new(ErrorCode::PermissionDenied, said).into_response();
        }
        request.extensions_mut().insert(who);
        return next.run(request).await;
    }
    if open {
        return next.run(request).await;
    }
    let said = refusal(shown.as_ref(), request.headers().contains_key(header::AUTHORIZATION), tracking);
    if tracking {
        let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"trimtab\"")];
        return (challenge, TrackingError::new(ErrorCode::Unauthenticated, said)).into_response();
    }
    Failure(StatusCode::UNAUTHORIZED, said.into()).into_response()
}

/// What is said to whom nobody knows. Which half of a login is wrong is not told, and nothing of what was shown.
fn refusal(shown: Option<&Shown>, given: bool, tracking: bool) -> &'static str {
    match (shown, tracking) {
        (Some(Shown { user: Some(_), .. }), true) => "the user name or the password is wrong",
        (Some(_), _) => "the token is wrong",
        (None, _) if given => "the login cannot be read: send a user name and a password (Basic), or a token (Bearer)",
        (None, true) => {
            "a login is needed: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN; whoever runs this \
             server gives them out ([[tracking.user]] in its trimtab.toml). Its operator may use the content of the daemon's state/token"
        }
        (None, false) => "a token is needed: set TRIMTAB_TOKEN to the content of the daemon's state/token",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_to_do_and_nothing_of_what_was_shown() {
        let told = |authorization: Option<&str>, tracking| {
            let mut request = Request::new(Body::empty());
            if let Some(text) = authorization {
                request.headers_mut().insert(header::AUTHORIZATION, text.parse().unwrap());
            }
            refusal(shown(&request).as_ref(), authorization.is_some(), tracking)
        };
        let nothing = told(None, true);
        let names = [
            "MLFLOW_TRACKING_USERNAME",
            "MLFLOW_TRACKING_PASSWORD",
            "MLFLOW_TRACKING_TOKEN",
            "whoever runs",
            "state/token",
        ];
        assert!(names.iter().all(|name| nothing.contains(name)), "{nothing}");
        // ada:guess
        assert_eq!(told(Some("Basic YWRhOmd1ZXNz"), true), "the user name or the password is wrong");
        assert_eq!(told(Some("Bearer guess"), true), "the token is wrong");
        assert_eq!(told(Some("Bearer guess"), false), "the token is wrong");
        assert!(told(Some("Basic ???"), true).contains("cannot be read"));
        assert!(told(None, false).contains("TRIMTAB_TOKEN"));
    }
}
