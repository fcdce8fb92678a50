//! The failures of merging, in the words of the log.

use sealed_shuffle_protocol::ids::{AppId, ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::labels;
use sealed_shuffle_protocol::shown::Shown;
use sealed_shuffle_protocol::stored::envelope::WrappedKey;

use super::names::PartitionId;
use crate::disk::{DirRefusal, RegisterRefusal};

/// A failure of merging.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// The registration has no merge directory.
    #[error("an executor that pushes blocks names no merge directory")]
    NoMergeDir {
        /// The shuffle manager as the executor sent it.
        meta: String,
    },
    /// The merge directory is no plain name.
    #[error("{dir:?} is no name of a merge directory")]
    InvalidMergeDir {
        /// The name.
        dir: String,
        /// The shuffle manager as the executor sent it.
        meta: String,
    },
    /// The merge directory is a link to another place.
    #[error("merge directory {name:?} does not lie in {}", Shown(parent))]
    Escapes {
        /// The name.
        name: String,
        /// The path where the directory should lie.
        parent: String,
        /// The application.
        app: AppId,
    },
    /// The local directory cannot have a directory beside it.
    #[error("local directory {dir:?} has no parent, so there is no place for a merge directory")]
    NoParent {
        /// The directory.
        dir: String,
    },
    /// The merge directory lies beneath no root.
    #[error("merge directory refused: {0}")]
    Dir(DirRefusal),
    /// The merge directory belongs to another application.
    #[error("merge directory refused: {0}")]
    Claim(RegisterRefusal),
    /// A newer attempt without proof names directories that are nowhere near those of the attempt before it.
    #[error(
        "attempt {attempt} of application {app} is not believed: nothing proves that it is the application, and it merges \
         elsewhere than attempt {before}; set spark.authenticate=true"
    )]
    Elsewhere {
        /// The application.
        app: AppId,
        /// The attempt that the executor names.
        attempt: i32,
        /// The attempt that is registered.
        before: i32,
    },
    /// The store cannot prepare the application.
    #[error("application {app} cannot merge: {why}")]
    Store {
        /// The application.
        app: AppId,
        /// The reason.
        why: String,
    },
    /// A number was expected, and there is other text.
    #[error("{text:?} is no 32-bit number")]
    NotANumber {
        /// The text.
        text: String,
    },
    /// Nobody registered the application with a merge directory.
    #[error("application {app} is not registered for merging, or its directories were gone at a restart")]
    UnknownApp {
        /// The application.
        app: AppId,
    },
    /// The message is of another attempt of the application.
    #[error("{message} names attempt {named} of application {app}, and {stored} is the current one")]
    Attempt {
        /// The message.
        message: &'static str,
        /// The application.
        app: AppId,
        /// The attempt that the message names.
        named: i32,
        /// The attempt that is registered.
        stored: i32,
    },
    /// The files of the partition cannot be made.
    #[error("cannot make the files of {partition}: {why}")]
    Create {
        /// The partition.
        partition: PartitionId,
        /// The reason.
        why: String,
    },
    /// The push has numbers that no application has.
    #[error("a pushed block with {what} is refused")]
    Absurd {
        /// The fault.
        what: String,
    },
    /// The partition had too many disk errors.
    #[error("too many disk errors while merging into the partition of {block}: it takes no more blocks")]
    Threshold {
        /// The block.
        block: String,
    },
    /// A piece of the block cannot be written.
    #[error("cannot write a piece of {block}: {cause}")]
    Write {
        /// The block.
        block: String,
        /// What happened.
        cause: WriteCause,
    },
    /// The block cannot be completed.
    #[error("cannot complete {block}: {cause}")]
    Complete {
        /// The block.
        block: String,
        /// What happened.
        cause: WriteCause,
    },
    /// The merge was finalized before, or has a successor.
    #[error("shuffle {shuffle} cannot be finalized with merge id {merge}: it was, or a later one has begun")]
    StaleFinalize {
        /// The shuffle.
        shuffle: ShuffleId,
        /// The attempt of merging the shuffle.
        merge: ShuffleMergeId,
    },
    /// There is no room to keep the state of this finalization.
    #[error("shuffle {shuffle} of {app} is not finalized: {why}")]
    Finalize {
        /// The application.
        app: AppId,
        /// The shuffle.
        shuffle: ShuffleId,
        /// The attempt of merging the shuffle.
        merge: ShuffleMergeId,
        /// The fault.
        why: String,
    },
    /// The data are of a merge that has a successor.
    #[error("{what} of {partition} was asked for, and a later merge has begun")]
    StaleFetch {
        /// `MergedBlockMeta` or `MergedBlockData`.
        what: &'static str,
        /// The partition.
        partition: PartitionId,
    },
    /// The file does not exist.
    #[error("merged {kind} file {} is not there", Shown(path))]
    NotFound {
        /// `index`, `meta` or `data`.
        kind: &'static str,
        /// The file.
        path: String,
    },
    /// The partition has no chunk.
    #[error("{} lists no chunk", Shown(path))]
    EmptyIndex {
        /// The index file.
        path: String,
    },
    /// The partition does not have this chunk.
    #[error("{partition} has {chunks} chunks, and {asked} was asked for")]
    NoSuchChunk {
        /// The partition.
        partition: PartitionId,
        /// Number of chunks that there are.
        chunks: usize,
        /// The number of the chunk that was asked for.
        asked: i32,
    },
    /// The files do not open.
    #[error("cannot read {partition}: {why}")]
    Unreadable {
        /// The partition.
        partition: PartitionId,
        /// Path of its index.
        path: String,
        /// The reason.
        why: String,
    },
    /// The key of the files is not in memory: call [`Merger::fetch_key`](super::Merger::fetch_key), and ask again.
    #[error("cannot read {partition}: {why}")]
    AwaitsKey {
        /// The partition.
        partition: PartitionId,
        /// Path of its index.
        path: String,
        /// The key.
        key: Box<WrappedKey>,
        /// The reason why the key is missing.
        why: String,
    },
    /// The removal is of a merge that has a successor.
    #[error("merge {merge} of shuffle {shuffle} is not the current one ({current}), and is not removed")]
    StaleRemove {
        /// The application.
        app: AppId,
        /// The shuffle.
        shuffle: ShuffleId,
        /// The merge that the message names.
        merge: ShuffleMergeId,
        /// The current merge.
        current: ShuffleMergeId,
    },
}

