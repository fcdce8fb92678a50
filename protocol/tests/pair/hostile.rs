//! Any bytes, in any state: a typed end or patience, never a panic, never memory beyond the limits.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use sealed_shuffle_protocol::connection::{Engine, ServerSettings, Transmit};
use sealed_shuffle_protocol::ids::{ChunkIndex, RequestId, StreamId};
use sealed_shuffle_protocol::limits::Limits;
use sealed_shuffle_protocol::message::Head;

use crate::joined::{
    Client, Pair, Server, client_settings, modes, open_settings, secret, serve, server_settings,
};

/// Small enough that a breach shows.
const HANDSHAKE_FRAME: u64 = 1 << 10;
const REQUEST_FRAME: u64 = 4 << 10;

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.handshake_frame = HANDSHAKE_FRAME;
    limits.request_frame = REQUEST_FRAME;
    limits.response_frame = REQUEST_FRAME;
    limits
}

/// Garbage, and garbage that begins like a frame.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let length =
        prop_oneof![0..64i64, 0..10_000i64, Just(i64::MAX), Just(-1), Just(0x8000_0006), any::<i64>()];
    let frame = (length, 0..14u8, vec(any::<u8>(), 0..80))
        .prop_map(|(length, kind, rest)| [&length.to_be_bytes()[..], &[kind], &rest].concat());
    let right = (0..14u8, vec(any::<u8>(), 0..80))
        .prop_map(|(kind, rest)| [&(rest.len() as i64 + 9).to_be_bytes()[..], &[kind], &rest].concat());
    let challenge = vec(any::<u8>(), 0..80).prop_map(|rest| {
        let body = [&[0xEA][..], &rest].concat();
        crate::joined::message(&Head::RpcRequest { request: RequestId(1) }, &body).to_vec()
    });
    let piece = prop_oneof![vec(any::<u8>(), 0..40), frame, right.clone(), right, challenge];
    vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// Feeds a server in pieces until it ends; it must always know why.
fn batter_server(server: &mut Server, bytes: &[u8], piece: usize) {
    let now = Instant::now();
    let secret = secret("a shared secret");
    for piece in bytes.chunks(piece) {
        server.handle_bytes(now, Bytes::copy_from_slice(piece));
        loop {
            match server.poll_event() {
                Ok(Some(event)) => {
                    if let Err(end) = serve(server, event, &secret, &mut Vec::new()) {
                        assert!(!end.label().is_empty());
                        return;
                    }
                }
                Ok(None) => break,
                Err(end) => {
                    assert!(!end.label().is_empty() && !end.to_string().is_empty());
                    return;
                }
            }
        }
        while server.poll_transmit().is_some() {}
        if server.is_closing() {
            assert!(!server.take_close_reason().label().is_empty());
            return;
        }
    }
    assert!(!server.handle_eof().label().is_empty());
}

