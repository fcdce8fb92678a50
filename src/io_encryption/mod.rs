//! Files that executors write under `spark.io.encryption`: reading and writing their streams, and taking the files apart.
//! The format is in [`sealed_shuffle_protocol::stored::io_encryption`].
//!
//! | module | knows |
//! |---|---|
//! | `streams` | one stream over [`Read`](std::io::Read) and [`Write`](std::io::Write) |
//! | [`partitions`] | which bytes of a shuffle data file are which partition |
//! | [`segments`] | where the segments of an encrypted spill end |
//!
//! `decrypt` and [`crate::inspect`] are the callers; the server serves such files as they lie on the disk.

pub mod partitions;
pub mod segments;
mod streams;

pub use self::streams::{DecryptingReader, EncryptingWriter};
