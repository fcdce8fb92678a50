//! What a service refuses, in Spark's words, and that the connection stays usable where Spark's does.
//!
//! `strict` texts are those that Spark 4.3.0's service answers and ours answers too. Where Spark answers with the name
//! of some Java exception that happened to be thrown, ours only has to refuse (`loose`).

use std::os::unix::fs::symlink;

use sealed_shuffle_interop_tests::{
    against_both,
    fixture::{APP, Fixture, SECRET, outside, text},
    oracle::{Digest, content},
    spark::{Connection, Credentials, Failure, Outcome, Stream},
};
use serde_json::{Value, json};

against_both!(
    accepts_directories_beneath_the_roots,
    answers_nothing_to_a_one_way_message,
    fails_a_batch_that_ends_before_it_begins,
    fails_a_block_whose_data_file_is_missing,
    fails_a_block_whose_data_file_is_too_short,
    fails_a_block_whose_index_is_missing,
    fails_a_reduce_id_beyond_the_index,
    fails_an_rdd_block_that_is_not_there,
    fails_chunks_of_an_executor_that_is_not_registered,
    refuses_a_garbled_message_and_goes_on,
    refuses_a_stream_name_that_is_no_chunk,
    refuses_a_stream_that_belongs_to_another_application,
    refuses_a_stream_that_belongs_to_another_connection,
    refuses_an_unknown_stream,
    refuses_chunks_out_of_order,
    refuses_directories_outside_of_the_roots,
    refuses_files_that_lead_out_of_the_directories,
    refuses_inconsistent_lists,
    refuses_local_dirs_of_unknown_executors,
    refuses_malformed_block_ids,
    refuses_messages_that_only_executors_take,
    refuses_pushes_and_merges,
    refuses_requests_for_another_application,
    refuses_to_remove_blocks_of_unknown_executors,
);

const NOT_REGISTERED: &str =
    "java.lang.RuntimeException: Executor is not registered (appId=app-20260101000000-0001, execId=9)";

#[track_caller]
fn strict(outcome: Outcome, spark: &str) -> Failure {
    let failure = outcome.failure();
    assert_eq!(failure.text(), spark);
    failure
}

#[track_caller]
fn loose(f: &Fixture, outcome: Outcome, spark: &str) {
    let failure = outcome.failure();
    match f.ours() {
        Some(_) => assert!(!failure.is_disconnect(), "closed the connection: {failure:?}"),
        None => assert_eq!(failure.text(), spark),
    }
}

fn fetch(exec: &str, maps: &[u64], reduces: &[&[i64]], batch: bool) -> Value {
    json!({"type": "FetchShuffleBlocks", "app": APP, "exec": exec, "shuffle": 0, "maps": maps, "reduces": reduces,
        "batch": batch})
}

/// Executor 1 with map 3 of three partitions.
fn with_a_map(f: &Fixture) -> (sealed_shuffle_interop_tests::oracle::Executor, Vec<Vec<u8>>) {
    let executor = f.executor("1");
    let map = vec![content(1, 1000), Vec::new(), content(2, 2000)];
    executor.write_map(0, 3, &map);
    (executor, map)
}

#[track_caller]
fn assert_usable(connection: &Connection, map: &[Vec<u8>]) {
    let stream = connection.open_stream(fetch("1", &[3], &[&[0]], false));
    assert_eq!(connection.chunk(&stream, 0).digest(), Digest::of(&map[0]));
}

const UNKNOWN_STREAM: &str = "java.lang.IllegalArgumentException: Unknown stream ID.";

/// The text for a stream request on a stream that is not there; before 3.5 Spark checked chunk requests only.
fn gone(f: &Fixture, stream: &str) -> String {
    if f.is_spark_before(3, 5) {
        return format!(
            "java.lang.IllegalStateException: Requested chunk not available since streamId {stream} is closed"
        );
    }
    UNKNOWN_STREAM.to_owned()
}

/// The text for a stream of another connection. Spark keeps one table of streams and tells whose it is; ours has a
/// table for each connection, where a foreign id is like one that never was: a guesser learns nothing.
fn foreign(f: &Fixture, spark: String) -> String {
    if f.ours().is_some() { UNKNOWN_STREAM.to_owned() } else { spark }
}

fn accepts_directories_beneath_the_roots(f: &Fixture) {
    let connection = f.connect();
    let root = text(f.root());
    for dir in [format!("{root}/blockmgr-1"), format!("{root}/none/yet"), root.clone(), format!("{root}//b/")]
    {
        assert_eq!(connection.register_dirs(APP, "1", &[dir], 64).answer()["type"], "Empty");
    }
}

