//! `orphans` and `hand-over standalone`, beside a whole `serve`.

#![allow(clippy::unwrap_used)] // in helpers too a failure is a failed test

mod outcome;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use tempfile::TempDir;

use self::outcome::{code, stderr, stdout};

const SECRET: &str = "a secret of what is left behind";
const APP: &str = "app-20261122052236-0000";
const TAKEN: &str = "blockmgr-7b3a0c56-3f1c-4a42-9d6e-0123456789ab";
const ORPHAN: &str = "blockmgr-11111111-2222-3333-4444-555555555555";
const YOUNG: &str = "blockmgr-66666666-7777-8888-9999-000000000000";

fn sealed_shuffle() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealed-shuffle"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// A root with an old orphan, a young one, and the directory of an application, which is old, too.
fn ground() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in [TAKEN, ORPHAN, YOUNG] {
        let sub = dir.path().join("root").join(name).join("0c");
        fs::create_dir_all(&sub).unwrap();
        fs::write(sub.join("shuffle_0_0_0.data"), "some bytes").unwrap();
    }
    fs::write(
        dir.path().join("root").join(ORPHAN).join("0c/temp_local_7b3a0c56-3f1c-4a42-9d6e-0123456789ab"),
        "x",
    )
    .unwrap();
    [TAKEN, ORPHAN].iter().for_each(|name| age(&dir.path().join("root").join(name)));
    dir
}

/// Makes a directory and all in it ten days old.
fn age(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => age(&entry.path()),
            false => set_old(&entry.path()),
        }
    }
    set_old(path);
}

fn set_old(path: &Path) {
    File::open(path).unwrap().set_modified(SystemTime::now() - Duration::from_secs(864_000)).unwrap();
}

/// `serve` with one registered executor; killed on drop.
struct Served {
    process: Child,
    dir: TempDir,
}

