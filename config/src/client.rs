//! The configuration of the client library and the commands that use it, typed.

use std::time::Duration;

use sealed_shuffle_protocol::auth::EngineVersion;
use sealed_shuffle_protocol::auth::legacy::LegacyKdf;
use sealed_shuffle_protocol::channel::SecurityLevel;
use sealed_shuffle_protocol::cipher::SessionCipher;
use sealed_shuffle_protocol::limits::Limits;
use sealed_shuffle_protocol::sasl::SaslCipher;

use super::authentication;
use super::environment::Environment;
use super::error::{ConfigError, Issue};
use super::key::{AnyKey, Reader};
use super::load::{IgnoredSetting, Loaded, Sources};
use super::notice::Notice;
use super::secret::{self, ConfiguredSecret};
use super::server::{Report, count, unless_zero};
use super::tls::{self, TlsConfig};
use super::value::ClientHandshake;
use super::values::{Effective, Values};
use super::{ByteCount, keys};

/// Everything that a client is told from outside. Made by [`ClientConfig::from_sources`]; the key of each
/// field stands in parentheses, defaults are those of [`keys`].
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// How connections are protected.
    pub security: ClientSecurity,
    /// TLS around all else; `None` is none (`spark.ssl.rpc.*`, `spark.sealed.tls.*`).
    pub tls: Option<TlsConfig>,
    /// Port of the shuffle service where none is named (`spark.shuffle.service.port`). 7337.
    pub service_port: u16,
    /// Deadlines.
    pub timeouts: ClientTimeouts,
    /// Retries of a fetch after the connection failed (`spark.shuffle.io.maxRetries`). 3.
    pub max_retries: u32,
    /// Wait before each retry (`spark.shuffle.io.retryWait`). 5 s.
    pub retry_wait: Duration,
    /// Connections to one server (`spark.shuffle.io.numConnectionsPerPeer`). 1.
    pub connections_per_peer: usize,
    /// `SO_RCVBUF`; `None` leaves it to the system (`spark.shuffle.io.receiveBuffer`).
    pub receive_buffer: Option<u32>,
    /// `SO_SNDBUF`; `None` leaves it to the system (`spark.shuffle.io.sendBuffer`).
    pub send_buffer: Option<u32>,
    /// Attempts of a registration (`spark.shuffle.registration.maxAttempts`). 3.
    pub registration_attempts: u32,
    /// Requests above it are fetched as streams (`spark.network.maxRemoteBlockSizeFetchToMem`). 200 MiB.
    pub max_fetch_to_memory: ByteCount,
    /// Bytes requested and not yet received (`spark.reducer.maxSizeInFlight`). 48 MiB.
    pub max_size_in_flight: ByteCount,
    /// Open requests (`spark.reducer.maxReqsInFlight`). No bound.
    pub max_requests_in_flight: usize,
    /// Blocks requested of one server (`spark.reducer.maxBlocksInFlightPerAddress`). No bound.
    pub max_blocks_in_flight: usize,
    /// Larger blocks are not pushed (`spark.shuffle.push.maxBlockSizeToPush`). 1 MiB.
    pub max_block_to_push: ByteCount,
    /// Bytes of blocks that are pushed as one request (`spark.shuffle.push.maxBlockBatchSize`). 3 MiB.
    pub max_push_batch: ByteCount,
    /// Whether blocks are opened with the message of Spark 2 (`spark.shuffle.useOldFetchProtocol`). No.
    pub old_fetch_protocol: bool,
    /// Iterations that a server may ask for in the older handshake (`spark.sealed.limits.legacy-iterations`). 10,000.
    pub max_legacy_iterations: u32,
    /// What a server's numbers may cost (`spark.sealed.limits.*`).
    pub limits: Limits,
    /// What is logged, as a filter of `tracing-subscriber` (`spark.sealed.log`). `info`.
    pub log: String,
    report: Report,
}

/// How a client's connections are protected. It never falls back from one to another.
#[derive(Clone, Debug)]
pub enum ClientSecurity {
    /// In clear and without proof: only when `spark.authenticate=false` or a minimum of `plaintext` asked for it.
    Plaintext,
    /// The X25519 handshake and an AES session.
    Aes {
        /// The secret that both ends know.
        secret: ConfiguredSecret,
        /// Key derivation (`spark.network.crypto.authEngineVersion`). Version 1.
        engine: EngineVersion,
        /// Session cipher (`spark.network.crypto.cipher`). CTR.
        cipher: SessionCipher,
    },
    /// The handshake of Spark 2.2 to 3.0 and an AES session in counter mode.
    Legacy {
        /// The secret that both ends know.
        secret: ConfiguredSecret,
        /// Key derivation (`spark.network.crypto.keyFactoryAlgorithm`). SHA-1.
        kdf: LegacyKdf,
        /// Its iterations (`spark.network.crypto.keyFactoryIterations`). 1024.
        iterations: u32,
        /// Bits of the keys (`spark.network.crypto.keyLength`). 128.
        key_bits: u32,
    },
    /// SASL DIGEST-MD5: only where `spark.network.crypto.enabled=false` asked for it.
    Sasl {
        /// The secret that both ends know.
        secret: ConfiguredSecret,
        /// Whether everything after it is encrypted (`spark.authenticate.enableSaslEncryption`). No.
        encrypt: bool,
        /// The ciphers that are taken for it, of those that a server offers (`spark.sealed.sasl.ciphers`). 3DES.
        ciphers: Vec<SaslCipher>,
        /// Plaintext bytes in one token that is sent (`spark.network.sasl.maxEncryptedBlockSize`). 64 KiB.
        max_block: ByteCount,
    },
}

