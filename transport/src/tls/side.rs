//! Makes rustls's configuration from the material, for either side.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, InconsistentKeys, RootCertStore, ServerConfig, SupportedProtocolVersion};
use sealed_shuffle_config::{ClientAuth, TlsConfig, TlsVersions};

use super::certificate::{self, CertificateSummary};
use super::error::HOW_TO_NAME;
use super::material::{Identity, Material, MaterialError};
use super::trust::{Authorities, ClientTrust, ServerTrust};
use super::{provider, suite_name, suites};

/// One of the two configurations of rustls. It is made from ours.
pub trait TlsSide: Sized + Send + Sync + 'static {
    /// Builds it. Remarks for the operator are added to the warnings of the material.
    fn build(config: &TlsConfig, material: &mut Material) -> Result<Self, MaterialError>;
}

impl TlsSide for ServerConfig {
    fn build(config: &TlsConfig, material: &mut Material) -> Result<Self, MaterialError> {
        // This is more lenient than Spark, which speaks only 1.3 by default.
        let versions = versions(config.versions.unwrap_or(TlsVersions::Both));
        let provider = choose(config, versions, material);
        let Some(identity) = &material.identity else {
            return Err(MaterialError::no_identity(config));
        };
        let certified = certify(config, identity, &provider)?;
        look_at_own(identity, true, &mut material.warnings);
        let builder =
            Self::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions).map_err(
                |error| MaterialError::unusable(config, "cipher suites and versions do not fit", error),
            )?;
        let builder = if config.client_auth == ClientAuth::None {
            builder.with_no_client_auth()
        } else {
            if material.trusted.is_empty() {
                return Err(MaterialError::nobody_trusted(config));
            }
            let roots = Arc::new(roots(config, material)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            let verifier = if config.client_auth == ClientAuth::Want {
                verifier.allow_unauthenticated()
            } else {
                verifier
            };
            let verifier = verifier
                .build()
                .map_err(|error| MaterialError::unusable(config, "the authorities cannot be used", error))?;
            builder.with_client_cert_verifier(Arc::new(ClientTrust::new(verifier, material.trusted.clone())))
        };
        let mut built = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        // Resumption is off: it would skip the check of a client's certificate after its authority was withdrawn, and
        // it keeps secrets of past sessions in memory. Spark's clients never return with a ticket.
        built.send_tls13_tickets = 0;
        built.session_storage = Arc::new(NoServerSessionStorage {});
        // Spark's clients put ChaCha20 first (4.3.0, without a list of their own). On processors with AES
        // instructions it costs twice as much as AES.
        built.ignore_client_order = true;
        Ok(built)
    }
}

impl TlsSide for ClientConfig {
    fn build(config: &TlsConfig, material: &mut Material) -> Result<Self, MaterialError> {
        let versions = versions(config.versions.unwrap_or(TlsVersions::V1_3));
        let provider = choose(config, versions, material);
        if material.trusted.is_empty() {
            return Err(MaterialError::nobody_trusted(config));
        }
        let roots = roots(config, material)?;
        let algorithms = provider.signature_verification_algorithms;
        let checks_name = !config.skip_hostname_verification;
        let judge = Authorities::new(roots, material.trusted.clone(), algorithms, checks_name);
        let trust = ServerTrust { judge, algorithms };
        let builder = Self::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|error| MaterialError::unusable(config, "cipher suites and versions do not fit", error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(trust));
        let mut built = match &material.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let certified = certify(config, identity, &provider)?;
                look_at_own(identity, false, &mut material.warnings);
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
            }
        };
        // Each connection checks anew: connections live long, and the trusted authorities may have changed.
        built.resumption = Resumption::disabled();
        Ok(built)
    }
}

pub(super) fn versions(versions: TlsVersions) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
    match versions {
        TlsVersions::Both => &BOTH,
        TlsVersions::V1_3 => &BOTH[..1],
        TlsVersions::V1_2 => &BOTH[1..],
    }
}