/// Why a pushed block is not written.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum WriteCause {
    /// The partition had too many disk errors, with this one or before.
    #[error("too many disk errors")]
    TooManyErrors,
    /// The files were closed beneath the writer.
    #[error("the files of the partition were closed")]
    FilesClosed,
    /// The disk's own words.
    #[error("{0}")]
    Disk(String),
}

impl MergeError {
    labels! {
        /// A short fixed word for metrics.
        pub fn label, LABELS {
            Self::NoMergeDir { .. }
            | Self::InvalidMergeDir { .. }
            | Self::Escapes { .. }
            | Self::NoParent { .. }
            | Self::Dir(_)
            | Self::Claim(_)
            | Self::Elsewhere { .. }
            | Self::Store { .. }
            | Self::NotANumber { .. } => "merge_registration",
            Self::UnknownApp { .. } | Self::Attempt { .. } => "merge_application",
            Self::Absurd { .. } => "merge_absurd",
            Self::Create { .. } | Self::Threshold { .. } | Self::Write { .. } | Self::Complete { .. } => "merge_write",
            Self::StaleFinalize { .. } | Self::StaleFetch { .. } | Self::StaleRemove { .. } => "merge_stale",
            Self::Finalize { .. } => "merge_finalize",
            Self::NotFound { .. } | Self::EmptyIndex { .. } | Self::NoSuchChunk { .. } => "merge_not_found",
            Self::Unreadable { .. } | Self::AwaitsKey { .. } => "merge_unreadable",
        }
    }
}
