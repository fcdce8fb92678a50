//! What the operator's commands show and do: `apps`, `status`, `forget`, `log-level`, `reload`, `drain`.

#![allow(clippy::unwrap_used)] // in helpers too a failure is a failed test

mod running;
mod serving;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use rustix::process::Signal;
use sealed_shuffle_protocol::cipher::SessionMode;
use serde_json::Value;
use tempfile::TempDir;

use self::serving::{Serving, sealed_shuffle, serve};
use running::{APP, CTR, GCM, Peer, eventually, register};

const SECRET: &str = "one";

fn start(dir: &Path, properties: &str) -> Serving {
    let root = dir.join("root");
    fs::create_dir_all(root.join("blockmgr-1")).unwrap();
    write(dir, properties);
    let mut command = serve(dir);
    command.arg("--properties-file").arg(dir.join("properties"));
    Serving::start(command, &dir.join("log"))
}

fn write(dir: &Path, properties: &str) {
    let text =
        format!("spark.local.dir {}/root\nspark.authenticate.secret {SECRET}\n{properties}\n", dir.display());
    fs::write(dir.join("properties"), text).unwrap();
}

/// A command that finds the server by its socket, as an operator's does.
fn tell(dir: &TempDir, arguments: &[&str]) -> Output {
    let socket = dir.path().join("state/admin.sock");
    sealed_shuffle().args(arguments).arg("--socket").arg(socket).output().unwrap()
}

