//! The server: offers, then judges.

use bytes::Bytes;
use subtle::ConstantTimeEq;

use super::challenge::Offer;
use super::digest::{Exchange, Protection, Qop};
use super::error::SaslError;
use super::names::REALM;
use super::nonce::{NONCE, nonce};
use super::response::Response;
use crate::crypto::random::Random;
use crate::secret::AppSecret;

/// A server between its challenge and the client's response.
///
/// Judging leaves it as it is, so that a response can be held against two secrets while one replaces the other. It is
/// good for **one response**: drop it afterwards, whatever the judgement was.
#[derive(Debug)]
pub struct Server {
    offer: Offer,
    nonce: [u8; NONCE],
}

/// The outcome of a good response.
#[derive(Debug)]
pub struct Judgement {
    /// The bare answer, which proves that the server has the secret too. Sent in clear, whatever follows.
    pub answer: Bytes,
    /// The protection of the bytes behind it.
    pub protection: Protection,
}

impl Server {
    /// Makes the challenge, the bare answer to the client's first message. Draws 30 bytes from `random`.
    pub fn start(offer: &Offer, random: &mut dyn Random) -> Result<(Self, Bytes), SaslError> {
        if !offer.auth && !offer.conf() {
            return Err(SaslError::NothingToOffer);
        }
        let server = Self { offer: offer.clone(), nonce: nonce(random)? };
        let challenge = server.offer.encode(&server.nonce);
        Ok((server, challenge))
    }

    /// Verifies the client's response under `secret`.
    ///
    /// [`SaslError::WrongSecret`] is about the secret and nothing else: everything that the response says has passed by
    /// then. The user's name is not looked at, as in Spark: it only enters the digest.
    pub fn judge(&self, response: &[u8], secret: &AppSecret) -> Result<Judgement, SaslError> {
        let response = Response::parse(response, &self.nonce)?;
        self.check_offered(response.qop)?;
        let exchange =
            Exchange::new(secret, &response.user, REALM, &self.nonce, &response.cnonce, response.qop);
        if !bool::from(exchange.response().ct_eq(&response.response)) {
            return Err(SaslError::WrongSecret);
        }
        let answer = [b"rspauth=", &exchange.answer()[..]].concat();
        Ok(Judgement { answer: answer.into(), protection: exchange.protection() })
    }

    fn check_offered(&self, qop: Qop) -> Result<(), SaslError> {
        match qop {
            Qop::Auth if !self.offer.auth => Err(SaslError::QopNotOffered { encrypted: false }),
            Qop::Conf(_) if !self.offer.conf() => Err(SaslError::QopNotOffered { encrypted: true }),
            Qop::Conf(cipher) if !self.offer.ciphers.contains(&cipher) => Err(SaslError::CipherNotOffered),
            Qop::Auth | Qop::Conf(_) => Ok(()),
        }
    }
}
