//! One of a few words.

use sealed_shuffle_protocol::auth::EngineVersion;
use sealed_shuffle_protocol::auth::legacy::LegacyKdf;
use sealed_shuffle_protocol::channel::SecurityLevel;
use sealed_shuffle_protocol::cipher::SessionCipher;
use sealed_shuffle_protocol::sasl::SaslCipher;

use super::{Grammar, Int, Reject, java_trim};

/// The words of an enum that lists its values. Each word is the name of a value.
macro_rules! words {
    ($name:ident) => {{
        const WORDS: [(&str, $name); $name::ALL.len()] = {
            let mut words = [("", $name::ALL[0]); $name::ALL.len()];
            let mut at = 0;
            while at < words.len() {
                words[at] = ($name::ALL[at].name(), $name::ALL[at]);
                at += 1;
            }
            words
        };
        WORDS
    }};
}

/// A value that is one of a few words.
#[derive(Clone, Copy, Debug)]
pub struct Choice<T: 'static> {
    /// Every word with its meaning.
    pub words: &'static [(&'static str, T)],
}

impl Choice<SecurityLevel> {
    /// A rung of the ladder of channels.
    pub const LEVEL: Self = Self { words: &words!(SecurityLevel) };
}

/// The reaction to unknown keys under `spark.sealed.`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UnknownKeys {
    /// The server refuses to start.
    Error,
    /// A warning is logged, and the server starts.
    Warn,
}

impl Choice<UnknownKeys> {
    /// Both ways.
    pub const UNKNOWN_KEYS: Self =
        Self { words: &[("error", UnknownKeys::Error), ("warn", UnknownKeys::Warn)] };
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object a line.
    Json,
}

impl Choice<LogFormat> {
    /// Both.
    pub const LOG_FORMAT: Self = Self { words: &[("text", LogFormat::Text), ("json", LogFormat::Json)] };
}

/// How far the process confines itself.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Extent {
    /// As far as the kernel can, unless the server starts programs.
    #[default]
    Auto,
    /// Also where the server starts programs; the start is refused where the kernel cannot.
    On,
    /// Not at all.
    Off,
}

impl Choice<Extent> {
    /// All three.
    pub const EXTENT: Self =
        Self { words: &[("auto", Extent::Auto), ("on", Extent::On), ("off", Extent::Off)] };
}

/// What happens to files that are left behind.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Clears {
    /// They stay.
    #[default]
    Off,
    /// They stay; what would be removed is counted and logged.
    DryRun,
    /// They are removed.
    On,
}

impl Choice<Clears> {
    /// All three.
    pub const CLEARS: Self =
        Self { words: &[("off", Clears::Off), ("dry-run", Clears::DryRun), ("on", Clears::On)] };
}

impl Choice<SessionCipher> {
    /// The transformations that Spark's TransportCipher can make.
    pub const CIPHER: Self = Self { words: &words!(SessionCipher) };
}

impl Choice<SaslCipher> {
    /// The ciphers of DIGEST-MD5 by the names of its challenge (RFC 2831, section 2.1.1).
    pub const SASL_CIPHER: Self = Self { words: &words!(SaslCipher) };
}

/// The handshake that a client starts with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClientHandshake {
    /// The handshake of Spark 3.1 and later.
    X25519,
    /// The handshake of Spark 2.2 to 3.0.
    Legacy,
}

impl Choice<ClientHandshake> {
    /// The two versions of the AES handshake.
    pub const CLIENT_HANDSHAKE: Self =
        Self { words: &[("x25519", ClientHandshake::X25519), ("legacy", ClientHandshake::Legacy)] };
}

impl Choice<u32> {
    /// The key lengths of AES in bits.
    pub const KEY_BITS: Self = Self { words: &[("128", 128), ("192", 192), ("256", 256)] };
}

impl Choice<LegacyKdf> {
    /// Every function that is implemented.
    pub const KEY_FACTORY: Self = Self {
        words: &[
            (LegacyKdf::HmacSha1.name(), LegacyKdf::HmacSha1),
            (LegacyKdf::HmacSha256.name(), LegacyKdf::HmacSha256),
            (LegacyKdf::HmacSha512.name(), LegacyKdf::HmacSha512),
        ],
    };
}

