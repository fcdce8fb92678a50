//! Files change: new connections take the new ones, running connections go on, bad files change nothing.

use std::path::PathBuf;
use std::sync::OnceLock;

use bytes::BytesMut;
use rustls::pki_types::ServerName;
use sealed_shuffle_config::{Origin, TlsFile};
use sealed_shuffle_protocol::cipher::{Layer, Segment};
use tempfile::TempDir;

use super::*;
use crate::tls::{TlsFacts, TlsLayer, dev};

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.renew();
        place
    }

    fn bundle(&self) -> PathBuf {
        self.0.path().join("bundle.zip")
    }

    /// A new authority and leaf, moved into place.
    fn renew(&self) {
        let files = dev::make(&["localhost".to_owned()], "changeit", "/").unwrap();
        let bundle = files.iter().find(|file| file.name == "bundle.zip").unwrap();
        self.put(&bundle.content);
    }

    fn put(&self, content: &[u8]) {
        let beside = self.0.path().join("beside");
        std::fs::write(&beside, content).unwrap();
        std::fs::rename(beside, self.bundle()).unwrap();
    }

    fn config(&self) -> TlsConfig {
        TlsConfig::new(TlsSource::Bundle(TlsFile {
            key: "spark.sealed.tls.bundle",
            path: self.bundle(),
            origin: Origin::Conf,
            password: None,
            password_key: "spark.sealed.tls.bundle",
        }))
    }
}

struct Pair {
    client: TlsLayer,
    server: TlsLayer,
    facts: Arc<OnceLock<TlsFacts>>,
}

impl Pair {
    /// Shakes hands.
    fn of(client: &LiveClientTls, server: &LiveServerTls) -> Self {
        let facts = Arc::default();
        let name = ServerName::try_from("localhost").unwrap();
        let mut pair = Self {
            client: TlsLayer::client(client.current(), name, Arc::clone(&facts)).unwrap(),
            server: TlsLayer::server(server.current(), Arc::default()).unwrap(),
            facts,
        };
        while !(pair.client.is_ready() && pair.server.is_ready()) {
            carry(&mut pair.client, &mut pair.server);
            carry(&mut pair.server, &mut pair.client);
        }
        pair
    }

    fn leaf(&self) -> CertificateSummary {
        CertificateSummary::of(&self.facts.get().unwrap().peer_certificates.as_ref().unwrap()[0]).unwrap()
    }

    fn still_works(&mut self) {
        let mut segment = Segment::with_capacity(1000);
        segment.reset(self.server.layout());
        segment.put(b"a block");
        self.server.seal(&mut segment).unwrap();
        let plain = self.client.open(&mut BytesMut::from(segment.sealed())).unwrap().unwrap();
        assert_eq!(&plain[..], b"a block");
    }
}

fn carry(from: &mut TlsLayer, to: &mut TlsLayer) {
    let mut input = BytesMut::new();
    while let Some(said) = from.pending_output() {
        input.extend_from_slice(&said);
        assert!(to.open(&mut input).unwrap().is_none());
    }
}

#[test]
fn renewed_files_serve_the_next_connection_and_running_ones_go_on() {
    let place = Place::new();
    let server = LiveServerTls::load(place.config()).unwrap();
    let client = LiveClientTls::load(place.config()).unwrap();
    let mut old = Pair::of(&client, &server);
    assert!(matches!(server.refresh_if_changed(), Refresh::Unchanged));

    place.renew();
    assert!(matches!(server.refresh_if_changed(), Refresh::Replaced));
    assert!(matches!(client.refresh_if_changed(), Refresh::Replaced));
    let new = Pair::of(&client, &server);
    assert_ne!(new.leaf().fingerprint, old.leaf().fingerprint);
    assert_eq!(server.own().unwrap().fingerprint, new.leaf().fingerprint);
    old.still_works();
}

#[test]
fn bad_files_change_nothing_and_are_told_once() {
    let place = Place::new();
    let server = LiveServerTls::load(place.config()).unwrap();
    let before = server.own().unwrap().fingerprint.clone();
    place.put(b"no zip");
    assert!(matches!(server.refresh_if_changed(), Refresh::Refused(_)));
    assert!(matches!(server.refresh_if_changed(), Refresh::Unchanged));
    place.put(b"no zip either");
    assert!(matches!(server.refresh_if_changed(), Refresh::StillRefused));
    assert!(server.reload().is_err());
    assert_eq!(server.own().unwrap().fingerprint, before);
    place.renew();
    assert!(matches!(server.refresh_if_changed(), Refresh::Replaced));
    assert_ne!(server.own().unwrap().fingerprint, before);
}

#[test]
fn a_swapped_link_is_a_change() {
    let (one, two) = (Place::new(), Place::new());
    let links = tempfile::tempdir().unwrap();
    let link = links.path().join("current");
    std::os::unix::fs::symlink(one.0.path(), &link).unwrap();
    let mut config = one.config();
    let TlsSource::Bundle(file) = &mut config.source else { panic!("a bundle was made") };
    file.path = link.join("bundle.zip");
    let server = LiveServerTls::load(config).unwrap();
    let beside = links.path().join("beside");
    std::os::unix::fs::symlink(two.0.path(), &beside).unwrap();
    std::fs::rename(beside, &link).unwrap();
    assert!(matches!(server.refresh_if_changed(), Refresh::Replaced));
}
