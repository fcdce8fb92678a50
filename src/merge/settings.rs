//! The settings of merging.

use std::time::Duration;

use sealed_shuffle_config::{Values, keys};

/// The settings of merging.
#[derive(Clone, Debug)]
pub struct MergeSettings {
    /// Shortest chunk: a chunk ends with the block that reaches this length. Default 2 MiB,
    /// `spark.shuffle.push.server.minChunkSizeInMergedShuffleFile`.
    pub min_chunk: u64,
    /// Most disk errors that a partition survives. Default 4,
    /// `spark.shuffle.push.server.ioExceptionsThresholdDuringMerge`.
    pub io_errors: u32,
    /// Most memory for opened partitions that are read. Default 100 MiB,
    /// `spark.shuffle.push.server.mergedIndexCacheSize`.
    pub reader_bytes: u64,
    /// Whether a corrupt chunk is read again to tell a reader what damaged it. Yes,
    /// `spark.shuffle.push.server.mergedShuffleChecksum.enabled`.
    pub diagnoses_chunks: bool,
    /// Most opened partitions that are kept for further reads; sealed ones hold no file. Default 65,536.
    pub readers: usize,
    /// Most memory for blocks that wait for another one to be merged. Default 64 MiB.
    pub deferred_bytes: u64,
    /// Most memory for the map indexes of open partitions. Default 16 MiB.
    pub bitmap_bytes: u64,
    /// Most open partitions at once; each costs a few hundred bytes, and three files on the disk. Default 100,000.
    pub partitions: u64,
    /// Most shuffles that are remembered, of all applications; about 100 bytes each. Default 1,000,000.
    pub shuffles: u64,
    /// Most bytes of merged blocks that one application has on the disks; `None` leaves it to the disks. None,
    /// `spark.sealed.quota.merged-bytes`.
    pub merged_bytes: Option<u64>,
    /// Longest wait for deletions when the server ends. Default 60 s,
    /// `spark.shuffle.push.server.mergedShuffleCleaner.shutdown.timeout`.
    pub cleaner_timeout: Duration,
}

impl Default for MergeSettings {
    fn default() -> Self {
        let mut v = Values::defaults();
        Self {
            min_chunk: v.bytes(&keys::MERGE_MIN_CHUNK),
            io_errors: v.value(&keys::MERGE_IO_ERRORS),
            reader_bytes: v.bytes(&keys::MERGE_INDEX_CACHE),
            diagnoses_chunks: v.value(&keys::MERGE_CHECKSUM),
            readers: 65_536,
            deferred_bytes: 64 << 20,
            bitmap_bytes: 16 << 20,
            partitions: 100_000,
            shuffles: 1_000_000,
            merged_bytes: None,
            cleaner_timeout: v.value(&keys::MERGE_CLEANER_TIMEOUT),
        }
    }
}
