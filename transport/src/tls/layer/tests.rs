//! Two layers against each other, over buffers in memory.

use rcgen::{CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::RootCertStore;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;

use super::*;
use crate::tls::provider;
use crate::tls::trust::{Authorities, ClientTrust, ServerTrust};

/// An authority and what it signs.
struct Authority {
    params: CertificateParams,
    key: KeyPair,
    der: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        Self::named("an authority")
    }

    fn named(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().clone();
        Self { params, key, der }
    }

    fn sign(&self, leaf: CertificateParams) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let leaf = leaf.signed_by(&key, &issuer).unwrap();
        (vec![leaf.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
    }
}

fn leaf() -> CertificateParams {
    CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap()
}

fn all() -> Arc<rustls::crypto::CryptoProvider> {
    provider(crate::tls::suites().collect())
}

static V1_2: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS12];
static V1_3: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];

fn server_config(authority: &Authority, params: CertificateParams, asks: bool) -> Arc<ServerConfig> {
    let (chain, key) = authority.sign(params);
    let builder =
        ServerConfig::builder_with_provider(all()).with_protocol_versions(&[V1_3[0], V1_2[0]]).unwrap();
    let builder = if asks {
        let roots = Arc::new(roots(authority));
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, all()).build().unwrap();
        builder.with_client_cert_verifier(Arc::new(ClientTrust::new(verifier, Vec::new())))
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.send_tls13_tickets = 0;
    Arc::new(config)
}

fn roots(authority: &Authority) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der.clone()).unwrap();
    roots
}

fn client_config(
    trusts: &Authority,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let algorithms = all().signature_verification_algorithms;
    let judge = Authorities::new(roots(trusts), Vec::new(), algorithms, true);
    let trust = ServerTrust { judge, algorithms };
    let config = ClientConfig::builder_with_provider(all())
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(trust))
        .with_no_client_auth();
    Arc::new(config)
}

/// One end, and what has come to it.
struct End {
    layer: TlsLayer,
    inbound: BytesMut,
    facts: Arc<OnceLock<TlsFacts>>,
    plain: Vec<u8>,
}

impl End {
    fn server(config: Arc<ServerConfig>) -> Self {
        let facts = Arc::default();
        let layer = TlsLayer::server(config, Arc::clone(&facts)).unwrap();
        Self { layer, inbound: BytesMut::new(), facts, plain: Vec::new() }
    }

