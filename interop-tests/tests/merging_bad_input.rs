//! What no application sends, end to end: our server and Spark's own merger (RemoteBlockPushResolver behind
//! ExternalBlockHandler, Spark 4.3.0) answer alike, write nothing, and close the same connections.
//!
//! Where ours answers otherwise on purpose, both answers stand in the test, and why.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use sealed_shuffle_interop_tests::{
    fixture::{APP, SECRET},
    merger::{Merger, merged_files},
    modes::{Auth, Cipher, Mode, Service},
    oracle::Executor,
    spark::{Connection, Credentials, spark_metrics},
    wire::{Pusher, here, registration},
};
use sealed_shuffle_protocol::{
    ids::{AppId, ExecutorId, ReduceId, ShuffleId, ShuffleMergeId},
    shuffle::{
        FetchShuffleBlockChunks, FinalizeShuffleMerge, GetLocalDirsForExecutors, OpenBlocks, PushBlockStream,
        RemoveShuffleMerge, Strings,
    },
};
use serde_json::json;

/// Both services, Spark's in front, with the application registered as attempt 1.
struct Services([Side; 2]);

struct Side(Merger);

impl Services {
    /// In clear.
    fn start() -> Self {
        Self::start_in(Mode::new("4.3.0", Auth::None), &[])
    }

    fn start_in(mode: Mode, more: &[(&str, &str)]) -> Self {
        Self([Service::Spark, Service::Ours].map(|service| {
            let merging = Merger::start_of(service, mode, "16", more);
            merging.f.allow_warning("a merged chunk failed");
            merging.f.allow_warning("refused a message for another application");
            merging.f.allow_warning("reason=bad frame: frame length");
            let executor = Executor::merging_beneath(merging.f.root(), "1");
            let side = Side(merging);
            match mode.auth {
                Auth::None => assert_eq!(side.connect().rpc(registration(APP, &executor, 1)), "done"),
                _ => _ = side.0.f.store().register_merging("1", &executor, 1).answer(),
            }
            side
        }))
    }

    /// Both answer alike and write nothing.
    #[track_caller]
    fn agree(&self, what: &str, ask: impl Fn(&mut Pusher) -> Vec<String>) {
        let [spark, ours] = self.ask(what, ask);
        assert_eq!(ours, spark, "{what}: Spark's answers are on the right");
    }

    /// The answers of both on a connection of its own; the last says whether it goes on. Ours writes nothing, and
    /// Spark's neither where it refuses.
    #[track_caller]
    fn ask(&self, what: &str, ask: impl Fn(&mut Pusher) -> Vec<String>) -> [Vec<String>; 2] {
        self.0.each_ref().map(|side| {
            let (files, bytes) = (side.files(), side.count("written_bytes_total"));
            let mut pusher = side.connect();
            let mut answers = ask(&mut pusher);
            let is_merged = answers.iter().any(|answer| answer == "Success");
            let goes_on = pusher.rpc(here(APP)) != "closed";
            answers.push(if goes_on { "open" } else { "closed" }.to_owned());
            if side.service() == Service::Ours || !is_merged {
                assert_eq!(side.files(), files, "{what}: {:?} wrote something", side.service());
                assert_eq!(side.count("written_bytes_total"), bytes, "{what}");
            }
            answers
        })
    }
}

impl Side {
    fn service(&self) -> Service {
        self.0.f.service
    }

    fn connect(&self) -> Pusher {
        Pusher::connect(self.0.f.address(), self.0.f.root())
    }

    /// A counter, by our name for it.
    fn count(&self, name: &str) -> f64 {
        if self.service() == Service::Ours {
            return self.0.server().metric(&format!("sealed_shuffle_merge_{name}"));
        }
        let theirs = match name {
            "written_bytes_total" => "blockBytesWritten",
            "deferred_bytes" => "deferredBlockBytes",
            other => panic!("Spark counts no {other} as they come"),
        };
        spark_metrics(&self.0.f.peer, self.0.f.address())[theirs] as f64
    }

