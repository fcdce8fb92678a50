//! Spark's own client classes get every block that is there, byte for byte, in every mode.
//!
//! Each test runs twice: `ours::…` against our server, `spark::…` against Spark's own service, which shows that the
//! test asks for what Spark does.

use sealed_shuffle_interop_tests::{
    against_both,
    fixture::{APP, Fixture},
    oracle::{Algorithm, Digest, Executor, content},
    spark::Connection,
};
use serde_json::{Value, json};

against_both!(in every kind of mode:
    answers_local_dirs_as_they_were_registered,
    diagnoses_corruption_with_each_algorithm,
    fetches_single_blocks_in_the_order_asked,
    fetches_batches_of_adjacent_partitions,
    fetches_many_small_blocks_in_one_request,
    fetches_to_files_with_the_block_store_client,
    fetches_with_the_older_open_blocks,
    forgets_the_old_directories_on_registering_again,
    keeps_several_streams_apart_on_one_connection,
    mixes_chunk_and_stream_requests_on_one_stream,
    registers_and_fetches_with_the_block_store_client,
    removes_only_the_blocks_that_are_named,
    serves_blocks_larger_than_any_buffer,
    serves_connections_side_by_side,
    serves_empty_partitions_as_empty_blocks,
    serves_map_ids_beyond_32_bits,
    serves_persisted_rdd_blocks,
    tells_how_much_it_has_served,
);

/// Three partitions, the middle one empty.
fn small_map(seed: u64) -> Vec<Vec<u8>> {
    vec![content(seed, 3000), Vec::new(), content(seed + 1, 70_000)]
}

fn fetch(exec: &str, maps: &[u64], reduces: &[&[u32]], batch: bool) -> Value {
    json!({"type": "FetchShuffleBlocks", "app": APP, "exec": exec, "shuffle": 0, "maps": maps, "reduces": reduces,
        "batch": batch})
}

#[track_caller]
fn assert_chunks(connection: &Connection, message: Value, expected: &[&[u8]]) {
    let stream = connection.open_stream(message);
    assert_eq!(stream.chunks, expected.len() as u64);
    let chunks = connection.chunks(&stream, 0..expected.len() as i64);
    for (chunk, bytes) in chunks.into_iter().zip(expected) {
        assert_eq!(chunk.digest(), Digest::of(bytes));
    }
}

fn fetches_single_blocks_in_the_order_asked(f: &Fixture) {
    let executor = f.executor("1");
    let (three, four) = (small_map(3), small_map(4));
    executor.write_map(0, 3, &three);
    executor.write_map(0, 4, &four);
    let connection = f.connect();
    let expected: [&[u8]; 4] = [&four[2], &four[0], &three[0], &three[2]];
    assert_chunks(&connection, fetch("1", &[4, 3], &[&[2, 0], &[0, 2]], false), &expected);
}

fn serves_empty_partitions_as_empty_blocks(f: &Fixture) {
    let executor = f.executor("1");
    let map = small_map(3);
    executor.write_map(0, 3, &map);
    executor.write_map(0, 5, &[Vec::new(), Vec::new()]);
    // A map without any row leaves an index and no data file.
    if !f.needs_every_data_file() {
        std::fs::remove_file(executor.path("shuffle_0_5_0.data")).expect("the file was just written");
    }
    let connection = f.connect();
    assert_chunks(&connection, fetch("1", &[3, 5], &[&[1, 0], &[0, 1]], false), &[b"", &map[0], b"", b""]);
    let stream = connection.open_stream(fetch("1", &[3], &[&[1]], false));
    assert_eq!(connection.stream(&format!("{}_0", stream.id)).digest(), Digest::of(b""));
}

fn fetches_batches_of_adjacent_partitions(f: &Fixture) {
    let executor = f.executor("1");
    let (three, four) = (small_map(3), small_map(4));
    executor.write_map(0, 3, &three);
    executor.write_map(0, 4, &four);
    let connection = f.connect();
    let expected: [&[u8]; 3] = [&three.concat(), &four[1..].concat(), b""];
    assert_chunks(&connection, fetch("1", &[3, 4, 4], &[&[0, 3], &[1, 3], &[1, 1]], true), &expected);
}

fn fetches_with_the_older_open_blocks(f: &Fixture) {
    let executor = f.executor("1");
    let (three, four) = (small_map(3), small_map(4));
    executor.write_map(0, 3, &three);
    executor.write_map(0, 4, &four);
    let connection = f.connect();
    let message = json!({"type": "OpenBlocks", "app": APP, "exec": "1",
        "blocks": ["shuffle_0_4_2", "shuffle_0_3_1", "shuffle_0_3_0_"]});
    assert_chunks(&connection, message, &[&four[2], b"", &three[0]]);
}

fn serves_map_ids_beyond_32_bits(f: &Fixture) {
    let executor = f.executor("1");
    let map = small_map(9);
    executor.write_map(0, 4_294_967_296, &map);
    assert_chunks(&f.connect(), fetch("1", &[4_294_967_296], &[&[2]], false), &[&map[2]]);
}

