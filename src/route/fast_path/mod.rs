//! The fast path of plain requests: read, sent on and answered by the client's own task, in one buffer of the worker.
//!
//! Most requests are plain: HTTP/1.1, whole at once or soon, to a route that chooses by weight alone. hyper at both ends takes them twice nginx's processor
//! time, and a connection that waits holds its buffers. Whatever is not plain (another protocol, a body in chunks, a caller that is to be known again,
//! a head that could be read in two ways) is [`Left::Other`]: hyper gets the connection with what was read of it, and keeps it.

mod chunks;
mod forward;
mod read;
mod request;
mod response;
mod rewound;

use super::{
    gate::Ticket,
    heads::{self, Caller},
    proxy::{Noted, Proxy},
    split::RouteState,
    table::Lookup,
    workers::Shared,
};
use forward::Connection;
use read::Timer;
use request::{Parsed, Plain};
pub use rewound::Rewound;
use std::{
    io,
    ops::Range,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};
use tokio::{net::TcpStream, time::Instant};
use tokio_util::sync::WaitForCancellationFuture;

/// How soon all of a body must follow its head; one that takes longer is hyper's to wait for.
const BODY_WITHIN: Duration = Duration::from_millis(100);

/// What a replica sent cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} cannot be read")]
struct Malformed(&'static str);

/// A number as HTTP writes lengths: digits alone.
fn number(text: &[u8]) -> Option<usize> {
    /// Digits that cannot overflow.
    const DIGITS: usize = 18;
    let digits = (1..=DIGITS).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    digits.then(|| text.iter().fold(0, |n, digit| n * 10 + usize::from(digit - b'0')))
}

/// How the fast path of a connection ends.
pub enum Left {
    /// With the connection.
    Ended,
    /// With a request of which these bytes were read, and nothing else happened.
    Other(Vec<u8>),
}

/// A request on its way.
struct Ready {
    route: Arc<RouteState>,
    /// The environment was not named.
    live: bool,
    /// All of it as the replica sees it.
    bytes: Vec<u8>,
    /// Where its id stands in that.
    id: Range<usize>,
    repeatable: bool,
    /// Gives way to the next request when it goes.
    ticket: Option<Ticket>,
    noted: Option<Box<Noted>>,
}

impl Ready {
    fn id(&self) -> &[u8] {
        &self.bytes[self.id.clone()]
    }
}

/// What bytes from a client are.
enum Taken {
    Ready(Ready),
    /// The head of a plain request, and not all of its body.
    Begun,
    Other,
}

/// What a client wants next.
enum Next {
    Ready(Ready),
    Other(Vec<u8>),
}

/// Answers plain requests of a connection, one after the other.
pub async fn serve(shared: &Shared, caller: &Caller, client: &mut TcpStream) -> io::Result<Left> {
    let mut timer = Timer::default();
    let mut end = pin!(shared.end.cancelled());
    loop {
        let ready = match next(shared, caller, client, &mut timer, end.as_mut()).await? {
            Some(Next::Ready(ready)) => ready,
            Some(Next::Other(bytes)) => return Ok(Left::Other(bytes)),
            None => return Ok(Left::Ended),
        };
        match forward::forward(&shared.proxy, caller, client, &mut timer, ready).await? {
            Connection::Stays => {}
            Connection::Goes => {
                read::let_go(client).await;
                return Ok(Left::Ended);
            }
            Connection::Cut => return Ok(Left::Ended),
        }
    }
}

/// The next request; `None` when the client ends, or the router.
async fn next(
    shared: &Shared,
    caller: &Caller,
    client: &mut TcpStream,
    timer: &mut Timer,
    mut end: Pin<&mut WaitForCancellationFuture<'_>>,
) -> io::Result<Option<Next>> {
    let (mut begun, mut waits) = (vec![], false);
    let mut until = Instant::now() + shared.limits.head_within;
    loop {
        let taken = std::future::poll_fn(|cx| {
            let take = |bytes: &[u8]| (!bytes.is_empty()).then(|| taken(shared, caller, &mut begun, bytes));
            if let Poll::Ready(taken) = read::read(client, cx, take) {
                return Poll::Ready(taken);
            }
            if end.as_mut().poll(cx).is_ready() || timer.poll(until, cx).is_ready() {
                return Poll::Ready(Ok(None));
            }
            Poll::Pending
        });
        match taken.await? {
            // Many clients send a head, and then its body.
            Some(Taken::Begun) if !waits => (waits, until) = (true, Instant::now() + BODY_WITHIN),
            Some(Taken::Begun) => {}
            Some(Taken::Other) => return Ok(Some(Next::Other(begun))),
            Some(Taken::Ready(ready)) => return Ok(Some(Next::Ready(ready))),
            None if begun.is_empty() => return Ok(None),
            None => return Ok(Some(Next::Other(begun))),
        }
    }
}

/// What the bytes that came now are, behind those of before; all but those of a whole request are then `begun`.
fn taken(shared: &Shared, caller: &Caller, begun: &mut Vec<u8>, bytes: &[u8]) -> Taken {
    // The bytes of most requests come at once, and need no place of their own.
    let first = begun.is_empty();
    if !first {
        begun.extend_from_slice(bytes);
    }
    let taken = of_bytes(shared, caller, if first { bytes } else { begun }).unwrap_or(Taken::Other);
    if first && !matches!(taken, Taken::Ready(_)) {
        begun.extend_from_slice(bytes);
    }
    taken
}

/// `None`: hyper is to read these.
fn of_bytes(shared: &Shared, caller: &Caller, bytes: &[u8]) -> Option<Taken> {
    let Parsed::Plain(plain) = request::parse(bytes) else { return None };
    let whole = plain.head + plain.body;
    if plain.head > shared.limits.head || plain.body as u64 > shared.proxy.body_limit || bytes.len() > whole {
        return None;
    }
    if bytes.len() < whole {
        return (whole <= read::ROOM).then_some(Taken::Begun);
    }
    ready(&shared.proxy, caller, &plain, &bytes[plain.head..]).map(Taken::Ready)
}

/// Finds the route; `None` where it chooses by more than weight, or a request must wait.
fn ready(proxy: &Proxy, caller: &Caller, plain: &Plain<'_>, body: &[u8]) -> Option<Ready> {
    let (whom, rest) = heads::parse(plain.path)?;
    if matches!(whom, Lookup::Preview { .. }) {
        return None;
    }
    let route = proxy.table.find(whom)?;
    let config = &route.config;
    if config.sticky.is_some() || config.shadow.is_some() || (config.forced && plain.chooses) {
        return None;
    }
    let ticket = match config.limit {
        Some(limit) => Some(route.gate.enter(limit).ok()?.ok()?),
        None => None,
    };
    let (mut bytes, id) = plain.rewritten(caller, rest);
    bytes.extend_from_slice(body);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let noted = proxy.noted(|| (text(&bytes[id.clone()]), caller, plain.method.to_owned(), plain.path.to_owned()));
    let live = matches!(whom, Lookup::Live { .. });
    Some(Ready { route, live, bytes, id, repeatable: plain.repeatable, ticket, noted })
}
