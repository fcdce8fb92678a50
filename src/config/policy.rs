//! The ladder of channels that a connection can have, from clear text upwards.
//!
//! `spark.sealed.security.minimum` names the lowest rung that is served. The identity of a peer is a separate
//! matter: see [`Authentication`](super::Authentication).

use std::fmt;

use sealed_shuffle_protocol::cipher::SessionCipher;

/// How well a connection is protected on the wire; later variants are stronger.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum SecurityLevel {
    /// Frames in clear.
    Plaintext,
    /// AES in counter mode after the X25519 handshake: secrecy without integrity (CVE-2025-55039).
    AesCtr,
    /// AES-GCM after the X25519 handshake: secrecy and integrity.
    AesGcm,
}

impl SecurityLevel {
    /// Every rung that exists, weakest first.
    pub const ALL: [Self; 3] = [Self::Plaintext, Self::AesCtr, Self::AesGcm];

    /// Rungs that Spark's modes will need and that nothing here speaks yet.
    pub(crate) const NOT_YET: [&'static str; 3] = ["sasl-conf", "aes-legacy", "tls"];

    /// The name used in configuration, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::AesCtr => "aes-ctr",
            Self::AesGcm => "aes-gcm",
        }
    }
}

impl From<SessionCipher> for SecurityLevel {
    fn from(cipher: SessionCipher) -> Self {
        match cipher {
            SessionCipher::Ctr => Self::AesCtr,
            SessionCipher::Gcm => Self::AesGcm,
        }
    }
}

impl fmt::Display for SecurityLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rungs_are_ordered_by_strength() {
        assert!(SecurityLevel::ALL.is_sorted());
        assert!(SecurityLevel::Plaintext < SecurityLevel::AesCtr);
        assert!(SecurityLevel::AesCtr < SecurityLevel::AesGcm);
    }
}
