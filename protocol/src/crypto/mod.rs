//! The primitives that [`crate::auth`], [`crate::sasl`] and [`crate::cipher`] stand on: one file per idea, each a thin
//! seam over one crate, so that exchanging a crate touches one file.
//!
//! | module | knows |
//! |---|---|
//! | [`random`] | where random bytes come from: the caller |
//! | [`hkdf`] | HKDF-SHA256 (RFC 5869) |
//! | [`ctr`] | AES-CTR with 128, 192 and 256 bit keys (NIST SP 800-38A), in place |
//! | [`gcm`] | AES-128-GCM and AES-256-GCM (NIST SP 800-38D), in place |
//! | [`md5`] | MD5 and HMAC-MD5 (RFC 1321, RFC 2104) |
//! | [`des`] | DES and triple DES in CBC mode (FIPS 46-3), in place |
//! | [`permutation`] | AES-128 on single blocks (FIPS 197) |
//! | [`pbkdf2`] | PBKDF2 (RFC 8018) with HMAC over SHA-1, SHA-256 and SHA-512 |
//! | [`rc4`] | RC4, in place |
//! | [`x25519`] | X25519 (RFC 7748) without the keys that agree on nothing |

pub mod ctr;
pub mod des;
pub mod gcm;
pub mod hkdf;
pub mod md5;
pub mod pbkdf2;
pub mod permutation;
pub mod random;
pub mod rc4;
pub mod x25519;
