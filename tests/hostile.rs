//! Peers that mean harm, against a running server: an end with a reason, never a panic, and the others are
//! served on.

#![allow(clippy::unwrap_used)]

mod running;

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use sealed_shuffle_config::{ByteCount, Policy};
use sealed_shuffle_protocol::channel::SecurityLevel;
use sealed_shuffle_protocol::ids::{
    AppId, ChunkIndex, ExecutorId, ReduceId, RequestId, ShuffleId, ShuffleMergeId, StreamId,
};
use sealed_shuffle_protocol::message::Head;
use sealed_shuffle_protocol::shuffle::{
    BlockTransferMessage, OpenBlocks, PushBlockStream, RemoveBlocks, Strings,
};

use running::{
    APP, CTR, CTR_2, EXECUTOR, GCM, Peer, Running, eventually, fetch, message, register, truncate,
};

const SOON: Duration = Duration::from_millis(300);

/// One server for all cases of the properties.
fn shared() -> &'static Running {
    static SHARED: OnceLock<Running> = OnceLock::new();
    SHARED.get_or_init(Running::start)
}

/// Garbage, and what begins like something.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![0..100i64, Just(i64::MAX), Just(-1), Just(0x8000_0006), any::<i64>()];
    let frame = (length, 0..14u8, vec(any::<u8>(), 0..100))
        .prop_map(|(length, kind, rest)| [&length.to_be_bytes()[..], &[kind], &rest].concat());
    let right = (0..14u8, vec(any::<u8>(), 0..100))
        .prop_map(|(kind, rest)| [&(rest.len() as i64 + 9).to_be_bytes()[..], &[kind], &rest].concat());
    let rpc = (0..20u8, vec(any::<u8>(), 0..60)).prop_map(|(kind, rest)| {
        message(&Head::RpcRequest { request: RequestId(1) }, &[&[kind][..], &rest].concat()).to_vec()
    });
    vec(prop_oneof![vec(any::<u8>(), 0..100), frame, right, rpc], 0..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_before_authentication_end_with_a_reason(bytes in garbage()) {
        let mut peer = Peer::connect(shared().address);
        // The server may have closed before all was sent.
        drop(peer.send_raw(&bytes));
        peer.finish_writing();
        peer.wait_closed();
        running::assert_no_panics();
    }

    #[test]
    fn any_bytes_after_authentication_end_with_a_reason(
        bytes in garbage(), is_sealed in any::<bool>(), is_gcm in any::<bool>(),
    ) {
        let mut peer = shared().peer(if is_gcm { GCM } else { CTR });
        drop(if is_sealed { peer.try_say(&bytes) } else { peer.send_raw(&bytes) });
        peer.finish_writing();
        peer.wait_closed();
        running::assert_no_panics();
    }
}

#[test]
fn directory_of_another_application_is_neither_read_nor_emptied() {
    const THIEF: &str = "app-2";
    let running = Running::start();
    running.write_map(3, &[4, 70_000]);
    running.write_rdd("rdd_1_2", b"cached");
    let mut owner = running.registered(GCM);
    let mut thief = Peer::connect(running.address);
    thief.handshake(THIEF, &running.secret, GCM).unwrap();
    let register_in = |dir: &str| match register(&[dir]) {
        BlockTransferMessage::RegisterExecutor(mut message) => {
            message.app = AppId::new(THIEF);
            BlockTransferMessage::from(message)
        }
        other => panic!("{other:?}"),
    };
    let dir = running.dir.to_str().unwrap();
    for dir in [dir.to_owned(), format!("{dir}/../blockmgr-1/"), format!("{dir}/.."), format!("{dir}/0c")] {
        let refused = format!(
            "java.lang.IllegalArgumentException: localDirs entry belongs to another application: {dir}"
        );
        assert_eq!(thief.rpc(&register_in(&dir)).unwrap_err(), refused);
    }
    assert_eq!(running.refusals("local_dir"), 4);
    let unknown = format!("java.lang.RuntimeException: Executor is not registered (appId={THIEF}, execId=1)");
    let removal = RemoveBlocks {
        app: AppId::new(THIEF),
        executor: ExecutorId::new(EXECUTOR),
        blocks: Strings::try_from_iter(["rdd_1_2", "shuffle_0_3_0.data"]).unwrap(),
    };
    assert_eq!(thief.rpc(&removal.clone().into()).unwrap_err(), unknown);
    let lens = |owner: &mut Peer| {
        let stream = owner.open(3, &[0, 1]).unwrap().stream;
        [0, 1].map(|n| owner.chunk(stream, n).unwrap().len())
    };
    assert_eq!(lens(&mut owner), [4, 70_000]);
    // The control: beside it is room for everybody, and there the same request is answered.
    thief.rpc(&register_in(&format!("{dir}0"))).unwrap();
    thief.rpc(&removal.into()).unwrap();
    assert_eq!(lens(&mut owner), [4, 70_000]);
    running.assert_serves();
}

