//! What applications leave behind: directories of ended applications, orphans, files of ended executors; with a server that
//! runs.

#![allow(clippy::unwrap_used)]

mod running;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use sealed_shuffle::{AppId, CleanUpConfig, Clears, Receiver, ServerConfig};
use sealed_shuffle_protocol::ids::ExecutorId;

use running::{APP, EXECUTOR, GCM, Running, eventually, register};

const ONE: &str = "blockmgr-7b3a0c56-3f1c-4a42-9d6e-0123456789ab";
const TWO: &str = "blockmgr-11111111-2222-3333-4444-555555555555";

/// As Spark makes them.
const FILES: [&str; 6] = [
    "00/shuffle_0_7_0.data",
    "0a/shuffle_0_7_0.index",
    "0a/shuffle_0_7_0.checksum.ADLER32",
    "3f/broadcast_0_piece0",
    "3f/rdd_1_2",
    "11/temp_local_7b3a0c56-3f1c-4a42-9d6e-0123456789ab",
];

fn fill(dir: &Path) {
    for file in FILES {
        let path = dir.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "some bytes").unwrap();
    }
}

/// Makes a directory and all in it as old as that.
fn age(dir: &Path, age: Duration) {
    let then = SystemTime::now() - age;
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => self::age(&entry.path(), age),
            false => File::options().write(true).open(entry.path()).unwrap().set_modified(then).unwrap(),
        }
    }
    File::open(dir).unwrap().set_modified(then).unwrap();
}

fn files(dir: &Path) -> Vec<&'static str> {
    FILES.into_iter().filter(|file| dir.join(file).exists()).collect()
}

fn started(clean_up: CleanUpConfig) -> Running {
    Running::start_with(|config| config.clean_up = clean_up)
}

/// A directory of the application, registered.
fn registered(running: &Running, name: &str) -> PathBuf {
    let dir = running.root.join("spark-1").join(name);
    fill(&dir);
    running.peer(GCM).rpc(&register(&[dir.to_str().unwrap()])).unwrap();
    dir
}

fn removed(running: &Running, of: &str) -> u64 {
    running.metric(&format!("sealed_shuffle_cleanup_files_total{{of=\"{of}\",outcome=\"removed\"}}"))
}

#[test]
fn directories_of_an_ended_application_go_where_that_is_asked_for() {
    let running = started(CleanUpConfig { applications: Clears::On, ..CleanUpConfig::default() });
    let dir = registered(&running, ONE);
    fs::write(dir.join("00/mine.txt"), "not Spark's").unwrap();
    fs::write(running.root.join("spark-1/beside"), "not Spark's").unwrap();
    fill(&running.root.join("spark-1").join(TWO));
    running.server.forget(&AppId::new(APP)).unwrap();
    eventually("all that Spark makes is gone", || removed(&running, "application") == 6);
    assert!(files(&dir).is_empty());
    assert!(dir.join("00/mine.txt").exists(), "what Spark does not make stays");
    assert!(!dir.join("0a").exists());
    assert!(running.root.join("spark-1/beside").exists());
    assert_eq!(files(&running.root.join("spark-1").join(TWO)).len(), 6, "nobody registered it");
    assert_eq!(running.metric("sealed_shuffle_cleanup_kept_total{of=\"application\"}"), 1);
    assert!(
        running.metric("sealed_shuffle_cleanup_bytes_total{of=\"application\",outcome=\"removed\"}")
            >= 6 * 512
    );
    eventually("nothing waits", || running.metric("sealed_shuffle_cleanup_waiting") == 0);
}

#[test]
fn nothing_goes_otherwise_and_a_dry_run_counts() {
    for (applications, counted) in [(Clears::Off, 0), (Clears::DryRun, 6)] {
        let running = started(CleanUpConfig { applications, ..CleanUpConfig::default() });
        let dir = registered(&running, ONE);
        running.server.forget(&AppId::new(APP)).unwrap();
        let dry_run = "sealed_shuffle_cleanup_files_total{of=\"application\",outcome=\"dry_run\"}";
        eventually("it is counted", || running.metric(dry_run) == counted);
        eventually("nothing waits", || running.metric("sealed_shuffle_cleanup_waiting") == 0);
        assert_eq!((files(&dir).len(), removed(&running, "application")), (6, 0), "{applications:?}");
    }
}

/// A root that cannot be written for a while, until dropped.
struct ReadOnly(PathBuf);

impl ReadOnly {
    /// None where this user may not mount.
    fn mount(dir: &Path) -> Option<Self> {
        let mount = |options: &[&str]| {
            let done = Command::new("mount").args(options).stderr(Stdio::null()).status();
            done.is_ok_and(|status| status.success())
        };
        let path = dir.to_str().unwrap();
        let mounted = mount(&["--bind", path, path]).then(|| Self(dir.to_owned()))?;
        mount(&["-o", "remount,bind,ro", path]).then_some(mounted)
    }

