//! What bounds the disks and what is registered on them.

use std::time::Duration;

use sealed_shuffle_config::{Values, keys};

use super::executors::RegistryLimits;

/// What bounds the store.
#[derive(Clone, Debug)]
pub struct DiskLimits {
    /// Weight of the parsed indexes, `8 * offsets + 176` each; 0 keeps none. Default 100 MiB,
    /// `spark.shuffle.service.index.cache.size`. The memory taken is about half of it.
    pub index_cache_bytes: u64,
    /// A larger index file is refused. Default 128 MiB and 8 bytes, which is 2^24 partitions, Spark's own bound.
    pub max_index_bytes: u64,
    /// Of a larger index file no more is read than a request needs, and its offsets are not kept. Default 64 KiB, 8,191
    /// partitions.
    pub kept_index_bytes: u64,
    /// Data files, and index files that are not kept, that stay open; 0 keeps none. Default 1024.
    pub open_files: usize,
    /// A data file that was not used during this time is closed. Default 60 s.
    pub file_idle: Duration,
    /// What bounds the registrations.
    pub registry: RegistryLimits,
}

impl Default for DiskLimits {
    fn default() -> Self {
        Self {
            index_cache_bytes: Values::defaults().bytes(&keys::INDEX_CACHE_SIZE),
            max_index_bytes: (128 << 20) + 8,
            kept_index_bytes: 64 << 10,
            open_files: 1024,
            file_idle: Duration::from_secs(60),
            registry: RegistryLimits::default(),
        }
    }
}
