//! Both ends of the exchange, by value: a step consumes the state before it.

use std::sync::Arc;

use bytes::Bytes;
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use super::error::LegacyError;
use super::increment::increment;
use super::message::{ClientChallenge, ServerResponse};
use super::settings::{CIPHER, LegacyLimits, LegacySettings, Parameters};
use super::step_keys::{IV, LegacyKey, LegacyKeys};
use crate::crypto::ctr::KeyStream;
use crate::crypto::random::{Random, RandomError};
use crate::ids::AppId;
use crate::secret::AppSecret;

/// The client, between its challenge and the server's response.
///
/// Draws from `random`, in this order: nonce and C, both of the key's length. C begins with nine bits of zero, so that
/// C + 1 has another length than C: see the module above.
pub struct Initiator {
    secret: Arc<AppSecret>,
    parameters: Parameters,
    app_id: AppId,
    nonce: Bytes,
    /// The number that the server must show: C + 1.
    expected: Zeroizing<Vec<u8>>,
    key: LegacyKey,
}

impl Initiator {
    /// Makes the challenge, to be sent as the body of an RpcRequest. Nothing else may be sent before the response has
    /// been passed to [`Initiator::finish`]. Derives a key: milliseconds, with the settings' iterations.
    pub fn start(
        app_id: AppId,
        secret: Arc<AppSecret>,
        settings: LegacySettings,
        random: &mut dyn Random,
    ) -> Result<(Self, ClientChallenge), LegacyError> {
        let parameters = Parameters::of(&settings)?;
        let nonce = Bytes::copy_from_slice(&draw(parameters.key_len, random)?);
        let mut own = draw(parameters.key_len, random)?;
        own[0] = 0;
        own[1] &= 0x7f;

        let key = LegacyKey::derive(&secret, &nonce, parameters);
        let challenge = ClientChallenge {
            app_id: app_id.clone(),
            kdf: settings.kdf.name().to_owned(),
            iterations: settings.iterations.try_into().expect("the settings have been checked"),
            cipher: CIPHER.to_owned(),
            key_length: settings.key_bits.try_into().expect("the settings have been checked"),
            challenge: encrypt(
                &mut key.stream(&first_counter(&nonce)),
                &[app_id.as_str().as_bytes(), &nonce, &own],
            ),
            nonce: nonce.clone(),
        };
        Ok((Self { secret, parameters, app_id, nonce, expected: increment(&own), key }, challenge))
    }

    /// Verifies the response and derives the session: from the next byte on, both directions are ciphertext.
    pub fn finish(self, response: &ServerResponse) -> Result<LegacyKeys, LegacyError> {
        let mut stream = self.key.stream(&first_counter(&self.nonce));
        let proof = decrypt(&mut stream, &response.response);
        let tail = open_proof(&proof, &self.app_id, &self.nonce)?;
        if !bool::from(tail.ct_eq(&self.expected)) {
            return Err(LegacyError::NotVerified { app_id: self.app_id });
        }
        let nonce = decrypt(&mut stream, &response.nonce);
        if nonce.is_empty() {
            return Err(LegacyError::NoNonce);
        }
        let input_iv = iv(&decrypt(&mut stream, &response.input_iv))?;
        let output_iv = iv(&decrypt(&mut stream, &response.output_iv))?;
        let key = LegacyKey::derive(&self.secret, &nonce, self.parameters);
        Ok(LegacyKeys { key, input_iv, output_iv })
    }
}

impl std::fmt::Debug for Initiator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Initiator").field("app_id", &self.app_id).finish_non_exhaustive()
    }
}

/// The server. It keeps no state between messages: one challenge in, one response and the keys out.
#[derive(Debug)]
pub struct Responder;

impl Responder {
    /// Verifies `challenge` under the secret of the application that it names, and answers it.
    ///
    /// Derives two keys, each at the price that the client names and `limits` allow: not on a thread that others wait
    /// for. The response is the last thing sent in clear. A replayed challenge is answered like any other: a replayer
    /// cannot use the session. Draws from `random`, in this order: N (the key's length), the server's input IV and its
    /// output IV (16 bytes each).
    pub fn respond(
        challenge: &ClientChallenge,
        secret: &AppSecret,
        limits: &LegacyLimits,
        random: &mut dyn Random,
    ) -> Result<(ServerResponse, LegacyKeys), LegacyError> {
        let parameters = Parameters::parse(challenge, limits)?;
        let (app_id, nonce) = (&challenge.app_id, &challenge.nonce);
        let key = LegacyKey::derive(secret, nonce, parameters);
        let counter = first_counter(nonce);
        let proof = decrypt(&mut key.stream(&counter), &challenge.challenge);
        let theirs = open_proof(&proof, app_id, nonce)?;

        let session_nonce = draw(parameters.key_len, random)?;
        let output_iv = iv(&draw(IV, random)?)?;
        let input_iv = iv(&draw(IV, random)?)?;

        let mut stream = key.stream(&counter);
        let response = ServerResponse {
            response: encrypt(&mut stream, &[app_id.as_str().as_bytes(), nonce, &increment(theirs)]),
            nonce: encrypt(&mut stream, &[&session_nonce]),
            input_iv: encrypt(&mut stream, &[&*input_iv]),
            output_iv: encrypt(&mut stream, &[&*output_iv]),
        };
        let key = LegacyKey::derive(secret, &session_nonce, parameters);
        Ok((response, LegacyKeys { key, input_iv, output_iv }))
    }
}

/// The bytes behind app id and nonce, which have to be there: only a holder of the secret could have put them there.
fn open_proof<'a>(proof: &'a [u8], app_id: &AppId, nonce: &[u8]) -> Result<&'a [u8], LegacyError> {
    let refused = || LegacyError::NotVerified { app_id: app_id.clone() };
    let known = app_id.as_str().as_bytes();
    let (theirs, rest) = proof.split_at_checked(known.len()).ok_or_else(refused)?;
    let (their_nonce, tail) = rest.split_at_checked(nonce.len()).ok_or_else(refused)?;
    let is_known = theirs.ct_eq(known) & their_nonce.ct_eq(nonce) & Choice::from(u8::from(!tail.is_empty()));
    if !bool::from(is_known) {
        return Err(refused());
    }
    Ok(tail)
}

/// The nonce, cut or filled with zeros.
fn first_counter(nonce: &[u8]) -> [u8; IV] {
    let mut counter = [0; IV];
    let len = nonce.len().min(IV);
    counter[..len].copy_from_slice(&nonce[..len]);
    counter
}

fn draw(len: usize, random: &mut dyn Random) -> Result<Zeroizing<Vec<u8>>, RandomError> {
    let mut out = Zeroizing::new(vec![0; len]);
    random.fill(&mut out)?;
    Ok(out)
}

/// Joins and encrypts where it was joined, so that no plaintext stays behind.
fn encrypt(stream: &mut KeyStream, parts: &[&[u8]]) -> Bytes {
    let mut text = parts.concat();
    stream.apply(&mut text);
    text.into()
}

fn decrypt(stream: &mut KeyStream, sealed: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(sealed.to_vec());
    stream.apply(&mut text);
    text
}

fn iv(bytes: &[u8]) -> Result<Zeroizing<[u8; IV]>, LegacyError> {
    let iv: &[u8; IV] = bytes.try_into().map_err(|_| LegacyError::IvLength(bytes.len()))?;
    Ok(Zeroizing::new(*iv))
}
