//! Both ends of the exchange, by value: a step consumes the state before it.

use std::sync::Arc;

use bytes::Bytes;

use super::error::AuthError;
use super::message::AuthMessage;
use super::session_keys::SessionKeys;
use crate::crypto::gcm::{self, GcmKey};
use crate::crypto::hkdf;
use crate::crypto::random::Random;
use crate::crypto::x25519::KeyPair;
use crate::ids::AppId;
use crate::secret::{AppSecret, Secret};

/// Bytes of salt that we send, as Spark does.
const SALT: usize = 16;

/// The client, between its challenge and the server's response.
///
/// Draws from `random`, in this order: private key (32 bytes), salt (16), IV (12).
#[derive(Debug)]
pub struct Initiator {
    secret: Arc<AppSecret>,
    pair: KeyPair,
    challenge: AuthMessage,
}

impl Initiator {
    /// Makes the challenge, to be sent as the body of an RpcRequest. Nothing else may be sent before
    /// the response has been passed to [`Initiator::finish`].
    pub fn start(
        app_id: AppId,
        secret: Arc<AppSecret>,
        random: &mut dyn Random,
    ) -> Result<(Self, AuthMessage), AuthError> {
        let pair = KeyPair::generate(random)?;
        let challenge = seal_key(app_id, &secret, pair.public(), &[], random)?;
        Ok((Self { secret, pair, challenge: challenge.clone() }, challenge))
    }

    /// Verifies the response and agrees on keys: from the next byte on, both directions are ciphertext.
    pub fn finish(self, response: &AuthMessage) -> Result<SessionKeys, AuthError> {
        if response.app_id() != self.challenge.app_id() {
            return Err(AuthError::AppIdDiffers {
                ours: self.challenge.app_id().clone(),
                theirs: response.app_id().clone(),
            });
        }
        let challenge = self.challenge.encode();
        let peer = open_key(response, &self.secret, &challenge)?;
        agree(self.pair, &peer, &challenge, response)
    }
}

/// The server. It keeps no state between messages: one challenge in, one response and the keys out.
#[derive(Debug)]
pub struct Responder;

impl Responder {
    /// Verifies `challenge` under the secret of the application that it names, and answers it.
    ///
    /// The response is the last thing sent in clear. A replayed challenge is answered like any other: who
    /// replays cannot use the session. Draws from `random` in the same order as [`Initiator`].
    pub fn respond(
        challenge: &AuthMessage,
        secret: &AppSecret,
        random: &mut dyn Random,
    ) -> Result<(AuthMessage, SessionKeys), AuthError> {
        let peer = open_key(challenge, secret, &[])?;
        let transcript = challenge.encode();
        let pair = KeyPair::generate(random)?;
        let response = seal_key(challenge.app_id().clone(), secret, pair.public(), &transcript, random)?;
        let keys = agree(pair, &peer, &transcript, &response)?;
        Ok((response, keys))
    }
}

/// Seals our public key under the secret, bound to app id, salt and the transcript so far.
fn seal_key(
    app_id: AppId,
    secret: &AppSecret,
    public: &[u8; 32],
    transcript: &[u8],
    random: &mut dyn Random,
) -> Result<AuthMessage, AuthError> {
    let mut salt = [0; SALT];
    random.fill(&mut salt)?;
    let mut iv = [0; gcm::NONCE];
    random.fill(&mut iv)?;

    let aad = associated_data(&app_id, &salt, transcript);
    let mut sealed = *public;
    let tag = message_key(secret, &salt, &aad).seal(iv, &aad, &mut sealed).expect("AES-GCM takes 32 bytes");

    let ciphertext = [&iv[..], &sealed, &tag].concat();
    Ok(AuthMessage::new(app_id, Bytes::copy_from_slice(&salt), ciphertext.into()))
}

/// Opens the peer's public key; that it opens is what proves the secret.
fn open_key(message: &AuthMessage, secret: &AppSecret, transcript: &[u8]) -> Result<[u8; 32], AuthError> {
    let refused = || AuthError::NotVerified { app_id: message.app_id().clone() };
    let (&iv, rest) = message.ciphertext().split_first_chunk().ok_or_else(refused)?;
    let (sealed, tag) = rest.split_last_chunk().ok_or_else(refused)?;

    let aad = associated_data(message.app_id(), message.salt(), transcript);
    let mut key = sealed.to_vec();
    message_key(secret, message.salt(), &aad).open(iv, &aad, &mut key, tag).map_err(|_| refused())?;
    key.try_into().map_err(|key: Vec<u8>| AuthError::KeyLength(key.len()))
}

fn message_key(secret: &AppSecret, salt: &[u8], aad: &[u8]) -> GcmKey {
    let key: Secret<16> = hkdf::derive(secret.as_bytes(), salt, &[aad]);
    GcmKey::aes_128(key.as_bytes())
}

fn associated_data(app_id: &AppId, salt: &[u8], transcript: &[u8]) -> Vec<u8> {
    [app_id.as_str().as_bytes(), salt, transcript].concat()
}

fn agree(
    pair: KeyPair,
    peer: &[u8; 32],
    challenge: &[u8],
    response: &AuthMessage,
) -> Result<SessionKeys, AuthError> {
    let transcript = [challenge, &response.encode()].concat();
    Ok(SessionKeys::derive(pair.agree(peer)?, &transcript))
}
