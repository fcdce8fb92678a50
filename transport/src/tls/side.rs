//! From material to rustls's configuration, for either side.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use sealed_shuffle_config::{ClientAuth, TlsConfig, TlsVersions};

use super::certificate::CertificateSummary;
use super::error::HOW_TO_NAME;
use super::material::{Identity, Material, MaterialError};
use super::trust::{Authorities, ClientTrust, ServerTrust};
use super::{provider, suite_name, suites};

/// One of rustls's two configurations, and how it is made of ours.
pub trait TlsSide: Sized + Send + Sync + 'static {
    /// Builds it. Remarks for the operator go into the material's warnings.
    fn build(config: &TlsConfig, material: &mut Material) -> Result<Self, MaterialError>;
}

impl TlsSide for ServerConfig {
    fn build(config: &TlsConfig, material: &mut Material) -> Result<Self, MaterialError> {
        // More lenient than Spark, which speaks 1.3 alone unless told otherwise.
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
        // No resumption: it would spare the second look at a client's certificate after its authority was withdrawn,
        // keeps secrets of past sessions in memory, and Spark's clients never come back with a ticket.
        built.send_tls13_tickets = 0;
        built.session_storage = Arc::new(NoServerSessionStorage {});
        // Spark's clients put ChaCha20 first (4.3.0, without a list of their own), which costs twice of what AES does on
        // processors that have instructions for it.
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
        // Each connection checks anew: connections live long, and trust may have changed.
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

/// The suites that were asked for, as far as they exist; all where nothing is left, as in Spark.
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
    CertifiedKey::from_der(identity.chain.clone(), identity.key.clone_key(), provider).map_err(|error| {
        let reason = match error {
            rustls::Error::InconsistentKeys(_) => {
                "the private key does not belong to the certificate: they are of two pairs, or one was renewed without \
                 the other"
            }
            rustls::Error::InvalidCertificate(_) => {
                "our certificate cannot be used: it must be of X.509 version 3, as keytool makes it, and openssl with \
                 -addext"
            }
            _ => "the private key cannot be used: RSA, ECDSA and Ed25519 keys can",
        };
        MaterialError::unusable(config, reason, error)
    })
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

/// What others will refuse is said before they do.
fn look_at_own(identity: &Identity, serves: bool, warnings: &mut Vec<String>) {
    let Some(own) = identity.summary() else { return };
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
        "our own certificate {:?} was made by `certs dev`, for trying out: whoever has its directory can pose as this \
         server",
        own.subject
    )
}
