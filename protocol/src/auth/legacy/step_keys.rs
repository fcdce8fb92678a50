//! The key of either step, and what the handshake yields.

use zeroize::Zeroizing;

use super::settings::Parameters;
use crate::cipher::{CtrLayer, Role};
use crate::crypto::ctr::KeyStream;
use crate::crypto::pbkdf2;
use crate::secret::{AppSecret, Secret};

/// Bytes of an initial counter.
pub(super) const IV: usize = 16;

/// An AES key of any length. Wiped on drop.
#[derive(Debug)]
pub(super) enum LegacyKey {
    Aes128(Secret<16>),
    Aes192(Secret<24>),
    Aes256(Secret<32>),
}

impl LegacyKey {
    /// The costly part.
    pub(super) fn derive(secret: &AppSecret, salt: &[u8], parameters: Parameters) -> Self {
        match parameters.key_len {
            24 => Self::Aes192(derive(secret, salt, parameters)),
            32 => Self::Aes256(derive(secret, salt, parameters)),
            _ => Self::Aes128(derive(secret, salt, parameters)),
        }
    }

    pub(super) fn stream(&self, iv: &[u8; IV]) -> KeyStream {
        match self {
            Self::Aes128(key) => KeyStream::aes_128(key.as_bytes(), iv),
            Self::Aes192(key) => KeyStream::aes_192(key.as_bytes(), iv),
            Self::Aes256(key) => KeyStream::aes_256(key.as_bytes(), iv),
        }
    }
}

fn derive<const N: usize>(secret: &AppSecret, salt: &[u8], parameters: Parameters) -> Secret<N> {
    let digest = parameters.kdf.digest();
    let filled: Result<_, std::convert::Infallible> = Secret::fill_with(|out: &mut [u8; N]| {
        pbkdf2::derive(digest, secret.as_bytes(), salt, parameters.iterations, out);
        Ok(())
    });
    match filled {
        Ok(key) => key,
        Err(never) => match never {},
    }
}

/// Key and initial counters of a session. Wiped on drop.
pub struct LegacyKeys {
    pub(super) key: LegacyKey,
    pub(super) input_iv: Zeroizing<[u8; IV]>,
    pub(super) output_iv: Zeroizing<[u8; IV]>,
}

impl LegacyKeys {
    /// The session of one end. Its cipher is AES/CTR: this handshake has no other.
    pub fn into_layer(self, role: Role) -> CtrLayer {
        let (outbound, inbound) = match role {
            Role::Client => (&self.output_iv, &self.input_iv),
            Role::Server => (&self.input_iv, &self.output_iv),
        };
        CtrLayer::new(self.key.stream(outbound), self.key.stream(inbound))
    }

    /// Bits of the key: 128, 192 or 256.
    pub fn key_bits(&self) -> u32 {
        match self.key {
            LegacyKey::Aes128(_) => 128,
            LegacyKey::Aes192(_) => 192,
            LegacyKey::Aes256(_) => 256,
        }
    }
}

impl std::fmt::Debug for LegacyKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LegacyKeys({} bits, redacted)", self.key_bits())
    }
}