impl Served {
    fn start(conf: &[&str]) -> Self {
        let dir = ground();
        let mut command = sealed_shuffle();
        command
            .args(["serve", "--bind", "127.0.0.1", "--port", "0", "--conf"])
            .arg(format!("spark.local.dir={}", dir.path().join("root").display()))
            .env("STATE_DIRECTORY", dir.path().join("state"))
            .env("_SPARK_AUTH_SECRET", SECRET)
            .stdout(Stdio::piped())
            .stderr(File::create(dir.path().join("log")).unwrap());
        for conf in conf {
            command.arg("--conf").arg(conf.replace("DIR", dir.path().to_str().unwrap()));
        }
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("{line:?}"));
        let registered = sealed_shuffle()
            .args(["register", "--server", address, "--app-id", APP, "--executor-id", "0", "--local-dir"])
            .arg(dir.path().join("root").join(TAKEN))
            .env("_SPARK_AUTH_SECRET", SECRET)
            .output()
            .unwrap();
        assert_eq!(code(&registered), 0, "{}", stderr(&registered));
        Self { process, dir }
    }

    fn orphans(&self, arguments: &[&str]) -> Output {
        orphans(self.dir.path(), arguments)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn eventually_logs(&self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.log().contains(text) {
            assert!(Instant::now() < deadline, "nothing of {text:?} in\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn orphans(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = sealed_shuffle();
    command.arg("orphans").args(arguments).env("STATE_DIRECTORY", dir.join("state"));
    command.arg("--conf").arg(format!("spark.local.dir={}", dir.join("root").display()));
    command.output().unwrap()
}

#[test]
fn orphans_are_shown_and_removed_but_for_what_is_taken_or_young() {
    let served = Served::start(&[]);
    let shown = served.orphans(&["--json"]);
    assert_eq!(code(&shown), 0, "{}", stderr(&shown));
    let value: Value = serde_json::from_str(&stdout(&shown)).unwrap();
    let [orphan] = &value["directories"].as_array().unwrap()[..] else { panic!("{value}") };
    let root = served.root().canonicalize().unwrap();
    assert_eq!(orphan["path"], json!(root.join(ORPHAN)));
    assert_eq!((&orphan["files"], &orphan["removed"]), (&json!(2), &Value::Null), "{value}");
    let young = served.orphans(&["--older-than", "0s"]);
    assert!(stdout(&young).contains(YOUNG) && !stdout(&young).contains(TAKEN), "{}", stdout(&young));

    let removed = served.orphans(&["--delete"]);
    assert_eq!(code(&removed), 0, "{}", stderr(&removed));
    assert!(
        stdout(&removed).contains("removed") && stdout(&removed).contains("1 directories with 2 files"),
        "{}",
        stdout(&removed)
    );
    let is_there = |name: &str| served.root().join(name).exists();
    assert!(is_there(TAKEN) && is_there(YOUNG) && !is_there(ORPHAN));
    assert_eq!(stdout(&served.orphans(&[])), "no block directory is left behind\n");
}

#[test]
fn nothing_is_removed_unless_the_server_of_these_roots_says_what_is_taken() {
    // Nobody answers.
    let dir = ground();
    let refused = orphans(dir.path(), &["--delete"]);
    assert_eq!(code(&refused), 69, "{}", stderr(&refused));
    let shown = orphans(dir.path(), &[]);
    assert_eq!(code(&shown), 0);
    assert!(stderr(&shown).contains("not known which of these belong to applications"), "{}", stderr(&shown));
    assert!(stdout(&shown).contains(TAKEN) && stdout(&shown).contains(ORPHAN));
    // Somebody of other roots does, and one who forgets.
    let served = Served::start(&[]);
    let socket = served.dir.path().join("state/admin.sock");
    let refused = orphans(dir.path(), &["--delete", "--socket", socket.to_str().unwrap()]);
    assert_eq!(code(&refused), 78, "{}", stderr(&refused));
    let forgetful = Served::start(&["spark.shuffle.service.db.enabled=false"]);
    let refused = forgetful.orphans(&["--delete"]);
    assert_eq!(code(&refused), 77, "{}", stderr(&refused));
    for root in [dir.path().join("root"), forgetful.root()] {
        assert!(root.join(ORPHAN).join("0c/shuffle_0_0_0.data").exists());
    }
    // And who may not ask: over TCP, without a token, nobody.
    assert_eq!(code(&served.orphans(&["--older-than", "yesterday"])), 2);
}

/// What is mounted at a place, until dropped.
struct Mounted(PathBuf);

impl Mounted {
    /// None where this user may not mount.
    fn bind(from: &Path, at: &Path) -> Option<Self> {
        let done = Command::new("mount").arg("--bind").args([from, at]).stderr(Stdio::null()).status();
        done.is_ok_and(|status| status.success()).then(|| Self(at.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        Command::new("umount").arg(&self.0).status().unwrap();
    }
}

#[test]
fn what_is_mounted_beneath_a_root_is_not_looked_into() {
    let served = Served::start(&[]);
    let other = served.dir.path().join("other/00");
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("rdd_1_2"), "another's").unwrap();
    let place = served.root().join("blockmgr-22222222-2222-3333-4444-555555555555");
    fs::create_dir(&place).unwrap();
    let Some(_mounted) = Mounted::bind(other.parent().unwrap(), &place) else {
        println!("skipped: this user may not mount");
        return;
    };
    let removed = served.orphans(&["--older-than", "0s", "--delete"]);
    assert!(!stdout(&removed).contains(place.to_str().unwrap()), "{}", stdout(&removed));
    assert!(stderr(&removed).contains("leaves its root"), "{}", stderr(&removed));
    assert!(other.join("rdd_1_2").exists());
    assert!(!served.root().join(ORPHAN).exists(), "the control");
}

/// The page of a Worker and its Master, at one address.
struct Cluster {
    address: String,
    page: Arc<Mutex<Option<Value>>>,
}

impl Cluster {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let page = Arc::new(Mutex::new(None::<Value>));
        let told = Arc::clone(&page);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut head = [0; 4096];
                let n = stream.read(&mut head).unwrap();
                assert!(
                    head[..n].starts_with(b"GET /json/ HTTP/1.1\r\n"),
                    "{:?}",
                    String::from_utf8_lossy(&head[..n])
                );
                let page = told.lock().unwrap().clone();
                let (status, text) = match page {
                    Some(page) => ("200 OK", page.to_string()),
                    None => ("500 Odd", "{}".to_owned()),
                };
                let length = text.len();
                write!(
                    stream,
                    "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
                )
                .unwrap();
            }
        });
        Self { address, page }
    }

    fn says(&self, running: &[(&str, u64)], finished: &[(&str, u64)], completed: &[&str]) {
        let executors = |list: &[(&str, u64)]| -> Value {
            list.iter().map(|(app, id)| json!({"id": id, "appid": app})).collect()
        };
        let completed: Value = completed.iter().map(|app| json!({"id": app, "state": "FINISHED"})).collect();
        let page = json!({
            "id": "worker-1", "masterwebuiurl": format!("http://{}", self.address),
            "executors": executors(running), "finishedexecutors": executors(finished),
            "activeapps": [], "completedapps": completed,
        });
        *self.page.lock().unwrap() = Some(page);
    }

    /// Asks once, and tells the server.
    fn tell(&self, served: &Served) -> Output {
        sealed_shuffle()
            .args([
                "hand-over",
                "standalone",
                "--once",
                "--worker",
                &format!("http://{}", self.address),
                "--socket",
            ])
            .arg(served.dir.path().join("handover.sock"))
            .output()
            .unwrap()
    }
}

