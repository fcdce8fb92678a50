//! Spark's handshakes as conversations of RPCs: which one a client speaks, and how it goes on.
//!
//! | first byte | handshake | round trips | yields |
//! |---|---|---|---|
//! | `fb` | X25519, Spark 3.1 and later | 1 | AES keys of both engine versions |
//! | `fa` | PBKDF2, Spark 2.2 to 3.0 | 1 | an AES-CTR key |
//! | `ea` | SASL DIGEST-MD5, every Spark | 2 | nothing, or the keys of its privacy layer |
//!
//! Source: AuthRpcHandler, SaslRpcHandler, AuthClientBootstrap and SaslClientBootstrap, Spark 2.4.8 to 4.3.0.

use bytes::Bytes;

use super::CloseReason;
use crate::auth::legacy::{self, ClientChallenge, LegacyError, LegacyKeys, ServerResponse};
use crate::auth::{AuthMessage, AuthMessageError, Initiator, SessionKeys, message};
use crate::codec::DecodeError;
use crate::ids::AppId;
use crate::sasl::{self, Protection, SaslError, SaslKeys, SaslMessage};

/// A message of a client that proves itself.
#[derive(Clone, Debug)]
pub enum Challenge {
    /// The only message of the X25519 handshake.
    X25519(AuthMessage),
    /// The only message of the PBKDF2 handshake.
    Pbkdf2(ClientChallenge),
    /// Either message of SASL: the empty start, or the response to our challenge.
    Sasl(SaslMessage),
}

impl Challenge {
    /// Reads the body of an RPC as what its first byte says; `None` where it is no handshake's, or does not decode. A
    /// handshake with a name above its bound is an error.
    pub(super) fn decode(body: &Bytes) -> Result<Option<Self>, NameTooLong> {
        match body.first() {
            Some(&message::TAG) => match AuthMessage::decode(body) {
                Ok(challenge) => Ok(Some(Self::X25519(challenge))),
                Err(error @ AuthMessageError::AppIdTooLong(_)) => Err(NameTooLong(error.to_string())),
                Err(_) => Ok(None),
            },
            Some(&ClientChallenge::TAG) => match ClientChallenge::decode(body) {
                Ok(challenge) => Ok(Some(Self::Pbkdf2(challenge))),
                Err(LegacyError::Malformed(error)) => NameTooLong::or_none(&error),
                Err(_) => Ok(None),
            },
            Some(&SaslMessage::TAG) => match SaslMessage::decode(body) {
                Ok(message) => Ok(Some(Self::Sasl(message))),
                Err(SaslError::Message(error)) => NameTooLong::or_none(&error),
                Err(_) => Ok(None),
            },
            _ => Ok(None),
        }
    }

    /// The application that the client claims.
    pub fn app_id(&self) -> &AppId {
        match self {
            Self::X25519(challenge) => challenge.app_id(),
            Self::Pbkdf2(challenge) => challenge.app_id(),
            Self::Sasl(message) => message.app_id(),
        }
    }
}

/// Why a handshake is not even looked at: the sentence that names the bound.
pub(super) struct NameTooLong(pub(super) String);

impl NameTooLong {
    fn or_none<T>(error: &DecodeError) -> Result<Option<T>, Self> {
        match matches!(error, DecodeError::TextTooLong { .. }) {
            true => Err(Self(error.to_string())),
            false => Ok(None),
        }
    }
}

/// The outcome of a handshake for the bytes behind it. Wiped on drop.
#[derive(Debug)]
pub enum Agreement {
    /// An AES session, of an engine version and cipher that the handshake does not say.
    X25519(SessionKeys),
    /// An AES-CTR session.
    Pbkdf2(LegacyKeys),
    /// SASL's privacy layer.
    Sasl(SaslKeys),
}

/// A client between two messages of a handshake.
#[derive(Debug)]
pub enum Greeting {
    /// X25519, waiting for the response.
    X25519(Initiator),
    /// PBKDF2, waiting for the response.
    Pbkdf2(legacy::Initiator),
    /// SASL, waiting for the challenge.
    Sasl(sasl::Client),
    /// SASL, waiting for the server's proof.
    SaslProof(sasl::Verifier),
}

/// The step behind an answer to a [`Greeting`].
pub(super) enum Step {
    /// One more message, and then its answer.
    Say(Bytes, Greeting),
    /// Both ends are sure of each other.
    Done(Option<Agreement>),
}

impl Greeting {
    /// Takes the server's answer.
    pub(super) fn answered(self, body: &Bytes) -> Result<Step, CloseReason> {
        match self {
            Self::X25519(initiator) => {
                let keys = initiator.finish(&AuthMessage::decode(body)?)?;
                Ok(Step::Done(Some(Agreement::X25519(keys))))
            }
            Self::Pbkdf2(initiator) => {
                let keys = initiator.finish(&ServerResponse::decode(body)?)?;
                Ok(Step::Done(Some(Agreement::Pbkdf2(keys))))
            }
            Self::Sasl(client) => {
                let (awaiting, message) = client.respond(body)?;
                Ok(Step::Say(message.encode(), Self::SaslProof(awaiting)))
            }
            Self::SaslProof(awaiting) => Ok(Step::Done(match awaiting.finish(body)? {
                Protection::Auth => None,
                Protection::Conf(keys) => Some(Agreement::Sasl(keys)),
            })),
        }
    }
}
