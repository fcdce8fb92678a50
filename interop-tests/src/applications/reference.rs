//! One run of the application in one JVM that reads its shuffles from its own disk: no service, no authentication, no
//! encryption. It is made once for a program, a release and a Java, and two things are kept of it.
//!
//! Its result is what every other run is held against. Its classes are mapped by other runs (application class-data sharing,
//! JEP 350: Java 13 and later): driver and two executors load twelve thousand of them each, and verify them. With an archive an
//! application takes three fifths of the time of processors, and of its whole time.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use serde_json::json;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::{
    keys::Keys,
    program::{APPLICATION, ROWS, START_LIMIT, python, result},
};
use crate::{
    machine::{Process, cache, made_once, runtime_home},
    spark::Spark,
};

const ARCHIVE: &str = "classes.jsa";
const RESULT: &str = "result";

/// The only release of which so many applications run that an archive brings more than it takes to make.
const RELEASE: &str = "4.3.0";

/// What the application computes without a service, as a hash.
pub fn result_without_a_service() -> &'static str {
    static KNOWN: OnceLock<String> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let path = reference(&Spark::release(RELEASE)).join(RESULT);
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()))
    })
}

/// The archive of a release; none of others than [`RELEASE`], or where this Java has made none, which only costs time.
pub(super) fn class_archive(release: &Spark) -> Option<PathBuf> {
    (release.version() == RELEASE)
        .then(|| reference(release).join(ARCHIVE))
        .filter(|archive| archive.is_file())
}

/// Where both lie.
fn reference(release: &Spark) -> PathBuf {
    let java = fs::read(runtime_home().join("release")).unwrap_or_default();
    let mut key = Sha256::new_with_prefix(java);
    APPLICATION.texts().iter().for_each(|text| key.update(text));
    key.update(ROWS.to_be_bytes());
    let key: String = key.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    made_once(cache().join(format!("reference-{}-{key}", release.version())), |into| make(release, into))
}

/// The driver of an application that has its executor within.
fn make(release: &Spark, into: &Path) {
    let dir = TempDir::with_prefix("interop-reference-").expect("the temporary directory is writable");
    let mut keys = Keys::of_application();
    keys.archive_classes(&into.join(ARCHIVE));
    let more = [("rows", json!(ROWS)), ("kill_executor", json!(false))];
    // The JVM looks at the jars of the archive by their paths when it uses it: they lie where they stay.
    let mut command = python(APPLICATION, (release, release.home()), ("local[2]", keys), dir.path(), &more);
    command.env("SPARK_LOCAL_DIRS", dir.path().join("local"));
    let name = format!("the application without a service on Spark {}", release.version());
    let mut process = Process::start(&name, &mut command);
    drop(process.take_input());
    let report = result(&mut process, 2 * START_LIMIT);
    // Python ends before its JVM, which writes the archive.
    process.out().finished(START_LIMIT);
    assert_eq!(report["canary_rows"], json!(ROWS), "{report}");
    let hash = report["result"].as_str().expect("a hash");
    fs::write(into.join(RESULT), hash).expect("the directory of the cache is writable");
    if !into.join(ARCHIVE).is_file() {
        eprintln!("no archive of classes was made: applications take longer\n{}", process.tail());
    }
}