#[test]
fn every_end_is_counted_and_the_server_goes_on() {
    let running = Running::start();
    let attacks: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        &[0; 64],
        &[0xff; 64],
        &[0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 3, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xf0],
        &[0, 0, 0, 0, 0, 0, 0, 10, 5],
    ];
    for (n, attack) in attacks.iter().enumerate() {
        let mut peer = Peer::connect(running.address);
        drop(peer.send_raw(attack));
        peer.finish_writing();
        peer.wait_closed();
        eventually("the end is counted", || running.all_closes() == n as u64 + 1);
    }
    assert!(running.closes("bad_frame") >= 3, "{}", running.server.metrics_page().unwrap());
    assert_eq!(running.closes("refused"), 1, "TLS, where there is none");
    running.assert_serves();
}

#[test]
fn handshake_that_trickles_is_cut_in_time() {
    let running = Running::start_with(|config| config.timeouts.handshake = SOON);
    let began = Instant::now();
    let mut peers: Vec<_> = (0..8).map(|_| Peer::connect(running.address)).collect();
    for peer in &mut peers {
        let mut head = BytesMut::new();
        Head::RpcRequest { request: RequestId(1) }.encode(60_000, &mut head).unwrap();
        peer.send_raw(&head).unwrap();
    }
    eventually("all are cut", || {
        for peer in &mut peers {
            drop(peer.send_raw(&[0xEA]));
        }
        running.closes("handshake_timeout") == 8
    });
    assert!(began.elapsed() >= SOON);
    let mut silent = Peer::connect(running.address);
    silent.wait_closed();
    eventually("counted", || running.closes("handshake_timeout") == 9);
    running.assert_serves();
}

#[test]
fn flood_does_not_outrun_the_handshake_timeout() {
    let running = Running::start_with(|config| config.timeouts.handshake = SOON);
    let mut peer = Peer::connect(running.address);
    let flood: Vec<u8> = message(&Head::OneWayMessage, &[7; 100]).repeat(1000);
    let began = Instant::now();
    while peer.send_raw(&flood).is_ok() {
        assert!(began.elapsed() < running::PATIENCE, "the flood goes on and on");
    }
    eventually("counted", || running.closes("handshake_timeout") == 1);
    running.assert_serves();
}

#[test]
fn reader_that_stops_is_cut_and_its_memory_serves_others() {
    let running = Running::start_with(|config| {
        config.timeouts.stalled = Some(SOON);
        config.memory_budget = ByteCount::mib(1);
    });
    running.write_map(1, &[16 << 20]);
    let mut stalled: Vec<_> = (0..6).map(|_| running.registered(CTR)).collect();
    // All are open before the first asks: from then on each answer waits for a share of the memory.
    let streams: Vec<_> = stalled.iter_mut().map(|peer| peer.open(1, &[0]).unwrap().stream).collect();
    for (peer, stream) in stalled.iter_mut().zip(streams) {
        peer.send(&Head::ChunkFetchRequest { stream, chunk: ChunkIndex(0) }, &[]);
    }
    // Who holds a segment is cut for not reading; who waited for one as long, for that.
    eventually("all are cut", || running.closes("stalled_reader") + running.closes("starved") == 6);
    assert!(running.closes("stalled_reader") > 0);
    running.assert_serves();
    drop(stalled);
}

