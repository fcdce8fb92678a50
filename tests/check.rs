//! `check` as a contract: what it says of a machine and of other files, and with which exit code.

#![allow(clippy::unwrap_used)] // in helpers too a failure is a failed test

mod outcome;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use self::outcome::{code, stderr, stdout};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// `check` over a directory, with nothing of this process's environment but the secret.
fn check(root: &Path, more: &[&str]) -> Output {
    check_with(SECRET, root, more)
}

fn check_with(secret: &str, root: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sealed-shuffle"))
        .env_clear()
        .env("_SPARK_AUTH_SECRET", secret)
        .env("STATE_DIRECTORY", root.join("state"))
        .env("SPARK_LOCAL_DIRS", root.join("blocks"))
        .args(["check", "--conf", "spark.sealed.bind=127.0.0.1"])
        .args(["--conf", &format!("spark.shuffle.service.port={}", free_port())])
        .args(more)
        .output()
        .unwrap()
}

/// A port that nobody has at this moment. Somebody may take it; `check` would say so.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn machine() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("blocks")).unwrap();
    dir
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&stdout(output)).unwrap_or_else(|error| panic!("{error}: {}", stderr(output)))
}

#[test]
fn machine_on_which_serve_would_start_has_no_faults_and_is_left_as_it_was() {
    let dir = machine();
    let output = check(dir.path(), &["--json"]);
    assert_eq!(code(&output), 0, "{}", stdout(&output));
    let found = json(&output);
    assert_eq!((&found["version"], &found["faults"]), (&1.into(), &0.into()), "{found:#}");
    assert!(!dir.path().join("state").exists(), "nothing is made");
    assert!(!stdout(&output).contains(SECRET) && !stderr(&output).contains(SECRET));
    // Served AES-CTR is a warning by default, and the temporary directory may be another.
    assert!(found["warnings"].as_u64() > Some(0));
    assert_eq!(code(&check(dir.path(), &["--strict"])), 1);
}

/// A program that gives it may cost something each time.
#[test]
fn certificate_that_is_no_good_is_asked_for_and_told_once() {
    let dir = machine();
    let (script, calls) = (dir.path().join("certificate"), dir.path().join("calls"));
    fs::write(&script, format!("echo asked >>{}\necho nothing of use", calls.display())).unwrap();
    let command = format!("spark.sealed.tls.command=/bin/sh {}", script.display());
    let output = check(
        dir.path(),
        &["--conf", "spark.ssl.rpc.enabled=true", "--conf", &command, "--conf", "spark.ssl.enabled=true"],
    );
    assert_eq!(code(&output), 78, "{}{}", stdout(&output), stderr(&output));
    let said = stdout(&output);
    let faults: Vec<_> = said.lines().filter(|line| line.starts_with('✗')).collect();
    assert!(matches!(faults[..], [line] if line.starts_with("✗ certificate: ")), "{said}");
    assert_eq!(fs::read_to_string(calls).unwrap(), "asked\n");
}

#[test]
fn root_that_is_away_may_come_and_a_value_that_is_wrong_stays_so() {
    let dir = machine();
    fs::remove_dir(dir.path().join("blocks")).unwrap();
    let away = check(dir.path(), &[]);
    assert_eq!(code(&away), 75, "{}", stdout(&away));
    assert!(stdout(&away).contains("✗ local directory: "), "{}", stdout(&away));
    let wrong = check(dir.path(), &["--conf", "spark.sealed.memory.budget=much"]);
    assert_eq!(code(&wrong), 78);
    assert!(stdout(&wrong).contains("spark.sealed.memory.budget"), "{}", stdout(&wrong));
}

#[test]
fn port_that_somebody_has_is_named() {
    let dir = machine();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let output = check(dir.path(), &["--conf", &format!("spark.shuffle.service.port={port}")]);
    assert_eq!(code(&output), 78);
    let line = format!("✗ port: 127.0.0.1:{port} is in use\n    → ");
    assert!(stdout(&output).contains(&line), "{}", stdout(&output));
}