fn refuses_directories_outside_of_the_roots(f: &Fixture) {
    if f.is_spark_before(3, 5) {
        return; // Spark validates since 3.5.
    }
    f.expect_warning("refused to register an executor");
    let root = text(f.root());
    symlink("/var", f.root().join("link")).expect("the root is writable");
    let connection = f.connect();
    let good = format!("{root}/blockmgr-1");
    for bad in [
        text(&outside()),
        format!("{root}x/blockmgr-1"),
        format!("{root}/../blockmgr-1"),
        format!("{root}/link/blockmgr-1"),
        "blockmgr-1".to_owned(),
        "/".to_owned(),
    ] {
        let outcome = connection.register_dirs(APP, "1", &[good.clone(), bad.clone()], 64);
        strict(
            outcome,
            &format!(
                "java.lang.IllegalArgumentException: localDirs entry is not under any of the service's local \
                 directories: {bad}"
            ),
        );
    }
    let empty = connection.register_dirs(APP, "1", &[good, String::new()], 64);
    strict(empty, "java.lang.IllegalArgumentException: localDirs entries must be non-null and non-empty");
    let stored = connection.rpc(json!({"type": "RemoveBlocks", "app": APP, "exec": "1", "blocks": []}));
    assert!(stored.failure().text().contains("Executor is not registered"), "a refused executor was stored");
}

fn fails_chunks_of_an_executor_that_is_not_registered(f: &Fixture) {
    f.expect_warning("executor 9 of application app-20260101000000-0001 is not registered");
    let (_executor, map) = with_a_map(f);
    let connection = f.connect();
    let stream = connection.open_stream(fetch("9", &[3], &[&[0]], false));
    strict(connection.chunk(&stream, 0), NOT_REGISTERED);
    let stream = connection.open_stream(fetch("9", &[3], &[&[0]], false));
    strict(connection.stream(&format!("{}_0", stream.id)), NOT_REGISTERED);
    assert_usable(&connection, &map);
}

fn refuses_to_remove_blocks_of_unknown_executors(f: &Fixture) {
    let (_executor, map) = with_a_map(f);
    let connection = f.connect();
    strict(
        connection.rpc(json!({"type": "RemoveBlocks", "app": APP, "exec": "9", "blocks": ["rdd_1_1"]})),
        NOT_REGISTERED,
    );
    assert_usable(&connection, &map);
}

fn refuses_local_dirs_of_unknown_executors(f: &Fixture) {
    let (_executor, map) = with_a_map(f);
    let connection = f.connect();
    let ask = |execs: &[&str]| {
        connection.rpc(json!({"type": "GetLocalDirsForExecutors", "app": APP, "execs": execs}))
    };
    strict(ask(&["1", "9"]), NOT_REGISTERED);
    if !f.is_spark_before(4, 2) {
        strict(ask(&["1", "1"]), "java.lang.IllegalArgumentException: duplicate element: 1");
    }
    assert_usable(&connection, &map);
}

fn fails_a_block_whose_index_is_missing(f: &Fixture) {
    f.expect_warning("shuffle_0_6_0.index does not exist");
    let (executor, map) = with_a_map(f);
    let connection = f.connect();
    let expected = format!(
        "java.lang.RuntimeException: Failed to open file: {}",
        text(&executor.path("shuffle_0_6_0.index"))
    );
    let stream = connection.open_stream(fetch("1", &[6], &[&[0]], false));
    strict(connection.chunk(&stream, 0), &expected);
    let stream = connection.open_stream(fetch("1", &[6], &[&[0]], false));
    strict(connection.stream(&format!("{}_0", stream.id)), &expected);
    // To a reducer this is final: it reports FetchFailed at once instead of retrying.
    let fetched = f.store().fetch("1", &["shuffle_0_6_0".to_owned()], false);
    let failure = fetched["shuffle_0_6_0"].clone().failure();
    assert_eq!(failure.class, "org.apache.spark.network.client.ChunkFetchFailureException");
    assert_usable(&connection, &map);
}

