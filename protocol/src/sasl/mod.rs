//! SASL DIGEST-MD5 (RFC 2831) as Spark has it. It authenticates where `spark.network.crypto.enabled` is off, and an
//! AES client of Spark falls back to it. Its privacy layer seals the connection where `auth-conf` was agreed on.
//!
//! ```text
//! Client::start ───── SaslMessage, empty token ────► Server::start
//! Client::respond ◄── digest-challenge ─────────────────┘
//!        └─────────── SaslMessage, digest-response ─► Server::judge ──► Protection
//! Verifier::finish ◄─ rspauth=… ────────────────────────┘
//!        └─► Protection
//! ```
//!
//! The client's tokens travel wrapped in a [`SaslMessage`], the server's are the bare answers. With
//! [`Protection::Conf`] everything behind the last answer is sealed by a [`SaslLayer`], in both directions.
//!
//! Both peers know user `sparkSaslUser` and the shared secret, each in Base64 **with line breaks**; realm
//! `default`; digest URI `null/default`.
//!
//! Invariants:
//! * the length of a token is bounded before it is parsed;
//! * a client takes exactly the protection it was told to take, a server none that it did not offer;
//! * the secret, HA1 and everything derived from it are wiped.
//!
//! | module | knows |
//! |---|---|
//! | `message` | the client's wrapping |
//! | `server`, `client` | the two ends, by value |
//! | `challenge`, `response` | the two tokens that have a form |
//! | `directives` | the grammar of both |
//! | `names`, `nonce` | user, realm and service as Spark has them; the random text of either end |
//! | `digest` | the arithmetic of RFC 2831, section 2.1.2 |
//! | `cipher` | the privacy ciphers and their keys |
//! | `layer` | the privacy layer |
//!
//! Source: SparkSaslServer, SparkSaslClient, SaslMessage and SaslEncryption in Spark 2.4.8 to 4.3.0, which agree byte
//! for byte; DigestMD5Server and DigestMD5Client of the JDK, 17 and 25.

mod challenge;
mod cipher;
mod client;
mod digest;
mod directives;
mod error;
mod layer;
mod message;
mod names;
mod nonce;
mod response;
mod server;

pub use challenge::{Offer, offered};
pub use cipher::{SaslCipher, SaslKeys, UnknownSaslCipher};
pub use client::{Client, Demand, Verifier};
pub use digest::Protection;
pub use error::{SaslError, TokenError};
pub use layer::{MAX_TOKEN, SaslLayer};
pub use message::SaslMessage;
pub use server::{Judgement, Server};
