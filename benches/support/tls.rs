//! Two ends of a TLS 1.3 connection that have shaken hands in memory.

use std::sync::Arc;

use bytes::BytesMut;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedCipherSuite};
use sealed_shuffle_protocol::cipher::Layer;
use sealed_shuffle_transport::tls::TlsLayer;

/// Server and client after their handshake, in TLS 1.3.
pub(crate) fn ends(suite: SupportedCipherSuite) -> (TlsLayer, TlsLayer) {
    let leaf = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a name");
    let (certificate, key) =
        (leaf.cert.der().clone(), PrivatePkcs8KeyDer::from(leaf.signing_key.serialize_der()));
    let provider = CryptoProvider { cipher_suites: vec![suite], ..aws_lc_rs::default_provider() };
    let provider = Arc::new(provider);
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("it was just made");
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])
        .expect("the suite is of TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key.into())
        .expect("key and certificate fit");
    server.send_tls13_tickets = 0;
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .expect("the suite is of TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let host = ServerName::try_from("localhost").expect("a name");
    let mut server =
        TlsLayer::server(Arc::new(server), Arc::default()).expect("the configuration is complete");
    let mut client =
        TlsLayer::client(Arc::new(client), host, Arc::default()).expect("the configuration is complete");
    while carry(&mut client, &mut server) | carry(&mut server, &mut client) {}
    (server, client)
}

/// Whether `from` had something to say to `to`.
fn carry(from: &mut TlsLayer, to: &mut TlsLayer) -> bool {
    let mut said = BytesMut::new();
    while let Some(piece) = from.pending_output() {
        said.extend_from_slice(&piece);
    }
    let moved = !said.is_empty();
    assert!(to.open(&mut said).expect("the handshake succeeds").is_none(), "nothing was sealed yet");
    moved
}
