//! The name of a merge.

use sealed_shuffle_protocol::ids::{ShuffleId, ShuffleMergeId};

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
