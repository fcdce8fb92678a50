//! Why a block cannot be had, in the words of the log.

use std::sync::Arc;

use sealed_shuffle_protocol::ids::{AppId, ExecutorId, MapId, ShuffleId};
use sealed_shuffle_protocol::labels;
use sealed_shuffle_transport::region::ShownPath;

use super::open_error::OpenError;

/// Why a block cannot be had.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// Nobody registered this executor.
    #[error("executor {executor} of application {app} is not registered, or its application was forgotten")]
    NotRegistered {
        /// The application.
        app: AppId,
        /// The executor.
        executor: ExecutorId,
    },
    /// The same, while diagnosing.
    #[error("executor {executor} of application {app} is not registered, so its block cannot be diagnosed")]
    NotRegisteredForDiagnosis {
        /// The application.
        app: AppId,
        /// The executor.
        executor: ExecutorId,
    },
    /// The executor registered no directories, or no sub-directories.
    #[error("executor {executor} of application {app} registered no directories, or 0 sub-directories")]
    NoDirectories {
        /// The application.
        app: AppId,
        /// The executor.
        executor: ExecutorId,
    },
    /// Its disk takes no work: it is missing, or does not answer.
    #[error("{path} is not served: {why}")]
    Disk {
        /// The file.
        path: ShownPath,
        /// How the disk is.
        why: Arc<str>,
    },
    /// The index file cannot be opened or read.
    #[error("cannot read an index: {source}")]
    Index {
        /// What happened.
        source: OpenError,
    },
    /// The index file is larger than any that Spark could use.
    #[error("index {path} has {size} bytes, and no more than {limit} are read")]
    IndexTooLarge {
        /// The file.
        path: ShownPath,
        /// Its size.
        size: u64,
        /// The bound.
        limit: u64,
    },
    /// A partition that the map output has not.
    #[error(
        "map output {map} of shuffle {shuffle} has {offsets} offsets, and {start} to {end} were asked for"
    )]
    OutOfBounds {
        /// The shuffle.
        shuffle: ShuffleId,
        /// The map task.
        map: MapId,
        /// First offset asked for.
        start: i64,
        /// Last offset asked for.
        end: i64,
        /// Offsets that there are.
        offsets: usize,
    },
    /// The range ends before it begins.
    #[error("partitions {start} to {end} of map output {map} of shuffle {shuffle} have the length {length}")]
    NegativeLength {
        /// The shuffle.
        shuffle: ShuffleId,
        /// The map task.
        map: MapId,
        /// First offset asked for.
        start: i64,
        /// Last offset asked for.
        end: i64,
        /// What the offsets say.
        length: i64,
    },
    /// The offsets do not ascend from 0.
    #[error(
        "the index of map output {map} of shuffle {shuffle} is damaged: its offsets do not ascend from 0"
    )]
    DamagedIndex {
        /// The shuffle.
        shuffle: ShuffleId,
        /// The map task.
        map: MapId,
    },
    /// A path that leads elsewhere.
    #[error("{path} goes through a symlink or leaves its root; files are served only by their plain path")]
    Escapes {
        /// The file.
        path: ShownPath,
    },
    /// The data file cannot be opened.
    #[error("cannot read a block: {source}")]
    Data {
        /// What happened.
        source: OpenError,
    },
    /// The data file is not the one that the index describes.
    #[error("{path} has {found} bytes, and its index says {expected}")]
    Mismatch {
        /// The data file.
        path: ShownPath,
        /// What the index says.
        expected: i64,
        /// What is there.
        found: u64,
    },
    /// The pair of files was replaced each time it was looked at.
    #[error("{path} or its data file is being rewritten")]
    Changing {
        /// The index file.
        path: ShownPath,
    },
}

impl LookupError {
    labels! {
        /// A short fixed word for metrics.
        pub fn label, LABELS {
            Self::NotRegistered { .. } | Self::NotRegisteredForDiagnosis { .. } => "not_registered",
            Self::NoDirectories { .. } => "no_directories",
            Self::Disk { .. } => "disk",
            Self::Index { .. } => "index",
            Self::IndexTooLarge { .. } => "index_too_large",
            Self::OutOfBounds { .. } | Self::NegativeLength { .. } => "out_of_bounds",
            Self::DamagedIndex { .. } => "damaged_index",
            Self::Escapes { .. } => "escapes",
            Self::Data { .. } => "data",
            Self::Mismatch { .. } => "mismatch",
            Self::Changing { .. } => "changing",
        }
    }

    /// The same, found while diagnosing.
    pub fn while_diagnosing(self) -> Self {
        match self {
            Self::NotRegistered { app, executor } => Self::NotRegisteredForDiagnosis { app, executor },
            other => other,
        }
    }

    pub(super) fn index(error: OpenError) -> Self {
        match error {
            OpenError::Escapes { path } => Self::Escapes { path },
            source => Self::Index { source },
        }
    }

    pub(super) fn data(error: OpenError) -> Self {
        match error {
            OpenError::Escapes { path } => Self::Escapes { path },
            source => Self::Data { source },
        }
    }
}
