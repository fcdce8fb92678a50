//! A data key under another key, bound to its context.
//!
//! ```text
//! nonce (12 bytes) | data key, encrypted (32 bytes) | tag (16 bytes)
//! ```
//!
//! AES-256-GCM. The associated data is a label, which names the form that this is part of, and then [`Context::encode`].
//! Nonces are random: 2^32 data keys may be sealed under one key.

use sealed_shuffle_protocol::crypto::gcm::{GcmKey, TAG};
use sealed_shuffle_protocol::crypto::random::RandomError;
use sealed_shuffle_protocol::secret::Secret;
use sealed_shuffle_protocol::stored::envelope::{Context, DataKey};
use sealed_shuffle_transport::random::random_bytes;
use zeroize::Zeroizing;

pub(super) use sealed_shuffle_protocol::crypto::gcm::NONCE;

const KEY: usize = 32;

/// Length of a sealed data key.
pub(super) const SEALED: usize = NONCE + KEY + TAG;

/// Why a wrapped key does not open.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    /// The bytes do not have the form.
    Shape,
    /// The tag does not verify: the context or the key differs, or bytes were changed.
    Tag,
}

/// A key that seals data keys.
pub(super) struct Seal {
    key: GcmKey,
    label: &'static [u8],
}

pub(super) fn random_nonce() -> Result<[u8; NONCE], RandomError> {
    random_bytes()
}

impl Seal {
    pub(super) fn new(key: &Secret<KEY>, label: &'static [u8]) -> Self {
        Self { key: GcmKey::aes_256(key.as_bytes()), label }
    }

    pub(super) fn close(&self, data_key: &DataKey, context: &Context, nonce: [u8; NONCE]) -> [u8; SEALED] {
        let mut text = Zeroizing::new(*data_key.as_bytes());
        let tag = self
            .key
            .seal(nonce, &self.associated(context), &mut text[..])
            .expect("32 bytes are not too long for AES-GCM");
        let mut sealed = [0; SEALED];
        let (front, rest) = sealed.split_at_mut(NONCE);
        let (middle, end) = rest.split_at_mut(KEY);
        front.copy_from_slice(&nonce);
        middle.copy_from_slice(&text[..]);
        end.copy_from_slice(&tag);
        sealed
    }

    pub(super) fn open(&self, sealed: &[u8; SEALED], context: &Context) -> Result<DataKey, Fault> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE>().ok_or(Fault::Shape)?;
        let (text, tag) = rest.split_last_chunk::<TAG>().ok_or(Fault::Shape)?;
        let opened = DataKey::fill_with(|out| {
            out.copy_from_slice(text);
            self.key.open(*nonce, &self.associated(context), out, tag)
        });
        opened.map_err(|_| Fault::Tag)
    }

    fn associated(&self, context: &Context) -> Vec<u8> {
        [self.label, &context.encode()].concat()
    }
}
