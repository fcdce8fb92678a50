//! Sealed Shuffle: a block-transfer server that speaks Spark's own protocol, sealed.
//!
//! ```text
//! data :  disk/  ───►  seal/  ───►  wire/  ───►  peer
//! calls:  wire pulls from seal, seal pulls what disk (or merge) handed out: memory is bounded by what the peer takes
//! rules:  sealed-shuffle-protocol decides every byte that is not block content, and does no IO
//! ```
//!
//! `seal` and `wire` are rooms of `sealed-shuffle-transport`, which the client library stands on, too.

pub mod admin;
mod applications;
pub mod disk;
pub mod handover;
pub mod inspect;
pub mod io_encryption;
pub mod keys;
pub mod merge;
mod private_file;
pub mod sealed_files;
pub mod server;
pub mod state;
pub mod telemetry;
