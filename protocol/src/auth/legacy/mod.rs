//! The handshake of `spark.network.crypto.enabled` in Spark 2.2 to 3.0: a challenge of random bytes each way, under a
//! key that PBKDF2 makes from the shared secret.
//!
//! ```text
//! Initiator::start ──► ClientChallenge ──► Responder::respond ──► LegacyKeys
//! Initiator::finish ◄── ServerResponse ◄─────────┘
//!        └─► LegacyKeys ──► CtrLayer
//! ```
//!
//! Key K = PBKDF2(secret, salt = the client's nonce), initial counter = that nonce, cut or filled with zeros to 16 bytes.
//! Each side encrypts its fields as one AES/CTR stream under them:
//!
//! ```text
//! challenge   E( app id | nonce | C )                          C random
//! response    E( app id | nonce | C + 1 ), E( N ), E( inputIv ), E( outputIv )
//! session     AES/CTR under PBKDF2(secret, salt = N), server to client from inputIv, client to server from outputIv
//! ```
//!
//! **What it is worth.** Both directions of the handshake are encrypted with the same key stream, nothing is
//! authenticated but the plaintexts that are known, and there is no forward secrecy: a later holder of the secret opens every
//! session that was recorded. One recorded handshake is enough to try secrets against it. It is here for peers that can do
//! nothing better.
//!
//! A man in the middle who sends a challenge back as the response, its last bit turned, is believed by Spark's client in
//! half of all cases: C + 1 is C with some last bits turned, under the same key stream. He knows no session key then. Our
//! client sends a C that begins with nine bits of zero. Java's sum is then one byte shorter at least, so each of its bytes
//! meets another byte of the key stream than in C. He would have to know C, whose other bits were drawn.
//!
//! Invariants:
//! * what a peer can make us compute is bounded by [`LegacyLimits`], before it is computed;
//! * known plaintext is compared in constant time, all keys and intermediates are wiped.
//!
//! Source: AuthEngine, ClientChallenge and ServerResponse in Spark 2.4.8 and 3.0.3, which agree byte for byte.

mod error;
mod handshake;
mod increment;
mod message;
mod settings;
mod step_keys;

pub use error::LegacyError;
pub use handshake::{Initiator, Responder};
pub use message::{ClientChallenge, ServerResponse};
pub use settings::{LegacyKdf, LegacyLimits, LegacySettings};
pub use step_keys::LegacyKeys;
