//! The settings of push-based merging.

use std::time::Duration;

use super::ByteCount;
use super::keys;
use super::value::AtRest;
use super::values::Values;

/// How a server merges, where it does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MergeConfig {
    /// A chunk ends with the block that makes it so long
    /// (`spark.shuffle.push.server.minChunkSizeInMergedShuffleFile`). 2 MiB.
    pub min_chunk: ByteCount,
    /// Memory for indexes of merged partitions (`spark.shuffle.push.server.mergedIndexCacheSize`). 100 MiB.
    pub index_cache_size: ByteCount,
    /// Disk errors that a partition survives (`spark.shuffle.push.server.ioExceptionsThresholdDuringMerge`). 4.
    pub io_errors: u32,
    /// For deleting at the end (`spark.shuffle.push.server.mergedShuffleCleaner.shutdown.timeout`). 60 s.
    pub cleaner_timeout: Duration,
    /// The form of merged partitions on the disk (`spark.sealed.merge.at-rest`). Sealed.
    pub at_rest: AtRest,
    /// Whether finalizing waits until the disk has it (`spark.sealed.merge.fsync`). No.
    pub fsync: bool,
}

/// The class that merges in Spark; it is recognized by the end of its name.
const RESOLVER: &str = "RemoteBlockPushResolver";

impl MergeConfig {
    /// None where merging is not switched on; a bad value is refused in either case.
    pub(crate) fn read(v: &mut Values<'_>) -> Option<Self> {
        let is_on = v.value(&keys::MERGE_MANAGER).ends_with(RESOLVER);
        let config = Self::of(v);
        is_on.then_some(config)
    }

    fn of(v: &mut Values<'_>) -> Self {
        Self {
            min_chunk: v.value(&keys::MERGE_MIN_CHUNK),
            index_cache_size: v.value(&keys::MERGE_INDEX_CACHE),
            io_errors: v.value(&keys::MERGE_IO_ERRORS),
            cleaner_timeout: v.value(&keys::MERGE_CLEANER_TIMEOUT),
            at_rest: v.value(&keys::MERGE_AT_REST),
            fsync: v.value(&keys::MERGE_FSYNC),
        }
    }
}

impl Default for MergeConfig {
    fn default() -> Self {
        Self::of(&mut Values::defaults())
    }
}
