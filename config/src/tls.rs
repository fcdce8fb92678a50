//! Where TLS finds its keys and certificates, and how it is spoken; nothing is read here but words.
//!
//! Spark's own keys, with `spark.ssl.*` behind `spark.ssl.rpc.*` and passwords from the environment first
//! (SSLOptions and TransportConf, Spark 4.3.0), and two sources of ours that come before them: a bundle and a command.
//! [`crate::tls`] opens what is named here.

use std::fmt;
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::error::Issue;
use super::key::{AnyKey, Key};
use super::keys;
use super::origin::Origin;
use super::value::{ClientAuth, Secret, Text, TlsVersions};
use super::values::Values;

/// Everything about TLS; made when `spark.ssl.rpc.enabled` is true.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// Where key, certificates and authorities are.
    pub source: TlsSource,
    /// The version that was asked for (`spark.ssl.rpc.protocol`); `None` leaves it to the side.
    pub versions: Option<TlsVersions>,
    /// Cipher suites by Java's names; empty is every one (`spark.ssl.rpc.enabledAlgorithms`).
    pub suites: Vec<String>,
    /// Whether a server asks for certificates (`spark.sealed.tls.client-auth`). It does not.
    pub client_auth: ClientAuth,
    /// Whether a client takes a certificate for any host (`spark.sealed.tls.danger-skip-hostname-verification`). No.
    pub skip_hostname_verification: bool,
}

/// Where key, certificates and authorities are.
#[derive(Clone, Debug)]
pub enum TlsSource {
    /// Java's stores.
    Stores {
        /// Our key and certificates.
        key_store: Option<TlsFile>,
        /// Password of the key within, where it differs from that of the store.
        key_password: Option<Password>,
        /// Authorities.
        trust_store: Option<TlsFile>,
    },
    /// PEM files.
    Pem {
        /// Our key.
        private_key: TlsFile,
        /// Our certificates, which are the authorities, too.
        chain: TlsFile,
        /// Further authorities.
        trust_store: Option<TlsFile>,
    },
    /// A zip file with everything.
    Bundle(TlsFile),
    /// A program that prints everything.
    Command {
        /// The program, and its arguments.
        argv: Vec<String>,
        /// The origin of the setting.
        origin: Origin,
    },
}

/// A file that a key names, and the password that opens it.
#[derive(Clone, Debug)]
pub struct TlsFile {
    /// The key that named it.
    pub key: &'static str,
    /// The file.
    pub path: PathBuf,
    /// The origin of the setting.
    pub origin: Origin,
    /// The password that protects it.
    pub password: Option<Password>,
    /// The key that the password belongs under.
    pub password_key: &'static str,
}

/// A password: wiped when dropped, never shown.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// Takes the password in.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The password itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

impl TlsConfig {
    /// The defaults, over one source.
    pub fn new(source: TlsSource) -> Self {
        Self {
            source,
            versions: None,
            suites: Vec::new(),
            client_auth: ClientAuth::None,
            skip_hostname_verification: false,
        }
    }

    /// One line for the effective configuration.
    pub fn summary(&self) -> String {
        let of = |file: &TlsFile| file.path.display().to_string();
        let trust = |file: &Option<TlsFile>| file.as_ref().map_or_else(|| "none".to_owned(), of);
        match &self.source {
            TlsSource::Stores { key_store, trust_store, .. } => {
                format!("key store {}, trust store {}", trust(key_store), trust(trust_store))
            }
            TlsSource::Pem { private_key, chain, .. } => {
                format!("PEM key {} and certificates {}", of(private_key), of(chain))
            }
            TlsSource::Bundle(file) => format!("bundle {}", of(file)),
            TlsSource::Command { argv, .. } => {
                format!("printed by {}", argv.first().map_or("nothing", String::as_str))
            }
        }
    }
}

/// Reads the keys of TLS for one side; `None` where it is off or cannot be used, which was refused.
pub fn resolve(values: &mut Values<'_>, side: Side) -> Option<TlsConfig> {
    let enabled = values.value(&keys::SSL_RPC_ENABLED);
    let source = source(values);
    let versions = values.optional(&keys::SSL_RPC_PROTOCOL).map(|(versions, _)| versions);
    let suites = values.optional(&keys::SSL_RPC_ALGORITHMS).map(|(suites, _)| suites);
    let client_auth = match side {
        Side::Server => values.value(&keys::TLS_CLIENT_AUTH),
        Side::Client => ClientAuth::None,
    };
    let skip_hostname_verification = side == Side::Client && values.value(&keys::TLS_DANGER_SKIP_HOSTNAME);
    if !enabled {
        if matches!(source, Some(TlsSource::Bundle(_) | TlsSource::Command { .. })) {
            let switch = keys::SSL_RPC_ENABLED.name();
            values.warn(format!("TLS has its keys and is off: set {switch}=true to use them"));
        }
        return None;
    }
    if skip_hostname_verification {
        values.warn(format!(
            "{} = true: everyone with a certificate of a trusted authority can pose as any server",
            keys::TLS_DANGER_SKIP_HOSTNAME.name()
        ));
    }
    let source = side.check(values, source)?;
    let mut config = TlsConfig::new(source);
    config.versions = versions;
    config.suites = suites.unwrap_or_default();
    config.client_auth = client_auth;
    config.skip_hostname_verification = skip_hostname_verification;
    Some(config)
}

/// The side of a connection that uses TLS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// A server, which needs a key and a certificate.
    Server,
    /// A client, which needs to know whom to trust.
    Client,
}

