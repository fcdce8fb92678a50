//! A whole Spark application (`python/application.py`) and what came of it.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{mode::Mode, python::Program, spark, spark::Spark, turn::Turn};

const PROGRAM: Program = Program { file: "application.py", text: include_str!("../python/application.py") };
const LIMIT: Duration = Duration::from_secs(420);
/// Rows of generated data; each carries a canary.
pub const ROWS: u64 = 40_000;
/// Short-lived JVMs on few cores: compiling thoroughly would cost more than it brings.
pub(crate) const JAVA_OPTIONS: &str = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC";

/// What the application computes in one JVM that reads its shuffles from its own disk: no service, no authentication,
/// no encryption.
pub fn result_without_a_service() -> &'static str {
    static RESULT: OnceLock<String> = OnceLock::new();
    RESULT.get_or_init(|| {
        let report = Application::new("4.3.0").on("local[2]").run();
        assert_eq!(report.canary_rows, ROWS);
        report.result
    })
}

/// An application to be run: two executors, two SQL shuffles, an RDD job, a persisted RDD.
#[derive(Debug)]
pub struct Application {
    version: &'static str,
    master: String,
    kill_executor: bool,
    conf: Vec<(String, String)>,
    local_dirs: Option<PathBuf>,
}

/// What it computed and how.
#[derive(Debug)]
pub struct Report {
    /// The application's id.
    pub app: String,
    /// Hash of all results.
    pub result: String,
    /// Rows that still hold their canary.
    pub canary_rows: u64,
    /// Whether an executor was killed.
    pub killed: bool,
    /// Partitions of the watched map stage.
    pub map_tasks: i64,
    /// Its tasks that ended well, over all attempts.
    pub map_successes: i64,
    /// Its attempts.
    pub map_attempts: i64,
    /// Tasks that could not fetch their input.
    pub fetch_failures: i64,
}

impl Application {
    /// On `local-cluster`, without any shuffle service, authentication or encryption.
    pub fn new(version: &'static str) -> Self {
        let mut application = Self {
            version,
            master: "local-cluster[2,1,1024]".to_owned(),
            kill_executor: false,
            conf: Vec::new(),
            local_dirs: None,
        };
        for (key, value) in [
            ("spark.driver.host", "127.0.0.1"),
            ("spark.driver.extraJavaOptions", JAVA_OPTIONS),
            ("spark.executor.extraJavaOptions", JAVA_OPTIONS),
            ("spark.executor.cores", "1"),
            ("spark.cores.max", "2"),
            ("spark.shuffle.readHostLocalDisk", "false"),
            ("spark.sql.adaptive.enabled", "false"),
            ("spark.sql.codegen.wholeStage", "false"),
            ("spark.sql.shuffle.partitions", "4"),
            ("spark.ui.enabled", "false"),
            ("spark.ui.showConsoleProgress", "false"),
        ] {
            application.set(key, value);
        }
        application
    }

    /// The same through a shuffle service on `port`, authenticated and sealed as `mode` says, with executors' files
    /// beneath `root`, which is the service's root.
    pub fn with_service(mode: &Mode, port: u16, secret: &str, root: &Path) -> Self {
        let mut application = Self::new(mode.version);
        application.local_dirs = Some(root.to_owned());
        for (key, value) in mode.client_conf() {
            application.set(key, &value);
        }
        if mode.authenticates() {
            application.set("spark.authenticate.secret", secret);
        }
        application.set("spark.shuffle.service.enabled", "true");
        application.set("spark.shuffle.service.port", &port.to_string());
        application
    }

    /// With push-based shuffle, merged by the services at `mergers` (`HOST:PORT`), which `release` is told of by a
    /// cluster manager of the harness: outside YARN Spark pushes only under `spark.testing`.
    #[must_use]
    pub fn pushing_to(mut self, mergers: &[String]) -> Self {
        self.master = PUSHING_MASTER.to_owned();
        for (key, value) in pushing_to(self.version, mergers) {
            self.set(key, &value);
        }
        self
    }

    /// On another master instead.
    #[must_use]
    pub fn on(mut self, master: &str) -> Self {
        self.master = master.to_owned();
        self
    }

