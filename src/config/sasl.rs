//! What is configured about SASL: which of DIGEST-MD5's ciphers are offered, and when encryption is a must.

use std::fmt;

use super::ByteCount;
use super::keys;
use super::values::Values;

/// A cipher of DIGEST-MD5's privacy layer. None of them is good: 3DES is the slowest and least bad.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SaslCipher {
    /// Two-key 3DES in CBC mode.
    TripleDes,
    /// RC4 with 128 bits.
    Rc4,
    /// DES in CBC mode.
    Des,
    /// RC4 with 56 bits.
    Rc4With56,
    /// RC4 with 40 bits.
    Rc4With40,
}

impl SaslCipher {
    /// As the challenge names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TripleDes => "3des",
            Self::Rc4 => "rc4",
            Self::Des => "des",
            Self::Rc4With56 => "rc4-56",
            Self::Rc4With40 => "rc4-40",
        }
    }
}

impl fmt::Display for SaslCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a server speaks SASL, where its policy lets SASL in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SaslSettings {
    /// The ciphers that are offered; Spark's client takes its favourite among them (`spark.sealed.sasl.ciphers`).
    pub ciphers: Vec<SaslCipher>,
    /// Whether authentication without encryption is not even offered (`spark.network.sasl.serverAlwaysEncrypt`).
    pub always_encrypt: bool,
    /// Plaintext bytes in one token that is sent (`spark.network.sasl.maxEncryptedBlockSize`). 64 KiB.
    pub max_block: ByteCount,
}

impl SaslSettings {
    pub(crate) fn read(v: &mut Values<'_>) -> Self {
        Self {
            ciphers: v.value(&keys::SASL_CIPHERS),
            always_encrypt: v.value(&keys::SASL_ALWAYS_ENCRYPT),
            max_block: v.value(&keys::SASL_MAX_BLOCK),
        }
    }
}
