//! A development authority and a certificate that it signed, in every format that Spark and this project read.
//!
//! `certs dev` makes them for trying TLS out in a minute. The key of the authority is dropped as soon as it has
//! signed. The names tell that they are for development, and a server that uses one warns
//! ([`CertificateSummary::is_development`]).
//!
//! [`CertificateSummary::is_development`]: super::CertificateSummary::is_development

use std::io::{Cursor, Write};
use std::time::Duration;

use p12_keystore::{Certificate, KeyStore, KeyStoreEntry, PrivateKey, PrivateKeyChain};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;
use zeroize::Zeroizing;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::certificate::DEVELOPMENT;
use super::material::jks::{self, Content, Entry};

/// The period of validity.
pub const VALIDITY: Duration = Duration::from_secs(30 * 86_400);

/// Largest difference of clocks that is tolerated.
const BEFORE: Duration = Duration::from_secs(3600);

const ALIAS: &str = "sealed-shuffle-development";

/// The file with the properties to paste.
pub const PROPERTIES: &str = "spark-tls.conf";

/// One file to be written.
pub struct DevFile {
    /// Its name.
    pub name: &'static str,
    /// The content; wiped when dropped.
    pub content: Zeroizing<Vec<u8>>,
    /// Whether only the owner may read it.
    pub is_secret: bool,
}

/// A file could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make {what}: {source}")]
pub struct DevError {
    what: &'static str,
    source: Box<dyn std::error::Error + Send + Sync>,
}

fn failed<E>(what: &'static str) -> impl FnOnce(E) -> DevError
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    move |source| DevError { what, source: source.into() }
}

/// Makes all files for a server with these names and addresses. `password` is the password of the stores; the
/// properties name the files in `directory`.
pub fn make(names: &[String], password: &str, directory: &str) -> Result<Vec<DevFile>, DevError> {
    let (authority, authority_key) = authority()?;
    let issuer = Issuer::from_params(&authority, &authority_key);
    let authority = authority.self_signed(&authority_key).map_err(failed("the authority's certificate"))?;
    let key = KeyPair::generate().map_err(failed("a key"))?;
    let leaf = leaf(names)?.signed_by(&key, &issuer).map_err(failed("the certificate"))?;

    let key_pem = Zeroizing::new(key.serialize_pem().into_bytes());
    // The chain includes the authority: in PEM mode Spark trusts the certificates of the chain and no others.
    let chain_pem = [leaf.pem(), authority.pem()].concat().into_bytes();
    let authority_pem = authority.pem().into_bytes();
    let key_der = Zeroizing::new(key.serialize_der());

    let bundle = bundle(&key_pem, &chain_pem, &authority_pem).map_err(failed("the bundle"))?;
    let key_p12 =
        key_store(&key_der, &[leaf.der(), authority.der()], password).map_err(failed("keystore.p12"))?;
    let trust_p12 = trust_store(authority.der(), password).map_err(failed("truststore.p12"))?;
    let now = u64::try_from(OffsetDateTime::now_utc().unix_timestamp()).unwrap_or(0) * 1000;
    let mut salt = [0; 20];
    getrandom::fill(&mut salt).map_err(failed("a salt"))?;
    let entry = Content::Key {
        protected: jks::protect(&key_der, password, salt),
        chain: vec![leaf.der().clone(), authority.der().clone()],
    };
    let key_jks = jks::write(&[Entry { alias: ALIAS.into(), content: entry }], password, now);
    let trusted = Content::Trusted(authority.der().clone());
    let trust_jks = jks::write(&[Entry { alias: ALIAS.into(), content: trusted }], password, now);

    let open = |name, content| DevFile { name, content: Zeroizing::new(content), is_secret: false };
    let secret = |name, content| DevFile { name, content, is_secret: true };
    Ok(vec![
        open("ca.pem", authority_pem),
        open("chain.pem", chain_pem),
        secret("key.pem", key_pem),
        secret("keystore.p12", Zeroizing::new(key_p12)),
        open("truststore.p12", trust_p12),
        secret("keystore.jks", key_jks),
        open("truststore.jks", trust_jks.to_vec()),
        secret("bundle.zip", bundle),
        secret(PROPERTIES, Zeroizing::new(properties(directory, password).into_bytes())),
    ])
}

