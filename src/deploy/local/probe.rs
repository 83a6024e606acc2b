//! Looking at replicas from outside: a free port, an HTTP answer, the end of a process.

use super::{Shared, lock};
use http::{Request, header};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::fd::OwnedFd,
    time::Duration,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    net::TcpStream,
};

/// A replica that does not answer its health check within this is unwell.
const ANSWER: Duration = Duration::from_secs(2);

/// A port that nobody listens on and that no other replica was given. Somebody else may still take it first: then the
/// replica fails to listen and is started again with another.
pub fn free_port(shared: &Shared) -> io::Result<SocketAddr> {
    loop {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        if lock(&shared.ports).insert(address.port()) {
            return Ok(address);
        }
    }
}

/// Why a health check did not succeed.
#[derive(Debug)]
pub struct Unwell {
    pub reason: String,
    /// This daemon had no descriptor or memory to ask with: it says nothing about the replica.
    pub local: bool,
}

/// Whether `path` is answered with 2xx; if not, why.
pub async fn healthy(address: SocketAddr, path: &str) -> Result<(), Unwell> {
    let (reason, local) = match tokio::time::timeout(ANSWER, get(address, path)).await {
        Ok(Ok(status)) if status.is_success() => return Ok(()),
        Ok(Ok(status)) => (format!("{path} answers {status}"), false),
        Ok(Err(e)) => (format!("{path} does not answer: {e}"), e.downcast_ref().is_some_and(is_local)),
        Err(_) => (format!("{path} does not answer within {} s", ANSWER.as_secs()), false),
    };
    if local {
        tracing::warn!("a replica's health cannot be checked: {reason}");
    }
    Err(Unwell { reason, local })
}

fn is_local(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS))
}

async fn get(address: SocketAddr, path: &str) -> Result<http::StatusCode, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get(path)
        .header(header::HOST, address.to_string())
        .header(header::USER_AGENT, "trimtab-health")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await;
    connection.abort();
    Ok(response?.status())
}

/// Returns once the process of a pidfd has ended.
pub async fn ended(pidfd: Option<OwnedFd>) {
    let Some(pidfd) = pidfd else { return };
    // SAFETY: an `OwnedFd` always gives the same open descriptor, and `AsyncFd` keeps it until it is deregistered.
    if let Ok(pidfd) = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) } {
        // An error would mean that the runtime ends.
        let _ = pidfd.readable().await;
    }
}
