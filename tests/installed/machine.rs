//! A machine that systemd begins, and what is asked of it. `machine.sh` makes it.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;

use super::outcome::{code, stderr, stdout};
use super::running::eventually;
use super::{text, tree};

/// What the script ends with where this machine allows no such machine.
const NOT_ALLOWED: i32 = 77;

/// Spaces of its own; the control groups' follows within.
const SPACES: [&str; 7] = ["--pid", "--mount", "--uts", "--ipc", "--net", "--fork", "--kill-child"];

pub(super) const SECRET: &str = "a secret of the test under systemd, long enough";

/// A unit's state while a test looks at it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct State {
    /// `active`, `activating`, `deactivating`, `inactive`, `failed`.
    pub(super) active: String,
    /// Why it ended last.
    pub(super) result: String,
    /// The process of now, 0 where there is none.
    pub(super) main: String,
    pub(super) restarts: u32,
}

/// It ends on drop.
pub(super) struct Machine {
    unshare: Child,
    init: String,
    dir: TempDir,
}

impl Machine {
    /// With the program that was built, installed by hand as docs/install.md says, and its settings: local directory `/data`, a
    /// secret, and `properties`.
    pub(super) fn with_the_service(properties: &str) -> Option<Self> {
        let machine = Self::begin(&[env!("CARGO_BIN_EXE_sealed-shuffle").as_ref(), tree()])?;
        let commands = typed("Without a package, install the unit by hand:");
        machine.done(&format!("cd {}\n{commands}\nsystemctl daemon-reload", tree().display()));
        machine.configure(properties);
        Some(machine)
    }

    /// The settings of [`Machine::with_the_service`].
    pub(super) fn configure(&self, properties: &str) {
        self.done("mkdir -p /data && chown spark /data && echo SPARK_LOCAL_DIRS=/data >>/etc/default/sealed-shuffle");
        self.properties(properties);
    }

    /// With nothing of ours. `None` where it cannot be had here, which `make systemd` does not allow.
    pub(super) fn bare() -> Option<Self> {
        Self::begin(&[])
    }

    fn begin(arguments: &[&Path]) -> Option<Self> {
        match Self::try_begin(arguments) {
            Ok(machine) => Some(machine),
            Err(why) => {
                let is_required =
                    std::env::var_os("SEALED_SHUFFLE_SYSTEMD").is_some_and(|value| value == "required");
                assert!(!is_required, "SEALED_SHUFFLE_SYSTEMD=required, and {why}");
                eprintln!("not tested: {why}");
                None
            }
        }
    }

