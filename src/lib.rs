//! Sealed Shuffle: a block-transfer server and client that speak Spark's own protocol, sealed.
//!
//! ```text
//! data :  disk/  ───►  seal/  ───►  wire/  ───►  peer
//! calls:  wire pulls from seal, seal pulls from disk      (back-pressure for free)
//! rules:  sealed-shuffle-protocol decides every byte that is not block content, and does no IO
//! ```

pub mod admin;
pub mod disk;
pub mod handover;
pub mod inspect;
pub mod keys;
pub mod merge;
pub mod server;
pub mod state;
pub mod stored;
pub mod telemetry;
