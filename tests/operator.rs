//! The operator's port of a whole `serve`: who may end an application, and what `apps` says.

#![allow(clippy::unwrap_used)] // in helpers too a failure is a failed test

mod outcome;
mod serving;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use self::outcome::{code, stderr, stdout};
use self::serving::{Serving, sealed_shuffle, serve};

const SECRET: &str = "a secret of the operator's tests";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const APP: &str = "app-1";

/// `serve` with one registered application; killed on drop.
struct Served {
    serving: Serving,
    dir: TempDir,
}

impl Served {
    /// With further keys, in which `DIR` stands for the test's directory.
    fn start(conf: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("root/blockmgr-1")).unwrap();
        write(&dir.path().join("token"), TOKEN, 0o600);
        // Others may pass through; what they must not read has its own mode.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = serve(dir.path());
        command
            .arg("--conf")
            .arg(format!("spark.local.dir={}", dir.path().join("root").display()))
            .env("_SPARK_AUTH_SECRET", SECRET);
        for conf in conf {
            command.arg("--conf").arg(conf.replace("DIR", dir.path().to_str().unwrap()));
        }
        let served = Self { serving: Serving::start(command, &dir.path().join("log")), dir };
        let address = served.serving.address.to_string();
        let registered = sealed_shuffle()
            .args(["register", "--server", &address, "--app-id", APP, "--executor-id", "1", "--local-dir"])
            .arg(served.dir.path().join("root/blockmgr-1"))
            .env("_SPARK_AUTH_SECRET", SECRET)
            .output()
            .unwrap();
        assert_eq!(code(&registered), 0, "{}", stderr(&registered));
        served
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("state/admin.sock")
    }

    /// `apps` with the state directory of this server.
    fn apps(&self, arguments: &[&str]) -> Output {
        let mut command = sealed_shuffle();
        command.arg("apps").args(arguments).env("STATE_DIRECTORY", self.dir.path().join("state"));
        command.output().unwrap()
    }
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn apps_shows_and_ends_applications_at_the_socket_by_itself() {
    let served = Served::start(&[]);
    let shown = served.apps(&[]);
    assert_eq!(code(&shown), 0, "{}", stderr(&shown));
    assert!(stdout(&shown).contains(APP), "{}", stdout(&shown));
    let ended = served.apps(&["--end", APP]);
    assert_eq!(code(&ended), 0, "{}", stderr(&ended));
    assert_eq!(stdout(&ended), "app-1: forgot 1 executors\n");
    let again = served.apps(&["--end", APP]);
    assert_eq!(code(&again), 66);
    assert!(stderr(&again).contains("knows no application \"app-1\""), "{}", stderr(&again));
    assert!(
        served.serving.log().contains("end application"),
        "it is logged who asked: {}",
        served.serving.log()
    );
}

#[test]
fn apps_ends_nothing_over_tcp_without_the_token() {
    let served = Served::start(&[]);
    let refused = served.apps(&["--admin", &served.serving.admin, "--end", APP]);
    assert_eq!(code(&refused), 77, "{}", stderr(&refused));
    for word in ["spark.sealed.admin.token-file", served.socket().to_str().unwrap()] {
        assert!(stderr(&refused).contains(word), "{word} is not in {}", stderr(&refused));
    }
    assert_eq!(code(&served.apps(&["--admin", &served.serving.admin])), 0, "reading stays");
    let socket = served.socket();
    let ended = served.apps(&["--socket", socket.to_str().unwrap(), "--end", APP]);
    assert_eq!(code(&ended), 0, "{}", stderr(&ended));
}

#[test]
fn apps_ends_an_application_over_tcp_with_the_token_alone() {
    let served = Served::start(&["spark.sealed.admin.token-file=DIR/token"]);
    let (token, other) = (served.dir.path().join("token"), served.dir.path().join("other"));
    write(&other, &TOKEN.replace('f', "e"), 0o600);
    let ends = |file: &Path| {
        served.apps(&["--admin", &served.serving.admin, "--end", APP, "--token-file", file.to_str().unwrap()])
    };
    let refused = ends(&other);
    assert_eq!(code(&refused), 77, "{}", stderr(&refused));
    assert!(stderr(&refused).contains("not the token"), "{}", stderr(&refused));
    write(&other, TOKEN, 0o640);
    let open = ends(&other);
    assert_eq!(code(&open), 78);
    assert!(stderr(&open).contains("chmod 600"), "{}", stderr(&open));
    let ended = ends(&token);
    assert_eq!(code(&ended), 0, "{}", stderr(&ended));
    assert!(!served.serving.log().contains(TOKEN));
}

#[test]
fn socket_can_be_moved_and_switched_off() {
    let moved = Served::start(&["spark.sealed.admin.socket=DIR/here.sock"]);
    assert!(moved.dir.path().join("here.sock").exists() && !moved.socket().exists());
    let key = format!("spark.sealed.admin.socket={}", moved.dir.path().join("here.sock").display());
    assert_eq!(code(&moved.apps(&["--conf", &key])), 0);
    let lost = moved.apps(&[]);
    assert_eq!(code(&lost), 78);
    assert!(
        stderr(&lost).contains("no socket at") && stderr(&lost).contains("--socket"),
        "{}",
        stderr(&lost)
    );
    let off = Served::start(&["spark.sealed.admin.socket=off"]);
    assert!(!off.socket().exists());
    let refused = off.apps(&["--admin", &off.serving.admin, "--end", APP]);
    assert!(stderr(&refused).contains("give the server a socket"), "{}", stderr(&refused));
}

/// As another user of this machine, in the group of the socket: the mode lets it connect, and the kernel names it.
fn as_nobody(script: &str) -> Output {
    Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "0", "--clear-groups", "sh", "-c", script])
        .output()
        .unwrap()
}

#[test]
fn user_who_is_not_named_is_refused_at_the_socket() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root may become another user");
        return;
    }
    if Command::new("setpriv").arg("--version").output().is_err() {
        println!("skipped: there is no setpriv");
        return;
    }
    let served = |user: &str| {
        Served::start(&[
            "spark.sealed.admin.socket=DIR/admin.sock",
            &format!("spark.sealed.admin.users={user}"),
        ])
    };
    let (without, with) = (served("4711"), served("65534"));
    let asks = |served: &Served, method: &str, path: &str| {
        let socket = served.dir.path().join("admin.sock");
        as_nobody(&format!("curl -s -X {method} --unix-socket {} http://localhost{path}", socket.display()))
    };
    let application = format!("/applications/{APP}");
    let probe = asks(&with, "GET", "/healthz");
    if code(&probe) == 127 {
        println!("skipped: there is no curl");
        return;
    }
    assert_eq!(stdout(&probe), "ok\n", "{}", stderr(&probe));
    for (method, path) in [("GET", "/healthz"), ("GET", "/applications"), ("DELETE", &*application)] {
        let refused = stdout(&asks(&without, method, path)).to_owned();
        assert_eq!(refused, "user 65534 may not use this socket: name it in spark.sealed.admin.users\n");
    }
    assert_eq!(stdout(&asks(&with, "DELETE", &application)), "forgot 1 executors\n");
    let own = Served::start(&[]);
    let socket = own.socket();
    let closed = as_nobody(&format!("curl -s --unix-socket {} http://localhost/healthz", socket.display()));
    assert_ne!(code(&closed), 0, "where nobody is named the mode alone refuses");
}