/// Spark has sent the head of the answer before it opens the file, and can only close. Ours looks first: the failure
/// is an answer, the reducer need not retry what cannot succeed, and the connection lives.
fn fails_a_block_whose_data_file_is_missing(f: &Fixture) {
    f.expect_warning("shuffle_0_4_0.data does not exist");
    let (executor, map) = with_a_map(f);
    executor.write_map(0, 4, &map);
    std::fs::remove_file(executor.path("shuffle_0_4_0.data")).expect("the file was just written");
    let connection = f.connect();
    let stream = connection.open_stream(fetch("1", &[4], &[&[0]], false));
    assert_block_lost(f, connection.chunk(&stream, 0), &connection, &map);
    let connection = f.connect();
    let stream = connection.open_stream(fetch("1", &[4], &[&[0]], false));
    assert_block_lost(f, connection.stream(&format!("{}_0", stream.id)), &connection, &map);
}

fn fails_a_block_whose_data_file_is_too_short(f: &Fixture) {
    f.expect_warning("shuffle_0_4_0.data has 500 bytes, and its index says 3000");
    let (executor, map) = with_a_map(f);
    executor.write_map(0, 4, &map);
    executor.write("shuffle_0_4_0.data", &map[0][..500]);
    let connection = f.connect();
    let stream = connection.open_stream(fetch("1", &[4], &[&[0]], false));
    assert_block_lost(f, connection.chunk(&stream, 0), &connection, &map);
}

#[track_caller]
fn assert_block_lost(f: &Fixture, outcome: Outcome, connection: &Connection, map: &[Vec<u8>]) {
    let failure = outcome.failure();
    if f.ours().is_some() {
        assert!(failure.message.contains("shuffle_0_4_0.data"), "does not name the file: {failure:?}");
        return assert_usable(connection, map);
    }
    assert!(connection.is_closed_within(5000), "Spark closes after a head without a body: {failure:?}");
}

fn fails_a_reduce_id_beyond_the_index(f: &Fixture) {
    f.expect_warning("map output 3 of shuffle 0 has 4 offsets");
    let (_executor, map) = with_a_map(f);
    let connection = f.connect();
    for (reduces, batch) in [(&[3i64][..], false), (&[-1], false), (&[2, 4], true)] {
        let stream = connection.open_stream(fetch("1", &[3], &[reduces], batch));
        strict(connection.chunk(&stream, 0), "java.lang.IndexOutOfBoundsException");
    }
    assert_usable(&connection, &map);
}

fn fails_a_batch_that_ends_before_it_begins(f: &Fixture) {
    f.expect_warning("partitions 3 to 1 of map output 3 of shuffle 0 have the length -2000");
    let (_executor, map) = with_a_map(f);
    let connection = f.connect();
    let stream = connection.open_stream(fetch("1", &[3], &[&[3, 1]], true));
    loose(f, connection.chunk(&stream, 0), "count : -2000 (expected: >= 0)");
    assert_usable(&connection, &map);
}

fn fails_an_rdd_block_that_is_not_there(f: &Fixture) {
    let (_executor, map) = with_a_map(f);
    let connection = f.connect();
    let open = || {
        connection.open_stream(json!({"type": "OpenBlocks", "app": APP, "exec": "1", "blocks": ["rdd_1_1"]}))
    };
    strict(connection.chunk(&open(), 0), "java.lang.IllegalStateException: Chunk was not found");
    let name = format!("{}_0", open().id);
    strict(connection.stream(&name), &format!("Stream '{name}' was not found."));
    assert_usable(&connection, &map);
}

/// Spark resolves every link and refuses what lies outside of the executor's directories since 4.2; ours follows no
/// link at all beneath a root.
fn refuses_files_that_lead_out_of_the_directories(f: &Fixture) {
    f.expect_warning("goes through a symlink or leaves its root");
    if f.is_spark_before(4, 2) {
        return;
    }
    let (executor, map) = with_a_map(f);
    let elsewhere = f.root().join("elsewhere");
    std::fs::write(&elsewhere, map.concat()).expect("the root is writable");
    executor.write_map(0, 7, &map);
    let data = executor.path("shuffle_0_7_0.data");
    std::fs::remove_file(&data).and_then(|()| symlink(&elsewhere, &data)).expect("the directory is writable");
    symlink("/etc/hostname", executor.write("rdd_5_5", b"").with_file_name("link")).expect("writable");
    let rdd = executor.path("rdd_5_6");
    std::fs::create_dir_all(rdd.parent().expect("files lie in directories"))
        .and_then(|()| symlink("/etc/hostname", &rdd))
        .expect("the directory is writable");
    let connection = f.connect();
    let leads_out = |path| {
        format!(
            "java.lang.RuntimeException: Block file {path} resolves outside the executor's registered local directories"
        )
    };
    let stream = connection.open_stream(fetch("1", &[7], &[&[0]], false));
    loose(f, connection.chunk(&stream, 0), &leads_out(text(&data)));
    let stream =
        connection.open_stream(json!({"type": "OpenBlocks", "app": APP, "exec": "1", "blocks": ["rdd_5_6"]}));
    loose(f, connection.chunk(&stream, 0), &leads_out(text(&rdd)));
    assert_usable(&connection, &map);
}

