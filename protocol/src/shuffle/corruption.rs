//! Asking a shuffle service where a corrupt block went wrong: one of a map task (Spark 3.2), or a merged chunk (not released,
//! from Spark pull request 57748).

use bytes::{BufMut, BytesMut};

use crate::codec::{DecodeError, Decoder, EncodeError, Wire};
use crate::ids::{AppId, ExecutorId, MapId, ReduceId, ShuffleId, ShuffleMergeId};

fields! {
    /// Asks for the cause of a corruption that the reader saw.
    DiagnoseCorruption {
        /// The application.
        app: AppId,
        /// The executor that wrote the block.
        executor: ExecutorId,
        /// The shuffle.
        shuffle: ShuffleId,
        /// The map task.
        map: MapId,
        /// The partition.
        reduce: ReduceId,
        /// The checksum of the bytes that the reader got.
        checksum: i64,
        /// `ADLER32`, `CRC32` or `CRC32C`; case matters.
        algorithm: String where NAME_MAX,
    }
}

fields! {
    /// Asks for the cause of a corruption that the reader saw in a chunk of a merged partition. No release sends it yet.
    DiagnoseShuffleChunkCorruption {
        /// The application.
        app: AppId,
        /// The shuffle.
        shuffle: ShuffleId,
        /// The merge of the shuffle.
        merge: ShuffleMergeId,
        /// The partition.
        reduce: ReduceId,
        /// The chunk of the merged partition, from 0.
        chunk: i32,
        /// The checksum of the bytes that the reader got.
        checksum: i64,
        /// `ADLER32`, `CRC32` or `CRC32C`; case matters.
        algorithm: String where NAME_MAX,
    }
}

/// Where a block went wrong.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum CorruptionCause {
    /// The file differs from what the writer wrote.
    DiskIssue = 0,
    /// The file is whole; the reader got something else.
    NetworkIssue = 1,
    /// It cannot be told.
    UnknownIssue = 2,
    /// The reader got what the writer wrote.
    ChecksumVerifyPass = 3,
    /// The service does not know the algorithm.
    UnsupportedChecksumAlgorithm = 4,
}

impl CorruptionCause {
    /// Every cause, in the order of its byte.
    pub const ALL: [Self; 5] = [
        Self::DiskIssue,
        Self::NetworkIssue,
        Self::UnknownIssue,
        Self::ChecksumVerifyPass,
        Self::UnsupportedChecksumAlgorithm,
    ];
}

impl Wire for CorruptionCause {
    const MIN_LEN: usize = 1;

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        let byte = from.u8()?;
        Self::ALL.get(usize::from(byte)).copied().ok_or(DecodeError::UnknownCorruptionCause(byte))
    }

    fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        out.put_u8(*self as u8);
        Ok(())
    }
}
