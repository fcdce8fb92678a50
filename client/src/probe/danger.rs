//! TLS that believes everybody, to see who is there. Nothing secret may pass through it: the probe asks what an
//! eavesdropper could ask, and its certificates are looked at, not trusted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme, SupportedProtocolVersion};

use sealed_shuffle_protocol::channel::TlsVersion;

/// What a server shows before anybody is believed.
#[derive(Debug)]
pub(super) struct Witness {
    provider: Arc<CryptoProvider>,
    chain: Mutex<Vec<CertificateDer<'static>>>,
    asked: AtomicBool,
}

/// A configuration that takes any certificate, of one version of TLS, and who saw what came.
pub(super) fn observing(version: TlsVersion) -> Result<(Arc<ClientConfig>, Arc<Witness>), Error> {
    let versions: [&SupportedProtocolVersion; 1] = match version {
        TlsVersion::V1_2 => [&rustls::version::TLS12],
        TlsVersion::V1_3 => [&rustls::version::TLS13],
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let witness = Arc::new(Witness {
        provider: Arc::clone(&provider),
        chain: Mutex::default(),
        asked: AtomicBool::new(false),
    });
    let trusting: Arc<dyn ServerCertVerifier> = Arc::clone(&witness) as _;
    let nobody: Arc<dyn ResolvesClientCert> = Arc::clone(&witness) as _;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)?
        .dangerous()
        .with_custom_certificate_verifier(trusting)
        .with_client_cert_resolver(nobody);
    config.resumption = Resumption::disabled();
    Ok((Arc::new(config), witness))
}

impl Witness {
    /// The certificates that were shown, the server's own first.
    pub(super) fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the server asked for a certificate of ours.
    pub(super) fn was_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = std::iter::once(end_entity).chain(intermediates);
        let shown = shown.map(|certificate| certificate.clone().into_owned()).collect();
        *self.chain.lock().unwrap_or_else(PoisonError::into_inner) = shown;
        Ok(ServerCertVerified::assertion())
    }

    // That whoever answers holds the key of what it shows is checked here too.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
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