#[test]
fn configuration_of_applications_that_the_server_would_refuse_is_a_fault() {
    let dir = machine();
    let conf = dir.path().join("applications.conf");
    let ask = |text: &str| {
        fs::write(&conf, text).unwrap();
        check(
            dir.path(),
            &[
                "--conf",
                "spark.shuffle.service.port=7337",
                "--applications",
                conf.to_str().unwrap(),
                "--json",
            ],
        )
    };
    let about_applications = |output: &Output| -> Vec<String> {
        let found = json(output);
        let all = found["findings"].as_array().unwrap().iter();
        let about = all.filter(|finding| finding["about"] == "applications");
        about.map(|finding| finding["severity"].as_str().unwrap().to_owned()).collect()
    };
    let agrees = "spark.shuffle.service.enabled true\nspark.authenticate true\n\
                  spark.network.crypto.enabled true\nspark.network.crypto.cipher AES/GCM/NoPadding\n";
    assert_eq!(about_applications(&ask(agrees)), ["ok"]);
    let clear = ask("spark.shuffle.service.enabled true\n");
    assert_eq!(about_applications(&clear), ["fault"]);
    assert_eq!(code(&clear), 78);
}

#[test]
fn an_aes_gcm_that_loses_messages_is_a_fault_of_the_spark_beside_the_configuration() {
    for (release, severity) in [("4.0.3", "fault"), ("3.5.6-vendor-1", "warning"), ("4.0.4", "ok")] {
        let dir = machine();
        let (conf, jars) = (dir.path().join("spark/conf"), dir.path().join("spark/jars"));
        fs::create_dir_all(&conf).unwrap();
        fs::create_dir(&jars).unwrap();
        fs::write(jars.join(format!("spark-core_2.13-{release}.jar")), b"").unwrap();
        let conf = conf.join("spark-defaults.conf");
        let keys = "spark.shuffle.service.enabled true\nspark.authenticate true\n\
                    spark.network.crypto.enabled true\nspark.network.crypto.cipher AES/GCM/NoPadding\n";
        fs::write(&conf, keys).unwrap();
        let port = ["--conf", "spark.shuffle.service.port=7337"];
        let output =
            check(dir.path(), &[&port[..], &["--applications", conf.to_str().unwrap(), "--json"]].concat());
        let found = json(&output);
        let all = found["findings"].as_array().unwrap().iter();
        let about: Vec<&Value> = all.filter(|finding| finding["about"] == "applications").collect();
        let [finding] = about[..] else { panic!("{found:#}") };
        assert_eq!(finding["severity"], severity, "{release}: {finding:#}");
        let hint = finding["hint"].as_str().unwrap_or_default();
        assert_eq!(hint.contains("4.0.4"), severity != "ok", "{finding:#}");
    }
}

/// A server that takes what `minimum` admits, and its address.
fn serving(dir: &Path, minimum: &str) -> (Child, String) {
    let mut serve = Command::new(env!("CARGO_BIN_EXE_sealed-shuffle"));
    serve.env_clear().env("_SPARK_AUTH_SECRET", SECRET).env("STATE_DIRECTORY", dir.join(minimum));
    serve.env("SPARK_LOCAL_DIRS", dir.join("blocks")).stdout(Stdio::piped()).stderr(Stdio::null());
    serve.args(["serve", "--bind", "127.0.0.1", "--port", "0"]);
    serve.args(["--conf", &format!("spark.sealed.security.minimum={minimum}")]);
    let mut process = serve.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (process, line.trim().strip_prefix("listening on ").unwrap().to_owned())
}

#[test]
fn server_that_runs_is_asked_which_channels_it_accepts() {
    let dir = machine();
    let probed = |at: &str, secret: &str| {
        let minimum = ["--conf", "spark.sealed.security.minimum=aes-gcm", "--json", "--probe", at];
        let output = check_with(secret, dir.path(), &minimum);
        let found = json(&output)["findings"].as_array().unwrap().clone();
        let of_probe = found.into_iter().filter(|finding| finding["about"] == "probe");
        let lines = of_probe.map(|finding| format!("{} {}", finding["severity"], finding["text"]));
        (code(&output), lines.collect::<Vec<_>>().join("\n"))
    };
    let (mut weak, mut strong) = (serving(dir.path(), "aes-ctr"), serving(dir.path(), "aes-gcm"));
    let accepted = probed(&strong.1, SECRET);
    assert!(
        accepted.0 == 0 && accepted.1.contains("\"ok\"") && accepted.1.contains("aes-gcm"),
        "{accepted:?}"
    );
    let weaker = probed(&weak.1, SECRET);
    assert!(weaker.1.starts_with("\"warning\"") && weaker.1.contains("aes-ctr is accepted"), "{weaker:?}");
    let foreign = probed(&strong.1, "another secret of the same server");
    assert!(foreign.1.starts_with("\"warning\""), "{foreign:?}");
    for (process, _) in [&mut weak, &mut strong] {
        process.kill().unwrap();
        process.wait().unwrap();
    }
    let gone = probed(&strong.1, SECRET);
    assert!(gone.0 == 75 && gone.1.starts_with("\"fault\""), "{gone:?}");
}
