//! The probe: asks a server in every mode which of them it answers, and says what an operator should know of it.
//!
//! ```text
//! TLS 1.3, TLS 1.2 ─► sight (a witness believes everybody, nothing secret passes)
//!       │
//!       ▼  for each way in: in clear, in TLS
//! questions without the secret ─► which handshakes are spoken
//!       │                         the secret, where there is one and TLS is verified
//!       └─► attempts in each mode of those ─► report ─► judgement
//! ```
//!
//! Invariants: one fresh connection for each question, one after the other, each with a deadline, of a bounded number;
//! the secret takes part in no handshake that the server did not show to speak, in none inside TLS that was not
//! verified, and in none but those that Spark's own clients use. The request that is asked for is one for a block of
//! an executor that does not exist: it changes nothing, and every kind of server answers it in its own words. The
//! command `probe` is the caller.

mod ask;
mod probe_config;
mod report;
mod sight;
mod words;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::ClientConfig;
use sealed_shuffle_protocol::auth::legacy::LegacySettings;
use sealed_shuffle_protocol::channel::TlsVersion;
use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::secret::AppSecret;
use sealed_shuffle_transport::tls::{CertificateSummary, LiveClientTls, TlsFacts, Witness};
use tokio::net::TcpStream;

use self::ask::{Asker, Evidence, Way};
pub use self::probe_config::ProbeConfig;
pub use self::report::{Judgement, Observation, Peer, ProbeReport, TlsReport, Trust, Verdict, WrongSecret};
use super::{Address, ClientError};

/// Asks a server in every mode which of them it answers.
///
/// ```no_run
/// use std::time::Duration;
///
/// use sealed_shuffle_client::{Address, Judgement, Probe, SecurityLevel};
///
/// # async fn look() -> Result<(), Box<dyn std::error::Error>> {
/// let mut probe = Probe::default();
/// probe.timeout = Duration::from_secs(2);
/// let report = probe.look_at(&Address::parse("node-1:7337", 7337)?).await?;
/// if report.judge(SecurityLevel::AesGcm) != Judgement::Enough {
///     println!("{} accepts {:?}", report.server, report.weakest());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Probe {
    /// The application that it claims to be.
    pub app: AppId,
    /// What both ends know. Without it only what anybody could ask is asked.
    pub secret: Option<Arc<AppSecret>>,
    /// Whom to believe in TLS, and our own certificate.
    pub tls: Option<Arc<LiveClientTls>>,
    /// Parameters of the older handshake.
    pub legacy: LegacySettings,
    /// For each question. 5 s.
    pub timeout: Duration,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            app: AppId::new(Self::APP),
            secret: None,
            tls: None,
            legacy: LegacySettings::default(),
            timeout: Duration::from_secs(5),
        }
    }
}

impl Probe {
    /// The application that a probe claims to be unless it is told otherwise.
    pub const APP: &str = "sealed-shuffle-probe";

    /// Looks at a server. Fails only where nobody takes a connection, or this end cannot ask.
    pub async fn look_at(&self, server: &Address) -> Result<ProbeReport, ClientError> {
        self.reach(server).await?;
        let (tls, way) = self.look_at_tls(server).await?;
        let asker = Asker::new(self, server)?;
        let mut seen = Evidence::default();
        asker.ask(&Way::Clear, &mut seen).await?;
        if let Some(way) = &way {
            asker.ask(way, &mut seen).await?;
        }
        let peer = seen.peer.max(if way.is_some() { Peer::Tls } else { Peer::Unknown });
        let Evidence { modes, wrong_secret, warnings, .. } = seen;
        let mut report = ProbeReport { server: server.clone(), peer, modes, wrong_secret, tls, warnings };
        report.warn(SystemTime::now());
        Ok(report)
    }

    async fn reach(&self, server: &Address) -> Result<(), ClientError> {
        let connecting = TcpStream::connect((server.host(), server.port()));
        match tokio::time::timeout(self.timeout, connecting).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(source)) => Err(ClientError::Connect { server: server.clone(), source }),
            Err(_) => Err(ClientError::ConnectTimeout { server: server.clone(), after: self.timeout }),
        }
    }

    /// Each version by itself, then the configured trust; and the way in for what is asked inside.
    async fn look_at_tls(&self, server: &Address) -> Result<(Option<TlsReport>, Option<Way>), ClientError> {
        let mut versions = Vec::new();
        let mut chain = Vec::new();
        let mut asks_certificate = false;
        let mut way: Option<(Arc<ClientConfig>, TlsVersion, &'static str)> = None;
        for version in [TlsVersion::V1_3, TlsVersion::V1_2] {
            let (config, witness) = Witness::observing(version).map_err(|error| {
                let source = std::io::Error::other(error);
                ClientError::Connect { server: server.clone(), source }
            })?;
            let seen = self.in_time(sight::handshake(server, Arc::clone(&config))).await;
            asks_certificate |= witness.was_asked();
            if chain.is_empty() {
                chain = witness.chain();
            }
            if let (Ok(facts), None) = (&seen, &way) {
                way = Some((config, facts.version, facts.suite));
            }
            versions.push((version, seen.map(|facts| facts.suite)));
        }
        if chain.is_empty() && way.is_none() {
            return Ok((None, None));
        }
        let trust = match &self.tls {
            None => Trust::NotConfigured,
            Some(live) => {
                let config = live.current();
                match self.in_time(sight::handshake(server, Arc::clone(&config))).await {
                    Ok(facts) => {
                        way = Some((config, facts.version, facts.suite));
                        Trust::Verified
                    }
                    Err(verdict) => Trust::Failed(verdict.detail().unwrap_or_default().to_owned()),
                }
            }
        };
        let unverified = match &trust {
            Trust::Verified => None,
            Trust::Failed(_) => {
                Some("the certificate does not verify, and the secret goes to nobody unknown")
            }
            Trust::NotConfigured => {
                Some("the certificate is not verified: set spark.ssl.rpc.enabled=true and a trust store")
            }
        };
        let way = way.map(|(config, version, suite)| Way::Tls { config, version, suite, unverified });
        let chain = chain.iter().filter_map(CertificateSummary::of).map(cleaned).collect();
        Ok((Some(TlsReport { versions, chain, asks_certificate, trust }), way))
    }

    async fn in_time(
        &self,
        handshake: impl Future<Output = Result<TlsFacts, Verdict>>,
    ) -> Result<TlsFacts, Verdict> {
        let late = || Err(Verdict::Unclear(format!("no answer within {:?}", self.timeout)));
        tokio::time::timeout(self.timeout, handshake).await.unwrap_or_else(|_| late())
    }
}

/// Whoever made the certificate wrote what is in it.
fn cleaned(certificate: CertificateSummary) -> CertificateSummary {
    CertificateSummary {
        subject: words::clean(&certificate.subject),
        issuer: words::clean(&certificate.issuer),
        names: certificate.names.iter().take(32).map(|name| words::clean(name)).collect(),
        ..certificate
    }
}
