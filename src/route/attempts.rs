//! What is tried again when a replica brings no answer, and what that says of its release.

use super::{exchange::Reuse, split::Lease, table::Table};
use http::StatusCode;
use std::{net::SocketAddr, time::Instant};

/// Attempts at one request, at most.
const ATTEMPTS: usize = 4;

/// Why an attempt brought no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The replica could not be reached.
    Connect,
    /// The connection was closed before the request went out.
    Unsent,
    /// Broken after it went out.
    Broken,
    /// It answered with what was not asked for.
    Unasked,
    Timeout,
}

/// The attempts at one request.
pub struct Attempts {
    /// Whether it may be sent twice.
    repeatable: bool,
    failed: usize,
    tried: Vec<SocketAddr>,
    reuse: Reuse,
}

impl Attempts {
    pub fn new(repeatable: bool) -> Self {
        let reuse = if repeatable { Reuse::Any } else { Reuse::Fresh };
        Self { repeatable, failed: 0, tried: vec![], reuse }
    }

    /// Replicas that are not to be asked again.
    pub fn tried(&self) -> &[SocketAddr] {
        &self.tried
    }

    /// Connections that the next attempt may use.
    pub fn reuse(&self) -> Reuse {
        self.reuse
    }

    /// Whether nothing was tried yet.
    pub fn is_first(&self) -> bool {
        self.failed == 0
    }

    /// Takes in that an attempt failed, which is told as `status`; whether another is to be made.
    pub fn again(
        &mut self,
        fault: Fault,
        status: StatusCode,
        (table, worker): (&Table, usize),
        lease: &Lease,
        begun: Instant,
    ) -> bool {
        self.failed += 1;
        let now_ms = table.now_ms();
        let micros = || u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let replicas_fault = !status.is_client_error();
        if replicas_fault && fault != Fault::Unsent {
            lease.release.failed(&lease.replica, now_ms);
        }
        let may = match fault {
            Fault::Connect | Fault::Unsent => true,
            Fault::Broken => self.repeatable,
            Fault::Unasked | Fault::Timeout => false,
        };
        let again = may && self.failed < ATTEMPTS;
        match fault {
            Fault::Connect if again => {
                lease.replica.suspect(now_ms);
                self.tried.push(lease.replica.address);
            }
            // A connection of its own cannot have ended for being idle: it is the release that breaks off, so another is asked, where
            // there is one. That this one answers is no merit of the release.
            Fault::Broken if again && self.reuse == Reuse::No => {
                lease.release.stats.record(worker, now_ms, micros(), true);
                self.tried.extend(lease.release.replicas.iter().map(|r| r.address));
            }
            _ if again => {}
            _ => {
                lease.release.meter.record(status, begun.elapsed());
                if replicas_fault {
                    lease.release.stats.record(worker, now_ms, micros(), true);
                }
            }
        }
        self.reuse = Reuse::No;
        again
    }
}
