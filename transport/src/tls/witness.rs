//! TLS that believes everybody, to see who is there. Nothing secret may pass through it: the probe asks what an
//! eavesdropper could ask, and its certificates are looked at, not trusted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, Error, SignatureScheme};
use sealed_shuffle_config::TlsVersions;
use sealed_shuffle_protocol::channel::TlsVersion;

use super::side::versions;
use super::trust::{Judge, ServerTrust};

/// Sees the certificates that a server shows before anybody is believed.
#[derive(Debug, Default)]
pub struct Witness {
    chain: Mutex<Vec<CertificateDer<'static>>>,
    asked: AtomicBool,
}

impl Witness {
    /// A configuration of one version of TLS that takes any certificate, and the witness of what comes.
    pub fn observing(version: TlsVersion) -> Result<(Arc<ClientConfig>, Arc<Self>), Error> {
        let version = match version {
            TlsVersion::V1_2 => TlsVersions::V1_2,
            TlsVersion::V1_3 => TlsVersions::V1_3,
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let witness = Arc::new(Self::default());
        let trusting = ServerTrust { judge: Arc::clone(&witness), algorithms };
        let nobody: Arc<dyn ResolvesClientCert> = Arc::clone(&witness) as _;
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions(version))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(trusting))
            .with_client_cert_resolver(nobody);
        config.resumption = Resumption::disabled();
        Ok((Arc::new(config), witness))
    }

    /// The certificates that were shown, the server's own first.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the server asked for a certificate of ours.
    pub fn was_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Judge for Arc<Witness> {
    fn judge(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _now: UnixTime,
    ) -> Result<(), Error> {
        let shown = std::iter::once(end_entity).chain(intermediates);
        let shown = shown.map(|certificate| certificate.clone().into_owned()).collect();
        *self.chain.lock().unwrap_or_else(PoisonError::into_inner) = shown;
        Ok(())
    }
}

impl ResolvesClientCert for Witness {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        None
    }

    /// Rustls asks only those who may have one.
    fn has_certs(&self) -> bool {
        true
    }
}
