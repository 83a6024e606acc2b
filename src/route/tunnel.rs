//! Connections that change their protocol, as WebSockets do: from then on bytes are passed both ways.

use super::{
    answer::Held,
    heads,
    proxy::{Answer, VERSION_HEADER},
    refusal::Refusal,
    replica::Link,
};
use http::{HeaderMap, HeaderValue, Response, header};
use http_body_util::{Either, Full};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio_util::task::TaskTracker;

/// Both ends of what is about to be one connection.
pub struct Tunnel {
    /// `None` when the client did not ask.
    pub client: Option<OnUpgrade>,
    /// Until the tunnel ends.
    pub held: Held,
    pub link: Link,
}

/// Asks for the protocol, in a head whose own headers of the connection were taken off.
pub fn ask(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, protocol);
}

/// The replica agreed: the answer that tells the client, and a task that passes bytes until both have ended.
pub fn open(
    tasks: &TaskTracker,
    mut response: Response<Incoming>,
    tunnel: Tunnel,
) -> Result<Response<Answer>, Refusal> {
    let Tunnel { client, held, link } = tunnel;
    let version = held.lease.release.header.clone();
    let Some(client) = client else {
        return Err(Refusal::unasked_upgrade().by(version));
    };
    let replica = hyper::upgrade::on(&mut response);
    let (mut parts, _) = response.into_parts();
    let protocol = parts.headers.get(header::UPGRADE).cloned();
    heads::strip(&mut parts.headers);
    if let Some(protocol) = protocol {
        ask(&mut parts.headers, protocol);
    }
    parts.headers.insert(VERSION_HEADER, version);
    tasks.spawn(async move {
        // Counted on the replica until the end.
        let _held = held;
        drop(link);
        let (Ok(client), Ok(replica)) = tokio::join!(client, replica) else { return };
        let (mut client, mut replica) = (TokioIo::new(client), TokioIo::new(replica));
        if let Err(e) = tokio::io::copy_bidirectional(&mut client, &mut replica).await {
            tracing::debug!("a tunnel broke: {e}");
        }
    });
    Ok(Response::from_parts(parts, Either::Left(Full::default())))
}