fn told(dir: &TempDir, arguments: &[&str]) -> String {
    let output = tell(dir, arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn apps(dir: &TempDir) -> Value {
    serde_json::from_str(&told(dir, &["apps", "--json"])).unwrap()
}

fn connect(serving: &Serving, mode: SessionMode) -> Result<Peer, String> {
    connect_as(serving, APP, SECRET, mode)
}

fn connect_as(serving: &Serving, app: &str, secret: &str, mode: SessionMode) -> Result<Peer, String> {
    let mut peer = Peer::connect(serving.address);
    peer.handshake(app, secret, mode).map(|()| peer)
}

fn speaks(dir: &TempDir, serving: &Serving, mode: SessionMode) -> Peer {
    let mut peer = connect(serving, mode).unwrap();
    peer.rpc(&register(&[dir.path().join("root/blockmgr-1").to_str().unwrap()])).unwrap();
    peer
}

#[test]
fn application_that_moved_is_judged_by_its_new_channel_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut serving = start(dir.path(), "");
    drop(speaks(&dir, &serving, CTR));
    let below = |answer: &Value| answer["counts"]["running"]["below_target"].clone();
    assert_eq!(below(&apps(&dir)), 1);
    assert_eq!(tell(&dir, &["apps", "--fail"]).status.code(), Some(1));
    assert_eq!(tell(&dir, &["apps", "--fail", "--target", "aes-ctr"]).status.code(), Some(0));
    // A control: what is not kept in mind for so long is not judged.
    assert_eq!(tell(&dir, &["apps", "--fail", "--since", "soon"]).status.code(), Some(2));

    // After a kill, too, it is known how it spoke.
    serving.signal(Signal::TERM);
    assert!(serving.wait().success());
    let mut serving = start(dir.path(), "");
    let answer = apps(&dir);
    assert_eq!(
        (below(&answer), &answer["counts"]["running"]["unheard"]),
        (1.into(), &0.into()),
        "{answer:#}"
    );
    assert_eq!(answer["applications"][0]["channels"][0]["channel"], "aes-ctr", "{answer:#}");

    drop(speaks(&dir, &serving, GCM));
    assert_eq!(below(&apps(&dir)), 0);
    assert_eq!(tell(&dir, &["apps", "--fail"]).status.code(), Some(0));
    let table = told(&dir, &["apps", "--since", "1h"]);
    assert!(table.contains("1 of 1 seen in 1h"), "{table}");

    // Without the file the server starts, and says that it does not know.
    serving.signal(Signal::TERM);
    assert!(serving.wait().success());
    let file = dir.path().join("state/sightings.sealed");
    let mut sealed = fs::read(&file).unwrap();
    assert!(!sealed.windows(APP.len()).any(|part| part == APP.as_bytes()), "the name stands there in clear");
    *sealed.last_mut().unwrap() ^= 1;
    fs::write(&file, sealed).unwrap();
    let serving = start(dir.path(), "");
    eventually("it says so", || {
        serving.log().contains("which channels applications used before the restart is not known")
    });
    let table = told(&dir, &["apps"]);
    assert!(table.contains("; 1 more are registered, and how they speak is not known yet"), "{table}");
}

/// The example of the book has the lines that the command prints, in their order; figures, paths and words that depend on
/// them differ.
#[test]
fn status_prints_the_lines_that_the_book_shows() {
    let dir = tempfile::tempdir().unwrap();
    let serving = start(dir.path(), "");
    drop(speaks(&dir, &serving, GCM));
    let book = include_str!("../docs/operate.md");
    let (_, example) = book.split_once("$ sealed-shuffle status\n").unwrap();
    let example: Vec<_> = example.lines().take_while(|line| !line.starts_with('$')).collect();
    let said = told(&dir, &["status"]);
    // The book has two disks.
    let head = |line: &str| line.split("  ").next().unwrap().to_owned();
    let mut heads: Vec<_> = example.iter().map(|line| head(line)).collect();
    heads.dedup();
    assert_eq!(said.lines().map(head).collect::<Vec<_>>(), heads, "{said}");
    // Words between figures, of the lines that say the same of any server.
    let words =
        |line: &str| line.split(' ').filter(|word| word.chars().all(|c| c.is_ascii_lowercase())).count();
    for name in ["policy", "memory", "recovery store", "key service"] {
        let of = |lines: &[&str]| {
            lines.iter().find(|line| line.starts_with(name)).map(|line| words(line)).unwrap()
        };
        assert_eq!(of(&said.lines().collect::<Vec<_>>()), of(&example), "{name}: {said}");
    }
}

#[test]
fn probe_is_no_application_and_who_is_refused_can_be_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let serving = start(dir.path(), "");
    let secret = dir.path().join("secret");
    fs::write(&secret, SECRET).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let probe = || {
        let mut probe = sealed_shuffle();
        probe
            .args(["probe", &serving.address.to_string(), "--minimum", "aes-ctr", "--secret-file"])
            .arg(&secret);
        probe.output().unwrap()
    };
    let output = probe();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    eventually("its connections have ended", || {
        apps(&dir)["applications"].as_array().unwrap().iter().all(|row| row["connections_open"] == 0)
    });
    let rows = apps(&dir);
    let used =
        rows["applications"].as_array().unwrap().iter().flat_map(|row| row["channels"].as_array().unwrap());
    assert_eq!(used.count(), 0, "it is listed as if it used something: {rows:#}");
    assert_eq!(rows["counts"]["all"]["applications"], 0, "{rows:#}");

    assert!(connect_as(&serving, "impostor", "two", GCM).is_err());
    eventually("it is listed", || told(&dir, &["apps"]).contains("impostor"));
    assert_eq!(told(&dir, &["forget", "impostor"]).trim(), "impostor: forgot 0 executors");
    assert!(!told(&dir, &["apps"]).contains("impostor"));
    assert_eq!(tell(&dir, &["forget", "impostor"]).status.code(), Some(66));
}

