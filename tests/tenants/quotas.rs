//! What one application may have, where an operator says so: the one that reaches it waits or is served otherwise, and
//! another one notices nothing.

use std::thread;

use sealed_shuffle::{ByteCount, MergeConfig};
use sealed_shuffle_protocol::ids::{AppId, ChunkIndex, ReduceId, RequestId, ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::message::Head;
use sealed_shuffle_protocol::shuffle::{
    BlockTransferMessage, PushBlockStream, RemoveShuffleMerge, ReturnCode,
};

use crate::honest::Honest;
use crate::running::{APP, CTR, GCM, Peer, Running, content, eventually, register};
use crate::{registered_to_merge, used};

fn of(running: &Running, metric: &str, share: &str) -> u64 {
    running.metric(&format!("sealed_shuffle_quota_{metric}{{share=\"{share}\"}}"))
}

#[test]
fn without_quotas_there_are_none() {
    let running = Running::start();
    Honest::of(&running).assert_served();
    assert!(!running.server.metrics_page().unwrap().contains("quota_limit{"));
}

/// A peer that proves itself and asks for the directories of an executor; whether it was answered.
fn asks(running: &Running) -> (Peer, bool) {
    let mut peer = running.peer(GCM);
    let answered = peer.rpc(&register(&[running.dir.to_str().unwrap()])).is_ok();
    (peer, answered)
}

#[test]
fn connection_beyond_the_quota_takes_the_place_of_an_idle_one() {
    let running = Running::start_with(|config| config.quota.connections = Some(2));
    let honest = Honest::of(&running);
    honest.assert_served();
    assert_eq!(of(&running, "limit", "connections"), 2);
    let mut kept: Vec<_> = (0..2).map(|_| running.registered(GCM)).collect();
    assert_eq!(of(&running, "reached_total", "connections"), 0);
    let (third, answered) = asks(&running);
    assert!(answered, "it waited for an idle one to go");
    assert!(of(&running, "reached_total", "connections") > 0);
    eventually("the idle one is gone", || running.closes("idle") == 1);
    eventually("two are left", || used(&running, "connections") == 2);
    assert_eq!(running.closes("share_used_up"), 0);
    honest.assert_served();
    // The one that was idle the longest went, and it was told nothing but an end.
    kept.remove(0).wait_closed();
    drop((kept, third));
}

#[test]
fn connection_beyond_the_quota_ends_where_none_is_idle_and_no_other_applications_does() {
    let running = Running::start_with(|config| {
        config.quota.connections = Some(2);
        config.merging = Some(MergeConfig::default());
    });
    let honest = Honest::of(&running);
    running.write_map(1, &[1000, 1000]);
    let mut busy: Vec<_> = (0..2).map(|_| running.registered(GCM)).collect();
    let streams: Vec<_> = busy.iter_mut().map(|peer| peer.open(1, &[0, 1]).unwrap().stream).collect();
    thread::scope(|scope| {
        // Spark tries again where a connection ends.
        let refused = scope.spawn(|| {
            let (mut peer, answered) = asks(&running);
            peer.wait_closed();
            answered
        });
        // But for this one, which it falls back from where it is answered, and takes twice where it is not.
        let answered = scope.spawn(|| {
            let mut peer = running.peer(GCM);
            let asked = Head::MergedBlockMetaRequest {
                request: RequestId(9),
                app: AppId::new(APP),
                shuffle: ShuffleId(0),
                merge: ShuffleMergeId(0),
                reduce: ReduceId(0),
            };
            peer.send(&asked, &[]);
            let answer = peer.next();
            peer.wait_closed();
            answer
        });
        eventually("both wait", || {
            running.metric("sealed_shuffle_share_waiters{share=\"connections\"}") == 2
        });
        honest.assert_served();
        assert_eq!(of(&running, "applications", "connections"), 1);
        assert!(!refused.join().unwrap());
        assert!(matches!(answered.join().unwrap(), Some((Head::RpcFailure { .. }, _))));
    });
    eventually("both have ended", || running.closes("share_used_up") == 2);
    // What was busy was not touched.
    for (peer, stream) in busy.iter_mut().zip(streams) {
        assert_eq!(peer.chunk(stream, 0).unwrap().len(), 1000);
        assert_eq!(peer.chunk(stream, 1).unwrap().len(), 1000);
    }
}

#[test]
fn answers_beyond_the_quota_of_memory_wait_for_each_other_and_all_come() {
    const READERS: usize = 6;
    // More than the buffers of a socket take.
    const BLOCK: u64 = 24 << 20;
    // Segments, with the reserve of small answers.
    const MOST: u64 = (512 + 256) << 10;
    const LARGE: usize = 300 << 10;
    for quota in [None, Some(ByteCount::mib(1))] {
        let running = Running::start_with(|config| config.quota.memory = quota);
        let honest = Honest::of(&running);
        let alone = honest.large_request(LARGE);
        running.write_map(1, &[BLOCK]);
        let mut readers: Vec<_> = (0..READERS).map(|_| running.registered(CTR)).collect();
        for reader in &mut readers {
            let stream = reader.open(1, &[0]).unwrap().stream;
            reader.send(&Head::ChunkFetchRequest { stream, chunk: ChunkIndex(0) }, &[]);
        }
        match quota {
            None => {
                eventually("the control: they have more", || used(&running, "segments") > MOST);
            }
            Some(_) => {
                eventually("they are at it", || of(&running, "reached_total", "segments") > 0);
                // Nobody reads, so what they have stays; answers to their handshakes may be on their way still.
                eventually("they have no more than that", || used(&running, "segments") <= MOST);
                honest.assert_served_with_a_large_request(LARGE, alone);
                assert_eq!(of(&running, "limit", "segments"), 512 << 10);
            }
        }
        honest.assert_served();
        let expected = content(BLOCK);
        thread::scope(|scope| {
            for mut reader in readers {
                let expected = &expected;
                scope.spawn(move || {
                    let Some((Head::ChunkFetchSuccess { .. }, body)) = reader.next() else {
                        panic!("no chunk")
                    };
                    assert!(body == expected[..]);
                });
            }
        });
        assert_eq!((running.closes("starved"), running.closes("evicted")), (0, 0));
        running.assert_serves();
    }
}

/// The answer to a pushed block of so many bytes.
fn push(peer: &mut Peer, shuffle: i32, map_index: i32, bytes: u64) -> ReturnCode {
    let push = PushBlockStream {
        app: AppId::new(APP),
        app_attempt: 1,
        shuffle: ShuffleId(shuffle),
        merge: ShuffleMergeId(0),
        map_index,
        reduce: ReduceId(0),
        index: 0,
    };
    let meta = BlockTransferMessage::from(push).encode().unwrap();
    peer.send(&Head::UploadStream { request: RequestId(7), meta }, &content(bytes));
    let Some((Head::RpcResponse { .. }, answer)) = peer.next() else { panic!("the push failed") };
    let BlockTransferMessage::BlockPushReturnCode(code) = BlockTransferMessage::decode(answer).unwrap()
    else {
        panic!("no code");
    };
    code.code
}

#[test]
fn blocks_beyond_the_quota_of_merged_bytes_are_left_unmerged_until_there_is_room() {
    let running = Running::start_with(|config| {
        config.quota.merged_bytes = Some(ByteCount::new(10_500));
        config.merging = Some(MergeConfig::default());
    });
    let honest = Honest::of(&running);
    let mut peer = registered_to_merge(&running);
    let codes: Vec<_> = (0..12).map(|map| push(&mut peer, 0, map, 1000)).collect();
    assert_eq!(codes[..10], [ReturnCode::Success; 10]);
    // The code with which a pusher of Spark goes on with its other blocks.
    assert_eq!(codes[10..], [ReturnCode::BlockAppendCollisionDetected; 2]);
    assert_eq!(used(&running, "merged_bytes"), 10_000);
    assert_eq!(of(&running, "reached_total", "merged_bytes"), 2);
    assert_eq!(push(&mut peer, 0, 20, 500), ReturnCode::Success, "there is room for a small one");
    assert_eq!(push(&mut peer, 0, 0, 0), ReturnCode::Success, "a block that is there already costs nothing");
    honest.assert_merges(0);

    let removal = RemoveShuffleMerge {
        app: AppId::new(APP),
        app_attempt: 1,
        shuffle: ShuffleId(0),
        merge: ShuffleMergeId(0),
    };
    // Spark's client does not wait for an answer, which never comes.
    let removal = BlockTransferMessage::from(removal).encode().unwrap();
    peer.send(&Head::RpcRequest { request: RequestId(8) }, &removal);
    eventually("the bytes are gone", || used(&running, "merged_bytes") <= 1000);
    assert_eq!(push(&mut peer, 1, 0, 10_000), ReturnCode::Success);
}
