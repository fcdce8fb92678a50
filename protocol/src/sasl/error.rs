//! Why an exchange fails, what the peer may read of it, and what is wrong with a sealed token.

use super::cipher::SaslCipher;
use crate::cipher::CipherError;
use crate::codec::DecodeError;
use crate::crypto::random::RandomError;

/// The exchange failed. A server answers with [`SaslError::peer_text`]; one connection gives one attempt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaslError {
    /// The body ends within a field, or has no app id.
    #[error("the peer sent no valid SaslMessage: {0}")]
    Message(#[from] DecodeError),
    /// The body is another message: the peer does not speak SASL here.
    #[error("the peer's message begins with 0x{0:02x}, not 0xea: it does not speak SASL")]
    Tag(u8),
    /// More than anybody sends.
    #[error("the peer's SASL token has {len} bytes, {max} is the most")]
    TokenTooLong {
        /// Bytes that were sent.
        len: usize,
        /// The most that the JDK takes, too.
        max: usize,
    },
    /// The token is no list of directives.
    #[error("the peer's SASL token is malformed: {0}")]
    Syntax(&'static str),
    /// A directive that may occur once.
    #[error("the peer's SASL token has more than one {0}")]
    Duplicate(&'static str),
    /// A directive that must occur.
    #[error("the peer's SASL token has no {0}")]
    Missing(&'static str),
    /// A charset other than UTF-8.
    #[error("the peer's SASL token is in a charset other than utf-8")]
    Charset,
    /// Another algorithm than the only one.
    #[error("the server wants an algorithm other than md5-sess")]
    Algorithm,
    /// Another realm than the one that was offered.
    #[error("the client names a realm that was not offered")]
    Realm,
    /// Another nonce than the one that was sent.
    #[error("the client answers another challenge than ours")]
    Nonce,
    /// Another digest URI than Spark's.
    #[error("the client's digest-uri is not null/default: it is no Spark")]
    DigestUri,
    /// An authorization id, which Spark never sends.
    #[error("the client wants to act for somebody else (authzid): Spark has no such thing")]
    AuthorizationId,
    /// A protection that was not offered.
    #[error("the client asks for a protection that was not offered{hint}", hint = protection_hint(*.encrypted))]
    QopNotOffered {
        /// Whether it asks for encryption.
        encrypted: bool,
    },
    /// A cipher that was not offered.
    #[error("the client asks for a SASL cipher that was not offered: it must pick one of the challenge")]
    CipherNotOffered,
    /// The response does not verify.
    #[error("the client's response does not verify: it has another secret")]
    WrongSecret,
    /// The server's answer does not verify.
    #[error("the server's answer does not verify: it has another secret, or somebody stands in between")]
    ServerNotVerified,
    /// The server offers none of the protections that were asked for.
    #[error("the server does not offer the protection {wanted}: {hint}", hint = common_hint(*.encrypted), wanted = if *.encrypted { "auth-conf" } else { "auth" })]
    NoCommonProtection {
        /// Whether encryption was asked for.
        encrypted: bool,
    },
    /// The server offers none of the ciphers that were asked for.
    #[error(
        "the server offers the SASL ciphers {theirs:?}, none of which is allowed here: allow one of them, or use \
         spark.network.crypto.enabled"
    )]
    NoCommonCipher {
        /// The ciphers that the server offers, of those that are known.
        theirs: Vec<SaslCipher>,
    },
    /// A server was told to offer nothing.
    #[error("nothing to offer: allow SASL authentication alone, or a SASL cipher")]
    NothingToOffer,
    /// No random bytes for the nonce.
    #[error(transparent)]
    Random(#[from] RandomError),
}

impl SaslError {
    /// The text of the RpcFailure that Spark would answer with (SaslRpcHandler, Spark 4.3.0, on a JDK 17). Of ours,
    /// the client learns nothing but which rule its own token broke.
    pub fn peer_text(&self) -> String {
        let violation = match self {
            Self::Message(cause) => return cause.spark_text(),
            Self::Tag(_) => {
                return "java.lang.IllegalStateException: Expected SaslMessage, received something else \
                        (maybe your client does not have SASL enabled?)"
                    .to_owned();
            }
            Self::WrongSecret => "digest response format violation. Mismatched response.".to_owned(),
            Self::Nonce => "digest response format violation. Mismatched nonce.".to_owned(),
            Self::Realm => "digest response format violation. Nonexistent realm".to_owned(),
            Self::DigestUri => "digest response format violation. Mismatched URI".to_owned(),
            Self::TokenTooLong { .. }
            | Self::Syntax(_)
            | Self::Duplicate(_)
            | Self::Missing(_)
            | Self::Charset
            | Self::Algorithm
            | Self::AuthorizationId
            | Self::QopNotOffered { .. }
            | Self::CipherNotOffered => format!("digest response format violation. {self}"),
            Self::ServerNotVerified
            | Self::NoCommonProtection { .. }
            | Self::NoCommonCipher { .. }
            | Self::NothingToOffer
            | Self::Random(_) => "Error generating challenge".to_owned(),
        };
        format!("java.lang.RuntimeException: javax.security.sasl.SaslException: DIGEST-MD5: {violation}")
    }
}

fn protection_hint(encrypted: bool) -> &'static str {
    if encrypted { "" } else { ": set spark.authenticate.enableSaslEncryption=true on it" }
}

fn common_hint(encrypted: bool) -> &'static str {
    if encrypted {
        "it does not encrypt with SASL"
    } else {
        "it always encrypts (spark.network.sasl.serverAlwaysEncrypt), so ask for encryption"
    }
}

/// Why a token of the privacy layer is refused. Its sender has other keys, or a man in the middle changed it; the
/// connection must be closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The length in front counts itself, so it is 8 at least.
    #[error("a sealed token claims {0} bytes, which is no possible length")]
    Length(i64),
    /// Longer than is collected in memory.
    #[error(
        "a sealed token has {len} bytes, more than the {max} that are taken: lower \
         spark.network.sasl.maxEncryptedBlockSize at the peer"
    )]
    TooLong {
        /// Bytes that the peer announced.
        len: u64,
        /// The most that is taken.
        max: usize,
    },
    /// No room for what every token has, or not a whole number of blocks.
    #[error("a sealed token has {0} bytes, which no sender makes")]
    Truncated(usize),
    /// The message type is not 1.
    #[error("a sealed token is of type {0}, not 1")]
    Type(u16),
    /// Dropped, repeated or reordered.
    #[error("a sealed token has number {theirs} where {ours} is due")]
    Sequence {
        /// The number that is due.
        ours: u32,
        /// The number that came.
        theirs: u32,
    },
    /// Padding or MAC is wrong. Which of them, nobody learns.
    #[error("a sealed token does not verify: it was changed on the way, or keys differ")]
    NotVerified,
    /// All sequence numbers of a direction are used up.
    #[error("the connection has carried 2^32 sealed tokens: open another one")]
    Exhausted,
}

impl From<TokenError> for CipherError {
    fn from(error: TokenError) -> Self {
        Self::Sasl(Box::new(error))
    }
}
