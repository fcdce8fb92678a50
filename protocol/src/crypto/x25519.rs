//! X25519 (RFC 7748), without the public keys that make every secret agree on zero.

use x25519_dalek::{PublicKey, StaticSecret};

use super::random::{Random, RandomError};
use crate::secret::Secret;

/// Half of an agreement: used once, wiped afterwards.
pub struct KeyPair {
    private: StaticSecret,
    public: [u8; 32],
}

impl KeyPair {
    /// Makes a pair from 32 random bytes, clamped as the RFC says.
    pub fn generate(random: &mut dyn Random) -> Result<Self, RandomError> {
        let raw = Secret::fill_with(|out: &mut [u8; 32]| random.fill(out))?;
        let private = StaticSecret::from(*raw.as_bytes());
        let public = PublicKey::from(&private).to_bytes();
        Ok(Self { private, public })
    }

    /// The half that the peer needs.
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// The shared secret. The pair is consumed: one agreement each.
    ///
    /// The top bit of `peer` is ignored, as the RFC says.
    pub fn agree(self, peer: &[u8; 32]) -> Result<Secret<32>, LowOrderKey> {
        let shared = self.private.diffie_hellman(&PublicKey::from(*peer));
        if !shared.was_contributory() {
            return Err(LowOrderKey);
        }
        Ok(Secret::new(*shared.as_bytes()))
    }
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyPair(redacted)")
    }
}

/// The peer's public key has low order: the agreement would not depend on our key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the peer's X25519 key has low order")]
pub struct LowOrderKey;
