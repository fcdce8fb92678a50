//! Deterministic randomness, test content, and whole-stream sealing and opening.

use std::sync::Arc;

use base64::Engine;
use bytes::{Bytes, BytesMut};
use sealed_shuffle_protocol::cipher::{CipherError, Layer, Role, Segment};
use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::sasl::{Client, Offer, Protection, SaslCipher, SaslKeys, SaslLayer, Verifier};
use sealed_shuffle_protocol::sasl::{Demand, Server};
use sealed_shuffle_protocol::secret::AppSecret;
use serde_json::Value;

#[path = "../support/random.rs"]
mod random;
pub(crate) use random::{Fixed, Seeded};

impl Fixed {
    /// The bytes that a nonce stands for.
    pub(crate) fn nonce(nonce: &str) -> Self {
        Self(base64::engine::general_purpose::STANDARD.decode(nonce).unwrap())
    }
}

pub(crate) fn app() -> AppId {
    AppId::new("app-1")
}

pub(crate) fn secret(text: &str) -> Arc<AppSecret> {
    Arc::new(AppSecret::new(text.to_owned()))
}

/// Client and server up to the client's response: what is left is to judge and to finish.
pub(crate) fn begun(wanted: Demand, offer: &Offer, text: &str) -> (Server, Verifier, Bytes) {
    let (client, _) = Client::start(app(), secret(text), wanted, &mut Seeded(1)).unwrap();
    let (server, challenge) = Server::start(offer, &mut Seeded(2)).unwrap();
    let (awaiting, response) = client.respond(&challenge).unwrap();
    (server, awaiting, response.token().clone())
}

/// The keys of both ends of one exchange with itself.
pub(crate) fn agreed_keys(cipher: SaslCipher) -> (SaslKeys, SaslKeys) {
    let (server, awaiting, response) = begun(Demand::Conf(vec![cipher]), &Offer::everything(), "secret");
    let judged = server.judge(&response, &secret("secret")).unwrap();
    (keys(awaiting.finish(&judged.answer).unwrap()), keys(judged.protection))
}

/// The layers of client and server of one exchange with itself.
pub(crate) fn layers(cipher: SaslCipher, max_block: usize) -> (SaslLayer, SaslLayer) {
    let (client, server) = agreed_keys(cipher);
    (SaslLayer::new(client, Role::Client, max_block), SaslLayer::new(server, Role::Server, max_block))
}

pub(crate) fn keys(protection: Protection) -> SaslKeys {
    match protection {
        Protection::Conf(keys) => keys,
        Protection::Auth => panic!("auth-conf was agreed on"),
    }
}

/// `n` bytes with byte i = (7 i + i / 256) mod 256.
pub(crate) fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|i| ((7 * i + i / 256) % 256) as u8).collect()
}

/// Digits in pairs, and blanks wherever they help.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let pairs = digits.chunks_exact(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// Seals `plain` in one segment.
pub(crate) fn seal(layer: &mut dyn Layer, plain: &[u8]) -> Vec<u8> {
    let capacity = layer.layout().sealed_len(plain.len() as u64);
    let mut segment = Segment::with_capacity(usize::try_from(capacity).unwrap());
    segment.reset(layer.layout());
    assert_eq!(segment.put(plain), plain.len());
    layer.seal(&mut segment).unwrap();
    segment.sealed().to_vec()
}

/// Opens what arrives in pieces; no piece that comes out may be empty.
pub(crate) fn open<'a>(
    layer: &mut dyn Layer,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<u8>, CipherError> {
    let mut input = BytesMut::new();
    let mut plain = Vec::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        while let Some(opened) = layer.open(&mut input)? {
            assert!(!opened.is_empty(), "an opened piece is never empty");
            plain.extend_from_slice(&opened);
        }
    }
    Ok(plain)
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// The value of a directive, quotes off.
pub(crate) fn directive<'a>(token: &'a str, name: &str) -> &'a str {
    let value = token.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('=')).unwrap();
    value.trim_matches('"')
}