fn refuses_chunks_out_of_order(f: &Fixture) {
    let (_executor, map) = with_a_map(f);
    let connection = f.connect();
    let stream = connection.open_stream(fetch("1", &[3], &[&[0, 1, 2]], false));
    let out_of_order = |got, expected| {
        format!(
            "java.lang.IllegalStateException: Received out-of-order chunk index {got} (expected {expected})"
        )
    };
    strict(connection.chunk(&stream, 1), &out_of_order(1, 0));
    assert_eq!(connection.chunk(&stream, 0).digest(), Digest::of(&map[0]));
    strict(connection.chunk(&stream, 0), &out_of_order(0, 1));
    strict(connection.chunk(&stream, 7), &out_of_order(7, 1));
    strict(connection.stream(&format!("{}_2", stream.id)), &out_of_order(2, 1));
    assert_eq!(connection.chunk(&stream, 1).digest(), Digest::of(&map[1]));
    assert_eq!(connection.chunk(&stream, 2).digest(), Digest::of(&map[2]));
    // Its last chunk taken, a stream is no more.
    strict(connection.chunk(&stream, 3), UNKNOWN_STREAM);
    strict(connection.stream(&format!("{}_3", stream.id)), &gone(f, &stream.id));
    assert_usable(&connection, &map);
}

fn refuses_an_unknown_stream(f: &Fixture) {
    let (_executor, map) = with_a_map(f);
    let connection = f.connect();
    let unknown = Stream { id: "77".to_owned(), chunks: 1 };
    strict(connection.chunk(&unknown, 0), UNKNOWN_STREAM);
    strict(connection.stream("77_0"), &gone(f, "77"));
    strict(connection.stream("77_0_5"), &gone(f, "77"));
    assert_usable(&connection, &map);
}

fn refuses_a_stream_name_that_is_no_chunk(f: &Fixture) {
    let (_executor, map) = with_a_map(f);
    let connection = f.connect();
    loose(f, connection.stream("abc"), "java.lang.NumberFormatException: For input string: \"abc\"");
    loose(
        f,
        connection.stream("/jars/x.jar"),
        "java.lang.NumberFormatException: For input string: \"/jars/x.jar\"",
    );
    loose(
        f,
        connection.stream("77"),
        "java.lang.ArrayIndexOutOfBoundsException: Index 1 out of bounds for length 1",
    );
    assert_usable(&connection, &map);
}

/// Spark binds streams to their connection since 4.0; before, any connection of the application could read them.
fn refuses_a_stream_that_belongs_to_another_connection(f: &Fixture) {
    let (_executor, map) = with_a_map(f);
    let (owner, other) = (f.connect(), f.connect());
    let stream = owner.open_stream(fetch("1", &[3], &[&[0, 2]], false));
    if f.is_spark_before(4, 0) {
        assert_eq!(other.chunk(&stream, 0).digest(), Digest::of(&map[0]));
        return;
    }
    let text = foreign(
        f,
        format!(
            "java.lang.SecurityException: Channel not authorized to read stream {}: streams may only be read from \
             the connection that registered them.",
            stream.id
        ),
    );
    strict(other.chunk(&stream, 0), &text);
    strict(other.stream(&format!("{}_0", stream.id)), &text);
    assert_eq!(owner.chunk(&stream, 0).digest(), Digest::of(&map[0]));
    drop(owner);
    assert_usable(&other, &map);
}

fn refuses_a_stream_that_belongs_to_another_application(f: &Fixture) {
    let (_executor, map) = with_a_map(f);
    let owner = f.connect();
    let stream = owner.open_stream(fetch("1", &[3], &[&[0, 2]], false));
    let other = f.connect_as(&Credentials::new(&f.mode, "app-other", SECRET)).expect("the secret is right");
    let text = foreign(
        f,
        format!(
            "java.lang.SecurityException: Client app-other not authorized to read stream {} (app {APP}).",
            stream.id
        ),
    );
    strict(other.chunk(&stream, 0), &text);
    if !f.is_spark_before(3, 5) {
        strict(other.stream(&format!("{}_0", stream.id)), &text);
    }
    assert_eq!(owner.chunk(&stream, 0).digest(), Digest::of(&map[0]));
}