    /// Waits until so many bytes of pushes are taken up, in whatever way.
    fn wait_for(&self, bytes: f64) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let names = ["written_bytes_total", "deferred_bytes", "ignored_bytes_total"];
        let names = &names[..if self.service() == Service::Ours { 3 } else { 2 }];
        while names.iter().map(|name| self.count(name)).sum::<f64>() < bytes {
            let taken: Vec<f64> = names.iter().map(|name| self.count(name)).collect();
            assert!(Instant::now() < deadline, "{bytes} bytes are not taken up, but {names:?} {taken:?}");
        }
    }

    fn files(&self) -> Vec<(PathBuf, u64)> {
        let len = |path: &PathBuf| fs::metadata(path).map_or(0, |metadata| metadata.len());
        let mut files: Vec<_> =
            merged_files(self.0.f.root()).into_iter().map(|path| (path.clone(), len(&path))).collect();
        files.sort();
        files
    }
}

/// Shuffle, merge, map and reduce.
fn push(app: &str, attempt: i32, [shuffle, merge, map, reduce]: [i32; 4]) -> PushBlockStream {
    PushBlockStream {
        app: AppId::new(app),
        app_attempt: attempt,
        shuffle: ShuffleId(shuffle),
        merge: ShuffleMergeId(merge),
        map_index: map,
        reduce: ReduceId(reduce),
        index: 0,
    }
}

fn finalize(app: &str, attempt: i32, shuffle: i32, merge: i32) -> FinalizeShuffleMerge {
    let (shuffle, merge) = (ShuffleId(shuffle), ShuffleMergeId(merge));
    FinalizeShuffleMerge { app: AppId::new(app), app_attempt: attempt, shuffle, merge }
}

fn remove(app: &str, attempt: i32, shuffle: i32, merge: i32) -> RemoveShuffleMerge {
    let (shuffle, merge) = (ShuffleId(shuffle), ShuffleMergeId(merge));
    RemoveShuffleMerge { app: AppId::new(app), app_attempt: attempt, shuffle, merge }
}

fn chunks(reduces: &[i32], chunks: &[&[i32]]) -> FetchShuffleBlockChunks {
    FetchShuffleBlockChunks {
        app: AppId::new(APP),
        executor: ExecutorId::new("shuffle-push-merger"),
        shuffle: ShuffleId(0),
        merge: ShuffleMergeId(0),
        reduces: reduces.iter().copied().map(ReduceId).collect(),
        chunks: chunks.iter().map(|chunks| chunks.iter().copied()).collect(),
    }
}

#[test]
fn unknown_applications_shuffles_and_partitions() {
    let both = Services::start();
    let app = "app-unknown";
    both.agree("push of an unknown application", |p| vec![p.push(push(app, 1, [0; 4]), b"x")]);
    both.agree("finalization of one", |p| vec![p.rpc(finalize(app, 1, 0, 0))]);
    both.agree("its bitmaps", |p| vec![p.meta(app, 0, 0, 0)]);
    both.agree("its chunks", |p| vec![p.chunk(app, 0, 0, 0, 0)]);
    both.agree("its removal", |p| vec![p.rpc(remove(app, 1, 0, 0))]);
    both.agree("its removal, unanswered", |p| {
        p.one_way(remove(app, 1, 0, 0));
        vec![]
    });
    both.agree("bitmaps of an unknown shuffle", |p| vec![p.meta(APP, 77, 0, 0)]);
    both.agree("chunks of one", |p| vec![p.chunk(APP, 77, 0, 0, 0)]);
    both.agree("finalization of one", |p| {
        vec![p.rpc(finalize(APP, 1, 55, 0)), p.rpc(finalize(APP, 1, 55, 0))]
    });
    both.agree("a push behind it", |p| vec![p.push(push(APP, 1, [55, 0, 0, 0]), b"x")]);
    both.agree("removal of one", |p| {
        p.one_way(remove(APP, 1, 66, -1));
        p.one_way(remove(APP, 1, 66, 3));
        vec![p.push(push(APP, 1, [66, 3, 0, 0]), b"x"), p.push(push(APP, 1, [66, 2, 0, 0]), b"x")]
    });
}

