//! A node: a NodeManager, our server beside it, and two directories in the place of disks.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use sealed_shuffle_measure::process::cpu_seconds;

use super::{classes::Classes, site};
use crate::{
    machine::{Host, Process, clean_environment, files_named, logs},
    merger::{PUSH_RESOLVER, merged_files},
    modes::{Mode, Service},
    ours::{Server, assert_expected, binary},
};

/// Three JVMs start at once.
pub(super) const START_LIMIT: Duration = Duration::from_secs(180);
/// The port of our server, Spark's own, on each node.
const PORT: u16 = 7337;
/// The port of Spark's own handler.
const OWN_PORT: u16 = 7447;
const HANDOVER: &str = "spark.sealed.handover.socket";
/// How long a server may be away before its node is unhealthy.
const HEALTH_PATIENCE: &str = "30";

/// The form of merged data that is sealed, and read by executors of the node through a view.
pub const VIEWED: &str = "viewed";

/// What our server warns of on every node: directories on a volume without encryption, and a first start.
const ANNOUNCED: [&str; 3] = ["not one of dm-crypt", "on the same file system", "made the key file"];

/// One node. What runs on it is started and ended by the test.
#[derive(Debug)]
pub struct Node {
    host: Host,
    dir: PathBuf,
    conf: PathBuf,
    hosts: PathBuf,
    classes: Arc<Classes>,
    manager: Option<Process>,
    /// Our server, and the form in which it merges.
    server: Option<(Server, String)>,
    /// Lines of the server's log that are another test's.
    looked: usize,
}

impl Node {
    /// A node on which nothing runs yet. `mode` is how Spark's own handler speaks.
    pub(super) fn new(host: Host, dir: &Path, hosts: &Path, classes: Arc<Classes>, mode: &Mode) -> Self {
        let dir = dir.join(host.name());
        let mut site = site::shared();
        site.extend(manager_site(host.name(), &dir, &classes));
        site.extend(mode.service_conf(Service::Spark));
        let conf = ["disk-1", "disk-2", "run"]
            .iter()
            .try_for_each(|part| fs::create_dir_all(dir.join(part)))
            .and_then(|()| site::write_overlay(&overlay(&dir), &vec![(HANDOVER, socket(&dir))]))
            .and_then(|()| site::write(&dir, &site))
            .unwrap_or_else(|e| panic!("cannot make {}: {e}", dir.display()));
        Self { host, dir, conf, hosts: hosts.to_owned(), classes, manager: None, server: None, looked: 0 }
    }

    /// Its host name.
    pub fn name(&self) -> &str {
        self.host.name()
    }

    /// Starts the NodeManager; [`Node::registered`] waits for it.
    pub fn manage(&mut self) {
        let class = "org.apache.hadoop.yarn.server.nodemanager.NodeManager";
        let mut command = self.classes.daemon(class, &self.conf, &self.hosts);
        clean_environment(&mut command);
        self.manager = Some(self.host.start("the NodeManager", &mut command));
    }

    /// Waits until the NodeManager is one of the cluster's.
    pub fn registered(&mut self) {
        self.manager_said("Registered with ResourceManager as ");
    }

    /// Waits until the NodeManager has logged something.
    #[track_caller]
    pub fn manager_said(&mut self, words: &str) {
        let manager = self.manager.as_mut().expect("the test runs a NodeManager");
        manager.wait_for(START_LIMIT, |line| line.contains(words).then_some(()));
    }

