//! Why a handshake fails, in words for our log and in the few for the peer.

use super::message::AuthMessageError;
use crate::crypto::random::RandomError;
use crate::crypto::x25519::LowOrderKey;
use crate::ids::AppId;

/// The handshake failed; the connection must be closed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// The peer sent something that is no AuthMessage.
    #[error("the peer sent no valid AuthMessage")]
    Malformed(#[from] AuthMessageError),
    /// The peer's key does not open under our secret and transcript.
    #[error(
        "the handshake with {app_id} does not verify: the peer has another secret, or the message was changed \
         on the way"
    )]
    NotVerified {
        /// The application that the peer claims to belong to.
        app_id: AppId,
    },
    /// The plaintext is no key of 32 bytes: the peer has the secret, but is broken.
    #[error("the peer's public key has {0} bytes, not 32")]
    KeyLength(usize),
    /// The peer's key would make the agreement predictable.
    #[error(transparent)]
    LowOrderKey(#[from] LowOrderKey),
    /// The answer names another application than the challenge.
    #[error("the peer answered for application {theirs}, but was asked for {ours}")]
    AppIdDiffers {
        /// The application that we asked for.
        ours: AppId,
        /// The application that came back.
        theirs: AppId,
    },
    /// No random bytes for our half.
    #[error(transparent)]
    Random(#[from] RandomError),
}

impl AuthError {
    /// The text of the RpcFailure that Spark would answer with: it tells an unknown application, a
    /// wrong secret and a bad key not apart (AuthRpcHandler, Spark 4.3.0).
    pub fn peer_text(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "java.lang.IllegalArgumentException: Unknown challenge message.",
            Self::NotVerified { .. }
            | Self::KeyLength(_)
            | Self::LowOrderKey(_)
            | Self::AppIdDiffers { .. }
            | Self::Random(_) => "java.lang.IllegalArgumentException: Authentication failed.",
        }
    }
}
