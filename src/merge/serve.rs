//! Reads merged partitions: their chunks, and the map indexes in each chunk.
//!
//! A partition that is still being merged shows its present chunks. Any other partition is read from the disk, and its
//! reader is kept for a while.
//!
//! Origin: `RemoteBlockPushResolver.getMergedBlockMeta` and `getMergedBlockData`, Spark 4.3.0.

use std::sync::Arc;

use bytes::Bytes;
use sealed_shuffle_transport::lane::OnLane;
use sealed_shuffle_transport::seal::Pull;

use super::application::{App, Phase};
use super::error::MergeError;
use super::merger::{Counters, Merger};
use super::names::PartitionId;
use super::partition::{Files, Partition};
use super::storage::{MissingFiles, PartitionReader, ReadError};

/// The answer to a request for merged metadata.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MergedMeta {
    /// Number of chunks.
    pub chunks: i32,
    /// The bitmaps of all chunks, one after the other.
    pub bitmaps: Bytes,
}

impl Merger {
    /// The chunks of a partition, as bitmaps of their map indexes.
    pub fn meta(&self, on: &OnLane, partition: &PartitionId) -> Result<MergedMeta, MergeError> {
        let app = self.app(&partition.app)?;
        let index = || app.dirs.shown(&partition.index_name());
        let reader = self.reader(on, &app, partition, "MergedBlockMeta")?.map_err(|error| match error {
            ReadError::Missing(MissingFiles { meta: true, index: false, .. }) => {
                MergeError::NotFound { kind: "meta", path: app.dirs.shown(&partition.meta_name()) }
            }
            // Spark would find out with the first chunk.
            ReadError::Missing(MissingFiles { data: true, index: false, .. }) => {
                MergeError::NotFound { kind: "data", path: app.dirs.shown(&partition.data_name()) }
            }
            ReadError::Missing(_) => MergeError::NotFound { kind: "index", path: index() },
            error => unreadable(partition, index(), error),
        })?;
        let chunks = i32::try_from(reader.chunks()).unwrap_or(i32::MAX);
        if chunks == 0 {
            return Err(MergeError::EmptyIndex { path: index() });
        }
        let bitmaps = reader.meta(on).map_err(|error| unreadable(partition, index(), error))?;
        Ok(MergedMeta { chunks, bitmaps })
    }

    /// One chunk of a partition, for a reader.
    pub fn chunk(
        &self,
        on: &OnLane,
        partition: &PartitionId,
        chunk: i32,
    ) -> Result<Box<dyn Pull>, MergeError> {
        let found = self.find_chunk(on, partition, chunk)?;
        Counters::add(&self.counters.read_chunks, 1);
        Counters::add(&self.counters.read_bytes, found.remaining());
        Ok(found)
    }

    /// One chunk of a partition, which does not count as read.
    pub fn find_chunk(
        &self,
        on: &OnLane,
        partition: &PartitionId,
        chunk: i32,
    ) -> Result<Box<dyn Pull>, MergeError> {
        let app = self.app(&partition.app)?;
        let index = || app.dirs.shown(&partition.index_name());
        let reader = self.reader(on, &app, partition, "MergedBlockData")?.map_err(|error| match error {
            ReadError::Missing(MissingFiles { data: true, .. }) => {
                MergeError::NotFound { kind: "data", path: app.dirs.shown(&partition.data_name()) }
            }
            error => unreadable(partition, index(), error),
        })?;
        let chunks = reader.chunks();
        let found = match usize::try_from(chunk) {
            Ok(chunk) => reader.chunk(on, chunk).map_err(|error| unreadable(partition, index(), error))?,
            Err(_) => None,
        };
        found.ok_or_else(|| MergeError::NoSuchChunk { partition: partition.clone(), chunks, asked: chunk })
    }

    fn reader(
        &self,
        on: &OnLane,
        app: &App,
        partition: &PartitionId,
        what: &'static str,
    ) -> Result<Result<Arc<dyn PartitionReader>, ReadError>, MergeError> {
        if let Some(open) = self.open_partition(app, partition, what)? {
            let state = open.lock();
            if let Files::Open(files) = &state.files {
                return Ok(files.reader(on));
            }
        }
        Ok(self.finalized(on, app, partition))
    }

    /// A partition of which nothing is open; its reader is kept for a while.
    pub(super) fn finalized(
        &self,
        on: &OnLane,
        app: &App,
        partition: &PartitionId,
    ) -> Result<Arc<dyn PartitionReader>, ReadError> {
        if let Some(reader) = self.readers.find(app.life, partition) {
            return Ok(reader);
        }
        if !partition.is_nameable() {
            return Err(ReadError::Missing(MissingFiles { data: true, index: true, meta: true }));
        }
        let reader = app.files.open(on, partition)?;
        self.readers.keep(app.life, partition, &reader);
        Ok(reader)
    }

    /// The partition, if it is being merged; an error if a newer merge has begun.
    fn open_partition(
        &self,
        app: &App,
        partition: &PartitionId,
        what: &'static str,
    ) -> Result<Option<Arc<Partition>>, MergeError> {
        let shuffles = app.shuffles();
        let merged = partition.merged;
        let Some(shuffle) = shuffles.get(&merged.shuffle) else { return Ok(None) };
        if shuffle.merge > merged.merge {
            return Err(MergeError::StaleFetch { what, partition: partition.clone() });
        }
        match &shuffle.phase {
            Phase::Open(partitions) if shuffle.merge == merged.merge => {
                Ok(partitions.get(&merged.reduce).cloned())
            }
            _ => Ok(None),
        }
    }
}

/// Why a partition that is there cannot be read.
pub(super) fn unreadable(partition: &PartitionId, path: String, error: ReadError) -> MergeError {
    let (partition, why) = (partition.clone(), error.to_string());
    match error {
        ReadError::AwaitsKey { key, .. } => {
            MergeError::AwaitsKey { partition, path, key: Box::new(key), why }
        }
        _ => MergeError::Unreadable { partition, path, why },
    }
}
