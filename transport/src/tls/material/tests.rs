//! Reads every format as other programs write it (see `fixtures/README.md`), and checks the errors of unusable files.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, ServerConfig, ServerConnection, SignatureScheme,
};
use sealed_shuffle_config::{ClientAuth, Origin, Password, TlsVersions};

use super::*;
use crate::tls::{TlsSide, dev};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/tls/material/fixtures").join(name)
}

fn file(path: PathBuf, password: Option<&str>) -> TlsFile {
    TlsFile {
        key: "spark.ssl.rpc.keyStore",
        path,
        origin: Origin::Conf,
        password: password.map(Password::new),
        password_key: "spark.ssl.rpc.keyStorePassword",
    }
}

fn stores(key: Option<TlsFile>, key_password: Option<&str>, trust: Option<TlsFile>) -> TlsConfig {
    TlsConfig::new(TlsSource::Stores {
        key_store: key,
        key_password: key_password.map(Password::new),
        trust_store: trust,
    })
}

fn pems(key: &str, password: Option<&str>, chain: &str) -> TlsConfig {
    TlsConfig::new(TlsSource::Pem {
        private_key: file(fixture(key), password),
        chain: file(fixture(chain), None),
        trust_store: None,
    })
}

/// The material that a server would run with: key and certificate must fit.
fn serves(config: &TlsConfig) -> Result<Material, MaterialError> {
    let mut material = load(config)?;
    ServerConfig::build(config, &mut material)?;
    Ok(material)
}

fn refusal(config: &TlsConfig) -> String {
    serves(config).unwrap_err().to_string()
}

#[test]
fn key_stores_of_java_and_openssl_are_read() {
    for (store, key_password) in [("java.jks", Some("keypass")), ("java.p12", None), ("legacy.p12", None)] {
        let config = stores(Some(file(fixture(store), Some("changeit"))), key_password, None);
        let material = serves(&config).unwrap_or_else(|error| panic!("{store}: {error}"));
        let own = material.identity.as_ref().and_then(Identity::summary).unwrap();
        assert_eq!(own.subject, "CN=fixture", "{store}");
        assert_eq!(own.names, ["localhost", "127.0.0.1"], "{store}");
        assert!(!own.is_development);
    }
}

#[test]
fn trust_stores_are_read_with_a_password_and_jks_without() {
    for (store, password) in [
        ("trust.jks", Some("changeit")),
        ("trust.jks", None),
        ("trust.p12", Some("changeit")),
        ("java-jks.pem", None),
    ] {
        let material = load(&stores(None, None, Some(file(fixture(store), password)))).unwrap();
        let names: Vec<_> =
            material.trusted.iter().filter_map(CertificateSummary::of).map(|it| it.subject).collect();
        assert_eq!(names, ["CN=fixture"], "{store}");
    }
}

#[test]
fn pem_keys_of_every_kind_are_read() {
    for (key, password, chain) in [
        ("pkcs8.pem", None, "self-signed.pem"),
        ("sec1.pem", None, "self-signed.pem"),
        ("encrypted.pem", Some("changeit"), "self-signed.pem"),
        ("pkcs1.pem", None, "rsa-certificate.pem"),
    ] {
        let material = serves(&pems(key, password, chain)).unwrap_or_else(|error| panic!("{key}: {error}"));
        assert_eq!(material.trusted.len(), 1, "as in Spark, the chain is trusted");
    }
}

#[test]
fn a_certificate_of_version_1_is_served_with_a_warning() {
    let served = |chain| serves(&pems("pkcs8.pem", None, chain)).unwrap().warnings;
    let speaks_of_it = |warnings: Vec<String>| warnings.iter().any(|warning| warning.contains("version 1"));
    assert!(speaks_of_it(served("version-1.pem")));
    assert!(!speaks_of_it(served("self-signed.pem")));
    // A client that does not look into certificates, as Spark's without a trust store, is served.
    for chain in ["version-1.pem", "self-signed.pem"] {
        let config = pems("pkcs8.pem", None, chain);
        let server = ServerConfig::build(&config, &mut load(&config).unwrap()).unwrap();
        assert_eq!(shown_by(server), chain_of(chain), "{chain}");
    }
}

