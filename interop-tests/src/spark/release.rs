//! Gets real Spark by itself: the PySpark package of a release holds every jar of Spark.
//!
//! ```text
//! in the cache:
//!   dl/pyspark-V.tar.gz        as pip downloaded it; not kept where the classes alone are used
//!   pyspark-V/                 unpacked: deps/jars, deps/bin, pyspark/, lib/py4j-*.zip; classes alone: deps/jars
//!   classes-V-HASH/            jvm/*.java compiled against those jars
//! ```
//!
//! Any other Spark that lies unpacked somewhere is taken as it is ([`Spark::at`]); the classes for its requests alone are
//! compiled then.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use sealed_shuffle_config::SparkRelease;
use sha2::{Digest, Sha256};

use crate::{
    machine::{cache, discard, java_home, made_once, run, runtime_home},
    modes::number,
};

/// Whole applications run from this release on: PySpark before 3.5 needs an older Python than current systems have.
const APPLICATIONS: (u32, u32) = (3, 5);
/// Push-based shuffle as it still is came with this release.
const MERGING: (u32, u32) = (3, 2);
const ALL: (u32, u32) = (0, 0);

/// The sources of `jvm/`, and of `yarn/`, carried in the binary so that the tests do not depend on where they are run;
/// with the first release that has the classes for them.
const SOURCES: &[(&str, &str, (u32, u32))] = &[
    ("Abilities.java", include_str!("../../jvm/Abilities.java"), ALL),
    ("Bench.java", include_str!("../../jvm/Bench.java"), APPLICATIONS),
    ("BlockStore.java", include_str!("../../jvm/BlockStore.java"), ALL),
    ("Ebm.java", include_str!("../../jvm/Ebm.java"), APPLICATIONS),
    ("Facts.java", include_str!("../../jvm/Facts.java"), ALL),
    ("Failures.java", include_str!("../../jvm/Failures.java"), ALL),
    ("HandOver.java", include_str!("../../../yarn/src/sealedshuffle/yarn/HandOver.java"), APPLICATIONS),
    (
        "HandOverService.java",
        include_str!("../../../yarn/src/sealedshuffle/yarn/HandOverService.java"),
        APPLICATIONS,
    ),
    ("IoStreams.java", include_str!("../../jvm/IoStreams.java"), APPLICATIONS),
    ("MergeStore.java", include_str!("../../jvm/MergeStore.java"), MERGING),
    ("MergingShuffleService.java", include_str!("../../jvm/MergingShuffleService.java"), MERGING),
    ("Messages.java", include_str!("../../jvm/Messages.java"), ALL),
    ("NodeManager.java", include_str!("../../jvm/NodeManager.java"), APPLICATIONS),
    ("OldShuffleManager.java", include_str!("../../jvm/OldShuffleManager.java"), APPLICATIONS),
    ("Options.java", include_str!("../../jvm/Options.java"), ALL),
    ("OwnShuffleService.java", include_str!("../../jvm/OwnShuffleService.java"), APPLICATIONS),
    ("PushClusterManager.java", include_str!("../../jvm/PushClusterManager.java"), APPLICATIONS),
    ("RawConnection.java", include_str!("../../jvm/RawConnection.java"), ALL),
    ("Received.java", include_str!("../../jvm/Received.java"), ALL),
    ("Reflect.java", include_str!("../../jvm/Reflect.java"), ALL),
    ("Relay.java", include_str!("../../../yarn/src/sealedshuffle/yarn/Relay.java"), APPLICATIONS),
    ("SparkClient.java", include_str!("../../jvm/SparkClient.java"), ALL),
    ("SparkShuffleService.java", include_str!("../../jvm/SparkShuffleService.java"), ALL),
];
/// Where Spark looks for cluster managers other than its own, and what it finds.
const CLUSTER_MANAGERS: (&str, &str) =
    ("META-INF/services/org.apache.spark.scheduler.ExternalClusterManager", "PushClusterManager\n");
const LOGGING: &str = include_str!("../../jvm/log4j2.properties");
/// The same for the log4j of Spark 3.2 and older, which looks for it on the class path.
const OLDER_LOGGING: &str = include_str!("../../jvm/log4j.properties");

