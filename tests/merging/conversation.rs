//! Whole conversations: the answers of Spark 4.3.0 in the scenarios that were run against it, to the byte where frames
//! are known.

use sealed_shuffle::{ByteCount, MergeConfig};
use sealed_shuffle_protocol::ids::{AppId, ExecutorId, ReduceId, RequestId, StreamId};
use sealed_shuffle_protocol::message::Head;
use sealed_shuffle_protocol::shuffle::{
    Bitmap, BlockTransferMessage, GetLocalDirsForExecutors, OpenBlocks, Strings,
};

use crate::running::{CTR, GCM, Peer, content, eventually, message};
use crate::support::{
    APP, Merging, block, chunk, finalize, merging, meta, open_chunks, push, pushed, remove_message,
    send_push, upload,
};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

/// What the peer heard since `before`.
fn heard(peer: &Peer, before: usize) -> &[u8] {
    &peer.heard[before..]
}

fn push_first_example(peer: &mut Peer) {
    for (map, data) in [(0, "AAAA"), (5, "BBBBBBBBBB"), (2, "CCCCCC"), (7, ""), (1, "DDD")] {
        assert_eq!(push(peer, block(0, 0, map, 0), data.as_bytes()), "ok");
    }
    assert_eq!(push(peer, block(0, 0, 0, 1), &[b'z'; 20]), "ok");
}

#[test]
fn pushed_blocks_are_merged_finalized_and_served_in_every_cipher() {
    for mode in [GCM, CTR] {
        let merging = Merging::start(mode);
        let mut peer = merging.peer();
        push_first_example(&mut peer);
        let statuses = finalize(&mut peer, 0, 0).unwrap();
        let mut told: Vec<_> = statuses.reduces.iter().zip(statuses.sizes).zip(statuses.bitmaps).collect();
        told.sort_by_key(|((reduce, _), _)| **reduce);
        assert_eq!(
            told,
            [
                ((&ReduceId(0), 23), [0, 1, 2, 5, 7].into_iter().collect::<Bitmap>()),
                ((&ReduceId(1), 20), [0].into_iter().collect()),
            ]
        );
        let (chunks, bitmaps) = meta(&mut peer, 0, 0, 0).unwrap();
        assert_eq!(chunks, 2);
        assert_eq!(
            bitmaps,
            hex("3a30000001000000000002001000000000000200 0500 3a300000010000000000010010000000 0100 0700")
        );
        let (stream, chunks) = open_chunks(&mut peer, 0, 0, &[(0, &[0, 1]), (1, &[0])]).unwrap();
        assert_eq!(chunks, 3);
        assert_eq!(peer.chunk(stream, 0).unwrap(), &b"AAAABBBBBBBBBBCCCCCC"[..]);
        assert_eq!(peer.chunk(stream, 1).unwrap(), &b"DDD"[..]);
        assert_eq!(peer.chunk(stream, 2).unwrap(), vec![b'z'; 20]);
        assert_eq!(
            peer.chunk(stream, 3).unwrap_err(),
            "java.lang.IllegalArgumentException: Unknown stream ID."
        );
        merging.server.assert_serves();
    }
}

