//! Deterministic randomness, test content, and whole-stream sealing and opening.

use bytes::BytesMut;
use sealed_shuffle_protocol::auth::{Initiator, Responder, SessionKeys};
use sealed_shuffle_protocol::cipher::{CipherError, Layer, Segment};
use sealed_shuffle_protocol::crypto::gcm::GcmKey;
use sealed_shuffle_protocol::crypto::hkdf;
use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::secret::AppSecret;

#[path = "../support/random.rs"]
pub(crate) mod random;
pub(crate) use random::Seeded;

/// `n` bytes with byte i = (7 i + i / 256) mod 256.
pub(crate) fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|i| ((7 * i + i / 256) % 256) as u8).collect()
}

pub(crate) fn hex(text: &str) -> Vec<u8> {
    assert_eq!(text.len() % 2, 0, "hex digits come in pairs");
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

/// The keys of a handshake with itself.
pub(crate) fn agreed_keys(seed: u64) -> (SessionKeys, SessionKeys) {
    let secret = std::sync::Arc::new(AppSecret::new("a shared secret".to_owned()));
    let mut random = Seeded(seed);
    let (initiator, challenge) = Initiator::start(AppId::new("app-1"), secret.clone(), &mut random).unwrap();
    let (response, server) = Responder::respond(&challenge, &secret, &mut random).unwrap();
    (initiator.finish(&response).unwrap(), server)
}

/// Seals `plain` in segments of `capacity` bytes, one after the other.
pub(crate) fn seal(layer: &mut dyn Layer, plain: &[u8], capacity: usize) -> Vec<u8> {
    let mut segment = Segment::with_capacity(capacity);
    let mut sealed = Vec::new();
    let mut rest = plain;
    while !rest.is_empty() {
        segment.reset(layer.layout());
        let taken = segment.put(rest);
        assert!(taken > 0, "{capacity} bytes hold no plaintext");
        rest = &rest[taken..];
        layer.seal(&mut segment).unwrap();
        sealed.extend_from_slice(segment.sealed());
    }
    sealed
}

/// Seals `plain` as one message.
pub(crate) fn seal_one(layer: &mut dyn Layer, plain: &[u8]) -> Vec<u8> {
    let capacity = layer.layout().sealed_len(plain.len() as u64);
    seal(layer, plain, usize::try_from(capacity).unwrap())
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
        assert!(input.len() < 32 << 10, "at most one segment waits");
    }
    Ok(plain)
}

/// Cuts `bytes` where `cuts` say, modulo what is there.
pub(crate) fn split<'a>(mut bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for cut in cuts {
        let (piece, rest) = bytes.split_at(cut % (bytes.len() + 1));
        pieces.push(piece);
        bytes = rest;
    }
    pieces.push(bytes);
    pieces
}

/// A GCM message as Spark makes it of a session key, the salt and prefix that it drew, and a plaintext: from the
/// description of the format and the primitives alone, beside the layer.
pub(crate) fn sealed_by_spark(key: &[u8], drawn: &[u8], plain: &[u8]) -> Vec<u8> {
    let len = 8 + 1 + drawn.len() + plain.len() + 16 * plain.len().div_ceil(32752);
    sealed_as(key, drawn, len as u64, plain)
}

/// The same, announced as `len` bytes.
pub(crate) fn sealed_as(key: &[u8], drawn: &[u8], len: u64, plain: &[u8]) -> Vec<u8> {
    let (salt, prefix) = drawn.split_at(key.len());
    let length = len.to_be_bytes();
    let message = match key.len() {
        16 => GcmKey::aes_128(hkdf::derive(key, salt, &[&length]).as_bytes()),
        _ => GcmKey::aes_256(hkdf::derive(key, salt, &[&length]).as_bytes()),
    };
    let mut out = [&length[..], &[1 + drawn.len() as u8], drawn].concat();
    let pieces: Vec<_> = plain.chunks(32752).collect();
    for (index, piece) in pieces.iter().enumerate() {
        let is_last = u8::from(index + 1 == pieces.len());
        let nonce = [prefix, &(index as u32).to_be_bytes(), &[is_last]].concat();
        let mut piece = piece.to_vec();
        let tag = message.seal(nonce.try_into().unwrap(), &[], &mut piece).unwrap();
        out.extend_from_slice(&piece);
        out.extend_from_slice(&tag);
    }
    out
}
