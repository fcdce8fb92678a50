//! Our binary on a free port, by its command-line contract.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::log_scan;
use crate::machine::{Host, Process, clean_environment};

/// As messages call it.
const NAME: &str = "sealed-shuffle serve";
const START_LIMIT: Duration = Duration::from_secs(20);
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// A running `sealed-shuffle serve`.
#[derive(Debug)]
pub struct Server {
    process: Process,
    address: SocketAddr,
    admin: SocketAddr,
    host: Option<Host>,
    finished: bool,
}

impl Server {
    /// Starts the server for executors beneath `root`, with the secret and further keys; `conf` wins over defaults.
    pub fn start(root: &Path, secret: Option<&str>, conf: &[(&str, String)]) -> Self {
        Self::launch(&mut Self::command(root, secret, conf))
    }

    /// The command that [`Server::start`] runs, for tests that change it. It remembers nothing across a restart, unless
    /// `conf` says where.
    pub fn command(root: &Path, secret: Option<&str>, conf: &[(&str, String)]) -> Command {
        let mut command = Command::new(binary());
        command
            .args(["serve", "--bind", "127.0.0.1", "--admin", "127.0.0.1:0"])
            .arg("--conf")
            .arg(format!("spark.local.dir={}", root.display()));
        for (key, value) in conf {
            match *key {
                "spark.ssl.rpc.keyStorePassword" => command.env("_SPARK_SSL_RPC_KEY_STORE_PASSWORD", value),
                "spark.ssl.rpc.trustStorePassword" => {
                    command.env("_SPARK_SSL_RPC_TRUST_STORE_PASSWORD", value)
                }
                _ => command.arg("--conf").arg(format!("{key}={value}")),
            };
        }
        if !conf.iter().any(|(key, _)| *key == "spark.shuffle.service.port") {
            command.args(["--port", "0"]);
        }
        if !conf.iter().any(|(key, _)| *key == "spark.sealed.state.dir") {
            command.args(["--conf", "spark.shuffle.service.db.enabled=false"]);
            // Servers that run at once would all make their sockets in the state directory of this user.
            command.args(["--conf", "spark.sealed.admin.socket=off"]);
            command.args(["--conf", "spark.sealed.takeover.socket=off"]);
        }
        clean_environment(&mut command);
        if let Some(secret) = secret {
            command.env("_SPARK_AUTH_SECRET", secret);
        }
        command
    }

    /// Runs a prepared command and waits until it is ready.
    pub fn launch(command: &mut Command) -> Self {
        Self::ready(Process::start(NAME, command), None)
    }

    /// The same on a host of its own.
    pub fn launch_on(host: &Host, command: &mut Command) -> Self {
        Self::ready(host.start(NAME, command), Some(host.clone()))
    }

    fn ready(mut process: Process, host: Option<Host>) -> Self {
        let address = process.wait_for(START_LIMIT, |line| address_after(line, "listening on "));
        let admin = process.wait_for(START_LIMIT, |line| address_after(line, "admin on "));
        Self { process, address, admin, host, finished: false }
    }

    /// Where it takes connections.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it has logged so far.
    pub fn log(&self) -> Vec<String> {
        self.process.err().all()
    }