    fn client(config: Arc<ClientConfig>, name: &str) -> Self {
        let facts = Arc::default();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let layer = TlsLayer::client(config, name, Arc::clone(&facts)).unwrap();
        Self { layer, inbound: BytesMut::new(), facts, plain: Vec::new() }
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<(), CipherError> {
        self.inbound.extend_from_slice(bytes);
        while let Some(piece) = self.layer.open(&mut self.inbound)? {
            assert!(!piece.is_empty());
            self.plain.extend_from_slice(&piece);
        }
        Ok(())
    }

    fn seal(&mut self, content: &[u8]) -> Vec<u8> {
        let layout = self.layer.layout();
        let room = usize::try_from(layout.sealed_len(content.len() as u64)).unwrap();
        let mut segment = Segment::with_capacity(room);
        segment.reset(layout);
        assert_eq!(segment.put(content), content.len());
        self.layer.seal(&mut segment).unwrap();
        assert!(segment.sealed().len() <= room);
        segment.sealed().to_vec()
    }
}

/// Hands over what both have to say, `piece` bytes at a time, until nobody has anything.
fn settle(client: &mut End, server: &mut End, piece: usize) -> Result<(), (Role, CipherError)> {
    loop {
        let mut moved = false;
        while let Some(said) = client.layer.pending_output() {
            moved = true;
            for bytes in said.chunks(piece) {
                server.receive(bytes).map_err(|error| (Role::Server, error))?;
            }
        }
        while let Some(said) = server.layer.pending_output() {
            moved = true;
            for bytes in said.chunks(piece) {
                client.receive(bytes).map_err(|error| (Role::Client, error))?;
            }
        }
        // As the driver does after every write: a failure is told when its alert is out.
        client.receive(&[]).map_err(|error| (Role::Client, error))?;
        server.receive(&[]).map_err(|error| (Role::Server, error))?;
        if !moved {
            return Ok(());
        }
    }
}

fn pair(versions: &[&'static rustls::SupportedProtocolVersion]) -> (End, End) {
    let authority = Authority::new();
    let server = End::server(server_config(&authority, leaf(), false));
    (End::client(client_config(&authority, versions), "localhost"), server)
}

#[test]
fn both_versions_carry_content_both_ways_and_tell_what_they_are() {
    for (versions, version) in [(V1_2, TlsVersion::V1_2), (V1_3, TlsVersion::V1_3)] {
        let (mut client, mut server) = pair(versions);
        assert!(!client.layer.is_ready() && !server.layer.is_ready());
        settle(&mut client, &mut server, usize::MAX).unwrap();
        assert!(client.layer.is_ready() && server.layer.is_ready());
        let facts = client.facts.get().unwrap();
        assert_eq!(facts.version, version);
        assert!(facts.suite.starts_with("TLS_") && !facts.suite.contains("TLS13"), "{}", facts.suite);
        assert_eq!(facts.peer_certificates.as_ref().unwrap().len(), 1);
        assert_eq!(server.facts.get().unwrap().peer_certificates, None);

        let content: Vec<u8> = (0..100_000u32).map(|n| (n % 251) as u8).collect();
        server.receive(&client.seal(b"a request")).unwrap();
        client.receive(&server.seal(&content)).unwrap();
        assert_eq!(server.plain, b"a request");
        assert_eq!(client.plain, content);
    }
}

#[test]
fn arrives_the_same_however_it_is_split() {
    for versions in [V1_2, V1_3] {
        for piece in [1, 2, 5, 7, 64, 1000] {
            let (mut client, mut server) = pair(versions);
            settle(&mut client, &mut server, piece).unwrap();
            let sealed = server.seal(&[9; 40_000]);
            for bytes in sealed.chunks(piece.max(64)) {
                client.receive(bytes).unwrap();
                assert!(client.inbound.len() <= RECORD + OVERHEAD, "more than one record waits");
            }
            assert_eq!(client.plain, [9; 40_000]);
        }
    }
}

#[test]
fn one_call_opens_one_record_and_leaves_the_rest() {
    let (mut client, mut server) = pair(V1_3);
    settle(&mut client, &mut server, usize::MAX).unwrap();
    let mut input = BytesMut::from(&server.seal(b"inside")[..]);
    input.extend_from_slice(b"\xffwhat another layer will read");
    assert_eq!(&client.layer.open(&mut input).unwrap().unwrap()[..], b"inside");
    assert_eq!(&input[..], b"\xffwhat another layer will read");
}

#[test]
fn a_goodbye_is_said_once_and_understood() {
    let (mut client, mut server) = pair(V1_3);
    settle(&mut client, &mut server, usize::MAX).unwrap();
    server.layer.close();
    server.layer.close();
    let goodbye = server.layer.pending_output().unwrap();
    assert!(server.layer.pending_output().is_none());
    client.receive(&goodbye).unwrap();
    client.receive(b"whatever follows").unwrap();
    assert!(client.inbound.is_empty());
    server.receive(&client.seal(b"still on its way")).unwrap();
    assert_eq!(server.plain, b"still on its way");
}

#[test]
fn changed_bytes_are_refused_with_an_alert_first() {
    let (mut client, mut server) = pair(V1_3);
    settle(&mut client, &mut server, usize::MAX).unwrap();
    let mut sealed = server.seal(b"content");
    *sealed.last_mut().unwrap() ^= 1;
    client.receive(&sealed).unwrap();
    assert!(!client.layer.is_ready());
    let alert = client.layer.pending_output().expect("the peer is told");
    let told = server.receive(&alert).unwrap_err().to_string();
    assert!(told.contains("alert"), "{told}");
    let error = client.receive(&[]).unwrap_err().to_string();
    assert!(error.contains("does not verify"), "{error}");
    assert!(matches!(client.receive(&[]), Err(CipherError::Failed)));
}

#[test]
fn what_is_no_tls_is_refused() {
    let (_, mut server) = pair(V1_3);
    server.receive(&[0, 0, 0, 0, 0, 0, 0, 0x23, 3, 0, 0, 0]).unwrap();
    drop(server.layer.pending_output());
    let error = server.receive(&[]).unwrap_err().to_string();
    assert!(error.contains("does not speak TLS"), "{error}");
}

#[test]
fn a_handshake_message_in_pieces_does_not_stop_the_layer_and_does_not_grow_without_end() {
    let (_, mut server) = pair(V1_3);
    // The head of a ClientHello of 60 000 bytes, then a byte of it a record.
    let mut sent = 0;
    let mut first = vec![22, 3, 1, 0, 5, 1, 0, 0xea, 0x60, 3];
    let error = loop {
        if let Err(error) = server.receive(&first) {
            break error;
        }
        sent += first.len();
        assert!(server.inbound.len() <= LARGEST_HANDSHAKE + 6);
        assert!(sent < 2 * LARGEST_HANDSHAKE);
        drop(server.layer.pending_output());
        first = [22, 3, 1, 0, 1, 3].repeat(100);
    };
    assert!(matches!(error, CipherError::Tls(_)), "{error}");
}

/// Lets a client and a server fail, and says at which end and why.
fn failure(client: Arc<ClientConfig>, name: &str, server: Arc<ServerConfig>) -> (Role, String) {
    let (mut client, mut server) = (End::client(client, name), End::server(server));
    let (role, error) = settle(&mut client, &mut server, usize::MAX).unwrap_err();
    assert!(!(client.layer.is_ready() && server.layer.is_ready()));
    (role, error.to_string())
}

fn client_says(params: CertificateParams, name: &str) -> String {
    let authority = Authority::new();
    let mut server = End::server(server_config(&authority, params, false));
    let mut client = End::client(client_config(&authority, V1_3), name);
    let hello = client.layer.pending_output().unwrap();
    server.receive(&hello).unwrap();
    while let Some(said) = server.layer.pending_output() {
        client.receive(&said).unwrap();
    }
    assert!(!client.layer.is_ready(), "fails closed");
    client.layer.pending_output().expect("the server is told");
    client.receive(&[]).unwrap_err().to_string()
}

#[test]
fn an_expired_certificate_is_refused_with_its_date() {
    let mut params = leaf();
    params.not_after = date_time_ymd(2020, 2, 3);
    let error = client_says(params, "localhost");
    assert!(error.contains("expired on 2020-02-03"), "{error}");
}

#[test]
fn one_that_is_not_valid_yet_is_refused_with_its_date() {
    let mut params = leaf();
    params.not_before = date_time_ymd(2999, 1, 1);
    let error = client_says(params, "localhost");
    assert!(error.contains("not valid before 2999-01-01"), "{error}");
}

#[test]
fn one_for_another_host_is_refused_with_both_names() {
    let error = client_says(leaf(), "elsewhere.example");
    assert!(error.contains("elsewhere.example") && error.contains("localhost"), "{error}");
    let error = client_says(leaf(), "127.0.0.2");
    assert!(error.contains("127.0.0.2"), "{error}");
}

#[test]
fn one_with_only_a_common_name_is_explained() {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "localhost");
    let error = client_says(params, "localhost");
    assert!(error.contains("subjectAltName") && error.contains("keytool"), "{error}");
}

#[test]
fn one_of_an_unknown_authority_is_refused() {
    for (name, expected) in
        [("another", "no authority that is trusted here"), ("an authority", "wrong signature")]
    {
        let mut server = End::server(server_config(&Authority::named(name), leaf(), false));
        let mut client = End::client(client_config(&Authority::new(), V1_3), "localhost");
        let hello = client.layer.pending_output().unwrap();
        server.receive(&hello).unwrap();
        while let Some(said) = server.layer.pending_output() {
            client.receive(&said).unwrap();
        }
        let alert = client.layer.pending_output().unwrap();
        let error = client.receive(&[]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(server.receive(&alert).is_err());
        assert!(!server.layer.is_ready());
    }
}

#[test]
fn a_client_without_a_certificate_is_refused_where_one_is_needed() {
    let authority = Authority::new();
    let server = server_config(&authority, leaf(), true);
    for versions in [V1_2, V1_3] {
        let (role, error) = failure(client_config(&authority, versions), "localhost", Arc::clone(&server));
        match role {
            Role::Server => assert!(error.contains("shows no certificate"), "{error}"),
            Role::Client => {
                assert!(error.contains("we have none") || error.contains("misses our"), "{error}")
            }
        }
    }
}

#[test]
fn tickets_are_taken_in_their_stride() {
    let authority = Authority::new();
    let mut config = Arc::unwrap_or_clone(server_config(&authority, leaf(), false));
    config.send_tls13_tickets = 4;
    for piece in [usize::MAX, 1] {
        let mut server = End::server(Arc::new(config.clone()));
        let mut client = End::client(client_config(&authority, V1_3), "localhost");
        settle(&mut client, &mut server, piece).unwrap();
        assert!(client.layer.is_ready());
        server.receive(&client.seal(b"a request")).unwrap();
        client.receive(&server.seal(b"an answer")).unwrap();
        assert_eq!((&server.plain[..], &client.plain[..]), (&b"a request"[..], &b"an answer"[..]));
    }
}

#[test]
fn nothing_is_sealed_before_the_handshake_is_over() {
    let (mut client, _) = pair(V1_3);
    let mut segment = Segment::with_capacity(1000);
    segment.reset(client.layer.layout());
    segment.put(b"early");
    assert!(client.layer.seal(&mut segment).is_err());
    assert!(segment.sealed().is_empty());
}

#[test]
fn addresses_are_not_sent_as_names() {
    let authority = Authority::new();
    let mut client = End::client(client_config(&authority, V1_3), "127.0.0.1");
    let hello = client.layer.pending_output().unwrap();
    assert!(!hello.windows(9).any(|window| window == b"127.0.0.1"));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// A hostile peer: bytes changed, left out and put between; each end fails in order or goes on, and never panics.
    #[test]
    fn whatever_arrives_never_panics(
        cut in 0usize..400,
        noise in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40),
        kind in 18u8..26,
        shakes_hands in proptest::prelude::any::<bool>(),
        is_old in proptest::prelude::any::<bool>(),
    ) {
        let (mut client, mut server) = pair(if is_old { V1_2 } else { V1_3 });
        let mut said = if shakes_hands {
            settle(&mut client, &mut server, usize::MAX).unwrap();
            client.seal(&[7; 300])
        } else {
            client.layer.pending_output().unwrap().to_vec()
        };
        let cut = cut.min(said.len());
        let mut record = vec![kind, 3, 3, 0, noise.len() as u8];
        record.extend_from_slice(&noise);
        said.splice(cut..cut, record);
        for bytes in said.chunks(50) {
            if server.receive(bytes).is_err() {
                break;
            }
            if server.layer.is_ready() {
                server.seal(b"an answer meanwhile");
            }
            drop(server.layer.pending_output());
        }
        server.layer.close();
    }
}