    fn becomes_writable(&self) {
        let done = Command::new("mount").args(["-o", "remount,bind,rw"]).arg(&self.0).status();
        assert!(done.unwrap().success());
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        // The server holds the root still.
        Command::new("umount").arg("--lazy").arg(&self.0).status().unwrap();
    }
}

#[test]
fn a_disk_that_refuses_holds_up_no_other_and_is_asked_again() {
    let temp = tempfile::tempdir().unwrap();
    let second = temp.path().canonicalize().unwrap().join("second");
    fill(&second.join(TWO));
    let Some(disk) = ReadOnly::mount(&second) else {
        println!("skipped: this user may not mount");
        return;
    };
    let running = Running::start_with(|config| {
        config.clean_up = CleanUpConfig { applications: Clears::On, ..CleanUpConfig::default() };
        // The bad one comes first.
        config.roots.paths.insert(0, second.clone());
    });
    let (bad, good) = (second.join(TWO), running.root.join(ONE));
    fill(&good);
    running.peer(GCM).rpc(&register(&[bad.to_str().unwrap(), good.to_str().unwrap()])).unwrap();
    running.server.forget(&AppId::new(APP)).unwrap();
    eventually("the good disk is cleared", || !good.exists());
    eventually("the other waits", || running.metric("sealed_shuffle_cleanup_waiting") == 1);
    assert_eq!(files(&bad).len(), 6);
    disk.becomes_writable();
    eventually("so is the other", || !bad.exists());
    eventually("nothing waits", || running.metric("sealed_shuffle_cleanup_waiting") == 0);
    assert_eq!(removed(&running, "application"), 12);
}

#[test]
fn an_idle_application_that_still_writes_keeps_its_files() {
    let ttl = Duration::from_secs(1);
    for is_quiet in [false, true] {
        let running = Running::start_with(|config| {
            config.clean_up = CleanUpConfig { applications: Clears::On, ..CleanUpConfig::default() };
            config.app_idle_ttl = Some(ttl);
        });
        let dir = registered(&running, ONE);
        let forgotten = "sealed_shuffle_forgotten_applications_total{reason=\"idle\"}";
        match is_quiet {
            true => {
                age(&dir, Duration::from_secs(3600));
                eventually("it is idle", || running.metric(forgotten) == 1);
                eventually("its files go", || !dir.exists());
            }
            false => {
                // Executors read and write their own files without asking anybody.
                eventually("it is idle", || {
                    fs::write(dir.join("00/shuffle_0_8_0.data"), "more").unwrap();
                    running.metric(forgotten) == 1
                });
                fs::write(dir.join("00/shuffle_0_8_0.data"), "more").unwrap();
                eventually("it was looked at", || {
                    fs::write(dir.join("00/shuffle_0_8_0.data"), "more").unwrap();
                    running.metric("sealed_shuffle_cleanup_waiting") == 0
                });
                assert_eq!(files(&dir).len(), 6);
            }
        }
    }
}

#[test]
fn files_of_an_ended_executor_go_but_for_what_is_served() {
    for (serves_rdd, served) in
        [(false, vec![FILES[0], FILES[1]]), (true, vec![FILES[0], FILES[1], FILES[4]])]
    {
        let running = started(CleanUpConfig { serves_rdd, ..CleanUpConfig::default() });
        let dir = registered(&running, ONE);
        let other = running.root.join("spark-1").join(TWO);
        fill(&other);
        running.server.executor_ended(&AppId::new(APP), &ExecutorId::new("9")).unwrap();
        running.server.executor_ended(&AppId::new(APP), &ExecutorId::new(EXECUTOR)).unwrap();
        let gone = 6 - served.len() as u64;
        eventually("they are gone", || removed(&running, "executor") == gone);
        assert_eq!(files(&dir), served);
        assert_eq!(files(&other).len(), 6);
        // What it wrote for others is still served.
        running.write_map(1, &[1000]);
        for entry in fs::read_dir(&running.dir).unwrap().map(Result::unwrap) {
            fs::create_dir_all(dir.join(entry.file_name())).unwrap();
            for file in fs::read_dir(entry.path()).unwrap().map(Result::unwrap) {
                fs::rename(file.path(), dir.join(entry.file_name()).join(file.file_name())).unwrap();
            }
        }
        let mut peer = running.peer(GCM);
        let stream = peer.open(1, &[0]).unwrap().stream;
        assert_eq!(peer.chunk(stream, 0).unwrap().len(), 1000);
    }
}

#[test]
fn files_of_an_ended_executor_stay_where_the_key_says_so() {
    let running = started(CleanUpConfig { after_executor: false, ..CleanUpConfig::default() });
    let dir = registered(&running, ONE);
    running.server.executor_ended(&AppId::new(APP), &ExecutorId::new(EXECUTOR)).unwrap();
    assert_eq!(running.metric("sealed_shuffle_cleanup_waiting"), 0);
    assert_eq!(files(&dir).len(), 6);
}

