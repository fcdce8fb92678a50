//! The names of merges and of merged partitions.

use sealed_shuffle_protocol::ids::{ReduceId, ShuffleId, ShuffleMergeId};

/// One attempt of merging a shuffle.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Merge {
    /// The attempt of the application that its executors registered; -1 where it has none.
    pub app_attempt: i32,
    /// The shuffle.
    pub shuffle: ShuffleId,
    /// The attempt of merging it: 0, and one more whenever an indeterminate stage runs again.
    pub merge: ShuffleMergeId,
}

/// A partition of one attempt of merging.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct MergedPartition {
    /// The shuffle.
    pub shuffle: ShuffleId,
    /// The attempt of merging it.
    pub merge: ShuffleMergeId,
    /// The partition.
    pub reduce: ReduceId,
}