/// What Spark itself passes to Java 17 (`JavaModuleOptions`, Spark 4.3.0), as far as the network needs it.
pub(crate) const OPENED: &[&str] = &[
    "java.base/java.lang",
    "java.base/java.lang.invoke",
    "java.base/java.lang.reflect",
    "java.base/java.io",
    "java.base/java.net",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/sun.nio.ch",
    "java.base/sun.nio.cs",
    "java.base/sun.security.action",
    "java.base/sun.util.calendar",
];

/// One unpacked release with the harness's classes compiled against it.
#[derive(Clone, Debug)]
pub struct Spark {
    version: String,
    /// Where PySpark lies.
    root: PathBuf,
    /// Holds `jars`.
    home: PathBuf,
    classes: PathBuf,
}

/// Why a directory is no Spark that can be used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NoSpark(pub String);

impl Spark {
    /// Downloads, unpacks and compiles what is not there yet.
    pub fn release(version: &str) -> Self {
        let root = unpacked(version);
        let home = root.join("deps");
        let classes = compiled(version, &home, version, number(version));
        Self { version: version.to_owned(), root, home, classes }
    }

    /// What lies in a directory that `SPARK_HOME` may name, for requests (not for whole applications): a distribution, a
    /// vendor's, an own build, or PySpark as pip installs it.
    pub fn at(home: &Path) -> Result<Self, NoSpark> {
        let home = fs::canonicalize(home).map_err(|e| NoSpark(format!("{}: {e}", home.display())))?;
        let jars = home.join("jars");
        let list = fs::read_dir(&jars).map_err(|e| {
            NoSpark(format!("cannot list {}: {e}; name the directory that SPARK_HOME names", jars.display()))
        })?;
        // Own builds keep the names of jars: what tells them apart is how large and how old they are.
        let mut files: Vec<(String, String)> = list
            .flatten()
            .map(|entry| {
                let of = entry.path().metadata().map(|of| (of.len(), of.modified().ok()));
                (entry.file_name().to_string_lossy().into_owned(), format!("{of:?}"))
            })
            .collect();
        files.sort();
        let version =
            files.iter().find_map(|(name, _)| SparkRelease::of_core_jar(name)).ok_or_else(|| {
                NoSpark(format!("there is no spark-core_SCALA-RELEASE.jar in {}", jars.display()))
            })?;
        let version = version.as_str().to_owned();
        let key = key(files.iter().map(|(name, of)| (name.as_str(), of.as_str())));
        let classes = compiled(&version, &home, &key, ALL);
        Ok(Self { version, root: home.clone(), home, classes })
    }

    /// The release, for example `4.3.0`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Where PySpark lies unpacked, with the py4j that it carries in `lib`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What `SPARK_HOME` may name: holds `bin` and `jars`.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The harness's own classes, for the class path of a driver.
    pub fn classes(&self) -> &Path {
        &self.classes
    }

    /// `PYTHONPATH` for this release: PySpark and the py4j that it carries.
    pub fn python_path(&self) -> OsString {
        let lib = self.root.join("lib");
        let py4j = fs::read_dir(&lib)
            .unwrap_or_else(|e| panic!("cannot list {}: {e}", lib.display()))
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("py4j-")))
            .unwrap_or_else(|| panic!("no py4j archive in {}", lib.display()));
        std::env::join_paths([self.root.clone(), py4j]).expect("cache paths hold no colon")
    }

    /// A `java` command whose class path is the harness's classes and all of Spark; the main class comes next.
    pub fn java(&self) -> Command {
        let mut command = Command::new(runtime_home().join("bin/java"));
        for package in OPENED {
            command.arg("--add-opens").arg(format!("{package}=ALL-UNNAMED"));
        }
        command
            .arg(format!("-Dlog4j2.configurationFile={}", self.classes.join("log4j2.properties").display()))
            .arg("-Dio.netty.tryReflectionSetAccessible=true")
            .env("SPARK_LOCAL_IP", "127.0.0.1")
            .env("SPARK_USER", "interop")
            .env_remove("SPARK_LOCAL_DIRS")
            .env_remove("SPARK_EXECUTOR_DIRS")
            .env_remove("_SPARK_AUTH_SECRET")
            .arg("-cp")
            .arg(self.class_path());
        command
    }

    /// The harness's classes and every jar of the release, in the form that `java -cp` takes.
    pub fn class_path(&self) -> String {
        format!("{}:{}/*", self.classes.display(), self.home().join("jars").display())
    }
}

