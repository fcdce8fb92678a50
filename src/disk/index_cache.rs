//! Parsed indexes of one disk, and the ends of those too large to be kept, bounded by weight. Keys are paths below the
//! root.
//!
//! An entry remembers which index file and which data file it was read with; [`super::block_store`] compares both before
//! it uses one, so a rewritten pair is read anew (Spark 2.4 repeats map ids; later versions never do, and Spark's
//! own cache checks nothing).
//!
//! `quick_cache` because its hits take a shard's read lock and touch one atomic: no list is relinked under a mutex,
//! and one pass over many cold map outputs does not push out the hot ones (S3-FIFO), which is how reducers ask.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_transport::region::Identity;

use super::bounded;
use super::far_index::Ends;
use super::index::Index;

/// An index, and the pair of files that it holds for.
#[derive(Debug)]
pub(super) struct IndexEntry {
    pub(super) index: KnownOffsets,
    pub(super) index_file: Identity,
    /// None where there is no data file, because nothing was written to it.
    pub(super) data_file: Option<Identity>,
    pub(super) app: AppId,
    /// When both paths last led to these two files, in nanoseconds since the store began.
    pub(super) looked: AtomicU64,
}

/// What is known of an index without another read.
#[derive(Debug)]
pub(super) enum KnownOffsets {
    Whole(Index),
    Ends(Ends),
}

impl KnownOffsets {
    /// How many offsets there are.
    pub(super) fn count(&self) -> usize {
        match self {
            Self::Whole(index) => index.count(),
            Self::Ends(ends) => ends.count(),
        }
    }

    /// The last offset, which is the length of the data file.
    pub(super) fn data_len(&self) -> i64 {
        match self {
            Self::Whole(index) => index.data_len(),
            Self::Ends(ends) => ends.data_len(),
        }
    }
}

/// The cache; holds nothing when its limit is 0.
#[derive(Debug)]
pub(super) struct IndexCache {
    cache: Cache<Box<str>, Arc<IndexEntry>, ByOffsets>,
}

impl IndexCache {
    /// A cache of `limit` bytes, weighed as Spark does, so that `spark.shuffle.service.index.cache.size` means the
    /// same number of indexes as there.
    pub(super) fn new(limit: u64) -> Self {
        // An entry heavier than its shard is not kept: few shards for small limits.
        let shards = usize::try_from((limit / SHARD_BYTES).clamp(1, 16)).unwrap_or(1);
        let entries = usize::try_from(limit / TYPICAL_WEIGHT).unwrap_or(usize::MAX).max(1);
        Self { cache: bounded::by_weight(limit, entries, shards, ByOffsets) }
    }

    pub(super) fn find(&self, path: &str) -> Option<Arc<IndexEntry>> {
        self.cache.get(path)
    }

    pub(super) fn insert(&self, path: &str, entry: Arc<IndexEntry>) {
        self.cache.insert(path.into(), entry);
    }

    pub(super) fn remove(&self, path: &str) {
        self.cache.remove(path);
    }

    /// Drops everything.
    pub(super) fn clear(&self) {
        self.cache.clear();
    }

    pub(super) fn forget(&self, app: &AppId) {
        self.cache.retain(|_, entry| entry.app != *app);
    }

    /// Bytes that the entries weigh.
    pub(super) fn weight(&self) -> u64 {
        self.cache.weight()
    }

    /// Number of entries.
    pub(super) fn len(&self) -> usize {
        self.cache.len()
    }
}

/// What an index of some hundred partitions weighs.
const TYPICAL_WEIGHT: u64 = 2 << 10;
const SHARD_BYTES: u64 = 16 << 20;

/// `8 * offsets + 176`: what `ShuffleIndexInformation` (Spark 3.2 and later) says of itself. Of an index that is not
/// kept there are two.
#[derive(Clone, Debug)]
struct ByOffsets;

impl Weighter<Box<str>, Arc<IndexEntry>> for ByOffsets {
    fn weight(&self, _: &Box<str>, entry: &Arc<IndexEntry>) -> u64 {
        let kept = match &entry.index {
            KnownOffsets::Whole(index) => index.count(),
            KnownOffsets::Ends(_) => 2,
        };
        u64::try_from(kept).unwrap_or(u64::MAX / 16) * 8 + 176
    }
}
