//! The ladder of channels that a connection can have, from clear text upwards.
//!
//! A server's policy says which rungs it serves. The identity of a peer is a matter of its own.

use std::fmt;

use crate::cipher::SessionCipher;

/// How well a connection is protected on the wire; later variants are stronger.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum SecurityLevel {
    /// Frames in clear, whatever was proven before them.
    Plaintext,
    /// SASL's privacy layer after DIGEST-MD5 (3DES, RC4 or DES): ciphers that nobody should choose any more.
    SaslConf,
    /// AES in counter mode after the PBKDF2 handshake of Spark 2.2 to 3.0.
    AesLegacy,
    /// AES in counter mode after the X25519 handshake: secrecy without integrity (CVE-2025-55039).
    AesCtr,
    /// AES-GCM after the X25519 handshake: secrecy and integrity.
    AesGcm,
    /// TLS 1.2 or 1.3, whatever runs inside it.
    Tls,
}

impl SecurityLevel {
    /// Every rung that exists, weakest first.
    pub const ALL: [Self; 6] =
        [Self::Plaintext, Self::SaslConf, Self::AesLegacy, Self::AesCtr, Self::AesGcm, Self::Tls];

    /// The rung of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }

    /// The name used in configuration, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::SaslConf => "sasl-conf",
            Self::AesLegacy => "aes-legacy",
            Self::AesCtr => "aes-ctr",
            Self::AesGcm => "aes-gcm",
            Self::Tls => "tls",
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
