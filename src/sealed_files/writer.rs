//! One partition while it is merged.

use std::sync::Arc;

use sealed_shuffle_protocol::cipher::Segment;
use sealed_shuffle_protocol::ids::MergedPartition;
use sealed_shuffle_protocol::stored::envelope::{DataKey, WrappedKey};
use sealed_shuffle_protocol::stored::sealed::{
    Kind, PartitionSealer, Progress, Salt, SealedCommit, SealedError,
};
use sealed_shuffle_transport::lane::OnLane;
use sealed_shuffle_transport::random::random_bytes;

use super::error::StoredError;
use super::place::MergedFiles;
use super::sealed_store::SealedStore;
use crate::disk::WriteId;

/// Writes the three files of a partition. One block at a time: [`append`](Self::append) its pieces, then
/// [`commit`](Self::commit) or [`abort`](Self::abort).
///
/// It holds keys, counters and positions, in all a few hundred bytes; no buffer, and no descriptor of its own.
/// Dropped before [`finalize`](Self::finalize), it leaves files that nobody opens.
#[derive(Debug)]
pub struct SealedWriter {
    store: Arc<SealedStore>,
    place: Arc<MergedFiles>,
    partition: MergedPartition,
    /// A piece of the block was not written.
    lost: bool,
    salt: Salt,
    /// None once finalized.
    sealer: Option<PartitionSealer>,
    files: Writings,
}

/// Which files these are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writings {
    pub(super) data: WriteId,
    pub(super) index: WriteId,
    pub(super) meta: WriteId,
}

/// Whether the end of a partition waits for the disk.
///
/// Either way what was finalized survives the end of the process, however it ends: the page cache is the kernel's, and
/// no later process makes the files of a finalized partition anew. Only [`Fsync::Always`] survives a power loss; without
/// it a finalized partition may come back damaged, which is found out, or as if it had never been.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Fsync {
    /// As Spark: nobody waits.
    #[default]
    Never,
    /// Data, meta, index, and the names of all three, in this order.
    Always,
}

/// A partition that has come to its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FinalizedFiles {
    /// Chunks that it has.
    pub chunks: u32,
    /// Bytes of plaintext: what MergeStatuses says.
    pub len: u64,
    /// Bytes that its three files take on the disk.
    pub sealed_len: u64,
    /// Names this opening of the partition.
    pub salt: Salt,
}

impl SealedStore {
    /// Makes the three files of a partition anew, in place of any that are there and were not finalized. One that is
    /// finalized is never replaced ([`StoredError::Finalized`]).
    pub fn create(
        self: &Arc<Self>,
        on: &OnLane,
        place: &Arc<MergedFiles>,
        partition: MergedPartition,
        key: &DataKey,
        wrapped: &WrappedKey,
    ) -> Result<SealedWriter, StoredError> {
        self.may_be_made(on, place, partition)?;
        let salt = Salt(random_bytes()?);
        let (sealer, headers) =
            PartitionSealer::new(key, wrapped, place.context(), partition, place.attempt(), salt).map_err(
                |source| place.failed(partition, Kind::Data, |path| StoredError::Seal { path, source }),
            )?;
        let make = |kind, keep_open| {
            let file = place.file(partition, kind)?;
            Ok::<_, StoredError>(self.files.create(on, &file, headers.of(kind), keep_open)?)
        };
        // What is left of an earlier opening goes before its index does, so that data without an index are in doubt.
        for kind in [Kind::Data, Kind::Meta] {
            self.files.remove(on, &place.file(partition, kind)?)?;
        }
        let index = make(Kind::Index, false)?;
        let meta = make(Kind::Meta, false)?;
        let data = make(Kind::Data, true)?;
        let files = Writings { data, index, meta };
        Ok(SealedWriter::new(self.clone(), place.clone(), partition, salt, sealer, files))
    }
}

impl SealedWriter {
    pub(super) fn new(
        store: Arc<SealedStore>,
        place: Arc<MergedFiles>,
        partition: MergedPartition,
        salt: Salt,
        sealer: PartitionSealer,
        files: Writings,
    ) -> Self {
        Self { store, place, partition, lost: false, salt, sealer: Some(sealer), files }
    }

    /// Seals the next piece of a block where it lies and writes it behind the last one. `piece` is laid out as
    /// [`PIECE`](sealed_shuffle_protocol::stored::sealed::PIECE) and is spent afterwards; one without content is
    /// nothing to do.
    ///
    /// After an error the block has to be aborted.
    pub fn append(&mut self, on: &OnLane, piece: &mut Segment) -> Result<(), StoredError> {
        if piece.is_empty() {
            return Ok(());
        }
        if self.lost {
            return Err(StoredError::PieceLost { path: self.place.shown(self.partition, Kind::Data)? });
        }
        self.lost = true;
        let sealed = self.sealer().seal(piece);
        let position = sealed.map_err(|source| self.sealing(source))?;
        let file = self.place.file(self.partition, Kind::Data)?;
        self.store.files.write_at(on, &file, self.files.data, piece.sealed(), position, true)?;
        self.lost = false;
        Ok(())
    }

