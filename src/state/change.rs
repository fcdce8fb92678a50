//! A change of the records.

use std::fmt;

use sealed_shuffle_protocol::ids::ShuffleMergeId;

/// A change of the records; values are sealed.
pub(super) enum Change {
    Put {
        name: Vec<u8>,
        value: Vec<u8>,
    },
    Delete {
        name: Vec<u8>,
    },
    /// A finalized merge, if it is still this one.
    DeleteMerge {
        name: Vec<u8>,
        merge: ShuffleMergeId,
    },
    /// All executors that were registered without proof of identity and whose names begin with `prefix`.
    DeleteUnproven {
        prefix: Vec<u8>,
    },
    /// The clear front, with the node key wrapped anew.
    Header {
        encoded: Vec<u8>,
    },
    /// All records whose names begin with `prefix`.
    DeleteAll {
        prefix: Vec<u8>,
    },
}

impl Change {
    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Put { name, value } => name.len() + value.len(),
            Self::Delete { name } | Self::DeleteMerge { name, .. } => name.len(),
            Self::DeleteUnproven { prefix } | Self::DeleteAll { prefix } => prefix.len(),
            Self::Header { encoded } => encoded.len(),
        }
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Put { .. } => "Put",
            Self::Delete { .. } => "Delete",
            Self::DeleteMerge { .. } => "DeleteMerge",
            Self::DeleteUnproven { .. } => "DeleteUnproven",
            Self::DeleteAll { .. } => "DeleteAll",
            Self::Header { .. } => "Header",
        })
    }
}
