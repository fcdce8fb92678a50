//! One JVM that runs a group of suites, and the result of every test.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tempfile::TempDir;

use super::{Expectations, Group, Release};
use crate::{
    process::Process,
    server::{binary, clean_environment},
    service::Service,
    spark::{OPENED, java_home},
};

/// A group takes a minute or two; a JVM on a machine that does much else a multiple of it.
const LIMIT: Duration = Duration::from_secs(900);
/// Where the harness begins its lines.
const RESULT: &str = "RESULT\t";

/// How a test ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It passed, and a service had run.
    Passed,
    /// It failed.
    Failed,
    /// It was found, and not run, as was asked.
    LeftOut,
    /// Spark's own sources switch it off.
    Skipped,
    /// It passed without any service, so that it says nothing of ours.
    Idle,
}

/// One test and its end.
#[derive(Clone, Debug)]
pub struct Result {
    /// Suite and method with a `#` between them.
    pub test: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it failed.
    pub cause: String,
}

/// Runs a group of a release's suites against either service. What the service and the suites logged, and the results,
/// lie in `target/spark-suites/` afterwards.
pub fn run(release: &Release, group: Group, service: Service, expected: &Expectations) -> Vec<Result> {
    let logs = logs(release, group, service);
    let tmp = TempDir::with_prefix("suites-").expect("the temporary directory is writable");
    let mut java = java(tmp.path());
    java.arg(format!("-Dsuites.command={}", command(release, service)))
        .arg(format!("-Dsuites.log={}", logs.join("service.log").display()))
        .arg("-cp")
        .arg(release.class_path(group))
        .arg("suites.Runner");
    let there = release.suites();
    let is_there = |suite: &&&str| there.iter().any(|name| suite.ends_with(&format!(".{name}")));
    java.args(
        group.suites().iter().filter(is_there).map(|suite| format!("org.apache.spark.network.{suite}")),
    );
    java.args(expected.not_applicable().map(|test| format!("-{test}")));
    let mut process = Process::start("Spark's suites", &mut java);
    process.wait(LIMIT);
    let lines = process.out().all();
    fs::write(logs.join("suites.log"), process.err().all().join("\n")).expect("target is writable");
    fs::write(logs.join("results.tsv"), lines.join("\n")).expect("target is writable");
    assert!(lines.iter().any(|line| line == "END"), "the suites ended early\n{}", process.tail());
    lines.iter().filter_map(|line| line.strip_prefix(RESULT)).map(result).collect()
}

fn result(line: &str) -> Result {
    let mut cells = line.split('\t');
    let mut next = || cells.next().unwrap_or_default().to_owned();
    let (test, outcome, _millis, cause) = (next(), next(), next(), next());
    let outcome = match outcome.as_str() {
        "passed" => Outcome::Passed,
        "failed" => Outcome::Failed,
        "left-out" => Outcome::LeftOut,
        "skipped" => Outcome::Skipped,
        "idle" => Outcome::Idle,
        other => panic!("the harness says {other}"),
    };
    Result { test, outcome, cause }
}

/// A JVM as Spark's build sets it up for its tests. PEM clients of Spark 4.2 need the last option (README, TLS).
fn java(tmp: &Path) -> Command {
    let mut java = Command::new(java_home().join("bin/java"));
    clean_environment(&mut java);
    java.env("SPARK_LOCAL_IP", "127.0.0.1").args(jvm_options());
    java.arg(format!("-Djava.io.tmpdir={}", tmp.display()));
    java.arg("-Dio.netty.handler.ssl.defaultEndpointVerificationAlgorithm=NONE");
    java
}

/// Short-lived JVMs: the second compiler would cost more than it brings.
fn jvm_options() -> Vec<String> {
    let logging = Path::new(env!("CARGO_MANIFEST_DIR")).join("jvm/log4j2.properties");
    let mut options = vec![
        "-XX:TieredStopAtLevel=1".to_owned(),
        "-Xshare:auto".to_owned(),
        format!("-Dlog4j2.configurationFile={}", logging.display()),
        "-Dio.netty.tryReflectionSetAccessible=true".to_owned(),
    ];
    options.extend(OPENED.iter().map(|package| format!("--add-opens={package}=ALL-UNNAMED")));
    options
}

/// What starts the service, one word a line.
fn command(release: &Release, service: Service) -> String {
    match service {
        Service::Ours => binary().display().to_string(),
        Service::Spark => {
            let mut words = vec![java_home().join("bin/java").display().to_string()];
            words.extend(jvm_options());
            words.extend(["-cp".to_owned(), release.plain_class_path(), "suites.Control".to_owned()]);
            words.join("\n")
        }
    }
}

/// `target/spark-suites/RELEASE-GROUP-SERVICE`, empty.
fn logs(release: &Release, group: Group, service: Service) -> PathBuf {
    let dir = target().join(format!("{}-{}-{service:?}", release.version(), group.name()).to_lowercase());
    fs::remove_dir_all(&dir).ok();
    fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("cannot create {}: {e}", dir.display()));
    dir
}

/// `target/spark-suites`, beside the directory of the profile that the running test lies in.
pub fn target() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    test.ancestors().nth(3).expect("tests lie in target/PROFILE/deps").join("spark-suites")
}
