//! Readers of finalized partitions, kept for a while: a reducer asks for all chunks of a partition one by one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::names::PartitionId;
use super::storage::PartitionReader;

/// Opened partitions that are finalized.
#[derive(Debug)]
pub(super) struct Readers {
    cache: Cache<Key, CachedReader, ByMemory>,
}

/// A partition of one life of an application: later attempts have partitions of the same names.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Key {
    life: u64,
    partition: PartitionId,
}

#[derive(Clone, Debug)]
struct CachedReader {
    reader: Arc<dyn PartitionReader>,
    /// Whether it was used since the last sweep.
    is_used: Arc<AtomicBool>,
}

#[derive(Clone, Debug)]
struct ByMemory {
    /// The lowest weight of an entry: `most` entries fill the cache, however small they are.
    least: u64,
}

impl Weighter<Key, CachedReader> for ByMemory {
    fn weight(&self, _: &Key, kept: &CachedReader) -> u64 {
        kept.reader.weight().max(self.least)
    }
}

impl Readers {
    /// Keeps at most `most` readers of `bytes` together. If one of the two is 0, it keeps none.
    pub(super) fn new(bytes: u64, most: usize) -> Self {
        let bytes = if most == 0 { 0 } else { bytes };
        let least = bytes.checked_div(most as u64).unwrap_or(0).max(1);
        Self { cache: Cache::with_weighter(most, bytes, ByMemory { least }) }
    }

    pub(super) fn find(&self, life: u64, partition: &PartitionId) -> Option<Arc<dyn PartitionReader>> {
        let kept = self.cache.get(&Key { life, partition: partition.clone() })?;
        kept.is_used.store(true, Ordering::Relaxed);
        Some(kept.reader)
    }

    pub(super) fn keep(&self, life: u64, partition: &PartitionId, reader: &Arc<dyn PartitionReader>) {
        let is_used = Arc::new(AtomicBool::new(true));
        let key = Key { life, partition: partition.clone() };
        self.cache.insert(key, CachedReader { reader: Arc::clone(reader), is_used });
    }

    pub(super) fn remove(&self, life: u64, partition: &PartitionId) {
        self.cache.remove(&Key { life, partition: partition.clone() });
    }

    pub(super) fn forget(&self, life: u64) {
        self.cache.retain(|key, _| key.life != life);
    }

    pub(super) fn sweep(&self) {
        self.cache.retain(|_, kept| kept.is_used.swap(false, Ordering::Relaxed));
    }
}
