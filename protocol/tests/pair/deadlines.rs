//! Every wait has its deadline, to the nanosecond.

use std::time::{Duration, Instant};

use bytes::Bytes;
use sealed_shuffle_protocol::connection::{CloseReason, Engine};
use sealed_shuffle_protocol::ids::{ChunkIndex, RequestId, StreamId};
use sealed_shuffle_protocol::message::Head;

use crate::joined::{
    Pair, Server, client_settings, ended, message, modes, open_settings, seconds, server_settings,
};

const INSTANT: Duration = Duration::from_nanos(1);

/// Asserts that `engine` goes on until just before `at`, and ends then.
#[track_caller]
fn ends_at(engine: &mut impl Engine, at: Instant) -> CloseReason {
    assert_eq!(engine.poll_timeout(), Some(at));
    engine.handle_timeout(at - INSTANT).unwrap();
    engine.handle_timeout(at).unwrap_err()
}

/// A served anonymous peer, everything written.
fn served(now: Instant) -> Server {
    let mut server = Server::new(now, open_settings());
    hear(&mut server, now, &message(&Head::RpcRequest { request: RequestId(1) }, b"hello"));
    server
}

fn hear(server: &mut Server, now: Instant, bytes: &[u8]) {
    server.handle_bytes(now, Bytes::copy_from_slice(bytes));
    assert!(ended(server).is_none());
}

#[test]
fn handshake_ends_in_time_whatever_trickles_in() {
    let start = Instant::now();
    let mut server = Server::new(start, server_settings());
    let rpc = message(&Head::RpcRequest { request: RequestId(1) }, &[0xEA; 100]);
    for (second, byte) in rpc[..29].iter().enumerate() {
        hear(&mut server, start + seconds(second as u64 + 1), &[*byte]);
    }
    let end = ends_at(&mut server, start + seconds(30));
    assert!(matches!(end, CloseReason::HandshakeTimeout(limit) if limit == seconds(30)), "{end:?}");
}

/// A recorded challenge is as good as a fresh one, and its answer opens for the recorder no more than for anybody.
#[test]
fn a_challenge_alone_does_not_end_the_wait_for_the_handshake() {
    for mode in modes() {
        let mut pair = Pair::sealed(mode);
        let start = pair.now;
        pair.settle();
        assert!(pair.server.engine.identity().is_some(), "the challenge is accepted");
        let at = start + seconds(30);
        assert_eq!(pair.server.engine.poll_timeout(), Some(at));
        pair.server.engine.handle_timeout(at - INSTANT).unwrap();
        let end = pair.server.engine.handle_timeout(at).unwrap_err();
        assert!(matches!(end, CloseReason::HandshakeTimeout(_)), "{end:?}");

        let mut pair = Pair::sealed(mode);
        pair.settle();
        pair.client.engine.rpc(RequestId(1), b"hello").unwrap();
        pair.settle();
        let idle = pair.server.engine.poll_timeout().unwrap();
        assert!(idle >= pair.now + seconds(120), "the first request ends it");
    }
}

#[test]
fn one_way_messages_do_not_prolong_the_handshake() {
    let start = Instant::now();
    let mut server = Server::new(start, server_settings());
    for second in 1..30 {
        hear(&mut server, start + seconds(second), &message(&Head::OneWayMessage, b"noise"));
    }
    assert!(matches!(ends_at(&mut server, start + seconds(30)), CloseReason::HandshakeTimeout(_)));
}

#[test]
fn client_waits_for_the_handshake_no_longer_than_allowed() {
    let mut pair = Pair::sealed(modes()[0]);
    let start = pair.now;
    pair.client.engine.handle_bytes(start + seconds(9), Bytes::from_static(&[0]));
    assert!(matches!(
        ends_at(&mut pair.client.engine, start + seconds(10)),
        CloseReason::HandshakeTimeout(_)
    ));
}

#[test]
fn idle_peer_is_closed_after_the_last_byte_of_either_direction() {
    let start = Instant::now();
    let mut server = served(start);
    server.handle_output(start + seconds(5), 10, true);
    server.handle_output(start + seconds(7), 10, false);
    assert!(matches!(ends_at(&mut server, start + seconds(127)), CloseReason::Idle(_)));
}