/// The suites that were asked for and exist; all suites if none is left, as in Spark.
fn choose(
    config: &TlsConfig,
    versions: &[&SupportedProtocolVersion],
    material: &mut Material,
) -> Arc<CryptoProvider> {
    let usable = || suites().filter(|suite| versions.contains(&suite.version()));
    if config.suites.is_empty() {
        return provider(suites().collect());
    }
    let asked = |name: &str| config.suites.iter().any(|asked| asked == name);
    for name in &config.suites {
        if !suites().any(|suite| suite_name(suite) == name.as_str()) {
            let known: Vec<_> = suites().map(suite_name).collect();
            material.warnings.push(format!(
                "cipher suite {name} of spark.ssl.rpc.enabledAlgorithms is not known here and left out; known are {}",
                known.join(", ")
            ));
        }
    }
    if usable().any(|suite| asked(suite_name(suite))) {
        let in_their_order =
            config.suites.iter().filter_map(|name| suites().find(|suite| suite_name(*suite) == name));
        return provider(in_their_order.collect());
    }
    material.warnings.push(
        "no suite of spark.ssl.rpc.enabledAlgorithms can be used with the versions of TLS: every suite is offered".into(),
    );
    provider(suites().collect())
}

fn certify(
    config: &TlsConfig,
    identity: &Identity,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, MaterialError> {
    let certified = CertifiedKey::from_der(identity.chain.clone(), identity.key.clone_key(), provider);
    certified.or_else(|error| of_version_1(identity, provider, error)).map_err(|error| {
        let reason = match error {
            rustls::Error::InconsistentKeys(_) => {
                "the private key does not belong to the certificate: they are of two pairs, or one was renewed without \
                 the other"
            }
            rustls::Error::InvalidCertificate(_) => {
                "our certificate cannot be used: make another, with keytool, or with openssl and -addext"
            }
            _ => "the private key cannot be used: RSA, ECDSA and Ed25519 keys can",
        };
        MaterialError::unusable(config, reason, error)
    })
}

/// The same where our certificate is of X.509 version 1, which rustls does not read: Java serves it, and so do we. Whether
/// it is about our key is compared here.
fn of_version_1(
    identity: &Identity,
    provider: &CryptoProvider,
    error: rustls::Error,
) -> Result<CertifiedKey, rustls::Error> {
    let own = identity.chain.first().filter(|own| certificate::is_version_1(own)).ok_or(error)?;
    let key = provider.key_provider.load_private_key(identity.key.clone_key())?;
    let ours = key.public_key().map(|key| key.to_vec());
    match ours.is_none() || ours == certificate::public_key_of(own) {
        true => Ok(CertifiedKey::new(identity.chain.clone(), key)),
        false => Err(InconsistentKeys::KeyMismatch.into()),
    }
}

fn roots(config: &TlsConfig, material: &Material) -> Result<RootCertStore, MaterialError> {
    let mut roots = RootCertStore::empty();
    for authority in &material.trusted {
        roots.add(authority.clone()).map_err(|error| {
            MaterialError::unusable(config, "a trusted certificate cannot be used", error)
        })?;
    }
    Ok(roots)
}

/// Warns of faults for which peers will refuse our certificate.
fn look_at_own(identity: &Identity, serves: bool, warnings: &mut Vec<String>) {
    let Some(own) = identity.summary() else { return };
    if identity.chain.first().is_some_and(|own| certificate::is_version_1(own)) {
        warnings.push(format!(
            "our own certificate {:?} is of X.509 version 1: Java takes it, and clients of this program and many others \
             refuse it; make one of version 3 ({HOW_TO_NAME})",
            own.subject
        ));
    }
    if let Some(sentence) = own.out_of_date(SystemTime::now()) {
        warnings.push(format!("our own certificate {:?} will be refused: {sentence}", own.subject));
    }
    if serves && own.names.is_empty() {
        warnings.push(format!(
            "our own certificate {:?} names no host in a subjectAltName: clients that check names refuse it, Spark's do \
             not check; make one with {HOW_TO_NAME}",
            own.subject
        ));
    }
    if own.is_development {
        warnings.push(development(&own));
    }
}

fn development(own: &CertificateSummary) -> String {
    format!(
        "our own certificate {:?} was made by `certs dev`, for trying out: everybody who has its directory can pose as \
         this server",
        own.subject
    )
}
