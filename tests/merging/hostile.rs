//! Peers that push what no application pushes: Spark's answer, nothing written, and a connection that goes on where
//! Spark's does.

use bytes::BytesMut;
use sealed_shuffle::{ByteCount, MergeConfig};
use sealed_shuffle_protocol::ids::{AppId, ExecutorId, RequestId};
use sealed_shuffle_protocol::message::Head;
use sealed_shuffle_protocol::shuffle::{
    BlockTransferMessage, ExecutorShuffleInfo, RegisterExecutor, Strings,
};

use crate::running::{CTR, GCM, Running, eventually};
use crate::support::{
    APP, Merging, block, chunk, finalize, finalize_message, merging, meta, open_chunks, push, pushed,
    remove_message, upload,
};

#[test]
fn another_application_is_refused_everything() {
    let merging = Merging::start(GCM);
    let mut other = merging.peer_of("app-2");
    let denied =
        format!("java.lang.SecurityException: Client for app-2 not authorized for application {APP}.");
    // The connection goes on behind all but a push.
    assert_eq!(other.rpc(&finalize_message(APP, 0, 0)).unwrap_err(), denied);
    assert_eq!(meta(&mut other, 0, 0, 0).unwrap_err(), denied);
    assert_eq!(open_chunks(&mut other, 0, 0, &[(0, &[0])]).unwrap_err(), denied);
    assert_eq!(other.rpc_bytes(&remove_message(0, -1)).unwrap_err(), denied);
    other.send(&Head::OneWayMessage, &remove_message(0, -1));
    assert_eq!(push(&mut other, block(0, 0, 0, 0), b"x"), denied);
    other.wait_closed();
    assert!(merging.server.merged.paths().is_empty());
    assert_eq!(merging.server.refusals("wrong_application"), 6);
    // And nothing was removed or finalized by it.
    assert_eq!(push(&mut merging.peer(), block(0, 0, 0, 0), b"x"), "ok");
    merging.server.assert_serves();
}