#[test]
fn wrong_attempts() {
    let both = Services::start();
    for attempt in [0, 2, -1, i32::MAX, i32::MIN] {
        both.agree("a push", |p| vec![p.push(push(APP, attempt, [0; 4]), b"x"), p.answer()]);
        both.agree("an empty push", |p| vec![p.push(push(APP, attempt, [0; 4]), b""), p.answer()]);
        both.agree("a finalization", |p| vec![p.rpc(finalize(APP, attempt, 0, 0))]);
        both.agree("a removal", |p| vec![p.rpc(remove(APP, attempt, 0, 0))]);
    }
    both.agree("none of it finalized anything", |p| vec![p.rpc(finalize(APP, 1, 0, 0))]);
}

#[test]
fn chunks_that_are_not_there() {
    let both = Services::start();
    for side in &both.0 {
        assert_eq!(side.connect().push(push(APP, 1, [0, 0, 0, 0]), &[7; 20]), "Success");
        assert_eq!(side.connect().push(push(APP, 1, [0, 0, 1, 0]), &[7; 20]), "Success");
    }
    for chunk in [0, 1, 2, -1, i32::MAX, i32::MIN] {
        both.agree("a chunk", |p| vec![p.chunk(APP, 0, 0, 0, chunk)]);
    }
    both.agree("a partition", |p| vec![p.chunk(APP, 0, 0, 9, 0), p.meta(APP, 0, 0, 9)]);
    both.agree("a merge", |p| vec![p.chunk(APP, 0, 1, 0, 0), p.meta(APP, 0, 1, 0)]);
    for [shuffle, merge, reduce] in [[-1, 0, 0], [0, -1, 0], [0, 0, -1], [i32::MIN; 3]] {
        both.agree("negative ids", |p| {
            vec![p.chunk(APP, shuffle, merge, reduce, 0), p.meta(APP, shuffle, merge, reduce)]
        });
    }
}

/// Ours refuses to merge under them: to Spark a negative map index is nobody's, so that two of them are written at once.
#[test]
fn negative_ids() {
    let both = Services::start();
    both.agree("finalization", |p| {
        vec![p.rpc(finalize(APP, 1, -5, -7)), p.rpc(finalize(APP, 1, i32::MIN, i32::MIN))]
    });
    both.agree("removal", |p| {
        p.one_way(remove(APP, 1, -6, i32::MIN));
        vec![p.rpc(finalize(APP, 1, -6, 0))]
    });
    for (ids, name) in [
        ([-1, 0, 0, 0], "shuffleId -1"),
        ([0, -1, 0, 0], "shuffleMergeId -1"),
        ([0, 0, -1, 0], "mapIndex -1"),
        ([0, 0, 0, i32::MIN], "reduceId -2147483648"),
    ] {
        let [spark, ours] = both.ask(name, |p| vec![p.push(push(APP, 1, ids), b"x")]);
        assert_eq!(spark, ["Success", "open"], "{name}");
        let text =
            format!("failure: java.lang.IllegalArgumentException: A pushed block with {name} is refused");
        assert_eq!(ours, [&*text, "closed"], "{name}");
    }
}

/// Spark writes what comes of 8 EiB and waits for the rest; ours refuses what no frame could bring to a reader.
#[test]
fn absurd_sizes() {
    let both = Services::start();
    let begun = |side: &Side, reduce, len| {
        let mut pusher = side.connect();
        pusher.begin_absurd(push(APP, 1, [0, 0, 0, reduce]), len, b"some of it");
        pusher.answer_within(Duration::from_millis(300))
    };
    for (reduce, len) in [(1, 1 << 31), (2, u64::MAX >> 1)] {
        let [spark, ours] = both.0.each_ref().map(|side| begun(side, reduce, len));
        assert_eq!(spark, "silence", "{len}");
        let text = format!(
            "failure: java.lang.IllegalArgumentException: A pushed block with {len} bytes is refused"
        );
        assert_eq!(ours, text);
    }
    // Less than nothing is nothing to Spark, and what follows is its next frame; ours ends the connection.
    for (reduce, len) in [(3, 1 << 63), (4, u64::MAX)] {
        let answers = both.0.each_ref().map(|side| begun(side, reduce, len));
        assert_eq!(answers, ["Success", "closed"], "{len}");
    }
    let [_, ours] = &both.0;
    assert_eq!(ours.files(), []);
}