#[test]
fn trickle_of_one_byte_is_activity() {
    let start = Instant::now();
    let mut server = served(start);
    let rpc = message(&Head::RpcRequest { request: RequestId(2) }, b"a long request");
    let mut now = start;
    for byte in &rpc[..rpc.len() - 1] {
        now += seconds(119);
        server.handle_timeout(now).unwrap();
        hear(&mut server, now, &[*byte]);
    }
    let end = ends_at(&mut server, now + seconds(120));
    assert!(matches!(end, CloseReason::StalledSender(limit) if limit == seconds(120)), "{end:?}");
}

#[test]
fn sender_that_stops_within_a_message_is_told_from_an_idle_one() {
    let rpc = message(&Head::RpcRequest { request: RequestId(2) }, b"body");
    for cut in 0..rpc.len() {
        let start = Instant::now();
        let mut server = served(start);
        hear(&mut server, start + seconds(1), &rpc[..cut]);
        let last = if cut == 0 { start } else { start + seconds(1) };
        let last = if cut == 0 { last + seconds(1) } else { last };
        let end = ends_at(&mut server, last + seconds(120));
        match cut {
            0 => assert!(matches!(end, CloseReason::Idle(_)), "{end:?}"),
            _ => assert!(matches!(end, CloseReason::StalledSender(_)), "cut at {cut}: {end:?}"),
        }
    }
}

#[test]
fn reader_that_takes_nothing_is_cut_whatever_it_sends() {
    let start = Instant::now();
    let mut server = served(start);
    server.handle_output(start + seconds(1), 0, true);
    for second in 2..60 {
        hear(&mut server, start + seconds(second), &message(&Head::OneWayMessage, b""));
        server.handle_output(start + seconds(second), 0, true);
    }
    let end = ends_at(&mut server, start + seconds(61));
    assert!(matches!(end, CloseReason::StalledReader(limit) if limit == seconds(60)), "{end:?}");
}

#[test]
fn reader_that_takes_a_byte_goes_on() {
    let start = Instant::now();
    let mut server = served(start);
    server.handle_output(start, 0, true);
    server.handle_output(start + seconds(59), 1, true);
    assert!(matches!(ends_at(&mut server, start + seconds(119)), CloseReason::StalledReader(_)));
}

#[test]
fn closing_connection_does_not_wait_for_a_stalled_reader_either() {
    let start = Instant::now();
    let mut server = served(start);
    server.close(CloseReason::ShuttingDown);
    server.handle_output(start, 0, true);
    assert!(matches!(ends_at(&mut server, start + seconds(60)), CloseReason::StalledReader(_)));
}

#[test]
fn client_ends_when_no_answer_comes_and_says_how_many_it_waits_for() {
    let mut pair = Pair::in_clear(open_settings());
    pair.settle();
    let start = pair.now;
    let client = &mut pair.client.engine;
    client.rpc(RequestId(1), b"x").unwrap();
    client.chunk(StreamId(1), ChunkIndex(0)).unwrap();
    let end = ends_at(client, start + client_settings().answer_timeout);
    assert!(matches!(end, CloseReason::NoAnswer(_, 2)), "{end:?}");
}

#[test]
fn every_byte_of_an_answer_is_progress() {
    let mut pair = Pair::in_clear(open_settings());
    pair.settle();
    let client = &mut pair.client.engine;
    client.chunk(StreamId(1), ChunkIndex(0)).unwrap();
    let answer = message(&Head::ChunkFetchSuccess { stream: StreamId(1), chunk: ChunkIndex(0) }, b"body");
    let mut now = pair.now;
    for at in 0..answer.len() {
        now += seconds(119);
        client.handle_timeout(now).unwrap();
        client.handle_bytes(now, answer.slice(at..=at));
        assert!(ended(client).is_none());
    }
    assert_eq!(client.owed(), 0);
    assert!(matches!(ends_at(client, now + client_settings().idle_timeout), CloseReason::Idle(_)));
}
