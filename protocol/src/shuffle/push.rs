//! Push-based shuffle: blocks pushed to a merger, and the merge finalized or dropped (layouts of Spark 3.2).

use bytes::{BufMut, BytesMut};

use crate::codec::{DecodeError, Decoder, EncodeError, Wire};
use crate::ids::{AppId, ReduceId, ShuffleId, ShuffleMergeId};
use crate::shuffle::Bitmap;

fields! {
    /// A block to merge; its data follow behind the frame.
    PushBlockStream {
        /// The application.
        app: AppId,
        /// Which attempt of it; -1 where it has no number.
        app_attempt: i32,
        /// The shuffle.
        shuffle: ShuffleId,
        /// The attempt of merging it.
        merge: ShuffleMergeId,
        /// The map partition: not the task's id.
        map_index: i32,
        /// The partition to append to.
        reduce: ReduceId,
        /// Position in the sender's batch; says nothing to the merger.
        index: i32,
    }
}

fields! {
    /// Ends the merging of a shuffle.
    FinalizeShuffleMerge {
        /// The application.
        app: AppId,
        /// Which attempt of it.
        app_attempt: i32,
        /// The shuffle.
        shuffle: ShuffleId,
        /// The attempt of merging it.
        merge: ShuffleMergeId,
    }
}

fields! {
    /// The merged partitions: three lists, one element each for a partition.
    MergeStatuses {
        /// The shuffle.
        shuffle: ShuffleId,
        /// The attempt of merging it.
        merge: ShuffleMergeId,
        /// The map indexes in each partition.
        bitmaps: Vec<Bitmap>,
        /// The partitions.
        reduces: Vec<ReduceId>,
        /// The bytes of each.
        sizes: Vec<i64>,
    }
}

fields! {
    /// How a push ended.
    BlockPushReturnCode {
        /// The outcome.
        code: ReturnCode,
        /// The block that failed, as `shufflePush_*`; empty on success and never otherwise.
        failure_block: String where NAME_MAX,
    }
}

fields! {
    /// Drops a merged shuffle (Spark 3.4). Never answered.
    RemoveShuffleMerge {
        /// The application.
        app: AppId,
        /// Which attempt of it.
        app_attempt: i32,
        /// The shuffle.
        shuffle: ShuffleId,
        /// The attempt of merging it; -1 for whichever is current.
        merge: ShuffleMergeId,
    }
}

/// How a push ended.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum ReturnCode {
    /// Merged, or known already.
    Success = 0,
    /// The merge was finalized before.
    TooLateBlockPush = 1,
    /// Another map task is writing to the partition: the one failure that clients retry.
    BlockAppendCollisionDetected = 2,
    /// A later attempt of merging the shuffle exists.
    StaleBlockPush = 3,
    /// The application has a later attempt.
    TooOldAttemptPush = 4,
}

impl ReturnCode {
    /// Every code, in the order of its byte.
    pub const ALL: [Self; 5] = [
        Self::Success,
        Self::TooLateBlockPush,
        Self::BlockAppendCollisionDetected,
        Self::StaleBlockPush,
        Self::TooOldAttemptPush,
    ];
}

impl Wire for ReturnCode {
    const MIN_LEN: usize = 1;

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let byte = from.u8()?;
        Self::ALL.get(usize::from(byte)).copied().ok_or(DecodeError::UnknownPushReturnCode(byte))
    }

    fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        out.put_u8(*self as u8);
        Ok(())
    }
}
