//! One of a few words.

use sealed_shuffle_protocol::auth::EngineVersion;
use sealed_shuffle_protocol::cipher::SessionCipher;

use super::{Grammar, Int, Reject, java_trim};
use crate::config::SecurityLevel;

/// A value that is one of a few words.
#[derive(Clone, Copy, Debug)]
pub struct Choice<T: 'static> {
    /// Every word with its meaning.
    pub words: &'static [(&'static str, T)],
}

impl Choice<SecurityLevel> {
    /// A rung of the ladder of channels.
    pub const LEVEL: Self = Self {
        words: &[
            (SecurityLevel::Plaintext.name(), SecurityLevel::Plaintext),
            (SecurityLevel::SaslConf.name(), SecurityLevel::SaslConf),
            (SecurityLevel::AesLegacy.name(), SecurityLevel::AesLegacy),
            (SecurityLevel::AesCtr.name(), SecurityLevel::AesCtr),
            (SecurityLevel::AesGcm.name(), SecurityLevel::AesGcm),
            (SecurityLevel::Tls.name(), SecurityLevel::Tls),
        ],
    };
}

/// What to do about unknown keys under `spark.sealed.`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UnknownKeys {
    /// Refuse to start.
    Error,
    /// Say so and go on.
    Warn,
}

impl Choice<UnknownKeys> {
    /// Both ways.
    pub const UNKNOWN_KEYS: Self =
        Self { words: &[("error", UnknownKeys::Error), ("warn", UnknownKeys::Warn)] };
}

impl Choice<SessionCipher> {
    /// The two transformations that Spark's TransportCipher can make.
    pub const CIPHER: Self = Self {
        words: &[("AES/CTR/NoPadding", SessionCipher::Ctr), ("AES/GCM/NoPadding", SessionCipher::Gcm)],
    };
}

impl<T: Copy + Send + Sync> Grammar for Choice<T> {
    type Value = T;

    fn parse(&self, text: &str) -> Result<T, Reject> {
        let word = java_trim(text);
        if let Some((_, value)) = self.words.iter().find(|(name, _)| *name == word) {
            return Ok(*value);
        }
        let names = self.names();
        Err(Reject::new(format!("not one of {names}")))
    }

    fn shape(&self) -> String {
        self.names()
    }
}

impl<T> Choice<T> {
    fn names(&self) -> String {
        let names: Vec<_> = self.words.iter().map(|(name, _)| *name).collect();
        names.join(", ")
    }
}

/// Spark takes 1 for version 1 and every other integer for version 2 (AuthEngine, Spark 3.4.4 to 4.3.0).
#[derive(Clone, Copy, Debug)]
pub struct Engine;

impl Grammar for Engine {
    type Value = EngineVersion;

    fn parse(&self, text: &str) -> Result<EngineVersion, Reject> {
        let version = Int::ANY.parse(text)?;
        Ok(if version == 1 { EngineVersion::V1 } else { EngineVersion::V2 })
    }

    fn shape(&self) -> String {
        "integer: 1, or any other for version 2".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_that_exist_are_read() {
        for level in SecurityLevel::ALL {
            assert_eq!(Choice::LEVEL.parse(level.name()), Ok(level));
        }
    }

    #[test]
    fn other_levels_are_refused_with_the_list_of_what_exists() {
        let reject = Choice::LEVEL.parse("des").unwrap_err();
        assert_eq!(reject.0, "not one of plaintext, sasl-conf, aes-legacy, aes-ctr, aes-gcm, tls");
    }

    #[test]
    fn every_engine_version_but_one_is_two() {
        assert_eq!(Engine.parse("1"), Ok(EngineVersion::V1));
        for text in ["2", "0", "-1", "7"] {
            assert_eq!(Engine.parse(text), Ok(EngineVersion::V2), "{text}");
        }
        assert!(Engine.parse("v2").is_err());
    }
}
