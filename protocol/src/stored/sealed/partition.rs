//! The three files of a merged partition, by name.

use std::fmt;

use crate::ids::{AppId, MergedPartition};

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

    /// Name of this file of a partition (`RemoteBlockPushResolver`, Spark 4.3.0; unchanged since 3.2).
    pub fn file_name(self, app: &AppId, partition: MergedPartition) -> String {
        format!("shuffleMerged_{}_{partition}.{self}", app.as_str())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.extension())
    }
}