/// What one application may hold of a half of 4 MiB, rounded down.
const MOST_OF_2_MIB: u64 = (2 << 20) * 8 / 9;

#[test]
fn announced_requests_that_never_come_hold_nobody_up() {
    let running = Running::start_with(|config| config.memory_budget = ByteCount::mib(4));
    let mut liars: Vec<_> = (0..8).map(|_| running.peer(GCM)).collect();
    for peer in &mut liars {
        let mut head = BytesMut::new();
        Head::RpcRequest { request: RequestId(1) }.encode(60 << 20, &mut head).unwrap();
        peer.try_say(&head).unwrap();
    }
    eventually("the lies are believed", || {
        running.metric("sealed_shuffle_memory_in_use_bytes") >= MOST_OF_2_MIB
    });
    running.write_map(1, &[1 << 20]);
    let mut peer = running.registered(CTR);
    let stream = peer.open(1, &[0]).unwrap().stream;
    assert_eq!(peer.chunk(stream, 0).unwrap().len(), 1 << 20);
    drop((liars, peer));
    running.assert_serves();
}

#[test]
fn each_large_request_takes_a_share_of_its_own() {
    let running = Running::start_with(|config| config.memory_budget = ByteCount::mib(4));
    let mut peer = running.peer(GCM);
    let head = |request, len| {
        let mut head = BytesMut::new();
        Head::RpcRequest { request: RequestId(request) }.encode(len, &mut head).unwrap();
        head
    };
    let mut first = head(1, 80 << 10);
    first.extend_from_slice(&[0; (80 << 10) - 1]);
    peer.try_say(&first).unwrap();
    eventually("the first is charged for", || {
        running.metric("sealed_shuffle_memory_in_use_bytes") >= 80 << 10
    });
    // Its last byte and the head of a far larger one in one piece.
    let mut rest = BytesMut::zeroed(1);
    rest.extend_from_slice(&head(2, 60 << 20));
    peer.try_say(&rest).unwrap();
    eventually("the second is charged for", || {
        running.metric("sealed_shuffle_memory_in_use_bytes") >= MOST_OF_2_MIB
    });
    drop(peer);
    running.assert_serves();
}

#[test]
fn wrong_secret_and_unknown_application_read_the_same() {
    let running = Running::start();
    let text = Peer::connect(running.address).handshake(APP, "another", GCM).unwrap_err();
    assert!(text.contains("Authentication failed"), "{text}");
    let other = Peer::connect(running.address).handshake("app-2", "another", GCM).unwrap_err();
    assert_eq!(text, other);
    assert_eq!(running.refusals("authentication_failed"), 2);
    running.assert_serves();
}

/// One of each request, for stream `stream`.
fn every_request(stream: StreamId) -> Vec<Bytes> {
    let (request, chunk) = (RequestId(9), ChunkIndex(0));
    let rpc = |body: BlockTransferMessage| message(&Head::RpcRequest { request }, &body.encode().unwrap());
    let merged = Head::MergedBlockMetaRequest {
        request,
        app: AppId::new(APP),
        shuffle: ShuffleId(0),
        merge: ShuffleMergeId(0),
        reduce: ReduceId(0),
    };
    let blocks = Strings::try_from_iter(["shuffle_0_1_0"]).unwrap();
    let open = OpenBlocks { app: AppId::new(APP), executor: ExecutorId::new(EXECUTOR), blocks };
    vec![
        rpc(fetch(APP, 1, &[0])),
        rpc(open.into()),
        message(&Head::ChunkFetchRequest { stream, chunk }, b""),
        message(&Head::StreamRequest { stream: format!("{}_0", stream.0) }, b""),
        message(&Head::UploadStream { request, meta: Bytes::from_static(b"\x02") }, b"body"),
        message(&merged, b""),
        message(&Head::OneWayMessage, &fetch(APP, 1, &[0]).encode().unwrap()),
    ]
}