/// Messages as they stand: a type, some fields, and counts that nothing follows.
#[test]
fn absurd_counts() {
    let both = Services::start();
    let number = |number: i32| number.to_be_bytes().to_vec();
    let text = |text: &str| [number(text.len() as i32), text.as_bytes().to_vec()].concat();
    let head = [vec![15], text(APP), text("shuffle-push-merger"), number(0), number(0)].concat();
    let zero = || number(0);
    for count in [-1, 1000, i32::MIN, i32::MAX >> 3] {
        for (what, body) in [
            ("partitions", [head.clone(), number(count)].concat()),
            ("lists of chunks", [head.clone(), number(1), zero(), number(count)].concat()),
            ("chunks", [head.clone(), number(1), zero(), number(1), number(count)].concat()),
            ("bitmaps", [vec![14], zero(), zero(), number(count)].concat()),
            ("letters", [vec![13], number(count)].concat()),
        ] {
            if count > 1000 {
                // Spark would make room for them.
                let [_, ours] = &both.0;
                let answer = ours.connect().rpc_bytes(&body);
                assert_eq!(answer, "failure: java.lang.IndexOutOfBoundsException", "{count} {what}");
                continue;
            }
            both.agree(what, |p| vec![p.rpc_bytes(&body)]);
        }
    }
    for (reduces, lists) in [(&[][..], &[][..]), (&[0], &[&[][..]]), (&[0, 0], &[&[0], &[0]])] {
        both.agree("lists", |p| vec![p.rpc(chunks(reduces, lists))]);
    }
    // Spark takes lists that do not belong together, and fails in the middle of them; ours says so at once.
    for (reduces, lists, count) in [(&[0][..], &[][..], 0), (&[], &[&[0, 1][..]], 2), (&[0, 1], &[&[0]], 1)] {
        let [spark, ours] = both.ask("lists", |p| vec![p.rpc(chunks(reduces, lists))]);
        assert_eq!(spark, [&*format!("a stream of {count} chunks"), "open"]);
        let text = format!(
            "failure: java.lang.IllegalArgumentException: lists of {} and {} elements should be equally long",
            reduces.len(),
            lists.len()
        );
        assert_eq!(ours, [&*text, "open"]);
    }
    for name in ["_0_0_0", "_a_0_0_0", "_0_0_0_0_0", "_0_0_0_99999999999", "_", "_0_0_0_0"] {
        let blocks = [format!("shuffleChunk{name}")];
        let open = || OpenBlocks {
            app: AppId::new(APP),
            executor: ExecutorId::new("shuffle-push-merger"),
            blocks: Strings::try_from_iter(&blocks).expect("one name"),
        };
        both.agree(name, |p| vec![p.rpc(open())]);
    }
}