fn authority() -> Result<(CertificateParams, KeyPair), DevError> {
    let mut authority = CertificateParams::default();
    authority.distinguished_name = name("authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid(&mut authority);
    Ok((authority, KeyPair::generate().map_err(failed("a key"))?))
}

fn leaf(names: &[String]) -> Result<CertificateParams, DevError> {
    let mut leaf = CertificateParams::new(names).map_err(failed("a certificate for these names"))?;
    leaf.distinguished_name = name("server");
    leaf.is_ca = IsCa::ExplicitNoCa;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    leaf.use_authority_key_identifier_extension = true;
    valid(&mut leaf);
    Ok(leaf)
}

fn name(what: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, DEVELOPMENT);
    name.push(DnType::CommonName, format!("development {what}"));
    name
}

fn valid(certificate: &mut CertificateParams) {
    let now = OffsetDateTime::now_utc();
    certificate.not_before = now - BEFORE;
    certificate.not_after = now + VALIDITY;
}

fn key_store(
    key: &[u8],
    chain: &[&CertificateDer<'_>],
    password: &str,
) -> Result<Vec<u8>, p12_keystore::error::Error> {
    let chain: Vec<_> = chain.iter().map(|der| Certificate::from_der(der)).collect::<Result<_, _>>()?;
    let chain = PrivateKeyChain::new(ALIAS, PrivateKey::from_der(key)?, chain);
    let mut store = KeyStore::new();
    store.add_entry(ALIAS, KeyStoreEntry::PrivateKeyChain(chain));
    store.writer(password).write()
}

fn trust_store(authority: &[u8], password: &str) -> Result<Vec<u8>, p12_keystore::error::Error> {
    let mut store = KeyStore::new();
    store.add_entry(ALIAS, KeyStoreEntry::Certificate(Certificate::from_der(authority)?));
    store.writer(password).write()
}

fn bundle(key: &[u8], chain: &[u8], trusted: &[u8]) -> zip::result::ZipResult<Zeroizing<Vec<u8>>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in
        [("privateKey.pem", key), ("certificateChain.pem", chain), ("trustedCertificates.pem", trusted)]
    {
        zip.start_file(name, SimpleFileOptions::default().unix_permissions(0o600))?;
        zip.write_all(content)?;
    }
    Ok(Zeroizing::new(zip.finish()?.into_inner()))
}

/// The properties that Spark's processes and `serve` read. Only this project reads `bundle.zip`.
fn properties(directory: &str, password: &str) -> String {
    format!(
        "# TLS for development, good for {days} days: for spark-defaults.conf on every machine, serve included.\n\
         spark.ssl.rpc.enabled             true\n\
         spark.ssl.rpc.keyStore            {directory}/keystore.p12\n\
         spark.ssl.rpc.keyStorePassword    {password}\n\
         spark.ssl.rpc.trustStore          {directory}/truststore.p12\n\
         spark.ssl.rpc.trustStorePassword  {password}\n\
         # The same as JKS, under the same password: keystore.jks and truststore.jks.\n\
         # As PEM (clients of Spark 4.2 and 4.3 outside of spark-submit then need the JVM option\n\
         # -Dio.netty.handler.ssl.defaultEndpointVerificationAlgorithm=NONE):\n\
         # spark.ssl.rpc.privateKey  {directory}/key.pem\n\
         # spark.ssl.rpc.certChain   {directory}/chain.pem\n\
         # For Sealed Shuffle alone, everything in one file:\n\
         # spark.sealed.tls.bundle   {directory}/bundle.zip\n",
        days = VALIDITY.as_secs() / 86_400,
    )
}