/// Sends every ordered pair of requests over a fresh peer; none may yield a block, and what is refused names
/// the key.
fn assert_refuses_all(running: &Running, peer: impl Fn() -> Peer, text: &str) {
    // A stream that is open elsewhere.
    let data = fs::read(running.write_map(1, &[5000])).unwrap();
    let mut owner = running.registered(GCM);
    let stream = owner.open(1, &[0]).unwrap().stream;
    for first in every_request(stream) {
        for second in every_request(stream) {
            let mut peer = peer();
            drop(peer.try_say(&first));
            drop(peer.try_say(&second));
            peer.finish_writing();
            while peer.next().is_some() {}
            let heard = String::from_utf8_lossy(&peer.heard).into_owned();
            assert!(!peer.heard.windows(16).any(|window| window == &data[100..116]), "a block came out");
            if first[8] != 9 {
                assert!(heard.contains(text), "{heard}");
            }
        }
    }
    assert_eq!(owner.chunk(stream, 0).unwrap(), data, "the owner is served");
}

#[test]
fn no_block_goes_over_ctr_where_gcm_is_the_minimum() {
    let running = Running::start_with(|config| config.policy = Policy::at_least(SecurityLevel::AesGcm));
    for mode in [CTR, CTR_2] {
        assert_refuses_all(&running, || running.peer(mode), "spark.sealed.security.minimum");
    }
    assert!(running.refusals("below_minimum") > 0);
    running.assert_serves();
}

#[test]
fn no_block_goes_in_clear_with_the_default_minimum() {
    let running = Running::start_with(|config| config.policy.anonymous = true);
    assert_refuses_all(&running, || Peer::connect(running.address), "spark.sealed.security.minimum");
    running.assert_serves();
}

#[test]
fn no_block_goes_before_authentication() {
    let running = Running::start();
    assert_refuses_all(&running, || Peer::connect(running.address), "java.lang.");
    assert!(running.refusals("unauthenticated") > 0);
    running.assert_serves();
}

#[test]
fn foreign_application_is_refused_and_the_connection_stays() {
    let running = Running::start();
    running.write_map(1, &[100]);
    let mut peer = running.registered(GCM);
    let text = peer.rpc(&fetch("app-2", 1, &[0])).unwrap_err();
    assert!(text.contains("not authorized"), "{text}");
    assert_eq!(running.refusals("wrong_application"), 1);
    assert!(peer.open(1, &[0]).is_ok());
}

#[test]
fn stream_of_another_connection_cannot_be_guessed() {
    let running = Running::start();
    running.write_map(1, &[100]);
    let mut owner = running.registered(GCM);
    let mut other = running.peer(GCM);
    let stream = owner.open(1, &[0]).unwrap().stream;
    let text = other.chunk(stream, 0).unwrap_err();
    assert!(text.contains("Unknown stream ID"), "{text}");
    other.send(&Head::StreamRequest { stream: format!("{}_0", stream.0) }, b"");
    let Some((Head::StreamFailure { .. }, _)) = other.next() else { panic!("no failure") };
    assert_eq!(running.refusals("foreign_stream"), 2);
    assert_eq!(owner.chunk(stream, 0).unwrap().len(), 100);
}

#[test]
fn directories_outside_the_roots_are_not_registered() {
    let running = Running::start();
    let outside = running.root.parent().unwrap().join("outside");
    fs::create_dir_all(&outside).unwrap();
    symlink(&outside, running.root.join("link")).unwrap();
    let root = running.root.to_str().unwrap();
    let mut peer = running.peer(GCM);
    for dir in [
        outside.to_str().unwrap(),
        &format!("{root}/../outside"),
        &format!("{root}/spark-1/../../outside"),
        &format!("{root}/link"),
        &format!("{root}/link/deeper"),
        "/",
        "/etc",
        "",
        "relative",
        "..",
        &format!("{root}\0/x"),
    ] {
        let registered = peer.rpc(&register(&[dir]));
        let Err(text) = registered else { panic!("{dir:?} was registered") };
        assert!(text.contains("java.lang."), "{dir:?}: {text:?}");
    }
    assert_eq!(running.metric("sealed_shuffle_executors"), 0);
    assert!(running.refusals("local_dir") > 0);
    running.assert_serves();
}

