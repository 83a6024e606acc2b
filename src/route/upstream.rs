//! A replica's connection, of which what it said is heard to the end.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// How long what was said before a reset may take to be read.
const HEARD_WITHIN: Duration = Duration::from_secs(2);

/// A replica that refuses a body answers and closes, and what was on its way meets a reset. Whoever writes would stop at that with the answer
/// unread; here what cannot be sent any more goes nowhere for a moment, while reading tells the answer, or the end.
pub struct Upstream {
    stream: TcpStream,
    /// Since when nothing can be sent.
    reset: Option<Instant>,
}

impl Upstream {
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, reset: None }
    }

    /// `size`: of what was to be sent.
    fn sent(&mut self, result: Poll<io::Result<usize>>, size: usize) -> Poll<io::Result<usize>> {
        let Poll::Ready(Err(e)) = &result else { return result };
        let gone = matches!(e.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset);
        if gone && self.reset.get_or_insert_with(Instant::now).elapsed() < HEARD_WITHIN {
            return Poll::Ready(Ok(size));
        }
        result
    }
}

impl AsyncRead for Upstream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Upstream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.sent(result, buf.len())
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.sent(result, bufs.iter().map(|b| b.len()).sum())
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
