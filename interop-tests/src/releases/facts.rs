//! What the network classes of a release have: message types, keys of configuration, classes.

use std::{collections::BTreeSet, fs, path::PathBuf};

use crate::spark::Spark;

/// The jars that are read.
const JARS: [&str; 2] = ["spark-network-common_", "spark-network-shuffle_"];
/// `jvm/Facts.java`, which says them.
const PROGRAM: &str = "Facts";

/// Lines, `message BlockTransferMessage 3 STREAM_HANDLE`, `key spark.network.crypto.cipher`, `class org.apache…`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Facts(BTreeSet<String>);

impl Facts {
    /// What these have and `other` has not.
    pub fn beyond<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a str> {
        self.0.difference(&other.0).map(String::as_str)
    }
}

/// Those of a release.
pub fn of_release(spark: &Spark) -> Facts {
    let jars = fs::read_dir(spark.home().join("jars")).expect("a release has jars");
    let jars: Vec<PathBuf> = jars
        .flatten()
        .filter(|entry| JARS.iter().any(|jar| entry.file_name().to_string_lossy().starts_with(jar)))
        .map(|entry| entry.path())
        .collect();
    assert_eq!(jars.len(), JARS.len(), "another number of jars of the network: {jars:?}");
    let output = spark.java().arg(PROGRAM).args(jars).output().expect("Java runs");
    assert!(output.status.success(), "{PROGRAM}: {}", String::from_utf8_lossy(&output.stderr));
    Facts(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}
