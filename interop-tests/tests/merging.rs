//! Spark's own pusher, finalizer and reader of merged data against our server: the classes of five releases.
//!
//! The story and its numbers are those that Spark's own handler was seen with: chunks of at least 16 bytes.

use std::{
    fs,
    time::{Duration, Instant},
};

use sealed_shuffle_interop_tests::{
    client::Store,
    mode::{Cipher, Mode},
    oracle::{CANARY, Digest, Executor},
    proxy::contains,
    service::{Fixture, Service},
};
use serde_json::json;
use tempfile::TempDir;

const MERGES: (&str, &str) = (
    "spark.shuffle.push.server.mergedShuffleFileManagerImpl",
    "org.apache.spark.network.shuffle.RemoteBlockPushResolver",
);
const SMALL_CHUNKS: (&str, &str) = ("spark.shuffle.push.server.minChunkSizeInMergedShuffleFile", "16");
const MERGER: &str = "shuffle-push-merger";

struct Merging {
    f: Fixture,
    executor: Executor,
    _state: TempDir,
}

impl Merging {
    fn start(mode: Mode) -> Self {
        let state = TempDir::with_prefix("interop-state-").expect("the temporary directory is writable");
        let dir = state.path().to_str().expect("test paths are text");
        let more = [MERGES, SMALL_CHUNKS, ("spark.sealed.state.dir", dir)];
        let f = Fixture::start_with(Service::Ours, mode, &more);
        f.allow_warning("on the same file system");
        f.expect_warning("made the key file");
        f.expect_warning("a merged chunk failed");
        let executor = Executor::beneath(f.root(), "1");
        Self { f, executor, _state: state }
    }

    /// A client of an attempt whose executor is registered, with its merge directories as executors make them.
    fn attempt(&self, attempt: i32) -> Store {
        for dir in &self.executor.dirs {
            let merge = dir.with_file_name(format!("merge_manager_{attempt}"));
            for sub in 0..self.executor.sub_dirs {
                fs::create_dir_all(merge.join(format!("{sub:02x}"))).expect("the root is writable");
            }
        }
        let store = self.f.store();
        store.set_attempt(attempt);
        store.register_merging("1", &self.executor, attempt).answer();
        store
    }
}

fn name(map: i32, reduce: i32) -> String {
    format!("shufflePush_0_0_{map}_{reduce}")
}

/// The code of one block.
#[track_caller]
fn push(store: &Store, map: i32, reduce: i32, data: &[u8]) -> String {
    let outcomes = store.push(&[(name(map, reduce), data.to_vec())]);
    outcomes[&name(map, reduce)].clone()
}

#[track_caller]
fn chunks(store: &Store, reduce: i32, count: usize) -> Vec<Digest> {
    let names: Vec<String> = (0..count).map(|chunk| format!("shuffleChunk_0_0_{reduce}_{chunk}")).collect();
    let mut fetched = store.fetch(MERGER, &names, false);
    names.iter().map(|name| fetched.remove(name).expect("each has an outcome").digest()).collect()
}

