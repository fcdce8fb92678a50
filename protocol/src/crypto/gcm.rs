//! AES-GCM with 128 and 256 bit keys (NIST SP 800-38D), 12-byte nonces, in place, tags detached.
//!
//! **Usage limits.** A nonce must never repeat under one key: authentication and the confidentiality of
//! both messages are lost. One call takes at most 2^36 - 32 bytes. With random nonces a key is good
//! for 2^32 calls; callers here derive a fresh key per message instead, and count segments
//! within it.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

/// Bytes of a tag.
pub const TAG: usize = 16;
/// Bytes of a nonce.
pub const NONCE: usize = 12;

/// An expanded key. Its memory is wiped on drop by the library behind it.
pub struct GcmKey(LessSafeKey);

impl GcmKey {
    /// Expands a 128-bit key.
    pub fn aes_128(key: &[u8; 16]) -> Self {
        Self(LessSafeKey::new(UnboundKey::new(&AES_128_GCM, key).expect("16 bytes are an AES-128 key")))
    }

    /// Expands a 256-bit key.
    pub fn aes_256(key: &[u8; 32]) -> Self {
        Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("32 bytes are an AES-256 key")))
    }

    /// Encrypts `in_out` where it lies and returns the tag over it and `aad`.
    pub fn seal(&self, nonce: [u8; NONCE], aad: &[u8], in_out: &mut [u8]) -> Result<[u8; TAG], SealError> {
        let tag = self
            .0
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), in_out)
            .map_err(|_| SealError)?;
        tag.as_ref().try_into().map_err(|_| SealError)
    }

    /// Verifies `in_out` and `aad` against `tag` and decrypts `in_out` where it lies.
    ///
    /// After an error the content of `in_out` is undefined and must not be used.
    pub fn open(
        &self,
        nonce: [u8; NONCE],
        aad: &[u8],
        in_out: &mut [u8],
        tag: &[u8; TAG],
    ) -> Result<(), OpenError> {
        self.0
            .open_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), tag, in_out)
            .map(|_| ())
            .map_err(|_| OpenError)
    }

    /// Verifies `text` and `aad` against `tag` and decrypts `text` into `out`, which is as long.
    ///
    /// After an error the content of `out` is undefined and must not be used.
    pub fn open_into(
        &self,
        nonce: [u8; NONCE],
        aad: &[u8],
        text: &[u8],
        tag: &[u8; TAG],
        out: &mut [u8],
    ) -> Result<(), OpenError> {
        self.0
            .open_separate_gather(Nonce::assume_unique_for_key(nonce), Aad::from(aad), text, tag, out)
            .map_err(|_| OpenError)
    }
}

impl std::fmt::Debug for GcmKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GcmKey(redacted)")
    }
}

/// The text is longer than AES-GCM allows in one call.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the text is too long for one AES-GCM call")]
pub struct SealError;

/// The text does not verify: another key or nonce, or changed on the way.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the AES-GCM tag does not verify")]
pub struct OpenError;
