//! Who is let in, and what the others get: nothing.

use std::time::Duration;

use sealed_shuffle_interop_tests::{
    against_both,
    fixture::{APP, Fixture, SECRET},
    modes::{Cipher, Mode, Service},
    oracle::{CANARY, Digest, content},
    ours::Server,
    spark::{Connection, Credentials},
    wire::frames,
    wire::{PlainSocket, Proxy, contains},
};
use serde_json::{Value, json};
use tempfile::TempDir;

against_both!(
    authenticates_and_serves,
    gives_a_replayed_challenge_no_session,
    gives_unauthenticated_peers_no_chunk_of_an_open_stream,
    keeps_serving_after_garbage,
    refuses_a_client_without_authentication,
    refuses_a_wrong_secret,
    refuses_unauthenticated_merge_requests,
    refuses_unauthenticated_requests,
    refuses_unauthenticated_uploads,
);

/// What no ordinary sentence holds, so that finding it in a log or an answer means a leak.
const WRONG_SECRET: &str = "sixteen-herons-wade-at-dusk";
const PATIENCE: Duration = Duration::from_secs(5);
/// How long something that must not come is waited for.
const SILENCE: Duration = Duration::from_millis(300);

fn fetch() -> Value {
    json!({"type": "FetchShuffleBlocks", "app": APP, "exec": "1", "shuffle": 0, "maps": [3], "reduces": [[0, 1]],
        "batch": false})
}

fn with_a_map(f: &Fixture) -> Vec<Vec<u8>> {
    let map = vec![content(1, 20_000), content(2, 300)];
    f.executor("1").write_map(0, 3, &map);
    map
}

#[track_caller]
fn assert_serves(connection: &Connection, map: &[Vec<u8>]) {
    let stream = connection.open_stream(fetch());
    for (chunk, bytes) in connection.chunks(&stream, 0..2).into_iter().zip(map) {
        assert_eq!(chunk.digest(), Digest::of(bytes));
    }
}

fn authenticates_and_serves(f: &Fixture) {
    let map = vec![content(1, 20_000), content(2, 300)];
    f.executor("1").write_map(0, 3, &map);
    assert_serves(&f.connect(), &map);
}

fn refuses_a_wrong_secret(f: &Fixture) {
    f.expect_warning("refused a handshake; is spark.authenticate.secret the same");
    let map = with_a_map(f);
    let failure =
        f.connect_as(&Credentials::new(&f.mode, APP, WRONG_SECRET)).expect_err("the secret is wrong");
    let texts = [failure.message.clone(), failure.causes.join("\n")].concat();
    assert!(texts.contains("Authentication failed."), "{failure:?}");
    assert!(!texts.contains(SECRET) && !texts.contains(WRONG_SECRET));
    assert_serves(&f.connect(), &map);
}

fn refuses_a_client_without_authentication(f: &Fixture) {
    f.expect_warning("the peer has proven no identity");
    let map = with_a_map(f);
    let connection =
        f.connect_as(&Credentials::none(APP)).expect("Spark's client sends nothing on connecting");
    connection.rpc(fetch()).failure();
    assert!(connection.is_closed_within(5000), "an unauthenticated connection stays open");
    assert_serves(&f.connect(), &map);
}

fn refuses_unauthenticated_requests(f: &Fixture) {
    f.expect_warning("the peer has proven no identity");
    let map = with_a_map(f);
    let register = [&[2u8][..], &[0; 64]].concat();
    for body in
        [frames::fetch_shuffle_block(APP, "1", 0, 3, 0), register, Vec::new(), vec![0xea], vec![0xfb; 200]]
    {
        let mut peer = PlainSocket::connect(f.address());
        peer.send(&frames::rpc_request(7, &body));
        let heard = peer.rest(PATIENCE);
        assert!(heard.closed, "an unauthenticated request leaves the connection open: {}", heard.text());
        if f.service == Service::Spark && !body.is_empty() {
            assert!(heard.text().contains("java.lang.IllegalArgumentException: Unknown challenge message."));
        }
        assert_no_answer(&heard.bytes);
    }
    let mut peer = PlainSocket::connect(f.address());
    peer.send(&frames::one_way(&frames::fetch_shuffle_block(APP, "1", 0, 3, 0)));
    assert!(peer.rest(SILENCE).bytes.is_empty(), "a one-way message was answered");
    assert_serves(&f.connect(), &map);
}

