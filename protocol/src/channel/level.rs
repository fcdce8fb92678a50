//! The ladder of channels that a connection can have, from clear text upwards.
//!
//! A server's policy says which rungs it serves. The identity of a peer is a matter of its own.

use crate::cipher::SessionCipher;

named! {
    /// How well a connection is protected on the wire, weakest first. The names stand in configuration, logs and
    /// metrics.
    SecurityLevel {
        /// Frames in clear, whatever was proven before them.
        Plaintext = "plaintext",
        /// SASL's privacy layer after DIGEST-MD5 (3DES, RC4 or DES): integrity and order, with ciphers that nobody should
        /// choose any more.
        SaslConf = "sasl-conf",
        /// AES in counter mode after the PBKDF2 handshake of Spark 2.2 to 3.0: the same as `aes-ctr`, and whoever has the
        /// secret later reads what was recorded.
        AesLegacy = "aes-legacy",
        /// AES in counter mode after the X25519 handshake: secrecy without integrity (CVE-2025-55039).
        AesCtr = "aes-ctr",
        /// AES-GCM after the X25519 handshake: secrecy, and integrity of each message. Spark's format binds neither
        /// direction nor order; [`GcmLayer`](crate::cipher::GcmLayer) says what this crate adds.
        AesGcm = "aes-gcm",
        /// TLS 1.2 or 1.3, whatever runs inside it: secrecy, integrity and order.
        Tls = "tls",
    }
}

impl SecurityLevel {
    /// The rung of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
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
