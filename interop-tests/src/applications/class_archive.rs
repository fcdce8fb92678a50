//! The classes of applications, as a JVM maps them (application class-data sharing, JEP 350: Java 13 and later).
//!
//! The driver and two executors load twelve thousand classes each, and verify them. With an archive an application takes three
//! fifths of the time of processors, and of its whole time. It is made once for a release and a Java, by an application in one
//! JVM, which takes about as long as two others.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::json;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::{
    keys::Keys,
    program::{APPLICATION, START_LIMIT, python},
};
use crate::{
    machine::{Process, cache, java_home, made_once},
    spark::Spark,
};

const ARCHIVE: &str = "classes.jsa";

/// The only release of which so many applications run that an archive brings more than it takes to make.
const RELEASE: &str = "4.3.0";

/// The archive of a release; none of others than [`RELEASE`], or where this Java has made none, which only costs time.
pub(super) fn class_archive(release: &Spark) -> Option<PathBuf> {
    if release.version() != RELEASE {
        return None;
    }
    let java = fs::read(java_home().join("release")).unwrap_or_default();
    let key: String = Sha256::digest(java)[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let dir =
        made_once(cache().join(format!("archive-{}-{key}", release.version())), |into| make(release, into));
    Some(dir.join(ARCHIVE)).filter(|archive| archive.is_file())
}

/// The driver of an application that has its executor within.
fn make(release: &Spark, into: &Path) {
    let dir = TempDir::with_prefix("interop-archive-").expect("the temporary directory is writable");
    let mut keys = Keys::new();
    keys.archive_classes(&into.join(ARCHIVE));
    let more = [("rows", json!(1000)), ("kill_executor", json!(false))];
    // The JVM looks at the jars of the archive by their paths when it uses it: they lie where they stay.
    let mut command = python(APPLICATION, (release, release.home()), ("local[2]", keys), dir.path(), &more);
    command.env("SPARK_LOCAL_DIRS", dir.path().join("local"));
    let name = format!("the archive of classes of Spark {}", release.version());
    let mut process = Process::start(&name, &mut command);
    drop(process.take_input());
    let status = process.wait(2 * START_LIMIT);
    // Python ends before its JVM, which writes the archive.
    process.out().finished(START_LIMIT);
    if !into.join(ARCHIVE).is_file() {
        eprintln!("{name} was not made ({status}): applications take longer\n{}", process.tail());
    }
}