/// Authenticated as one application, in the name of another: behind all but a push the connection goes on.
#[test]
fn foreign_applications() {
    let both = Services::start_in(Mode::newest(Cipher::Gcm, 2), &[]);
    let [spark, ours] = both.0.each_ref().map(|side| {
        let f = &side.0.f;
        let stranger = Credentials::new(&f.mode, "app-stranger", SECRET);
        let connect = || Connection::open(&f.peer, f.address(), &stranger).expect("the secret is right");
        let connection = connect();
        let named = |kind: &str| {
            json!({"type": kind, "app": APP, "attempt": 1, "shuffle": 0, "merge": 0, "exec": "shuffle-push-merger",
                "execs": ["shuffle-push-merger"], "reduces": [0], "chunks": [[0]],
                "blocks": ["shuffleChunk_0_0_0_0"], "map_index": 0, "reduce": 0, "index": 0})
        };
        connection.one_way(named("RemoveShuffleMerge"));
        let kinds = [
            "FinalizeShuffleMerge",
            "FetchShuffleBlockChunks",
            "OpenBlocks",
            "RemoveShuffleMerge",
            "GetLocalDirsForExecutors",
        ];
        let mut failures = kinds.map(|kind| connection.rpc(named(kind)).failure()).to_vec();
        failures.push(connection.merged_meta(APP).failure());
        assert!(connection.is_active());
        failures.push(connection.upload(named("PushBlockStream"), "78787878").failure());
        assert!(connection.is_closed_within(5000), "a push that is refused ends the connection");
        failures.push(connect().upload(named("PushBlockStream"), "").failure());
        assert_eq!((side.files(), side.count("written_bytes_total")), (vec![], 0.0));
        // And nothing was finalized or removed.
        let store = f.store();
        store.set_attempt(1);
        let pushed = store.push(&[("shufflePush_0_0_0_0".to_owned(), b"x".to_vec())]);
        assert_eq!(pushed["shufflePush_0_0_0_0"], "SUCCESS");
        failures.iter().map(|failure| failure.text().to_owned()).collect::<Vec<_>>()
    });
    assert_eq!(ours, spark);
    let denied = format!("SecurityException: Client for app-stranger not authorized for application {APP}.");
    assert!(spark.iter().all(|text| text.ends_with(&denied)), "{spark:?}");
}

/// Readers on the merger's own host ask where the merged files lie. Spark's tells them, and they read the files; ours
/// are sealed, so that it refuses, upon which readers fall back to the original blocks.
#[test]
fn directories_of_merged_files() {
    let both = Services::start();
    let dirs = |app: &str, names: &[&str]| GetLocalDirsForExecutors {
        app: AppId::new(app),
        executors: Strings::try_from_iter(names.iter().copied()).expect("a few names"),
    };
    for names in [&["shuffle-push-merger"][..], &["1", "shuffle-push-merger"]] {
        let [spark, ours] = both.ask("directories", |p| vec![p.rpc(dirs(APP, names))]);
        assert!(spark[0].contains("ROOT/spark-1-0/merge_manager_1") && spark[1] == "open", "{spark:?}");
        let refused = "failure: java.lang.UnsupportedOperationException: Merged shuffle files are sealed and \
                       cannot be read from the local disk";
        assert_eq!(ours, [refused, "open"]);
    }
    both.agree("of an unknown one", |p| vec![p.rpc(dirs("app-unknown", &["shuffle-push-merger"]))]);
    both.agree("with an unknown executor", |p| vec![p.rpc(dirs(APP, &["9", "shuffle-push-merger"]))]);
}

/// Decision 28: bytes of a duplicate are ignored while another push of the block is writing. When that one is lost,
/// Spark writes what still comes, half a block that counts as whole; with ours it is a collision, after which the
/// block can be pushed again.
#[test]
fn half_a_block_is_a_collision_with_ours() {
    let both = Services::start_in(Mode::new("4.3.0", Auth::None), &[("spark.shuffle.io.serverThreads", "1")]);
    let [spark, ours] = both.0.each_ref().map(|side| {
        let (mut writer, mut duplicate, mut control) = (side.connect(), side.connect(), side.connect());
        // What was sent to Spark's one thread is worked off before the third answer behind it; ours counts it.
        let mut settle = |taken: f64| match side.service() {
            Service::Spark => (0..3).for_each(|_| _ = control.rpc(here(APP))),
            Service::Ours => side.wait_for(taken),
        };
        for pusher in [&mut writer, &mut duplicate] {
            pusher.rpc(here(APP));
        }
        writer.begin(push(APP, 1, [0; 4]), 20, &[1; 5]);
        settle(5.0);
        duplicate.begin(push(APP, 1, [0; 4]), 20, &[2; 8]);
        settle(13.0);
        drop(writer);
        // What the lost one wrote is counted as ignored, too.
        settle(18.0);
        duplicate.data(&[2; 12]);
        let answer = duplicate.answer();
        let again = duplicate.push(push(APP, 1, [0; 4]), &[2; 20]);
        [answer, again, duplicate.rpc(finalize(APP, 1, 0, 0)), duplicate.chunk(APP, 0, 0, 0, 0)]
    });
    let chunk = |bytes: usize| format!("chunk: {}", "02".repeat(bytes));
    let statuses = |bytes: usize| format!("shuffle 0 merge 0: 0 has {bytes} bytes of [0]");
    assert_eq!(spark, ["Success".to_owned(), "Success".to_owned(), statuses(12), chunk(12)]);
    let collision = "BlockAppendCollisionDetected shufflePush_0_0_0_0".to_owned();
    assert_eq!(ours, [collision, "Success".to_owned(), statuses(20), chunk(20)]);
}