    /// With one more key.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.set(key, value);
        self
    }

    /// One executor dies while the reduce stage of the RDD job runs.
    #[must_use]
    pub fn killing_an_executor(mut self) -> Self {
        self.kill_executor = true;
        self
    }

    /// Runs it to its end; no more than two run at a time on a machine.
    pub fn run(&self) -> Report {
        let release = Spark::release(self.version);
        let _turn = Turn::wait();
        self.run_on(&release)
    }

    /// Runs it to its end beside others of the caller's, who holds every turn.
    pub fn run_beside_others(&self, _turns: &[Turn]) -> Report {
        self.run_on(&Spark::release(self.version))
    }

    fn run_on(&self, release: &Spark) -> Report {
        let dir = TempDir::with_prefix("interop-app-").expect("the temporary directory is writable");
        let home = private_home(release, dir.path());
        let events = dir.path().join("events");
        fs::create_dir(&events).expect("the directory is fresh");
        let mut conf: serde_json::Map<String, Value> =
            self.conf.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        // Asked for under spark.testing.
        conf.insert("spark.test.home".to_owned(), json!(home));
        let options = json!({"master": self.master, "rows": ROWS, "kill_executor": self.kill_executor,
            "event_log": events, "conf": conf});
        let local_dirs = self.local_dirs.clone().unwrap_or_else(|| dir.path().join("local"));
        let name = format!("the application on Spark {}", self.version);
        let mut process = PROGRAM.start(&name, release, &home, &options, &local_dirs);
        let status = process.wait(LIMIT);
        assert!(status.success(), "the application failed: {status}\n{}", process.tail());
        let line = process.out().all().into_iter().find_map(|l| Some(l.strip_prefix("RESULT ")?.to_owned()));
        let line = line.unwrap_or_else(|| panic!("the application printed no result\n{}", process.tail()));
        Report::of(&serde_json::from_str(&line).expect("the result is JSON"))
    }

    fn set(&mut self, key: &str, value: &str) {
        self.conf.push((key.to_owned(), value.to_owned()));
    }
}

impl Report {
    fn of(value: &Value) -> Self {
        let number = |key: &str| value[key].as_i64().unwrap_or_else(|| panic!("no {key} in {value}"));
        Self {
            app: value["app"].as_str().expect("an id").to_owned(),
            result: value["result"].as_str().expect("a hash").to_owned(),
            canary_rows: number("canary_rows").unsigned_abs(),
            killed: !value["killed"].is_null(),
            map_tasks: number("map_tasks"),
            map_successes: number("map_successes"),
            map_attempts: number("map_attempts"),
            fetch_failures: number("fetch_failures"),
        }
    }

    /// No map output was lost: nothing failed to fetch and the map stage ran once.
    #[track_caller]
    pub fn assert_nothing_recomputed(&self) {
        assert_eq!((self.map_attempts, self.fetch_failures), (1, 0), "{self:?}");
        assert_eq!(self.map_successes, self.map_tasks, "{self:?}");
    }
}

/// The master of applications that push: `local-cluster` with a cluster manager of the harness.
pub(crate) const PUSHING_MASTER: &str = "localpush[2,1,1024]";

/// The keys of an application that pushes to `mergers`.
pub(crate) fn pushing_to(version: &'static str, mergers: &[String]) -> Vec<(&'static str, String)> {
    let classes = Spark::release(version).classes().to_str().expect("cache paths are text").to_owned();
    let fixed = [
        ("spark.shuffle.push.enabled", "true"),
        ("spark.testing", "true"),
        ("spark.serializer", "org.apache.spark.serializer.KryoSerializer"),
        ("spark.shuffle.push.minShuffleSizeToWait", "0"),
        ("spark.sql.classic.shuffleDependency.fileCleanup.enabled", "false"),
    ];
    let named = [("spark.driver.extraClassPath", classes), ("spark.interop.mergers", mergers.join(","))];
    fixed.map(|(key, value)| (key, value.to_owned())).into_iter().chain(named).collect()
}

/// A `SPARK_HOME` of its own: Spark's Workers write beneath it, and application ids repeat within a second.
pub(crate) fn private_home(release: &Spark, dir: &Path) -> PathBuf {
    let home = dir.join("home");
    fs::create_dir(&home).expect("the directory is fresh");
    for part in ["bin", "jars"] {
        symlink(release.home().join(part), home.join(part)).expect("the directory is fresh");
    }
    home
}

/// `JAVA_HOME`, loopback, and nothing inherited that would configure Spark.
pub(crate) fn loopback(command: &mut Command) {
    command
        .env("JAVA_HOME", spark::java_home())
        .env("SPARK_LOCAL_IP", "127.0.0.1")
        .env("SPARK_LOCAL_HOSTNAME", "127.0.0.1")
        .env("PYSPARK_PYTHON", "python3");
}
