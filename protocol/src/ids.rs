//! The names that Spark gives things, as types that cannot be mixed up.

use std::fmt;
use std::sync::Arc;

use crate::shown::Shown;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the name as it stands; Spark treats it as opaque text. A name of a peer is at most
            /// [`NAME_MAX`](crate::limits::NAME_MAX) bytes long: decoding sees to it.
            pub fn new(name: impl Into<Arc<str>>) -> Self {
                Self(name.into())
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            /// Harmless in a log and on a terminal: see [`Shown`].
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                Shown(&self.0).fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

name! {
    /// An application id (`app-20261122052236-0000`, `application_1700000000000_0001`).
    AppId
}
name! {
    /// An executor id: a decimal number for real executors, `driver` for the driver.
    ExecutorId
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// Names an open stream on its connection. Opaque, never negative in practice.
    StreamId(i64)
}
number! {
    /// Position of a chunk in its stream, from 0.
    ChunkIndex(i32)
}
number! {
    /// Correlates a request and its answer. Opaque; negative values are legal.
    RequestId(i64)
}
number! {
    /// A shuffle of an application.
    ShuffleId(i32)
}
number! {
    /// A map task: its task attempt id since Spark 3.0, its map index before.
    MapId(i64)
}
number! {
    /// A reduce partition.
    ReduceId(i32)
}
number! {
    /// The attempt of merging a shuffle; grows when an indeterminate stage is retried.
    ShuffleMergeId(i32)
}

/// A merged partition of an application: the blocks of one reduce partition in one attempt of merging.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MergedPartition {
    /// The shuffle.
    pub shuffle: ShuffleId,
    /// The attempt of merging it.
    pub merge: ShuffleMergeId,
    /// The reduce partition.
    pub reduce: ReduceId,
}

impl fmt::Display for MergedPartition {
    /// As file names have it: `<shuffle>_<merge>_<reduce>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}_{}", self.shuffle, self.merge, self.reduce)
    }
}
