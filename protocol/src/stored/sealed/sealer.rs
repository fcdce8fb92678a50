//! The writing side of a partition: which bytes go where in its three files, and how far they count.
//!
//! ```text
//!             committed                     written, not committed
//! data  header | segment … segment | segment … segment
//!                                  ▲ commit moves it here ▲; abort forgets what is behind it
//! ```
//!
//! Nothing here does IO. The result of an operation is to be written at the offset that comes with it; a result that
//! could not be written is forgotten ([`PartitionSealer::abort`], or by not calling [`PartitionSealer::chunk_written`]) and the
//! next bytes go to the same place, under counters that were never used.

use super::error::SealedError;
use super::file_key::{FileKey, header_of};
use super::header::{Header, Salt};
use super::partition::Kind;
use super::record::{ChunkRecord, CommitRecord, Gap, MAX_GAPS, NO_RECORD, Progress};
use super::segment::{self, OVERHEAD, PIECE};
use crate::cipher::Segment;
use crate::ids::MergedPartition;
use crate::stored::envelope::{Context, DataKey, WrappedKey};

/// A partition that is being merged: keys, counters and positions. A few hundred bytes, whatever was written.
#[derive(Debug)]
pub struct PartitionSealer {
    data_key: FileKey,
    index_key: FileKey,
    meta_key: FileKey,
    /// Next counter of the data file. Never goes back; nor do the two below.
    data_counter: u64,
    index_counter: u64,
    meta_counter: u64,
    progress: Progress,
    committed: Position,
    written: Position,
    /// Of the chunk that is open, those before `written`.
    gaps: Vec<Gap>,
}

/// A place in the open chunk, between two segments.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Position {
    /// In the plaintext of the partition.
    plain: u64,
    /// In the data file.
    sealed: u64,
    /// Segments of the open chunk before it.
    segments: u32,
    /// Counter of the first of them; means nothing where there are none.
    first: u64,
    /// Counter of the last of them.
    last: u64,
}

/// The headers of the three files, as they stand in front of them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Headers {
    /// Of the data file.
    pub data: Vec<u8>,
    /// Of the index file.
    pub index: Vec<u8>,
    /// Of the meta file.
    pub meta: Vec<u8>,
}

impl Headers {
    /// That of one of them.
    pub fn of(&self, kind: Kind) -> &[u8] {
        match kind {
            Kind::Data => &self.data,
            Kind::Index => &self.index,
            Kind::Meta => &self.meta,
        }
    }
}

/// The end of a chunk, to be written: first meta, then index, whose record makes it one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SealedChunk {
    /// Where `meta` goes in the meta file.
    pub meta_at: u64,
    /// The segment of its bitmap.
    pub meta: Vec<u8>,
    /// Where `index` goes in the index file.
    pub index_at: u64,
    /// The segment of its record.
    pub index: Vec<u8>,
    after: Progress,
}

/// The end of a partition, to be written when all three files have been cut to what is committed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SealedCommit {
    /// Where the record goes, which is the length of the index file before it.
    pub index_at: u64,
    /// The segment of the commit record.
    pub index: Vec<u8>,
    /// The data file is cut to this.
    pub data_len: u64,
    /// The meta file is cut to this.
    pub meta_len: u64,
}

impl PartitionSealer {
    /// Begins an opening of `partition` by an attempt of the application, and gives what its files begin with.
    ///
    /// `salt` must be random and new: with a salt that was used before, nonces repeat.
    pub fn new(
        key: &DataKey,
        wrapped: &WrappedKey,
        context: &Context,
        partition: MergedPartition,
        attempt: i32,
        salt: Salt,
    ) -> Result<(Self, Headers), SealedError> {
        let header = Header::new(Kind::Data, salt, partition, attempt, wrapped.clone(), context.clone());
        let data = header.encode()?;
        let (index, meta) = (header_of(Kind::Index, &data), header_of(Kind::Meta, &data));
        let begin = data.len() as u64;
        let at = Position { plain: 0, sealed: begin, segments: 0, first: 0, last: 0 };
        let sealer = Self {
            data_key: FileKey::derive(key, &salt, &data),
            index_key: FileKey::derive(key, &salt, &index),
            meta_key: FileKey::derive(key, &salt, &meta),
            data_counter: 0,
            index_counter: 0,
            meta_counter: 0,
            progress: Progress {
                chunks: 0,
                plain: 0,
                data: begin,
                index: begin,
                meta: begin,
                last: NO_RECORD,
            },
            committed: at,
            written: at,
            gaps: Vec::new(),
        };
        Ok((sealer, Headers { data, index, meta }))
    }

