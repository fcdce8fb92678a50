//! An application that is handed in with `spark-submit` (`python/cluster_rounds.py`).

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::Command,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{classes::JAVA_OPTIONS, cluster::Cluster, node::service_keys};
use crate::{
    applications::ShuffleReads,
    machine::{Process, clean_environment, java_home},
    modes::{Mode, PASSWORD, Service},
    spark::Spark,
};

/// What is run, and what it imports.
pub(crate) const PROGRAM: (&str, &str) =
    ("cluster_rounds.py", include_str!("../../python/cluster_rounds.py"));
pub(crate) const DRIVER: (&str, &str) = ("driver.py", include_str!("../../python/driver.py"));
const REPORT: &str = "report.json";
/// There until the application may end.
const HOLD: &str = "hold";
/// A job takes half a minute on an idle machine.
const LIMIT: Duration = Duration::from_secs(420);
/// Rows of the query: some 16 MB of shuffle.
pub(crate) const ROWS: u64 = 200_000;

/// What is handed in.
#[derive(Clone, Debug)]
pub struct Application {
    /// Of Spark. The cluster has its own, of which the NodeManagers have Spark's handler.
    version: &'static str,
    keys: BTreeMap<String, String>,
    rounds: u32,
    alone: bool,
    held: bool,
    tpch: Option<(PathBuf, Vec<u32>)>,
    deploy_mode: &'static str,
}

/// An application that runs.
#[derive(Debug)]
pub struct Submission {
    process: Process,
    dir: PathBuf,
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// The application's id.
    pub app: String,
    /// The different results of its rounds.
    pub results: Vec<String>,
    /// Rows that still hold their canary.
    pub canary_rows: u64,
    /// Stages that were tried again.
    pub again: u64,
    /// Tasks that could not fetch their input.
    pub fetch_failures: u64,
    /// Tasks that ended otherwise than well.
    pub failures: u64,
    /// Executors that went away.
    pub lost: u64,
    /// Tasks of map stages that ended well.
    pub map_tasks: u64,
    /// Tasks that ended well, by host.
    pub tasks: BTreeMap<String, u64>,
    /// Shuffle bytes that tasks read from other hosts.
    pub remote: u64,
    /// The shuffle bytes that tasks read.
    pub read: ShuffleReads,
}

impl Application {
    /// One round in client mode on three executors, through the service of either kind; YARN makes its secret.
    pub fn new(mode: Mode, service: Service) -> Self {
        let fixed = [
            ("spark.authenticate", "true"),
            ("spark.executor.instances", "3"),
            ("spark.executor.cores", "1"),
            ("spark.executor.memory", "1g"),
            ("spark.driver.memory", "512m"),
            ("spark.yarn.am.memory", "256m"),
            ("spark.yarn.maxAppAttempts", "1"),
            ("spark.yarn.report.interval", "200ms"),
            // No task before there is an executor on each node.
            ("spark.scheduler.minRegisteredResourcesRatio", "1.0"),
            ("spark.scheduler.maxRegisteredResourcesWaitingTime", "120s"),
            ("spark.sql.shuffle.partitions", "24"),
            ("spark.sql.adaptive.enabled", "false"),
        ];
        let mut application = Self::plain(mode.version);
        application.keys.extend(fixed.map(|(key, value)| (key.to_owned(), value.to_owned())));
        let service = service_keys(service).into_iter().chain(mode.client_conf());
        application.keys.extend(service.map(|(key, value)| (key.to_owned(), value)));
        application
    }

    fn plain(version: &'static str) -> Self {
        let keys = [("spark.ui.enabled", "false"), ("spark.ui.showConsoleProgress", "false")];
        let keys = keys.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Self {
            version,
            keys: BTreeMap::from(keys),
            rounds: 1,
            alone: false,
            held: false,
            tpch: None,
            deploy_mode: "client",
        }
    }

    /// With push-based shuffle.
    #[must_use]
    pub fn pushing(self) -> Self {
        self.with("spark.shuffle.push.enabled", "true")
            .with("spark.serializer", "org.apache.spark.serializer.KryoSerializer")
            // Below five hosts, and with little data, Spark does not push otherwise.
            .with("spark.shuffle.push.mergersMinStaticThreshold", "1")
            .with("spark.shuffle.push.minShuffleSizeToWait", "0")
    }