const PUSHERS: i32 = 24;
const BLOCK: usize = 500_000;
/// A quarter of the memory budget.
const DEFERRED: f64 = (32 << 20) as f64 / 4.0;

/// Decision 28: what waits for another writer has a quarter of the memory budget; a push beyond it is answered as a
/// collision. Spark keeps all of it.
#[test]
fn deferred_bytes_stay_within_their_budget_under_load() {
    let both = Services::start_in(Mode::new("4.3.0", Auth::None), &[("spark.sealed.memory.budget", "32m")]);
    for side in &both.0 {
        let is_over = AtomicBool::new(false);
        let (collisions, most) = thread::scope(|scope| {
            let most = scope.spawn(|| {
                let deadline = Instant::now() + Duration::from_secs(60);
                let looks = std::iter::repeat_with(|| side.count("deferred_bytes"));
                let goes_on = |_: &f64| !is_over.load(Ordering::Relaxed) && Instant::now() < deadline;
                looks.take_while(goes_on).fold(0.0, f64::max)
            });
            let collisions = all_wait_for_one(side);
            is_over.store(true, Ordering::Relaxed);
            (collisions, most.join().expect("it only looks"))
        });
        match side.service() {
            Service::Spark => assert!(collisions == 0 && most > DEFERRED, "{collisions} {most}"),
            Service::Ours => {
                assert!(collisions > 0 && most > 0.0 && most <= DEFERRED, "{collisions} {most}");
            }
        }
        assert_eq!(side.count("deferred_bytes"), 0.0);
        let all: Vec<i32> = (0..PUSHERS).chain([1000]).collect();
        let size = 2 + PUSHERS as usize * BLOCK;
        let told = side.connect().rpc(finalize(APP, 1, 0, 0));
        assert_eq!(told, format!("shuffle 0 merge 0: 0 has {size} bytes of {all:?}"));
    }
}

/// Many push to the partition of one that is not done; in the end all are merged. How many had to come again.
fn all_wait_for_one(side: &Side) -> usize {
    let mut writer = side.connect();
    writer.begin(push(APP, 1, [0, 0, 1000, 0]), 2, &[1]);
    side.wait_for(1.0);
    let mut pushers: Vec<Pusher> = thread::scope(|scope| {
        let sending = |map| {
            scope.spawn(move || {
                let mut pusher = side.connect();
                pusher.begin(push(APP, 1, [0, 0, map, 0]), BLOCK as u64, &[]);
                [7; BLOCK - 1].chunks(10_007).for_each(|piece| pusher.data(piece));
                pusher
            })
        };
        let all: Vec<_> = (0..PUSHERS).map(sending).collect();
        all.into_iter().map(|pusher| pusher.join().expect("it only sends")).collect()
    });
    side.wait_for((1 + pushers.len() * (BLOCK - 1)) as f64);
    writer.data(&[1]);
    assert_eq!(writer.answer(), "Success");
    let mut collisions = 0;
    for (map, pusher) in (0..).zip(&mut pushers) {
        pusher.data(&[7]);
        let answer = pusher.answer();
        if answer != "Success" {
            collisions += 1;
            assert_eq!(answer, format!("BlockAppendCollisionDetected shufflePush_0_0_{map}_0"));
            assert_eq!(pusher.push(push(APP, 1, [0, 0, map, 0]), &[7; BLOCK]), "Success");
        }
    }
    collisions
}
