//! The cluster: one node that is everything.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{images, packages, program, site};
use crate::{
    fixture::BLOCK_BYTES,
    machine::{Host, Lack, Process, clean_environment, logs},
    ours::{binary, page, samples},
    spark::Spark,
};

const GUARD: &str = include_str!("../../kubernetes/guard.sh");
const NODE: &str = include_str!("../../kubernetes/node.sh");
/// Everything starts at once, on few cores.
const START_LIMIT: Duration = Duration::from_secs(240);
/// A command of kubectl that waits says for how long.
const COMMAND_LIMIT: Duration = Duration::from_secs(300);
/// Of our server, in the node's network.
const ADMIN: &str = "127.0.0.1:7338";

/// A node with its control plane. All of it ends with the test process.
#[derive(Debug)]
pub struct Cluster {
    pub(super) node: Host,
    pub(super) dir: TempDir,
    guard: Process,
}

impl Cluster {
    /// Starts it, with images for drivers and executors of these releases. `build` says whether what is not in the cache yet is
    /// built, which takes minutes.
    pub fn start(releases: &[&str], build: bool) -> Result<Self, Lack> {
        possible()?;
        let program = if build { program::build()? } else { program::built()? };
        let packages = packages::unpacked()?;
        let archives: Vec<PathBuf> =
            releases.iter().map(|release| images::spark(&Spark::release(release), &packages)).collect();
        let dir = TempDir::with_prefix("interop-kubernetes-").expect("the temporary directory is writable");
        let (guard, node) = guarded(dir.path(), &program, &packages);
        let cluster = Self { node, dir, guard };
        cluster.prepare_home(&program);
        let small = images::others(&packages, &cluster.images_dir());
        cluster.wait_until("containers can be had", |cluster| {
            cluster.containers(&packages, &["version"]).is_ok()
        });
        for archive in archives.iter().chain(&small) {
            let archive = archive.to_str().expect("paths are text");
            let imported = cluster.containers(&packages, &["-n", "k8s.io", "images", "import", archive]);
            assert!(imported.is_ok(), "{archive} cannot be imported: {imported:?}");
        }
        cluster.wait_until("the node is ready", |cluster| {
            let status = "-o=jsonpath={.status.conditions[?(@.type=='Ready')].status}";
            cluster.try_kubectl(&["get", "node", "node-1", status]).is_ok_and(|said| said == "True")
        });
        Ok(cluster)
    }

    /// Runs lines of a shell as an operator does, in a directory with `deploy`; they must end well. Returns what they print.
    #[track_caller]
    pub fn shell(&self, script: &str) -> String {
        self.try_shell(script).unwrap_or_else(|said| panic!("{script}\n{said}\n{}", self.tails()))
    }

    /// The same for lines that may fail; then it returns what they say.
    pub fn try_shell(&self, script: &str) -> Result<String, String> {
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", script]);
        self.at_home(&mut command);
        let mut process = self.node.start("a shell", &mut command);
        let status = process.wait(COMMAND_LIMIT);
        let out = process.out().all().join("\n");
        if status.success() { Ok(out) } else { Err(format!("{out}\n{}", process.err().tail(100))) }
    }

