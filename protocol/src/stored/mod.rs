//! Files on disk, as bytes: the sealed files of this server, and the names of the keys that open them.
//!
//! | module | knows |
//! |---|---|
//! | [`envelope`] | a data key, the wrapped form of it that a file carries, and what it is bound to |
//! | [`io_encryption`] | the streams of `spark.io.encryption`, which executors write |
//! | [`sealed`] | the files of a merged partition: header, segments, index, commit |
//!
//! Nothing here opens a file or asks a key service.

pub mod envelope;
pub mod io_encryption;
pub mod sealed;