fn refuses_requests_for_another_application(f: &Fixture) {
    f.expect_warning("refused a message for another application");
    let (executor, _map) = with_a_map(f);
    let other = f.connect_as(&Credentials::new(&f.mode, "app-other", SECRET)).expect("the secret is right");
    let text =
        format!("java.lang.SecurityException: Client for app-other not authorized for application {APP}.");
    let requests = [
        json!({"type": "RegisterExecutor", "app": APP, "exec": "1", "dirs": executor.dir_names(), "sub_dirs": 64,
            "manager": "m"}),
        json!({"type": "OpenBlocks", "app": APP, "exec": "1", "blocks": ["shuffle_0_3_0"]}),
        json!({"type": "OpenBlocks", "app": APP, "exec": "1", "blocks": ["nonsense"]}),
        fetch("1", &[3], &[&[0]], false),
        json!({"type": "FetchShuffleBlockChunks", "app": APP, "exec": "shuffle-push-merger", "shuffle": 0, "merge": 0,
            "reduces": [0], "chunks": [[0]]}),
        json!({"type": "RemoveBlocks", "app": APP, "exec": "1", "blocks": ["shuffle_0_3_0.index"]}),
        json!({"type": "GetLocalDirsForExecutors", "app": APP, "execs": ["1"]}),
        json!({"type": "DiagnoseCorruption", "app": APP, "exec": "1", "shuffle": 0, "map": 3, "reduce": 0,
            "checksum": 1, "algorithm": "ADLER32"}),
        json!({"type": "FinalizeShuffleMerge", "app": APP, "attempt": -1, "shuffle": 0, "merge": 0}),
    ];
    for request in requests {
        strict(other.rpc(request), &text);
    }
    assert!(other.is_active());
    assert!(executor.path("shuffle_0_3_0.index").exists());
}

fn refuses_malformed_block_ids(f: &Fixture) {
    let (_executor, map) = with_a_map(f);
    let connection = f.connect();
    let open = |blocks: &[&str]| {
        connection.rpc(json!({"type": "OpenBlocks", "app": APP, "exec": "1", "blocks": blocks}))
    };
    let illegal = |text: &str| format!("java.lang.IllegalArgumentException: {text}");
    for (blocks, text) in [
        (&["broadcast_0"][..], illegal("Unexpected block id format: broadcast_0")),
        (&["shuffle_0_3_0_2"], illegal("Unexpected block id format: shuffle_0_3_0_2")),
        (&["nonsense"], illegal("Unexpected block id format: nonsense")),
        (&["shuffle_0_3_0", "rdd_1_1"], illegal("Unexpected shuffle block id format: rdd_1_1")),
        (&["rdd_1_1", "shuffle_0_3_0"], illegal("Unexpected RDD block id format: shuffle_0_3_0")),
        (&["shuffle_0_3_0", "shuffle_1_3_0"], illegal("Expected shuffleId=0, got:shuffle_1_3_0")),
    ] {
        strict(open(blocks), &text);
    }
    loose(f, open(&["shuffle_x_3_0"]), "java.lang.NumberFormatException: For input string: \"x\"");
    loose(f, open(&["rdd_1_x"]), "java.lang.NumberFormatException: For input string: \"x\"");
    loose(f, open(&[]), "java.lang.ArrayIndexOutOfBoundsException: Index 0 out of bounds for length 0");
    assert_usable(&connection, &map);
}

/// Spark opens a stream and fails at the first chunk; ours may refuse at once.
fn refuses_inconsistent_lists(f: &Fixture) {
    let (_executor, map) = with_a_map(f);
    let connection = f.connect();
    for (maps, reduces, batch) in [
        (&[3u64, 4][..], &[&[0i64][..]][..], false),
        (&[3], &[&[0]], true),
        (&[3], &[&[]], true),
        (&[], &[], false),
    ] {
        let opened = connection.rpc(fetch("1", maps, reduces, batch));
        if let Outcome::Answer(handle) = opened {
            let id = handle["stream"].as_str().expect("a handle has an id").to_owned();
            let stream = Stream { id, chunks: handle["chunks"].as_u64().expect("a count") };
            let failed = connection.chunk(&stream, stream.chunks as i64);
            assert!(matches!(failed, Outcome::Failed(_)), "served a chunk beyond its lists: {failed:?}");
        }
        assert!(connection.is_active());
    }
    assert_usable(&connection, &map);
}