    /// Waits until the server knows of an application no more.
    #[track_caller]
    pub fn has_forgotten(&self, app: &str) {
        let forgot = |line: &String| line.contains("forgot an application") && line.contains(app);
        let deadline = Instant::now() + START_LIMIT;
        while !self.server().log().iter().any(forgot) {
            assert!(Instant::now() < deadline, "{} has not forgotten {app}", self.name());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Seconds of processors that our server has taken, and the NodeManager with what runs in it.
    pub fn cpu_seconds(&self) -> [f64; 2] {
        let manager = self.manager.as_ref().expect("the test runs a NodeManager");
        [self.server().id(), manager.id()].map(|id| cpu_seconds(id).expect("it runs"))
    }

    /// What the NodeManager has logged since it was started.
    pub fn manager_log(&self) -> Vec<String> {
        self.manager.as_ref().expect("the test runs a NodeManager").err().all()
    }

    /// Ends the NodeManager: asked to (SIGTERM), or killed.
    pub fn end_manager(&mut self, signal: Signal) {
        let mut manager = self.manager.take().expect("the test runs a NodeManager");
        manager.signal(signal);
        manager.wait(START_LIMIT);
    }

    /// Starts our server, as the recipe in docs/yarn.md has it; what it merges lies on the disks as `at_rest` says, which is
    /// `plain`, `sealed`, or [`VIEWED`]: sealed, with a view for the executors of the node.
    pub fn serve(&mut self, at_rest: &str) {
        self.serve_with(at_rest, &[]);
    }

    /// The same with more keys.
    pub fn serve_with(&mut self, at_rest: &str, more: &[(&'static str, String)]) {
        let file = self.dir.join("spark-defaults.conf");
        let merged = if at_rest == VIEWED { "sealed" } else { at_rest };
        let mut conf = vec![
            ("spark.shuffle.service.port", PORT.to_string()),
            ("spark.local.dir", self.local_dirs()),
            ("spark.sealed.state.dir", self.dir.join("state").display().to_string()),
            (HANDOVER, self.socket()),
            (PUSH_RESOLVER.0, PUSH_RESOLVER.1.to_owned()),
            ("spark.sealed.merge.at-rest", merged.to_owned()),
        ];
        if at_rest == VIEWED {
            conf.push(("spark.sealed.merge.view.dir", self.dir.join("view").display().to_string()));
        }
        conf.extend_from_slice(more);
        let lines: String = conf.iter().map(|(key, value)| format!("{key} {value}\n")).collect();
        fs::write(&file, lines).expect("the directory of the node is writable");
        let mut command = Command::new(binary());
        command
            .args(["serve", "--bind", "0.0.0.0", "--admin", "127.0.0.1:7338", "--properties-file"])
            .arg(file);
        clean_environment(&mut command);
        self.looked = 0;
        let form = if more.is_empty() { at_rest.to_owned() } else { format!("{at_rest}, with more keys") };
        self.server = Some((Server::launch_on(&self.host, &mut command), form));
    }

    /// Takes the node's network away, or gives it back.
    pub fn cut_off(&self, is_off: bool) {
        self.host.configure(&["link", "set", "eth0", if is_off { "down" } else { "up" }]);
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server.as_ref().expect("the test serves").0
    }

    /// Drains the server; in this test it must have warned of nothing but what is usual here and `expected`.
    pub fn end_server(&mut self, expected: &[&str]) {
        let (server, _) = self.server.take().expect("the test serves");
        // What it warned of in other tests is their business.
        let log = server.finish(&[""]);
        self.assert_expected(&log, expected);
    }

    /// Kills the server as it stands.
    pub fn kill_server(&mut self) -> Vec<String> {
        self.server.take().expect("the test serves").0.kill()
    }

    /// In this test its server has warned of nothing but what is usual here and `expected`.
    #[track_caller]
    pub fn assert_quiet(&self, expected: &[&str]) {
        self.assert_expected(&self.server().log(), expected);
    }

    /// A test begins: what the server has logged by now is another's.
    pub(super) fn begin(&mut self) {
        self.looked = self.server().log().len();
    }

    #[track_caller]
    fn assert_expected(&self, log: &[String], expected: &[&str]) {
        let all: Vec<&str> = ANNOUNCED.iter().chain(expected).copied().collect();
        let (before, own) = log.split_at(self.looked.min(log.len()));
        // A minute later the log sums up what it said then.
        let sums_up_others = |line: &String| {
            let summed = line.split_once("more of the same kind; the last: ").map(|(_, last)| last);
            summed
                .and_then(|last| last.split(" peer=").next())
                .is_some_and(|last| before.iter().any(|line| line.contains(last)))
        };
        let own: Vec<String> = own.iter().filter(|line| !sums_up_others(line)).cloned().collect();
        assert_expected(&own, &all);
    }

    /// Whether there is a NodeManager.
    pub fn is_managed(&self) -> bool {
        self.manager.is_some()
    }

    /// The form in which its server merges, where there is a server.
    pub fn at_rest(&self) -> Option<&str> {
        self.server.as_ref().map(|(_, at_rest)| at_rest.as_str())
    }

    /// Runs our program on the node to its end, as a client with a secret. Answers whether it ended well, and what it said.
    pub fn client(&self, secret: &str, arguments: &[&str]) -> (bool, String) {
        let mut command = Command::new(binary());
        clean_environment(&mut command);
        command.args(arguments).env("_SPARK_AUTH_SECRET", secret);
        let mut process = self.host.start("sealed-shuffle", &mut command);
        let status = process.wait(START_LIMIT);
        (status.success(), [process.out().tail(50), process.err().tail(50)].join("\n"))
    }

    /// What containers have written to their standard error, by lines.
    pub fn container_logs(&self, application: &str) -> Vec<String> {
        let dir = self.dir.join("logs").join(application);
        let files = files_named(&dir, |name| name == "stderr");
        let texts = files.iter().filter_map(|file| fs::read_to_string(file).ok());
        texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    }

    /// The merged files that lie on its disks.
    pub fn merged_files(&self) -> Vec<PathBuf> {
        merged_files(&self.dir)
    }

    /// Where the directory of the node is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Copies the logs of containers to where logs are kept.
    pub(super) fn keep_logs(&self, application: &str) {
        let Some(kept) = logs() else { return };
        let text = self.container_logs(application).join("\n");
        fs::write(kept.join(format!("{application}-{}.err", self.name())), text).ok();
    }

    fn local_dirs(&self) -> String {
        local_dirs(&self.dir)
    }

    fn socket(&self) -> String {
        socket(&self.dir)
    }
}

fn local_dirs(dir: &Path) -> String {
    let [one, other] = ["disk-1", "disk-2"].map(|disk| dir.join(disk).join("yarn").display().to_string());
    format!("{one},{other}")
}

/// Keys of our auxiliary service alone, on its class path.
fn overlay(dir: &Path) -> PathBuf {
    dir.join("overlay")
}

fn socket(dir: &Path) -> String {
    dir.join("run/handover.sock").display().to_string()
}

fn manager_site(name: &str, dir: &Path, classes: &Classes) -> site::Site {
    let at = |part: &str| dir.join(part).display().to_string();
    let health = Path::new(env!("CARGO_MANIFEST_DIR")).join("../yarn/health-check.sh");
    vec![
        ("yarn.nodemanager.hostname", name.to_owned()),
        ("yarn.nodemanager.address", format!("{name}:8041")),
        ("yarn.nodemanager.recovery.enabled", "true".to_owned()),
        ("yarn.nodemanager.recovery.supervised", "true".to_owned()),
        ("yarn.nodemanager.recovery.dir", at("recovery")),
        ("yarn.nodemanager.local-dirs", local_dirs(dir)),
        ("yarn.nodemanager.log-dirs", at("logs")),
        // An executor of 1 GiB and an application master: so that three executors are on three nodes.
        ("yarn.nodemanager.resource.memory-mb", "2048".to_owned()),
        ("yarn.nodemanager.resource.cpu-vcores", "8".to_owned()),
        // They look at processes by numbers that are those of another space here.
        ("yarn.nodemanager.container-monitor.enabled", "false".to_owned()),
        ("yarn.nodemanager.pmem-check-enabled", "false".to_owned()),
        ("yarn.nodemanager.vmem-check-enabled", "false".to_owned()),
        ("yarn.nodemanager.disk-health-checker.max-disk-utilization-per-disk-percentage", "99.9".to_owned()),
        ("yarn.nodemanager.env-whitelist", "JAVA_HOME".to_owned()),
        ("yarn.nodemanager.health-checker.script.path", health.display().to_string()),
        (
            "yarn.nodemanager.health-checker.script.opts",
            format!("http://127.0.0.1:7338/readyz,{HEALTH_PATIENCE}"),
        ),
        ("yarn.nodemanager.health-checker.interval-ms", "1000".to_owned()),
        ("yarn.nodemanager.aux-services", "spark_shuffle,spark_shuffle_own".to_owned()),
        (
            "yarn.nodemanager.aux-services.spark_shuffle.class",
            "sealedshuffle.yarn.HandOverService".to_owned(),
        ),
        (
            "yarn.nodemanager.aux-services.spark_shuffle.classpath",
            // A directory ends with a slash: Hadoop takes it for a jar otherwise.
            format!("{}:{}/", classes.ours.display(), overlay(dir).display()),
        ),
        // What all services of the node see; our service has its own in its overlay.
        (HANDOVER, "/nowhere/handover.sock".to_owned()),
        ("spark.yarn.sealed.program", binary().display().to_string()),
        ("yarn.nodemanager.aux-services.spark_shuffle_own.class", "OwnShuffleService".to_owned()),
        ("yarn.nodemanager.aux-services.spark_shuffle_own.classpath", classes.own_class_path()),
        ("spark.interop.own.port", OWN_PORT.to_string()),
    ]
}

/// The keys of an application that uses a service of either kind.
pub(super) fn service_keys(service: Service) -> Vec<(&'static str, String)> {
    let (name, port) = match service {
        Service::Ours => ("spark_shuffle", PORT),
        Service::Spark => ("spark_shuffle_own", OWN_PORT),
    };
    vec![
        ("spark.shuffle.service.enabled", "true".to_owned()),
        ("spark.shuffle.service.name", name.to_owned()),
        ("spark.shuffle.service.port", port.to_string()),
    ]
}
