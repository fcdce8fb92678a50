//! Directories that the server may not go into: an executor's is refused when it is registered, and its own at the start.

#![allow(clippy::unwrap_used)]

mod outcome;
mod serving;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Output};

use self::outcome::{code, stderr};
use self::serving::{Serving, sealed_shuffle};

const SERVER: u32 = 65_534;
const EXECUTORS: u32 = 4_711;
const SECRET: &str = "a secret of tests of directories";

fn owned(dir: &Path, user: u32, mode: u32) {
    fs::create_dir_all(dir).unwrap();
    fs::set_permissions(dir, fs::Permissions::from_mode(mode)).unwrap();
    chown(dir, Some(user), Some(user)).unwrap();
}

/// `serve` by a user who is not root.
fn serve(base: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", &SERVER.to_string(), "--regid", &SERVER.to_string(), "--clear-groups"])
        .arg(env!("CARGO_BIN_EXE_sealed-shuffle"))
        .args(["serve", "--bind", "127.0.0.1", "--port", "0", "--admin", "127.0.0.1:0", "--conf"])
        .arg(format!("spark.local.dir={}", base.join("root").display()))
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("STATE_DIRECTORY", base.join("state"))
        .env("_SPARK_AUTH_SECRET", SECRET);
    command
}

fn register(server: &Serving, executor: &str, dirs: &[&Path]) -> Output {
    let mut command = sealed_shuffle();
    command.args(["register", "--server", &server.address.to_string(), "--app-id", "app-1"]);
    command.args(["--executor-id", executor]).env("_SPARK_AUTH_SECRET", SECRET);
    for dir in dirs {
        command.arg("--local-dir").arg(dir);
    }
    command.output().unwrap()
}

/// Whether this machine lets us test as other users.
fn can_be_others() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: only root makes directories of other users");
    }
    let drops = Command::new("setpriv").args(["--reuid", "65534", "true"]).output();
    let drops = drops.is_ok_and(|output| output.status.success());
    if !drops {
        eprintln!("skipped: no program can be run as another user with setpriv");
    }
    is_root && drops
}

#[test]
fn a_start_that_cannot_make_its_state_directory_names_the_key() {
    if !can_be_others() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let base = temp.path().canonicalize().unwrap();
    owned(&base, 0, 0o755);
    owned(&base.join("root"), SERVER, 0o755);
    let mut command = serve(&base);
    let refused = command.env_remove("STATE_DIRECTORY").env("HOME", &base).output().unwrap();
    assert_eq!(code(&refused), 78, "{}", stderr(&refused));
    assert!(
        stderr(&refused).contains("spark.sealed.state.dir (a user without HOME has"),
        "{}",
        stderr(&refused)
    );
}

#[test]
fn a_directory_that_the_server_may_not_enter_is_refused_and_the_text_says_whose_it_is() {
    if !can_be_others() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let base = temp.path().canonicalize().unwrap();
    owned(&base, 0, 0o755);
    for name in ["root", "state"] {
        owned(&base.join(name), SERVER, 0o755);
    }
    let root = base.join("root");
    let (own, foreign) = (root.join("blockmgr-own"), root.join("blockmgr-foreign"));
    let below = root.join("spark-1/blockmgr-below");
    owned(&own, SERVER, 0o700);
    owned(&foreign, EXECUTORS, 0o700);
    owned(&below, EXECUTORS, 0o755);
    owned(&root.join("spark-1"), EXECUTORS, 0o750);
    let server = Serving::start(serve(&base), &base.join("log"));

    let refused = register(&server, "1", &[&own, &foreign]);
    assert_ne!(code(&refused), 0);
    let place = format!("{} belongs to uid {EXECUTORS}, gid {EXECUTORS}, with mode 0700", foreign.display());
    for words in ["localDirs entry cannot be read", "uid 65534 runs the service", &place, "runAsUser: 4711"] {
        assert!(stderr(&refused).contains(words), "{words:?} is not in {}", stderr(&refused));
        assert!(server.log().contains(words), "{words:?} is not in {}", server.log());
    }
    // What keeps it out may lie above.
    let refused = register(&server, "1", &[&below]);
    let place = format!("{} belongs to uid {EXECUTORS}", root.join("spark-1").display());
    assert!(stderr(&refused).contains(&place) && stderr(&refused).contains("0750"), "{}", stderr(&refused));

    // The controls: its own, one that is not there yet, and the same one when the server may enter.
    assert_eq!(code(&register(&server, "1", &[&own, &root.join("blockmgr-later")])), 0);
    fs::set_permissions(&foreign, fs::Permissions::from_mode(0o711)).unwrap();
    let done = register(&server, "2", &[&foreign]);
    assert_eq!(code(&done), 0, "{}", stderr(&done));
}
