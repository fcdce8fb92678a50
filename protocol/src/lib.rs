//! Spark's shuffle transport, without IO: framing, messages, handshakes, session ciphers and the
//! connection engine.
//!
//! Bytes and a clock reading go in; facts and bytes to write come out. Nothing here opens a socket
//! or a file, reads a clock, or knows a secret that it was not handed.
//!
//! `WIRE.md` beside this crate has all byte layouts in one page, with Spark's classes and releases.
//!
//! | module | knows |
//! |---|---|
//! | [`codec`] | Spark's primitive encodings, and the one "too short" error |
//! | [`limits`] | every number that a peer can press on |
//! | [`ids`] | the names that Spark gives things |
//! | [`shown`] | text of a peer, made harmless |
//! | [`frame`] | the 8-byte length framing, and bodies in and behind a frame |
//! | [`message`] | transport messages, ids 0 to 12 |
//! | [`shuffle`] | block-transfer messages, ids 0 to 19, and block ids |
//! | [`auth`] | the X25519 handshake of Spark 3.1 and later, and the older one of 2.2 to 3.0 |
//! | [`sasl`] | DIGEST-MD5, which authenticates where `spark.network.crypto.enabled` is off, and its privacy layer |
//! | [`stored`] | sealed files, wrapped keys, and the streams of `spark.io.encryption` |
//! | [`channel`] | how a connection is protected, and the ladder of that |
//! | [`cipher`] | session ciphers as layers over byte streams |
//! | [`crypto`] | the primitives that the two above stand on |
//! | [`connection`] | both ends of a connection as state machines |
#![forbid(unsafe_code)]
// A new message or cipher is found by the compiler, in every place that must know of it.
#![warn(clippy::wildcard_enum_match_arm)]

#[macro_use]
mod labels;
#[macro_use]
mod named;

pub mod auth;
pub mod channel;
pub mod cipher;
pub mod codec;
pub mod connection;
pub mod crypto;
pub mod frame;
pub mod ids;
pub mod limits;
pub mod message;
pub mod sasl;
pub mod secret;
pub mod shown;
pub mod shuffle;
pub mod stored;
