//! How connections are protected, and how Spark's keys say it.

use std::sync::Arc;

use sealed_shuffle_config::authentication::refuse_without_secret;
use sealed_shuffle_config::value::ClientHandshake;
use sealed_shuffle_config::{AnyKey, ConfiguredSecret, Issue, Values, keys, secret};
use sealed_shuffle_protocol::auth::EngineVersion;
use sealed_shuffle_protocol::auth::legacy::LegacySettings;
use sealed_shuffle_protocol::channel::SecurityLevel;
use sealed_shuffle_protocol::cipher::{SessionCipher, SessionMode};
use sealed_shuffle_protocol::sasl::Demand;
use sealed_shuffle_protocol::secret::AppSecret;

/// How connections are protected. A client never falls back from one to another.
///
/// ```
/// use sealed_shuffle_client::{AppSecret, EngineVersion, Security, SessionCipher};
///
/// let secret = AppSecret::new("the application's secret".to_owned());
/// let gcm = Security::aes(secret, EngineVersion::V2, SessionCipher::Gcm);
/// assert!(matches!(gcm, Security::Aes { .. }));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Security {
    /// In clear, proving nothing.
    Plaintext,
    /// The X25519 handshake and an AES session.
    Aes {
        /// Both ends know it.
        secret: Arc<AppSecret>,
        /// Engine version and cipher; both ends must have the same.
        mode: SessionMode,
    },
    /// The PBKDF2 handshake of Spark 2.2 to 3.0 and an AES-CTR session.
    Legacy {
        /// Both ends know it.
        secret: Arc<AppSecret>,
        /// The client chooses them for both ends.
        settings: LegacySettings,
    },
    /// SASL DIGEST-MD5: a proof of identity, and a privacy layer only if asked for.
    Sasl {
        /// Both ends know it.
        secret: Arc<AppSecret>,
        /// Exactly that, whatever else the server offers.
        wanted: Demand,
        /// Plaintext bytes of a sealed token (`spark.network.sasl.maxEncryptedBlockSize`). Spark's default is 64 KiB.
        max_block: usize,
    },
}

impl Security {
    /// AES under `secret`.
    pub fn aes(secret: AppSecret, version: EngineVersion, cipher: SessionCipher) -> Self {
        Self::Aes { secret: Arc::new(secret), mode: SessionMode { version, cipher } }
    }

    /// The rung of the ladder that this makes, without TLS around it.
    pub fn level(&self) -> SecurityLevel {
        match self {
            Self::Plaintext | Self::Sasl { wanted: Demand::Auth, .. } => SecurityLevel::Plaintext,
            Self::Sasl { wanted: Demand::Conf(_), .. } => SecurityLevel::SaslConf,
            Self::Legacy { .. } => SecurityLevel::AesLegacy,
            Self::Aes { mode, .. } => SecurityLevel::from(mode.cipher),
        }
    }

    /// For people: `AES/GCM/NoPadding v2`; `None` where nothing is sealed.
    pub(super) fn protection(&self) -> Option<String> {
        match self {
            Self::Aes { mode, .. } => Some(mode.to_string()),
            Self::Legacy { settings, .. } => {
                Some(format!("{}, {} bits, PBKDF2 handshake", SessionCipher::Ctr, settings.key_bits))
            }
            Self::Sasl { wanted: Demand::Conf(_), .. } => Some("SASL's privacy layer".to_owned()),
            Self::Sasl { wanted: Demand::Auth, .. } | Self::Plaintext => None,
        }
    }
}

/// Spark's keys of the older handshake.
pub(crate) fn legacy(v: &mut Values<'_>) -> LegacySettings {
    LegacySettings {
        kdf: v.value(&keys::CRYPTO_KEY_FACTORY),
        iterations: v.value(&keys::CRYPTO_KEY_ITERATIONS),
        key_bits: v.value(&keys::CRYPTO_KEY_LENGTH),
    }
}

/// The secret as the handshakes take it.
pub(crate) fn app_secret(secret: &ConfiguredSecret) -> Arc<AppSecret> {
    Arc::new(AppSecret::new(secret.text.to_string()))
}

/// Reads the security that was configured; `None` where it was refused. Within TLS, TLS is the channel whatever runs
/// in it, and the identity is the one that the security within proves.
pub(super) fn read(v: &mut Values<'_>, within_tls: bool) -> Option<Security> {
    let cipher = v.value(&keys::CRYPTO_CIPHER);
    let version = v.value(&keys::CRYPTO_ENGINE);
    let minimum = v.optional(&keys::SECURITY_MINIMUM).map(|(level, _)| level);
    let authenticate = v.optional(&keys::AUTHENTICATE).map(|(value, _)| value);
    let crypto = v.optional(&keys::CRYPTO_ENABLED).map(|(enabled, _)| enabled);
    let handshake = v.value(&keys::CLIENT_HANDSHAKE);
    let settings = legacy(v);
    let encrypt = v.value(&keys::SASL_ENCRYPTION);
    let ciphers = v.value(&keys::SASL_CIPHERS);
    let max_block = v.value(&keys::SASL_MAX_BLOCK).as_usize();
    let secret = secret::resolve(v);
    if authenticate == Some(false) {
        if within_tls {
            return Some(Security::Plaintext);
        }
        if let Some(minimum) = minimum.filter(|minimum| *minimum > SecurityLevel::Plaintext) {
            let reason =
                format!("it makes the client speak clear text, below {} = {minimum}", minimum_name());
            v.refuse(
                Issue::new(keys::AUTHENTICATE.name(), reason, "change one of the two").with_value("false"),
            );
            return None;
        }
        v.warn(format!("{} = false: everything is sent in clear text", keys::AUTHENTICATE.name()));
        return Some(Security::Plaintext);
    }
    let Some(secret) = secret.as_ref().map(app_secret) else {
        if minimum == Some(SecurityLevel::Plaintext) && authenticate.is_none() {
            v.warn(format!("{} = plaintext and no secret: everything is sent in clear text", minimum_name()));
            return Some(Security::Plaintext);
        }
        let otherwise = format!("or {}=false for clear text", keys::AUTHENTICATE.name());
        refuse_without_secret(v, "there is no secret".to_owned(), otherwise);
        return None;
    };
    let (security, key, remedy) = if crypto == Some(false) {
        let wanted = if encrypt { Demand::Conf(ciphers) } else { Demand::Auth };
        (Security::Sasl { secret, wanted, max_block }, keys::CRYPTO_ENABLED.name(), "set it to true")
    } else if handshake == ClientHandshake::Legacy {
        let remedy = "set it to x25519, which takes a server of Spark 3.1 or later";
        (Security::Legacy { secret, settings }, keys::CLIENT_HANDSHAKE.name(), remedy)
    } else {
        let mode = SessionMode { version, cipher };
        (Security::Aes { secret, mode }, keys::CRYPTO_CIPHER.name(), "set it to AES/GCM/NoPadding")
    };
    let level = if within_tls { SecurityLevel::Tls } else { security.level() };
    if let Some(minimum) = minimum.filter(|minimum| *minimum > level) {
        let reason = format!("it makes {level}, below {} = {minimum}", minimum_name());
        v.refuse(Issue::new(key, reason, remedy));
        return None;
    }
    if level == SecurityLevel::Plaintext {
        v.warn(format!(
            "{} = false and {} = false: the secret is proven, then everything is sent in clear text",
            keys::CRYPTO_ENABLED.name(),
            keys::SASL_ENCRYPTION.name()
        ));
    }
    Some(security)
}

fn minimum_name() -> &'static str {
    keys::SECURITY_MINIMUM.name()
}