    /// Seals the next piece of a block where it lies, and says where in the data file it goes.
    ///
    /// `piece` is laid out as [`PIECE`] and has 1 to [`MAX_PIECE`](super::MAX_PIECE) bytes. On an error nothing has
    /// changed but the counter.
    pub fn seal(&mut self, piece: &mut Segment) -> Result<u64, SealedError> {
        if piece.layout() != PIECE || piece.is_sealed() || piece.is_empty() {
            return Err(SealedError::Layout);
        }
        let Position { plain, sealed, segments, first, last } = self.written;
        let counter = self.data_counter;
        let skipped = if segments == 0 { 0 } else { counter - last - 1 };
        if skipped > 0 && self.gaps.len() >= MAX_GAPS {
            return Err(SealedError::ChunkFull(MAX_GAPS));
        }
        let next_segments = segments.checked_add(1).ok_or(SealedError::Exhausted)?;
        take(&mut self.data_counter)?;
        let len = piece.len() as u64;
        segment::seal_piece(&self.data_key.expand(), counter, plain, piece)?;
        if skipped > 0 {
            self.gaps.push(Gap { segment: segments, skipped });
        }
        self.written = Position {
            plain: plain + len,
            sealed: sealed + len + OVERHEAD as u64,
            segments: next_segments,
            first: if segments == 0 { counter } else { first },
            last: counter,
        };
        Ok(sealed)
    }

    /// The block that was being written counts from now on.
    pub fn commit(&mut self) {
        self.committed = self.written;
    }

    /// The block that was being written is dropped. Its bytes stay until they are overwritten or cut off.
    pub fn abort(&mut self) {
        self.written = self.committed;
        while self.gaps.last().is_some_and(|gap| gap.segment >= self.committed.segments) {
            self.gaps.pop();
        }
    }

    /// Seals the end of the open chunk: the committed bytes that are in no chunk yet. `meta` is the chunk's bitmap.
    pub fn seal_chunk(&mut self, meta: &[u8]) -> Result<SealedChunk, SealedError> {
        if self.is_block_open() {
            return Err(SealedError::BlockOpen);
        }
        let Progress { chunks, index: index_at, meta: meta_at, last: previous, .. } = self.progress;
        let meta_counter = take(&mut self.meta_counter)?;
        let place = u64::from(chunks);
        let meta = segment::seal_record(&self.meta_key.expand(), meta_counter, place, meta)?;
        let Position { plain, sealed, segments, first, .. } = self.committed;
        let record = ChunkRecord {
            previous,
            plain_end: plain,
            sealed_end: sealed,
            segments,
            first,
            meta_end: meta_at + meta.len() as u64,
            meta_counter,
            gaps: self.gaps.as_slice().into(),
        };
        let counter = take(&mut self.index_counter)?;
        let index = segment::seal_record(&self.index_key.expand(), counter, place, &record.encode())?;
        let after = Progress {
            chunks: chunks.checked_add(1).ok_or(SealedError::Exhausted)?,
            plain,
            data: sealed,
            index: index_at + index.len() as u64,
            meta: record.meta_end,
            last: counter,
        };
        Ok(SealedChunk { meta_at, meta, index_at, index, after })
    }

    /// The end of the chunk is in the files.
    pub fn chunk_written(&mut self, chunk: &SealedChunk) -> Result<(), SealedError> {
        let same = (chunk.after.plain, chunk.after.data) == (self.committed.plain, self.committed.sealed)
            && chunk.index_at == self.progress.index;
        if !same || self.is_block_open() {
            return Err(SealedError::ChunkChanged);
        }
        self.progress = chunk.after;
        self.committed.segments = 0;
        self.written = self.committed;
        self.gaps = Vec::new();
        Ok(())
    }

    /// Ends the partition with the last chunk that was closed; what came behind it is lost. The keys go with it.
    pub fn finish(mut self) -> Result<SealedCommit, SealedError> {
        let Progress { chunks, plain, data, index: index_at, meta, last: previous } = self.progress;
        let index = index_at + (CommitRecord::LEN + OVERHEAD) as u64;
        let record = CommitRecord { previous, chunks, plain, data, index, meta };
        let counter = take(&mut self.index_counter)?;
        let key = self.index_key.expand();
        let index = segment::seal_record(&key, counter, u64::from(chunks), &record.encode())?;
        Ok(SealedCommit { index_at, index, data_len: data, meta_len: meta })
    }

    /// How far it is, for a reader that does not want to wait for the end.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Plaintext that is committed.
    pub fn len(&self) -> u64 {
        self.committed.plain
    }

    /// Whether nothing is committed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Plaintext that is committed and in no chunk yet.
    pub fn open_chunk_len(&self) -> u64 {
        self.committed.plain - self.progress.plain
    }

    /// Whether a block has begun and was neither committed nor aborted.
    pub fn is_block_open(&self) -> bool {
        self.written != self.committed
    }

    /// Whether the open chunk should be closed for its record's sake, however small it is: so many blocks were
    /// aborted in it that a few more make [`PartitionSealer::seal`] fail.
    pub fn is_chunk_full(&self) -> bool {
        self.gaps.len() >= MAX_GAPS / 2 || self.written.segments >= u32::MAX / 2
    }

    /// Bytes that it takes in memory.
    pub fn memory(&self) -> usize {
        3 * 32 + size_of::<Self>() + self.gaps.capacity() * size_of::<Gap>()
    }
}

fn take(counter: &mut u64) -> Result<u64, SealedError> {
    let taken = *counter;
    // The last one stands for no record.
    *counter = taken.checked_add(1).ok_or(SealedError::Exhausted)?;
    Ok(taken)
}
