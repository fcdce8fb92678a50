//! The files of merged partitions, which this server seals itself. The format is in
//! [`sealed_shuffle_protocol::stored::sealed`].
//!
//! ```text
//! writing:  piece in a segment buffer ─► sealed in place ─► one write        SealedWriter
//! reading:  page cache ─► one read into a reused buffer ─► opened in place   SealedRegion
//! rules:    sealed_shuffle_protocol::stored::sealed decides every byte       (format, keys, counters)
//! ```
//!
//! | module | knows |
//! |---|---|
//! | [`place`] | where the files of a partition lie, and what they are bound to |
//! | [`sealed_store`] | making, finding and removing partitions; the bounded caches of descriptors |
//! | [`writer`] | one partition while it is merged |
//! | [`region`] | the plaintext of one chunk, as it is pulled |
//! | [`error`] | what failed, with the file's name |
//!
//! Invariants: no plaintext reaches a file of ours; nothing is handed out before its segment has verified; a partition
//! that was not finalized is read through its writer's [`Progress`](sealed_shuffle_protocol::stored::sealed::Progress)
//! or not at all; an open partition holds neither a buffer nor a descriptor of its own. The caller is `merge`;
//! what may wait for a disk takes an [`OnLane`](sealed_shuffle_transport::lane::OnLane).

pub mod error;
pub mod place;
pub mod region;
pub mod sealed_store;
#[cfg(test)]
mod tests;
pub mod writer;

pub use error::StoredError;
pub use place::MergedFiles;
pub use region::{FillState, OpenBuffer, SealedRegion};
pub use sealed_store::{SealedLimits, SealedPartition, SealedStore};
pub use writer::{FinalizedFiles, Fsync, SealedWriter};
