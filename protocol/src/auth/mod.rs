//! The handshake of `spark.network.crypto.enabled`, Spark 3.1 and later: one AuthMessage each way, each
//! carrying an X25519 public key that only a holder of the shared secret could have sealed.
//!
//! ```text
//! Initiator::start ──► challenge ──► Responder::respond ──► SessionKeys
//! Initiator::finish ◄── response ◄──────────┘
//!        └─► SessionKeys
//! ```
//!
//! The exchange does not say which engine version or session cipher follows: [`SessionKeys`] holds
//! the keys of both versions, and [`AesSession`] takes them over.
//!
//! Spark 2.2 to 3.0 have another protocol under the same switch: [`legacy`].
//!
//! Source: AuthEngine, AuthMessage and Tink's AesGcmJce in Spark 3.1.3 to 4.3.0, which agree byte for byte.

mod error;
mod handshake;
pub mod legacy;
pub(crate) mod message;
mod session;
mod session_keys;

pub use error::AuthError;
pub use handshake::{Initiator, Responder};
pub use message::{AuthMessage, AuthMessageError};
pub use session::{AesSession, FirstBytes};
pub use session_keys::SessionKeys;

pub use crate::cipher::EngineVersion;
