//! What the probe is told from outside: less than a client, since it asks in every mode and needs no secret.

use sealed_shuffle_protocol::auth::legacy::LegacySettings;
use sealed_shuffle_protocol::channel::SecurityLevel;

use super::environment::Environment;
use super::error::ConfigError;
use super::key::Reader;
use super::keys;
use super::load::{Loaded, Sources};
use super::notice::Notice;
use super::secret::{self, ConfiguredSecret};
use super::tls::{self, TlsConfig};
use super::values::Values;

/// What the probe takes from the configuration of a client. The key of each field stands in parentheses.
#[derive(Clone, Debug)]
pub struct ProbeConfig {
    /// The secret that peers share; `None` where there is none, or where it was not asked for.
    pub secret: Option<ConfiguredSecret>,
    /// Whom to trust in TLS; `None` is nobody (`spark.ssl.rpc.*`, `spark.sealed.tls.*`).
    pub tls: Option<TlsConfig>,
    /// The weakest channel that is good enough, where that was set (`spark.sealed.security.minimum`).
    pub minimum: Option<SecurityLevel>,
    /// Port of the shuffle service where none is named (`spark.shuffle.service.port`). 7337.
    pub service_port: u16,
    /// Parameters of the older handshake (`spark.network.crypto.keyFactoryAlgorithm` and its like).
    pub legacy: LegacySettings,
    /// What is logged, as a filter of `tracing-subscriber` (`spark.sealed.log`). `info`.
    pub log: String,
    notices: Vec<Notice>,
}

impl ProbeConfig {
    /// Reads all sources; the secret only where it is wanted.
    pub fn from_sources(
        sources: &Sources,
        environment: &dyn Environment,
        wants_secret: bool,
    ) -> Result<Self, ConfigError> {
        let loaded = Loaded::from_sources(sources, environment, Reader::Client);
        let mut values = Values::new(&loaded, environment);
        let v = &mut values;
        let secret = if wants_secret { secret::resolve(v) } else { None };
        let tls = tls::resolve(v, tls::Side::Client);
        let minimum = v.optional(&keys::SECURITY_MINIMUM).map(|(level, _)| level);
        let service_port = v.value(&keys::SERVICE_PORT);
        let legacy = LegacySettings {
            kdf: v.value(&keys::CRYPTO_KEY_FACTORY),
            iterations: v.value(&keys::CRYPTO_KEY_ITERATIONS),
            key_bits: v.value(&keys::CRYPTO_KEY_LENGTH),
        };
        let log = v.value(&keys::LOG);
        v.value(&keys::UNKNOWN);
        let (_, notices) = values.finish()?;
        Ok(Self { secret, tls, minimum, service_port, legacy, log, notices })
    }

    /// What the user should know although the configuration can be used.
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }
}
