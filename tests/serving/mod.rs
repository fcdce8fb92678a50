//! A whole `serve`, as a process of its own.
#![allow(dead_code)] // each test crate uses its part
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// No test waits longer for a process.
const PATIENCE: Duration = Duration::from_secs(40);

/// The program, with no variables of ours.
pub(crate) fn sealed_shuffle() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealed-shuffle"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// `serve` on free ports, whose state lies in `dir`.
pub(crate) fn serve(dir: &Path) -> Command {
    let mut command = sealed_shuffle();
    command
        .args(["serve", "--bind", "127.0.0.1", "--port", "0", "--admin", "127.0.0.1:0"])
        .env("STATE_DIRECTORY", dir.join("state"));
    command
}

/// A `serve` that is ready. It is killed on drop.
pub(crate) struct Serving {
    pub(crate) process: Child,
    pub(crate) address: SocketAddr,
    /// The operator's port.
    pub(crate) admin: String,
    log: PathBuf,
}

impl Serving {
    /// Starts `command`, which logs to `log`, and waits until it is ready.
    pub(crate) fn start(mut command: Command, log: &Path) -> Self {
        let to = fs::File::create(log).unwrap();
        let mut process = command.stdout(Stdio::piped()).stderr(to).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Some((address, admin)) =
            line.trim().strip_prefix("listening on ").and_then(|rest| rest.split_once(" admin on "))
        else {
            drop(process.kill());
            panic!("{line:?}: {}", fs::read_to_string(log).unwrap());
        };
        let (address, admin) = (address.parse().unwrap(), admin.to_owned());
        Self { process, address, admin, log: log.to_owned() }
    }

    /// What the operator's port answers to a GET, head and all.
    pub(crate) fn admin_page(&self, path: &str) -> String {
        let (mut socket, admin) = (TcpStream::connect(&self.admin).unwrap(), &self.admin);
        write!(socket, "GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.process.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it runs on: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
