//! A bare socket: for peers that skip the handshake, and for bytes that are no frames at all.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// An unauthenticated connection.
#[derive(Debug)]
pub struct PlainSocket(TcpStream);

/// What came, until the limit ran out or the service closed.
#[derive(Debug)]
pub struct Reply {
    /// All bytes.
    pub bytes: Vec<u8>,
    /// Whether the service closed the connection.
    pub closed: bool,
}

impl Reply {
    /// The bytes as text, for searching failure messages in them.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

impl PlainSocket {
    /// Connects.
    pub fn connect(address: SocketAddr) -> Self {
        let socket =
            TcpStream::connect(address).unwrap_or_else(|e| panic!("cannot connect to {address}: {e}"));
        socket.set_nodelay(true).expect("a fresh socket takes options");
        Self(socket)
    }

    /// Sends bytes as they are; a service that has closed already is no failure here.
    pub fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).ok();
    }

    /// Reads the next whole frame, length included; none when the service closed or said nothing within the limit.
    pub fn frame(&mut self, limit: Duration) -> Option<Vec<u8>> {
        self.0.set_read_timeout(Some(limit)).expect("the limit is not zero");
        let mut frame = vec![0; 8];
        self.0.read_exact(&mut frame).ok()?;
        let length = u64::from_be_bytes(frame[..].try_into().expect("eight bytes"));
        let length = usize::try_from(length).ok().filter(|length| (8..1 << 26).contains(length))?;
        frame.resize(length, 0);
        self.0.read_exact(&mut frame[8..]).ok()?;
        Some(frame)
    }

    /// Whether nothing comes within the limit, not even the end.
    pub fn is_silent(&mut self, limit: Duration) -> bool {
        self.0.set_read_timeout(Some(limit)).expect("the limit is not zero");
        let peeked = self.0.peek(&mut [0]);
        peeked.is_err_and(|e| matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    }

    /// Reads until the service closes or the limit has passed without a byte.
    pub fn rest(&mut self, limit: Duration) -> Reply {
        self.0.set_read_timeout(Some(limit)).expect("the limit is not zero");
        let mut reply = Reply { bytes: Vec::new(), closed: false };
        let mut buffer = [0; 8192];
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => reply.closed = true,
                Ok(count) => {
                    reply.bytes.extend_from_slice(&buffer[..count]);
                    continue;
                }
                Err(e) => reply.closed = !matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            }
            return reply;
        }
    }
}
