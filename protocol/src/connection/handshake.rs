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
use crate::auth::legacy::{self, ClientChallenge, LegacyKeys, ServerResponse};
use crate::auth::{AuthMessage, Initiator, SessionKeys, message};
use crate::ids::AppId;
use crate::sasl::{self, Protection, SaslKeys, SaslMessage};

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
    /// Reads the body of an RPC as what its first byte says; `None` where it is no handshake's, or does not decode.
    pub(super) fn decode(body: &Bytes) -> Option<Self> {
        match *body.first()? {
            message::TAG => AuthMessage::decode(body).ok().map(Self::X25519),
            ClientChallenge::TAG => ClientChallenge::decode(body).ok().map(Self::Pbkdf2),
            SaslMessage::TAG => SaslMessage::decode(body).ok().map(Self::Sasl),
            _ => None,
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
