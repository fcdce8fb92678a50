//! Where a program of Spark's runs: a `SPARK_HOME` of its own, on loopback.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    machine::{clean_environment, runtime_home},
    spark::Spark,
};

/// A `SPARK_HOME` of its own: Spark's Workers write beneath it, and application ids repeat within a second.
pub(super) fn private_home(release: &Spark, dir: &Path) -> PathBuf {
    let home = dir.join("home");
    fs::create_dir(&home).expect("the directory is fresh");
    for part in ["bin", "jars"] {
        symlink(release.home().join(part), home.join(part)).expect("the directory is fresh");
    }
    home
}

/// `JAVA_HOME`, loopback, and nothing inherited that would configure Spark.
pub(super) fn loopback(command: &mut Command) {
    clean_environment(command);
    command
        .env("JAVA_HOME", runtime_home())
        .env("SPARK_LOCAL_IP", "127.0.0.1")
        .env("SPARK_LOCAL_HOSTNAME", "127.0.0.1")
        .env("PYSPARK_PYTHON", "python3");
}
