//! The parts that both ends share: the frame decoder, the transmit order, when bytes last moved, and the end.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::{Agreement, CloseReason};
use crate::frame::FrameDecoder;
use crate::message::Head;

/// Messages up to this size are collected without asking for a share of the memory budget.
pub(super) const SMALL_FRAME: u64 = 64 << 10;

/// The next thing to write, in order.
#[derive(Debug)]
pub enum Transmit<B> {
    /// Bytes of ours: a head with a small body.
    Head(Bytes),
    /// A body that belongs directly behind the head before it.
    Body(B),
    /// The next part begins a message of its own, in ciphers that have messages.
    Boundary,
    /// From this byte on, in both directions, everything passes what the handshake agreed on.
    /// Everything before it goes out as it is, and nothing more is read until this has been done.
    Install(Box<Agreement>),
}

/// Decoder, transmit order, byte clocks and end of one connection.
pub(super) struct Link<B> {
    pub(super) decoder: FrameDecoder,
    transmits: VecDeque<Transmit<B>>,
    /// Bytes last came in.
    pub(super) last_in: Instant,
    /// Bytes last went out, or output began to wait.
    pub(super) last_out: Instant,
    /// Whether something waits to be written.
    pub(super) sending: bool,
    /// Nothing is read any more; the queue goes out.
    closing: bool,
    /// The reason of closing, until it is told.
    close_reason: Option<CloseReason>,
}

impl<B> Link<B> {
    pub(super) fn new(now: Instant, collect_limit: u64) -> Self {
        Self {
            decoder: FrameDecoder::new(collect_limit),
            transmits: VecDeque::new(),
            last_in: now,
            last_out: now,
            sending: false,
            closing: false,
            close_reason: None,
        }
    }

    pub(super) fn feed(&mut self, now: Instant, plaintext: Bytes) {
        if !self.closing {
            self.last_in = now;
            self.decoder.feed(plaintext);
        }
    }

    /// Ends the connection once everything that is queued has gone out. The first reason counts.
    pub(super) fn close(&mut self, reason: CloseReason) {
        if !self.closing {
            self.closing = true;
            self.close_reason = Some(reason);
        }
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    /// Why a closing connection ends; asked once.
    pub(super) fn take_close_reason(&mut self) -> CloseReason {
        self.close_reason.take().unwrap_or(CloseReason::PeerClosed)
    }

    /// The peer closed its end, perhaps with a body of which a part is missing.
    pub(super) fn handle_eof(&mut self, is_amid_body: bool) -> CloseReason {
        self.closing = true;
        match self.close_reason.take() {
            Some(reason) => reason,
            None if is_amid_body || !self.decoder.is_idle() => CloseReason::PeerClosedMidMessage,
            None => CloseReason::PeerClosed,
        }
    }

    /// Queues a head, with a body that is in memory directly behind it.
    pub(super) fn send(&mut self, head: &Head, body: &[u8]) -> Result<(), CloseReason> {
        let mut out = BytesMut::with_capacity(64 + body.len());
        head.encode(body.len() as u64, &mut out)?;
        out.extend_from_slice(body);
        self.transmits.push_back(Transmit::Head(out.freeze()));
        Ok(())
    }

    /// Queues a head and a body that is in memory, without a copy.
    pub(super) fn send_bytes(&mut self, head: &Head, body: Bytes) -> Result<(), CloseReason> {
        let mut out = BytesMut::with_capacity(64);
        head.encode(body.len() as u64, &mut out)?;
        self.transmits.push_back(Transmit::Head(out.freeze()));
        self.transmits.push_back(Transmit::Head(body));
        Ok(())
    }

    /// Queues a head and a body of at least one byte, which a cipher that has messages carries in two of them.
    pub(super) fn send_in_two(&mut self, head: &Head, body: &[u8]) -> Result<(), CloseReason> {
        let mut out = BytesMut::with_capacity(64);
        head.encode(body.len() as u64, &mut out)?;
        self.transmits.push_back(Transmit::Head(out.freeze()));
        self.transmits.push_back(Transmit::Boundary);
        self.transmits.push_back(Transmit::Head(Bytes::copy_from_slice(body)));
        Ok(())
    }

    /// Queues a head whose body comes from elsewhere.
    pub(super) fn send_with_body(&mut self, head: &Head, len: u64, body: B) -> Result<(), CloseReason> {
        let mut out = BytesMut::with_capacity(64);
        head.encode(len, &mut out)?;
        self.transmits.push_back(Transmit::Head(out.freeze()));
        if len > 0 {
            self.transmits.push_back(Transmit::Body(body));
        }
        Ok(())
    }

    pub(super) fn install(&mut self, agreed: Agreement) {
        self.transmits.push_back(Transmit::Install(Box::new(agreed)));
    }

    pub(super) fn poll_transmit(&mut self) -> Option<Transmit<B>> {
        self.transmits.pop_front()
    }

    pub(super) fn handle_output(&mut self, now: Instant, wrote: usize, pending: bool) {
        if wrote > 0 || (pending && !self.sending) {
            self.last_out = now;
        }
        self.sending = pending;
    }

    /// When bytes last moved in either direction.
    pub(super) fn last_progress(&self) -> Instant {
        self.last_in.max(self.last_out)
    }

    /// Bytes that may only come after our answer came before it.
    pub(super) fn refuse_early_bytes(&self) -> Result<(), CloseReason> {
        match self.decoder.buffered() {
            0 => Ok(()),
            early => Err(CloseReason::EarlyBytes(early)),
        }
    }
}

/// An in-frame body that is collected because it is small and needed whole.
#[derive(Debug)]
pub(super) struct Collect {
    len: u64,
    first: Bytes,
    rest: BytesMut,
}

impl Collect {
    /// The body of a `what` of `len` bytes, unless it is longer than the `limit` that `key` sets.
    pub(super) fn new(
        what: &'static str,
        len: u64,
        (limit, key): (u64, &'static str),
    ) -> Result<Self, CloseReason> {
        if len > limit {
            return Err(CloseReason::TooLarge { what, len, limit, key });
        }
        Ok(Self { len, first: Bytes::new(), rest: BytesMut::new() })
    }

    /// Bytes of memory that it wants from the budget; 0 if it is small.
    pub(super) fn memory_wanted(&self) -> u64 {
        if self.len > SMALL_FRAME { self.len } else { 0 }
    }

    /// Adds a piece; the common case of one piece costs no copy.
    pub(super) fn push(&mut self, piece: Bytes) {
        if self.first.is_empty() && self.rest.is_empty() {
            self.first = piece;
            return;
        }
        if !self.first.is_empty() {
            self.rest.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.rest.extend_from_slice(&piece);
    }

    /// The whole body.
    pub(super) fn finish(self) -> Bytes {
        if self.rest.is_empty() { self.first } else { self.rest.freeze() }
    }
}
