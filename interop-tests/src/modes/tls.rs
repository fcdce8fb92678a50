//! Keys and certificates for TLS: an authority and a leaf of its own for 127.0.0.1, in every form that Spark reads.
//!
//! They are made once and kept in the cache, since nothing but these tests trusts them. Whatever else makes a
//! directory with these file names and this password can take their place.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::service::Service;
use crate::machine::{cache, java_home, made_once, run};

/// Of all stores; the key in PEM has none.
pub const PASSWORD: &str = "only-for-tests";
/// Writes the stores from the PEM files.
const PROGRAM: &str = include_str!("../../jvm/tls/Stores.java");
/// Changes whenever other files must be made.
const EDITION: u32 = 3;

/// The form of a service's key material.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Stores {
    /// PKCS12 stores.
    Pkcs12,
    /// JKS stores.
    Jks,
    /// PEM files at the service; its clients use PKCS12.
    Pem,
}

impl Stores {
    /// What a service is told. Spark wants to see a key store even where it takes the PEM files (`TransportConf`
    /// `sslRpcEnabledAndKeysAreValid`, Spark 4.3.0); ours takes one or the other.
    pub(crate) fn service_conf(self, service: Service) -> Vec<(&'static str, String)> {
        let material = Material::shared();
        let mut conf = vec![enabled()];
        if self == Self::Pem {
            conf.push(("spark.ssl.rpc.privateKey", material.file("privateKey.pem")));
            conf.push(("spark.ssl.rpc.certChain", material.file("certificateChain.pem")));
        }
        if self != Self::Pem || service == Service::Spark {
            conf.extend(self.key_store());
        }
        conf
    }

    /// What a Spark process is told that is a client: it must have a key too, and checks whom it talks to.
    pub(crate) fn client_conf(self) -> Vec<(&'static str, String)> {
        let mut conf = vec![enabled()];
        conf.extend(self.key_store());
        conf.extend(self.trust_store());
        conf
    }

    /// What our client is told: whom to trust.
    pub(crate) fn our_client_conf(self) -> Vec<(&'static str, String)> {
        let mut conf = vec![enabled()];
        conf.extend(self.trust_store());
        conf
    }

    fn key_store(self) -> [(&'static str, String); 2] {
        let file = Material::shared().file(&format!("keyStore.{}", self.extension()));
        [("spark.ssl.rpc.keyStore", file), ("spark.ssl.rpc.keyStorePassword", PASSWORD.to_owned())]
    }

    fn trust_store(self) -> [(&'static str, String); 2] {
        let file = Material::shared().file(&format!("trustStore.{}", self.extension()));
        [("spark.ssl.rpc.trustStore", file), ("spark.ssl.rpc.trustStorePassword", PASSWORD.to_owned())]
    }

    fn extension(self) -> &'static str {
        if self == Self::Jks { "jks" } else { "p12" }
    }
}

fn enabled() -> (&'static str, String) {
    ("spark.ssl.rpc.enabled", "true".to_owned())
}

/// What a Spark client in PEM mode is told; it trusts the certificates of its own chain and no others.
pub fn pem_client_conf() -> Vec<(&'static str, String)> {
    let material = Material::shared();
    let mut conf = vec![enabled()];
    conf.push(("spark.ssl.rpc.privateKey", material.file("privateKey.pem")));
    conf.push(("spark.ssl.rpc.certChain", material.file("certificateChain.pem")));
    conf.extend(Stores::Pkcs12.key_store());
    conf
}

/// A directory with `privateKey.pem`, `certificateChain.pem` (leaf and authority), `trustedCertificates.pem`,
/// `keyStore.p12`, `keyStore.jks`, `trustStore.p12`, `trustStore.jks`, and the key of the authority, `authorityKey.pem`.
#[derive(Clone, Debug)]
pub struct Material(PathBuf);

impl Material {
    /// The one that all tests use.
    pub fn shared() -> &'static Self {
        static MATERIAL: OnceLock<Material> = OnceLock::new();
        MATERIAL.get_or_init(|| Self::of(&made_once(cache().join(format!("tls-{EDITION}")), make)))
    }

    /// One that lies there already.
    pub fn of(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    /// Puts a new key and a certificate of the same authority into `dir`, in the place of those that are there.
    pub fn renew(&self, dir: &Path) {
        let authority_key = fs::read_to_string(self.file("authorityKey.pem")).expect("it was made");
        let authority_key = KeyPair::from_pem(&authority_key).expect("it is a key");
        let authority_pem = fs::read_to_string(self.file("trustedCertificates.pem")).expect("it was made");
        let leaf = Leaf::signed_by(&Issuer::new(authority_params(), authority_key));
        for (name, text) in leaf.files(&authority_pem) {
            let new = dir.join(format!("{name}.new"));
            fs::write(&new, text)
                .and_then(|()| fs::set_permissions(&new, fs::Permissions::from_mode(0o600)))
                .and_then(|()| fs::rename(&new, dir.join(name)))
                .unwrap_or_else(|e| panic!("cannot write {name}: {e}"));
        }
    }

    /// One of its files, as configuration names it.
    pub fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("cache paths are text").to_owned()
    }
}

/// A key and its certificate.
struct Leaf {
    key: String,
    certificate: String,
}

impl Leaf {
    fn signed_by(issuer: &Issuer<'_, KeyPair>) -> Self {
        let key = KeyPair::generate().expect("a key of the default kind");
        let certificate = leaf_params().signed_by(&key, issuer).expect("the authority signs");
        Self { key: key.serialize_pem(), certificate: certificate.pem() }
    }

    /// What a service reads, by its names.
    fn files(&self, authority: &str) -> [(&'static str, String); 2] {
        [
            ("privateKey.pem", self.key.clone()),
            ("certificateChain.pem", format!("{}{authority}", self.certificate)),
        ]
    }
}

fn make(dir: &Path) {
    let authority_key = KeyPair::generate().expect("a key of the default kind");
    let authority_pem = authority_params().self_signed(&authority_key).expect("the key signs").pem();
    let write = |name: &str, text: &str| {
        fs::write(dir.join(name), text).unwrap_or_else(|e| panic!("cannot write {name}: {e}"));
    };
    write("authorityKey.pem", &authority_key.serialize_pem());
    let leaf = Leaf::signed_by(&Issuer::new(authority_params(), authority_key));
    for (name, text) in leaf.files(&authority_pem) {
        write(name, &text);
    }
    write("trustedCertificates.pem", &authority_pem);
    write("Stores.java", PROGRAM);
    let mut java = Command::new(java_home().join("bin/java"));
    java.arg(dir.join("Stores.java")).arg(dir).arg(PASSWORD);
    run(&mut java, || "cannot make the key stores".to_owned());
    for secret in ["privateKey.pem", "authorityKey.pem", "keyStore.p12", "keyStore.jks"] {
        let owner_only = fs::Permissions::from_mode(0o600);
        fs::set_permissions(dir.join(secret), owner_only)
            .unwrap_or_else(|e| panic!("cannot protect {secret}: {e}"));
    }
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "sealed-shuffle interop authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf_params() -> CertificateParams {
    let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
    let mut params = CertificateParams::new(names).expect("the names are names");
    params.distinguished_name.push(DnType::CommonName, "sealed-shuffle interop leaf");
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}
