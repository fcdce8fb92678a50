//! Whole conversations, in every mode, however their bytes are cut.

use bytes::Bytes;
use sealed_shuffle_protocol::cipher::SessionMode;
use sealed_shuffle_protocol::ids::{
    AppId, ChunkIndex, ReduceId, RequestId, ShuffleId, ShuffleMergeId, StreamId,
};

use crate::joined::{Cut, Pair, Told, modes, open_settings, seconds};
use crate::support::pattern;

const STREAM: StreamId = StreamId(11);

/// Everything a client can say, pipelined in one go.
fn ask_everything(pair: &mut Pair) {
    let client = &mut pair.client.engine;
    client.rpc(RequestId(1), b"hello").unwrap();
    client.rpc(RequestId(2), b"no").unwrap();
    client.chunk(STREAM, ChunkIndex(60)).unwrap();
    client.chunk(STREAM, ChunkIndex(0)).unwrap();
    client.chunk(STREAM, ChunkIndex(-1)).unwrap();
    client.stream("s".to_owned()).unwrap();
    client.stream("no".to_owned()).unwrap();
    client.one_way(b"nobody answers").unwrap();
    for (request, reduce) in [(4, 70), (5, -1)] {
        let app = AppId::new("app-1");
        client
            .merged_meta(RequestId(request), app, ShuffleId(1), ShuffleMergeId(0), ReduceId(reduce))
            .unwrap();
    }
    client.rpc(RequestId(-3), b"").unwrap();
}

fn everything_told() -> Vec<Told> {
    let no = || "java.lang.No".to_owned();
    vec![
        Told::Ready,
        Told::Rpc(RequestId(1), Ok(Bytes::from_static(b"hello"))),
        Told::Rpc(RequestId(2), Err(no())),
        Told::Chunk(ChunkIndex(60), pattern(60).into()),
        Told::Chunk(ChunkIndex(0), Bytes::new()),
        Told::ChunkFailed(ChunkIndex(-1), no()),
        Told::Stream("s".to_owned(), pattern(100).into()),
        Told::StreamFailed("no".to_owned(), no()),
        Told::MergedMeta(RequestId(4), 70, Bytes::from_static(b"bitmaps")),
        Told::Rpc(RequestId(5), Err(no())),
        Told::Rpc(RequestId(-3), Ok(Bytes::new())),
    ]
}

/// Runs it; `make` is asked for a fresh pair.
fn talk(mut pair: Pair, to_server: Cut, to_client: Cut) -> Pair {
    (pair.to_server, pair.to_client) = (to_server, to_client);
    pair.settle();
    ask_everything(&mut pair);
    assert_eq!(pair.client.engine.owed(), 10);
    pair.settle();
    assert!(pair.client_end.is_none() && pair.server_end.is_none(), "{to_server:?} {to_client:?}");
    assert_eq!(pair.told, everything_told(), "{to_server:?} {to_client:?}");
    assert_eq!(pair.client.engine.owed(), 0);
    pair
}

fn every_cut(fresh: impl Fn() -> Pair) {
    let whole = talk(fresh(), Cut::Nowhere, Cut::Nowhere);
    for cut in 1..whole.wire.0.len() {
        let pair = talk(fresh(), Cut::At(cut), Cut::Nowhere);
        assert_eq!(pair.asked, whole.asked, "cut at {cut}");
        assert_eq!(pair.wire.1.len(), whole.wire.1.len(), "cut at {cut}");
    }
    for cut in 1..whole.wire.1.len() {
        talk(fresh(), Cut::Nowhere, Cut::At(cut));
    }
    let bytewise = talk(fresh(), Cut::Everywhere, Cut::Everywhere);
    assert_eq!(bytewise.asked, whole.asked);
}

fn sealed_cuts(mode: SessionMode) {
    every_cut(|| Pair::sealed(mode));
}

#[test]
fn every_cut_in_clear() {
    every_cut(|| Pair::in_clear(open_settings()));
}

#[test]
fn every_cut_over_ctr_version_1() {
    sealed_cuts(modes()[0]);
}

#[test]
fn every_cut_over_ctr_version_2() {
    sealed_cuts(modes()[1]);
}

#[test]
fn every_cut_over_gcm_version_1() {
    sealed_cuts(modes()[2]);
}

#[test]
fn every_cut_over_gcm_version_2() {
    sealed_cuts(modes()[3]);
}

#[test]
fn nothing_said_after_the_handshake_is_readable() {
    for mode in modes() {
        let mut pair = Pair::sealed(mode);
        pair.settle();
        let handshake = (pair.wire.0.len(), pair.wire.1.len());
        pair.client.engine.rpc(RequestId(1), b"a canary in a request").unwrap();
        pair.settle();
        let sealed = [&pair.wire.0[handshake.0..], &pair.wire.1[handshake.1..]];
        for bytes in sealed {
            assert!(!bytes.is_empty());
            assert!(!bytes.windows(8).any(|window| window == b"a canary"), "{mode}");
        }
        assert_eq!(pair.told.len(), 2);
    }
}

#[test]
fn bodies_larger_than_a_cipher_segment_arrive_whole() {
    for mode in modes() {
        let mut pair = Pair::sealed(mode);
        pair.settle();
        for len in [32 << 10, 100_000, 300_001] {
            pair.client.engine.chunk(STREAM, ChunkIndex(len)).unwrap();
        }
        pair.settle();
        let lens: Vec<_> = pair
            .told
            .iter()
            .filter_map(|told| match told {
                Told::Chunk(_, body) => Some(body.len()),
                _ => None,
            })
            .collect();
        assert_eq!(lens, [32 << 10, 100_000, 300_001], "{mode}");
    }
}

#[test]
fn client_asks_nothing_before_the_handshake_has_ended() {
    let mut pair = Pair::sealed(modes()[0]);
    assert!(pair.client.engine.rpc(RequestId(1), b"in clear?").is_err());
    assert!(pair.client.engine.chunk(STREAM, ChunkIndex(0)).is_err());
    assert!(pair.client.engine.stream("s".to_owned()).is_err());
    pair.settle();
    assert!(!pair.wire.0.windows(8).any(|window| window == b"in clear"));
    assert_eq!(pair.told, [Told::Ready]);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let mut pair = Pair::in_clear(open_settings());
    for n in 0..1000 {
        pair.client.engine.rpc(RequestId(n), b"x").unwrap();
    }
    pair.advance(seconds(1));
    pair.settle();
    let order: Vec<_> = pair
        .told
        .iter()
        .filter_map(|told| match told {
            Told::Rpc(request, Ok(_)) => Some(request.0),
            _ => None,
        })
        .collect();
    assert_eq!(order, (0..1000).collect::<Vec<_>>());
}
