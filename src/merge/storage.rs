//! The interface between the rules of merging and the files that keep the bytes.
//!
//! ```text
//! append* ─► commit        the block is merged
//! append* ─► abort         the next append begins where the last committed block ended
//! close_chunk              the blocks that were committed since the last chunk are a chunk
//! finalize                 bytes behind the last closed chunk are cut off; nothing more is written, ever
//! ```
//!
//! Every call that may wait for a disk takes an [`OnLane`].

use std::fmt;
use std::future::{Future, ready};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::stored::envelope::WrappedKey;
use sealed_shuffle_transport::lane::OnLane;
use sealed_shuffle_transport::seal::Pull;

use super::dirs::MergeDirs;
use super::names::PartitionId;

/// Stores the merged partitions of applications.
pub trait Store: fmt::Debug + Send + Sync {
    /// Gets the key of an application's files into memory, a new key if there is none. All other calls then wait only
    /// for disks. The text of an error has a remedy, and goes to the executor that registers. Cancel safe.
    fn prepare<'a>(
        &'a self,
        _app: &'a AppId,
        _key: Option<&'a WrappedKey>,
    ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>> {
        Box::pin(ready(Ok(())))
    }

    /// Takes up an attempt of an application. It is called before anything is merged, and after a restart with
    /// the attempt's `key` ([`AppStore::key`]). Executors that register at the same time may cause further calls;
    /// their results are dropped. The error is like that of [`Store::prepare`].
    fn application(
        &self,
        app: &AppId,
        attempt: i32,
        dirs: &Arc<MergeDirs>,
        key: Option<WrappedKey>,
    ) -> Result<Arc<dyn AppStore>, String>;

    /// Whether executors on this machine can read the files by themselves. They cannot read sealed ones.
    fn is_plain(&self) -> bool;

    /// The application has ended and its files are deleted: drops everything that was prepared for it.
    fn forget(&self, _app: &AppId) {}

    /// Closes files of one disk that were not used for a while; called every few seconds, on the lane of the disk.
    fn close_files(&self, _: &OnLane, _disk: usize, _now: Instant) {}

    /// Drops keys that were not used for a while; called every few seconds.
    fn sweep_keys(&self) {}
}

/// Makes, opens and deletes the merged partitions of one attempt of an application.
pub trait AppStore: fmt::Debug + Send + Sync {
    /// The wrapped key of its files, if they are sealed. It is stored, so that after a restart no other key is made.
    fn key(&self) -> Option<&WrappedKey> {
        None
    }

    /// Makes the files of a partition, empty. Files of an earlier attempt, and those that were not finalized, make room.
    /// Files that were finalized do not, whoever finalized them and whatever else is known of it: the driver was told.
    fn create(&self, on: &OnLane, partition: &PartitionId) -> Result<Box<dyn PartitionWriter>, CreateError>;

    /// Opens a partition that was finalized, possibly before a restart.
    fn open(&self, on: &OnLane, partition: &PartitionId) -> Result<Arc<dyn PartitionReader>, ReadError>;

    /// Deletes those files of a partition that lie on the disk of this number; those that are not there are no error.
    fn delete(&self, on: &OnLane, disk: usize, partition: &PartitionId) -> io::Result<()>;

    /// Deletes all merged files of the application beneath those of `dirs` that lie on the disk of this number, and no
    /// directory ([`Roots::purge`](crate::disk::Roots::purge) with [`names::is_file_of`](super::names::is_file_of) does
    /// that).
    fn delete_all(&self, on: &OnLane, disk: usize, dirs: &MergeDirs) -> io::Result<()>;
}

/// A partition that is being merged. Dropping it leaves the files as they are.
pub trait PartitionWriter: fmt::Debug + Send {
    /// Writes pieces of a block behind what was committed and appended. On an error the block is aborted next.
    fn append(&mut self, on: &OnLane, pieces: &[&[u8]]) -> io::Result<()>;

    /// Drops the bytes that were appended since the last commit.
    fn abort(&mut self);

    /// Marks the appended bytes as merged. Fails only if an append has failed; then the caller aborts.
    fn commit(&mut self) -> io::Result<()>;

    /// Ends a chunk with the last committed block; `bitmap` are the map indexes in it, in RoaringBitmap's portable
    /// form. On an error no chunk has ended: the next one begins where this one would have.
    fn close_chunk(&mut self, on: &OnLane, bitmap: &[u8]) -> io::Result<()>;

    /// Whether the chunk should be closed however small it is.
    fn is_chunk_full(&self) -> bool {
        false
    }

    /// Cuts off what follows the last chunk, and makes the partition one that [`AppStore::open`] opens. Its length.
    fn finalize(self: Box<Self>, on: &OnLane) -> io::Result<u64>;

    /// The chunks that were closed so far.
    fn reader(&self, on: &OnLane) -> Result<Arc<dyn PartitionReader>, ReadError>;
}

/// A partition that can be read.
pub trait PartitionReader: fmt::Debug + Send + Sync {
    /// Number of chunks.
    fn chunks(&self) -> usize;

    /// Where each chunk begins in the blocks of all chunks, one behind the other, and the end of the last; 0 alone where
    /// there is none.
    fn offsets(&self) -> Vec<u64>;

    /// The bitmaps of all chunks, one behind the other.
    fn meta(&self, on: &OnLane) -> Result<Bytes, ReadError>;

    /// One chunk; `None` beyond the last.
    fn chunk(&self, on: &OnLane, chunk: usize) -> Result<Option<Box<dyn Pull>>, ReadError>;

    /// Bytes of memory that the reader holds.
    fn weight(&self) -> u64;
}

/// Why the files of a partition are not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// This attempt has finalized them.
    #[error("the partition is finalized")]
    Finalized,
    /// Something bears their names, and does not show that it was not finalized.
    #[error("{why}")]
    InDoubt {
        /// The file and the reason.
        why: String,
    },
    /// The disk or the key service failed.
    #[error(transparent)]
    Failed(#[from] io::Error),
}

/// The missing files of a partition.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct MissingFiles {
    /// The data file.
    pub data: bool,
    /// Whether the index file is missing.
    pub index: bool,
    /// Whether the meta file is missing.
    pub meta: bool,
}

/// Why a merged partition cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Some of its files are missing.
    #[error("merged files are missing: {0:?}")]
    Missing(MissingFiles),
    /// The bytes are not the ones that were written.
    #[error("damaged: {why}")]
    Damaged {
        /// The file and the fault.
        why: String,
    },
    /// The system reports an error.
    #[error("unreadable: {why}")]
    Unreadable {
        /// The file and the error.
        why: String,
    },
    /// The key that the files carry is not in memory: call [`Store::prepare`] with it, and try again.
    #[error("unreadable: {why}")]
    AwaitsKey {
        /// The key.
        key: WrappedKey,
        /// The reason why it is missing.
        why: String,
    },
}
