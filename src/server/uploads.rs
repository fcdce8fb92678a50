//! Pushed blocks as they arrive on one connection.
//!
//! ```text
//! headers and pieces ─► gathered, within one read's worth ─► a trip to the lane of a disk ─► answers, in order
//! ```
//!
//! Blocks that come one after the other and go to the same disk share a trip. So a disk that hangs holds up the
//! connections that push to it, and takes no thread of another disk.
//!
//! What has arrived is worked off together: as soon as there is enough of it, when nothing more is at hand, and before
//! any other request of the connection is looked at. A block is never whole in memory unless it is small, and its
//! pieces reach the partition as they come, as in Spark.

use std::sync::Arc;

use bytes::Bytes;
use sealed_shuffle_protocol::ids::{AppId, RequestId};
use sealed_shuffle_protocol::shuffle::{BlockPushReturnCode, PushBlockStream};
use sealed_shuffle_transport::lane::{Lane, OnLane};
use tracing::debug;

use crate::merge::{MergeError, Merger, Push, PushRefusal};

/// Bytes that are gathered before they are worked off.
const GATHERED_BYTES: usize = 256 << 10;

/// The same of things, however small.
const GATHERED_THINGS: usize = 256;

/// The uploads of one connection.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    gathered: Vec<Arrival>,
    bytes: usize,
    /// The push whose bytes are arriving.
    open: Option<OpenPush>,
}

/// A push whose bytes are arriving, with the request that it will be answered as.
#[derive(Debug)]
struct OpenPush {
    request: RequestId,
    /// None where it came to its end.
    push: Option<Push>,
    lane: Lane,
}

#[derive(Debug)]
enum Arrival {
    /// A block of `len` bytes begins.
    Header {
        request: RequestId,
        push: PushBlockStream,
        len: u64,
        taking: Intake,
    },
    Piece(Bytes),
    End,
}

/// How a block is taken.
#[derive(Debug)]
pub(super) struct Intake {
    /// That of the disk that it goes to.
    pub(super) lane: Lane,
    /// Whether it goes to a partition. If not, since a disk takes no files, its bytes are dropped, and the peer is told that
    /// the block is not merged.
    pub(super) is_merged: bool,
}

/// What the peer is told.
#[derive(Debug)]
pub(super) enum Answer {
    /// How a push ended.
    Code(RequestId, BlockPushReturnCode),
    /// A push that failed, behind which the connection goes on.
    Failed(RequestId, MergeError),
    /// A push that the connection ends with.
    Last(RequestId, PushRefusal),
}

impl Answer {
    /// The push that it is about.
    pub(super) fn request(&self) -> RequestId {
        match self {
            Self::Code(request, _) | Self::Failed(request, _) | Self::Last(request, _) => *request,
        }
    }

    /// Why the block is not merged, for people.
    pub(super) fn why(&self) -> String {
        match self {
            Self::Code(_, code) | Self::Last(_, PushRefusal::Code(code)) => {
                format!("not merged: {:?}", code.code)
            }
            Self::Failed(_, error) | Self::Last(_, PushRefusal::Failed(error)) => error.to_string(),
        }
    }
}

/// What one trip has come to.
#[derive(Debug, Default)]
pub(super) struct TripOutcome {
    pub(super) answers: Vec<Answer>,
    open: Option<OpenPush>,
}

/// Work for a lane. Dropping it loses the push that is open, and with it the connection.
#[derive(Debug)]
pub(super) struct Work {
    gathered: Vec<Arrival>,
    open: Option<OpenPush>,
}

impl Uploads {
    /// A block of `len` bytes begins.
    pub(super) fn header(&mut self, request: RequestId, push: PushBlockStream, len: u64, taking: Intake) {
        self.gathered.push(Arrival::Header { request, push, len, taking });
    }

    pub(super) fn piece(&mut self, piece: Bytes) {
        self.bytes += piece.len();
        self.gathered.push(Arrival::Piece(piece));
    }

    pub(super) fn end(&mut self) {
        self.gathered.push(Arrival::End);
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= GATHERED_BYTES || self.gathered.len() >= GATHERED_THINGS
    }

    /// Whether no pushed block is arriving.
    pub(super) fn is_empty(&self) -> bool {
        self.gathered.is_empty() && self.open.is_none()
    }

