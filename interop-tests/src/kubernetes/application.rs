//! An application that is handed in with `spark-submit` (`python/cluster_rounds.py`), in client or in cluster mode.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use serde_json::{Value, json};

use super::{cluster::Cluster, images::spark_name, site::ADDRESS};
use crate::{
    machine::{Process, java_home},
    spark::Spark,
    yarn::{DRIVER, PROGRAM, ROWS, Report},
};

const REPORT: &str = "report.json";
const NAMESPACE: &str = "spark.kubernetes.namespace";
/// There until the application may go on after its executors are gone, and until it may end.
const BETWEEN: &str = "between";
const HOLD: &str = "hold";
/// A job takes half a minute on an idle machine.
const LIMIT: Duration = Duration::from_secs(420);
const JAVA_OPTIONS: &str = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC";

/// What is handed in.
#[derive(Clone, Debug)]
pub struct Application {
    version: &'static str,
    properties: &'static str,
    keys: BTreeMap<String, String>,
    rows: u64,
    rounds: u32,
    alone: bool,
    between: bool,
    held: bool,
    in_cluster: bool,
}

/// An application that runs.
#[derive(Debug)]
pub struct Submission {
    name: String,
    process: Process,
    dir: PathBuf,
    /// Namespace and name of the driver's pod.
    driver: Option<[String; 2]>,
}

impl Application {
    /// One round in client mode on two executors. `properties` is what we ship for the pattern, and `keys` are what a page says
    /// beside that.
    pub fn new(version: &'static str, properties: &'static str) -> Self {
        let fixed = [
            ("spark.executor.instances", "2"),
            ("spark.executor.cores", "1"),
            ("spark.executor.memory", "640m"),
            ("spark.driver.memory", "512m"),
            ("spark.kubernetes.executor.request.cores", "100m"),
            ("spark.kubernetes.driver.request.cores", "100m"),
            ("spark.kubernetes.allocation.batch.delay", "500ms"),
            ("spark.kubernetes.report.interval", "1s"),
            ("spark.ui.enabled", "false"),
            ("spark.ui.showConsoleProgress", "false"),
            // No task before there are both.
            ("spark.scheduler.minRegisteredResourcesRatio", "1.0"),
            ("spark.scheduler.maxRegisteredResourcesWaitingTime", "120s"),
            ("spark.sql.shuffle.partitions", "24"),
            ("spark.sql.adaptive.enabled", "false"),
            // Executors of one host would read each other's files beside the server.
            ("spark.shuffle.readHostLocalDisk", "false"),
            ("spark.eventLog.enabled", "true"),
            ("spark.eventLog.compress", "false"),
            ("spark.eventLog.rolling.enabled", "false"),
            ("spark.driver.extraJavaOptions", JAVA_OPTIONS),
            ("spark.executor.extraJavaOptions", JAVA_OPTIONS),
        ];
        let keys = fixed.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Self {
            version,
            properties,
            keys: BTreeMap::from(keys),
            rows: ROWS,
            rounds: 1,
            alone: false,
            between: false,
            held: false,
            in_cluster: false,
        }
        .with("spark.kubernetes.container.image", &spark_name(version))
    }

    /// With one more key.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.keys.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Of so many rows; nobody knows their result beforehand.
    #[must_use]
    pub fn rows(mut self, rows: u64) -> Self {
        self.rows = rows;
        self
    }

    /// With so many rounds.
    #[must_use]
    pub fn rounds(mut self, rounds: u32) -> Self {
        self.rounds = rounds;
        self
    }

    /// With executors that go when they have nothing to do; each round is computed again from its shuffles when all are gone.
    #[must_use]
    pub fn outliving_its_executors(mut self) -> Self {
        self.alone = true;
        self.keys.remove("spark.executor.instances");
        self.with("spark.dynamicAllocation.enabled", "true")
            .with("spark.dynamicAllocation.initialExecutors", "2")
            .with("spark.dynamicAllocation.maxExecutors", "2")
            .with("spark.dynamicAllocation.executorIdleTimeout", "5s")
            .keeping_its_shuffles()
    }