    /// The block is complete. Fails, and aborts it, where a piece of it was not written.
    pub fn commit(&mut self) -> Result<(), StoredError> {
        if self.lost {
            self.abort();
            return Err(StoredError::PieceLost { path: self.place.shown(self.partition, Kind::Data)? });
        }
        self.sealer().commit();
        Ok(())
    }

    /// The block will not be complete; the next one is written over it.
    pub fn abort(&mut self) {
        self.lost = false;
        self.sealer().abort();
    }

    /// Ends a chunk with the last committed block. `bitmap` says which map outputs are in it, as Spark's meta files
    /// have it. After an error the chunk stays open, and may be ended again.
    pub fn close_chunk(&mut self, on: &OnLane, bitmap: &[u8]) -> Result<(), StoredError> {
        let sealed = self.sealer().seal_chunk(bitmap);
        let chunk = sealed.map_err(|source| self.sealing(source))?;
        let (place, files) = (&self.place, &self.store.files);
        let meta = place.file(self.partition, Kind::Meta)?;
        files.write_at(on, &meta, self.files.meta, &chunk.meta, chunk.meta_at, false)?;
        let index = place.file(self.partition, Kind::Index)?;
        files.write_at(on, &index, self.files.index, &chunk.index, chunk.index_at, false)?;
        self.sealer().chunk_written(&chunk).map_err(|source| self.sealing(source))
    }

    /// Ends the partition with its last closed chunk: cuts the files to it and commits their lengths. A block that is
    /// being written, and blocks in no chunk, are lost.
    pub fn finalize(mut self, on: &OnLane, fsync: Fsync) -> Result<FinalizedFiles, StoredError> {
        let Progress { chunks, plain, .. } = self.progress();
        let sealer = self.sealer.take().expect(OPEN);
        let SealedCommit { index_at, index, data_len, meta_len } =
            sealer.finish().map_err(|source| self.sealing(source))?;
        let (place, files) = (&self.place, &self.store.files);
        let to_disk = fsync == Fsync::Always;
        let [data, index_file, meta] =
            [Kind::Data, Kind::Index, Kind::Meta].map(|kind| place.file(self.partition, kind));
        let (data, index_file, meta) = (data?, index_file?, meta?);
        files.cut(on, &data, self.files.data, data_len, to_disk)?;
        files.cut(on, &meta, self.files.meta, meta_len, to_disk)?;
        files.cut(on, &index_file, self.files.index, index_at, false)?;
        files.write_at(on, &index_file, self.files.index, &index, index_at, false)?;
        let index_len = index_at + index.len() as u64;
        if to_disk {
            files.cut(on, &index_file, self.files.index, index_len, true)?;
            for file in [&data, &meta, &index_file] {
                files.sync_dir(on, file)?;
            }
        }
        Ok(FinalizedFiles {
            chunks,
            len: plain,
            sealed_len: data_len + index_len + meta_len,
            salt: self.salt,
        })
    }

    /// Gives the partition up and removes its files.
    pub fn remove(self, on: &OnLane) -> Result<(), StoredError> {
        self.store.remove(on, &self.place, self.partition).map(|_| ())
    }

    /// Which partition.
    pub fn id(&self) -> MergedPartition {
        self.partition
    }

    /// Plaintext of committed blocks.
    pub fn len(&self) -> u64 {
        self.sealer_ref().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Plaintext of committed blocks that are in no chunk yet: to be compared with
    /// `spark.shuffle.push.server.minChunkSizeInMergedShuffleFile`.
    pub fn open_chunk_len(&self) -> u64 {
        self.sealer_ref().open_chunk_len()
    }

    /// Whether the open chunk should be closed however small it is: so many blocks of it were aborted that its record
    /// has little room left.
    pub fn is_chunk_full(&self) -> bool {
        self.sealer_ref().is_chunk_full()
    }

    /// How far it is, for [`SealedStore::open_unfinished`].
    pub fn progress(&self) -> Progress {
        self.sealer_ref().progress()
    }

    /// Bytes that it takes in memory.
    pub fn memory(&self) -> usize {
        size_of::<Self>() - size_of::<PartitionSealer>() + self.sealer_ref().memory()
    }

    fn sealer(&mut self) -> &mut PartitionSealer {
        self.sealer.as_mut().expect(OPEN)
    }

    fn sealer_ref(&self) -> &PartitionSealer {
        self.sealer.as_ref().expect(OPEN)
    }

    fn sealing(&self, source: SealedError) -> StoredError {
        self.place.failed(self.partition, Kind::Data, |path| StoredError::Seal { path, source })
    }
}

impl Drop for SealedWriter {
    fn drop(&mut self) {
        self.store.files.written(self.files.data);
    }
}

const OPEN: &str = "only finalize takes the sealer, and it takes the writer too";
