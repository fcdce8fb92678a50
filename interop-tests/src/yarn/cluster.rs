//! The cluster: a host with the ResourceManager, and nodes.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

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
        let conf = site::write(&dir.path().join(EDGE), &site::shared()).expect("the directory is fresh");
        let class = "org.apache.hadoop.yarn.server.resourcemanager.ResourceManager";
        let mut resource_manager =
            edge.start("the ResourceManager", &mut classes.daemon(class, &conf, &hosts));
        let node = |host| Node::new(host, dir.path(), &hosts, Arc::clone(&classes), mode);
        let mut nodes: Vec<Node> = of_nodes.into_iter().map(node).collect();
        nodes.iter_mut().for_each(Node::manage);
        resource_manager
            .wait_for(START_LIMIT, |line| line.contains("Transitioned to active state").then_some(()));
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

    /// How often the ResourceManager has seen a node change between two states, as its log has them.
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
        for node in &mut self.nodes {
            node.end_server(&[]);
            node.serve(at_rest);
        }
    }

    /// What the servers of all nodes count, in their order.
    pub fn metric(&self, family: &str) -> Vec<f64> {
        self.nodes.iter().map(|node| node.server().metric(family)).collect()
    }
}