fn refuses_pushes_and_merges(f: &Fixture) {
    let (_executor, map) = with_a_map(f);
    let connection = f.connect();
    let text = "java.lang.UnsupportedOperationException: Cannot handle shuffle block merge";
    let finalize =
        json!({"type": "FinalizeShuffleMerge", "app": APP, "attempt": -1, "shuffle": 0, "merge": 0});
    strict(connection.rpc(finalize), text);
    let merged = connection.rpc(json!({"type": "GetLocalDirsForExecutors", "app": APP,
        "execs": ["shuffle-push-merger"]}));
    strict(merged, text);
    // Spark before 4.0 fails here with a NullPointerException when AES authentication is on without SASL.
    if !f.is_spark_before(3, 5) {
        strict(connection.merged_meta(APP), text);
    }
    let opened = connection
        .rpc(json!({"type": "FetchShuffleBlockChunks", "app": APP, "exec": "shuffle-push-merger",
        "shuffle": 0, "merge": 0, "reduces": [0], "chunks": [[0]]}));
    let refused = match opened {
        Outcome::Answer(handle) => {
            let id = handle["stream"].as_str().expect("a handle has an id").to_owned();
            connection.chunk(&Stream { id, chunks: 1 }, 0)
        }
        refused => refused,
    };
    strict(refused, text);
    assert_usable(&connection, &map);

    let push = json!({"type": "PushBlockStream", "app": APP, "attempt": -1, "shuffle": 0, "merge": 0, "map_index": 0,
        "reduce": 0, "index": 0});
    strict(connection.upload(push, &"00".repeat(100)), text);
}

fn refuses_messages_that_only_executors_take(f: &Fixture) {
    let (_executor, map) = with_a_map(f);
    let connection = f.connect();
    for message in [
        json!({"type": "StreamHandle", "stream": "5", "chunks": 1}),
        json!({"type": "BlocksRemoved", "count": 0}),
        json!({"type": "UploadBlock", "app": APP, "exec": "1", "block": "rdd_1_1"}),
    ] {
        let failure = connection.rpc(message).failure();
        let text = "java.lang.UnsupportedOperationException: Unexpected message: ";
        assert!(failure.text().starts_with(text), "{failure:?}");
    }
    assert_usable(&connection, &map);
    let failure =
        connection.upload(json!({"type": "UploadBlockStream", "block": "rdd_1_1"}), "0011").failure();
    assert!(
        failure.message.contains("java.lang.UnsupportedOperationException: Unexpected message"),
        "{failure:?}"
    );
}

fn refuses_a_garbled_message_and_goes_on(f: &Fixture) {
    let (_executor, map) = with_a_map(f);
    let connection = f.connect();
    let unknown = connection.rpc_bytes("6300", 5000);
    strict(unknown, "java.lang.IllegalArgumentException: Unknown message type: 99");
    for garbled in ["", "00", "00000000057fffffff", "09ffffffff", "0000000001610000000131ffffffff"] {
        let failure = connection.rpc_bytes(garbled, 5000).failure();
        assert!(!failure.is_disconnect(), "closed the connection on {garbled}: {failure:?}");
    }
    if !f.is_spark_before(4, 0) {
        // Two billion block ids in a frame of 20 bytes: no memory is taken for them.
        let failure = connection.rpc_bytes("00000000016100000001317fffffff", 5000).failure();
        assert!(!failure.is_disconnect(), "closed the connection: {failure:?}");
    }
    assert_usable(&connection, &map);
}

fn answers_nothing_to_a_one_way_message(f: &Fixture) {
    let (_executor, map) = with_a_map(f);
    let connection = f.connect();
    connection.one_way(json!({"type": "OpenBlocks", "app": APP, "exec": "1", "blocks": ["nonsense"]}));
    connection.one_way(json!({"hex": "63"}));
    // RemoveShuffleMerge(APP, -1, 0, -1), by its bytes: Spark 3.3 has no such class (`Encoders`, Spark 4.3.0).
    let remove = format!("13{:08x}{}ffffffff00000000ffffffff", APP.len(), hex(APP));
    connection.one_way(json!({"hex": remove}));
    assert_usable(&connection, &map);
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}
