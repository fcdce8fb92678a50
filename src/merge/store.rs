//! What keeps the bytes of merged partitions: the seam between the rules of merging and files.
//!
//! ```text
//! append* ─► commit        the block is merged
//! append* ─► abort         the next append begins where the last committed block ended
//! close_chunk ─► commit    the block is merged, and ends a chunk
//! finalize                 what follows the last closed chunk is cut off; nothing more is written
//! ```
//!
//! Everything here may wait for a disk, except [`PartitionWriter::abort`] and [`PartitionWriter::commit`].

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use roaring::RoaringBitmap;
use sealed_shuffle_protocol::ids::AppId;

use super::dirs::MergeDirs;
use super::names::PartitionId;

/// Makes, opens and deletes merged partitions.
pub trait Store: fmt::Debug + Send + Sync {
    /// Makes the files of a partition, empty, in the place of what bears their names.
    fn create(&self, dirs: &MergeDirs, partition: &PartitionId) -> io::Result<Box<dyn PartitionWriter>>;

    /// Opens a partition that was finalized, possibly before a restart.
    fn open(&self, dirs: &MergeDirs, partition: &PartitionId) -> Result<Arc<dyn PartitionReader>, ReadError>;

    /// Deletes the files of a partition; those that are not there are no error.
    fn delete(&self, dirs: &MergeDirs, partition: &PartitionId) -> io::Result<()>;

    /// Deletes all merged files of `app` beneath these directories, and the directories as far as they are empty then.
    fn delete_all(&self, dirs: &MergeDirs, app: &AppId) -> io::Result<()>;

    /// Whether executors on this machine can read the files by themselves. Sealed ones they cannot.
    fn is_plain(&self) -> bool;
}

/// A partition that is being merged. Dropping it leaves the files as they are.
pub trait PartitionWriter: fmt::Debug + Send {
    /// Writes a piece of a block behind what was committed and appended. On an error the block is aborted next.
    fn append(&mut self, piece: &[u8]) -> io::Result<()>;

    /// Forgets what was appended since the last commit.
    fn abort(&mut self);

    /// What was appended is merged.
    fn commit(&mut self);

    /// Ends a chunk behind all that was appended, committed or not; `maps` are the map indexes in it. On an error no
    /// chunk has ended: the next one begins where this one would have.
    fn close_chunk(&mut self, maps: &RoaringBitmap) -> io::Result<()>;

    /// Cuts off what follows the last chunk, and makes the partition one that [`Store::open`] opens. Its length.
    fn finalize(self: Box<Self>) -> io::Result<u64>;

    /// The chunks that were closed so far.
    fn reader(&self) -> Result<Arc<dyn PartitionReader>, ReadError>;
}

/// A partition that can be read. Holds at most an open file or two.
pub trait PartitionReader: fmt::Debug + Send + Sync {
    /// How many chunks there are.
    fn chunks(&self) -> usize;

    /// The bitmaps of all chunks, one behind the other.
    fn meta(&self) -> Result<Bytes, ReadError>;

    /// One chunk; `None` beyond the last.
    fn chunk(self: Arc<Self>, chunk: usize) -> Result<Option<Box<dyn ChunkRead>>, ReadError>;

    /// Bytes of memory that it holds.
    fn weight(&self) -> u64;
}

/// One chunk, read from its begin to its end.
pub trait ChunkRead: fmt::Debug + Send {
    /// Bytes of the whole chunk.
    fn len(&self) -> u64;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next bytes, as many as are at hand and there is room for; at least one unless the chunk is at its end or
    /// there is no room. What does not authenticate is an error, and none of its bytes come out.
    fn read(&mut self, into: &mut [u8]) -> Result<usize, ReadError>;
}

/// Which of a partition's files are not there.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Missing {
    /// The data file.
    pub data: bool,
    /// The index file.
    pub index: bool,
    /// The meta file.
    pub meta: bool,
}

/// Why a merged partition cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Not all of its files are there.
    #[error("merged files are missing: {0:?}")]
    Missing(Missing),
    /// The bytes are not the ones that were written.
    #[error("{path} is damaged: {why}")]
    Damaged {
        /// The file.
        path: String,
        /// What does not fit.
        why: String,
    },
    /// The system says no, or the key is not to be had.
    #[error("cannot read {path}: {why}")]
    Unreadable {
        /// The file.
        path: String,
        /// What was said.
        why: String,
    },
}
