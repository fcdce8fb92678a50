//! The server under measurement. It is this program as a process of its own, so that its CPU time is apart from the
//! client's.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sealed_shuffle_client::Address;
use tempfile::TempDir;

use super::files::{NO_PROPERTIES, ROOTS};
use super::mode::Mode;
use crate::commands::{Exit, Failure};

/// Variables of the user's environment that could change the settings of either end.
const INHERITED: [&str; 6] = [
    "SPARK_EXECUTOR_DIRS",
    "SPARK_LOCAL_DIRS",
    "LOCAL_DIRS",
    "SPARK_SHUFFLE_OPTS",
    "SPARK_DAEMON_JAVA_OPTS",
    "SPARK_USER",
];

/// A running server. It is killed when dropped.
pub(super) struct Service {
    child: Child,
    pub(super) address: Address,
    /// The directory of its keys and its state; each server has its own.
    _state: TempDir,
}

impl Service {
    /// Starts a server with `conf` on top of the settings of the mode, and waits until it is ready.
    pub(super) fn start(mode: Mode, secret: &str, dir: &Path, conf: &[&str]) -> Result<Self, Failure> {
        let failed =
            |error: &dyn std::fmt::Display| Failure::new(Exit::Failed, format!("the server: {error}"));
        let state = TempDir::with_prefix_in("state-", dir).map_err(|error| failed(&error))?;
        let program = std::env::current_exe().map_err(|error| failed(&error))?;
        let mut command = Command::new(program);
        command.args(["serve", "--bind", "127.0.0.1", "--port", "0", "--properties-file"]);
        command.arg(dir.join(NO_PROPERTIES));
        command.arg("--conf").arg(format!("spark.local.dir={}", dir.join(ROOTS).display()));
        command.arg("--conf").arg(format!("spark.sealed.state.dir={}", state.path().display()));
        command.args(["--conf", "spark.sealed.log=error"]);
        for conf in mode.server_conf(dir) {
            command.arg("--conf").arg(conf);
        }
        for conf in conf {
            command.args(["--conf", conf]);
        }
        for variable in INHERITED {
            command.env_remove(variable);
        }
        match mode {
            Mode::Plaintext => command.env_remove("_SPARK_AUTH_SECRET"),
            _ => command.env("_SPARK_AUTH_SECRET", secret),
        };
        let mut child = command.stdout(Stdio::piped()).spawn().map_err(|error| failed(&error))?;
        let output = child.stdout.take().ok_or_else(|| failed(&"no standard output"))?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).map_err(|error| failed(&error))?;
        let address = line.strip_prefix("listening on ").map(str::trim);
        let Some(address) = address.and_then(|address| Address::parse(address, 0).ok()) else {
            drop(child.kill());
            drop(child.wait());
            return Err(failed(&"it did not start; its reason stands above"));
        };
        Ok(Self { child, address, _state: state })
    }

    /// The id of its process.
    pub(super) fn process(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It has nothing to drain.
        drop(self.child.kill());
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
