//! Unmodified Spark applications push their shuffles to our server and read them back merged.
//!
//! Outside YARN Spark pushes only under `spark.testing`, and a cluster manager of the harness names the mergers. The
//! merger's host name decides how executors read: under another name than their own (`localhost` and 127.0.0.1) they
//! fetch chunks over the network; under their own they ask for the directories and would read the files themselves.

use std::{
    collections::HashSet,
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use sealed_shuffle_interop_tests::{
    applications::{Application, ApplicationReport, ROWS, result_without_a_service},
    fixture::SECRET,
    machine::files,
    merger::{Merger, merged_files},
    modes::{Cipher, Mode, Service},
    oracle::CANARY,
    wire::contains,
};

/// So small that most pushed blocks are a chunk of their own.
const SMALL_CHUNKS: &str = "2k";

struct Scene(Merger);

impl Scene {
    /// An application that knows the merger by this host name.
    fn application(&self, merger: &str) -> Application {
        let port = self.0.f.address().port();
        Application::with_service(&self.0.f.mode, port, SECRET, self.0.f.root())
            .pushing_to(&[format!("{merger}:{port}")])
            .with("spark.shuffle.compress", "false")
    }

    /// Runs it, and `meanwhile` again and again until it has ended and once more.
    fn run(&self, application: &Application, mut meanwhile: impl FnMut() + Send) -> ApplicationReport {
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            let ended = &ended;
            let watching = scope.spawn(move || {
                while !ended.load(Ordering::SeqCst) {
                    meanwhile();
                    thread::sleep(Duration::from_millis(5));
                }
                meanwhile();
            });
            let report = application.run();
            ended.store(true, Ordering::SeqCst);
            watching.join().expect("what was watched for has come");
            report
        })
    }

    /// Right, without a task that failed, and pushed to us.
    #[track_caller]
    fn assert_right(&self, report: &ApplicationReport) {
        assert_eq!((report.canary_rows, report.fetch_failures), (ROWS, 0), "{report:?}");
        assert_eq!(report.result, result_without_a_service(), "another result than without the service");
        let pushed = self.0.count("written_bytes");
        assert!(pushed > 1e6, "{pushed} bytes were pushed, the shuffles went another way");
    }
}

fn reads_merged(mode: Mode) {
    let scene = Scene(Merger::start(mode, SMALL_CHUNKS));
    let mut seen = HashSet::new();
    let mut look = || {
        for path in merged_files(scene.0.f.root()).into_iter().chain(files(scene.0.state.path())) {
            let content = fs::read(&path).unwrap_or_default();
            assert!(!contains(&content, CANARY.as_bytes()), "{} shows what was pushed", path.display());
            if !content.is_empty() {
                seen.insert(path);
            }
        }
    };
    let report = scene.run(&scene.application("localhost"), &mut look);
    scene.assert_right(&report);
    assert!(seen.len() > 30, "merged files were not seen: {seen:?}");
    let [written, read, chunks] = ["written_bytes", "read_bytes", "read_chunks"].map(|n| scene.0.count(n));
    assert_eq!(written, read, "not all that was merged was read merged");
    assert!(chunks > 48.0, "{chunks} chunks of 24 partitions");
}

#[test]
fn spark_4_3_0_reads_merged_and_no_canary_is_in_a_file_of_ours() {
    reads_merged(Mode::newest(Cipher::Gcm, 2));
}

#[test]
#[ignore = "slow and rarely red: make nightly"]
fn spark_4_0_5_reads_merged_and_no_canary_is_in_a_file_of_ours() {
    reads_merged(Mode::aes("4.0.5", Cipher::Ctr, 2));
}

#[test]
#[ignore = "slow and rarely red: make nightly"]
fn spark_3_5_9_reads_merged_and_no_canary_is_in_a_file_of_ours() {
    reads_merged(Mode::aes("3.5.9", Cipher::Ctr, 1));
}

