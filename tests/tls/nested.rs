//! The strange row of Spark's: the session cipher lies outside TLS's records, over buffers in memory and in every size
//! of pieces.

use std::sync::Arc;

use bytes::BytesMut;
use rustls::pki_types::ServerName;
use sealed_shuffle_config::TlsVersions;
use sealed_shuffle_protocol::auth::{AesSession, EngineVersion, FirstBytes, SessionKeys};
use sealed_shuffle_protocol::cipher::{Segment, SessionCipher, SessionMode};
use sealed_shuffle_protocol::secret::Secret;
use sealed_shuffle_transport::random::OsRandom;
use sealed_shuffle_transport::seal::Stack;
use sealed_shuffle_transport::tls::TlsLayer;

use crate::authority::{Authority, Bundle};
use crate::running::content;

struct End {
    stack: Stack,
    inbound: BytesMut,
    plain: Vec<u8>,
}

impl End {
    fn new(layer: TlsLayer) -> Self {
        let mut stack = Stack::default();
        stack.push(Box::new(layer));
        Self { stack, inbound: BytesMut::new(), plain: Vec::new() }
    }

    fn seal(&mut self, content: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in content.chunks(100_000) {
            let mut segment = Segment::with_capacity(256 << 10);
            segment.reset(self.stack.layout());
            assert_eq!(segment.put(piece), piece.len());
            self.stack.seal(&mut segment).unwrap();
            out.extend_from_slice(segment.sealed());
        }
        out
    }

    fn receive(&mut self, bytes: &[u8], piece: usize) {
        for piece in bytes.chunks(piece) {
            self.inbound.extend_from_slice(piece);
            while let Some(plain) = self.stack.open(&mut self.inbound).unwrap() {
                self.plain.extend_from_slice(&plain);
            }
        }
    }

    fn said(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while let Some(bytes) = self.stack.pending_output().unwrap() {
            out.extend_from_slice(&bytes);
        }
        out
    }
}

fn keys() -> SessionKeys {
    SessionKeys::from_parts(
        Secret::new([1; 32]),
        Secret::new([2; 16]),
        Secret::new([3; 16]),
        Secret::new([4; 16]),
    )
}

/// Two ends that have shaken hands within TLS and have AES around it since.
fn pair(versions: TlsVersions, mode: SessionMode) -> (End, End) {
    let authority = Authority::new("an authority");
    let own = Bundle::new(Some(&authority.issue()), &[]).server();
    let trust = Bundle::new(None, &[&authority]).client(versions);
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = End::new(TlsLayer::client(trust.current(), name, Arc::default()).unwrap());
    let mut server = End::new(TlsLayer::server(own.current(), Arc::default()).unwrap());
    while !(client.stack.is_ready() && server.stack.is_ready()) {
        let said = client.said();
        server.receive(&said, 1000);
        let said = server.said();
        client.receive(&said, 1000);
    }
    let inside = client.seal(b"the handshake");
    server.receive(&inside, 7);
    assert_eq!(server.plain, b"the handshake");
    server.plain.clear();
    client.stack.push(Box::new(AesSession::client(keys(), mode, Box::new(OsRandom))));
    server.stack.push(Box::new(AesSession::server(keys(), FirstBytes::TlsRecord, Box::new(OsRandom))));
    assert!(!server.stack.is_ready(), "the mode is not known yet");
    (client, server)
}

#[test]
fn content_passes_both_layers_and_goodbyes_do_too() {
    for versions in [TlsVersions::V1_2, TlsVersions::V1_3] {
        for version in [EngineVersion::V1, EngineVersion::V2] {
            for cipher in [SessionCipher::Ctr, SessionCipher::Gcm] {
                let mode = SessionMode { version, cipher };
                let (mut client, mut server) = pair(versions, mode);
                let request = client.seal(b"a request");
                assert_ne!(request[..3], [23, 3, 3], "no record is seen from outside");
                server.receive(&request, 1);
                assert_eq!(server.plain, b"a request");
                assert_eq!(server.stack.mode(), Some(mode));

                let block = content(300_000);
                let sealed = server.seal(&block);
                client.receive(&sealed, 999);
                assert!(client.plain == block, "{mode:?}");

                server.stack.close();
                let goodbye = server.said();
                assert_ne!(goodbye[..3], [23, 3, 3]);
                assert!(!goodbye.is_empty());
                client.receive(&goodbye, 3);
                assert!(client.inbound.is_empty());
            }
        }
    }
}