/// Nothing but failures: types 5 (RpcFailure), 2 (ChunkFetchFailure), 8 (StreamFailure), or no frame at all.
#[track_caller]
fn assert_no_answer(bytes: &[u8]) {
    let kind = bytes.get(8);
    assert!(matches!(kind, None | Some(2 | 5 | 8)), "answered with a frame of type {kind:?}");
    assert!(!contains(bytes, CANARY.as_bytes()));
}

fn refuses_unauthenticated_uploads(f: &Fixture) {
    f.expect_warning("refused a request before the handshake");
    let map = with_a_map(f);
    let mut peer = PlainSocket::connect(f.address());
    peer.send(&frames::upload_stream(7, &[12, 0, 0, 0, 0], b"data"));
    let heard = peer.rest(PATIENCE);
    assert!(heard.closed);
    assert_no_answer(&heard.bytes);
    if f.service == Service::Spark {
        assert!(
            heard.text().contains("java.lang.SecurityException: Unauthenticated call to receiveStream().")
        );
    }
    assert_serves(&f.connect(), &map);
}

/// Spark up to 3.5 passes these on unchecked (3.3: a NullPointerException); the answer is a refusal all the same.
fn refuses_unauthenticated_merge_requests(f: &Fixture) {
    f.expect_warning("refused a request before the handshake");
    let map = with_a_map(f);
    let mut peer = PlainSocket::connect(f.address());
    peer.send(&frames::merged_meta_request(7, APP));
    assert_no_answer(&peer.rest(SILENCE).bytes);
    assert_serves(&f.connect(), &map);
}

/// Up to 3.5, Spark serves the chunks of any open stream to a connection that guesses its id; ours never did.
fn gives_unauthenticated_peers_no_chunk_of_an_open_stream(f: &Fixture) {
    f.expect_warning("refused a request before the handshake");
    let map = with_a_map(f);
    let owner = f.connect();
    let stream = owner.open_stream(fetch());
    let id: u64 = stream.id.parse().expect("stream ids are numbers");
    for request in [frames::chunk_request(id, 0), frames::stream_request(&format!("{id}_0"))] {
        let mut peer = PlainSocket::connect(f.address());
        peer.send(&request);
        let heard = peer.rest(SILENCE);
        if f.is_spark_before(4, 0) {
            assert!(contains(&heard.bytes, CANARY.as_bytes()), "this Spark is safer than it was known to be");
            return;
        }
        assert_no_answer(&heard.bytes);
    }
    for (chunk, bytes) in owner.chunks(&stream, 0..2).into_iter().zip(&map) {
        assert_eq!(chunk.digest(), Digest::of(bytes));
    }
}

/// Who recorded a challenge gets an answer to it and can do nothing with it: the session's keys are fresh.
fn gives_a_replayed_challenge_no_session(f: &Fixture) {
    f.expect_warning("reason=session cipher: ");
    let map = with_a_map(f);
    let proxy = Proxy::before(f.address());
    let connection =
        Connection::open(&f.peer, proxy.address(), &f.credentials()).expect("the secret is right");
    assert_serves(&connection, &map);
    let recorded = proxy.recordings().into_iter().next().expect("one connection passed").sent;
    let challenge = usize::try_from(u64::from_be_bytes(recorded[..8].try_into().expect("eight bytes")));
    let (challenge, session) = recorded.split_at(challenge.expect("a challenge is short"));

    let mut thief = PlainSocket::connect(f.address());
    thief.send(challenge);
    thief.frame(PATIENCE).expect("a challenge is answered");
    thief.send(session);
    let heard = thief.rest(PATIENCE);
    assert!(heard.closed, "a replayed session is kept open");
    assert!(!contains(&heard.bytes, CANARY.as_bytes()));
    assert_serves(&connection, &map);
}