fn merges(mode: Mode) {
    let merging = Merging::start(mode);
    let store = merging.attempt(1);
    let digest = |bytes: &[u8]| Digest::of(bytes);

    for (map, data) in [(0, "AAAA"), (0, "AAAA"), (5, "BBBBBBBBBB"), (2, "CCCCCC"), (7, ""), (1, "DDD")] {
        assert_eq!(push(&store, map, 0, data.as_bytes()), "SUCCESS", "map {map}");
    }
    let long: Vec<u8> = CANARY.bytes().cycle().take(700_000).collect();
    assert_eq!(push(&store, 0, 1, &long), "SUCCESS");

    let statuses = store.finalize(0, 0).answer();
    assert_eq!(statuses["reduces"]["0"], json!({"size": 23, "maps": [0, 1, 2, 5, 7]}), "{statuses}");
    assert_eq!(statuses["reduces"]["1"], json!({"size": 700_000, "maps": [0]}), "{statuses}");
    let again = store.finalize(0, 0).failure();
    assert!(again.message.contains("is stale shuffle finalize request"), "{again:?}");

    let meta = store.merged(0, 0, 0).answer();
    assert_eq!((&meta["count"], &meta["chunks"]), (&json!(2), &json!([[0, 2, 5], [1, 7]])));
    assert_eq!(chunks(&store, 0, 2), [digest(b"AAAABBBBBBBBBBCCCCCC"), digest(b"DDD")]);
    assert_eq!(chunks(&store, 1, 1), [digest(&long)]);
    let none = store.merged(0, 0, 9).failure();
    assert!(none.message.contains("Merged shuffle index file"), "{none:?}");
    let beyond = store.fetch(MERGER, &["shuffleChunk_0_0_0_2".to_owned()], false);
    assert!(beyond.into_values().all(|outcome| outcome.failure().class.contains("ChunkFetchFailure")));

    assert_eq!(push(&store, 8, 0, b"late"), "TOO_LATE_BLOCK_PUSH");
    let newer = store.push(&[("shufflePush_0_1_0_0".to_owned(), b"EEEE".to_vec())]);
    assert_eq!(newer.into_values().collect::<Vec<_>>(), ["SUCCESS"]);
    assert_eq!(push(&store, 9, 0, b"stale"), "STALE_BLOCK_PUSH");

    for path in merging.executor.dirs.iter().map(|dir| dir.with_file_name("merge_manager_1")) {
        for file in walk(&path) {
            let content = fs::read(&file).expect("merged files are readable");
            assert!(!contains(&content, CANARY.as_bytes()), "{} shows what was pushed", file.display());
        }
    }

    let second = merging.attempt(2);
    let old = push(&store, 0, 0, b"of an attempt that is over");
    assert!(old == "TOO_OLD_ATTEMPT_PUSH" || old.contains("IOException"), "{old}");
    assert_eq!(push(&second, 0, 0, b"F"), "SUCCESS");
    let written = merging.f.ours().expect("it is ours").metric("sealed_shuffle_merge_written_bytes_total");
    assert_eq!(written, 700_028.0);
}

/// The removal of a merge came with 3.4.
fn removes(mode: Mode) {
    let merging = Merging::start(mode);
    let store = merging.attempt(1);
    assert_eq!(push(&store, 0, 0, &[7; 100]), "SUCCESS");
    store.finalize(0, 0).answer();
    assert_eq!(store.remove_merge(0, -1).answer()["sent"], true);
    // Nobody answers it; the next request of the same connection comes after it.
    assert_eq!(push(&store, 1, 0, b"x"), "TOO_LATE_BLOCK_PUSH");
    let files =
        || merging.executor.dirs.iter().flat_map(|dir| walk(&dir.with_file_name("merge_manager_1"))).count();
    let deadline = Instant::now() + Duration::from_secs(20);
    while files() > 0 {
        assert!(Instant::now() < deadline, "what was removed is still there");
        std::thread::sleep(Duration::from_millis(10));
    }
    let gone = store.fetch(MERGER, &["shuffleChunk_0_0_0_0".to_owned()], false);
    let text = gone.into_values().map(|outcome| outcome.failure().text().to_owned()).collect::<String>();
    assert!(text.contains("Merged shuffle data file"), "{text}");
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let (mut all, mut dirs) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for path in fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()) {
            match path.is_dir() {
                true => dirs.push(path),
                false => all.push(path),
            }
        }
    }
    all
}

#[test]
fn spark_3_2_4_merges() {
    merges(Mode::aes("3.2.4", Cipher::Ctr, 1));
}

#[test]
fn spark_3_3_4_merges() {
    merges(Mode::aes("3.3.4", Cipher::Ctr, 1));
}

#[test]
fn spark_3_5_9_merges_and_removes() {
    merges(Mode::aes("3.5.9", Cipher::Gcm, 1));
    removes(Mode::aes("3.5.9", Cipher::Gcm, 1));
}

#[test]
fn spark_4_0_5_merges_and_removes() {
    merges(Mode::aes("4.0.5", Cipher::Ctr, 2));
    removes(Mode::aes("4.0.5", Cipher::Ctr, 2));
}

#[test]
fn spark_4_3_0_merges_and_removes() {
    merges(Mode::newest(Cipher::Gcm, 2));
    removes(Mode::newest(Cipher::Gcm, 2));
}
