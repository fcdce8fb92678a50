//! A standalone Worker tells of ends: `hand-over standalone` reads its page, and our server removes what Spark's own service
//! removes.
//!
//! Executors of a running application are killed, and the Worker starts others. The control is the Worker's own service.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use sealed_shuffle_interop_tests::{
    applications::{Cluster, Waves},
    fixture::SECRET,
    machine::Process,
    modes::{Cipher, Mode},
    ours::{Server, binary},
};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(180);

/// Files that a block manager may have, each with whether it goes when its executor has ended.
const FILES: [(&str, bool); 12] = [
    ("shuffle_900_0_0.data", false),
    ("shuffle_900_0_0.index", false),
    ("shuffleMerged_app-1_0_0_3.data", false),
    ("shuffle_900_0_0.checksum.ADLER32", true),
    ("shuffle_900_1_0.data.7b3a0c56-3f1c-4a42-9d6e-0123456789ab", true),
    ("shuffle_900_1_0.index.7b3a0c56-3f1c-4a42-9d6e-0123456789ab", true),
    ("rdd_900_0", true),
    ("broadcast_900_piece0", true),
    ("temp_local_7b3a0c56-3f1c-4a42-9d6e-0123456789ab", true),
    ("temp_shuffle_7b3a0c56-3f1c-4a42-9d6e-0123456789ab", true),
    ("taskresult_900", true),
    ("input-900-1", true),
];

/// The sub-directory that they are put into.
const SUB: &str = "3a";

/// Block directories of executors beneath a root.
fn block_dirs(root: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let entries = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let is = |path: &Path, prefix: &str| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
    };
    for spark in entries(root).filter(|path| is(path, "spark-")) {
        for executor in entries(&spark).filter(|path| is(path, "executor-")) {
            found.extend(entries(&executor).filter(|path| is(path, "blockmgr-")));
        }
    }
    found
}

fn plant(dirs: &BTreeSet<PathBuf>) {
    for dir in dirs {
        let sub = dir.join(SUB);
        fs::create_dir_all(&sub).expect("it can be written");
        FILES
            .iter()
            .for_each(|(name, _)| fs::write(sub.join(name), "some bytes").expect("it can be written"));
    }
}

/// What is gone of what was put there.
fn gone(dir: &Path) -> BTreeSet<&'static str> {
    FILES.iter().map(|(name, _)| *name).filter(|name| !dir.join(SUB).join(name).exists()).collect()
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(100));
    }
}

/// Kills one executor after the other, with another one in its place each time, and says what is removed of each.
fn kill(cluster: &Cluster, waves: &mut Waves, root: &Path, times: usize) {
    let expected: BTreeSet<&str> = FILES.iter().filter(|(_, goes)| *goes).map(|(name, _)| *name).collect();
    let mut dead: BTreeMap<PathBuf, BTreeSet<&str>> = BTreeMap::new();
    for _ in 0..times {
        eventually("both executors run", || cluster.executors().len() == 2);
        let of_the_living = || -> BTreeSet<_> {
            block_dirs(root).into_iter().filter(|dir| !dead.contains_key(dir)).collect()
        };
        eventually("both have their directories", || of_the_living().len() == 2);
        waves.whole();
        let dirs = of_the_living();
        plant(&dirs);
        let victim = i32::try_from(cluster.executors()[0]).expect("process ids are small");
        kill_process(Pid::from_raw(victim).expect("process ids are positive"), Signal::KILL)
            .expect("it runs");
        eventually("what it left is removed", || dirs.iter().any(|dir| gone(dir) == expected));
        // Nothing more, and nothing of the other executor's.
        thread::sleep(Duration::from_secs(3));
        let of_each: Vec<_> = dirs.iter().map(|dir| gone(dir)).filter(|gone| !gone.is_empty()).collect();
        assert_eq!(of_each, std::slice::from_ref(&expected));
        dead.extend(dirs.iter().filter(|dir| !gone(dir).is_empty()).map(|dir| (dir.clone(), gone(dir))));
    }
    let report = waves.whole();
    assert_eq!((report.again, report.fetch_failures), (0, 0), "{report:?}");
    assert!(report.resubmitted <= 0 && report.results.len() == 1, "{report:?}");
    assert_eq!(report.lost, times as u64, "{report:?}");
}

fn mode() -> Mode {
    Mode::newest(Cipher::Gcm, 2)
}

#[test]
#[ignore = "slow and rarely red: make nightly"]
fn sparks_own_service_removes_what_nobody_is_served_with() {
    let root = TempDir::with_prefix("interop-").expect("the temporary directory is writable");
    let port = {
        let free = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
        free.local_addr().expect("it is bound").port()
    };
    let cluster = Cluster::start_with_own_service(&mode(), port, SECRET, root.path());
    let mut waves = Waves::start_on_cluster(&mode(), cluster.url(), port, SECRET, root.path());
    kill(&cluster, &mut waves, root.path(), 1);
    waves.finish();
}

#[test]
fn ours_removes_the_same_and_forgets_the_application_at_once() {
    let dir = TempDir::with_prefix("interop-").expect("the temporary directory is writable");
    let root = dir.path().join("root");
    fs::create_dir(&root).expect("the directory is fresh");
    let socket = dir.path().join("handover.sock");
    let conf = [
        ("spark.sealed.handover.socket", socket.display().to_string()),
        ("spark.shuffle.service.requireAppScopedLocalDirs", "false".to_owned()),
    ];
    let server = Server::start(&root, Some(SECRET), &conf);
    let port = server.address().port();
    let cluster = Cluster::start(&mode(), port, SECRET, &root);
    let mut command = Command::new(binary());
    command
        .args(["hand-over", "standalone", "--interval", "1", "--worker", cluster.page(), "--socket"])
        .arg(&socket);
    let mut hand_over = Process::start("hand-over standalone", &mut command);
    hand_over.wait_for(PATIENCE, |line| line.contains("connected to the server").then_some(()));

    let mut waves = Waves::start_on_cluster(&mode(), cluster.url(), port, SECRET, &root);
    kill(&cluster, &mut waves, &root, 2);
    assert!(server.metric("sealed_shuffle_cleanup_files_total") >= 18.0);
    assert_eq!(server.metric("sealed_shuffle_applications"), 1.0);
    waves.finish();
    eventually("the application is forgotten", || server.metric("sealed_shuffle_applications") == 0.0);
    let ended = "sealed_shuffle_forgotten_applications_total{reason=\"ended\"}";
    eventually("its end was told", || server.metrics().get(ended) == Some(&1.0));
    // A Worker that is gone ends nothing.
    drop(cluster);
    hand_over.wait_for(PATIENCE, |line| line.contains("nothing is told of its part").then_some(()));
    hand_over.terminate(PATIENCE);
    server.finish(&[]);
}
