//! The primitives that [`crate::auth`] and [`crate::cipher`] stand on: one file per idea, each a thin
//! seam over one crate, so that exchanging a crate touches one file.
//!
//! | module | knows |
//! |---|---|
//! | [`random`] | where random bytes come from: the caller |
//! | [`hkdf`] | HKDF-SHA256 (RFC 5869) |
//! | [`ctr`] | AES-CTR with 128 and 256 bit keys (NIST SP 800-38A), in place |
//! | [`gcm`] | AES-128-GCM and AES-256-GCM (NIST SP 800-38D), in place |
//! | [`x25519`] | X25519 (RFC 7748) without the keys that agree on nothing |

pub mod ctr;
pub mod gcm;
pub mod hkdf;
pub mod random;
pub mod x25519;