    /// All samples of `/metrics`: name with labels, as printed, to value.
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        samples(&self.admin_page("/metrics"))
    }

    /// The sum of all samples of one metric family, whatever their labels.
    pub fn metric(&self, family: &str) -> f64 {
        let samples = self.metrics();
        let of_family = |name: &str| name == family || name.split_once('{').is_some_and(|(f, _)| f == family);
        let values: Vec<f64> =
            samples.iter().filter(|(name, _)| of_family(name)).map(|(_, value)| *value).collect();
        assert!(!values.is_empty(), "no metric {family} in {samples:#?}");
        values.iter().sum()
    }

    /// One page of the admin port.
    pub fn admin_page(&self, path: &str) -> String {
        page(self.host.as_ref(), self.admin, path)
    }

    /// Drains the server (SIGTERM); it must end with 0 and have warned of nothing but what is `expected`. Returns all
    /// that it logged.
    pub fn finish(mut self, expected: &[&str]) -> Vec<String> {
        let status = self.stop();
        self.ended_well(status, expected)
    }

    /// The same after [`Server::begin_to_drain`], without another signal, which would cut the drain.
    pub fn finish_drain(mut self, expected: &[&str]) -> Vec<String> {
        self.finished = true;
        let status = self.process.wait(DRAIN_LIMIT);
        self.ended_well(status, expected)
    }

    /// Has it read again what it reads anew (SIGHUP), and waits until it has.
    pub fn reload(&mut self) {
        let words = "are in force as they were read";
        let before = self.log().iter().filter(|line| line.contains(words)).count();
        self.process.signal(Signal::HUP);
        let deadline = Instant::now() + START_LIMIT;
        while self.log().iter().filter(|line| line.contains(words)).count() == before {
            assert!(Instant::now() < deadline, "it does not read anew\n{}", self.process.tail());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until it has ended, since another server has its place. Otherwise as [`Server::finish`].
    pub fn finish_succeeded(mut self, expected: &[&str]) -> Vec<String> {
        self.finished = true;
        let status = self.process.wait(DRAIN_LIMIT + DRAIN_LIMIT);
        self.ended_well(status, expected)
    }

    /// Kills it as it stands (SIGKILL). Returns all that it logged.
    pub fn kill(mut self) -> Vec<String> {
        self.finished = true;
        self.process.signal(Signal::KILL);
        self.process.wait(START_LIMIT);
        self.process.err().all()
    }

    fn ended_well(&self, status: ExitStatus, expected: &[&str]) -> Vec<String> {
        assert!(status.success(), "the server ended with {status}\n{}", self.process.tail());
        let log = self.process.err().all();
        log_scan::assert_expected(&log, expected);
        log
    }

    /// Asks it to drain (SIGTERM) and returns as soon as it says that it does.
    pub fn begin_to_drain(&mut self) {
        self.process.signal(Signal::TERM);
        self.process.wait_for(START_LIMIT, |line| line.contains("draining: ").then_some(()));
    }

    fn stop(&mut self) -> ExitStatus {
        self.finished = true;
        self.process.terminate(DRAIN_LIMIT)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.finished || thread::panicking() {
            return;
        }
        let status = self.stop();
        assert!(status.success(), "the server ended with {status}\n{}", self.process.tail());
        log_scan::assert_expected(&self.process.err().all(), &[]);
    }
}

/// Our binary: `SEALED_SHUFFLE_BIN`, else the one beside the running program, or the one that cargo built beside the
/// running test.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("SEALED_SHUFFLE_BIN") {
        return PathBuf::from(path);
    }
    let running = std::env::current_exe().expect("a program knows its own path");
    let beside = running.ancestors().skip(1).take(2).map(|dir| dir.join("sealed-shuffle"));
    beside.clone().find(|path| path.is_file()).unwrap_or_else(|| {
        let places: Vec<String> = beside.map(|path| path.display().to_string()).collect();
        panic!(
            "there is no {}: put sealed-shuffle there (in the tree `cargo build --bin sealed-shuffle` does), or set \
             SEALED_SHUFFLE_BIN",
            places.join(" and no ")
        )
    })
}

/// One page of an admin port, as `host` sees it.
pub(crate) fn page(host: Option<&Host>, admin: SocketAddr, path: &str) -> String {
    let mut text = String::new();
    let connected = host.map_or_else(|| TcpStream::connect(admin), |host| host.connect(admin));
    let read = connected.and_then(|mut socket| {
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(socket, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        socket.read_to_string(&mut text)
    });
    assert!(read.is_ok(), "cannot read {path} from {admin}: {read:?}");
    assert!(text.starts_with("HTTP/1.1 200"), "{path} answers {text}");
    text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}

/// The samples of `/metrics`: name with labels, as printed, to value.
pub(crate) fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        })
        .collect()
}

fn address_after(line: &str, words: &str) -> Option<SocketAddr> {
    line.strip_prefix(words)?.split_whitespace().next()?.parse().ok()
}