fn batter_client(client: &mut Client, bytes: &[u8], piece: usize) {
    let now = Instant::now();
    for piece in bytes.chunks(piece) {
        client.handle_bytes(now, Bytes::copy_from_slice(piece));
        loop {
            match client.poll_event() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(end) => {
                    assert!(!end.label().is_empty() && !end.to_string().is_empty());
                    return;
                }
            }
        }
    }
    assert!(!client.handle_eof().label().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_before_authentication(bytes in bytes(), piece in 1..200usize) {
        batter_server(&mut Server::new(Instant::now(), server_settings()), &bytes, piece);
        batter_server(&mut Server::new(Instant::now(), open_settings()), &bytes, piece);
    }

    #[test]
    fn any_bytes_to_a_client(bytes in bytes(), piece in 1..200usize) {
        let mut pair = Pair::sealed(modes()[0]);
        batter_client(&mut pair.client.engine, &bytes, piece);
        let mut client = Client::in_clear(Instant::now(), client_settings());
        client.handle_ready(Instant::now());
        for n in 0..3 {
            client.rpc(RequestId(n), b"x").unwrap();
            client.chunk(StreamId(n), ChunkIndex(0)).unwrap();
            client.stream(n.to_string()).unwrap();
        }
        batter_client(&mut client, &bytes, piece);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// What arrives sealed and verifies is no more trusted than what arrives in clear.
    #[test]
    fn any_bytes_after_authentication(bytes in bytes(), piece in 1..200usize) {
        let mut pair = Pair::sealed(modes()[0]);
        pair.settle();
        batter_server(&mut pair.server.engine, &bytes, piece);
    }
}

/// Feeds the front of a huge message piece by piece and says the most memory that was held for it.
fn held<E: Engine>(engine: &mut E, front: Bytes) -> u64 {
    let now = Instant::now();
    let filler = Bytes::from(vec![0x55; 64 << 10]);
    let info = allocation_counter::measure(|| {
        engine.handle_bytes(now, front);
        for _ in 0..64 {
            match engine.poll_event() {
                Ok(_) => engine.handle_bytes(now, filler.clone()),
                Err(_) => return,
            }
            while engine.poll_event().is_ok_and(|event| event.is_some()) {}
        }
    });
    info.bytes_max
}

/// The front of a message of every type that claims `len` bytes.
fn claims(len: i64) -> impl Iterator<Item = (u8, Bytes)> {
    (0..=12u8).map(move |kind| {
        let mut front = BytesMut::new();
        front.extend_from_slice(&len.to_be_bytes());
        front.extend_from_slice(&[kind]);
        (kind, front.freeze())
    })
}

#[test]
fn no_claim_costs_a_server_more_than_its_limits() {
    for len in [(REQUEST_FRAME + 100).cast_signed(), 10 << 20, 0x8000_0006] {
        for settings in [server_settings(), open_settings()] {
            for (kind, front) in claims(len) {
                let mut server =
                    Server::new(Instant::now(), ServerSettings { limits: limits(), ..settings.clone() });
                let held = held(&mut server, front);
                assert!(held <= 4 * REQUEST_FRAME, "type {kind} of {len} bytes: {held} bytes held");
            }
        }
    }
}

#[test]
fn heads_are_small_after_authentication_too() {
    // A name of a stream, or what describes an upload, is tens of bytes: no reason to collect megabytes of it.
    for kind in [6, 10, 11] {
        let mut server = Server::new(Instant::now(), ServerSettings { limits: limits(), ..open_settings() });
        let now = Instant::now();
        server.handle_bytes(now, crate::joined::message(&Head::OneWayMessage, b"hello"));
        assert!(server.poll_event().unwrap().is_some());
        let len = HANDSHAKE_FRAME.cast_signed() + 1;
        server.handle_bytes(now, [&len.to_be_bytes()[..], &[kind]].concat().into());
        assert!(server.poll_event().is_err(), "type {kind}");
    }
}

#[test]
fn no_claim_costs_a_client_more_than_its_limits() {
    for len in [(REQUEST_FRAME + 100).cast_signed(), 10 << 20, 0x8000_0006] {
        for (kind, front) in claims(len) {
            let settings =
                sealed_shuffle_protocol::connection::ClientSettings { limits: limits(), ..client_settings() };
            let mut client = Client::in_clear(Instant::now(), settings);
            client.handle_ready(Instant::now());
            client.rpc(RequestId(0x5555_5555_5555_5555), b"").unwrap();
            client.chunk(StreamId(0x5555_5555_5555_5555), ChunkIndex(0x5555_5555)).unwrap();
            while let Some(Transmit::Head(_)) = client.poll_transmit() {}
            let held = held(&mut client, front);
            assert!(held <= 4 * REQUEST_FRAME, "type {kind} of {len} bytes: {held} bytes held");
        }
    }
}

#[test]
fn texts_for_the_peer_are_bounded() {
    let mut server = Server::new(Instant::now(), open_settings());
    server.fail_rpc(RequestId(1), &"\u{e9}".repeat(1 << 20)).unwrap();
    let Some(Transmit::Head(head)) = server.poll_transmit() else { panic!("a failure") };
    assert!(head.len() < 20 << 10, "{} bytes", head.len());
}

#[test]
fn large_requests_ask_for_memory_before_they_arrive() {
    let now = Instant::now();
    let mut server = Server::new(now, open_settings());
    let mut front = BytesMut::new();
    Head::RpcRequest { request: RequestId(1) }.encode(50 << 20, &mut front).unwrap();
    server.handle_bytes(now, front.freeze());
    assert!(server.poll_event().unwrap().is_none());
    assert_eq!(server.memory_wanted(), 50 << 20);
}
