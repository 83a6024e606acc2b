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

/// Whether `path` is answered with 2xx; if not, why.
pub async fn healthy(address: SocketAddr, path: &str) -> Result<(), String> {
    match tokio::time::timeout(ANSWER, get(address, path)).await {
        Ok(Ok(status)) if status.is_success() => Ok(()),
        Ok(Ok(status)) => Err(format!("{path} answers {status}")),
        Ok(Err(e)) => Err(format!("{path} does not answer: {e}")),
        Err(_) => Err(format!("{path} does not answer within {} s", ANSWER.as_secs())),
    }
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
