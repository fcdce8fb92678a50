//! The abilities that a connection needs of its socket beyond reading and writing.

use std::io;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::TcpStream;

use crate::seal::Stretch;

/// A socket that [`super::drive()`] can serve. Sockets of the kernel can also send files.
pub trait Socket: AsyncRead + AsyncWrite + Send + Unpin {
    /// Whether [`Socket::poll_send_file`] works.
    fn sends_files(&self) -> bool {
        false
    }

    /// Sends the beginning of `stretch` without a copy, as much as there is room for. Returns 0 at the end of the
    /// file.
    fn poll_send_file(&mut self, _: &mut Context<'_>, _: Stretch<'_>) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }
}

impl Socket for TcpStream {
    fn sends_files(&self) -> bool {
        true
    }

    fn poll_send_file(&mut self, cx: &mut Context<'_>, stretch: Stretch<'_>) -> Poll<io::Result<usize>> {
        let len = usize::try_from(stretch.len).unwrap_or(usize::MAX);
        let send = || {
            let mut offset = stretch.offset;
            Ok(rustix::fs::sendfile(&*self, stretch.file.fd(), Some(&mut offset), len)?)
        };
        loop {
            ready!(self.poll_write_ready(cx))?;
            match self.try_io(Interest::WRITABLE, send) {
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                sent => return Poll::Ready(sent),
            }
        }
    }
}
