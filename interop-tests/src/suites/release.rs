//! One Spark release of which Maven has test jars.
//!
//! ```text
//! the cache of spark.rs/
//!   suites-V-HASH/lib/*.jar        Spark's network modules, their dependencies, JUnit; a few ten MB
//!                /tests/           the test jars, unpacked: suites name their TLS files by path
//!                /harness/         spark-suites/harness, compiled
//!                /GROUP/           spark-suites/GROUP, compiled
//! ```
//!
//! Spark's classes come by Maven here and not from PySpark as elsewhere: the test jars want the classes of their own
//! release, and PySpark is ten times as much to fetch.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};

use sha2::{Digest, Sha256};

use super::group::Group;
use crate::spark::{cache, java_home, made_once, run};

/// The plugin that copies jars, by its full name so that no other version is taken.
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies";

/// A release, unpacked and compiled against.
#[derive(Clone, Debug)]
pub struct Release {
    version: &'static str,
    root: PathBuf,
}

/// Why a release cannot be had here.
#[derive(Debug)]
pub struct NotHad(String);

impl fmt::Display for NotHad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Release {
    /// Every release whose suites are run, with the Scala that its jars are named after.
    pub const ALL: [(&'static str, &'static str); 2] = [("3.5.9", "2.12"), ("4.2.0", "2.13")];

    /// Fetches and compiles what is not there yet. An error where Maven is not there, or has no way to the jars.
    pub fn get(version: &'static str) -> std::result::Result<Self, NotHad> {
        let (_, scala) = *Self::ALL
            .iter()
            .find(|(listed, _)| *listed == version)
            .unwrap_or_else(|| panic!("{version} is not listed"));
        let target = cache().join(format!("suites-{version}-{}", digest()));
        if !target.exists() {
            // Into a directory of its own first: a failed fetch is no failed test.
            let fetched = fetched(version, scala)?;
            made_once(target.clone(), |into| {
                assemble(&fetched, into);
            });
        }
        Ok(Self { version, root: target })
    }

    /// For example `4.2.0`.
    pub fn version(&self) -> &'static str {
        self.version
    }

    /// What a suite of the group sees: the class that stands before Spark's comes first.
    pub fn class_path(&self, group: Group) -> String {
        format!("{}:{}", self.root.join(group.name()).display(), self.plain_class_path())
    }

    /// Spark's classes as they are, with the harness.
    pub fn plain_class_path(&self) -> String {
        let [harness, tests, lib] = ["harness", "tests", "lib/*"].map(|part| self.root.join(part));
        format!("{}:{}:{}", harness.display(), tests.display(), lib.display())
    }

    /// The names of all suites in the test jars, without their packages.
    pub fn suites(&self) -> Vec<String> {
        let mut names: Vec<String> = crate::merging::files(&self.root.join("tests"))
            .iter()
            .filter_map(|path| path.file_name()?.to_str()?.strip_suffix("Suite.class").map(str::to_owned))
            .filter(|name| !name.contains('$'))
            .map(|name| name + "Suite")
            .collect();
        names.sort();
        names
    }
}

/// The directory with the project file and the Java sources.
pub(super) fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("spark-suites")
}

/// Changes with every file of `spark-suites/` that is compiled or says what is fetched.
fn digest() -> String {
    let mut files = crate::merging::files(&sources());
    files.retain(|path| path.extension().is_some_and(|kind| kind == "java" || kind == "xml"));
    files.sort();
    let mut hash = Sha256::new();
    for path in files {
        hash.update(path.strip_prefix(sources()).expect("it lies there").as_os_str().as_encoded_bytes());
        hash.update(fs::read(&path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display())));
    }
    hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The jars of a release, as the project file names them; fetched once for each project file.
fn fetched(version: &str, scala: &str) -> std::result::Result<PathBuf, NotHad> {
    let project = sources().join("pom.xml");
    let text = fs::read(&project).unwrap_or_else(|e| panic!("cannot read {}: {e}", project.display()));
    let key: String = Sha256::digest(text)[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let target = cache().join(format!("suites-jars-{version}-{key}"));
    // One Maven at a time: tests run side by side, and want the same jars.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    if target.exists() {
        return Ok(target);
    }
    let partial = tempfile::TempDir::with_prefix_in("suites-jars-", cache()).expect("the cache is writable");
    let mut maven = Command::new("mvn");
    maven
        .args(["--batch-mode", "--quiet", "--file"])
        .arg(&project)
        .arg(COPY)
        .arg(format!("-Dscala={scala}"))
        .arg(format!("-Dspark={version}"))
        .arg(format!("-DoutputDirectory={}", partial.path().display()))
        .env("JAVA_HOME", java_home());
    let output = maven.output().map_err(|e| NotHad(format!("mvn cannot be run: {e}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        return Err(NotHad(format!("mvn cannot fetch the jars of Spark {version}: {said}")));
    }
    Ok(made_once(target, |into| {
        for jar in crate::merging::files(partial.path()) {
            let name = jar.file_name().expect("files have names");
            fs::copy(&jar, into.join(name)).unwrap_or_else(|e| panic!("cannot copy {}: {e}", jar.display()));
        }
    }))
}

fn assemble(jars: &Path, into: &Path) {
    let [lib, tests, harness] = ["lib", "tests", "harness"].map(|part| into.join(part));
    for dir in [&lib, &tests, &harness] {
        fs::create_dir(dir).unwrap_or_else(|e| panic!("cannot create {}: {e}", dir.display()));
    }
    for jar in crate::merging::files(jars) {
        let name = jar.file_name().expect("files have names");
        fs::hard_link(&jar, lib.join(name)).unwrap_or_else(|e| panic!("cannot link {}: {e}", jar.display()));
        if name.to_string_lossy().ends_with("-tests.jar") {
            run(Command::new(java_home().join("bin/jar")).arg("xf").arg(&jar).current_dir(&tests), || {
                format!("cannot unpack {}", jar.display())
            });
        }
    }
    compile(&sources().join("harness"), &harness, &format!("{}/*", lib.display()));
    for group in Group::ALL {
        let classes = into.join(group.name());
        fs::create_dir(&classes).unwrap_or_else(|e| panic!("cannot create {}: {e}", classes.display()));
        let class_path = format!("{}:{}/*", harness.display(), lib.display());
        compile(&sources().join(group.name()), &classes, &class_path);
    }
}

fn compile(sources: &Path, into: &Path, class_path: &str) {
    let mut javac = Command::new(java_home().join("bin/javac"));
    javac.args(["-nowarn", "-d"]).arg(into).args(["-cp", class_path]);
    javac.args(crate::merging::files(sources));
    run(&mut javac, || format!("{} does not compile", sources.display()));
}
