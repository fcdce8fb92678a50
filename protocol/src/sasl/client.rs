//! The client: asks, proves itself, and holds the server to the same. A step consumes the state before it.

use std::sync::Arc;

use bytes::Bytes;
use subtle::ConstantTimeEq;

use super::challenge::{self, Challenge};
use super::cipher::SaslCipher;
use super::digest::{self, Exchange, Protection, Qop};
use super::directives::Directives;
use super::error::SaslError;
use super::message::SaslMessage;
use super::names::USER;
use super::nonce::{NONCE, nonce};
use super::response;
use crate::crypto::random::Random;
use crate::ids::AppId;
use crate::secret::AppSecret;

/// The protection that a client insists on. It agrees to nothing weaker.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Demand {
    /// Authentication alone.
    Auth,
    /// Encryption with one of these; the strongest that the server offers too is taken.
    Conf(Vec<SaslCipher>),
}

/// A client that waits for the challenge.
#[derive(Debug)]
pub struct Client {
    app_id: AppId,
    secret: Arc<AppSecret>,
    wanted: Demand,
    cnonce: [u8; NONCE],
}

/// A client that waits for the server's proof.
#[derive(Debug)]
pub struct Verifier {
    answer: [u8; digest::HEX],
    protection: Protection,
}

impl Client {
    /// Makes the first message, which has no token. Draws 30 bytes from `random`.
    pub fn start(
        app_id: AppId,
        secret: Arc<AppSecret>,
        wanted: Demand,
        random: &mut dyn Random,
    ) -> Result<(Self, SaslMessage), SaslError> {
        let message = SaslMessage::new(app_id.clone(), Bytes::new());
        Ok((Self { app_id, secret, wanted, cnonce: nonce(random)? }, message))
    }

    /// Answers the challenge, if it offers what is wanted.
    pub fn respond(self, challenge: &[u8]) -> Result<(Verifier, SaslMessage), SaslError> {
        let challenge = Challenge::parse(challenge)?;
        let qop = self.wanted.select(&challenge)?;
        let realm = challenge.realm.as_deref().unwrap_or_default();
        let exchange = Exchange::new(&self.secret, USER, realm, &challenge.nonce, &self.cnonce, qop);
        let token = response::encode(&challenge, &self.cnonce, qop, &exchange.response());
        let awaiting = Verifier { answer: exchange.answer(), protection: exchange.protection() };
        Ok((awaiting, SaslMessage::new(self.app_id, token)))
    }
}

impl Verifier {
    /// Verifies the server's answer. Where encryption was agreed on, the next byte in either direction is sealed.
    pub fn finish(self, answer: &[u8]) -> Result<Protection, SaslError> {
        if answer.len() > challenge::MAX {
            return Err(SaslError::TokenTooLong { len: answer.len(), max: challenge::MAX });
        }
        let directives = Directives::parse(answer)?;
        if !bool::from(self.answer.ct_eq(directives.required("rspauth")?)) {
            return Err(SaslError::ServerNotVerified);
        }
        Ok(self.protection)
    }
}

impl Demand {
    fn select(&self, challenge: &Challenge) -> Result<Qop, SaslError> {
        let Self::Conf(ours) = self else {
            let offered = challenge.auth.then_some(Qop::Auth);
            return offered.ok_or(SaslError::NoCommonProtection { encrypted: false });
        };
        let theirs = challenge.ciphers()?.ok_or(SaslError::NoCommonProtection { encrypted: true })?;
        let common = theirs.iter().copied().find(|cipher| ours.contains(cipher));
        common.map(Qop::Conf).ok_or(SaslError::NoCommonCipher { theirs })
    }
}
