//! What an observer of the wire sees: after the handshake nothing in clear, neither block content nor a known header.

use sealed_shuffle_interop_tests::{
    against_both,
    fixture::{APP, Fixture},
    modes::Cipher,
    oracle::{CANARY, Digest, content},
    spark::{Connection, Store},
    wire::{Proxy, contains},
};
use serde_json::json;

against_both!(shows_no_content_and_no_header, shows_no_names_in_failures);

/// Plaintext that a request or an answer would hold: names, and heads of frames up to the request id.
fn known_plaintext(root: &str) -> Vec<Vec<u8>> {
    let mut known: Vec<Vec<u8>> = [CANARY, "shuffle_0_3", "rdd_7_0", "java.lang", "blockmgr", root]
        .map(|text| text.as_bytes().to_vec())
        .into();
    // Frames of less than 64 KiB begin with six zero bytes; ciphertext holds such a run once in 2^48 places.
    known.push(vec![0; 6]);
    known
}

fn shows_no_content_and_no_header(f: &Fixture) {
    let map = vec![content(1, 3_000_000), content(2, 300)];
    let executor = f.executor("1");
    executor.write_map(0, 3, &map);
    executor.write("rdd_7_0", &map[1]);
    let proxy = Proxy::before(f.address());
    let connection =
        Connection::open(&f.peer, proxy.address(), &f.credentials()).expect("the secret is right");
    let stream = connection
        .open_stream(json!({"type": "FetchShuffleBlocks", "app": APP, "exec": "1", "shuffle": 0,
        "maps": [3], "reduces": [[0, 1, 0]], "batch": false}));
    for (chunk, partition) in connection.chunks(&stream, 0..2).into_iter().zip(&map) {
        assert_eq!(chunk.digest(), Digest::of(partition));
    }
    assert_eq!(connection.stream(&format!("{}_2", stream.id)).digest(), Digest::of(&map[0]));
    let store = Store::open(&f.peer, proxy.address(), &f.credentials());
    store.register("1", &executor).answer();
    store.fetch("1", &["rdd_7_0".to_owned()], true)["rdd_7_0"].clone().answer();
    store.local_dirs(&["1"]).answer();

    assert!(proxy.total() > 6_000_000, "the traffic went another way");
    assert_sealed(f, &proxy, 1);
}

fn shows_no_names_in_failures(f: &Fixture) {
    f.expect_warning("shuffle_0_3_0.index does not exist");
    f.executor("1");
    let proxy = Proxy::before(f.address());
    let connection =
        Connection::open(&f.peer, proxy.address(), &f.credentials()).expect("the secret is right");
    for _ in 0..3 {
        let stream = connection.open_stream(json!({"type": "FetchShuffleBlocks", "app": APP, "exec": "1",
            "shuffle": 0, "maps": [3], "reduces": [[0]], "batch": false}));
        connection.chunk(&stream, 0).failure();
        connection.stream("nonsense").failure();
    }
    assert_sealed(f, &proxy, 1);
}

/// Everything after the two frames of the handshake must look like noise.
#[track_caller]
fn assert_sealed(f: &Fixture, proxy: &Proxy, at_least: usize) {
    let recordings = proxy.recordings();
    assert!(recordings.len() >= at_least);
    for recording in recordings {
        for (direction, bytes) in [("client", &recording.sent), ("service", &recording.received)] {
            let handshake = u64::from_be_bytes(bytes[..8].try_into().expect("a length"));
            let handshake = usize::try_from(handshake).expect("the handshake is short");
            assert!(handshake < 1000, "the {direction} begins with something else than a handshake");
            let sealed = opaque_part(f.mode.session().0, &bytes[handshake..]);
            assert!(!sealed.is_empty(), "the {direction} said nothing after the handshake");
            for known in known_plaintext(&f.root().to_string_lossy()) {
                let text = String::from_utf8_lossy(&known).into_owned();
                assert!(!contains(&sealed, &known), "the {direction} shows {text:?} in clear in {}", f.mode);
            }
        }
    }
}

/// What must be noise. CTR leaves nothing in clear; GCM sends the length of each of its messages and of its header
/// (`GcmTransportCipher`, Spark 4.3.0), from which the stream must be divisible without a rest.
fn opaque_part(cipher: Cipher, sealed: &[u8]) -> Vec<u8> {
    if cipher == Cipher::Ctr {
        return sealed.to_vec();
    }
    let mut opaque = Vec::new();
    let mut rest = sealed;
    while let Some((length, _)) = rest.split_first_chunk::<8>() {
        let length = usize::try_from(u64::from_be_bytes(*length)).expect("a length");
        assert!(length > 8 && length <= rest.len(), "not a GCM message: length {length} of {}", rest.len());
        assert!(matches!(rest[8], 24 | 40), "not a GCM header");
        opaque.extend_from_slice(&rest[9..length]);
        rest = &rest[length..];
    }
    assert!(rest.is_empty());
    opaque
}

/// The same search finds everything when nothing is sealed: it would have found a leak.
#[test]
fn the_search_finds_content_that_is_in_clear() {
    use sealed_shuffle_interop_tests::{
        fixture::text,
        spark::{Credentials, Peer, spark_service},
    };
    let peer = Peer::shared("4.3.0");
    let root = tempfile::TempDir::with_prefix("interop-").expect("the temporary directory is writable");
    let service = spark_service(&peer, root.path(), "", &[("spark.authenticate", "false".to_owned())]);
    let executor = sealed_shuffle_interop_tests::oracle::Executor::beneath(root.path(), "1");
    let map = vec![content(1, 10_000)];
    executor.write_map(0, 3, &map);
    let proxy = Proxy::before(service);
    let connection =
        Connection::open(&peer, proxy.address(), &Credentials::none(APP)).expect("nothing to prove");
    connection.register(APP, "1", &executor).answer();
    let stream = connection.open_stream(json!({"type": "OpenBlocks", "app": APP, "exec": "1",
        "blocks": ["shuffle_0_3_0"]}));
    assert_eq!(connection.chunk(&stream, 0).digest(), Digest::of(&map[0]));
    let recording = proxy.recordings().remove(0);
    let all = [recording.sent, recording.received].concat();
    for known in [CANARY, "shuffle_0_3", "blockmgr", &text(root.path())] {
        assert!(contains(&all, known.as_bytes()), "{known} is not found even in clear");
    }
    assert!(contains(&all, &[0; 6]));
    peer.call(json!({"cmd": "service-stop", "port": service.port()}));
}