    /// With one more key.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.keys.insert(key.to_owned(), value.to_owned());
        self
    }

    /// With so many rounds.
    #[must_use]
    pub fn rounds(mut self, rounds: u32) -> Self {
        self.rounds = rounds;
        self
    }

    /// Each round is these queries of TPC-H, on tables of [`tables`](crate::applications::tables). Other rows are not in
    /// the report then.
    #[must_use]
    pub fn answering(mut self, tables: PathBuf, queries: &[u32]) -> Self {
        self.tpch = Some((tables, queries.to_vec()));
        self
    }

    /// With executors that go when they have nothing to do; each round is computed again from its shuffles when all are
    /// gone.
    #[must_use]
    pub fn outliving_its_executors(mut self) -> Self {
        self.alone = true;
        self.keys.remove("spark.executor.instances");
        self.with("spark.dynamicAllocation.enabled", "true")
            .with("spark.dynamicAllocation.initialExecutors", "3")
            .with("spark.dynamicAllocation.maxExecutors", "3")
            .with("spark.dynamicAllocation.executorIdleTimeout", "1s")
            .keeping_its_shuffles()
    }

    /// It stays with its shuffles after its rounds, until [`Submission::release`].
    #[must_use]
    pub fn held(mut self) -> Self {
        self.held = true;
        self.keeping_its_shuffles()
    }

    fn keeping_its_shuffles(self) -> Self {
        self.with("spark.cleaner.referenceTracking", "false")
            .with("spark.sql.classic.shuffleDependency.fileCleanup.enabled", "false")
    }

    /// With the passwords of the stores where containers look for them: Spark does not hand them over.
    #[must_use]
    pub fn with_passwords_of_stores(mut self) -> Self {
        for container in ["spark.executorEnv.", "spark.yarn.appMasterEnv."] {
            for of in ["KEY_STORE", "TRUST_STORE", "KEY"] {
                let key = format!("{container}_SPARK_SSL_RPC_{of}_PASSWORD");
                self.keys.insert(key, PASSWORD.to_owned());
            }
        }
        self
    }

    /// In cluster mode: the driver runs in the application master. A node has room for it and one executor that is smaller.
    #[must_use]
    pub fn in_cluster_mode(mut self) -> Self {
        self.deploy_mode = "cluster";
        self.with("spark.executor.memory", "700m")
    }

    /// Hands it in.
    pub fn submit(&self, cluster: &Cluster) -> Submission {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let dir = cluster.dir().join(format!("application-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let spark = &Spark::release(self.version);
        let java = format!("{} -Djdk.net.hosts.file={}", JAVA_OPTIONS.join(" "), cluster.hosts.display());
        let mut application = self.clone().with("spark.yarn.jars", &format!("local:{}/*", jars(spark)));
        for whose in ["driver", "executor", "yarn.am"] {
            application = application.with(&format!("spark.{whose}.extraJavaOptions"), &java);
        }
        let mut command = application.command(spark, "yarn", &dir);
        let python = spark.python_path().into_string().expect("cache paths are text");
        let archives: Vec<String> = python.split(':').map(|path| format!("local:{path}")).collect();
        command
            .env("HADOOP_CONF_DIR", &cluster.conf)
            .env("HADOOP_USER_NAME", "interop")
            // In cluster mode it is not the driver, and takes none of the options above.
            .env("SPARK_SUBMIT_OPTS", format!("-Djdk.net.hosts.file={}", cluster.hosts.display()))
            .env("PYSPARK_ARCHIVES_PATH", archives.join(","))
            .env("SPARK_LOCAL_HOSTNAME", cluster.edge.name());
        let name = format!("spark-submit of {}", dir.file_name().expect("it has a name").display());
        Submission { process: cluster.edge.start(&name, &mut command), dir }
    }

    /// Hands it in and waits for its end.
    #[track_caller]
    pub fn run(&self, cluster: &Cluster) -> Report {
        self.submit(cluster).finish(cluster)
    }

    /// `spark-submit` with all keys, and with the program in `dir`, which is made.
    fn command(&self, spark: &Spark, master: &str, dir: &std::path::Path) -> Command {
        let [program, driver, options, events, report, hold] =
            [PROGRAM.0, DRIVER.0, "options.json", "events", REPORT, HOLD].map(|name| dir.join(name));
        let told = json!({
            "rows": ROWS,
            "rounds": self.rounds,
            "tables": self.tpch.as_ref().map(|(tables, _)| tables),
            "queries": self.tpch.as_ref().map(|(_, queries)| queries),
            "alone": self.alone,
            "hold": self.held.then_some(&hold),
            "between": null,
            "event_log": events,
            "report": report,
        });
        fs::create_dir_all(&events)
            .and_then(|()| fs::write(&program, PROGRAM.1))
            .and_then(|()| fs::write(&driver, DRIVER.1))
            .and_then(|()| fs::write(&options, told.to_string()))
            .unwrap_or_else(|e| panic!("cannot make {}: {e}", dir.display()));
        let mut command = Command::new(spark.home().join("bin/spark-submit"));
        clean_environment(&mut command);
        command
            .args(["--master", master, "--deploy-mode", self.deploy_mode])
            .env("JAVA_HOME", java_home())
            .env("SPARK_HOME", spark.home())
            .env("SPARK_CONF_DIR", dir.join("no-conf"))
            .env("PYTHONPATH", spark.python_path())
            .env("PYSPARK_PYTHON", "python3");
        let events = format!("file:{}", events.display());
        let log = [
            ("spark.eventLog.enabled", "true"),
            ("spark.eventLog.dir", events.as_str()),
            ("spark.eventLog.compress", "false"),
            ("spark.eventLog.rolling.enabled", "false"),
        ];
        let keys = self.keys.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        for (key, value) in keys.chain(log) {
            command.arg("--conf").arg(format!("{key}={value}"));
        }
        command.arg("--py-files").arg(&driver).arg(&program).arg(&options);
        command
    }
}

impl Submission {
    /// Waits until so many rounds are through; in client mode alone.
    #[track_caller]
    pub fn round(&mut self, number: u32) {
        let wanted = format!("ROUND {number}");
        self.process.wait_for(LIMIT, |line| (line == wanted).then_some(()));
    }

    /// Lets an application go that is held.
    pub fn release(&self) {
        fs::remove_file(self.dir.join(HOLD)).expect("it is held");
    }

    /// The secret that YARN made for it; in client mode alone.
    #[track_caller]
    pub fn secret(&mut self) -> String {
        self.process.wait_for(LIMIT, |line| line.strip_prefix("SECRET ").map(str::to_owned))
    }

    /// Waits for its end, which must be a good one.
    #[track_caller]
    pub fn finish(mut self, cluster: &Cluster) -> Report {
        let status = self.process.wait(LIMIT);
        if let Some(app) = self.id() {
            cluster.nodes.iter().for_each(|node| node.keep_logs(&app));
        }
        assert!(status.success(), "the application ended with {status}\n{}", self.process.tail());
        self.report()
    }

    /// Its id, once it is known.
    pub fn id(&self) -> Option<String> {
        self.process.err().all().iter().find_map(|line| {
            let (_, rest) = line.split_once("Submitted application application_")?;
            Some(format!("application_{}", rest.trim()))
        })
    }

    fn report(&self) -> Report {
        let text = fs::read_to_string(self.dir.join(REPORT))
            .unwrap_or_else(|e| panic!("it left no report: {e}\n{}", self.process.tail()));
        Report::of(&serde_json::from_str(&text).expect("the report is JSON"))
    }
}

impl Report {
    /// What the program has written.
    pub(crate) fn of(value: &Value) -> Self {
        let number = |key: &str| value[key].as_u64().unwrap_or_else(|| panic!("no {key} in {value}"));
        let text = |value: &Value| value.as_str().expect("it is text").to_owned();
        let tasks = value["tasks"].as_object().expect("hosts").iter();
        Self {
            app: text(&value["app"]),
            results: value["results"].as_array().expect("hashes").iter().map(text).collect(),
            canary_rows: number("canary_rows"),
            again: number("again"),
            fetch_failures: number("fetch_failures"),
            failures: number("failures"),
            lost: number("lost"),
            map_tasks: number("map_tasks"),
            tasks: tasks.map(|(host, count)| (host.clone(), count.as_u64().expect("a count"))).collect(),
            remote: number("remote"),
            read: ShuffleReads::of(&value["read"]),
        }
    }

    /// The rows are those of a run without YARN and without a service.
    #[track_caller]
    pub fn assert_right(&self, mode: &Mode) {
        assert_eq!(self.canary_rows, ROWS, "{self:?}");
        assert_eq!(self.results, [result_without_yarn(mode)], "other rows than without a service: {self:?}");
    }

    /// Nothing failed, and nothing was done again.
    #[track_caller]
    pub fn assert_unharmed(&self) {
        assert_eq!((self.again, self.fetch_failures, self.failures, self.lost), (0, 0, 0, 0), "{self:?}");
    }
}

/// What one JVM computes that reads its shuffles from its own disk.
fn result_without_yarn(mode: &Mode) -> &'static str {
    static RESULT: OnceLock<String> = OnceLock::new();
    RESULT.get_or_init(|| {
        let dir = TempDir::with_prefix("interop-app-").expect("the temporary directory is writable");
        let application = Application::plain(mode.version).with("spark.sql.shuffle.partitions", "4");
        let spark = Spark::release(mode.version);
        let mut command = application.command(&spark, "local[2]", dir.path());
        command.env("SPARK_LOCAL_IP", "127.0.0.1").env("SPARK_LOCAL_DIRS", dir.path());
        let process = Process::start("spark-submit without YARN", &mut command);
        let mut submission = Submission { process, dir: dir.path().to_owned() };
        let status = submission.process.wait(LIMIT);
        assert!(status.success(), "the application ended with {status}\n{}", submission.process.tail());
        submission.report().results.pop().expect("it computed a round")
    })
}

fn jars(spark: &Spark) -> String {
    spark.home().join("jars").to_str().expect("cache paths are text").to_owned()
}