#[test]
fn frames_are_those_of_spark() {
    let merging = Merging::start(GCM);
    let mut peer = merging.peer();
    // Spark's own bytes of a push of "hello".
    let before = peer.heard.len();
    let bytes = hex("0000000000000058 0a 000000000000006e 0000003b 0c 0000001e
        6170706c69636174696f6e5f313730303030303030303030305f30303031
        00000001 00000001 00000000 00000003 00000002 00000007 0000000000000005 68656c6c6f");
    peer.try_say(&bytes).unwrap();
    assert_eq!(pushed(&mut peer), "ok");
    assert_eq!(heard(&peer, before), hex("000000000000001b 04 000000000000006e 00000006 12 00 00000000"));

    push_first_example(&mut peer);
    finalize(&mut peer, 0, 0).unwrap();
    let before = peer.heard.len();
    peer.try_say(&upload(0x6f, block(0, 0, 8, 0), 1, b"x")).unwrap();
    assert_eq!(pushed(&mut peer), "1 shufflePush_0_0_8_0");
    assert_eq!(
        heard(&peer, before),
        hex(
            "000000000000002e 04 000000000000006f 00000019 12 01 00000013 73687566666c65507573685f305f305f385f30"
        )
    );
    let before = peer.heard.len();
    let request = hex("000000000000003f 0b 000000000000006d 0000001e
        6170706c69636174696f6e5f313730303030303030303030305f30303031 00000000 00000000 00000000");
    peer.try_say(&request).unwrap();
    peer.next().unwrap();
    assert_eq!(
        heard(&peer, before),
        hex("000000000000003f 0c 000000000000006d 00000002 3a30000001000000000002001000000000000200 0500
             3a300000010000000000010010000000 0100 0700")
    );
}

#[test]
fn a_large_block_is_merged_piece_by_piece() {
    let merging = Merging::unregistered(GCM, |config| {
        config.merging = Some(MergeConfig { min_chunk: ByteCount::mib(2), ..MergeConfig::default() });
        config.memory_budget = ByteCount::mib(2);
    });
    let mut peer = merging.peer();
    peer.rpc(&merging.register(1)).unwrap();
    let (one, two) = (content(5 << 20), content((3 << 20) + 17));
    for (map, body) in [(1, &one), (2, &two)] {
        peer.try_say(&upload(1, block(0, 0, map, 0), body.len() as u64, &[])).unwrap();
        for piece in body.chunks(200_000) {
            peer.try_say(piece).unwrap();
        }
        assert_eq!(pushed(&mut peer), "ok");
    }
    finalize(&mut peer, 0, 0).unwrap();
    assert_eq!(chunk(&mut peer, 0, 0, 0, 0).unwrap(), one);
    assert_eq!(chunk(&mut peer, 0, 0, 0, 1).unwrap(), two);
    assert_eq!(
        merging.server.metric("sealed_shuffle_merge_written_bytes_total"),
        (one.len() + two.len()) as u64
    );
    merging.server.assert_serves();
}

#[test]
fn many_pushes_in_a_row_are_answered_in_their_order() {
    let merging = Merging::start(CTR);
    let mut peer = merging.peer();
    let mut all = Vec::new();
    for map in 0..500 {
        let body = content(map % 97);
        let map = i32::try_from(map).unwrap();
        all.extend_from_slice(&upload(i64::from(map), block(0, 0, map, map % 5), body.len() as u64, &body));
    }
    // With a request behind them.
    let finalize = crate::support::finalize_message(APP, 0, 0).encode().unwrap();
    all.extend_from_slice(&message(&Head::RpcRequest { request: RequestId(1000) }, &finalize));
    let mut writer = peer.socket.try_clone().unwrap();
    // The answers are read meanwhile: a server stops reading where nobody takes them.
    let sealed = peer.sealed(&all);
    let writing = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &sealed).unwrap());
    for map in 0..500 {
        match peer.next() {
            Some((Head::RpcResponse { request }, body)) => {
                assert_eq!((request, &body[..]), (RequestId(map), &hex("12 00 00000000")[..]));
            }
            other => panic!("{other:?}"),
        }
    }
    let Some((Head::RpcResponse { request: RequestId(1000) }, body)) = peer.next() else {
        panic!("no statuses")
    };
    let BlockTransferMessage::MergeStatuses(statuses) = BlockTransferMessage::decode(body).unwrap() else {
        panic!()
    };
    assert_eq!(statuses.bitmaps.iter().map(Bitmap::len).sum::<u64>(), 500);
    writing.join().unwrap();
}

#[test]
fn blocks_meet_writers_of_other_connections() {
    let merging = Merging::start(GCM);
    let (mut a, mut b) = (merging.peer(), merging.peer());
    a.try_say(&upload(1, block(0, 0, 1, 0), 4, b"AA")).unwrap();
    eventually("half of A is written", || {
        merging.server.metric("sealed_shuffle_merge_written_bytes_total") == 2
    });
    assert_eq!(push(&mut b, block(0, 0, 2, 0), b"BBBB"), "2 shufflePush_0_0_2_0");
    a.try_say(b"aa").unwrap();
    assert_eq!(pushed(&mut a), "ok");
    assert_eq!(push(&mut b, block(0, 0, 2, 0), b"BBBB"), "ok");

    // And again, with the second one deferred until the first is done.
    a.try_say(&upload(1, block(1, 0, 1, 0), 4, b"AA")).unwrap();
    eventually("half of A is written", || {
        merging.server.metric("sealed_shuffle_merge_written_bytes_total") == 10
    });
    b.try_say(&upload(1, block(1, 0, 2, 0), 4, b"BB")).unwrap();
    eventually("half of B waits", || merging.server.metric("sealed_shuffle_merge_deferred_blocks") == 1);
    a.try_say(b"aa").unwrap();
    assert_eq!(pushed(&mut a), "ok");
    b.try_say(b"bb").unwrap();
    assert_eq!(pushed(&mut b), "ok");
    finalize(&mut a, 0, 0).unwrap();
    finalize(&mut a, 1, 0).unwrap();
    assert_eq!(chunk(&mut a, 0, 0, 0, 0).unwrap(), &b"AAaaBBBB"[..]);
    assert_eq!(chunk(&mut a, 1, 0, 0, 0).unwrap(), &b"AAaaBBbb"[..]);
    assert_eq!(merging.server.metric("sealed_shuffle_merge_deferred_bytes"), 0);
    assert_eq!(merging.server.metric("sealed_shuffle_merge_block_append_collisions_total"), 1);
}

#[test]
fn a_writer_that_disconnects_leaves_room_for_the_next() {
    let merging = Merging::start(GCM);
    let (mut lost, mut peer) = (merging.peer(), merging.peer());
    lost.try_say(&upload(1, block(0, 0, 1, 0), 100, b"partial")).unwrap();
    eventually("some of it is written", || {
        merging.server.metric("sealed_shuffle_merge_written_bytes_total") == 7
    });
    drop(lost);
    eventually("it was given up", || merging.server.metric("sealed_shuffle_merge_ignored_bytes_total") == 7);
    assert_eq!(push(&mut peer, block(0, 0, 2, 0), b"BB"), "ok");
    finalize(&mut peer, 0, 0).unwrap();
    assert_eq!(chunk(&mut peer, 0, 0, 0, 0).unwrap(), &b"BB"[..]);
}

#[test]
fn a_writer_that_finalization_overtakes_is_too_late() {
    let merging = Merging::start(GCM);
    let (mut late, mut peer) = (merging.peer(), merging.peer());
    late.try_say(&upload(1, block(0, 0, 1, 0), 4, b"AA")).unwrap();
    eventually("half of it is written", || {
        merging.server.metric("sealed_shuffle_merge_written_bytes_total") == 2
    });
    assert_eq!(finalize(&mut peer, 0, 0).unwrap().reduces, []);
    late.try_say(b"aa").unwrap();
    assert_eq!(pushed(&mut late), "1 shufflePush_0_0_1_0");
    // Its connection goes on.
    assert_eq!(push(&mut late, block(1, 0, 1, 0), b"x"), "ok");
}

#[test]
fn a_push_of_another_attempt_is_answered_at_once_and_closes() {
    let merging = Merging::start(GCM);
    let mut peer = merging.peer();
    let mut old = block(0, 0, 9, 0);
    old.app_attempt = 2;
    // Its bytes never come.
    peer.try_say(&upload(1, old, 1 << 20, &[])).unwrap();
    assert_eq!(pushed(&mut peer), "4 shufflePush_0_0_9_0");
    peer.wait_closed();

    let mut peer = merging.peer();
    assert_eq!(push(&mut peer, block(0, 0, 1, 0), b"x"), "ok");
    assert!(merging.server.merged.paths().iter().all(|path| path.starts_with(&merging.merge_dir(1))));
    peer.rpc(&merging.register(2)).unwrap();
    assert_eq!(push(&mut peer, block(0, 0, 1, 0), b"x"), "4 shufflePush_0_0_1_0");
    eventually("the older attempt's files are gone", || merging.server.merged.paths().is_empty());
}

#[test]
fn removal_is_executed_and_never_answered() {
    let merging = Merging::start(GCM);
    let mut peer = merging.peer();
    for (shuffle, is_one_way) in [(0, true), (1, false)] {
        assert_eq!(push(&mut peer, block(shuffle, 0, 1, 0), b"x"), "ok");
        finalize(&mut peer, shuffle, 0).unwrap();
        assert!(!merging.server.merged.paths().is_empty());
        let head = match is_one_way {
            true => Head::OneWayMessage,
            false => Head::RpcRequest { request: RequestId(5) },
        };
        peer.send(&head, &remove_message(shuffle, -1));
        // The next answer is that of the next request.
        assert_eq!(push(&mut peer, block(shuffle, 0, 2, 0), b"x"), format!("1 shufflePush_{shuffle}_0_2_0"));
        eventually("the files are gone", || merging.server.merged.paths().is_empty());
    }
    // A failure of the RPC does come back.
    peer.send(&Head::RpcRequest { request: RequestId(5) }, &remove_message(0, 4));
    peer.send(&Head::RpcRequest { request: RequestId(6) }, &remove_message(0, 3));
    match peer.next() {
        Some((Head::RpcFailure { request: RequestId(6), error }, _)) => {
            assert!(error.contains("Asked to remove old shuffle merged data"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn chunks_are_opened_by_name_and_streamed() {
    let merging = Merging::start(GCM);
    let mut peer = merging.peer();
    push_first_example(&mut peer);
    finalize(&mut peer, 0, 0).unwrap();
    let names = ["shuffleChunk_0_0_0_0", "shuffleChunk_0_0_0_1", "shuffleChunk_0_0_1_0"];
    let open = OpenBlocks {
        app: AppId::new(APP),
        executor: ExecutorId::new("shuffle-push-merger"),
        blocks: Strings::try_from_iter(names).unwrap(),
    };
    let handle = BlockTransferMessage::decode(peer.rpc(&open.into()).unwrap()).unwrap();
    let BlockTransferMessage::StreamHandle(handle) = handle else { panic!("{handle:?}") };
    assert_eq!(handle.num_chunks, 3);
    assert_eq!(peer.chunk(handle.stream, 0).unwrap().len(), 20);
    let StreamId(stream) = handle.stream;
    peer.send(&Head::StreamRequest { stream: format!("{stream}_1") }, &[]);
    let Some((Head::StreamResponse { .. }, body)) = peer.next() else { panic!("no stream") };
    assert_eq!(body, &b"DDD"[..]);
    assert_eq!(peer.chunk(handle.stream, 2).unwrap().len(), 20);
}

#[test]
fn what_is_not_there_fails_by_itself() {
    let merging = Merging::start(GCM);
    let mut peer = merging.peer();
    push_first_example(&mut peer);
    let (index, data) = (meta(&mut peer, 0, 0, 9).unwrap_err(), chunk(&mut peer, 0, 0, 9, 0).unwrap_err());
    assert!(index.starts_with("java.lang.RuntimeException: Merged shuffle index file "), "{index}");
    assert!(data.starts_with("java.lang.RuntimeException: Merged shuffle data file "), "{data}");
    assert_eq!(chunk(&mut peer, 0, 0, 0, 7).unwrap_err(), "java.lang.IndexOutOfBoundsException");
    assert_eq!(chunk(&mut peer, 0, 0, 0, 0).unwrap().len(), 20);
}

#[test]
fn executors_of_the_same_host_are_told_the_merge_directories() {
    let merging = Merging::start(GCM);
    let mut peer = merging.peer();
    let ask = |names: &[&str]| {
        let executors = Strings::try_from_iter(names).unwrap();
        BlockTransferMessage::from(GetLocalDirsForExecutors { app: AppId::new(APP), executors })
    };
    let answer =
        BlockTransferMessage::decode(peer.rpc(&ask(&["shuffle-push-merger", "1"])).unwrap()).unwrap();
    let BlockTransferMessage::LocalDirsForExecutors(answer) = answer else { panic!("{answer:?}") };
    let text = format!("{answer:?}");
    assert!(text.contains(&merging.merge_dir(1)) && text.contains("blockmgr-1"), "{text}");
    let twice = peer.rpc(&ask(&["shuffle-push-merger", "shuffle-push-merger"])).unwrap_err();
    assert_eq!(twice, "java.lang.IllegalArgumentException: duplicate element: shuffle-push-merger");
}

#[test]
fn a_registration_that_merging_refuses_stays_one_for_other_blocks() {
    let merging = Merging::unregistered(GCM, merging);
    let mut peer = merging.peer();
    let manager = r#"x:{"mergeDir":".."}"#;
    let text = peer.rpc(&merging.register_as(manager)).unwrap_err();
    assert_eq!(
        text,
        format!(
            "java.lang.IllegalArgumentException: Invalid merge directory name .. from the shuffleManagerMeta {manager} \
             in executor registration message"
        )
    );
    assert_eq!(merging.server.metric("sealed_shuffle_executors"), 1);
    assert!(push(&mut peer, block(0, 0, 0, 0), b"x").contains("is not registered or NM was restarted."));
    peer.wait_closed();
}

#[test]
fn a_forgotten_application_loses_what_it_merged() {
    let merging = Merging::start(GCM);
    let mut peer = merging.peer();
    push_first_example(&mut peer);
    merging.server.server.forget(&AppId::new(APP));
    send_push(&mut peer, block(0, 0, 9, 0), b"x");
    assert!(pushed(&mut peer).contains("is not registered or NM was restarted."));
    eventually("its files are gone", || merging.server.merged.paths().is_empty());
}

#[test]
fn a_server_that_stops_lets_pushes_finish() {
    let merging = Merging::start(GCM);
    let mut peer = merging.peer();
    peer.try_say(&upload(1, block(0, 0, 1, 0), 4, b"AA")).unwrap();
    eventually("half of it is written", || {
        merging.server.metric("sealed_shuffle_merge_written_bytes_total") == 2
    });
    merging.server.stop.cancel();
    eventually("the server drains", || merging.server.server.is_draining());
    peer.try_say(b"aa").unwrap();
    assert_eq!(pushed(&mut peer), "ok");
    peer.wait_closed();
    assert_eq!(merging.server.drained().cut, 0);
}