impl Side {
    /// Refuses what is certain to be too little before any file is opened.
    fn check(self, values: &mut Values<'_>, source: Option<TlsSource>) -> Option<TlsSource> {
        let switch = keys::SSL_RPC_ENABLED.name();
        let (key, reason) = match (self, &source) {
            (Self::Server, None | Some(TlsSource::Stores { key_store: None, .. })) => (
                &keys::SSL_RPC_KEY_STORE,
                format!("{switch} = true, and no key and certificate are set for the server"),
            ),
            (Self::Client, None | Some(TlsSource::Stores { trust_store: None, .. })) => (
                &keys::SSL_RPC_TRUST_STORE,
                format!(
                    "{switch} = true, and nothing says which authorities are trusted; Spark would trust everybody"
                ),
            ),
            _ => return source,
        };
        let subject = key.name();
        if values.refused(&[subject, keys::TLS_BUNDLE.name(), keys::TLS_COMMAND.name()]) {
            return None;
        }
        let remedy = match self {
            Self::Server => format!(
                "set {subject}, or {} and {}, or {}; `sealed-shuffle certs dev DIR` makes some for trying out",
                keys::SSL_RPC_PRIVATE_KEY.name(),
                keys::SSL_RPC_CERT_CHAIN.name(),
                keys::TLS_BUNDLE.name()
            ),
            Self::Client => format!(
                "set {subject} to a PKCS12, JKS or PEM file with the certificate of the servers' authority, or {}",
                keys::TLS_BUNDLE.name()
            ),
        };
        values.refuse(Issue::new(subject, reason, remedy));
        None
    }
}

fn source(values: &mut Values<'_>) -> Option<TlsSource> {
    let bundle = ours(values, &keys::TLS_BUNDLE);
    let command = ours(values, &keys::TLS_COMMAND);
    let key_store = file(
        values,
        &keys::SSL_RPC_KEY_STORE,
        Some((&keys::SSL_RPC_KEY_STORE_PASSWORD, "_SPARK_SSL_RPC_KEY_STORE_PASSWORD")),
    );
    let key_password = password(values, &keys::SSL_RPC_KEY_PASSWORD, "_SPARK_SSL_RPC_KEY_PASSWORD");
    let trust_store = file(
        values,
        &keys::SSL_RPC_TRUST_STORE,
        Some((&keys::SSL_RPC_TRUST_STORE_PASSWORD, "_SPARK_SSL_RPC_TRUST_STORE_PASSWORD")),
    );
    let private_key = file(
        values,
        &keys::SSL_RPC_PRIVATE_KEY,
        Some((&keys::SSL_RPC_PRIVATE_KEY_PASSWORD, "_SPARK_SSL_RPC_PRIVATE_KEY_PASSWORD")),
    );
    let chain = file(values, &keys::SSL_RPC_CERT_CHAIN, None);
    match (bundle, command) {
        (Some(_), Some((_, origin))) => {
            let reason = format!("{} is set, too", keys::TLS_BUNDLE.name());
            values.refuse(
                Issue::new(keys::TLS_COMMAND.name(), reason, "keep one of the two").with_origin(origin),
            );
            return None;
        }
        (Some((path, origin)), None) => {
            let key = keys::TLS_BUNDLE.name();
            return Some(TlsSource::Bundle(TlsFile {
                key,
                path: path.into(),
                origin,
                password: None,
                password_key: key,
            }));
        }
        (None, Some((line, origin))) => {
            let argv = line.split_ascii_whitespace().map(str::to_owned).collect();
            return Some(TlsSource::Command { argv, origin });
        }
        (None, None) => {}
    }
    // As in Spark, half a pair of PEM files counts as none.
    if let (Some(private_key), Some(chain)) = (private_key, chain) {
        return Some(TlsSource::Pem { private_key, chain, trust_store });
    }
    if key_store.is_none() && trust_store.is_none() {
        return None;
    }
    Some(TlsSource::Stores { key_store, key_password, trust_store })
}

/// A text of ours; an empty one is refused.
fn ours(values: &mut Values<'_>, key: &'static Key<Text>) -> Option<(String, Origin)> {
    let (text, origin) = values.optional(key)?;
    if text.trim().is_empty() {
        values.refuse(
            Issue::new(key.name(), "it is empty", "give it a value, or remove it").with_origin(origin),
        );
        return None;
    }
    Some((text, origin))
}

/// A file and the password that opens it: a key, and a variable of the environment, which comes before it.
fn file(
    values: &mut Values<'_>,
    key: &'static Key<Text>,
    protection: Option<(&'static Key<Secret>, &'static str)>,
) -> Option<TlsFile> {
    let password = protection.and_then(|(key, variable)| password(values, key, variable));
    let (path, origin, named) = values.named(key)?;
    if path.is_empty() {
        values.refuse(Issue::new(named, "it is empty", "name a file, or remove it").with_origin(origin));
        return None;
    }
    let password_key = protection.map_or(named, |(key, _)| key.name());
    Some(TlsFile { key: named, path: path.into(), origin, password, password_key })
}

fn password(values: &mut Values<'_>, key: &'static Key<Secret>, variable: &'static str) -> Option<Password> {
    let configured = values.optional(key);
    if let Some(value) = values.environment().var(variable) {
        return match value.into_string() {
            Ok(text) => Some(Password::new(text)),
            Err(_) => {
                values.refuse(Issue::new(variable, "it is not UTF-8", "give it the password as text"));
                None
            }
        };
    }
    let (text, origin) = configured?;
    if origin.is_command_line() {
        values.warn(format!(
            "{} was given on the command line, where every user of the machine can read it: use {variable}",
            key.name()
        ));
    }
    Some(Password(text))
}