#[test]
fn reload_says_what_is_wrong_and_what_is_refused_now() {
    let dir = tempfile::tempdir().unwrap();
    let serving = start(dir.path(), "");
    let _peer = speaks(&dir, &serving, CTR);
    write(dir.path(), "spark.sealed.security.minimum best");
    let output = tell(&dir, &["reload"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text.contains("spark.sealed.security.minimum") && text.contains("best"), "{text}");
    write(dir.path(), "spark.sealed.security.minimum aes-gcm");
    assert_eq!(told(&dir, &["reload"]).trim(), "the configuration was read again");
    let table = told(&dir, &["apps"]);
    assert!(table.contains("is refused: below the minimum aes-gcm; set "), "{table}");
    assert!(!table.contains("would be refused at aes-gcm; set"), "{table}");
    assert!(connect(&serving, GCM).is_ok());
}

#[test]
fn log_level_changes_what_is_logged_and_a_bad_one_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let serving = start(dir.path(), "spark.sealed.log.format json");
    assert_eq!(told(&dir, &["log-level"]).trim(), "info");
    drop(speaks(&dir, &serving, GCM));
    assert!(!serving.log().contains("the channel is known"));
    assert_eq!(told(&dir, &["log-level", "sealed_shuffle=debug"]).trim(), "logs sealed_shuffle=debug");
    assert_eq!(told(&dir, &["log-level"]).trim(), "sealed_shuffle=debug");
    drop(speaks(&dir, &serving, GCM));
    eventually("it is logged", || serving.log().contains("the channel is known"));
    let output = tell(&dir, &["log-level", "a=b=c"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(told(&dir, &["log-level"]).trim(), "sealed_shuffle=debug");
    for line in serving.log().lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["level"].is_string() && line["fields"]["message"].is_string(), "{line}");
    }
}

#[test]
fn status_is_one_screen_and_drain_ends_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let mut serving = start(dir.path(), "");
    let peer = speaks(&dir, &serving, GCM);
    assert!(connect_as(&serving, APP, "two", GCM).is_err());
    let screen = told(&dir, &["status"]);
    for part in [
        "serving, ready, release ",
        "minimum aes-ctr, target aes-gcm",
        "1 with 1 executor; 0 of 1 that run would be refused at aes-gcm",
        "root ok, ",
        "holds everything",
        "1 authentication_failed",
    ] {
        assert!(screen.contains(part), "{part:?} is not in\n{screen}");
    }
    let status: Value = serde_json::from_str(&told(&dir, &["status", "--json"])).unwrap();
    assert_eq!((&status["version"], &status["ready"]), (&1.into(), &true.into()));
    drop(peer);
    fs::remove_dir_all(dir.path().join("root")).unwrap();
    eventually("the disk is seen to be away", || tell(&dir, &["status"]).status.code() == Some(1));
    let screen = String::from_utf8(tell(&dir, &["status"]).stdout).unwrap();
    assert!(
        screen.contains("root missing: ") && screen.contains("; mount or make the directory"),
        "{screen}"
    );

    assert_eq!(told(&dir, &["drain"]).trim(), "drains, and ends then");
    assert_eq!(serving.wait().code(), Some(0));
    assert!(serving.log().contains("an operator asks"));
    assert_eq!(tell(&dir, &["status"]).status.code(), Some(69));
}

#[test]
fn every_object_that_a_command_prints_for_programs_has_the_version_of_its_shape() {
    let dir = tempfile::tempdir().unwrap();
    let serving = start(dir.path(), "");
    let file = dir.path().join("file");
    fs::write(&file, "text").unwrap();
    let (properties, file) = (dir.path().join("properties"), file.to_str().unwrap());
    let of_configuration = ["--properties-file", properties.to_str().unwrap()];
    let address = serving.address.to_string();
    let block_dir = dir.path().join("root/blockmgr-1");
    let register =
        ["register", "--json", "--server", &address, "--app-id", APP, "--executor-id", "1", "--local-dir"];
    let register = [&register[..], &[block_dir.to_str().unwrap()], &of_configuration].concat();
    let probe = ["probe", "--json", "--minimum", "aes-ctr", &address];
    let commands: [(&[&str], bool); 8] = [
        (&["apps", "--json"], true),
        (&["status", "--json"], true),
        (&["orphans", "--json", of_configuration[0], of_configuration[1]], false),
        (&["config", "list", "--json", of_configuration[0], of_configuration[1]], false),
        (&["check", "--json", of_configuration[0], of_configuration[1]], false),
        (&["inspect", "--json", file], false),
        (&register, false),
        (&probe, false),
    ];
    for (arguments, at_socket) in commands {
        let output = match at_socket {
            true => tell(&dir, arguments),
            false => sealed_shuffle().args(arguments).output().unwrap(),
        };
        let object: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {output:?}"));
        assert_eq!(object["version"], 1, "{arguments:?}: {object:#}");
    }
}