fn unpacked(version: &str) -> PathBuf {
    made_once(cache().join(format!("pyspark-{version}")), |into| {
        let archive = downloaded(version);
        run(
            Command::new("tar")
                .arg("-xzf")
                .arg(&archive)
                .arg("--strip-components=1")
                .arg("-C")
                .arg(into)
                .args(parts(version)),
            || format!("cannot unpack {}: remove it and run again", archive.display()),
        );
        if !runs_applications(version) {
            fs::remove_file(&archive).unwrap_or_else(|e| panic!("cannot remove {}: {e}", archive.display()));
        }
    })
}

/// Whether whole applications of this release run here, and not its classes alone.
fn runs_applications(version: &str) -> bool {
    number(version) >= APPLICATIONS
}

/// What is unpacked of an archive: everything, or the jars.
fn parts(version: &str) -> Option<String> {
    (!runs_applications(version)).then(|| format!("pyspark-{version}/deps/jars"))
}

fn downloaded(version: &str) -> PathBuf {
    let dir = cache().join("dl");
    let name = format!("pyspark-{version}.tar.gz");
    let target = dir.join(&name);
    if target.exists() {
        return target;
    }
    let partial = dir.join(format!("partial-{version}-{}", std::process::id()));
    fs::create_dir_all(&partial).unwrap_or_else(|e| panic!("cannot create {}: {e}", partial.display()));
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"])
        .args(["--no-binary", ":all:", "--dest"])
        .arg(&partial)
        .arg(format!("pyspark=={version}"));
    if number(version) < (3, 0) {
        pip.arg("--no-build-isolation").env("PYTHONPATH", build_tools());
    }
    run(&mut pip, || {
        format!(
            "cannot download pyspark {version} with pip: it needs a network and `python3 -m pip` \
                 (Debian and Ubuntu: apt-get install python3-pip)"
        )
    });
    fs::rename(partial.join(&name), &target)
        .unwrap_or_else(|e| panic!("pip left no {name} in {}: {e}", partial.display()));
    discard(&partial);
    target
}

/// What pip needs to look into an archive of Spark 2 with what is installed: in an environment of pip's own making the
/// archive's script asks a current pypandoc for a function that is gone, and fails; without any it goes on.
fn build_tools() -> PathBuf {
    made_once(cache().join("python-build-tools"), |into| {
        run(
            Command::new("python3")
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"])
                .arg(into)
                .args(["setuptools<80", "wheel"]),
            || "cannot install setuptools and wheel for pip".to_owned(),
        );
    })
}

fn key<'a>(texts: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut hash = Sha256::new();
    for (name, text) in texts {
        hash.update(name.as_bytes());
        hash.update(text.as_bytes());
    }
    hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The sources that need no more than what releases up to `number` have, against the jars of `home`. `of` tells these from
/// other jars.
fn compiled(version: &str, home: &Path, of: &str, number: (u32, u32)) -> PathBuf {
    let fitting = SOURCES.iter().filter(|(_, _, since)| number >= *since);
    let sources: Vec<(&str, &str)> = fitting.map(|(name, text, _)| (*name, *text)).collect();
    let logging = [("log4j2.properties", LOGGING), ("log4j.properties", OLDER_LOGGING)];
    let key = key(sources.iter().chain(&logging).copied());
    made_once(cache().join(format!("classes-{of}-{key}")), |into| {
        let write = |name: &str, text: &str| {
            fs::write(into.join(name), text).unwrap_or_else(|e| panic!("cannot write {name}: {e}"));
        };
        logging.iter().chain(&sources).for_each(|(name, text)| write(name, text));
        let mut javac = Command::new(java_home().join("bin/javac"));
        // A newer compiler's classes would not run on the oldest Java that is taken.
        javac
            .args(["-nowarn", "-source", "17", "-target", "17"])
            .arg("-d")
            .arg(into)
            .arg("-cp")
            .arg(format!("{}/*", home.join("jars").display()));
        javac.args(sources.iter().map(|(name, _)| into.join(name)));
        run(&mut javac, || format!("the Java programs do not compile against Spark {version}"));
        if number >= APPLICATIONS {
            fs::create_dir_all(into.join("META-INF/services")).expect("the directory is fresh");
            write(CLUSTER_MANAGERS.0, CLUSTER_MANAGERS.1);
        }
    })
}
