//! What both ends of a session must be told alike: cipher and engine version, by Spark's names.

use std::str::FromStr;

use crate::auth::EngineVersion;

/// `spark.network.crypto.cipher`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum SessionCipher {
    /// `AES/CTR/NoPadding`: Spark's default, without integrity.
    Ctr,
    /// `AES/GCM/NoPadding`: Spark 3.5.9 and later.
    Gcm,
}

impl SessionCipher {
    /// Spark's name for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ctr => "AES/CTR/NoPadding",
            Self::Gcm => "AES/GCM/NoPadding",
        }
    }
}

impl std::fmt::Display for SessionCipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SessionCipher {
    type Err = UnknownCipher;

    /// Reads Spark's name, in any case.
    fn from_str(name: &str) -> Result<Self, UnknownCipher> {
        [Self::Ctr, Self::Gcm]
            .into_iter()
            .find(|cipher| cipher.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| UnknownCipher(name.to_owned()))
    }
}

/// A cipher that Spark's transport does not have.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is no session cipher: use AES/GCM/NoPadding or AES/CTR/NoPadding")]
pub struct UnknownCipher(String);

/// What both ends of a session must agree on, and Spark does not negotiate.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SessionMode {
    /// Decides the key.
    pub version: EngineVersion,
    /// Decides the format.
    pub cipher: SessionCipher,
}

impl std::fmt::Display for SessionMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.cipher, self.version)
    }
}
