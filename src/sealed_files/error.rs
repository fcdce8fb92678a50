//! What failed, with the file's name and what follows from it.

use sealed_shuffle_protocol::crypto::random::RandomError;
use sealed_shuffle_protocol::ids::MergedPartition;
use sealed_shuffle_protocol::stored::sealed::SealedError;
use sealed_shuffle_transport::region::{ReadError, ShownPath};

use crate::disk::{OpenError, WriteError};

/// Why a sealed file was not made, written, opened or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoredError {
    /// It could not be opened, looked at or removed.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Its bytes could not be had.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Its bytes are not what was sealed.
    #[error(
        "{path} is not served: {source}; readers fall back to the original blocks, and the file can be removed"
    )]
    Refused {
        /// The file.
        path: ShownPath,
        /// What is wrong.
        source: SealedError,
    },
    /// What was to be written does not fit the format, or came at a wrong time.
    #[error("{path} cannot be sealed: {source}")]
    Seal {
        /// The file.
        path: ShownPath,
        /// What is wrong.
        source: SealedError,
    },
    /// The partition is finalized already, and nothing more is merged into it.
    #[error("{path} is finalized, and is not made anew")]
    Finalized {
        /// The index file.
        path: ShownPath,
    },
    /// Files of the partition are there, and nobody can tell that they were not finalized.
    #[error(
        "{path} is there, and may be of a finalized partition: {why}; nothing is merged into it, and it can be removed \
         where nobody reads it"
    )]
    InDoubt {
        /// The file.
        path: ShownPath,
        /// Why it cannot be told.
        why: String,
    },
    /// An earlier write failed, and the block was neither aborted nor will it be complete.
    #[error("{path} lacks a piece that could not be written; abort the block")]
    PieceLost {
        /// The file.
        path: ShownPath,
    },
    /// A chunk that there is not.
    #[error("{path} has {chunks} chunks and none with number {chunk}")]
    NoChunk {
        /// The index file.
        path: ShownPath,
        /// The number asked for.
        chunk: usize,
        /// Chunks that there are.
        chunks: usize,
    },
    /// The index or meta file is larger than the limit.
    #[error("{path} has more than {limit} bytes, which no partition needs")]
    TooLarge {
        /// The file.
        path: ShownPath,
        /// The most that is read.
        limit: usize,
    },
    /// No directories to place files in.
    #[error("application {app} has registered no directories for merged files")]
    NoDirectories {
        /// The application.
        app: String,
        /// The partition.
        partition: MergedPartition,
    },
    /// No randomness, no salt.
    #[error(transparent)]
    Random(#[from] RandomError),
}

impl StoredError {
    /// Whether the file's bytes are not what was sealed: changed, moved, cut short or never finalized. To be reported,
    /// and not to be tried again.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::TooLarge { .. } | Self::Read(ReadError::Truncated { .. }))
    }

    /// Whether there is no such file.
    pub fn is_missing(&self) -> bool {
        let missing = |error: &OpenError| matches!(error, OpenError::Missing { .. });
        matches!(self, Self::Open(error) | Self::Write(WriteError::Open(error)) if missing(error))
    }
}