fn serves_persisted_rdd_blocks(f: &Fixture) {
    let executor = f.executor("1");
    let bytes = content(11, 40_000);
    executor.write("rdd_7_0", &bytes);
    executor.write("rdd_7_1", b"");
    let message = json!({"type": "OpenBlocks", "app": APP, "exec": "1", "blocks": ["rdd_7_0", "rdd_7_1"]});
    assert_chunks(&f.connect(), message, &[&bytes, b""]);
}

fn mixes_chunk_and_stream_requests_on_one_stream(f: &Fixture) {
    let executor = f.executor("1");
    let map = small_map(3);
    executor.write_map(0, 3, &map);
    let connection = f.connect();
    let stream = connection.open_stream(fetch("1", &[3], &[&[0, 1, 2, 0]], false));
    assert_eq!(connection.stream(&format!("{}_0", stream.id)).digest(), Digest::of(&map[0]));
    assert_eq!(connection.chunk(&stream, 1).digest(), Digest::of(&map[1]));
    assert_eq!(connection.stream(&format!("{}_2", stream.id)).digest(), Digest::of(&map[2]));
    assert_eq!(connection.chunk(&stream, 3).digest(), Digest::of(&map[0]));
}

fn keeps_several_streams_apart_on_one_connection(f: &Fixture) {
    let executor = f.executor("1");
    let (three, four) = (small_map(3), small_map(4));
    executor.write_map(0, 3, &three);
    executor.write_map(0, 4, &four);
    let connection = f.connect();
    let first = connection.open_stream(fetch("1", &[3], &[&[0, 2]], false));
    let second = connection.open_stream(fetch("1", &[4], &[&[0, 2]], false));
    assert_ne!(first.id, second.id);
    assert_eq!(connection.chunk(&second, 0).digest(), Digest::of(&four[0]));
    assert_eq!(connection.chunk(&first, 0).digest(), Digest::of(&three[0]));
    assert_eq!(connection.chunk(&first, 1).digest(), Digest::of(&three[2]));
    assert_eq!(connection.chunk(&second, 1).digest(), Digest::of(&four[2]));
}

fn fetches_many_small_blocks_in_one_request(f: &Fixture) {
    let executor = f.executor("1");
    let partitions: Vec<Vec<u8>> = (0..2000).map(|n| content(n, (n % 97) as usize)).collect();
    executor.write_map(0, 3, &partitions);
    let reduces: Vec<u32> = (0..2000).collect();
    let expected: Vec<&[u8]> = partitions.iter().map(Vec::as_slice).collect();
    assert_chunks(&f.connect(), fetch("1", &[3], &[&reduces], false), &expected);
}

fn serves_blocks_larger_than_any_buffer(f: &Fixture) {
    let executor = f.executor("1");
    let map = vec![content(1, 12_345_678), content(2, 1 << 20), content(3, 32 * 1024 + 1)];
    executor.write_map(0, 3, &map);
    let connection = f.connect();
    assert_chunks(&connection, fetch("1", &[3], &[&[0, 1, 2]], false), &[&map[0], &map[1], &map[2]]);
    let stream = connection.open_stream(fetch("1", &[3], &[&[0, 1]], false));
    assert_eq!(connection.stream(&format!("{}_0", stream.id)).digest(), Digest::of(&map[0]));
    assert_eq!(connection.stream(&format!("{}_1", stream.id)).digest(), Digest::of(&map[1]));
}

fn serves_connections_side_by_side(f: &Fixture) {
    let executor = f.executor("1");
    let map = vec![content(1, 2_000_000), content(2, 1_000_000)];
    executor.write_map(0, 3, &map);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let connection = f.connect();
                for _ in 0..3 {
                    assert_chunks(&connection, fetch("1", &[3], &[&[0, 1]], false), &[&map[0], &map[1]]);
                }
            });
        }
    });
}

/// What `ShuffleBlockFetcherIterator` does all day, batch and older protocol included.
fn registers_and_fetches_with_the_block_store_client(f: &Fixture) {
    let executor = Executor::beneath(f.root(), "1");
    let (three, four) = (small_map(3), small_map(4));
    executor.write_map(0, 3, &three);
    executor.write_map(0, 4, &four);
    let store = f.store();
    store.register("1", &executor).answer();
    let blocks = ["shuffle_0_3_0", "shuffle_0_4_2", "shuffle_0_3_1"].map(str::to_owned);
    let fetched = store.fetch("1", &blocks, false);
    for (block, bytes) in blocks.iter().zip([&three[0], &four[2], &three[1]]) {
        assert_eq!(fetched[block].clone().digest(), Digest::of(bytes), "{block}");
    }
    let batch = ["shuffle_0_3_0_3".to_owned()];
    assert_eq!(store.fetch("1", &batch, false)[&batch[0]].clone().digest(), Digest::of(&three.concat()));

    let older = f.credentials().with("spark.shuffle.useOldFetchProtocol", "true");
    let store = sealed_shuffle_interop_tests::spark::Store::open(&f.peer, f.address(), &older);
    let fetched = store.fetch("1", &blocks, false);
    assert_eq!(fetched[&blocks[1]].clone().digest(), Digest::of(&four[2]));
}

