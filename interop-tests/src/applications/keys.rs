//! The keys of applications.

use std::path::Path;

use serde_json::{Map, Value};

use crate::{modes::Mode, spark::Spark};

/// Two executors of one core.
pub(super) const MASTER: &str = "local-cluster[2,1,1024]";
/// The same with a cluster manager of the harness, for applications that push.
pub(super) const PUSHING_MASTER: &str = "localpush[2,1,1024]";

/// The same for a standalone cluster. What is submitted must begin with a name that SparkSubmit knows.
pub(super) fn pushing_cluster(url: &str) -> String {
    format!("localpush:{url}")
}

/// Short-lived JVMs on few cores: compiling thoroughly would cost more than it brings.
const JAVA_OPTIONS: &str = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC";

/// What the JVM says of archives of classes it says on standard output.
const QUIET: &str = "-Xlog:cds*=off";

/// Keys and values; of several values of one key the last wins.
#[derive(Clone, Debug)]
pub(super) struct Keys(Map<String, Value>);

impl Keys {
    /// On loopback, without any shuffle service, authentication or encryption.
    pub(super) fn new() -> Self {
        let mut keys = Self(Map::new());
        keys.set_all([
            ("spark.driver.host", "127.0.0.1"),
            ("spark.driver.extraJavaOptions", JAVA_OPTIONS),
            ("spark.executor.extraJavaOptions", JAVA_OPTIONS),
            ("spark.ui.enabled", "false"),
            ("spark.ui.showConsoleProgress", "false"),
        ]);
        keys
    }

    /// The same for what most tests run.
    pub(super) fn of_application() -> Self {
        let mut keys = Self::new();
        keys.set_all([
            ("spark.executor.cores", "1"),
            ("spark.cores.max", "2"),
            ("spark.shuffle.readHostLocalDisk", "false"),
            ("spark.sql.adaptive.enabled", "false"),
            ("spark.sql.codegen.wholeStage", "false"),
            ("spark.sql.shuffle.partitions", "4"),
        ]);
        keys
    }

    pub(super) fn set(&mut self, key: &str, value: &str) {
        self.0.insert(key.to_owned(), Value::String(value.to_owned()));
    }

    pub(super) fn set_all<'a>(&mut self, keys: impl IntoIterator<Item = (&'a str, &'a str)>) {
        keys.into_iter().for_each(|(key, value)| self.set(key, value));
    }

    /// Authenticated and sealed as `mode` says.
    pub(super) fn speak(&mut self, mode: &Mode, secret: &str) {
        mode.client_conf().iter().for_each(|(key, value)| self.set(key, value));
        if mode.authenticates() {
            self.set("spark.authenticate.secret", secret);
        }
    }

    /// Through the shuffle service on `port`, even for blocks that lie on the reader's own host.
    pub(super) fn use_service(&mut self, port: u16) {
        self.set("spark.shuffle.service.enabled", "true");
        self.set("spark.shuffle.service.port", &port.to_string());
        self.set("spark.shuffle.readHostLocalDisk", "false");
    }

    /// With push-based shuffle, merged by the services at `mergers` (`HOST:PORT`), which [`PUSHING_MASTER`] is told of:
    /// outside YARN Spark pushes only under `spark.testing`.
    pub(super) fn push_to(&mut self, release: &Spark, mergers: &[String]) {
        self.set_all([
            ("spark.shuffle.push.enabled", "true"),
            ("spark.testing", "true"),
            ("spark.serializer", "org.apache.spark.serializer.KryoSerializer"),
            ("spark.shuffle.push.minShuffleSizeToWait", "0"),
            ("spark.sql.classic.shuffleDependency.fileCleanup.enabled", "false"),
            ("spark.interop.mergers", &mergers.join(",")),
        ]);
        self.see_classes(release);
    }

    /// The driver sees the harness's own classes.
    pub(super) fn see_classes(&mut self, release: &Spark) {
        self.set("spark.driver.extraClassPath", &release.classes().to_string_lossy());
    }

    /// Temporary files of the driver lie in a directory.
    pub(super) fn use_temporary(&mut self, dir: &Path) {
        self.add_java_options("driver", &format!("-Djava.io.tmpdir={}", dir.display()));
    }

    /// All JVMs map the classes of an archive. One whose class path is another loads them, without a word.
    pub(super) fn map_classes(&mut self, archive: &Path) {
        for whose in ["driver", "executor"] {
            self.add_java_options(whose, &format!("-XX:SharedArchiveFile={} {QUIET}", archive.display()));
        }
    }

    /// The driver writes an archive of the classes that it has loaded, at its end.
    pub(super) fn archive_classes(&mut self, archive: &Path) {
        self.add_java_options("driver", &format!("-XX:ArchiveClassesAtExit={} {QUIET}", archive.display()));
    }

    fn add_java_options(&mut self, whose: &str, options: &str) {
        let key = format!("spark.{whose}.extraJavaOptions");
        let before = self.0.get(&key).and_then(Value::as_str).unwrap_or_default();
        let all = format!("{before} {options}");
        self.set(&key, all.trim());
    }

    pub(super) fn into_json(self) -> Value {
        Value::Object(self.0)
    }
}