/// Versions of TLS, as `spark.ssl.rpc.protocol` names them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TlsVersions {
    /// `TLS`: 1.2 and 1.3.
    Both,
    /// `TLSv1.2` alone.
    V1_2,
    /// `TLSv1.3` alone.
    V1_3,
}

impl Choice<TlsVersions> {
    /// The versions that this program speaks; Spark's JVMs know older ones.
    pub const TLS_VERSIONS: Self = Self {
        words: &[("TLS", TlsVersions::Both), ("TLSv1.2", TlsVersions::V1_2), ("TLSv1.3", TlsVersions::V1_3)],
    };
}

/// Whether a server asks its clients for certificates.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClientAuth {
    /// The server asks for none.
    None,
    /// The server asks for one, and serves a client that has none.
    Want,
    /// The server refuses a client that has none.
    Need,
}

impl Choice<ClientAuth> {
    /// As the key names them.
    pub const CLIENT_AUTH: Self =
        Self { words: &[("none", ClientAuth::None), ("want", ClientAuth::Want), ("need", ClientAuth::Need)] };
}

/// The provider that wraps data keys, as `spark.sealed.keys.provider` names it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeySourceName {
    /// `local-file`
    LocalFile,
    /// `aws-kms`
    AwsKms,
    /// `hadoop-kms`
    HadoopKms,
    /// `command`
    Command,
}

impl Choice<KeySourceName> {
    /// Every provider.
    pub const KEY_SOURCE: Self = Self {
        words: &[
            ("local-file", KeySourceName::LocalFile),
            ("aws-kms", KeySourceName::AwsKms),
            ("hadoop-kms", KeySourceName::HadoopKms),
            ("command", KeySourceName::Command),
        ],
    };
}

/// The form of merged partitions on the disk, as `spark.sealed.merge.at-rest` names it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AtRest {
    /// `sealed`: under envelope keys. Only this server reads them.
    Sealed,
    /// `plain`: Spark's own form. Executors of the same host read them, too.
    Plain,
}

impl Choice<AtRest> {
    /// Both.
    pub const AT_REST: Self = Self { words: &[("sealed", AtRest::Sealed), ("plain", AtRest::Plain)] };
}

/// The policy for an outage of the key service, as `spark.sealed.keys.on-unavailable` names it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnUnavailable {
    /// `refuse`
    Refuse,
    /// `use-cached`
    UseCached,
}

impl Choice<OnUnavailable> {
    /// Both policies.
    pub const ON_UNAVAILABLE: Self =
        Self { words: &[("refuse", OnUnavailable::Refuse), ("use-cached", OnUnavailable::UseCached)] };
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

/// A list of at least one of a few words, separated by commas. The values stay in their order, and a repetition is
/// dropped.
#[derive(Clone, Copy, Debug)]
pub struct Choices<T: 'static>(pub Choice<T>);

impl<T: Copy + PartialEq + Send + Sync> Grammar for Choices<T> {
    type Value = Vec<T>;

    fn parse(&self, text: &str) -> Result<Vec<T>, Reject> {
        let mut values = Vec::new();
        for word in text.split(',').map(java_trim).filter(|word| !word.is_empty()) {
            let value =
                self.0.parse(word).map_err(|Reject(reason)| Reject::new(format!("{word:?} is {reason}")))?;
            if !values.contains(&value) {
                values.push(value);
            }
        }
        if values.is_empty() {
            return Err(Reject::new(format!("empty: name some of {}", self.0.names())));
        }
        Ok(values)
    }

    fn shape(&self) -> String {
        format!("comma-separated: {}", self.0.names())
    }
}

impl<T> Choice<T> {
    fn names(&self) -> String {
        let names: Vec<_> = self.words.iter().map(|(name, _)| *name).collect();
        names.join(", ")
    }
}

/// A version of the AES handshake as Spark reads it: 1 is version 1, and every other integer is version 2 (AuthEngine,
/// Spark 3.4.4 to 4.3.0).
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
    fn a_list_of_words_is_read_in_order_and_without_repetition() {
        let levels = Choices(Choice::LEVEL);
        assert_eq!(levels.parse("tls, aes-gcm,,tls"), Ok(vec![SecurityLevel::Tls, SecurityLevel::AesGcm]));
        assert!(levels.parse(" , ").is_err());
        let reject = levels.parse("tls,ssl").unwrap_err();
        assert!(reject.0.starts_with("\"ssl\" is not one of plaintext"), "{reject}");
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
