//! Why a connection ends.

use std::time::Duration;

use thiserror::Error;

use crate::auth::legacy::LegacyError;
use crate::auth::{AuthError, AuthMessageError};
use crate::cipher::CipherError;
use crate::codec::{DecodeError, EncodeError};
use crate::frame::FrameError;
use crate::sasl::SaslError;
use crate::shown::Shown;

/// Why a connection ends. `Display` is for our log; the peer sees the socket close.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer closed its end between two messages.
    #[error("the peer closed the connection")]
    PeerClosed,
    /// The peer closed its end in the middle of a message.
    #[error("the peer closed the connection in the middle of a message")]
    PeerClosedMidMessage,
    /// The bytes are not Spark's framing.
    #[error("bad frame: {0}")]
    Frame(#[from] FrameError),
    /// A message does not decode.
    #[error("bad message: {0}")]
    Message(#[from] DecodeError),
    /// A message of ours does not fit the protocol.
    #[error("cannot be said: {0}")]
    Unsayable(#[from] EncodeError),
    /// The session cipher refused the bytes.
    #[error("session cipher: {0}")]
    Cipher(#[from] CipherError),
    /// Bytes came between the challenge and our answer, where only silence is legal.
    #[error("{0} bytes came before the handshake was answered")]
    EarlyBytes(usize),
    /// A message that this end never expects.
    #[error("unexpected {0}")]
    Unexpected(&'static str),
    /// A frame larger than the limit that applies to it.
    #[error("a {what} of {len} bytes is over the limit of {limit} bytes ({key})")]
    TooLarge {
        /// The announced thing.
        what: &'static str,
        /// Announced bytes.
        len: u64,
        /// The bound.
        limit: u64,
        /// The configuration key of the bound.
        key: &'static str,
    },
    /// The handshake did not end in time.
    #[error("no handshake within {0:?}")]
    HandshakeTimeout(Duration),
    /// The peer's proof failed, or it may not be served; it was told and the connection ends.
    #[error("refused: {}", Shown(.0))]
    Refused(String),
    /// The server refused our handshake, in its words.
    #[error("the server refused the handshake: {}", Shown::first_line(.0))]
    HandshakeRefused(String),
    /// The server's answer to our handshake is none.
    #[error("handshake: {0}")]
    HandshakeAnswer(#[from] AuthMessageError),
    /// The server's answer to our handshake does not verify.
    #[error("handshake: {0}")]
    Handshake(#[from] AuthError),
    /// The same for the PBKDF2 handshake.
    #[error("handshake: {0}")]
    LegacyHandshake(#[from] LegacyError),
    /// The same for SASL.
    #[error("handshake: {0}")]
    SaslHandshake(#[from] SaslError),
    /// Nothing happened for long.
    #[error("idle for {0:?}")]
    Idle(Duration),
    /// The peer stopped in the middle of a message.
    #[error("the peer stopped in the middle of a message for {0:?}")]
    StalledSender(Duration),
    /// The peer does not read what it asked for.
    #[error("the peer took nothing of what it asked for within {0:?}")]
    StalledReader(Duration),
    /// The peer owes an answer and sends nothing.
    #[error("the server sent nothing for {0:?} while it owed {1} answers")]
    NoAnswer(Duration, usize),
    /// A socket error.
    #[error("socket: {0}")]
    Io(#[from] std::io::Error),
    /// A block turned out short or unreadable after its head was sent: only a close can say so.
    #[error("a block failed after its head was sent: {}", Shown(.0))]
    BodyFailed(String),
    /// No memory, or no disk, for what this connection needs.
    #[error(
        "waited {waited:?} for {what}: raise spark.sealed.memory.budget, or look for slow readers and dead disks"
    )]
    Starved {
        /// The resource that it waited for.
        what: &'static str,
        /// How long.
        waited: Duration,
    },
    /// Others needed the memory that it held and hardly used.
    #[error("it held memory that others waited for, and moved less than spark.sealed.memory.min-rate")]
    Evicted,
    /// Its application holds all that it may of something. That passes, and the peer may try again.
    #[error("the application's share of {what} is used up: it may try again")]
    ShareUsedUp {
        /// The thing that is shared.
        what: &'static str,
    },
    /// It had proven nothing, and others waited for its place.
    #[error(
        "it had proven nothing, and its place went to a peer that waited for one (spark.sealed.connections.max)"
    )]
    GaveWay,
    /// We are shutting down.
    #[error("shutting down")]
    ShuttingDown,
}

/// The party that caused a close; decides the log level and the metric.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Blame {
    /// Nobody's: connections end.
    Nobody,
    /// The peer broke the rules or sent garbage.
    Peer,
    /// The peer is too slow, or gone.
    Network,
    /// The peer is configured otherwise than we are.
    Policy,
    /// Ours.
    Us,
}

impl CloseReason {
    /// The party that caused it.
    pub fn blame(&self) -> Blame {
        match self {
            Self::PeerClosed | Self::Idle(_) | Self::ShuttingDown => Blame::Nobody,
            Self::Frame(_)
            | Self::Message(_)
            | Self::Cipher(_)
            | Self::HandshakeAnswer(_)
            | Self::EarlyBytes(_)
            | Self::Unexpected(_)
            | Self::TooLarge { .. } => Blame::Peer,
            Self::PeerClosedMidMessage
            | Self::HandshakeTimeout(_)
            | Self::StalledSender(_)
            | Self::StalledReader(_)
            | Self::Evicted
            | Self::GaveWay
            | Self::ShareUsedUp { .. }
            | Self::NoAnswer(..)
            | Self::Io(_) => Blame::Network,
            Self::Refused(_)
            | Self::HandshakeRefused(_)
            | Self::Handshake(_)
            | Self::LegacyHandshake(_)
            | Self::SaslHandshake(_) => Blame::Policy,
            Self::BodyFailed(_) | Self::Unsayable(_) | Self::Starved { .. } => Blame::Us,
        }
    }

    labels! {
        /// A short fixed word for metrics.
        pub fn label, LABELS {
            Self::PeerClosed => "peer_closed",
            Self::PeerClosedMidMessage => "peer_closed_mid_message",
            Self::Frame(_) => "bad_frame",
            Self::Message(_) => "bad_message",
            Self::Cipher(CipherError::Tls(_)) => "tls",
            Self::Cipher(_) => "cipher",
            Self::EarlyBytes(_) => "early_bytes",
            Self::Unexpected(_) => "unexpected_message",
            Self::TooLarge { .. } => "too_large",
            Self::HandshakeTimeout(_) => "handshake_timeout",
            Self::Refused(_) => "refused",
            Self::HandshakeRefused(_) => "handshake_refused",
            Self::Handshake(_)
            | Self::LegacyHandshake(_)
            | Self::SaslHandshake(_)
            | Self::HandshakeAnswer(_) => "handshake",
            Self::Unsayable(_) => "unsayable",
            Self::Idle(_) => "idle",
            Self::StalledSender(_) => "stalled_sender",
            Self::StalledReader(_) => "stalled_reader",
            Self::NoAnswer(..) => "no_answer",
            Self::Io(_) => "io",
            Self::BodyFailed(_) => "body_failed",
            Self::Starved { .. } => "starved",
            Self::Evicted => "evicted",
            Self::GaveWay => "gave_way",
            Self::ShareUsedUp { .. } => "share_used_up",
            Self::ShuttingDown => "shutting_down",
        }
    }
}
