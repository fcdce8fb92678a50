//! A standalone cluster: Spark's own Master and one Worker whose own shuffle service is off, or on as a control.
//!
//! `spark-defaults.conf` says `spark.shuffle.service.enabled=true` for everybody, as it would on a real cluster;
//! `SPARK_WORKER_OPTS=-Dspark.shuffle.service.enabled=false` takes it back for the Worker alone, since system
//! properties win over the file (`Utils.loadDefaultSparkProperties`, Spark 4.3.0). The Worker's local directories
//! are the service's root.

use std::{fs, path::Path, process::Command, time::Duration};

use tempfile::TempDir;

use super::home::{loopback, private_home};
use crate::{machine::Process, modes::Mode, spark::Spark};

const START_LIMIT: Duration = Duration::from_secs(120);

/// Master and Worker; both end when it is dropped, the Worker first.
#[derive(Debug)]
pub struct Cluster {
    worker: Process,
    _master: Process,
    url: String,
    page: String,
    dir: TempDir,
}

impl Cluster {
    /// Starts both with the transport keys of `mode`, for a shuffle service on `port`.
    pub fn start(mode: &Mode, port: u16, secret: &str, root: &Path) -> Self {
        Self::start_with(mode, port, secret, root, false)
    }

    /// The same with the Worker's own shuffle service on `port`.
    pub fn start_with_own_service(mode: &Mode, port: u16, secret: &str, root: &Path) -> Self {
        Self::start_with(mode, port, secret, root, true)
    }

    fn start_with(mode: &Mode, port: u16, secret: &str, root: &Path, own_service: bool) -> Self {
        let release = Spark::release(mode.version);
        let dir = TempDir::with_prefix("interop-cluster-").expect("the temporary directory is writable");
        let home = private_home(&release, dir.path());
        let conf = dir.path().join("conf");
        fs::create_dir(&conf)
            .and_then(|()| fs::write(conf.join("spark-defaults.conf"), defaults(mode, port, secret)))
            .expect("the directory is fresh");
        let daemon = |class: &str| {
            let mut command = Command::new(home.join("bin/spark-class"));
            command.arg(class).current_dir(dir.path());
            loopback(&mut command);
            command
                .env("SPARK_HOME", &home)
                .env("SPARK_CONF_DIR", &conf)
                .env("SPARK_DAEMON_MEMORY", "512m")
                .env("SPARK_DAEMON_JAVA_OPTS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC");
            command
        };
        let mut master = daemon("org.apache.spark.deploy.master.Master");
        master.args(["--host", "127.0.0.1", "--port", "0", "--webui-port", "0"]);
        let mut master = Process::start("Spark's Master", &mut master);
        let url = master.wait_for(START_LIMIT, |line| {
            let (_, url) = line.split_once("Starting Spark master at ")?;
            Some(url.trim().to_owned())
        });
        let mut worker = daemon("org.apache.spark.deploy.worker.Worker");
        worker
            .args([
                "--host",
                "127.0.0.1",
                "--port",
                "0",
                "--webui-port",
                "0",
                "--cores",
                "2",
                "--memory",
                "4g",
            ])
            .arg("--work-dir")
            .arg(dir.path().join("work"))
            .arg(&url)
            .env("SPARK_LOCAL_DIRS", root)
            .env("PYTHONPATH", release.python_path());
        if !own_service {
            worker.env("SPARK_WORKER_OPTS", "-Dspark.shuffle.service.enabled=false");
        }
        let mut worker = Process::start("Spark's Worker", &mut worker);
        worker
            .wait_for(START_LIMIT, |line| line.contains("Successfully registered with master").then_some(()));
        let page = worker.wait_for(START_LIMIT, |line| {
            let (_, url) = line.split_once("WorkerWebUI to ")?.1.split_once("started at ")?;
            Some(url.trim().to_owned())
        });
        Self { worker, _master: master, url, page, dir }
    }

    /// The Worker's page.
    pub fn page(&self) -> &str {
        &self.page
    }

    /// Process ids of the executors that run.
    pub fn executors(&self) -> Vec<u32> {
        let work = self.dir.path().join("work");
        let processes = fs::read_dir("/proc").expect("there is /proc").flatten();
        let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let is_executor = |id: &u32| {
            let process = Path::new("/proc").join(id.to_string());
            let runs_here = fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(&work));
            let line = fs::read(process.join("cmdline")).unwrap_or_default();
            runs_here && String::from_utf8_lossy(&line).contains("CoarseGrainedExecutorBackend")
        };
        ids.filter(is_executor).collect()
    }

    /// The `spark://` address of the Master.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What the Worker has logged.
    pub fn worker_log(&self) -> Vec<String> {
        self.worker.err().all()
    }
}

fn defaults(mode: &Mode, port: u16, secret: &str) -> String {
    let mut lines: Vec<String> =
        mode.client_conf().iter().map(|(key, value)| format!("{key} {value}")).collect();
    lines.push(format!("spark.authenticate.secret {secret}"));
    lines.push("spark.shuffle.service.enabled true".to_owned());
    lines.push(format!("spark.shuffle.service.port {port}"));
    lines.join("\n") + "\n"
}