    fn try_begin(arguments: &[&Path]) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root can make a machine that systemd begins".to_owned());
        }
        if !Path::new("/lib/systemd/systemd").is_file() {
            return Err("this machine has no systemd (package systemd)".to_owned());
        }
        let probe = Command::new("unshare").args(SPACES).args(["--cgroup", "true"]).output();
        let probe = probe.map_err(|error| format!("unshare cannot be run: {error}"))?;
        if !probe.status.success() {
            return Err(format!("name spaces are not to be had: {}", stderr(&probe)));
        }
        let dir = tempfile::tempdir().unwrap();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let mut command = Command::new("unshare");
        command.args(SPACES).args([&"bash".as_ref(), &script().as_path()]).arg("begin").arg(dir.path());
        command.args(arguments).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        let unshare = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn();
        let mut machine = Self { unshare: unshare.unwrap(), init: String::new(), dir };
        let said = |machine: &Self| fs::read_to_string(machine.dir.path().join("log")).unwrap();
        let mut ended = None;
        eventually("systemd has begun", || {
            ended = machine.unshare.try_wait().unwrap();
            machine.init =
                fs::read_to_string(machine.dir.path().join("pid")).unwrap_or_default().trim().to_owned();
            ended.is_some() || (!machine.init.is_empty() && machine.is_up())
        });
        match ended {
            None => Ok(machine),
            Some(status) if status.code() == Some(NOT_ALLOWED) => Err(said(&machine).trim().to_owned()),
            Some(status) => panic!("{status}: {}", said(&machine)),
        }
    }

    /// Whether all has started that starts by itself. What this machine has beside the service may fail.
    fn is_up(&self) -> bool {
        let state = self.run(&["systemctl", "is-system-running"]);
        ["running", "degraded"].contains(&stdout(&state).trim())
    }

    pub(super) fn run(&self, command: &[&str]) -> Output {
        self.command(command).output().unwrap()
    }

    fn command(&self, command: &[&str]) -> Command {
        let mut inside = Command::new("nsenter");
        inside.args(["--target", &self.init, "--all"]).args(command);
        inside.stdin(Stdio::null()).env_clear().env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        inside
    }

    /// What a script prints, which must succeed.
    #[track_caller]
    pub(super) fn done(&self, script: &str) -> String {
        let output = self.run(&["sh", "-ec", script]);
        assert_eq!(code(&output), 0, "{script}: {}{}\n{}", stdout(&output), stderr(&output), self.log());
        stdout(&output)
    }

    /// Writes a file; owner and mode of one that is there stay.
    pub(super) fn write(&self, path: &str, content: &[u8]) {
        let mut command = self.command(&["sh", "-ec", &format!("cat >{path}")]);
        let mut cat = command.stdin(Stdio::piped()).spawn().unwrap();
        cat.stdin.take().unwrap().write_all(content).unwrap();
        assert!(cat.wait().unwrap().success(), "{path}");
    }

    /// What stands in `spark-defaults.conf`, beside the secret.
    pub(super) fn properties(&self, properties: &str) {
        let text = format!("spark.authenticate.secret {SECRET}\n{properties}\n");
        self.write("/etc/sealed-shuffle/spark-defaults.conf", text.as_bytes());
    }

    /// Something of the unit changed, until the machine ends.
    pub(super) fn drop_in(&self, text: &str) {
        let dir = "/run/systemd/system/sealed-shuffle.service.d";
        self.done(&format!("mkdir -p {dir}"));
        self.write(&format!("{dir}/test.conf"), text.as_bytes());
        self.done("systemctl daemon-reload");
    }

    pub(super) fn systemctl(&self, verb: &str) -> Output {
        self.run(&["systemctl", verb, "sealed-shuffle"])
    }

    pub(super) fn state(&self) -> State {
        let shown = self.done("systemctl show sealed-shuffle");
        let of = |name: &str| {
            let value = |line: &str| line.strip_prefix(name)?.strip_prefix('=').map(str::to_owned);
            shown.lines().find_map(value).unwrap_or_default()
        };
        State {
            active: of("ActiveState"),
            result: of("Result"),
            main: of("MainPID"),
            restarts: of("NRestarts").parse().unwrap_or_default(),
        }
    }

    /// What service and systemd have said of it.
    pub(super) fn log(&self) -> String {
        stdout(&self.run(&["journalctl", "--unit", "sealed-shuffle", "--output", "cat", "--no-pager"]))
    }

    /// A connection to a port of it.
    pub(super) fn connect(&self, port: u16) -> TcpStream {
        let net = fs::File::open(format!("/proc/{}/ns/net", self.init)).unwrap();
        let connecting = std::thread::spawn(move || {
            move_into_link_name_space(net.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).unwrap()
        });
        connecting.join().unwrap()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.unshare.kill());
        drop(self.unshare.wait());
        // The groups of a process that has just been killed are busy for a moment.
        let clean = || {
            let mut command = Command::new("unshare");
            command.args([&"--mount".as_ref(), &"bash".as_ref(), &script().as_path()]).arg("clean");
            command.arg(self.dir.path()).output().is_ok_and(|output| output.status.success())
        };
        eventually("no control group is left", clean);
    }
}

/// The commands of the first block of docs/install.md behind these words.
pub(super) fn typed(behind: &str) -> String {
    let chapter = text("docs/install.md");
    let (_, rest) = chapter.split_once(behind).unwrap();
    let (_, block) = rest.split_once("```console\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let lines: Vec<_> = block.lines().map(|line| line.strip_prefix("# ").unwrap_or(line)).collect();
    lines.join("\n")
}

fn script() -> PathBuf {
    tree().join("tests/installed/machine.sh")
}