    /// The push whose bytes have reached a partition, and of which more are to come.
    pub(super) fn arriving(&self) -> Option<RequestId> {
        self.open.as_ref().map(|open| open.request)
    }

    /// The applications whose blocks begin in what was gathered.
    pub(super) fn applications(&self) -> Vec<AppId> {
        let mut found: Vec<AppId> = Vec::new();
        for arrived in &self.gathered {
            if let Arrival::Header { push, .. } = arrived
                && !found.contains(&push.app)
            {
                found.push(push.app.clone());
            }
        }
        found
    }

    /// The next of what was gathered, as far as it goes to one disk, and the lane of that disk; `None` where nothing is
    /// left.
    pub(super) fn take(&mut self) -> Option<(Lane, Work)> {
        let first = self.gathered.first()?;
        let lane = self.open.as_ref().map(|open| &open.lane).or_else(|| first.lane())?.clone();
        let elsewhere = |arrival: &Arrival| arrival.lane().is_some_and(|other| !other.is(&lane));
        let end = self.gathered.iter().position(elsewhere).unwrap_or(self.gathered.len());
        let gathered: Vec<Arrival> = self.gathered.drain(..end).collect();
        self.bytes -= gathered.iter().map(Arrival::bytes).sum::<usize>();
        Some((lane, Work { gathered, open: self.open.take() }))
    }

    /// Goes on where the work has ended; the answers. What comes behind a push that ends the connection is dropped.
    pub(super) fn resume(&mut self, worked: TripOutcome) -> Vec<Answer> {
        self.open = worked.open;
        if matches!(worked.answers.last(), Some(Answer::Last(..))) {
            self.gathered.clear();
            self.bytes = 0;
        }
        worked.answers
    }
}

impl Arrival {
    /// The lane of its disk, where it begins a block.
    fn lane(&self) -> Option<&Lane> {
        match self {
            Self::Header { taking, .. } => Some(&taking.lane),
            Self::Piece(_) | Self::End => None,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Piece(piece) => piece.len(),
            Self::Header { .. } | Self::End => 0,
        }
    }
}

impl Work {
    /// Works it off. What comes behind a push that ends the connection is not looked at.
    pub(super) fn run(self, on: &OnLane, merger: &Arc<Merger>) -> TripOutcome {
        let mut worked = TripOutcome { answers: Vec::new(), open: self.open };
        let mut pieces: Vec<Bytes> = Vec::new();
        for arrived in self.gathered {
            if let Arrival::Piece(piece) = arrived {
                pieces.push(piece);
                continue;
            }
            if !worked.write(on, &mut pieces) {
                return worked;
            }
            match arrived {
                Arrival::Header { request, push, len, taking: Intake { lane, is_merged } } => {
                    let begun = match is_merged {
                        true => merger.begin(on, &push, len),
                        false => merger.leave_out(&push),
                    };
                    match begun {
                        Ok(push) => worked.open = Some(OpenPush { request, push: Some(push), lane }),
                        Err(refused) => {
                            worked.answers.push(Answer::Last(request, refused));
                            return worked;
                        }
                    }
                }
                Arrival::End => worked.complete(on),
                Arrival::Piece(_) => {}
            }
        }
        worked.write(on, &mut pieces);
        worked
    }
}

impl TripOutcome {
    /// Writes what belongs to the open push; whether the connection goes on.
    fn write(&mut self, on: &OnLane, pieces: &mut Vec<Bytes>) -> bool {
        let pieces = std::mem::take(pieces);
        let Some(push) = self.open.as_mut().and_then(|open| open.push.as_mut()) else {
            return pieces.is_empty();
        };
        let slices: Vec<&[u8]> = pieces.iter().map(|piece| &piece[..]).collect();
        let Err(error) = push.data(on, &slices) else { return true };
        if let Some(open) = self.open.take() {
            self.answers.push(Answer::Last(open.request, error.into()));
        }
        false
    }

    fn complete(&mut self, on: &OnLane) {
        let Some(mut open) = self.open.take() else { return };
        let (request, Some(push)) = (open.request, open.push.take()) else { return };
        self.answers.push(match push.complete(on) {
            Ok(code) => Answer::Code(request, code),
            Err(error) => {
                debug!(%error, "a pushed block failed at its end");
                Answer::Failed(request, error)
            }
        });
    }
}
