//! Faults of a sealed file.

use super::partition::Kind;

/// Why a sealed file was not opened, or not written. The caller adds the file's name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SealedError {
    /// It does not begin as a sealed file does.
    #[error("not a sealed file")]
    NotSealed,
    /// Written by a later release.
    #[error(
        "sealed in version {found} of the format, and this release reads versions 1 and 2; open it with a newer one"
    )]
    NewerVersion {
        /// The version it says.
        found: u16,
    },
    /// A header that nobody wrote.
    #[error("the header is damaged: its {0} makes no sense")]
    Header(&'static str),
    /// A sealed file of another partition, application, cluster or node lies here.
    #[error("it was sealed for another {what}: it is {found}, not {expected}; it was moved or copied here")]
    Foreign {
        /// The field that differs.
        what: &'static str,
        /// The value in the header.
        found: String,
        /// The value that it must have.
        expected: String,
    },
    /// The files of a partition are not of one opening.
    #[error("the {kind} file is of another opening of this partition than its index file")]
    OtherOpening {
        /// The file that differs.
        kind: Kind,
    },
    /// The header is that of the index file but for some bytes.
    #[error("the header of the {kind} file was changed")]
    HeaderChanged {
        /// The file that differs.
        kind: Kind,
    },
    /// The file ends too early.
    #[error("cut short: {needed} bytes are needed, and it ends at {at}")]
    Cut {
        /// Where it ends.
        at: u64,
        /// Bytes that it has to have.
        needed: u64,
    },
    /// The file goes on after its end.
    #[error("{found} bytes long where {expected} were committed; bytes were appended")]
    Appended {
        /// Bytes that it has.
        found: u64,
        /// Bytes that were committed.
        expected: u64,
    },
    /// A segment that does not verify: changed, or sealed for another place or with another key.
    #[error("the segment at {at} does not verify: it was changed or moved, or the key is not the file's")]
    Damaged {
        /// Where the segment begins.
        at: u64,
    },
    /// A segment that was sealed at another time than the one that belongs here.
    #[error(
        "the segment at {at} is number {found}, and number {expected} belongs there; it was replaced by another"
    )]
    Replaced {
        /// Where the segment begins.
        at: u64,
        /// The number it bears.
        found: u64,
        /// The number that belongs there.
        expected: u64,
    },
    /// A segment longer than its place.
    #[error("the segment at {at} says that it has {found} bytes, which does not fit its place")]
    Length {
        /// Where the segment begins.
        at: u64,
        /// Bytes that it says to have.
        found: u64,
    },
    /// A record of the index that verifies and does not go with the others.
    #[error("record {record} of the index does not go with the others: {what}")]
    Record {
        /// Position of the record.
        record: u64,
        /// The part that does not fit.
        what: &'static str,
    },
    /// No commit record: merging never came to its end.
    #[error("it was never finalized, or its end is missing; what a stopped server was merging is not used")]
    NotFinalized,
    /// A buffer that is laid out for something else, is empty or was sealed before.
    #[error("the buffer is not laid out as a piece, or there is nothing in it to seal")]
    Layout,
    /// More than the format has room for.
    #[error("{bytes} bytes are more than the {most} that a sealed file has room for there")]
    TooLong {
        /// Bytes there are.
        bytes: u64,
        /// Bytes that fit.
        most: u64,
    },
    /// A block is being written, and chunks end between blocks.
    #[error("a block is being written; commit or abort it first")]
    BlockOpen,
    /// The chunk's record has no room for another skipped counter.
    #[error("{0} blocks of one chunk were aborted; close the chunk first")]
    ChunkFull(usize),
    /// Every counter was used.
    #[error("the file has used up its counters")]
    Exhausted,
    /// The chunk's end was sealed for a state that has changed since.
    #[error("the chunk has changed since its end was sealed; seal it again")]
    ChunkChanged,
}
