//! Spark's own pusher, finalizer and reader of merged data against our server and against Spark's own merger, which is
//! the oracle: the same story with the classes of every release that merges.
//!
//! `SEALED_SHUFFLE_MATRIX=full` goes through all of them, in clear too. Chunks have at least 16 bytes.

use std::{
    fs,
    time::{Duration, Instant},
};

use sealed_shuffle_interop_tests::{
    merger::{Merger, merged_files},
    modes::matrix::is_chosen,
    modes::{Auth, Cipher, Mode, Service, number},
    oracle::{CANARY, Digest, Executor},
    spark::{Store, spark_metrics},
    wire::contains,
};
use serde_json::json;

const MERGER: &str = "shuffle-push-merger";

/// An executor and its merger.
struct Scene {
    merging: Merger,
    executor: Executor,
}

impl Scene {
    fn start(service: Service, mode: Mode) -> Self {
        let merging = Merger::start_of(service, mode, "16", &[]);
        merging.f.expect_warning("a merged chunk failed");
        let executor = Executor::beneath(merging.f.root(), "1");
        Self { merging, executor }
    }

    /// A client of an attempt whose executor is registered, with its merge directories as executors make them.
    fn attempt(&self, attempt: i32) -> Store {
        self.executor.make_merge_dirs(attempt);
        let store = self.merging.f.store();
        store.set_attempt(attempt);
        store.register_merging("1", &self.executor, attempt).answer();
        store
    }

    fn service(&self) -> Service {
        self.merging.f.service
    }

    /// Bytes written to merged files; Spark counts them since 3.4.
    fn written(&self) -> Option<u64> {
        let f = &self.merging.f;
        match self.service() {
            Service::Ours => Some(self.merging.count("written_bytes") as u64),
            Service::Spark => spark_metrics(&f.peer, f.address()).get("blockBytesWritten").copied(),
        }
    }

    /// Whether Spark's own merger answers what was merged with a null: before 3.5 behind the AES handshake, whose
    /// handler (`AuthRpcHandler`) has none of that request. Ours always answers.
    fn knows_no_meta(&self) -> bool {
        let mode = self.merging.f.mode;
        self.service() == Service::Spark && number(mode.version) < (3, 5) && mode.authenticates()
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

fn merges(service: Service, mode: Mode) {
    let scene = Scene::start(service, mode);
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

    if scene.knows_no_meta() {
        let failure = store.merged(0, 0, 0).failure();
        assert!(failure.message.contains("NullPointerException"), "{failure:?}");
    } else {
        let meta = store.merged(0, 0, 0).answer();
        assert_eq!((&meta["count"], &meta["chunks"]), (&json!(2), &json!([[0, 2, 5], [1, 7]])));
        let none = store.merged(0, 0, 9).failure();
        assert!(none.message.contains("Merged shuffle index file"), "{none:?}");
    }
    assert_eq!(chunks(&store, 0, 2), [digest(b"AAAABBBBBBBBBBCCCCCC"), digest(b"DDD")]);
    assert_eq!(chunks(&store, 1, 1), [digest(&long)]);
    let beyond = store.fetch(MERGER, &["shuffleChunk_0_0_0_2".to_owned()], false);
    assert!(beyond.into_values().all(|outcome| outcome.failure().class.contains("ChunkFetchFailure")));

    assert_eq!(push(&store, 8, 0, b"late"), "TOO_LATE_BLOCK_PUSH");
    let newer = store.push(&[("shufflePush_0_1_0_0".to_owned(), b"EEEE".to_vec())]);
    assert_eq!(newer.into_values().collect::<Vec<_>>(), ["SUCCESS"]);
    assert_eq!(push(&store, 9, 0, b"stale"), "STALE_BLOCK_PUSH");

    let files = merged_files(scene.merging.f.root());
    assert_eq!(files.len(), 9, "three files for each of three partitions: {files:?}");
    let shown = files
        .iter()
        .filter(|file| contains(&fs::read(file).expect("merged files are readable"), CANARY.as_bytes()));
    // Spark's own are in clear: whoever looks finds it.
    let expected = usize::from(service == Service::Spark);
    assert_eq!(shown.count(), expected, "files of {service:?} that show what was pushed");

    let second = scene.attempt(2);
    let old = push(&store, 0, 0, b"of an attempt that is over");
    assert!(old == "TOO_OLD_ATTEMPT_PUSH" || old.contains("IOException"), "{old}");
    assert_eq!(push(&second, 0, 0, b"F"), "SUCCESS");
    let is_counted = service == Service::Ours || number(mode.version) >= (3, 4);
    assert_eq!(scene.written(), is_counted.then_some(700_028));
}

/// The removal of a merge came with 3.4.
fn removes(service: Service, mode: Mode) {
    let scene = Scene::start(service, mode);
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

/// The releases in what they have: behind the AES handshake, where all but the newest fail in something, and in clear.
fn modes() -> Vec<Mode> {
    let mut modes = vec![
        Mode::aes("3.2.4", Cipher::Ctr, 1),
        Mode::aes("3.3.4", Cipher::Ctr, 1),
        Mode::aes("3.5.9", Cipher::Gcm, 1),
        Mode::aes("4.0.5", Cipher::Ctr, 2),
        Mode::newest(Cipher::Gcm, 2),
    ];
    if is_chosen() {
        modes.push(Mode::aes("3.4.4", Cipher::Ctr, 1));
        modes.push(Mode::newest(Cipher::Ctr, 1));
        modes.extend(
            ["3.2.4", "3.3.4", "3.4.4", "3.5.9", "4.0.5", "4.3.0"]
                .map(|release| Mode::new(release, Auth::None)),
        );
    }
    modes
}

fn merges_and_removes(service: Service) {
    for mode in modes() {
        eprintln!("in mode {mode} against {service:?}");
        merges(service, mode);
        if number(mode.version) >= (3, 4) {
            removes(service, mode);
        }
    }
}

#[test]
fn sparks_clients_of_every_release_merge_with_ours() {
    merges_and_removes(Service::Ours);
}

#[test]
fn sparks_clients_of_every_release_merge_with_sparks_own() {
    merges_and_removes(Service::Spark);
}
