//! Reads without a buffer of one's own: a connection that waits holds none.

use crate::route::body::{LINGER, LINGER_BYTES, LINGER_PAUSE};
use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep},
};

/// Bytes of one read.
pub const ROOM: usize = 64 << 10;

thread_local! {
    /// One of each worker: what is read is taken before the next read.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; ROOM].into());
}

/// Reads once; `take` is given what came, which is nothing at the end. It must not read itself.
pub fn read<T>(stream: &mut TcpStream, cx: &mut Context<'_>, take: impl FnOnce(&[u8]) -> T) -> Poll<io::Result<T>> {
    BUFFER.with_borrow_mut(|room| {
        let mut buffer = ReadBuf::new(room);
        ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(take(buffer.filled())))
    })
}

/// Ends a connection whose client was told so. What it still sends is read for a moment: unread, it would make the end a reset, which takes
/// the rest of the answer with it.
pub async fn let_go(client: &mut TcpStream) {
    let rest = async {
        client.shutdown().await?;
        let mut total = 0;
        while total <= LINGER_BYTES {
            let size = std::future::poll_fn(|cx| read(client, cx, <[u8]>::len));
            match tokio::time::timeout(LINGER_PAUSE, size).await {
                Ok(Ok(size)) if size > 0 => total += size,
                _ => break,
            }
        }
        io::Result::Ok(())
    };
    // However it ends, nothing is to be said any more.
    let _ = tokio::time::timeout(LINGER, rest).await;
}

/// A timer that is set seldom: one that rings too early is set again, and one that rings too late is set back.
#[derive(Default)]
pub struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Ready from `until` on.
    pub fn poll(&mut self, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if sleep.deadline() > until {
            sleep.as_mut().reset(until);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= until {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(until);
        }
    }
}