#[test]
fn merge_directory_of_another_application_is_neither_emptied_nor_taken() {
    const CLASS: &str = "org.apache.spark.shuffle.sort.SortShuffleManager";
    let merging = Merging::unregistered(GCM, merging);
    let register = |app: &str, executor_dir: &str, shuffle_manager: String| -> BlockTransferMessage {
        let dir = merging.server.root.join(executor_dir);
        let info = ExecutorShuffleInfo {
            local_dirs: Strings::try_from_iter([dir.to_str().unwrap()]).unwrap(),
            sub_dirs_per_local_dir: 64,
            shuffle_manager,
        };
        RegisterExecutor { app: AppId::new(app), executor: ExecutorId::new("1"), info }.into()
    };
    let attempt = |n: i32| format!(r#"{CLASS}:{{"mergeDir":"merge_manager_1","attemptId":"{n}"}}}}}}"#);
    let mut early = merging.peer_of("early");
    early.rpc(&register("early", "merging-1/blockmgr-early", CLASS.to_owned())).unwrap();
    let mut owner = merging.peer();
    owner.rpc(&merging.register(1)).unwrap();
    assert_eq!(push(&mut owner, block(0, 0, 0, 0), b"AAAA"), "ok");
    finalize(&mut owner, 0, 0).unwrap();
    let paths = merging.server.merged.paths();
    let taken = |dir: &str| {
        format!("java.lang.IllegalArgumentException: localDirs entry belongs to another application: {dir}")
    };
    // Whoever was there before names the path of the owner's merges, as attempts that follow each other.
    for n in [1, 2] {
        let claimed = early.rpc(&register("early", "merging-1/blockmgr-early", attempt(n)));
        assert_eq!(claimed.unwrap_err(), taken(&merging.merge_dir(1)));
    }
    // Or it registers the path, to have the blocks removed that lie there.
    let dir = merging.merge_dir(1);
    let mut late = merging.peer_of("late");
    let claimed = late.rpc(&register("late", "merging-1/merge_manager_1", CLASS.to_owned()));
    assert_eq!(claimed.unwrap_err(), taken(&dir));
    assert_eq!(merging.server.merged.paths(), paths);
    assert_eq!(chunk(&mut owner, 0, 0, 0, 0).unwrap(), &b"AAAA"[..]);
    assert_eq!(push(&mut owner, block(1, 0, 0, 0), b"BBBB"), "ok");
    // The control: a place of its own.
    late.rpc(&register("late", "merging-2/blockmgr-late", attempt(1))).unwrap();
    merging.server.assert_serves();
}

#[test]
fn an_application_that_is_not_registered_for_merging_is_unknown() {
    let merging = Merging::unregistered(GCM, merging);
    let mut peer = merging.peer();
    let unknown = format!(
        "java.lang.IllegalArgumentException: application {APP} is not registered or NM was restarted."
    );
    assert_eq!(finalize(&mut peer, 0, 0).unwrap_err(), unknown);
    assert_eq!(meta(&mut peer, 0, 0, 0).unwrap_err(), unknown);
    assert_eq!(chunk(&mut peer, 0, 0, 0, 0).unwrap_err(), unknown);
    assert_eq!(peer.rpc_bytes(&remove_message(0, -1)).unwrap_err(), unknown);
    assert_eq!(push(&mut peer, block(0, 0, 0, 0), b"x"), unknown);
    peer.wait_closed();
}

#[test]
fn negative_ids_write_nothing() {
    let merging = Merging::start(CTR);
    for bad in [block(-1, 0, 0, 0), block(0, -1, 0, 0), block(0, 0, -1, 0), block(0, 0, 0, i32::MIN)] {
        let mut peer = merging.peer();
        let text = push(&mut peer, bad, b"x");
        assert!(text.starts_with("java.lang.IllegalArgumentException: A pushed block with "), "{text}");
        peer.wait_closed();
    }
    let mut peer = merging.peer();
    assert_eq!(finalize(&mut peer, -5, -7).unwrap().reduces, []);
    assert!(meta(&mut peer, -1, -1, -1).is_err());
    assert!(chunk(&mut peer, i32::MIN, 0, -1, i32::MIN).is_err());
    peer.send(&Head::OneWayMessage, &remove_message(-1, i32::MIN));
    assert_eq!(push(&mut peer, block(0, 0, 0, 0), b"x"), "ok");
    assert_eq!(merging.server.merged.paths().len(), 3);
    merging.server.assert_serves();
}

#[test]
fn absurd_sizes_write_nothing() {
    let merging = Merging::start(GCM);
    for len in [1 << 31, u64::MAX >> 1] {
        let mut peer = merging.peer();
        peer.try_say(&upload(1, block(0, 0, 0, 0), len, b"some of it")).unwrap();
        let text = pushed(&mut peer);
        assert_eq!(
            text,
            format!("java.lang.IllegalArgumentException: A pushed block with {len} bytes is refused")
        );
        peer.wait_closed();
    }
    assert!(merging.server.merged.paths().is_empty());
    merging.server.assert_serves();
}

#[test]
fn lists_that_do_not_belong_together_open_nothing() {
    let merging = Merging::start(GCM);
    let mut peer = merging.peer();
    let message = sealed_shuffle_protocol::shuffle::FetchShuffleBlockChunks {
        app: AppId::new(APP),
        executor: ExecutorId::new("1"),
        shuffle: sealed_shuffle_protocol::ids::ShuffleId(0),
        merge: sealed_shuffle_protocol::ids::ShuffleMergeId(0),
        reduces: vec![],
        chunks: [[1, 2]].into_iter().collect(),
    };
    let text = peer.rpc(&message.into()).unwrap_err();
    assert!(text.starts_with("java.lang.IllegalArgumentException: lists of 0 and 1"), "{text}");
    assert_eq!(push(&mut peer, block(0, 0, 0, 0), b"x"), "ok");
}

#[test]
fn uploads_of_other_kinds_are_refused_and_close() {
    let merging = Merging::start(GCM);
    let mut peer = merging.peer();
    let meta = finalize_message(APP, 0, 0).encode().unwrap();
    let mut bytes = BytesMut::new();
    // Behind a push whose answer comes first.
    bytes.extend_from_slice(&upload(1, block(0, 0, 0, 0), 1, b"x"));
    Head::UploadStream { request: RequestId(2), meta }.encode(3, &mut bytes).unwrap();
    bytes.extend_from_slice(b"xyz");
    peer.try_say(&bytes).unwrap();
    assert_eq!(pushed(&mut peer), "ok");
    assert_eq!(
        pushed(&mut peer),
        "java.lang.UnsupportedOperationException: Unexpected message with #receiveStream: FinalizeShuffleMerge"
    );
    peer.wait_closed();
}

#[test]
fn stalled_pushes_hold_little_and_no_other_partition() {
    let merging = Merging::start(GCM);
    let mut stalled: Vec<_> = (0..20)
        .map(|map| {
            let mut peer = merging.peer();
            peer.try_say(&upload(1, block(0, 0, map, 0), 1 << 30, &[b'x'; 1000])).unwrap();
            peer
        })
        .collect();
    eventually("all but one wait", || merging.server.metric("sealed_shuffle_merge_deferred_blocks") == 19);
    assert!(merging.server.metric("sealed_shuffle_merge_deferred_bytes") <= 19 * 2000);
    let mut peer = merging.peer();
    assert_eq!(push(&mut peer, block(0, 0, 50, 1), b"other"), "ok");
    stalled.clear();
    eventually("nothing is held", || merging.server.metric("sealed_shuffle_merge_deferred_bytes") == 0);
    assert_eq!(push(&mut peer, block(0, 0, 51, 0), b"same"), "ok");
    merging.server.assert_serves();
}

#[test]
fn deferred_bytes_stay_within_their_budget() {
    /// A quarter of the memory.
    const BUDGET: u64 = 4 << 20;
    /// Three of them fit, but for what each still lacks.
    const LEN: u64 = BUDGET / 3;
    let bytes = vec![b'x'; LEN as usize];
    let merging = Merging::unregistered(GCM, |config| {
        config.merging = Some(MergeConfig::default());
        config.memory_budget = ByteCount::new(4 * BUDGET);
    });
    let mut writer = merging.peer();
    writer.rpc(&merging.register(1)).unwrap();
    writer.try_say(&upload(1, block(0, 0, 100, 0), 2, b"w")).unwrap();
    eventually("it is the writer", || merging.server.metric("sealed_shuffle_merge_written_bytes_total") == 1);
    let mut peers: Vec<_> = (0..6)
        .map(|map| {
            let mut peer = merging.peer();
            peer.try_say(&upload(1, block(0, 0, map, 0), LEN + 1, &bytes)).unwrap();
            peer
        })
        .collect();
    let taken = || {
        let bytes = merging.server.metric("sealed_shuffle_merge_deferred_bytes");
        assert!(bytes <= BUDGET, "{bytes}");
        bytes + merging.server.metric("sealed_shuffle_merge_ignored_bytes_total")
    };
    eventually("all of it came", || taken() >= 6 * LEN);
    writer.try_say(b"w").unwrap();
    assert_eq!(pushed(&mut writer), "ok");
    let answers: Vec<_> = peers
        .iter_mut()
        .enumerate()
        .map(|(map, peer)| {
            peer.try_say(b"y").unwrap();
            let answer = pushed(peer);
            assert!(answer == "ok" || answer == format!("2 shufflePush_0_0_{map}_0"), "{answer}");
            answer == "ok"
        })
        .collect();
    assert!(answers.contains(&true) && answers.contains(&false), "{answers:?}");
    // Who was turned away comes again, on the same connection.
    for (map, peer) in (0..).zip(&mut peers) {
        assert_eq!(push(peer, block(0, 0, map, 0), &vec![b'x'; LEN as usize + 1]), "ok");
    }
    assert_eq!(merging.server.metric("sealed_shuffle_merge_deferred_bytes"), 0);
}

#[test]
fn without_merging_every_request_is_refused_as_by_spark() {
    let server = Running::start();
    let no_merging = "java.lang.UnsupportedOperationException: Cannot handle shuffle block merge";
    let mut peer = server.registered(GCM);
    let ours = |mut message: BlockTransferMessage| {
        if let BlockTransferMessage::FinalizeShuffleMerge(message) = &mut message {
            message.app = AppId::new(crate::running::APP);
        }
        message
    };
    assert_eq!(peer.rpc(&ours(finalize_message(APP, 0, 0))).unwrap_err(), no_merging);
    let mut mine = block(0, 0, 0, 0);
    mine.app = AppId::new(crate::running::APP);
    assert_eq!(push(&mut peer, mine, b"x"), no_merging);
    peer.wait_closed();
    assert!(server.merged.paths().is_empty());
}
