//! The records in the segments of an index file.
//!
//! ```text
//! chunk                                     commit, the last one
//! 0   1  type, 1                            0   1  type, 2
//! 1   8  counter of the record before       1   8  counter of the record before
//! 9   8  end of its plaintext               9   4  chunks
//! 17  8  end of its segments in data        13  8  end of the plaintext
//! 25  4  segments                           21  8  length of the data file
//! 29  8  counter of the first one           29  8  length of the index file, this record included
//! 37  8  end of its segment in meta         37  8  length of the meta file
//! 45  8  counter of that segment
//! 53  4  gaps g
//! 57 12g gaps: segment (u32), counters skipped before it (u64)
//! ```
//!
//! All big-endian. The first record's predecessor has the counter [`NO_RECORD`]. Since a counter is used once in the
//! life of a file, it names one segment: each record names the one before it, the last one is named by nobody but is
//! told from all others by being a commit (or, before there is one, by the writer's [`Progress`]).

use bytes::BufMut;

use super::error::SealedError;

/// Stands where there is no record before.
pub const NO_RECORD: u64 = u64::MAX;
/// Gaps that a chunk's record has room for.
pub const MAX_GAPS: usize = 4096;

const CHUNK: u8 = 1;
const COMMIT: u8 = 2;
const GAP: usize = 12;

/// Counters that belong to no segment of the chunk: aborted blocks used them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Gap {
    /// The segment before which they lie, from 1.
    pub(super) segment: u32,
    /// How many they are.
    pub(super) skipped: u64,
}

/// A chunk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct ChunkRecord {
    pub(super) previous: u64,
    pub(super) plain_end: u64,
    pub(super) sealed_end: u64,
    pub(super) segments: u32,
    pub(super) first: u64,
    pub(super) meta_end: u64,
    pub(super) meta_counter: u64,
    pub(super) gaps: Box<[Gap]>,
}

/// The end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct CommitRecord {
    pub(super) previous: u64,
    pub(super) chunks: u32,
    pub(super) plain: u64,
    pub(super) data: u64,
    pub(super) index: u64,
    pub(super) meta: u64,
}

/// Either.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Record {
    Chunk(ChunkRecord),
    Commit(CommitRecord),
}

/// How far the writer of a partition is. A reader needs it before there is a commit record. Small, and not secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Progress {
    /// Chunks that are closed.
    pub chunks: u32,
    /// End of the last one's plaintext.
    pub plain: u64,
    /// End of its segments in the data file.
    pub data: u64,
    /// End of its record in the index file.
    pub index: u64,
    /// End of its segment in the meta file.
    pub meta: u64,
    /// Counter of its record, or [`NO_RECORD`].
    pub last: u64,
}

impl ChunkRecord {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(57 + GAP * self.gaps.len());
        out.put_u8(CHUNK);
        for number in [self.previous, self.plain_end, self.sealed_end] {
            out.put_u64(number);
        }
        out.put_u32(self.segments);
        for number in [self.first, self.meta_end, self.meta_counter] {
            out.put_u64(number);
        }
        out.put_u32(u32::try_from(self.gaps.len()).expect("a chunk has at most MAX_GAPS"));
        for gap in &self.gaps {
            out.put_u32(gap.segment);
            out.put_u64(gap.skipped);
        }
        out
    }
}

impl CommitRecord {
    /// Bytes of plaintext.
    pub(super) const LEN: usize = 45;

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::LEN);
        out.put_u8(COMMIT);
        out.put_u64(self.previous);
        out.put_u32(self.chunks);
        for number in [self.plain, self.data, self.index, self.meta] {
            out.put_u64(number);
        }
        out
    }
}

impl Record {
    /// Reads one record whose segment has verified; `record` is its position, for the error.
    pub(super) fn decode(bytes: &[u8], record: u64) -> Result<Self, SealedError> {
        let mut left = Numbers { left: bytes, record };
        let found = match left.array()? {
            [CHUNK] => Self::Chunk(ChunkRecord {
                previous: left.u64()?,
                plain_end: left.u64()?,
                sealed_end: left.u64()?,
                segments: left.u32()?,
                first: left.u64()?,
                meta_end: left.u64()?,
                meta_counter: left.u64()?,
                gaps: left.gaps()?,
            }),
            [COMMIT] => Self::Commit(CommitRecord {
                previous: left.u64()?,
                chunks: left.u32()?,
                plain: left.u64()?,
                data: left.u64()?,
                index: left.u64()?,
                meta: left.u64()?,
            }),
            _ => return Err(SealedError::Record { record, what: "its type is unknown" }),
        };
        match left.left.is_empty() {
            true => Ok(found),
            false => Err(left.odd()),
        }
    }
}

/// The rest of a record.
struct Numbers<'a> {
    left: &'a [u8],
    record: u64,
}

impl<'a> Numbers<'a> {
    fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], SealedError> {
        let (array, rest) = self.left.split_first_chunk().ok_or_else(|| self.odd())?;
        self.left = rest;
        Ok(array)
    }

    fn u32(&mut self) -> Result<u32, SealedError> {
        self.array().copied().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, SealedError> {
        self.array().copied().map(u64::from_be_bytes)
    }

    fn gaps(&mut self) -> Result<Box<[Gap]>, SealedError> {
        let count = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        if count > MAX_GAPS || self.left.len() != count * GAP {
            return Err(self.odd());
        }
        (0..count).map(|_| Ok(Gap { segment: self.u32()?, skipped: self.u64()? })).collect()
    }

    fn odd(&self) -> SealedError {
        SealedError::Record { record: self.record, what: "its length is not that of its type" }
    }
}
