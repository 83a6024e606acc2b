//! An answer on its way to the client, and what is held until its last byte.

use super::{gate::Ticket, replica::Link, shadow::Tee, split::Lease, table::Table};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

/// What is held while a request is under way.
pub struct Held {
    pub lease: Lease,
    /// Gives way to the next request when it goes.
    pub _ticket: Option<Ticket>,
    pub table: Arc<Table>,
    pub worker: usize,
}

/// Holds the replica's count until the last byte, then gives the connection back.
pub struct Download {
    inner: Incoming,
    held: Option<(Held, Link)>,
    tee: Option<Tee>,
}
impl Download {
    pub fn new(inner: Incoming, held: Held, link: Link, tee: Option<Tee>) -> Self {
        let mut download = Self { inner, held: Some((held, link)), tee };
        if download.inner.is_end_stream() {
            download.finish();
        }
        download
    }
    fn finish(&mut self) {
        if let Some((held, link)) = self.held.take() {
            held.lease.replica.give_back(held.worker, link);
        }
        if let Some(tee) = self.tee.take() {
            tee.end();
        }
    }
    fn broke(&mut self) {
        self.tee = None;
        if let Some((Held { lease, table, worker, .. }, _)) = self.held.take() {
            lease.broke_off(worker, table.now_ms());
        }
    }
}
impl Body for Download {
    type Data = Bytes;
    type Error = hyper::Error;
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(cx);
        match &frame {
            Poll::Ready(None) => self.finish(),
            Poll::Ready(Some(Err(_))) => self.broke(),
            Poll::Ready(Some(Ok(part))) => {
                if let Some(data) = part.data_ref()
                    && self.tee.as_mut().is_some_and(|tee| !tee.hear(data))
                {
                    self.tee = None;
                }
                if self.inner.is_end_stream() {
                    self.finish();
                }
            }
            Poll::Pending => {}
        }
        frame
    }
    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
