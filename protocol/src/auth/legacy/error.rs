//! Why the older handshake fails, in words for our log and in the few for the peer.

use crate::codec::DecodeError;
use crate::crypto::random::RandomError;
use crate::ids::AppId;

/// The handshake failed; the connection must be closed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LegacyError {
    /// The body ends within a field, or has one that cannot be.
    #[error("the peer sent no valid message of the older AES handshake: {0}")]
    Malformed(#[from] DecodeError),
    /// The body is another message.
    #[error("the peer's message begins with 0x{theirs:02x}, not 0x{ours:02x}")]
    Tag {
        /// The value that was due.
        ours: u8,
        /// The value that came.
        theirs: u8,
    },
    /// A field is longer than anybody needs.
    #[error("a field of the older AES handshake has {0} bytes, more than anybody needs")]
    FieldTooLong(usize),
    /// Nothing to salt the key derivation with.
    #[error("the nonce of the peer is empty")]
    NoNonce,
    /// A cipher without a stream.
    #[error("the peer wants the cipher {0:?}: set spark.network.crypto.cipher=AES/CTR/NoPadding there")]
    Cipher(String),
    /// A key derivation that is not here.
    #[error(
        "the peer wants the key derivation {0:?}: set spark.network.crypto.keyFactoryAlgorithm to \
         PBKDF2WithHmacSHA1, PBKDF2WithHmacSHA256 or PBKDF2WithHmacSHA512 there"
    )]
    Kdf(String),
    /// More work than the peer may cause.
    #[error(
        "the peer wants {theirs} iterations of the key derivation, 1 to {max} are allowed: change \
         spark.network.crypto.keyFactoryIterations there"
    )]
    Iterations {
        /// The value that the peer asks for.
        theirs: i32,
        /// The most that is computed.
        max: u32,
    },
    /// Iterations that do not fit the message.
    #[error("spark.network.crypto.keyFactoryIterations is {0}, which is not within 1 and 2^31 - 1")]
    OwnIterations(u32),
    /// No length of an AES key.
    #[error("the key length is {0} bits: set spark.network.crypto.keyLength to 128, 192 or 256")]
    KeyLength(i64),
    /// The peer's ciphertext is not that of a holder of the secret.
    #[error(
        "the older AES handshake with {app_id} does not verify: the peer has another secret, or the message was \
         changed on the way"
    )]
    NotVerified {
        /// The application that the peer claims to belong to.
        app_id: AppId,
    },
    /// An initial counter that fits no AES.
    #[error("the server sent an IV of {0} bytes: set spark.network.crypto.ivLength=16 there")]
    IvLength(usize),
    /// No random bytes for our half.
    #[error(transparent)]
    Random(#[from] RandomError),
}

impl LegacyError {
    /// The text of the RpcFailure that Spark would answer with: it tells an unknown application, a wrong secret and
    /// parameters that it cannot serve not apart (AuthRpcHandler, Spark 3.0.3).
    pub fn peer_text(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::Tag { .. } | Self::FieldTooLong(_) => {
                "java.lang.IllegalArgumentException: Unknown challenge message."
            }
            Self::NoNonce
            | Self::Cipher(_)
            | Self::Kdf(_)
            | Self::Iterations { .. }
            | Self::OwnIterations(_)
            | Self::KeyLength(_)
            | Self::NotVerified { .. }
            | Self::IvLength(_)
            | Self::Random(_) => "java.lang.IllegalArgumentException: Authentication failed.",
        }
    }
}
