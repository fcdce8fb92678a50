//! SASL DIGEST-MD5 (RFC 2831) as Spark has it: what authenticates where `spark.network.crypto.enabled` is off, and
//! what an AES client falls back to. Its privacy layer seals the connection where `auth-conf` was agreed on.
//!
//! ```text
//! Client::start ───── SaslMessage, empty token ────► Server::start
//! Client::respond ◄── digest-challenge ─────────────────┘
//!        └─────────── SaslMessage, digest-response ─► Server::judge ──► Protection
//! Awaiting::finish ◄─ rspauth=… ────────────────────────┘
//!        └─► Protection
//! ```
//!
//! The client's tokens travel wrapped in a [`SaslMessage`], the server's are the bare answers. With
//! [`Protection::Conf`] everything behind the last answer is sealed by a [`SaslLayer`], in both directions.
//!
//! What the peers know: user `sparkSaslUser` and the shared secret, each in Base64 **with line breaks**; realm
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
mod response;
mod server;

pub use challenge::{Offer, offered};
pub use cipher::{SaslCipher, SaslKeys, UnknownSaslCipher};
pub use client::{Awaiting, Client, Wanted};
pub use error::{SaslError, TokenError};
pub use layer::{MAX_TOKEN, SaslLayer};
pub use message::SaslMessage;
pub use server::{Judged, Server};

use crate::crypto::random::{Random, RandomError};

/// The realm that Spark's server offers.
const REALM: &[u8] = b"default";
/// Protocol and server name, which Spark leaves at null and `default`.
const DIGEST_URI: &[u8] = b"null/default";
/// The user that Spark's client sends: `sparkSaslUser` in Base64.
const USER: &[u8] = b"c3BhcmtTYXNsVXNlcg==";
/// Characters of a nonce: Base64 of 30 bytes.
const NONCE: usize = 40;

/// What was agreed on.
#[derive(Debug)]
pub enum Protection {
    /// Authenticated only: what follows is neither sealed nor protected from changes.
    Auth,
    /// Everything that follows is sealed, by a [`SaslLayer`] with these keys.
    Conf(SaslKeys),
}

/// A nonce as Spark's JVM makes it. Not secret, but never the same twice.
fn nonce(random: &mut dyn Random) -> Result<[u8; NONCE], RandomError> {
    use base64::Engine;
    let mut raw = [0; NONCE / 4 * 3];
    random.fill(&mut raw)?;
    let mut text = [0; NONCE];
    base64::engine::general_purpose::STANDARD
        .encode_slice(raw, &mut text)
        .expect("30 bytes are 40 characters of Base64");
    Ok(text)
}