fn keeps_serving_after_garbage(f: &Fixture) {
    // The first ones are said in full, the rest is summed up.
    f.expect_warning("bad frame: ");
    f.expect_warning("the peer has proven no identity");
    let map = with_a_map(f);
    let connection = f.connect();
    for garbage in [
        vec![0u8; 64],
        vec![0xff; 64],
        frames::frame(200, &[1, 2, 3]),
        (1u64 << 40).to_be_bytes().to_vec(),
        frames::rpc_request(1, &[0xfb, 0x7f, 0xff, 0xff, 0xff]),
        b"GET / HTTP/1.1\r\nHost: service\r\n\r\n".to_vec(),
        content(3, 5000),
    ] {
        let mut peer = PlainSocket::connect(f.address());
        peer.send(&garbage);
        assert_no_answer(&peer.rest(SILENCE).bytes);
    }
    assert_serves(&connection, &map);
    assert_serves(&f.connect(), &map);
}

/// Spark does not negotiate; ours recognizes what each connection speaks, whatever the server's own keys say.
#[test]
fn ours_serves_every_cipher_and_engine_on_one_port() {
    let f = Fixture::start(Service::Ours, Mode::newest(Cipher::Ctr, 1));
    let map = vec![content(1, 20_000), content(2, 300)];
    f.executor("1").write_map(0, 3, &map);
    for cipher in [Cipher::Ctr, Cipher::Gcm] {
        for engine in [1, 2] {
            let credentials = Credentials::new(&Mode::newest(cipher, engine), APP, SECRET);
            assert_serves(&f.connect_as(&credentials).expect("the secret is right"), &map);
        }
    }
}

/// Spark's own service closes the connection of a client that speaks another cipher.
#[test]
fn spark_closes_on_another_cipher() {
    let f = Fixture::start(Service::Spark, Mode::newest(Cipher::Gcm, 1));
    let other = Credentials::new(&Mode::newest(Cipher::Ctr, 1), APP, SECRET);
    let connection = f.connect_as(&other).expect("the handshake does not tell the cipher");
    let outcome = connection.rpc_bytes("0700000000", 2000);
    assert!(!matches!(outcome, sealed_shuffle_interop_tests::spark::Outcome::Answer(_)), "{outcome:?}");
}

/// `spark.sealed.security.minimum=aes-gcm` refuses CTR, in the peer's own cipher, so that its log can say why.
#[test]
fn ours_refuses_ctr_where_gcm_is_the_minimum() {
    let mode = Mode::newest(Cipher::Ctr, 1);
    let f = Fixture::start_with(Service::Ours, mode, &[("spark.sealed.security.minimum", "aes-gcm")]);
    f.expect_warning("refused a connection below the minimum");
    let connection = f.connect();
    let failure =
        connection.rpc(json!({"type": "GetLocalDirsForExecutors", "app": APP, "execs": []})).failure();
    assert!(!failure.is_disconnect(), "the refusal is an answer: {failure:?}");
    let gcm = Credentials::new(&Mode::newest(Cipher::Gcm, 1), APP, SECRET);
    let connection = f.connect_as(&gcm).expect("the secret is right");
    connection.rpc(json!({"type": "GetLocalDirsForExecutors", "app": APP, "execs": []})).answer();
}

#[test]
fn ours_never_logs_the_secret() {
    let f = Fixture::start(Service::Ours, Mode::newest(Cipher::Gcm, 2));
    f.expect_warning("refused a handshake");
    let map = with_a_map(&f);
    assert_serves(&f.connect(), &map);
    f.connect_as(&Credentials::new(&f.mode, APP, WRONG_SECRET)).expect_err("the secret is wrong");
    let log = f.ours().expect("ours").log().join("\n");
    assert!(!log.contains(SECRET) && !log.contains(WRONG_SECRET));
}

#[test]
fn ours_refuses_to_start_without_a_secret() {
    let root = TempDir::with_prefix("interop-").expect("the temporary directory is writable");
    let output = Server::command(root.path(), None, &[]).output().expect("the binary can be run");
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("spark.authenticate.secret"), "does not say what to set: {text}");
}
