//! Plaintext in, heads and pieces of bodies out.
//!
//! Invariants:
//! * a body is never collected: its pieces are slices of what was fed, in order, and none is empty;
//! * what is collected (frames without an in-frame body, and the fixed head of those that have one) is
//!   copied as it arrives, never allocated ahead by an announced length, and never exceeds the limit that
//!   the caller set;
//! * messages come strictly one by one: `Head`, `Body`..., `End`, and the next head is looked at only after
//!   `End` was pulled, so that a limit or a layer can be changed at an exact byte;
//! * after an error the decoder stays in error: there is no way to find the next frame.
//!
//! Length rules are those of `TransportFrameDecoder`, Spark 4.3.0, except for the length 7, whose frame
//! Spark drops silently and this decoder refuses.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

use crate::codec::{DecodeError, Decoder};
use crate::message::{BodyPlace, Head, LENGTH_LEN, MAX_PAYLOAD, MessageKind};

/// A finding of [`FrameDecoder::next`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FrameEvent {
    /// A message begins. `body_len` bytes of body follow as [`FrameEvent::Body`] pieces.
    Head {
        /// Everything but the body.
        head: Head,
        /// Bytes of body to come; 0 for messages without one.
        body_len: u64,
    },
    /// The next piece of the body, never empty.
    Body(Bytes),
    /// The message is complete. Follows every head, with or without a body.
    End,
}

/// Why a stream of frames cannot go on.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum FrameError {
    /// Length 8: not even a type byte.
    #[error("empty frame")]
    Empty,
    /// Length 7, which Spark takes for "not read yet" and drops.
    #[error("frame length 7, which no sender means")]
    MarkerLength,
    /// A length that does not count its own 8 bytes.
    #[error("frame length {0} is below 8")]
    TooSmall(i64),
    /// A negative length.
    #[error("negative frame length {0}")]
    Negative(i64),
    /// A length above what Spark accepts; most often ciphertext or another protocol read as a frame.
    #[error("frame length {0} is above the 2147483654 that the protocol allows")]
    TooLarge(i64),
    /// A frame that must be collected but is larger than the limit in force.
    #[error("frame of {length} bytes is above the limit of {limit}")]
    OverLimit {
        /// The frame's length.
        length: u64,
        /// The limit.
        limit: u64,
    },
    /// A type byte that names no message.
    #[error("unknown transport message type {0}")]
    UnknownType(u8),
    /// Fields that do not fit the frame or are not what they should be.
    #[error("malformed {}", .kind.name())]
    Malformed {
        /// The message.
        kind: MessageKind,
        /// The fault in its fields.
        source: DecodeError,
    },
}

/// Finds messages in plaintext that is cut anywhere.
///
/// ```text
/// loop { decoder.feed(bytes); while let Some(incoming) = decoder.next()? { … } }
/// ```
#[derive(Debug)]
pub struct FrameDecoder {
    /// Fed, not looked at yet.
    input: VecDeque<Bytes>,
    input_len: usize,
    /// The front of the frame at hand, while it is incomplete.
    collected: BytesMut,
    state: State,
    max_collected: u64,
}

#[derive(Debug)]
enum State {
    Length,
    Type { length: u64 },
    Collect { kind: MessageKind, length: u64, head_len: usize },
    Body { left: u64 },
    Failed(FrameError),
}

impl FrameDecoder {
    /// Starts between frames. `max_collected` is the limit of [`FrameDecoder::set_limit`].
    pub fn new(max_collected: u64) -> Self {
        Self {
            input: VecDeque::new(),
            input_len: 0,
            collected: BytesMut::new(),
            state: State::Length,
            max_collected,
        }
    }

    /// Sets the most bytes of a frame that may be collected in memory, from the next frame type that is
    /// looked at. In-frame bodies do not count: they are the caller's matter.
    pub fn set_limit(&mut self, max_collected: u64) {
        self.max_collected = max_collected;
    }

    /// Takes the next bytes of plaintext.
    pub fn feed(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        self.input_len += bytes.len();
        self.input.push_back(bytes);
    }

