//! Hosts of their own on this machine: each has its network, its name and its address, and a switch joins them.
//!
//! One space of process ids holds everything that runs on any of them. The kernel kills all of it with its first process,
//! and that one ends with its standard input, which is a pipe of the test process: whatever becomes of a test, no process, no
//! network and no directory of its hosts is left. The machine's own network has no part in it.

use std::{
    fmt,
    fs::File,
    io,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::fd::{AsFd, OwnedFd},
    path::Path,
    process::{Command, Output},
    sync::Arc,
    thread,
    time::Duration,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::process::Process;

const START_LIMIT: Duration = Duration::from_secs(30);

/// The first process. It reaps what is left to it, as a first process has to; at the end of its input it kills all
/// others, and removes the directory that it is told.
const FIRST: &str =
    "ip link set lo up && ip link add name switch type bridge && ip link set switch up || exit 1
read -r pid _ < /proc/self/stat; echo \"is $pid\"
read -r _
kill -KILL -1
rm -rf -- \"$0\"";
/// Holds the name spaces of a host until they are taken over.
const HOLDER: &str = "hostname \"$0\" && ip link set lo up || exit 1
read -r pid _ < /proc/self/stat; echo \"is $pid\"
read -r _";

/// The reason for which this machine gives no hosts.
#[derive(Debug)]
pub struct NoNetwork(String);

impl fmt::Display for NoNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no hosts of their own can be made here: {}", self.0)
    }
}

/// A switch, and the space of process ids. All hosts end with it.
#[derive(Debug)]
pub struct Network {
    switch: Host,
    hosts: u8,
    _first: Process,
}

/// A host. Processes in it are children of this process.
#[derive(Clone, Debug)]
pub struct Host(Arc<Spaces>);

#[derive(Debug)]
struct Spaces {
    name: String,
    address: Ipv4Addr,
    network: OwnedFd,
    names: OwnedFd,
    processes: OwnedFd,
}

impl Network {
    /// A network without hosts; `dir` is removed at its end, however that comes.
    pub fn start(dir: &Path) -> Result<Self, NoNetwork> {
        // Tried first, and with an end: the reason of a failure is told, and is none of a test.
        let told = unshared(FIRST, Path::new("/nonexistent")).output();
        let told = told.map_err(|e| NoNetwork(format!("unshare cannot be run: {e}")))?;
        if !told.status.success() || !said(&told).contains("is ") {
            return Err(NoNetwork(said(&told)));
        }
        let mut first = Process::start("the first process of hosts", &mut unshared(FIRST, dir));
        let switch = Host::held_by(&mut first, "switch", Ipv4Addr::UNSPECIFIED);
        Ok(Self { switch, hosts: 0, _first: first })
    }

    /// One more host.
    pub fn host(&mut self, name: &str) -> Host {
        self.hosts += 1;
        let address = Ipv4Addr::new(10, 77, 0, self.hosts);
        let mut holder = Command::new("unshare");
        holder.args(["--net", "--uts", "bash", "-c", HOLDER, name]);
        let mut holder = self.switch.start(&format!("the holder of {name}"), &mut holder);
        let host = Host::held_by(&mut holder, name, address);
        let (port, pid) = (format!("port-{}", self.hosts), holder.id().to_string());
        let address = format!("{address}/24");
        // The number of the holder is the machine's, so that this is run among its processes.
        self.switch.configure(&[
            "link", "add", "name", &port, "type", "veth", "peer", "name", "eth0", "netns", &pid,
        ]);
        self.switch.configure(&["link", "set", &port, "master", "switch", "up"]);
        host.configure(&["address", "add", &address, "dev", "eth0"]);
        host.configure(&["link", "set", "eth0", "up"]);
        host
    }
}

impl Host {
    /// The spaces in which `holder` says that it is (`is PID`, as this process counts); they stay when it ends.
    pub(crate) fn held_by(holder: &mut Process, name: &str, address: Ipv4Addr) -> Self {
        let id: u32 = holder.wait_for(START_LIMIT, |line| line.strip_prefix("is ")?.parse().ok());
        let space = |kind: &str| {
            let path = format!("/proc/{id}/ns/{kind}");
            File::open(&path).map(OwnedFd::from).unwrap_or_else(|e| panic!("cannot open {path}: {e}"))
        };
        let (network, names, processes) = (space("net"), space("uts"), space("pid"));
        Self(Arc::new(Spaces { name: name.to_owned(), address, network, names, processes }))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        self.0.address
    }

    /// Starts a program on it.
    pub fn start(&self, name: &str, command: &mut Command) -> Process {
        let name = format!("{name} on {}", self.name());
        let child = self.inside(true, || Process::spawned(&name, command));
        Process::of(&name, child)
    }

    /// Connects to an address that it sees.
    pub fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.inside(false, || TcpStream::connect(address))
    }

    /// Runs `ip` on it.
    pub(crate) fn configure(&self, arguments: &[&str]) {
        let mut command = Command::new("ip");
        command.args(arguments);
        let told = self.inside(false, || command.output());
        let told = told.unwrap_or_else(|e| panic!("ip cannot be run: {e}"));
        assert!(told.status.success(), "ip {arguments:?} on {}: {}", self.name(), said(&told));
    }

    /// Does `work` on a thread that is in the host's network and, with `processes`, whose children are in the space of its
    /// processes, too. Such a thread starts no other.
    fn inside<T: Send>(&self, processes: bool, work: impl FnOnce() -> T + Send) -> T {
        let spaces = &self.0;
        thread::scope(|scope| {
            let done = scope.spawn(|| {
                let mut all = vec![(&spaces.network, LinkNameSpaceType::Network)];
                if processes {
                    all.push((&spaces.names, LinkNameSpaceType::HostNameAndNISDomainName));
                    all.push((&spaces.processes, LinkNameSpaceType::ProcessID));
                }
                for (space, kind) in all {
                    move_into_link_name_space(space.as_fd(), Some(kind))
                        .unwrap_or_else(|e| panic!("cannot enter {}: {e}", spaces.name));
                }
                work()
            });
            done.join().unwrap_or_else(|reason| std::panic::resume_unwind(reason))
        })
    }
}

/// `bash` as the first process of spaces of its own, which ends at once where its input is empty.
fn unshared(script: &str, dir: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--net", "--uts", "--pid", "--fork", "--kill-child", "bash", "-c", script]).arg(dir);
    command
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