fn fetches_to_files_with_the_block_store_client(f: &Fixture) {
    let executor = f.executor("1");
    let map = vec![content(1, 5_000_000), Vec::new(), content(2, 100)];
    executor.write_map(0, 3, &map);
    let blocks = ["shuffle_0_3_0", "shuffle_0_3_1", "shuffle_0_3_2"].map(str::to_owned);
    let fetched = f.store().fetch("1", &blocks, true);
    for (block, bytes) in blocks.iter().zip(&map) {
        let answer = fetched[block].clone().answer();
        assert_eq!(answer["buffer"], "FileSegmentManagedBuffer", "{block} came through memory");
        assert_eq!(Digest::received(&answer), Digest::of(bytes), "{block}");
    }
}

fn forgets_the_old_directories_on_registering_again(f: &Fixture) {
    let old = f.executor("1");
    old.write_map(0, 3, &small_map(3));
    let new = Executor::beneath(f.root(), "1-again");
    let map = small_map(30);
    new.write_map(0, 3, &map);
    let connection = f.connect();
    assert_eq!(connection.register(APP, "1", &new).answer()["type"], "Empty");
    assert_chunks(&connection, fetch("1", &[3], &[&[0]], false), &[&map[0]]);
}

fn answers_local_dirs_as_they_were_registered(f: &Fixture) {
    let (one, two) = (f.executor("1"), f.executor("2"));
    let dirs = f.store().local_dirs(&["2", "1"]).answer()["dirs"].clone();
    assert_eq!(dirs, json!({"1": one.dir_names(), "2": two.dir_names()}));
    let nobody =
        f.connect().rpc(json!({"type": "GetLocalDirsForExecutors", "app": APP, "execs": []})).answer();
    assert_eq!((&nobody["type"], &nobody["dirs"]), (&json!("LocalDirsForExecutors"), &json!({})));
}

fn removes_only_the_blocks_that_are_named(f: &Fixture) {
    let executor = f.executor("1");
    executor.write("rdd_1_2", b"x");
    executor.write("rdd_1_3", b"y");
    executor.write_map(0, 8, &small_map(8));
    let kept = f.root().join("kept");
    std::fs::write(&kept, b"z").expect("the root is writable");

    let mut names = ["rdd_1_2", "rdd_1_2", "rdd_9_9", "shuffle_0_8_0.data"].map(str::to_owned).to_vec();
    if !f.is_spark_before(3, 5) {
        names.extend(["../../../kept", "", ".", "..", "a\\b"].map(str::to_owned));
    }
    assert_eq!(f.store().remove("1", &names).answer()["count"], 2);
    assert!(!executor.path("rdd_1_2").exists() && !executor.path("shuffle_0_8_0.data").exists());
    assert!(
        executor.path("rdd_1_3").exists() && executor.path("shuffle_0_8_0.index").exists() && kept.exists()
    );
}

fn diagnoses_corruption_with_each_algorithm(f: &Fixture) {
    let executor = f.executor("1");
    let map = small_map(3);
    executor.write_map(0, 3, &map);
    executor.write_map(0, 4, &map);
    let store = f.store();
    // CRC32C is known since Spark 4.0; ours knows it always.
    let known = if f.is_spark_before(4, 0) { 2 } else { 3 };
    for algorithm in &[Algorithm::Adler32, Algorithm::Crc32, Algorithm::Crc32c][..known] {
        let name = algorithm.name();
        executor.write_checksums(0, 3, *algorithm, &map);
        let mut damaged = map.clone();
        damaged[2][17] ^= 1;
        executor.write_checksums(0, 4, *algorithm, &damaged);
        let sound = algorithm.of(&map[2]);
        assert_eq!(store.diagnose("1", (0, 3, 2), sound, name), "CHECKSUM_VERIFY_PASS", "{name}");
        assert_eq!(store.diagnose("1", (0, 3, 2), sound ^ 1, name), "NETWORK_ISSUE", "{name}");
        assert_eq!(store.diagnose("1", (0, 4, 2), sound, name), "DISK_ISSUE", "{name}");
        assert_eq!(
            store.diagnose("1", (0, 3, 1), algorithm.of(b""), name),
            "CHECKSUM_VERIFY_PASS",
            "{name}, empty"
        );
    }
    assert_eq!(store.diagnose("1", (0, 3, 0), 1, "MD5"), "UNSUPPORTED_CHECKSUM_ALGORITHM");
    executor.write_map(0, 5, &map);
    assert_eq!(store.diagnose("1", (0, 5, 0), 1, "ADLER32"), "UNKNOWN_ISSUE");
}

fn tells_how_much_it_has_served(f: &Fixture) {
    let executor = f.executor("1");
    let map = small_map(3);
    executor.write_map(0, 3, &map);
    assert_chunks(&f.connect(), fetch("1", &[3], &[&[0, 2]], false), &[&map[0], &map[2]]);
    assert_eq!(f.block_bytes_served(), (map[0].len() + map[2].len()) as u64);
}
