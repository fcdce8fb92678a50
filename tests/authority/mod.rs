//! Authorities, certificates and the files that hold them, made on the spot.
#![allow(dead_code)] // each test crate uses its part
#![allow(clippy::unwrap_used)]

use std::fs::OpenOptions;
use std::io::{Cursor, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::CertificateDer;
use sealed_shuffle_config::{ClientAuth, Origin, TlsConfig, TlsFile, TlsSource, TlsVersions};
use sealed_shuffle_transport::tls::{CertificateSummary, LiveClientTls, LiveServerTls};
use tempfile::TempDir;
use time::OffsetDateTime;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// An authority and its key.
pub(crate) struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { params, key, pem }
    }

    /// A certificate for this machine.
    pub(crate) fn issue(&self) -> Issued {
        self.sign(for_hosts(&["localhost", "127.0.0.1"]))
    }

    pub(crate) fn sign(&self, leaf: CertificateParams) -> Issued {
        let key = KeyPair::generate().unwrap();
        let leaf = leaf.signed_by(&key, &Issuer::from_params(&self.params, &self.key)).unwrap();
        Issued { key: key.serialize_pem(), chain: leaf.pem(), der: leaf.der().clone() }
    }
}

/// What is certified: both ends may use it, from yesterday until tomorrow.
pub(crate) fn for_hosts(hosts: &[&str]) -> CertificateParams {
    let mut leaf =
        CertificateParams::new(hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>()).unwrap();
    leaf.distinguished_name.push(DnType::CommonName, "a leaf");
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let now = OffsetDateTime::now_utc();
    (leaf.not_before, leaf.not_after) = (now - DAY, now + DAY);
    leaf
}

pub(crate) fn expired() -> CertificateParams {
    let mut leaf = for_hosts(&["127.0.0.1"]);
    leaf.not_before -= 2 * DAY;
    leaf.not_after -= 2 * DAY;
    leaf
}

pub(crate) fn not_yet_valid() -> CertificateParams {
    let mut leaf = for_hosts(&["127.0.0.1"]);
    leaf.not_before += 2 * DAY;
    leaf.not_after += 2 * DAY;
    leaf
}

/// Its certificate vouches for itself alone.
pub(crate) fn self_signed() -> Issued {
    let key = KeyPair::generate().unwrap();
    let leaf = for_hosts(&["127.0.0.1"]).self_signed(&key).unwrap();
    Issued { key: key.serialize_pem(), chain: leaf.pem(), der: leaf.der().clone() }
}

/// A key and its certificate.
pub(crate) struct Issued {
    pub(crate) key: String,
    pub(crate) chain: String,
    pub(crate) der: CertificateDer<'static>,
}

impl Issued {
    pub(crate) fn fingerprint(&self) -> String {
        CertificateSummary::of(&self.der).unwrap().fingerprint
    }
}

/// A bundle on disk that can be replaced.
pub(crate) struct Bundle {
    dir: TempDir,
}

impl Bundle {
    pub(crate) fn new(own: Option<&Issued>, trusted: &[&Authority]) -> Self {
        let bundle = Self { dir: tempfile::tempdir().unwrap() };
        bundle.replace(own, trusted);
        bundle
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("bundle.zip")
    }

    /// As an operator should: written beside, and renamed.
    pub(crate) fn replace(&self, own: Option<&Issued>, trusted: &[&Authority]) {
        self.put(&bundled(own, trusted));
    }

    pub(crate) fn put(&self, content: &[u8]) {
        let beside = self.dir.path().join("beside");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside).unwrap();
        file.write_all(content).unwrap();
        std::fs::rename(beside, self.path()).unwrap();
    }

    pub(crate) fn config(&self) -> TlsConfig {
        TlsConfig::new(TlsSource::Bundle(file(&self.path())))
    }

    pub(crate) fn server(&self) -> Arc<LiveServerTls> {
        self.server_that(|_| {})
    }

    pub(crate) fn server_that(&self, change: impl FnOnce(&mut TlsConfig)) -> Arc<LiveServerTls> {
        let mut config = self.config();
        change(&mut config);
        Arc::new(LiveServerTls::load(config).unwrap())
    }

    pub(crate) fn client(&self, versions: TlsVersions) -> Arc<LiveClientTls> {
        self.client_that(|config| config.versions = Some(versions))
    }

    pub(crate) fn client_that(&self, change: impl FnOnce(&mut TlsConfig)) -> Arc<LiveClientTls> {
        let mut config = self.config();
        change(&mut config);
        Arc::new(LiveClientTls::load(config).unwrap())
    }

    /// As a server that looks at its clients' certificates.
    pub(crate) fn asking(&self, asks: ClientAuth) -> TlsConfig {
        TlsConfig { client_auth: asks, ..self.config() }
    }
}

/// The three members of a bundle.
pub(crate) fn bundled(own: Option<&Issued>, trusted: &[&Authority]) -> Vec<u8> {
    let mut members = Vec::new();
    if let Some(own) = own {
        members.push(("privateKey.pem", own.key.clone()));
        members.push(("certificateChain.pem", own.chain.clone()));
    }
    if !trusted.is_empty() {
        members.push((
            "trustedCertificates.pem",
            trusted.iter().map(|authority| authority.pem.as_str()).collect(),
        ));
    }
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in members {
        zip.start_file(name, SimpleFileOptions::default()).unwrap();
        zip.write_all(content.as_bytes()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

pub(crate) fn file(path: &Path) -> TlsFile {
    TlsFile {
        key: "spark.sealed.tls.bundle",
        path: path.to_owned(),
        origin: Origin::Conf,
        password: None,
        password_key: "spark.sealed.tls.bundle",
    }
}
