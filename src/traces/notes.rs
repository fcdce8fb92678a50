//! All that is noted of one request.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use sealed_shuffle_protocol::channel::Channel;
use sealed_shuffle_transport::seal::Phase;

/// Most stretches that are kept of one request: the longest ones.
pub(super) const MOST_STRETCHES: usize = 32;

/// A time that the request was in a phase.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    pub(super) phase: Phase,
    /// Since the begin of the request.
    pub(super) after: Duration,
    pub(super) time: Duration,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// It was answered, and the kernel has all of it.
    Done,
    /// It was refused, or something failed.
    Failed,
    /// The connection ended before the answer, or with bytes that its peer was to have.
    Cut,
    /// Its peer never asked for some of its chunks.
    Left,
}

impl Outcome {
    /// The word in traces.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cut => "cut",
            Self::Left => "left",
        }
    }
}

/// All that is noted.
#[derive(Clone, Debug)]
pub(super) struct Notes {
    pub(super) kind: &'static str,
    pub(super) peer: SocketAddr,
    pub(super) channel: Channel,
    pub(super) at: SystemTime,
    pub(super) took: Duration,
    pub(super) app: Option<String>,
    pub(super) executor: Option<String>,
    /// Chunks that the peer may ask for, where it opened a stream.
    pub(super) chunks: Option<u64>,
    /// Chunks that were handed out, or that failed.
    pub(super) chunks_asked: u64,
    pub(super) blocks: u64,
    /// Bytes of blocks that were handed out or pushed, and those that the kernel took of them.
    pub(super) bytes: u64,
    pub(super) sent: u64,
    /// Whether the peer has an answer, that of a stream is its name.
    pub(super) answered: bool,
    /// The first failure.
    pub(super) failure: Option<String>,
    /// By [`Phase`].
    pub(super) times: [Duration; Phase::ALL.len()],
    pub(super) stretches: Vec<Stretch>,
    /// Stretches that are not kept.
    pub(super) left_out: u64,
    /// Whether bytes are to go out, and not in.
    pub(super) goes_out: bool,
}

impl Notes {
    pub(super) fn outcome(&self) -> Outcome {
        match () {
            () if self.failure.is_some() => Outcome::Failed,
            () if !self.answered || (self.goes_out && self.sent < self.bytes) => Outcome::Cut,
            () if self.chunks.is_some_and(|chunks| self.chunks_asked < chunks) => Outcome::Left,
            () => Outcome::Done,
        }
    }

    /// The request itself and its stretches.
    pub(super) fn spans(&self) -> u64 {
        1 + self.stretches.len() as u64
    }
}