/// A server that remembers, with an old orphan, a young one, and the directory of an application that lives.
struct Aged {
    running: Running,
    old: PathBuf,
    young: PathBuf,
}

impl Aged {
    /// `watched` is for how long the server has watched before.
    fn start(orphans: Clears, watched: Option<u64>) -> Self {
        let [mut old, mut young] = [PathBuf::new(), PathBuf::new()];
        let running = Running::start_with(|config: &mut ServerConfig| {
            let root = config.roots.paths[0].clone();
            old = root.join("spark-7b3a0c56-3f1c-4a42-9d6e-0123456789ab").join(ONE);
            young = root.join(TWO);
            [&old, &young].into_iter().for_each(|dir| fill(dir));
            age(&old, Duration::from_secs(7200));
            config.recovery = true;
            config.clean_up =
                CleanUpConfig { orphans, orphan_age: Duration::from_secs(3600), ..CleanUpConfig::default() };
            if let Some(seconds) = watched {
                let since = SystemTime::now() - Duration::from_secs(seconds);
                let since = since.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
                let list = format!("{{\"version\":1,\"since\":{since},\"directories\":[]}}");
                fs::write(config.envelope.state_dir.join("remains.json"), list).unwrap();
            }
        });
        Self { running, old, young }
    }

    fn orphans(&self) -> u64 {
        self.running.metric("sealed_shuffle_orphan_directories")
    }
}

#[test]
fn old_orphans_are_counted_and_go_only_where_asked_for() {
    let aged = Aged::start(Clears::DryRun, None);
    eventually("it is counted", || aged.orphans() == 1);
    assert!(aged.running.metric("sealed_shuffle_orphan_bytes") >= 6 * 512);
    assert_eq!((files(&aged.old).len(), files(&aged.young).len()), (6, 6));

    let aged = Aged::start(Clears::On, Some(7200));
    eventually("it goes", || !aged.old.exists());
    assert_eq!(files(&aged.young).len(), 6);
    eventually("it is told", || removed(&aged.running, "orphan") == 6);
}

/// Applications that registered with another service before are not known here.
#[test]
fn orphans_stay_until_a_server_has_watched_as_long_as_they_must_be_quiet() {
    for watched in [None, Some(60)] {
        let aged = Aged::start(Clears::On, watched);
        eventually("it is counted", || aged.orphans() == 1);
        assert_eq!((files(&aged.old).len(), removed(&aged.running, "orphan")), (6, 0));
        assert_eq!(aged.running.metric("sealed_shuffle_cleanup_waiting"), 0);
    }
}

#[test]
fn directories_that_a_stopped_server_had_not_cleared_are_cleared_by_the_next() {
    let mut dir = PathBuf::new();
    let running = Running::start_with(|config: &mut ServerConfig| {
        dir = config.roots.paths[0].join(ONE);
        fill(&dir);
        let other = config.roots.paths[0].join("mine");
        fill(&other);
        config.recovery = true;
        config.clean_up = CleanUpConfig { applications: Clears::On, ..CleanUpConfig::default() };
        let list = serde_json::json!({"version": 1, "since": 1, "directories": [
            {"path": dir, "quiet_seconds": null},
            {"path": other, "quiet_seconds": null},
            {"path": "/etc", "quiet_seconds": null},
        ]});
        fs::write(config.envelope.state_dir.join("remains.json"), list.to_string()).unwrap();
    });
    eventually("it goes", || !dir.exists());
    assert_eq!(files(&running.root.join("mine")).len(), 6, "it has not the name of a block directory");
    eventually("nothing waits", || running.metric("sealed_shuffle_cleanup_waiting") == 0);
}

#[test]
fn disk_use_is_shown_by_application() {
    let interval = Some(Duration::from_millis(100));
    let running = started(CleanUpConfig { usage_interval: interval, ..CleanUpConfig::default() });
    registered(&running, ONE);
    let bytes = format!("sealed_shuffle_application_disk_bytes{{app=\"{APP}\"}}");
    eventually("it is measured", || running.metric(&bytes) >= 6 * 512);
    assert_eq!(running.metric(&format!("sealed_shuffle_application_disk_files{{app=\"{APP}\"}}")), 6);
    let row = running.server.applications(None, None)["applications"][0].clone();
    assert_eq!((row["app"].as_str(), row["disk_files"].as_u64()), (Some(APP), Some(6)), "{row}");
    running.server.forget(&AppId::new(APP)).unwrap();
    eventually("it is named no more", || running.metric(&bytes) == 0);
}

/// Orphans beneath a root, and a server that has registered one directory more.
#[test]
fn the_server_tells_which_directories_are_taken() {
    let running = Running::start();
    let dir = registered(&running, ONE);
    let told = running.server.directories();
    assert_eq!(told["directories"], serde_json::json!([dir]), "{told}");
    assert_eq!(told["roots"], serde_json::json!([running.root]));
    assert_eq!(told["outlasts_restart"], false);
}
