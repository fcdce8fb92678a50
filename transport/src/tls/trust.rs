//! Whom to believe: webpki's judgement, and one thing that Spark's users rely on besides.
//!
//! A certificate that stands in the trust store itself is believed without a chain: many a Spark cluster has one
//! self-signed certificate on every machine, and `openssl req -x509` marks it as an authority's, which webpki would not
//! take for a server's. Dates, names and the proof of the key are checked for it all the same.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};

use super::certificate::CertificateSummary;

/// A judgement on the certificate that a server shows. That the server holds its key is checked besides.
pub(super) trait Judge: std::fmt::Debug + Send + Sync {
    /// An error refuses the server.
    fn judge(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error>;
}

/// How a client judges servers, as rustls asks for it.
#[derive(Debug)]
pub(super) struct ServerTrust<J> {
    pub(super) judge: J,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

/// Believes authorities and known certificates.
#[derive(Debug)]
pub(super) struct Authorities {
    roots: RootCertStore,
    known: Known,
    algorithms: WebPkiSupportedAlgorithms,
    checks_name: bool,
}

impl Authorities {
    pub(super) fn new(
        roots: RootCertStore,
        trusted: Vec<CertificateDer<'static>>,
        algorithms: WebPkiSupportedAlgorithms,
        checks_name: bool,
    ) -> Self {
        Self { roots, known: Known(trusted), algorithms, checks_name }
    }
}

impl Judge for Authorities {
    fn judge(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        if self.known.contains(end_entity) {
            check_dates(end_entity, now)?;
        } else {
            let algorithms = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms)?;
        }
        if self.checks_name {
            verify_server_name(&parsed, server_name)?;
        }
        Ok(())
    }
}

impl<J: Judge> ServerCertVerifier for ServerTrust<J> {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge.judge(end_entity, intermediates, server_name, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// How a server judges clients.
#[derive(Debug)]
pub(super) struct ClientTrust {
    inner: Arc<dyn ClientCertVerifier>,
    known: Known,
}

impl ClientTrust {
    pub(super) fn new(inner: Arc<dyn ClientCertVerifier>, trusted: Vec<CertificateDer<'static>>) -> Self {
        Self { inner, known: Known(trusted) }
    }
}

impl ClientCertVerifier for ClientTrust {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.known.contains(end_entity) {
            check_dates(end_entity, now)?;
            return Ok(ClientCertVerified::assertion());
        }
        self.inner.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Certificates that are believed by themselves.
#[derive(Debug)]
struct Known(Vec<CertificateDer<'static>>);

impl Known {
    fn contains(&self, certificate: &CertificateDer<'_>) -> bool {
        self.0.iter().any(|known| known.as_ref() == certificate.as_ref())
    }
}

fn check_dates(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let Some(summary) = CertificateSummary::of(certificate) else {
        return Err(CertificateError::BadEncoding.into());
    };
    let at = |since_epoch: Duration| UnixTime::since_unix_epoch(since_epoch);
    let moment = UNIX_EPOCH + Duration::from_secs(now.as_secs());
    if summary.out_of_date(moment).is_none() {
        return Ok(());
    }
    Err(if now.as_secs() > summary.not_after.as_secs() {
        CertificateError::ExpiredContext { time: now, not_after: at(summary.not_after) }.into()
    } else {
        CertificateError::NotValidYetContext { time: now, not_before: at(summary.not_before) }.into()
    })
}
