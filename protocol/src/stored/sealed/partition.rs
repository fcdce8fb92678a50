//! A merged partition and its three files, by name.

use std::fmt;

use crate::ids::{AppId, ReduceId, ShuffleId, ShuffleMergeId};

/// Which file of a partition.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Kind {
    /// The pushed blocks.
    Data = 1,
    /// Where chunks begin and end, and what their segments are counted with.
    Index = 2,
    /// Which map outputs are in a chunk.
    Meta = 3,
}

impl Kind {
    /// All three, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Data, Self::Index, Self::Meta];

    /// Ending of the file's name.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Index => "index",
            Self::Meta => "meta",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.extension())
    }
}

/// A merged partition of an application.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct PartitionId {
    /// The shuffle.
    pub shuffle: ShuffleId,
    /// The attempt of merging it.
    pub merge: ShuffleMergeId,
    /// The reduce partition.
    pub reduce: ReduceId,
}

impl PartitionId {
    /// Name of one of its files (`RemoteBlockPushResolver`, Spark 4.3.0; unchanged since 3.2).
    pub fn file_name(&self, app: &AppId, kind: Kind) -> String {
        format!("shuffleMerged_{}_{self}.{kind}", app.as_str())
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}_{}", self.shuffle, self.merge, self.reduce)
    }
}
