//! Cipher and engine version, by Spark's names: both ends of a session must be configured alike.

use std::str::FromStr;

named! {
    /// `spark.network.crypto.cipher`, weakest first. The names are Spark's.
    ///
    /// This is the one list of session ciphers: the parser of the key, the probe, the policy's ladder and the
    /// recognition on a server go through it.
    SessionCipher {
        /// `AES/CTR/NoPadding`: Spark's default, without integrity.
        Ctr = "AES/CTR/NoPadding",
        /// `AES/GCM/NoPadding`: the releases of [`SOUND_GCM`].
        Gcm = "AES/GCM/NoPadding",
    }
}

/// The releases of Spark whose AES-GCM carries more than the first message of a connection, in words.
///
/// GcmTransportCipher came with 3.4.4, 3.5.2 and 4.0.0, and was mended in each line of releases by itself.
pub const SOUND_GCM: &str = "3.5.9, 4.0.4, 4.1.3, 4.2 or later";

/// Those whose AES-GCM takes one message of a connection in each direction and loses all others, in words. In the class files
/// its code is the same throughout, and no job of theirs runs in it.
pub const BROKEN_GCM: &str = "3.4.4, 3.5.2 to 3.5.8, 4.0.0 to 4.0.3 and 4.1.0 to 4.1.2";

/// Whether a release is one of [`BROKEN_GCM`].
pub const fn has_broken_gcm(major: u32, minor: u32, patch: u32) -> bool {
    matches!((major, minor, patch), (3, 4, 4) | (3, 5, 2..=8) | (4, 0, 0..=3) | (4, 1, 0..=2))
}

impl FromStr for SessionCipher {
    type Err = UnknownCipher;

    /// Reads Spark's name, in any case.
    fn from_str(name: &str) -> Result<Self, UnknownCipher> {
        Self::ALL
            .into_iter()
            .find(|cipher| cipher.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| UnknownCipher(name.to_owned()))
    }
}

/// A cipher that Spark's transport does not have.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is no session cipher: use {known}", known = known())]
pub struct UnknownCipher(String);

/// The names of all ciphers, strongest first.
fn known() -> String {
    let mut names = SessionCipher::ALL.map(SessionCipher::name);
    names.reverse();
    names.join(" or ")
}

named! {
    /// `spark.network.crypto.authEngineVersion`: how the session key comes from the agreement.
    ///
    /// It is not sent: a client is configured like the server, and a server tells it from the client's first bytes.
    EngineVersion {
        /// The agreement itself is the key, AES-256. The only one up to Spark 3.3, Spark's default since.
        V1 = "v1",
        /// A key derived from agreement and transcript, AES-128.
        V2 = "v2",
    }
}

impl EngineVersion {
    /// The value as Spark takes it: 1 is version 1, every other number version 2.
    pub fn from_config(value: i32) -> Self {
        match value {
            1 => Self::V1,
            _ => Self::V2,
        }
    }

    /// Bytes of the session key.
    pub fn key_len(self) -> usize {
        match self {
            Self::V1 => 32,
            Self::V2 => 16,
        }
    }
}

/// Cipher and engine version of a session. Both ends must be configured alike, since Spark does not negotiate them.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SessionMode {
    /// Decides the key.
    pub version: EngineVersion,
    /// Decides the format.
    pub cipher: SessionCipher,
}

impl SessionMode {
    /// Every cipher under every engine version, weakest first.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> {
        let versions = |cipher| EngineVersion::ALL.into_iter().map(move |version| Self { version, cipher });
        SessionCipher::ALL.into_iter().flat_map(versions)
    }
}

impl std::fmt::Display for SessionMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.cipher, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_in_any_case() {
        for cipher in SessionCipher::ALL {
            assert_eq!(cipher.to_string().to_lowercase().parse(), Ok(cipher));
        }
        let unknown = "AES/CBC/NoPadding".parse::<SessionCipher>().unwrap_err().to_string();
        assert!(unknown.ends_with("use AES/GCM/NoPadding or AES/CTR/NoPadding"), "{unknown}");
    }

    #[test]
    fn modes_are_every_cipher_under_every_version() {
        let names: Vec<_> = SessionMode::all().map(|mode| mode.to_string()).collect();
        let expected =
            ["AES/CTR/NoPadding v1", "AES/CTR/NoPadding v2", "AES/GCM/NoPadding v1", "AES/GCM/NoPadding v2"];
        assert_eq!(names, expected);
    }
}