fn chain_of(file: &str) -> Vec<CertificateDer<'static>> {
    pem::certificates_of(&pem::blocks(&std::fs::read(fixture(file)).unwrap()).ok().unwrap()).collect()
}

/// The certificates that a server shows to a client that takes any.
fn shown_by(server: ServerConfig) -> Vec<CertificateDer<'static>> {
    let provider = server.crypto_provider().clone();
    let trust = Arc::new(Anybody(provider.signature_verification_algorithms));
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let client = client.dangerous().with_custom_certificate_verifier(trust).with_no_client_auth();
    let mut client = ClientConnection::new(Arc::new(client), "localhost".try_into().unwrap()).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets().unwrap();
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets().unwrap();
    }
    client.peer_certificates().unwrap().iter().cloned().map(CertificateDer::into_owned).collect()
}

/// Takes any certificate and any signature.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

#[test]
fn wrong_passwords_name_the_key_to_set() {
    for store in ["java.jks", "java.p12", "legacy.p12"] {
        for password in [Some("wrong"), None] {
            let config = stores(Some(file(fixture(store), password)), None, None);
            let error = refusal(&config);
            assert!(error.contains("spark.ssl.rpc.key") && error.contains("assword"), "{store}: {error}");
            assert!(error.contains(store) && !error.contains("wrong "), "{error}");
        }
    }
    let error = refusal(&stores(Some(file(fixture("java.jks"), Some("changeit"))), Some("wrong"), None));
    assert!(error.contains("spark.ssl.rpc.keyPassword"), "{error}");
    for password in [Some("wrong"), None] {
        let error = refusal(&pems("encrypted.pem", password, "self-signed.pem"));
        assert!(error.contains("spark.ssl.rpc.privateKeyPassword"), "{error}");
    }
}

#[test]
fn what_is_not_what_it_should_be_is_told_with_the_cure() {
    for (config, words) in [
        (stores(Some(file(fixture("none.p12"), None)), None, None), "name a file that exists"),
        (stores(Some(file(fixture(""), None)), None, None), "name the file within"),
        (stores(Some(file(fixture("pkcs8.pem"), None)), None, None), "spark.ssl.rpc.privateKey"),
        (stores(Some(file(fixture("README.md"), None)), None, None), "neither a PKCS12 nor a JKS"),
        (stores(Some(file(fixture("trust.jks"), None)), None, None), "spark.ssl.rpc.trustStore"),
        (stores(Some(file(fixture("trust.p12"), Some("changeit"))), None, None), "spark.ssl.rpc.trustStore"),
        (pems("self-signed.pem", None, "self-signed.pem"), "no private key"),
        (pems("pkcs8.pem", None, "pkcs8.pem"), "no certificate"),
        (pems("README.md", None, "self-signed.pem"), "not a PEM file"),
        (pems("traditional.pem", Some("changeit"), "self-signed.pem"), "openssl pkcs8 -topk8"),
        (pems("pkcs8.pem", None, "java-jks.pem"), "does not belong to the certificate"),
        (pems("sec1.pem", None, "rsa-certificate.pem"), "does not belong to the certificate"),
        (pems("pkcs1.pem", None, "version-1.pem"), "does not belong to the certificate"),
        (pems("pbes1.pem", Some("changeit"), "self-signed.pem"), "PBES1"),
        (pems("pbes1.pem", Some("changeit"), "self-signed.pem"), "openssl pkcs8 -topk8 -v2 aes-256-cbc"),
        (pems("pbes1.pem", None, "self-signed.pem"), "PBES1"),
    ] {
        let error = refusal(&config);
        assert!(error.contains(words), "{words:?} is not in {error:?}");
    }
}