#[test]
fn absurd_numbers_are_refused_and_the_connection_stays() {
    let running = Running::start();
    running.write_map(1, &[10]);
    let mut peer = running.registered(CTR_2);
    // Every message type with a count of 2^31-1 or -1 behind two strings.
    for kind in 0..=20u8 {
        for count in [i32::MAX, -1, i32::MIN] {
            let mut body = vec![kind];
            body.extend_from_slice(&[0, 0, 0, 5]);
            body.extend_from_slice(APP.as_bytes());
            body.extend_from_slice(&[0, 0, 0, 1, b'1']);
            (0..4).for_each(|_| body.extend_from_slice(&count.to_be_bytes()));
            assert!(peer.rpc_bytes(&body).is_err(), "type {kind}, count {count}");
        }
    }
    assert!(peer.rpc_bytes(&[]).is_err());
    let stream = peer.open(1, &[0, i32::MAX, i32::MIN]).unwrap().stream;
    for index in [-1, i32::MIN, i32::MAX, 1] {
        assert!(peer.chunk(stream, index).unwrap_err().contains("out-of-order"));
    }
    assert_eq!(peer.chunk(stream, 0).unwrap().len(), 10);
    assert!(peer.chunk(stream, 1).is_err());
    for map in [i64::MIN, i64::MAX, -1] {
        let stream = peer.open(map, &[0]).unwrap().stream;
        assert!(peer.chunk(stream, 0).is_err());
    }
    for name in ["", "_", "x_y", "1_2_3", "9999999999999999999999_0", "\u{0}"] {
        peer.send(&Head::StreamRequest { stream: name.to_owned() }, b"");
        let Some((Head::StreamFailure { .. }, _)) = peer.next() else { panic!("{name:?}") };
    }
    running.assert_serves();
}

#[test]
fn more_streams_than_the_limit_are_refused() {
    let running = Running::start_with(|config| config.limits.streams = 3);
    running.write_map(1, &[10]);
    let mut peer = running.registered(GCM);
    let streams: Vec<_> = (0..3).map(|_| peer.open(1, &[0]).unwrap().stream).collect();
    assert!(peer.open(1, &[0]).unwrap_err().contains("spark.sealed.limits.streams"));
    peer.chunk(streams[0], 0).unwrap();
    peer.open(1, &[0]).unwrap();
}

#[test]
fn file_that_changed_before_its_chunk_fails_that_chunk_alone() {
    type Change = fn(&std::path::Path);
    let changes: [(&str, Change); 3] = [
        ("truncated", |path| truncate(path, 10)),
        ("deleted", |path| fs::remove_file(path).unwrap()),
        ("grown", |path| truncate(path, 1_000_000)),
    ];
    let running = Running::start();
    running.write_map(7, &[50]);
    let mut peer = running.registered(GCM);
    for (map, (name, change)) in changes.into_iter().enumerate() {
        let map = 100 + map as i64;
        let data = running.write_map(map, &[1000, 2000]);
        let stream = peer.open(map, &[0, 1]).unwrap().stream;
        change(&data);
        let text = peer.chunk(stream, 0).unwrap_err();
        assert!(text.contains("java."), "{name}: {text:?}");
        let stream = peer.open(7, &[0]).unwrap().stream;
        assert_eq!(peer.chunk(stream, 0).unwrap().len(), 50, "{name}: the connection is usable");
    }
    running.assert_serves();
}

#[test]
fn file_truncated_between_two_chunks_fails_the_second_alone() {
    let running = Running::start();
    let data = running.write_map(1, &[1000, 2000]);
    let mut peer = running.registered(GCM);
    let stream = peer.open(1, &[0, 1]).unwrap().stream;
    assert_eq!(peer.chunk(stream, 0).unwrap().len(), 1000);
    truncate(&data, 1500);
    let text = peer.chunk(stream, 1).unwrap_err();
    assert!(text.contains("java."), "{text:?}");
    running.write_map(7, &[50]);
    let stream = peer.open(7, &[0]).unwrap().stream;
    assert_eq!(peer.chunk(stream, 0).unwrap().len(), 50);
}

