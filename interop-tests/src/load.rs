//! The same load from Spark's own client (`jvm/Bench.java`) on either service, and what it cost the service.

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use serde_json::Value;

use crate::{matrix::Mode, oracle::Executor, process::Process, service::APP, spark::Spark};

const START_LIMIT: Duration = Duration::from_secs(60);
const RUN_LIMIT: Duration = Duration::from_secs(900);

/// Spark's own service in a JVM of its own, as it would be deployed, so that its processor time can be told.
#[derive(Debug)]
pub struct SparkService {
    process: Process,
    address: SocketAddr,
}

impl SparkService {
    /// Starts it for executors beneath `root`.
    pub fn start(mode: &Mode, root: &Path, secret: &str) -> Self {
        let mut command = Spark::release(mode.version).java();
        command.arg("-Xmx1g").arg("SparkShuffleService");
        command.args(mode.conf().iter().map(|(key, value)| format!("{key}={value}")));
        command.arg(format!("spark.local.dir={}", root.display()));
        command.env("_SPARK_AUTH_SECRET", secret);
        let mut process = Process::start("Spark's shuffle service", &mut command);
        let address =
            process.wait_for(START_LIMIT, |line| line.strip_prefix("listening on ")?.trim().parse().ok());
        Self { process, address }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }
}

/// What to fetch: map outputs 0 to `maps` of shuffle 0, all partitions, over and over.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Connections that fetch at a time.
    pub connections: u32,
    /// Bytes to fetch in all, at least.
    pub bytes: u64,
    /// Map outputs.
    pub maps: u32,
    /// Partitions of each.
    pub reduces: u32,
}

impl Load {
    /// Registers the executor and fetches; the answer has `bytes`, `blocks`, `seconds`, `client_cpu_seconds`.
    pub fn run(&self, mode: &Mode, address: SocketAddr, secret: &str, executor: &Executor) -> Value {
        let mut command = Spark::release(mode.version).java();
        command.arg("-Xmx2g").arg("Bench");
        command.args(mode.conf().iter().map(|(key, value)| format!("{key}={value}")));
        command.args([
            format!("host={}", address.ip()),
            format!("port={}", address.port()),
            format!("app={APP}"),
            format!("secret={secret}"),
            format!("dirs={}", executor.dir_names().join(",")),
            format!("sub_dirs={}", executor.sub_dirs),
            format!("connections={}", self.connections),
            format!("bytes={}", self.bytes),
            format!("maps={}", self.maps),
            format!("reduces={}", self.reduces),
        ]);
        let mut process = Process::start("the load", &mut command);
        let status = process.wait(RUN_LIMIT);
        assert!(status.success(), "the load failed: {status}\n{}", process.tail());
        let line = process.out().all().into_iter().find(|line| line.starts_with('{'));
        let line = line.unwrap_or_else(|| panic!("the load printed no result\n{}", process.tail()));
        serde_json::from_str(&line).expect("the result is JSON")
    }
}

/// Processor time that a process has used, in seconds (`/proc/PID/stat`: utime and stime).
pub fn cpu_seconds(id: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).expect("the process runs");
    // The name in parentheses may hold blanks; utime and stime are fields 14 and 15 of the whole.
    let (_, fields) = stat.rsplit_once(") ").expect("a name in parentheses");
    let ticks: u64 =
        fields.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap_or_default()).sum();
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// Anonymous resident memory of a process, in MB (`/proc/PID/status`: RssAnon).
pub fn anonymous_megabytes(id: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux says RssAnon");
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kilobytes * 1024.0 / 1e6
}
