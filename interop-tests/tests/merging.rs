//! Spark's own pusher, finalizer and reader of merged data against our server: the classes of five releases.
//!
//! The story and its numbers are those that Spark's own handler was seen with: chunks of at least 16 bytes.

use std::{
    fs,
    time::{Duration, Instant},
};

use sealed_shuffle_interop_tests::{
    client::Store,
    merging::{Merging, merged_files},
    mode::{Cipher, Mode},
    oracle::{CANARY, Digest, Executor},
    proxy::contains,
};
use serde_json::json;

const MERGER: &str = "shuffle-push-merger";

/// An executor and its merger.
struct Scene {
    merging: Merging,
    executor: Executor,
}

impl Scene {
    fn start(mode: Mode) -> Self {
        let merging = Merging::start(mode, "16");
        merging.f.expect_warning("a merged chunk failed");
        let executor = Executor::beneath(merging.f.root(), "1");
        Self { merging, executor }
    }

    /// A client of an attempt whose executor is registered, with its merge directories as executors make them.
    fn attempt(&self, attempt: i32) -> Store {
        for dir in &self.executor.dirs {
            let merge = dir.with_file_name(format!("merge_manager_{attempt}"));
            for sub in 0..self.executor.sub_dirs {
                fs::create_dir_all(merge.join(format!("{sub:02x}"))).expect("the root is writable");
            }
        }
        let store = self.merging.f.store();
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
    let scene = Scene::start(mode);
    let store = scene.attempt(1);
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

    let files = merged_files(scene.merging.f.root());
    assert_eq!(files.len(), 9, "three files for each of three partitions: {files:?}");
    for file in files {
        let content = fs::read(&file).expect("merged files are readable");
        assert!(!contains(&content, CANARY.as_bytes()), "{} shows what was pushed", file.display());
    }

    let second = scene.attempt(2);
    let old = push(&store, 0, 0, b"of an attempt that is over");
    assert!(old == "TOO_OLD_ATTEMPT_PUSH" || old.contains("IOException"), "{old}");
    assert_eq!(push(&second, 0, 0, b"F"), "SUCCESS");
    assert_eq!(scene.merging.count("written_bytes"), 700_028.0);
}

/// The removal of a merge came with 3.4.
fn removes(mode: Mode) {
    let scene = Scene::start(mode);
    let store = scene.attempt(1);
    assert_eq!(push(&store, 0, 0, &[7; 100]), "SUCCESS");
    store.finalize(0, 0).answer();
    assert_eq!(store.remove_merge(0, -1).answer()["sent"], true);
    // Nobody answers it; the next request of the same connection comes after it.
    assert_eq!(push(&store, 1, 0, b"x"), "TOO_LATE_BLOCK_PUSH");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !merged_files(scene.merging.f.root()).is_empty() {
        assert!(Instant::now() < deadline, "what was removed is still there");
        std::thread::sleep(Duration::from_millis(10));
    }
    let gone = store.fetch(MERGER, &["shuffleChunk_0_0_0_0".to_owned()], false);
    let text = gone.into_values().map(|outcome| outcome.failure().text().to_owned()).collect::<String>();
    assert!(text.contains("Merged shuffle data file"), "{text}");
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
