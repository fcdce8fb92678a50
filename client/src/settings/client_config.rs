//! Settings from Spark's configuration: the adapter beside the builder.

use std::sync::Arc;

use sealed_shuffle_config::tls::{Side, resolve};
use sealed_shuffle_config::{
    ConfigError, Environment, Reader, Report, Sources, TlsConfig, Values, keys, read_sources,
};
use sealed_shuffle_transport::tls::{LiveClientTls, MaterialError};

use super::{Security, Settings, security};

/// A client as Spark's keys have it: `spark-defaults.conf`, `--conf` and the environment.
///
/// ```no_run
/// use sealed_shuffle_client::{AppId, Client, ClientConfig, ProcessEnvironment, Sources};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = ClientConfig::from_sources(&Sources::default(), &ProcessEnvironment)?;
/// let client = Client::new(config.settings()?, AppId::new("app-20261122052236-0000"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ClientConfig {
    pub(super) settings: Settings,
    /// TLS around all else; `None` is none (`spark.ssl.rpc.*`, `spark.sealed.tls.*`).
    pub tls: Option<TlsConfig>,
    /// Port of the shuffle service where none is named (`spark.shuffle.service.port`).
    pub service_port: u16,
    /// What is logged, as a filter of `tracing-subscriber` (`spark.sealed.log`).
    pub log: String,
    /// How it came about.
    pub report: Report,
}

impl ClientConfig {
    /// Reads all sources; no file of TLS is opened yet. The error holds everything that is wrong, not only the first
    /// thing.
    pub fn from_sources(sources: &Sources, environment: &dyn Environment) -> Result<Self, ConfigError> {
        let (config, report) = read_sources(sources, environment, Reader::Client, Self::read)?;
        Ok(Self { report, ..config.expect("security that could not be used was refused") })
    }

    /// `None` where the security was refused.
    fn read(v: &mut Values<'_>) -> Option<Self> {
        let tls = resolve(v, Side::Client);
        let within_tls = v.value(&keys::SSL_RPC_ENABLED);
        let security = security::read(v, within_tls);
        let service_port = v.value(&keys::SERVICE_PORT);
        let refused = security.is_none();
        let settings = Settings::read(v, security.unwrap_or(Security::Plaintext));
        // Checked here as at a server, although nobody asks a client for it.
        v.value(&keys::LIMIT_LEGACY_ITERATIONS);
        let log = v.value(&keys::LOG);
        v.value(&keys::UNKNOWN);
        (!refused).then(|| Self { settings, tls, service_port, log, report: Report::default() })
    }

    /// The settings. Opens key and certificates of TLS, which may fail.
    pub fn settings(&self) -> Result<Settings, MaterialError> {
        let tls = self.tls.clone().map(LiveClientTls::load).transpose()?;
        Ok(self.settings.clone().tls(tls.map(Arc::new)))
    }
}