    /// It waits after its executors are gone, until [`Submission::go_on`].
    #[must_use]
    pub fn waiting_between(mut self) -> Self {
        self.between = true;
        self
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

    /// In cluster mode: the driver runs in a pod.
    #[must_use]
    pub fn in_cluster_mode(mut self) -> Self {
        self.in_cluster = true;
        self.with("spark.kubernetes.driverEnv.SPARK_LAUNCHER_OPTS", JAVA_OPTIONS)
    }

    /// Hands it in.
    pub fn submit(&self, cluster: &Cluster) -> Submission {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("rounds-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = cluster.dir.path().join(&name);
        let [program, imported, events, report, between, hold] =
            [PROGRAM.0, DRIVER.0, "events", REPORT, BETWEEN, HOLD].map(|name| dir.join(name));
        fs::create_dir_all(&events)
            .and_then(|()| fs::write(&program, PROGRAM.1))
            .and_then(|()| fs::write(&imported, DRIVER.1))
            .unwrap_or_else(|e| panic!("cannot make {}: {e}", dir.display()));
        // A driver in a pod has no files of this machine's.
        let here = !self.in_cluster;
        let place = |path: PathBuf| {
            let name = path.file_name().expect("it has a name").to_owned();
            if here { path } else { Path::new("/tmp").join(name) }
        };
        let [events, between, hold] = [events, between, hold].map(place);
        let told = json!({
            "rows": self.rows,
            "rounds": self.rounds,
            "alone": self.alone,
            "between": self.between.then_some(&between),
            "hold": self.held.then_some(&hold),
            "event_log": events,
            "report": here.then_some(&report),
        });
        let spark = Spark::release(self.version);
        let mut command = Command::new(spark.home().join("bin/spark-submit"));
        cluster.at_home(&mut command);
        command
            .env("JAVA_HOME", java_home())
            // The node's name is not in this machine's files.
            .env("SPARK_LOCAL_IP", ADDRESS)
            .env("SPARK_LOCAL_HOSTNAME", ADDRESS)
            .env("SPARK_HOME", spark.home())
            .env("SPARK_CONF_DIR", dir.join("no-conf"))
            .env("SPARK_LAUNCHER_OPTS", JAVA_OPTIONS)
            .env("SPARK_SUBMIT_OPTS", JAVA_OPTIONS)
            .env("PYTHONPATH", spark.python_path())
            .env("PYSPARK_PYTHON", "python3")
            .args(["--master", &format!("k8s://https://{ADDRESS}:6443"), "--name", &name])
            .args(["--deploy-mode", if here { "client" } else { "cluster" }])
            .args(["--properties-file", self.properties]);
        let mut keys = self.keys.clone();
        keys.insert("spark.eventLog.dir".to_owned(), format!("file:{}", events.display()));
        let driver = (!here).then(|| [self.namespace(cluster), format!("{name}-driver")]);
        keys.insert("spark.kubernetes.executor.podNamePrefix".to_owned(), name.clone());
        if let Some([_, pod]) = &driver {
            keys.insert("spark.kubernetes.driver.pod.name".to_owned(), pod.clone());
        } else {
            // Executors find the driver of client mode by its address, and not by the node's name.
            keys.insert("spark.driver.host".to_owned(), ADDRESS.to_owned());
        }
        for (key, value) in keys {
            command.arg("--conf").arg(format!("{key}={value}"));
        }
        if here {
            command.arg(&program);
        } else {
            command.arg(format!("local:///opt/application/{}", PROGRAM.0));
        }
        command.arg(told.to_string());
        let process = cluster.node.start(&format!("spark-submit of {name}"), &mut command);
        Submission { name, process, dir, driver }
    }

    /// The namespace of its pods, as its keys or else its properties have it.
    fn namespace(&self, cluster: &Cluster) -> String {
        if let Some(named) = self.keys.get(NAMESPACE) {
            return named.clone();
        }
        let path = cluster.home().join(self.properties);
        let text =
            fs::read_to_string(&path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
        let value = text.lines().find_map(|line| line.strip_prefix(NAMESPACE)?.strip_prefix(' '));
        value.expect("properties name a namespace").trim().to_owned()
    }

    /// Hands it in and waits for its end.
    #[track_caller]
    pub fn run(&self, cluster: &Cluster) -> Report {
        self.submit(cluster).finish(cluster)
    }
}

impl Submission {
    /// How the names of its executors' pods begin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits until so many rounds are through.
    #[track_caller]
    pub fn round(&mut self, cluster: &Cluster, number: u32) {
        self.said(cluster, &format!("ROUND {number}"));
    }

    /// Waits until no executor is left in a round.
    #[track_caller]
    pub fn alone(&mut self, cluster: &Cluster, number: u32) {
        self.said(cluster, &format!("ALONE {number}"));
    }

    /// Lets an application go on that waits between.
    #[track_caller]
    pub fn go_on(&self, cluster: &Cluster) {
        self.remove(cluster, BETWEEN);
    }

    /// Lets an application go that is held.
    #[track_caller]
    pub fn release(&self, cluster: &Cluster) {
        self.remove(cluster, HOLD);
    }

    /// Waits for its end, which must be a good one.
    #[track_caller]
    pub fn finish(mut self, cluster: &Cluster) -> Report {
        let status = self.process.wait(LIMIT);
        cluster.keep_logs();
        let log = self.driver_log(cluster);
        let tail = log.as_deref().unwrap_or_default();
        assert!(status.success(), "the application ended with {status}\n{}\n{tail}", self.process.tail());
        match &log {
            Some(log) => {
                let found = log.lines().find_map(report);
                found.unwrap_or_else(|| panic!("it left no report\n{log}\n{}", self.process.tail()))
            }
            None => fs::read_to_string(self.dir.join(REPORT)).map_or_else(
                |e| panic!("it left no report: {e}\n{}", self.process.tail()),
                |text| Report::of(&serde_json::from_str(&text).expect("the report is JSON")),
            ),
        }
    }

    /// What its driver has written by now, in cluster mode.
    fn driver_log(&self, cluster: &Cluster) -> Option<String> {
        let [namespace, pod] = self.driver.as_ref()?;
        Some(cluster.try_kubectl(&["-n", namespace, "logs", pod]).unwrap_or_else(|said| said))
    }

    #[track_caller]
    fn said(&mut self, cluster: &Cluster, wanted: &str) {
        if self.driver.is_none() {
            self.process.wait_for(LIMIT, |line| (line == wanted).then_some(()));
            return;
        }
        cluster.wait_until(wanted, |cluster| {
            self.driver_log(cluster).is_some_and(|log| log.lines().any(|line| line == wanted))
        });
    }

    #[track_caller]
    fn remove(&self, cluster: &Cluster, name: &str) {
        match &self.driver {
            Some([namespace, pod]) => {
                let path = format!("/tmp/{name}");
                cluster.kubectl(&["-n", namespace, "exec", pod, "--", "rm", &path]);
            }
            None => fs::remove_file(self.dir.join(name)).expect("it waits"),
        }
    }
}

/// What the drivers of a namespace report, as many of their pods as have ended well and are there.
pub fn reports(cluster: &Cluster, namespace: &str) -> Vec<Report> {
    // The rest of the logs would be long.
    let drivers =
        format!("kubectl -n {namespace} logs -l spark-role=driver --tail=-1 --max-log-requests=1000");
    cluster.shell(&format!("{drivers} | grep '^REPORT '")).lines().filter_map(report).collect()
}

/// The report in a line of a driver's log.
fn report(line: &str) -> Option<Report> {
    let report: Value = serde_json::from_str(line.strip_prefix("REPORT ")?).expect("the report is JSON");
    Some(Report::of(&report))
}