impl ClientSecurity {
    /// The rung of the ladder that this makes, without TLS around it.
    pub fn level(&self) -> SecurityLevel {
        match self {
            Self::Plaintext | Self::Sasl { encrypt: false, .. } => SecurityLevel::Plaintext,
            Self::Sasl { encrypt: true, .. } => SecurityLevel::SaslConf,
            Self::Legacy { .. } => SecurityLevel::AesLegacy,
            Self::Aes { cipher, .. } => SecurityLevel::from(*cipher),
        }
    }
}

/// Deadlines of a client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClientTimeouts {
    /// For a TCP connection; `None` leaves it to the system (`spark.shuffle.io.connectionCreationTimeout`). As `idle`.
    pub connect: Option<Duration>,
    /// For each answer of the handshake (`spark.network.auth.rpcTimeout`). 30 s.
    pub auth: Duration,
    /// Without a byte moving on an unanswered request; `None` waits for ever
    /// (`spark.shuffle.io.connectionTimeout`). 120 s.
    pub idle: Option<Duration>,
    /// For the answer to a registration (`spark.shuffle.registration.timeout`). 5 s.
    pub registration: Duration,
}

impl ClientConfig {
    /// Reads all sources. The error holds everything that is wrong, not only the first thing.
    pub fn from_sources(sources: &Sources, environment: &dyn Environment) -> Result<Self, ConfigError> {
        Self::from_loaded(&Loaded::from_sources(sources, environment, Reader::Client), environment)
    }

    /// Reads what was loaded.
    pub fn from_loaded(loaded: &Loaded, environment: &dyn Environment) -> Result<Self, ConfigError> {
        let mut values = Values::new(loaded, environment);
        let v = &mut values;
        let tls = tls::resolve(v, tls::Side::Client);
        let within_tls = v.value(&keys::SSL_RPC_ENABLED);
        let security = security(v, within_tls);
        let service_port = v.value(&keys::SERVICE_PORT);
        let timeouts = ClientTimeouts {
            connect: unless_zero(v.value(&keys::CONNECTION_CREATION_TIMEOUT)),
            auth: v.value(&keys::AUTH_RPC_TIMEOUT),
            idle: unless_zero(v.value(&keys::CONNECTION_TIMEOUT)),
            registration: v.value(&keys::REGISTRATION_TIMEOUT),
        };
        let max_retries = v.value(&keys::MAX_RETRIES);
        let retry_wait = v.value(&keys::RETRY_WAIT);
        let connections_per_peer = count(v.value(&keys::CONNECTIONS_PER_PEER));
        let receive_buffer = u32::try_from(v.value(&keys::RECEIVE_BUFFER)).ok().filter(|n| *n > 0);
        let send_buffer = u32::try_from(v.value(&keys::SEND_BUFFER)).ok().filter(|n| *n > 0);
        let registration_attempts = v.value(&keys::REGISTRATION_MAX_ATTEMPTS);
        let max_fetch_to_memory = v.value(&keys::MAX_FETCH_TO_MEMORY);
        let max_size_in_flight = v.value(&keys::MAX_SIZE_IN_FLIGHT);
        let max_requests_in_flight = count(v.value(&keys::MAX_REQUESTS_IN_FLIGHT));
        let max_blocks_in_flight = count(v.value(&keys::MAX_BLOCKS_IN_FLIGHT));
        let max_block_to_push = v.value(&keys::MAX_BLOCK_TO_PUSH);
        let max_push_batch = v.value(&keys::MAX_PUSH_BATCH);
        let old_fetch_protocol = v.value(&keys::OLD_FETCH_PROTOCOL);
        let mut limits = Limits::default();
        limits.handshake_frame = v.value(&keys::LIMIT_HANDSHAKE_FRAME).as_u64();
        limits.response_frame = v.value(&keys::LIMIT_RESPONSE_FRAME).as_u64();
        let max_legacy_iterations = v.value(&keys::LIMIT_LEGACY_ITERATIONS);
        let log = v.value(&keys::LOG);
        v.value(&keys::UNKNOWN);

        let (effective, notices) = values.finish()?;
        let report = Report {
            properties_file: loaded.properties_file().map(Into::into),
            effective,
            notices,
            ignored: loaded.ignored().to_vec(),
        };
        Ok(Self {
            security: security.expect("security that could not be used was refused"),
            tls,
            service_port,
            timeouts,
            max_retries,
            retry_wait,
            connections_per_peer,
            receive_buffer,
            send_buffer,
            registration_attempts,
            max_fetch_to_memory,
            max_size_in_flight,
            max_requests_in_flight,
            max_blocks_in_flight,
            max_block_to_push,
            max_push_batch,
            old_fetch_protocol,
            max_legacy_iterations,
            limits,
            log,
            report,
        })
    }

