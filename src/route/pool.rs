//! One replica as the router sees it: its connections and the requests it holds.

use super::proxy::Upload;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{net::TcpStream, sync::Notify};

/// Idle connections that are kept for each replica.
const IDLE_MAX: usize = 256;
/// Servers close idle connections after 2 s (gunicorn), 5 s (uvicorn, node), ...: a request that cannot be repeated takes
/// only a connection that was used a moment ago, so that it does not meet a close on its way.
const FRESH: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A replica: shared by the routes that name it and the requests that it holds.
pub struct Replica {
    pub address: SocketAddr,
    in_flight: AtomicU64,
    drained: Notify,
    /// Router clock; before it, other replicas are preferred.
    suspect_until: AtomicU64,
    idle: Mutex<VecDeque<(Instant, SendRequest<Upload>)>>,
}

impl Replica {
    pub fn new(address: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            address,
            in_flight: AtomicU64::new(0),
            drained: Notify::new(),
            suspect_until: AtomicU64::new(0),
            idle: Mutex::default(),
        })
    }
    pub fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
    }
    pub fn end(&self) {
        if self.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.drained.notify_waiters();
        }
    }
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::SeqCst)
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
        self.suspect_until.store(now_ms + 500, Ordering::Relaxed);
    }
    pub fn is_suspect(&self, now_ms: u64) -> bool {
        self.suspect_until.load(Ordering::Relaxed) > now_ms
    }

    /// An idle connection, if one is there that still stands.
    pub fn reuse(&self, repeatable: bool) -> Option<SendRequest<Upload>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((since, sender)) = idle.pop_back() {
            if sender.is_ready() && (repeatable || since.elapsed() < FRESH) {
                return Some(sender);
            }
        }
        None
    }
    /// A new connection.
    pub async fn connect(&self) -> io::Result<SendRequest<Upload>> {
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(self.address)).await??;
        stream.set_nodelay(true)?;
        let (sender, connection) =
            http1::Builder::new().handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        tokio::spawn(async move {
            if let Err(e) = connection.await {
                tracing::debug!("connection to a replica ended: {e}");
            }
        });
        Ok(sender)
    }
    /// Takes a connection back once its answer was read.
    pub fn give_back(self: &Arc<Self>, mut sender: SendRequest<Upload>) {
        if sender.is_ready() {
            self.push(sender);
        } else if !sender.is_closed() {
            let replica = Arc::downgrade(self);
            tokio::spawn(async move {
                if let (Ok(Ok(())), Some(replica)) =
                    (tokio::time::timeout(FRESH, sender.ready()).await, replica.upgrade())
                {
                    replica.push(sender);
                }
            });
        }
    }
    fn push(&self, sender: SendRequest<Upload>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() >= IDLE_MAX {
            idle.pop_front();
        }
        idle.push_back((Instant::now(), sender));
    }
}
