//! What became of each block of a map output.

use std::fmt;
use std::sync::Arc;

use sealed_shuffle_protocol::connection::CloseReason;
use sealed_shuffle_protocol::ids::ReduceId;
use sealed_shuffle_protocol::shuffle::ReturnCode;

use crate::ClientError;

/// What became of one block. Whoever reads what was not [`PushOutcome::Merged`] fetches it as it is: nothing is lost.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PushOutcome {
    /// It is merged, now or since an earlier push.
    Merged,
    /// It has no bytes, and was not sent.
    Empty,
    /// It is larger than what is pushed (`spark.shuffle.push.maxBlockSizeToPush`), and was not sent.
    TooLarge,
    /// Another map task was writing to the partition. Not tried again, as Spark does not.
    Collided,
    /// The merge was finalized before. Pushing stops.
    TooLate,
    /// A later attempt of merging the shuffle exists. Pushing stops.
    Stale,
    /// The application has another attempt at the merger. Pushing stops.
    TooOld,
    /// Its merger takes no connection, or refuses this client: nothing more is sent there.
    Unreachable(Arc<ClientError>),
    /// Not sent, or not again, since pushing had stopped.
    Stopped,
    /// The merger failed it in other words, or the connection broke again and again.
    Failed(Arc<ClientError>),
}

impl PushOutcome {
    /// A short fixed word for metrics and machines.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Merged => "merged",
            Self::Empty => "empty",
            Self::TooLarge => "too_large",
            Self::Collided => "collided",
            Self::TooLate => "too_late",
            Self::Stale => "stale",
            Self::TooOld => "too_old",
            Self::Unreachable(_) => "unreachable",
            Self::Stopped => "stopped",
            Self::Failed(_) => "failed",
        }
    }

    /// Whether it says that nothing more is worth sending: the merge is over, or the map output cannot be read
    /// (ShuffleBlockPusher.createErrorHandler, Spark 4.3.0).
    pub(super) fn stops(&self) -> bool {
        match self {
            Self::TooLate | Self::Stale | Self::TooOld => true,
            Self::Failed(error) => match &**error {
                ClientError::Closed { reason, .. } => matches!(**reason, CloseReason::BodyFailed(_)),
                _ => false,
            },
            _ => false,
        }
    }
}

impl From<ReturnCode> for PushOutcome {
    fn from(code: ReturnCode) -> Self {
        match code {
            ReturnCode::Success => Self::Merged,
            ReturnCode::TooLateBlockPush => Self::TooLate,
            ReturnCode::BlockAppendCollisionDetected => Self::Collided,
            ReturnCode::StaleBlockPush => Self::Stale,
            ReturnCode::TooOldAttemptPush => Self::TooOld,
        }
    }
}

/// One block and what became of it.
#[derive(Clone, Debug)]
pub struct BlockReport {
    /// The partition.
    pub reduce: ReduceId,
    /// Its bytes.
    pub len: u64,
    /// What became of it.
    pub pushed: PushOutcome,
}

/// What became of each block of a map output, in its order. Displayed it is one line.
#[derive(Clone, Debug)]
#[must_use = "blocks that were not merged are listed here and nowhere else"]
pub struct PushReport {
    /// The blocks.
    pub blocks: Vec<BlockReport>,
}

impl PushReport {
    /// The partitions whose block is merged.
    pub fn merged(&self) -> impl Iterator<Item = ReduceId> {
        self.blocks
            .iter()
            .filter(|block| matches!(block.pushed, PushOutcome::Merged))
            .map(|block| block.reduce)
    }

    /// Bytes that are merged.
    pub fn merged_bytes(&self) -> u64 {
        let merged = self.blocks.iter().filter(|block| matches!(block.pushed, PushOutcome::Merged));
        merged.map(|block| block.len).sum()
    }

    /// How many blocks came to each outcome, by [`PushOutcome::label`], in the order of its first block.
    pub fn counts(&self) -> Vec<(&'static str, usize)> {
        let mut counts: Vec<(&'static str, usize)> = Vec::new();
        for label in self.blocks.iter().map(|block| block.pushed.label()) {
            match counts.iter_mut().find(|(known, _)| *known == label) {
                Some((_, count)) => *count += 1,
                None => counts.push((label, 1)),
            }
        }
        counts
    }

    /// Why pushing stopped before everything was sent, if it did.
    pub fn stopped_by(&self) -> Option<&PushOutcome> {
        self.blocks.iter().map(|block| &block.pushed).find(|pushed| pushed.stops())
    }
}

impl fmt::Display for PushReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} blocks, {} bytes merged", self.blocks.len(), self.merged_bytes())?;
        self.counts().iter().try_for_each(|(label, count)| write!(f, ", {count} {label}"))
    }
}
