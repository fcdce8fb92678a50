//! The trait of both ends, as the owner of a socket drives them.

use std::time::Instant;

use bytes::Bytes;

use super::{CloseReason, Transmit};

/// One end of a connection, as the owner of its socket drives it (see the module above for the
/// order of calls).
pub trait Engine {
    /// The handle of a body on its way out.
    type Body;
    /// A fact for the application.
    type Event;

    /// The session layers from the first byte on (TLS) can carry frames: called once, at the start where there are
    /// none.
    fn handle_ready(&mut self, _now: Instant) {}

    /// Takes bytes that the session layers opened.
    fn handle_bytes(&mut self, now: Instant, plaintext: Bytes);

    /// The peer closed its end: says why the connection is over.
    fn handle_eof(&mut self) -> CloseReason;

    /// The next fact. An error ends the connection at once.
    fn poll_event(&mut self) -> Result<Option<Self::Event>, CloseReason>;

    /// The next thing to write, in order.
    fn poll_transmit(&mut self) -> Option<Transmit<Self::Body>>;

    /// `wrote` bytes have left, and whether more wait.
    fn handle_output(&mut self, now: Instant, wrote: usize, pending: bool);

    /// The next deadline, and why the connection ends when it passes.
    fn deadline(&self) -> Option<(Instant, CloseReason)>;

    /// When to call [`Engine::handle_timeout`].
    fn poll_timeout(&self) -> Option<Instant> {
        self.deadline().map(|(at, _)| at)
    }

    /// Acts on a deadline that has passed; an error ends the connection.
    fn handle_timeout(&self, now: Instant) -> Result<(), CloseReason> {
        match self.deadline() {
            Some((at, reason)) if now >= at => Err(reason),
            _ => Ok(()),
        }
    }

    /// Whether the connection ends as soon as everything that is queued has gone out.
    fn is_closing(&self) -> bool;

    /// Why a closing connection ends; asked once.
    fn take_close_reason(&mut self) -> CloseReason;

    /// Bytes of memory that the message being collected wants from the budget, 0 where it is small.
    fn memory_wanted(&self) -> u64;

    /// Whether much is about to arrive, so that large reads pay.
    fn expects_bulk(&self) -> bool;
}

/// A body that an engine carries. The engine must know its length.
pub trait Body {
    /// Bytes of the body.
    fn len(&self) -> u64;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Body for Bytes {
    fn len(&self) -> u64 {
        Self::len(self) as u64
    }
}
