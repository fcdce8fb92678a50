//! The parameters of the exchange, and their bounds, on either side of it.

use super::error::LegacyError;
use super::message::ClientChallenge;
use crate::crypto::pbkdf2::Digest;

/// The only cipher, by the name that travels in the challenge.
pub(super) const CIPHER: &str = "AES/CTR/NoPadding";

named! {
    /// `spark.network.crypto.keyFactoryAlgorithm`. The names are Java's; they travel in the challenge.
    LegacyKdf {
        /// `PBKDF2WithHmacSHA1`: Spark's default.
        HmacSha1 = "PBKDF2WithHmacSHA1",
        /// `PBKDF2WithHmacSHA256`.
        HmacSha256 = "PBKDF2WithHmacSHA256",
        /// `PBKDF2WithHmacSHA512`.
        HmacSha512 = "PBKDF2WithHmacSHA512",
    }
}

impl LegacyKdf {
    pub(super) fn digest(self) -> Digest {
        match self {
            Self::HmacSha1 => Digest::Sha1,
            Self::HmacSha256 => Digest::Sha256,
            Self::HmacSha512 => Digest::Sha512,
        }
    }
}

impl std::str::FromStr for LegacyKdf {
    type Err = LegacyError;

    /// Reads Java's name, in any case.
    fn from_str(name: &str) -> Result<Self, LegacyError> {
        let found = Self::ALL.into_iter().find(|kdf| kdf.name().eq_ignore_ascii_case(name));
        found.ok_or_else(|| LegacyError::Kdf(name.to_owned()))
    }
}

/// The parameters in a client's challenge. The default is Spark's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LegacySettings {
    /// `spark.network.crypto.keyFactoryAlgorithm`.
    pub kdf: LegacyKdf,
    /// `spark.network.crypto.keyFactoryIterations`.
    pub iterations: u32,
    /// `spark.network.crypto.keyLength`: 128, 192 or 256.
    pub key_bits: u32,
}

impl Default for LegacySettings {
    fn default() -> Self {
        Self { kdf: LegacyKdf::HmacSha1, iterations: 1024, key_bits: 128 }
    }
}

/// The bounds on the work that a client may ask of a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LegacyLimits {
    /// Iterations of PBKDF2, which is run twice. Default 65,536: less than a tenth of a second each.
    pub iterations: u32,
}

impl Default for LegacyLimits {
    fn default() -> Self {
        Self { iterations: 65_536 }
    }
}

impl LegacyLimits {
    /// Refuses a challenge that cannot be answered, or costs too much. Cheap: ask before the costly part of
    /// [`Responder::respond`](super::Responder::respond), which asks again, goes to a thread of its own.
    pub fn check(&self, challenge: &ClientChallenge) -> Result<(), LegacyError> {
        Parameters::parse(challenge, self).map(|_| ())
    }
}

/// Parameters that have been checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameters {
    pub(super) kdf: LegacyKdf,
    pub(super) iterations: u32,
    /// 16, 24 or 32.
    pub(super) key_len: usize,
}

impl Parameters {
    pub(super) fn parse(challenge: &ClientChallenge, limits: &LegacyLimits) -> Result<Self, LegacyError> {
        if !challenge.cipher().eq_ignore_ascii_case(CIPHER) {
            return Err(LegacyError::Cipher(challenge.cipher().to_owned()));
        }
        let kdf = challenge.kdf().parse()?;
        let theirs = challenge.iterations();
        let iterations = u32::try_from(theirs).ok().filter(|&n| n > 0 && n <= limits.iterations);
        let iterations = iterations.ok_or(LegacyError::Iterations { theirs, max: limits.iterations })?;
        let key_len = key_len(challenge.key_length().into())?;
        Ok(Self { kdf, iterations, key_len })
    }

    pub(super) fn of(settings: &LegacySettings) -> Result<Self, LegacyError> {
        let LegacySettings { kdf, iterations, key_bits } = *settings;
        if i32::try_from(iterations).is_err() || iterations == 0 {
            return Err(LegacyError::OwnIterations(iterations));
        }
        Ok(Self { kdf, iterations, key_len: key_len(key_bits.into())? })
    }
}

fn key_len(bits: i64) -> Result<usize, LegacyError> {
    match bits {
        128 => Ok(16),
        192 => Ok(24),
        256 => Ok(32),
        _ => Err(LegacyError::KeyLength(bits)),
    }
}
