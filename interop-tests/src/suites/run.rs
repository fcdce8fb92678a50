//! One JVM that runs a group of suites, and the result of every test.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tempfile::TempDir;

use super::{expectations::Expectations, group::Group, outcome::TestResult, release::Release};
use crate::{
    machine::{MissingJars, Process, Turn, clean_environment, java_home},
    modes::Service,
    ours::binary,
    spark::{OPENED, Spark},
};

/// A group takes a minute or two, whole applications several; on a machine that does much else a multiple of it.
const LIMIT: Duration = Duration::from_secs(1800);

/// Runs a group of a release's suites against either service. The logs of the service and of the suites, and the
/// results, lie in `target/spark-suites/` afterwards.
pub fn run(
    release: &Release,
    group: Group,
    service: Service,
    expected: &Expectations,
) -> Result<Vec<TestResult>, MissingJars> {
    let logs = logs(release, group, service);
    let tmp = TempDir::with_prefix("suites-").expect("the temporary directory is writable");
    let mut java = java(tmp.path());
    java.arg(format!("-Dsuites.command={}", command(release, service)));
    java.arg(format!("-Dsuites.log={}", logs.join("service.log").display()));
    let _turn = match group {
        Group::Applications => {
            let spark = Spark::release(release.version());
            application(&mut java, &spark, release, tmp.path());
            java.arg("-cp").arg(release.application_class_path(&spark)?).arg("suites.Applications");
            Some(Turn::wait())
        }
        _ => {
            java.arg("-cp").arg(release.class_path(group)).arg("suites.Runner");
            None
        }
    };
    java.args(suites(release, group).map(|suite| format!("org.apache.spark.{suite}")));
    java.args(expected.not_applicable().map(|test| format!("-{test}")));
    let mut process = Process::start("Spark's suites", &mut java);
    process.wait(LIMIT);
    let lines = process.out().all();
    fs::write(logs.join("suites.log"), process.err().all().join("\n")).expect("target is writable");
    fs::write(logs.join("results.tsv"), lines.join("\n")).expect("target is writable");
    assert!(lines.iter().any(|line| line == "END"), "the suites ended early\n{}", process.tail());
    Ok(lines.iter().filter_map(|line| TestResult::parse(line)).collect())
}

/// The suites of a group that the release has.
fn suites(release: &Release, group: Group) -> impl Iterator<Item = &'static str> {
    let there = release.suites();
    group.suites().iter().copied().filter(move |suite| {
        group == Group::Applications || there.iter().any(|name| suite.ends_with(&format!(".{name}")))
    })
}

/// A JVM as Spark's build sets it up for its tests.
fn java(tmp: &Path) -> Command {
    let mut java = Command::new(java_home().join("bin/java"));
    clean_environment(&mut java);
    java.env("SPARK_LOCAL_IP", "127.0.0.1").args(jvm_options()).current_dir(tmp);
    java.arg(format!("-Djava.io.tmpdir={}", tmp.display()));
    // Spark's clients check no names; Netty does from 4.2 on, and Spark does not tell it which.
    java.arg("-Dio.netty.handler.ssl.defaultEndpointVerificationAlgorithm=NONE");
    java
}

/// Whole applications start Workers and executors, which find Spark's jars in a home of their own and write beside them.
fn application(java: &mut Command, spark: &Spark, release: &Release, tmp: &Path) {
    let home = tmp.join("home");
    fs::create_dir(&home).expect("the directory is fresh");
    symlink(spark.home().join("jars"), home.join("jars")).expect("the directory is fresh");
    java.env("SPARK_HOME", &home).env("SPARK_SCALA_VERSION", release.scala());
    java.arg("-Dspark.testing=1").arg(format!("-Dspark.test.home={}", home.display()));
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

/// The words that start the service, one a line.
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