    /// Runs kubectl, which must end well.
    #[track_caller]
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        self.try_kubectl(arguments)
            .unwrap_or_else(|said| panic!("kubectl {arguments:?}: {said}\n{}", self.tails()))
    }

    /// Runs kubectl; where it fails, it returns what it says.
    pub fn try_kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        let quoted: Vec<String> =
            arguments.iter().map(|argument| format!("'{}'", argument.replace('\'', "'\\''"))).collect();
        self.try_shell(&format!("kubectl {}", quoted.join(" ")))
    }

    /// Runs our program with a secret in the node's network; whether it ended well, and what it says.
    pub fn client(&self, secret: &str, arguments: &[&str]) -> (bool, String) {
        let mut command = Command::new(binary());
        clean_environment(&mut command);
        command.args(arguments).env("_SPARK_AUTH_SECRET", secret);
        let mut process = self.node.start("sealed-shuffle", &mut command);
        let status = process.wait(COMMAND_LIMIT);
        (status.success(), [process.out().tail(50), process.err().tail(50)].join("\n"))
    }

    /// Waits until something holds.
    #[track_caller]
    pub fn wait_until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + START_LIMIT;
        while !holds(self) {
            assert!(Instant::now() < deadline, "not in {START_LIMIT:?}: {what}\n{}", self.tails());
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// The samples of a server's admin port, as the node sees it.
    pub fn metrics_at(&self, admin: &str) -> BTreeMap<String, f64> {
        let admin: SocketAddr = admin.parse().expect("it is an address");
        samples(&page(Some(&self.node), admin, "/metrics"))
    }

    /// The block bytes that the server of the node has sent, over channels whose labels hold a text.
    pub fn block_bytes(&self, labels: &str) -> f64 {
        self.block_bytes_at(ADMIN, labels)
    }

    /// The same of a server elsewhere.
    pub fn block_bytes_at(&self, admin: &str, labels: &str) -> f64 {
        let of = |name: &str| name.starts_with(BLOCK_BYTES) && name.contains(labels);
        self.metrics_at(admin).iter().filter(|(name, _)| of(name)).map(|(_, value)| *value).sum()
    }

    /// The directory that holds everything of it; in it `disk` is what pods have in `/mnt/spark`.
    pub fn directory(&self) -> &Path {
        self.dir.path()
    }

    /// Where operators and submitters are.
    pub(super) fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// Sets a command up to run there.
    pub(super) fn at_home(&self, command: &mut Command) {
        clean_environment(command);
        let bin = self.dir.path().join("bin");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(std::iter::once(bin).chain(std::env::split_paths(&path)));
        command
            .current_dir(self.home())
            .env("PATH", path.expect("paths hold no colon"))
            .env("HOME", self.home())
            .env("KUBECONFIG", self.dir.path().join("conf/kubeconfig"));
    }

    /// Keeps the logs of daemons and containers, where logs are kept.
    pub(super) fn keep_logs(&self) {
        let Some(to) = logs() else { return };
        for part in ["logs", "pod-logs"] {
            let mut copied = Command::new("cp");
            copied.args(["-rL", "--"]).arg(self.dir.path().join(part)).arg(&to);
            // Logs of pods that are gone meanwhile are left out.
            drop(copied.output());
        }
    }

    fn prepare_home(&self, program: &Path) {
        let (home, bin) = (self.home(), self.dir.path().join("bin"));
        let kubectl = format!("#!/bin/sh\nexec '{}' kubectl \"$@\"\n", program.display());
        let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
        fs::create_dir_all(&home)
            .and_then(|()| fs::create_dir_all(&bin))
            .and_then(|()| fs::create_dir_all(self.images_dir()))
            .and_then(|()| symlink(deploy, home.join("deploy")))
            .and_then(|()| fs::write(bin.join("kubectl"), kubectl))
            .and_then(|()| fs::set_permissions(bin.join("kubectl"), fs::Permissions::from_mode(0o755)))
            .unwrap_or_else(|e| panic!("cannot make {}: {e}", home.display()));
    }

    fn images_dir(&self) -> PathBuf {
        self.dir.path().join("images")
    }

    /// Runs `ctr` where containerd is. Its socket lies below the root of the node.
    fn containers(&self, packages: &Path, arguments: &[&str]) -> Result<(), String> {
        let socket = format!("/proc/{}/root/run/containerd/containerd.sock", self.first());
        let mut command = Command::new(packages.join("usr/bin/ctr"));
        command.args(["--address", &socket]).args(arguments);
        let told = command.output().map_err(|e| e.to_string())?;
        let said = String::from_utf8_lossy(&told.stderr).into_owned();
        if told.status.success() { Ok(()) } else { Err(said) }
    }

    /// The first process of the node, as this process counts.
    fn first(&self) -> String {
        let id = |line: &String| line.strip_prefix("is ").map(str::to_owned);
        self.guard.out().all().iter().find_map(id).expect("it has said so")
    }

    /// The last words of all daemons.
    fn tails(&self) -> String {
        let mut text = self.guard.tail();
        let logs = fs::read_dir(self.dir.path().join("logs")).into_iter().flatten().flatten();
        for path in logs.map(|entry| entry.path()) {
            let log = fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(12)..].join("\n");
            text.push_str(&format!("\n--- {} ---\n{tail}", path.display()));
        }
        text
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.keep_logs();
        // The node ends with its input, and the guard removes what is left; also after a test that failed.
        drop(self.guard.take_input());
        if !self.guard.ends_within(START_LIMIT) && !thread::panicking() {
            panic!("the guard of the node did not end in {START_LIMIT:?}\n{}", self.guard.tail());
        }
    }
}

/// The guard, and the node that it guards.
fn guarded(dir: &Path, program: &Path, packages: &Path) -> (Process, Host) {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    // The last part tells whose it is, for the guard of a later test.
    let group = format!("sealed-shuffle-test-{number}-{}", std::process::id());
    site::write(dir, &group, packages);
    let (guard, node) = (dir.join("guard.sh"), dir.join("node.sh"));
    fs::write(&guard, GUARD).and_then(|()| fs::write(&node, NODE)).expect("the directory is fresh");
    let mut command = Command::new("setsid");
    command.arg("bash").arg(guard).arg(dir).arg(group).arg(node).arg(program).arg(packages);
    clean_environment(&mut command);
    let mut guard = Process::start("the guard of the node", &mut command);
    let address = site::ADDRESS.parse().expect("it is an address");
    let node = Host::held_by(&mut guard, "node-1", address);
    (guard, node)
}

/// Whether this machine lets a node be made.
fn possible() -> Result<(), Lack> {
    let spaces = ["--net", "--mount", "--uts", "--pid", "--fork", "--kill-child"];
    let told = Command::new("unshare").args(spaces).args(["mount", "--make-rprivate", "/"]).output();
    let told = told.map_err(|e| Lack::of(format!("unshare cannot be run: {e}")))?;
    if !told.status.success() {
        let said = String::from_utf8_lossy(&told.stderr).into_owned();
        return Err(Lack::of(format!("no node can be made here: {said}")));
    }
    for part in ["cpu", "cpuset", "memory", "pids", "devices"] {
        let groups = Path::new("/sys/fs/cgroup").join(part).join("cgroup.procs");
        if !groups.exists() {
            let reason =
                format!("control groups of version 1 are wanted, and {} is not there", groups.display());
            return Err(Lack::of(reason));
        }
    }
    let tried = format!("/sys/fs/cgroup/memory/sealed-shuffle-try-{}", std::process::id());
    fs::create_dir(&tried)
        .and_then(|()| fs::remove_dir(&tried))
        .map_err(|e| Lack::of(format!("no control groups can be made here: {e}")))?;
    Ok(())
}
