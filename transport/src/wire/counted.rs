//! Counts the bytes that pass a socket.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Socket;
use crate::seal::Stretch;

/// Byte counters that several connections share.
#[derive(Debug, Default)]
pub struct WireCounters {
    /// Ciphertext bytes that came in.
    pub received: AtomicU64,
    /// Ciphertext bytes that went out.
    pub sent: AtomicU64,
}

/// A socket that counts the bytes that pass it.
#[derive(Debug)]
pub struct Counted<S> {
    socket: S,
    counters: Arc<WireCounters>,
}

impl<S> Counted<S> {
    /// Counts the bytes of `socket` into `counters`.
    pub fn new(socket: S, counters: Arc<WireCounters>) -> Self {
        Self { socket, counters }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.socket).poll_read(cx, buf);
        let n = buf.filled().len() - before;
        self.counters.received.fetch_add(n as u64, Ordering::Relaxed);
        poll
    }
}

impl<S> Counted<S> {
    fn count_sent(&self, poll: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(n)) = poll {
            self.counters.sent.fetch_add(n as u64, Ordering::Relaxed);
        }
        poll
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.count_sent(poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl<S: Socket> Socket for Counted<S> {
    fn sends_files(&self) -> bool {
        self.socket.sends_files()
    }

    fn poll_send_file(&mut self, cx: &mut Context<'_>, stretch: Stretch<'_>) -> Poll<io::Result<usize>> {
        let poll = self.socket.poll_send_file(cx, stretch);
        self.count_sent(poll)
    }
}
