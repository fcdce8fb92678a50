//! A standalone cluster: Spark's own Master and Workers whose own shuffle service is off, or on as a control.
//!
//! `spark-defaults.conf` says `spark.shuffle.service.enabled=true` for everybody, as it would on a real cluster;
//! `SPARK_WORKER_OPTS=-Dspark.shuffle.service.enabled=false` takes it back for the Worker alone, since system
//! properties win over the file (`Utils.loadDefaultSparkProperties`, Spark 4.3.0). A Worker's local directories
//! are roots of the service.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tempfile::TempDir;

use super::home::{loopback, private_home};
use crate::{machine::Process, modes::Mode, spark::Spark};

const START_LIMIT: Duration = Duration::from_secs(120);

/// Master and Workers; all end when it is dropped, the Master last.
#[derive(Debug)]
pub struct Cluster {
    workers: Vec<Worker>,
    _master: Process,
    url: String,
    release: Spark,
    dir: TempDir,
}

#[derive(Debug)]
struct Worker {
    process: Process,
    page: String,
    work: PathBuf,
}

/// What a Worker has, beside its memory.
#[derive(Debug)]
pub struct WorkerConfig<'a> {
    /// The name of its host, and of its executors'.
    pub host: &'a str,
    /// How many executors of one core it runs.
    pub cores: u32,
    /// Where they write.
    pub local_dirs: &'a [&'a Path],
    /// Whether it runs Spark's own shuffle service.
    pub own_service: bool,
}

impl Cluster {
    /// Starts Master and Worker with the transport keys of `mode`, for a shuffle service on `port`.
    pub fn start(mode: &Mode, port: u16, secret: &str, root: &Path) -> Self {
        Self::start_with_one(mode, port, secret, root, false)
    }

    /// The same with the Worker's own shuffle service on `port`.
    pub fn start_with_own_service(mode: &Mode, port: u16, secret: &str, root: &Path) -> Self {
        Self::start_with_one(mode, port, secret, root, true)
    }

    fn start_with_one(mode: &Mode, port: u16, secret: &str, root: &Path, own_service: bool) -> Self {
        let mut cluster = Self::start_master(mode, port, secret);
        cluster.add_worker(&WorkerConfig { host: "127.0.0.1", cores: 2, local_dirs: &[root], own_service });
        cluster
    }

    /// Starts a Master alone.
    pub fn start_master(mode: &Mode, port: u16, secret: &str) -> Self {
        let release = Spark::release(mode.version);
        let dir = TempDir::with_prefix("interop-cluster-").expect("the temporary directory is writable");
        private_home(&release, dir.path());
        let conf = dir.path().join("conf");
        fs::create_dir(&conf)
            .and_then(|()| fs::write(conf.join("spark-defaults.conf"), defaults(mode, port, secret)))
            .expect("the directory is fresh");
        let mut master = daemon(dir.path(), "org.apache.spark.deploy.master.Master");
        master.args(["--host", "127.0.0.1", "--port", "0", "--webui-port", "0"]);
        let mut master = Process::start("Spark's Master", &mut master);
        let url = master.wait_for(START_LIMIT, |line| {
            let (_, url) = line.split_once("Starting Spark master at ")?;
            Some(url.trim().to_owned())
        });
        Self { workers: Vec::new(), _master: master, url, release, dir }
    }

    /// Starts a Worker; its number.
    pub fn add_worker(&mut self, config: &WorkerConfig<'_>) -> usize {
        let number = self.workers.len();
        let work = self.dir.path().join(format!("work-{number}"));
        let mut worker = daemon(self.dir.path(), "org.apache.spark.deploy.worker.Worker");
        worker.args(["--host", config.host, "--port", "0", "--webui-port", "0", "--memory", "4g"]);
        worker.args(["--cores", &config.cores.to_string(), "--work-dir"]).arg(&work).arg(&self.url);
        let dirs: Vec<OsString> = config.local_dirs.iter().map(|dir| dir.as_os_str().to_owned()).collect();
        worker.env("SPARK_LOCAL_DIRS", dirs.join(",".as_ref())).env("PYTHONPATH", self.release.python_path());
        if !config.own_service {
            worker.env("SPARK_WORKER_OPTS", "-Dspark.shuffle.service.enabled=false");
        }
        let mut process = Process::start("Spark's Worker", &mut worker);
        process
            .wait_for(START_LIMIT, |line| line.contains("Successfully registered with master").then_some(()));
        let page = process.wait_for(START_LIMIT, |line| {
            let (_, url) = line.split_once("WorkerWebUI to ")?.1.split_once("started at ")?;
            Some(url.trim().to_owned())
        });
        self.workers.push(Worker { process, page, work });
        number
    }

    /// The directory in which executors of a Worker run, one beneath it for each.
    pub fn work(&self, worker: usize) -> &Path {
        &self.workers[worker].work
    }

    /// The page of the first Worker.
    pub fn page(&self) -> &str {
        &self.workers[0].page
    }

    /// Process ids of the executors that run.
    pub fn executors(&self) -> Vec<u32> {
        let processes = fs::read_dir("/proc").expect("there is /proc").flatten();
        let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let is_executor = |id: &u32| {
            let process = Path::new("/proc").join(id.to_string());
            let runs_here = fs::read_link(process.join("cwd"))
                .is_ok_and(|cwd| self.workers.iter().any(|worker| cwd.starts_with(&worker.work)));
            let line = fs::read(process.join("cmdline")).unwrap_or_default();
            runs_here && String::from_utf8_lossy(&line).contains("CoarseGrainedExecutorBackend")
        };
        ids.filter(is_executor).collect()
    }

    /// The `spark://` address of the Master.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What the Workers have logged.
    pub fn worker_log(&self) -> Vec<String> {
        self.workers.iter().flat_map(|worker| worker.process.err().all()).collect()
    }
}

/// A program of Spark's with the configuration of the cluster in `dir`.
fn daemon(dir: &Path, class: &str) -> Command {
    let home = dir.join("home");
    let mut command = Command::new(home.join("bin/spark-class"));
    command.arg(class).current_dir(dir);
    loopback(&mut command);
    command
        .env("SPARK_HOME", &home)
        .env("SPARK_CONF_DIR", dir.join("conf"))
        .env("SPARK_DAEMON_MEMORY", "512m")
        .env("SPARK_DAEMON_JAVA_OPTS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC");
    command
}

fn defaults(mode: &Mode, port: u16, secret: &str) -> String {
    let mut lines: Vec<String> =
        mode.client_conf().iter().map(|(key, value)| format!("{key} {value}")).collect();
    lines.push(format!("spark.authenticate.secret {secret}"));
    lines.push("spark.shuffle.service.enabled true".to_owned());
    lines.push(format!("spark.shuffle.service.port {port}"));
    lines.join("\n") + "\n"
}
