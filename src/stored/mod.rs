//! Data at rest over readers and writers; the formats themselves are in [`sealed_shuffle_protocol::stored`].
//!
//! | module | knows |
//! |---|---|
//! | [`io_encryption`] | reading and writing the streams of `spark.io.encryption` |
//! | [`partitions`] | which bytes of a shuffle data file are which partition |
//! | [`segments`] | where the segments of an encrypted spill end |

pub mod io_encryption;
pub mod partitions;
pub mod segments;
