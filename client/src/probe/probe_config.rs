//! The probe from the keys of a client.

use std::sync::Arc;

use sealed_shuffle_config::tls::{Side, resolve};
use sealed_shuffle_config::{
    ConfigError, Environment, Reader, Report, Sources, TlsConfig, Values, keys, read_sources, secret,
};
use sealed_shuffle_protocol::channel::SecurityLevel;
use sealed_shuffle_transport::tls::{LiveClientTls, MaterialError};

use super::Probe;
use crate::settings::security::{app_secret, legacy};

/// A probe as the keys of a client have it: less than a client, since it asks in every mode and needs no secret.
#[derive(Clone, Debug)]
pub struct ProbeConfig {
    probe: Probe,
    tls: Option<TlsConfig>,
    /// The weakest channel that is good enough, where that was set (`spark.sealed.security.minimum`).
    pub minimum: Option<SecurityLevel>,
    /// Port of the shuffle service where none is named (`spark.shuffle.service.port`).
    pub service_port: u16,
    /// What is logged, as a filter of `tracing-subscriber` (`spark.sealed.log`).
    pub log: String,
    /// How it came about.
    pub report: Report,
}

impl ProbeConfig {
    /// Reads all sources; the secret only where it is wanted.
    pub fn from_sources(
        sources: &Sources,
        environment: &dyn Environment,
        wants_secret: bool,
    ) -> Result<Self, ConfigError> {
        let read = |v: &mut Values<'_>| {
            let secret = if wants_secret { secret::resolve(v) } else { None };
            let tls = resolve(v, Side::Client);
            let minimum = v.optional(&keys::SECURITY_MINIMUM).map(|(level, _)| level);
            let service_port = v.value(&keys::SERVICE_PORT);
            let secret = secret.as_ref().map(app_secret);
            let probe = Probe { secret, legacy: legacy(v), ..Probe::default() };
            let log = v.value(&keys::LOG);
            v.value(&keys::UNKNOWN);
            Self { probe, tls, minimum, service_port, log, report: Report::default() }
        };
        let (config, report) = read_sources(sources, environment, Reader::Client, read)?;
        Ok(Self { report, ..config })
    }

    /// The probe. Opens key and certificates of TLS, which may fail.
    pub fn probe(&self) -> Result<Probe, MaterialError> {
        let tls = self.tls.clone().map(LiveClientTls::load).transpose()?;
        Ok(Probe { tls: tls.map(Arc::new), ..self.probe.clone() })
    }
}
