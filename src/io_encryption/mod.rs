//! Files that executors write under `spark.io.encryption`: reads and writes their streams, and takes the files apart.
//! The format is in [`sealed_shuffle_protocol::stored::io_encryption`].
//!
//! | module | knows |
//! |---|---|
//! | `streams` | one stream over [`Read`](std::io::Read) and [`Write`](std::io::Write) |
//! | [`partitions`] | the range of each partition in a shuffle data file |
//! | [`segments`] | the end of each segment in an encrypted spill |
//!
//! The callers are `decrypt` and [`crate::inspect`]. The server serves such files as they lie on the disk.

pub mod partitions;
pub mod segments;
mod streams;

pub use self::streams::{DecryptingReader, EncryptingWriter};