    /// What the user should know although the configuration can be used.
    pub fn notices(&self) -> &[Notice] {
        &self.report.notices
    }

    /// Every key that is in effect, with its value and origin; secrets are not shown.
    pub fn effective(&self) -> &[Effective] {
        &self.report.effective
    }

    /// Keys of Spark's that were set and have no effect here.
    pub fn ignored(&self) -> &[IgnoredSetting] {
        &self.report.ignored
    }

    /// The effective configuration as lines of text. No secret is in it.
    pub fn describe(&self) -> Vec<String> {
        let mut lines = self.report.opening();
        lines.push(match &self.security {
            ClientSecurity::Plaintext => "security: plaintext, nothing is proven".into(),
            ClientSecurity::Aes { secret, engine, .. } => {
                format!("security: {}, {engine:?}, secret from {}", self.security.level(), secret.source)
            }
            ClientSecurity::Legacy { secret, kdf, .. } => {
                format!("security: {}, {}, secret from {}", self.security.level(), kdf.name(), secret.source)
            }
            ClientSecurity::Sasl { secret, encrypt, .. } => format!(
                "security: {}, SASL {} encryption, secret from {}",
                self.security.level(),
                if *encrypt { "with" } else { "without" },
                secret.source
            ),
        });
        if let Some(tls) = &self.tls {
            lines.push(format!("tls: {}", tls.summary()));
        }
        lines.extend(self.report.closing());
        lines
    }
}

/// TLS is the channel whatever runs within it; the identity is what the security within proves.
fn security(v: &mut Values<'_>, within_tls: bool) -> Option<ClientSecurity> {
    let cipher = v.value(&keys::CRYPTO_CIPHER);
    let engine = v.value(&keys::CRYPTO_ENGINE);
    let minimum = v.optional(&keys::SECURITY_MINIMUM).map(|(level, _)| level);
    let authenticate = v.optional(&keys::AUTHENTICATE).map(|(value, _)| value);
    let crypto = v.optional(&keys::CRYPTO_ENABLED);
    let handshake = v.value(&keys::CLIENT_HANDSHAKE);
    let kdf = v.value(&keys::CRYPTO_KEY_FACTORY);
    let iterations = v.value(&keys::CRYPTO_KEY_ITERATIONS);
    let key_bits = v.value(&keys::CRYPTO_KEY_LENGTH);
    let encrypt = v.value(&keys::SASL_ENCRYPTION);
    let ciphers = v.value(&keys::SASL_CIPHERS);
    let max_block = v.value(&keys::SASL_MAX_BLOCK);
    let secret = secret::resolve(v);
    if authenticate == Some(false) {
        if within_tls {
            return Some(ClientSecurity::Plaintext);
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
        return Some(ClientSecurity::Plaintext);
    }
    let Some(secret) = secret else {
        if minimum == Some(SecurityLevel::Plaintext) && authenticate.is_none() {
            v.warn(format!("{} = plaintext and no secret: everything is sent in clear text", minimum_name()));
            return Some(ClientSecurity::Plaintext);
        }
        let otherwise = format!("or {}=false for clear text", keys::AUTHENTICATE.name());
        authentication::refuse_without_secret(v, "there is no secret".to_owned(), otherwise);
        return None;
    };
    let (security, key, remedy) = match crypto.map(|(enabled, _)| enabled) {
        Some(false) => (
            ClientSecurity::Sasl { secret, encrypt, ciphers, max_block },
            keys::CRYPTO_ENABLED.name(),
            "set it to true".to_owned(),
        ),
        _ if handshake == ClientHandshake::Legacy => (
            ClientSecurity::Legacy { secret, kdf, iterations, key_bits },
            keys::CLIENT_HANDSHAKE.name(),
            "set it to x25519, which takes a server of Spark 3.1 or later".to_owned(),
        ),
        _ => (
            ClientSecurity::Aes { secret, engine, cipher },
            keys::CRYPTO_CIPHER.name(),
            "set it to AES/GCM/NoPadding".to_owned(),
        ),
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
