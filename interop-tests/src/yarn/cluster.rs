//! The cluster: a host with the ResourceManager, and nodes.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tempfile::TempDir;

use super::{
    classes::Classes,
    node::{Node, START_LIMIT},
    site::{self, EDGE},
};
use crate::{
    machine::{Host, Lack, Network, Process},
    modes::Mode,
};

/// The form in which servers merge unless a test wants another.
const USUAL: &str = "plain";

/// A ResourceManager and its nodes. The nodes end first when it is dropped; where it is not, all of it ends with the test
/// process.
#[derive(Debug)]
pub struct Cluster {
    /// The nodes; the test starts and ends what runs on them.
    pub nodes: Vec<Node>,
    pub(super) edge: Host,
    pub(super) conf: PathBuf,
    pub(super) hosts: PathBuf,
    pub(super) classes: Arc<Classes>,
    resource_manager: Process,
    _network: Network,
    dir: TempDir,
}

impl Cluster {
    /// Starts it with nodes of which each has a NodeManager and our server; Spark's own handler speaks as `mode` says.
    pub fn start(mode: &Mode, nodes: usize) -> Result<Self, Lack> {
        let dir = TempDir::with_prefix("interop-yarn-").expect("the temporary directory is writable");
        let mut network = Network::start(dir.path()).map_err(Lack::of)?;
        let classes = Classes::get(mode.version, dir.path()).map_err(Lack::of)?;
        let classes = Arc::new(classes);
        let edge = network.host(EDGE);
        let of_nodes: Vec<Host> = (1..=nodes).map(|n| network.host(&format!("node-{n}"))).collect();
        let hosts = dir.path().join("hosts");
        let all = std::iter::once(&edge).chain(&of_nodes).map(|host| (host.name(), host.address()));
        fs::write(&hosts, site::hosts(all)).expect("the directory is fresh");
        let mut site = site::shared();
        site.extend(site::recovery_of_the_resource_manager(&dir.path().join("resource-manager")));
        let conf = site::write(&dir.path().join(EDGE), &site).expect("the directory is fresh");
        let mut resource_manager = start_resource_manager(&edge, &classes, &conf, &hosts);
        let node = |host| Node::new(host, dir.path(), &hosts, Arc::clone(&classes), mode);
        let mut nodes: Vec<Node> = of_nodes.into_iter().map(node).collect();
        nodes.iter_mut().for_each(Node::manage);
        is_active(&mut resource_manager);
        for node in &mut nodes {
            node.registered();
            node.serve(USUAL);
        }
        Ok(Self { nodes, edge, conf, hosts, classes, resource_manager, _network: network, dir })
    }

    /// Its directory.
    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Kills the ResourceManager and starts it again, with what it has stored.
    pub fn restart_resource_manager(&mut self) {
        self.resource_manager.signal(Signal::KILL);
        self.resource_manager.wait(START_LIMIT);
        self.resource_manager = start_resource_manager(&self.edge, &self.classes, &self.conf, &self.hosts);
        is_active(&mut self.resource_manager);
    }

    /// How often the ResourceManager that runs has seen a node change between two states, as its log has them.
    pub fn transitions(&self, node: &str, from: &str, to: &str) -> usize {
        let words = format!("{node}:8041 Node Transitioned from {from} to {to}");
        let log = self.resource_manager.err().all();
        log.iter().filter(|line| line.contains(&words)).count()
    }

    /// Waits until a node has changed between two states so often.
    #[track_caller]
    pub fn transitioned(&self, node: &str, from: &str, to: &str, times: usize) {
        let deadline = Instant::now() + START_LIMIT;
        while self.transitions(node, from, to) < times {
            let tail = self.resource_manager.tail();
            assert!(Instant::now() < deadline, "{node} is not {to} {times} times\n{tail}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// A test begins: what another has left away is started, and each server anew that it has left with an unusual form.
    pub fn begin(&mut self) {
        for node in &mut self.nodes {
            if !node.is_managed() {
                node.manage();
                node.registered();
            }
            if node.at_rest().is_some_and(|form| form != USUAL) {
                node.kill_server();
            }
            if node.at_rest().is_none() {
                node.serve(USUAL);
            }
            node.begin();
        }
        // A node that was without its server for long is unhealthy for a moment more, and takes no containers.
        for node in &self.nodes {
            let times = self.transitions(node.name(), "RUNNING", "UNHEALTHY");
            self.transitioned(node.name(), "UNHEALTHY", "RUNNING", times);
        }
    }

    /// In this test no server has warned of anything but what is usual here and `expected`.
    #[track_caller]
    pub fn assert_quiet(&self, expected: &[&str]) {
        self.nodes.iter().for_each(|node| node.assert_quiet(expected));
    }

    /// Starts all servers anew; what they merge lies on the disks as `at_rest` says.
    pub fn serve_all(&mut self, at_rest: &str) {
        self.serve_all_with(at_rest, &[]);
    }

    /// The same with more keys.
    pub fn serve_all_with(&mut self, at_rest: &str, more: &[(&'static str, String)]) {
        for node in &mut self.nodes {
            node.end_server(&[]);
            node.serve_with(at_rest, more);
        }
    }

    /// What the servers of all nodes count, in their order.
    pub fn metric(&self, family: &str) -> Vec<f64> {
        self.nodes.iter().map(|node| node.server().metric(family)).collect()
    }
}

fn start_resource_manager(edge: &Host, classes: &Classes, conf: &Path, hosts: &Path) -> Process {
    let class = "org.apache.hadoop.yarn.server.resourcemanager.ResourceManager";
    edge.start("the ResourceManager", &mut classes.daemon(class, conf, hosts))
}

fn is_active(resource_manager: &mut Process) {
    resource_manager
        .wait_for(START_LIMIT, |line| line.contains("Transitioned to active state").then_some(()));
}
