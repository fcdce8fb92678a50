//! Pushed blocks as they arrive on one connection.
//!
//! ```text
//! headers and pieces ─► gathered, within one read's worth ─► one trip to a lane ─► answers, in order
//! ```
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

use crate::merge::{MergeError, Merger, Push, PushRefused};

/// Bytes that are gathered before they are worked off.
const GATHERED_BYTES: usize = 256 << 10;

/// The same of things, however small.
const GATHERED_THINGS: usize = 256;

/// The uploads of one connection.
#[derive(Debug)]
pub(super) struct Uploads {
    lane: Lane,
    gathered: Vec<Arrived>,
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
enum Arrived {
    Header { request: RequestId, push: PushBlockStream, len: u64 },
    Piece(Bytes),
    End,
}

/// What the peer is told.
#[derive(Debug)]
pub(super) enum Answer {
    /// How a push ended.
    Code(RequestId, BlockPushReturnCode),
    /// A push that failed, behind which the connection goes on.
    Failed(RequestId, MergeError),
    /// A push that the connection ends with.
    Last(RequestId, PushRefused),
}

/// What one trip has come to.
#[derive(Debug, Default)]
pub(super) struct Worked {
    pub(super) answers: Vec<Answer>,
    open: Option<OpenPush>,
}

/// Work for a lane. Dropping it loses the push that is open, and with it the connection.
#[derive(Debug)]
pub(super) struct Work {
    lane: Lane,
    gathered: Vec<Arrived>,
    open: Option<OpenPush>,
}

impl Uploads {
    /// None yet. What waits for a disk does so on `lane`.
    pub(super) fn new(lane: Lane) -> Self {
        Self { lane, gathered: Vec::new(), bytes: 0, open: None }
    }

    pub(super) fn header(&mut self, request: RequestId, push: PushBlockStream, len: u64) {
        self.gathered.push(Arrived::Header { request, push, len });
    }

    pub(super) fn piece(&mut self, piece: Bytes) {
        self.bytes += piece.len();
        self.gathered.push(Arrived::Piece(piece));
    }

    pub(super) fn end(&mut self) {
        self.gathered.push(Arrived::End);
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= GATHERED_BYTES || self.gathered.len() >= GATHERED_THINGS
    }

    /// Whether no pushed block is arriving.
    pub(super) fn is_empty(&self) -> bool {
        self.gathered.is_empty() && self.open.is_none()
    }

    /// The applications whose blocks begin in what was gathered.
    pub(super) fn applications(&self) -> Vec<AppId> {
        let mut found: Vec<AppId> = Vec::new();
        for arrived in &self.gathered {
            if let Arrived::Header { push, .. } = arrived
                && !found.contains(&push.app)
            {
                found.push(push.app.clone());
            }
        }
        found
    }

    /// All that was gathered; `None` where that is nothing.
    pub(super) fn take(&mut self) -> Option<Work> {
        if self.gathered.is_empty() {
            return None;
        }
        self.bytes = 0;
        let (lane, gathered) = (self.lane.clone(), std::mem::take(&mut self.gathered));
        Some(Work { lane, gathered, open: self.open.take() })
    }

    /// Goes on where the work has ended; the answers.
    pub(super) fn resume(&mut self, worked: Worked) -> Vec<Answer> {
        self.open = worked.open;
        worked.answers
    }
}

impl Drop for OpenPush {
    /// A push that is lost gives its place up, which may take waiting for a disk that another one writes to.
    fn drop(&mut self) {
        if let Some(push) = self.push.take().filter(Push::is_merging) {
            self.lane.send(move |_| drop(push));
        }
    }
}

impl Work {
    /// Works it off. What comes behind a push that ends the connection is not looked at.
    pub(super) fn run(self, on: &OnLane, merger: &Arc<Merger>) -> Worked {
        let mut worked = Worked { answers: Vec::new(), open: self.open };
        let mut pieces: Vec<Bytes> = Vec::new();
        for arrived in self.gathered {
            if let Arrived::Piece(piece) = arrived {
                pieces.push(piece);
                continue;
            }
            if !worked.write(on, &mut pieces) {
                return worked;
            }
            match arrived {
                Arrived::Header { request, push, len } => match merger.begin(on, &push, len) {
                    Ok(push) => {
                        let (push, lane) = (Some(push), self.lane.clone());
                        worked.open = Some(OpenPush { request, push, lane });
                    }
                    Err(refused) => {
                        worked.answers.push(Answer::Last(request, refused));
                        return worked;
                    }
                },
                Arrived::End => worked.complete(on),
                Arrived::Piece(_) => {}
            }
        }
        worked.write(on, &mut pieces);
        worked
    }
}

impl Worked {
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