#[test]
fn a_server_that_asks_for_certificates_and_a_client_must_trust_somebody() {
    let mut config = stores(Some(file(fixture("java.p12"), Some("changeit"))), None, None);
    config.client_auth = ClientAuth::Need;
    assert!(refusal(&config).contains("no trusted certificates"));
    let mut material = load(&config).unwrap();
    let error = ClientConfig::build(&config, &mut material).unwrap_err().to_string();
    assert!(error.contains("spark.ssl.rpc.trustStore"), "{error}");
}

#[test]
fn suites_that_are_not_known_are_left_out_and_none_left_means_all() {
    let mut config = stores(Some(file(fixture("java.p12"), Some("changeit"))), None, None);
    config.suites = vec!["TLS_AES_128_GCM_SHA256".into(), "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256".into()];
    let mut material = load(&config).unwrap();
    let built = ServerConfig::build(&config, &mut material).unwrap();
    assert_eq!(built.crypto_provider().cipher_suites.len(), 1);
    assert!(material.warnings.iter().any(|text| text.contains("TLS_DHE_RSA")), "{:?}", material.warnings);

    config.versions = Some(TlsVersions::V1_2);
    let built = ServerConfig::build(&config, &mut material).unwrap();
    assert!(built.crypto_provider().cipher_suites.len() > 4);
}

#[test]
fn every_file_of_the_development_authority_can_be_used() {
    let dir = tempfile::tempdir().unwrap();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), "other.example".to_owned()];
    for made in dev::make(&names, "pass word", "/somewhere").unwrap() {
        std::fs::write(dir.path().join(made.name), &*made.content).unwrap();
    }
    let at = |name: &str, password: Option<&str>| file(dir.path().join(name), password);
    let password = Some("pass word");
    for config in [
        stores(Some(at("keystore.p12", password)), None, Some(at("truststore.p12", password))),
        stores(Some(at("keystore.jks", password)), None, Some(at("truststore.jks", password))),
        TlsConfig::new(TlsSource::Bundle(at("bundle.zip", None))),
        TlsConfig::new(TlsSource::Pem {
            private_key: at("key.pem", None),
            chain: at("chain.pem", None),
            trust_store: Some(at("ca.pem", None)),
        }),
        TlsConfig::new(TlsSource::Command {
            argv: ["cat", "key.pem", "chain.pem", "ca.pem"]
                .map(|word| match word {
                    "cat" => word.to_owned(),
                    name => dir.path().join(name).display().to_string(),
                })
                .into(),
            origin: Origin::Conf,
        }),
    ] {
        let mut material = serves(&config).unwrap_or_else(|error| panic!("{config:?}: {error}"));
        ClientConfig::build(&config, &mut material).unwrap();
        let own = material.identity.as_ref().and_then(Identity::summary).unwrap();
        assert!(own.is_development && own.names == names, "{own}");
        assert!(material.warnings.iter().any(|text| text.contains("certs dev")), "{:?}", material.warnings);
        assert!(!material.trusted.is_empty());
    }
}

#[test]
fn a_bundle_without_its_other_half_is_refused() {
    use std::io::Write;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bundle.zip");
    let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
    zip.start_file(bundle::PRIVATE_KEY, zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(&std::fs::read(fixture("pkcs8.pem")).unwrap()).unwrap();
    zip.finish().unwrap();
    let error = refusal(&TlsConfig::new(TlsSource::Bundle(file(path.clone(), None))));
    assert!(error.contains("no certificateChain.pem"), "{error}");
    std::fs::write(&path, b"PK\x03\x04 and no more").unwrap();
    let error = refusal(&TlsConfig::new(TlsSource::Bundle(file(path, None))));
    assert!(error.contains("not a zip file"), "{error}");
}

#[test]
fn keys_that_others_may_read_are_warned_about() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("java.p12");
    std::fs::copy(fixture("java.p12"), &path).unwrap();
    let warns = |mode| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let material = load(&stores(Some(file(path.clone(), Some("changeit"))), None, None)).unwrap();
        material.warnings.iter().any(|text| text.contains("chmod 600"))
    };
    assert!(warns(0o644) && !warns(0o600));
}
