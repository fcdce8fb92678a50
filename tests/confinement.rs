//! What a whole `serve` gives up, as the kernel tells it.

#![allow(clippy::unwrap_used)] // in helpers too a failure is a failed test

mod outcome;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use self::outcome::stdout;

const NOBODY: u32 = 65534;

/// No test waits longer for a program.
const PATIENCE: Duration = Duration::from_secs(20);

const OFF: [&str; 3] = [
    "spark.sealed.confinement.landlock=off",
    "spark.sealed.confinement.seccomp=off",
    "spark.sealed.confinement.memory=false",
];

/// A directory with a root, and what lies outside.
fn place() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["root", "state", "outside"] {
        fs::create_dir(dir.path().join(name)).unwrap();
        chown_if_root(&dir.path().join(name));
    }
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn chown_if_root(path: &Path) {
    if is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

/// `serve` by nobody where this user is root: root may look into every process.
fn serve(dir: &TempDir, arguments: &[&str], conf: &[&str]) -> Command {
    let binary = env!("CARGO_BIN_EXE_sealed-shuffle");
    let mut command = match is_root() {
        true => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", binary]);
            command
        }
        false => Command::new(binary),
    };
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("STATE_DIRECTORY", dir.path().join("state"))
        .env("_SPARK_AUTH_SECRET", "a secret of the confinement's tests")
        .stdin(Stdio::null())
        .args(["serve", "--bind", "127.0.0.1", "--port", "0"])
        .args(arguments)
        .arg("--conf")
        .arg(format!("spark.local.dir={}", dir.path().join("root").display()));
    for conf in conf {
        command.args(["--conf", conf]);
    }
    command
}

/// Whether `serve` can be run so here.
fn can_serve(dir: &TempDir) -> bool {
    match serve(dir, &["--check-config"], &[]).output() {
        Ok(output) if output.status.success() => true,
        other => {
            println!("skipped: cannot serve as another user: {other:?}");
            false
        }
    }
}

struct Served(Child);

impl Served {
    fn start(dir: &TempDir, conf: &[&str]) -> Self {
        let mut process = serve(dir, &[], conf).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("listening on "), "{line:?}");
        Self(process)
    }

    /// A field of `/proc/PID/status`.
    fn status(&self, field: &str) -> String {
        let text = fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.unwrap_or_else(|| panic!("no {field} in {text}")).trim().to_owned()
    }

    fn longest_core(&self) -> String {
        let text = fs::read_to_string(format!("/proc/{}/limits", self.0.id())).unwrap();
        let line = text.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        line.split_whitespace().nth(4).unwrap().to_owned()
    }

    /// Whether other processes of its user may look into it: if not, root owns what `/proc` shows of it (proc(5)).
    fn is_open(&self) -> bool {
        fs::metadata(format!("/proc/{}/environ", self.0.id())).unwrap().uid() != 0
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn server_is_confined_by_default_and_each_key_takes_its_measure_back() {
    let dir = place();
    if !can_serve(&dir) {
        return;
    }
    let confined = Served::start(&dir, &[]);
    assert_eq!((confined.longest_core().as_str(), confined.is_open()), ("0", false));
    let outlook = stdout(&serve(&dir, &["--check-config"], &[]).output().unwrap());
    if outlook.contains("confinement.seccomp: not in force") {
        println!("seccomp is not looked at: {outlook}");
    } else {
        assert_eq!((confined.status("Seccomp").as_str(), confined.status("NoNewPrivs").as_str()), ("2", "1"));
    }
    drop(confined);
    let free = Served::start(&dir, &OFF);
    assert!(free.is_open());
    let own = fs::read_to_string("/proc/self/status").unwrap();
    for field in ["Seccomp", "NoNewPrivs"] {
        assert!(own.contains(&format!("{field}:\t{}", free.status(field))), "{field} is ours");
    }
}

#[test]
fn check_config_says_what_is_in_force_here() {
    let dir = place();
    if !can_serve(&dir) {
        return;
    }
    let text = stdout(&serve(&dir, &["--check-config"], &[]).output().unwrap());
    for measure in ["confinement.landlock: ", "confinement.seccomp: ", "confinement.memory: no core dumps"] {
        assert!(text.lines().any(|line| line.starts_with(measure)), "{measure} is not in {text}");
    }
    let text = stdout(&serve(&dir, &["--check-config"], &OFF).output().unwrap());
    assert!(
        text.contains("confinement.landlock: not in force (spark.sealed.confinement.landlock = off)"),
        "{text}"
    );
}

/// A program that the server starts has the server's limits: it says what the kernel lets the server do.
#[test]
fn kernel_refuses_to_write_outside_where_that_is_on_and_a_program_may_by_default() {
    let dir = place();
    if !can_serve(&dir) {
        return;
    }
    let program = dir.path().join("keeper");
    let (ended, outside) = (dir.path().join("root/ended"), dir.path().join("outside/written"));
    let script = format!("#!/bin/sh\necho x > {}\necho x > {}\nexit 1\n", outside.display(), ended.display());
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let command = format!("spark.sealed.keys.command={}", program.display());
    let keys = ["spark.sealed.keys.provider=command", &command];
    // A program that gives no key is asked again, so the server runs until it is told to end.
    let starts = |more: &[&str]| {
        for file in [&ended, &outside] {
            drop(fs::remove_file(file));
        }
        let mut server = serve(&dir, &[], &[&keys[..], more].concat());
        let mut server = server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while !ended.exists() {
            assert!(Instant::now() < deadline, "the program did not run to its end");
            std::thread::sleep(Duration::from_millis(5));
        }
        server.kill().unwrap();
        server.wait().unwrap();
    };
    starts(&[]);
    assert!(outside.exists(), "a program is not confined unless that is wanted");
    let landlock = ["spark.sealed.confinement.landlock=on"];
    let text = stdout(&serve(&dir, &["--check-config"], &[&keys[..], &landlock].concat()).output().unwrap());
    if text.contains("confinement.landlock: not in force") {
        println!("skipped: {text}");
        return;
    }
    starts(&landlock);
    assert!(!outside.exists(), "the kernel lets it write outside");
}