const STANDALONE: [&str; 2] = [
    "spark.sealed.handover.socket=DIR/handover.sock",
    "spark.shuffle.service.requireAppScopedLocalDirs=false",
];

#[test]
fn the_pages_of_a_standalone_cluster_end_executors_and_applications() {
    let served = Served::start(&STANDALONE);
    let sub = served.root().join(TAKEN).join("0c");
    for name in ["broadcast_0_piece0", "shuffle_0_0_0.index"] {
        fs::write(sub.join(name), "x").unwrap();
    }
    let cluster = Cluster::start();
    // An error ends nothing.
    let asked = cluster.tell(&served);
    assert_eq!(code(&asked), 69, "{}", stderr(&asked));
    assert!(stderr(&asked).contains("500"), "{}", stderr(&asked));
    // One that runs, and whose application is completed all the same.
    cluster.says(&[(APP, 0)], &[], &[APP]);
    assert_eq!(code(&cluster.tell(&served)), 0);
    assert!(sub.join("broadcast_0_piece0").exists() && !served.log().contains("forgot an application"));
    // The executor is over, and its application goes on.
    cluster.says(&[], &[(APP, 0)], &[]);
    assert_eq!(code(&cluster.tell(&served)), 0);
    served.eventually_logs("removed files of executors that have ended");
    assert!(!sub.join("broadcast_0_piece0").exists());
    assert!(sub.join("shuffle_0_0_0.data").exists() && sub.join("shuffle_0_0_0.index").exists());
    assert!(!served.log().contains("forgot an application"));
    cluster.says(&[], &[(APP, 0)], &[APP]);
    assert_eq!(code(&cluster.tell(&served)), 0);
    served.eventually_logs("forgot an application");
}

#[test]
fn hand_over_standalone_says_what_is_wrong() {
    let served = Served::start(&[]);
    let cluster = Cluster::start();
    cluster.says(&[], &[], &[]);
    let nobody = cluster.tell(&served);
    assert_eq!(code(&nobody), 69, "{}", stderr(&nobody));
    assert!(stderr(&nobody).contains("handover.sock"), "{}", stderr(&nobody));
    for (arguments, expected) in [
        (&["--worker", "https://127.0.0.1:1", "--socket", "s"][..], 2),
        (&["--socket", "s"], 2),
        (&["--worker", "http://127.0.0.1:1"], 78),
        (&["--worker", "http://127.0.0.1:1", "--socket", "s", "--interval", "0"], 2),
    ] {
        let output =
            sealed_shuffle().args(["hand-over", "standalone", "--once"]).args(arguments).output().unwrap();
        assert_eq!(code(&output), expected, "{arguments:?}: {}", stderr(&output));
    }
    // The relay is as it was.
    assert_eq!(code(&sealed_shuffle().arg("hand-over").output().unwrap()), 2);
}
