//! One replica as the router sees it: its connections, the requests it holds, and whether it is passed over.

use super::{Ejection, body::Upload, upstream::Upstream};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, recv},
};
use std::{
    io,
    net::SocketAddr,
    os::fd::AsRawFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use tokio::{net::TcpStream, sync::Notify};

/// Idle connections that each worker keeps to a replica.
const IDLE_MAX: usize = 64;
/// Servers close idle connections after 2 s (gunicorn), 5 s (uvicorn, node), ...: a request that cannot be repeated takes
/// only a connection that was used a moment ago, so that it does not meet a close on its way.
const FRESH: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection to a replica.
pub type Link = SendRequest<Upload>;

/// Connections without a request, with when each was given back; the newest last.
type Stack<L> = Vec<(Instant, L)>;

/// Those of each worker.
struct Idle<L>(Box<[Mutex<Stack<L>>]>);

impl<L> Idle<L> {
    fn new(workers: usize) -> Self {
        Self((0..workers.max(1)).map(|_| Mutex::default()).collect())
    }
    fn of(&self, worker: usize) -> MutexGuard<'_, Stack<L>> {
        self.0[worker % self.0.len()].lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// The newest that still stands.
    fn pop(&self, worker: usize, repeatable: bool, stands: impl Fn(&mut L) -> bool) -> Option<L> {
        let mut idle = self.of(worker);
        while let Some((since, mut link)) = idle.pop() {
            if stands(&mut link) && (repeatable || since.elapsed() < FRESH) {
                return Some(link);
            }
        }
        None
    }
    fn push(&self, worker: usize, link: L) {
        let mut idle = self.of(worker);
        if idle.len() >= IDLE_MAX {
            idle.remove(0);
        }
        idle.push((Instant::now(), link));
    }
    /// Lets go of those that do not stand.
    fn sweep(&self, stands: impl Fn(&mut L) -> bool) {
        (0..self.0.len()).for_each(|worker| self.of(worker).retain_mut(|(_, link)| stands(link)));
    }
}

/// A replica: shared by the routes that name it and the requests that it holds.
pub struct Replica {
    pub address: SocketAddr,
    in_flight: AtomicU64,
    drained: Notify,
    /// Router clock; before it, other replicas are preferred.
    suspect_until: AtomicU64,
    /// Failures in a row.
    failures: AtomicU32,
    /// Router clock; before it, the replica is passed over.
    ejected_until: AtomicU64,
    /// Ejections in a row.
    ejections: AtomicU32,
    idle: Idle<Link>,
    /// Of plain requests.
    plain: Idle<TcpStream>,
}

impl Replica {
    pub fn new(address: SocketAddr, workers: usize) -> Arc<Self> {
        Arc::new(Self {
            address,
            in_flight: AtomicU64::new(0),
            drained: Notify::new(),
            suspect_until: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            ejections: AtomicU32::new(0),
            idle: Idle::new(workers),
            plain: Idle::new(workers),
        })
    }
    pub fn begin(&self) {
        self.in_flight.fetch_add(1, SeqCst);
    }
    pub fn end(&self) {
        if self.in_flight.fetch_sub(1, SeqCst) == 1 {
            self.drained.notify_waiters();
        }
    }
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(SeqCst)
    }
    /// Returns once no request is held.
    pub async fn drained(&self) {
        loop {
            let notified = self.drained.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.in_flight() == 0 {
                return;
            }
            notified.await;
        }
    }

    /// Connecting failed: others are preferred for half a second.
    pub fn suspect(&self, now_ms: u64) {
        self.suspect_until.store(now_ms + 500, Relaxed);
    }
    /// Whether others are preferred.
    pub fn is_doubtful(&self, now_ms: u64) -> bool {
        self.suspect_until.load(Relaxed) > now_ms || self.is_ejected(now_ms)
    }
    pub fn is_ejected(&self, now_ms: u64) -> bool {
        self.ejected_until.load(Relaxed) > now_ms
    }
    /// It answered as it should.
    pub fn succeeded(&self) {
        // Read first: a line that all workers write to is what is dear here.
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
    }
    /// It failed; whether that was once too often in a row.
    pub fn failed(&self, ejection: &Ejection) -> bool {
        self.failures.fetch_add(1, Relaxed) + 1 >= ejection.failures && ejection.failures > 0
    }
    /// Passes it over for a time that grows with each ejection; one that has been well for the longest such time begins anew.
    pub fn eject(&self, now_ms: u64, ejection: &Ejection) {
        let last = self.ejected_until.load(Relaxed);
        let well = last.saturating_add(ejection.max_ms) < now_ms;
        let times = if well { 1 } else { self.ejections.load(Relaxed).saturating_add(1) };
        self.ejections.store(times, Relaxed);
        let span = ejection.base_ms.saturating_mul(times.into()).min(ejection.max_ms);
        self.ejected_until.store(now_ms.saturating_add(span), Relaxed);
        self.failures.store(0, Relaxed);
    }

    /// An idle connection of this worker, if one is there that still stands.
    pub fn reuse(&self, worker: usize, repeatable: bool) -> Option<Link> {
        self.idle.pop(worker, repeatable, |link| link.is_ready())
    }
    /// The same for a plain request.
    pub fn reuse_plain(&self, worker: usize, repeatable: bool) -> Option<TcpStream> {
        self.plain.pop(worker, repeatable, is_quiet)
    }
    /// A new connection for plain requests.
    pub async fn connect_plain(&self) -> io::Result<TcpStream> {
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(self.address)).await??;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
    /// Lets go of connections that the replica has closed.
    pub fn sweep(&self) {
        self.idle.sweep(|link| link.is_ready());
        self.plain.sweep(is_quiet);
    }
    /// Takes a connection of a plain request back once its answer was read.
    pub fn give_back_plain(&self, worker: usize, link: TcpStream) {
        self.plain.push(worker, link);
    }
    /// A new connection.
    pub async fn connect(&self) -> io::Result<Link> {
        let stream = self.connect_plain().await?;
        let (link, connection) =
            http1::Builder::new().handshake(TokioIo::new(Upstream::new(stream))).await.map_err(io::Error::other)?;
        tokio::spawn(async move {
            if let Err(e) = connection.with_upgrades().await {
                tracing::debug!("connection to a replica ended: {e}");
            }
        });
        Ok(link)
    }
    /// Takes a connection back once its answer was read.
    pub fn give_back(self: &Arc<Self>, worker: usize, mut link: Link) {
        if link.is_ready() {
            self.idle.push(worker, link);
        } else if !link.is_closed() {
            let replica = Arc::downgrade(self);
            tokio::spawn(async move {
                if let (Ok(Ok(())), Some(replica)) =
                    (tokio::time::timeout(FRESH, link.ready()).await, replica.upgrade())
                {
                    replica.idle.push(worker, link);
                }
            });
        }
    }
}