/// Executors on the merger's own host would open its files by themselves; they are told that they cannot.
#[test]
#[ignore = "slow and rarely red: make nightly"]
fn executors_that_would_read_sealed_files_themselves_read_the_original_blocks() {
    let scene = Scene(Merger::start(Mode::newest(Cipher::Gcm, 2), SMALL_CHUNKS));
    let application = scene.application("127.0.0.1").with("spark.shuffle.readHostLocalDisk", "true");
    let report = scene.run(&application, || ());
    scene.assert_right(&report);
    assert_eq!((scene.0.count("read_chunks"), report.read.merged_local), (0.0, 0), "{report:?}");
}

/// Plain merged files are Spark's own: executors on the merger's host open them by themselves, and read as much of it as
/// beside Spark's own service. The same through our port, for executors elsewhere.
#[test]
#[ignore = "slow and rarely red: make nightly"]
fn executors_read_plain_merged_files_by_themselves_as_beside_sparks_own_service() {
    let mode = Mode::newest(Cipher::Gcm, 2);
    let plain = [("spark.sealed.merge.at-rest", "plain")];
    let run = |service, more: &[(&str, &str)], merger: &str| {
        let scene = Scene(Merger::start_of(service, mode, SMALL_CHUNKS, more));
        scene.0.f.allow_warning("not one of dm-crypt");
        let application = scene.application(merger).with("spark.shuffle.readHostLocalDisk", "true");
        let report = scene.run(&application, || ());
        if service == Service::Ours {
            scene.assert_right(&report);
        }
        eprintln!("{service:?} as {merger}: {:?}", report.read);
        (report, scene)
    };
    let (theirs, scene) = run(Service::Spark, &[], "127.0.0.1");
    assert_eq!(theirs.result, result_without_a_service());
    drop(scene);
    let (ours, scene) = run(Service::Ours, &plain, "127.0.0.1");
    assert_eq!(scene.0.count("read_chunks"), 0.0, "executors read by themselves");
    drop(scene);
    assert!(theirs.read.merged_local > 0 && ours.read.merged_local > 0, "{theirs:?} {ours:?}");
    let (share, bar) = (ours.read.merged_share(), 0.9 * theirs.read.merged_share());
    assert!(share >= bar && ours.read.fallbacks == 0, "{ours:?} {theirs:?}");

    let (remote, scene) = run(Service::Ours, &plain, "localhost");
    let [written, read] = ["written_bytes", "read_bytes"].map(|n| scene.0.count(n));
    assert_eq!(written, read, "not all that was merged was read merged: {remote:?}");
    assert!(remote.read.merged_remote > 0 && remote.read.fallbacks == 0, "{remote:?}");
}

#[test]
fn damaged_merged_chunks_are_refused_and_the_original_blocks_read() {
    let scene = Scene(Merger::start(Mode::newest(Cipher::Ctr, 2), SMALL_CHUNKS));
    scene.0.f.expect_warning("is not served");
    let mut damaged = HashSet::new();
    let damage = || {
        for path in merged_files(scene.0.f.root()) {
            // Behind the header, and before what may still be written.
            let len = fs::metadata(&path).map_or(0, |metadata| metadata.len());
            if path.extension().is_none_or(|extension| extension != "data")
                || len < 4096
                || damaged.contains(&path)
            {
                continue;
            }
            let Ok(file) = OpenOptions::new().read(true).write(true).open(&path) else { continue };
            let mut byte = [0];
            if file.read_exact_at(&mut byte, 2048).is_ok() && file.write_all_at(&[byte[0] ^ 1], 2048).is_ok()
            {
                damaged.insert(path);
            }
        }
    };
    let application = scene.application("localhost").with("spark.shuffle.io.retryWait", "100ms");
    let report = scene.run(&application, damage);
    scene.assert_right(&report);
    let refused =
        scene.0.server().metrics()[r#"sealed_shuffle_block_failures_total{reason="merge_unreadable"}"#];
    assert!(refused > 0.0, "damaged chunks were not refused when they were asked for again");
}