    /// The next finding; `None` when more bytes must be fed first.
    // Fallible, and its findings depend on what is fed between calls: not an iterator.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<FrameEvent>, FrameError> {
        if let State::Failed(error) = &self.state {
            return Err(error.clone());
        }
        self.step().inspect_err(|error| self.state = State::Failed(error.clone()))
    }

    /// Whether it is between two messages and holds no byte of the next one.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Length) && self.buffered() == 0
    }

    /// Bytes that were fed and have not come out: not looked at yet, or the front of an incomplete head.
    pub fn buffered(&self) -> usize {
        self.input_len + self.collected.len()
    }

    fn step(&mut self) -> Result<Option<FrameEvent>, FrameError> {
        loop {
            match self.state {
                State::Length => {
                    if !self.gather(LENGTH_LEN) {
                        return Ok(None);
                    }
                    let length = self.collected.get_i64();
                    self.state = State::Type { length: check_length(length)? };
                }
                State::Type { length } => {
                    if !self.gather(1) {
                        return Ok(None);
                    }
                    self.state = self.begin(length, self.collected[0])?;
                }
                State::Collect { kind, length, head_len } => {
                    let Some(bytes) = self.collect(head_len) else { return Ok(None) };
                    return self.head(kind, length, bytes).map(Some);
                }
                State::Body { left: 0 } => {
                    self.state = State::Length;
                    return Ok(Some(FrameEvent::End));
                }
                State::Body { left } => {
                    let Some(piece) = self.piece(left) else { return Ok(None) };
                    self.state = State::Body { left: left - piece.len() as u64 };
                    return Ok(Some(FrameEvent::Body(piece)));
                }
                State::Failed(ref error) => return Err(error.clone()),
            }
        }
    }

    /// Decides, by the type byte, how much of the frame must be collected.
    fn begin(&self, length: u64, type_byte: u8) -> Result<State, FrameError> {
        let kind = MessageKind::from_byte(type_byte).map_err(|_| FrameError::UnknownType(type_byte))?;
        let payload = length - LENGTH_LEN as u64;
        let head_len = match kind.fixed_head_len() {
            Some(fixed) if payload < fixed as u64 => {
                let source = DecodeError::TooShort { needed: fixed as u64, left: length_left(payload) };
                return Err(FrameError::Malformed { kind, source });
            }
            Some(fixed) => fixed,
            None if length > self.max_collected => {
                return Err(FrameError::OverLimit { length, limit: self.max_collected });
            }
            None => length_left(payload),
        };
        Ok(State::Collect { kind, length, head_len })
    }

    fn head(&mut self, kind: MessageKind, length: u64, bytes: Bytes) -> Result<FrameEvent, FrameError> {
        let head_len = (LENGTH_LEN + bytes.len()) as u64;
        let mut fields = Decoder::new(bytes.slice(1..));
        let (head, behind) =
            Head::decode(kind, &mut fields).map_err(|source| FrameError::Malformed { kind, source })?;
        let body_len = match kind.body_place() {
            BodyPlace::InFrame => length - head_len,
            BodyPlace::None | BodyPlace::Behind => behind,
        };
        self.state = State::Body { left: body_len };
        Ok(FrameEvent::Head { head, body_len })
    }

    /// The whole head of `len` bytes, once it has arrived. Leaves no buffer behind: an idle connection
    /// holds none.
    fn collect(&mut self, len: usize) -> Option<Bytes> {
        if !self.gather(len) {
            return None;
        }
        Some(std::mem::take(&mut self.collected).freeze())
    }

    /// Moves input until exactly `len` bytes are collected; says whether they are.
    fn gather(&mut self, len: usize) -> bool {
        while self.collected.len() < len {
            let missing = (len - self.collected.len()) as u64;
            let Some(piece) = self.piece(missing) else { return false };
            self.collected.extend_from_slice(&piece);
        }
        true
    }

    /// Takes at most `max` bytes of input, in one piece.
    fn piece(&mut self, max: u64) -> Option<Bytes> {
        let front = self.input.front_mut()?;
        let take = usize::try_from(max).unwrap_or(usize::MAX).min(front.len());
        let piece = if take < front.len() { front.split_to(take) } else { self.input.pop_front()? };
        self.input_len -= piece.len();
        Some(piece)
    }
}

fn check_length(length: i64) -> Result<u64, FrameError> {
    let Ok(unsigned) = u64::try_from(length) else { return Err(FrameError::Negative(length)) };
    match unsigned {
        0..=6 => Err(FrameError::TooSmall(length)),
        7 => Err(FrameError::MarkerLength),
        8 => Err(FrameError::Empty),
        _ if unsigned - LENGTH_LEN as u64 > MAX_PAYLOAD => Err(FrameError::TooLarge(length)),
        _ => Ok(unsigned),
    }
}

/// A payload length that was checked against `MAX_PAYLOAD`, as a size in memory.
fn length_left(payload: u64) -> usize {
    usize::try_from(payload).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