/// Whether nothing came on an idle connection: not its end, nor what nobody asked for. The kernel is asked: what the reactor has not told yet
/// would be a call that fails.
fn is_quiet(link: &mut TcpStream) -> bool {
    let peeked = recv(link.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT);
    peeked == Err(Errno::EAGAIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ejections_grow_are_capped_and_begin_anew() {
        let replica = Replica::new(SocketAddr::from(([127, 0, 0, 1], 1)), 1);
        let ejection = Ejection { failures: 2, base_ms: 100, max_ms: 250 };
        assert!(!replica.failed(&ejection));
        replica.succeeded();
        assert!(!replica.failed(&ejection), "in a row");
        assert!(replica.failed(&ejection));
        let mut now = 1_000;
        for span in [100, 200, 250, 250] {
            replica.eject(now, &ejection);
            assert!(replica.is_ejected(now + span - 1) && !replica.is_ejected(now + span), "{span}");
            now += span + 10;
        }
        now += 300;
        replica.eject(now, &ejection);
        assert!(replica.is_ejected(now + 99) && !replica.is_ejected(now + 100));
        let never = Ejection { failures: 0, ..ejection };
        assert!((0..100).all(|_| !replica.failed(&never)));
    }

    #[tokio::test]
    async fn connections_that_the_replica_closed_are_let_go_of() {
        let listener = tokio::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let replica = Replica::new(listener.local_addr().unwrap(), 2);
        let mut theirs = vec![];
        for worker in [0, 1, 1] {
            let link = replica.connect_plain().await.unwrap();
            theirs.push(listener.accept().await.unwrap().0);
            replica.give_back_plain(worker, link);
        }
        let open = || [0, 1].map(|worker| replica.plain.of(worker).len());
        replica.sweep();
        assert_eq!(open(), [1, 2]);
        theirs.remove(1);
        while open() != [1, 1] {
            tokio::task::yield_now().await;
            replica.sweep();
        }
        // One that says something unasked is none to ask on.
        use tokio::io::AsyncWriteExt;
        theirs[0].write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").await.unwrap();
        while open() != [0, 1] {
            tokio::task::yield_now().await;
            replica.sweep();
        }
        assert!(replica.reuse_plain(0, true).is_none() && replica.reuse_plain(1, true).is_some());
    }
}
