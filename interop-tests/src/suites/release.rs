//! One Spark release of which Maven has test jars.
//!
//! ```text
//! the cache/
//!   suites-jars-V-HASH/            Spark's network modules, their dependencies, JUnit: about 40 MB
//!   suites-V-HASH/lib/*.jar        the same
//!                /tests/           the test jars, unpacked: suites name their TLS files by path
//!                /harness/         spark-suites/harness, compiled
//!                /GROUP/           spark-suites/GROUP, compiled
//!   suites-applications-V-HASH/    the same of whole applications, beside the jars of PySpark
//! ```
//!
//! Spark's network classes come by Maven here and not from PySpark as elsewhere: the test jars want the classes of their
//! own release, and PySpark is ten times as much to fetch.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest, Sha256};

use super::{group::Group, sources::sources};
use crate::{
    machine::{Jars, MissingJars, cache, files, files_named, java_home, made_once, run},
    spark::Spark,
};

/// A release, unpacked and compiled against.
#[derive(Clone, Debug)]
pub struct Release {
    version: &'static str,
    scala: &'static str,
    root: PathBuf,
}

impl Release {
    /// Every release whose suites are run, with the Scala that its jars are named after.
    const ALL: [(&'static str, &'static str); 2] = [("3.5.9", "2.12"), ("4.2.0", "2.13")];

    /// Fetches and compiles a release, unless the cache has it. An error where Maven is absent or cannot fetch.
    pub fn get(version: &'static str) -> Result<Self, MissingJars> {
        let known = Self::ALL.iter().find(|(listed, _)| *listed == version);
        let &(_, scala) = known.unwrap_or_else(|| panic!("{version} is not listed"));
        let root = cache().join(format!("suites-{version}-{}", digest()));
        if !root.exists() {
            let jars = fetched("pom.xml", version, scala)?;
            made_once(root.clone(), |into| assemble(&jars, into));
        }
        Ok(Self { version, scala, root })
    }

    /// For example `4.2.0`.
    pub fn version(&self) -> &'static str {
        self.version
    }

    /// The Scala of its jars, for example `2.13`.
    pub(super) fn scala(&self) -> &'static str {
        self.scala
    }

    /// The class path of a group of suites: the class that stands before Spark's comes first.
    pub(super) fn class_path(&self, group: Group) -> String {
        format!("{}:{}", self.root.join(group.name()).display(), self.plain_class_path())
    }

    /// Spark's classes as they are, with the harness.
    pub(super) fn plain_class_path(&self) -> String {
        let [harness, tests, lib] = ["harness", "tests", "lib/*"].map(|part| self.root.join(part));
        format!("{}:{}:{}", harness.display(), tests.display(), lib.display())
    }

    /// The class path of suites of whole applications, which have all of Spark from PySpark.
    pub(super) fn application_class_path(&self, spark: &Spark) -> Result<String, MissingJars> {
        let name = format!("suites-applications-{}-{}", self.version, digest());
        let jars = fetched("applications.pom.xml", self.version, self.scala)?;
        let harness = self.root.join("harness");
        let others = format!("{}:{}/*:{}/jars/*", harness.display(), jars.display(), spark.home().display());
        let classes = made_once(cache().join(name), |into| {
            compile(&sources().join(Group::Applications.name()), into, &others);
        });
        Ok(format!("{}:{others}", classes.display()))
    }

    /// The names of all suites in the test jars of the network modules, without their packages.
    pub fn suites(&self) -> Vec<String> {
        let classes = files_named(&self.root.join("tests"), |name| name.ends_with("Suite.class"));
        let mut names: Vec<String> = classes
            .iter()
            .filter_map(|path| path.file_name()?.to_str()?.strip_suffix(".class").map(str::to_owned))
            .filter(|name| !name.contains('$'))
            .collect();
        names.sort();
        names
    }
}

/// Changes with every file of `spark-suites/` that is compiled or lists jars.
fn digest() -> String {
    let mut inputs = files_named(&sources(), |name| name.ends_with(".java") || name.ends_with(".xml"));
    inputs.sort();
    let mut hash = Sha256::new();
    for path in inputs {
        hash.update(path.strip_prefix(sources()).expect("it lies there").as_os_str().as_encoded_bytes());
        hash.update(fs::read(&path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display())));
    }
    short(&hash.finalize())
}

fn short(digest: &[u8]) -> String {
    digest[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The jars that a project file names, of one release.
fn fetched(project: &str, version: &str, scala: &str) -> Result<PathBuf, MissingJars> {
    let jars = Jars {
        name: &format!("suites-jars-{version}"),
        project: &sources().join(project),
        properties: &[("scala", scala), ("spark", version)],
    };
    jars.fetched()
}

fn assemble(jars: &Path, into: &Path) {
    let [lib, tests, harness] = ["lib", "tests", "harness"].map(|part| into.join(part));
    for dir in [&lib, &tests, &harness] {
        fs::create_dir(dir).unwrap_or_else(|e| panic!("cannot create {}: {e}", dir.display()));
    }
    for jar in files(jars) {
        let name = jar.file_name().expect("files have names");
        fs::hard_link(&jar, lib.join(name)).unwrap_or_else(|e| panic!("cannot link {}: {e}", jar.display()));
        if name.to_string_lossy().ends_with("-tests.jar") {
            let mut unpack = Command::new(java_home().join("bin/jar"));
            unpack.arg("xf").arg(&jar).current_dir(&tests);
            run(&mut unpack, || format!("cannot unpack {}", jar.display()));
        }
    }
    compile(&sources().join("harness"), &harness, &format!("{}/*", lib.display()));
    for group in Group::NETWORK {
        let classes = into.join(group.name());
        let class_path = format!("{}:{}/*", harness.display(), lib.display());
        compile(&sources().join(group.name()), &classes, &class_path);
    }
}

fn compile(sources: &Path, into: &Path, class_path: &str) {
    let mut javac = Command::new(java_home().join("bin/javac"));
    javac.args(["-nowarn", "-d"]).arg(into).args(["-cp", class_path]);
    javac.args(files(sources));
    run(&mut javac, || format!("{} does not compile", sources.display()));
}