#[test]
fn file_replaced_is_read_anew() {
    let running = Running::start();
    running.write_map(1, &[1000]);
    let mut peer = running.registered(GCM);
    let stream = peer.open(1, &[0]).unwrap().stream;
    assert_eq!(peer.chunk(stream, 0).unwrap().len(), 1000);
    let stream = peer.open(1, &[0]).unwrap().stream;
    running.write_map(1, &[3000]);
    assert_eq!(peer.chunk(stream, 0).unwrap().len(), 3000);
}

#[test]
fn file_truncated_after_its_frame_began_ends_the_connection() {
    let running = Running::start();
    const LEN: u64 = 64 << 20;
    let data = running.write_map(1, &[LEN]);
    let mut peer = running.registered(CTR);
    let stream = peer.open(1, &[0]).unwrap().stream;
    peer.send(&Head::ChunkFetchRequest { stream, chunk: ChunkIndex(0) }, &[]);
    eventually("the frame has begun", || running.metric("sealed_shuffle_chunks_in_transfer") == 1);
    let mut first = [0];
    std::io::Read::read_exact(&mut peer.socket, &mut first).unwrap();
    truncate(&data, 10);
    peer.wait_closed();
    eventually("the reason is counted", || running.closes("body_failed") == 1);
    assert_eq!(running.metric("sealed_shuffle_chunks_in_transfer"), 0);
    running.assert_serves();
}

#[test]
fn upload_is_refused_readably_although_its_body_follows() {
    let running = Running::start();
    for mode in [CTR, GCM] {
        let mut peer = running.peer(mode);
        let meta = PushBlockStream {
            app: AppId::new(APP),
            app_attempt: -1,
            shuffle: ShuffleId(0),
            merge: ShuffleMergeId(0),
            map_index: 0,
            reduce: ReduceId(0),
            index: 0,
        };
        let meta = BlockTransferMessage::from(meta).encode().unwrap();
        let body = vec![0x5a; 50 << 20];
        let bytes = message(&Head::UploadStream { request: RequestId(5), meta }, &body);
        // A peer that listens only after it has said all.
        peer.try_say(&bytes).unwrap();
        let Some((Head::RpcFailure { request, error }, _)) = peer.next() else { panic!("no refusal") };
        assert_eq!(request, RequestId(5));
        assert!(error.contains("Cannot handle shuffle block merge"), "{error}");
        assert!(peer.next().is_none());
    }
    running.assert_serves();
}

#[test]
fn chunks_over_the_limit_end_the_connection_that_asks() {
    let running = Running::start_with(|config| config.max_chunks_being_transferred = 1);
    running.write_map(1, &[32 << 20]);
    let mut holder = running.registered(CTR);
    let stream = holder.open(1, &[0]).unwrap().stream;
    holder.send(&Head::ChunkFetchRequest { stream, chunk: ChunkIndex(0) }, &[]);
    eventually("one is in transfer", || running.metric("sealed_shuffle_chunks_in_transfer") == 1);
    let mut other = running.peer(CTR);
    let stream = other.open(1, &[0]).unwrap().stream;
    assert_eq!(other.chunk(stream, 0).unwrap_err(), "", "closed without a word, as Spark does");
    assert_eq!(running.refusals("limit"), 1);
    let Some((_, body)) = holder.next() else { panic!("the first is served") };
    assert_eq!(body.len(), 32 << 20);
    eventually("the transfer is over", || running.metric("sealed_shuffle_chunks_in_transfer") == 0);
    running.assert_serves();
}

#[test]
fn connections_beyond_the_places_wait_and_are_served_later() {
    let running = Running::start_with(|config| config.max_connections = 2);
    let first = running.peer(GCM);
    let _second = running.peer(GCM);
    let mut third = Peer::connect(running.address);
    assert_eq!(running.metric("sealed_shuffle_connections"), 2);
    drop(first);
    third.handshake(APP, &running.secret, GCM).unwrap();
}
