//! The format of the files that this server seals itself: merged partitions. FORMAT-PLACEHOLDER

mod error;
mod header;
mod index;
mod keys;
mod record;
mod sealer;
mod segment;

pub use error::SealedError;
pub use header::{Header, Kind, MAGIC, MAX_NAME, PartitionId, Salt, VERSION};
pub use index::{Chunk, ChunkOpener, Index};
pub use keys::LABEL;
pub use record::{MAX_GAPS, NO_RECORD, Progress};
pub use sealer::{Headers, PartitionSealer, SealedChunk, SealedCommit};
pub use segment::{HEAD, MAX_PIECE, MAX_RECORD, MAX_SEGMENT, OVERHEAD, PIECE};
