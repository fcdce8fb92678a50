//! The settings of SASL: the ciphers of DIGEST-MD5 that are offered, and when a peer must encrypt.

use sealed_shuffle_protocol::sasl::SaslCipher;

use super::ByteCount;
use super::keys;
use super::values::Values;

/// How a server speaks SASL, where its policy lets SASL in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SaslSettings {
    /// The ciphers that are offered; Spark's client takes its favourite among them (`spark.sealed.sasl.ciphers`).
    pub ciphers: Vec<SaslCipher>,
    /// Whether authentication without encryption is refused (`spark.network.sasl.serverAlwaysEncrypt`).
    pub always_encrypt: bool,
    /// Plaintext bytes in one token that is sent (`spark.network.sasl.maxEncryptedBlockSize`). 64 KiB.
    pub max_block: ByteCount,
}

impl Default for SaslSettings {
    fn default() -> Self {
        Self::read(&mut Values::defaults())
    }
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
