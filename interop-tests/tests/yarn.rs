//! YARN's auxiliary service (`yarn/`) hands applications over: called as a NodeManager calls it, with the data that
//! Spark gives to its containers, it lets Spark's own client in, and at the end out again.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use sealed_shuffle_interop_tests::{
    machine::java_home,
    modes::{Cipher, Mode},
    oracle::Executor,
    ours::{Server, binary},
    spark::{Connection, Credentials, Peer, Spark},
};
use serde_json::{Value, json};
use tempfile::TempDir;

const MODES: [Mode; 2] = [Mode::aes("4.3.0", Cipher::Gcm, 2), Mode::aes("3.5.9", Cipher::Ctr, 1)];
const CLASS: &str = "sealedshuffle.yarn.HandOverService";
const RECOVERY_DISABLED: &str = "spark.yarn.shuffle.server.recovery.disabled";
const PATIENCE: Duration = Duration::from_secs(30);
const CLUSTER: u64 = 1_700_000_000_000;

/// What is handed over, which no log may show.
const SECRETS: [&str; 3] =
    ["eleven-otters-hold-hands", "twelve-owls-count-to-ten", "thirteen-hares-sit-still"];

/// Our server, a directory with its socket, and a NodeManager's service in Spark's JVM.
struct Node {
    peer: Arc<Peer>,
    mode: Mode,
    server: Option<Server>,
    dir: TempDir,
    name: String,
}

impl Node {
    fn start(mode: Mode) -> Self {
        let peer = Peer::shared(mode.version);
        let dir = TempDir::with_prefix("interop-yarn-").expect("the temporary directory is writable");
        let name = dir.path().to_string_lossy().into_owned();
        Self { peer, mode, server: None, dir, name }
    }

    fn serve(&mut self) {
        let conf = [
            ("spark.sealed.handover.socket", self.socket().display().to_string()),
            ("spark.sealed.auth.secret-wait", "1s".to_owned()),
        ];
        self.server = Some(Server::start(self.dir.path(), None, &conf));
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("handover.sock")
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("the test serves")
    }

    fn node_manager(&self, op: &str, mut more: Value) -> Value {
        more["cmd"] = json!("node-manager");
        more["node"] = json!(self.name);
        more["op"] = json!(op);
        let answer = self.peer.call(more);
        assert!(answer.get("error").is_none(), "{op}: {answer}");
        answer
    }

    fn manage(&self, program: &str) -> Value {
        let conf =
            json!({"spark.sealed.handover.socket": self.socket(), "spark.yarn.sealed.program": program});
        self.node_manager("start", json!({"class": CLASS, "conf": conf}))
    }

    fn begin(&self, app: usize, conf: Value) -> Value {
        self.node_manager("begin", json!({"cluster": CLUSTER, "app": app, "conf": conf}))
    }

    fn end(&self, app: usize) {
        self.node_manager("end", json!({"cluster": CLUSTER, "app": app}));
    }

    fn connect(&self, app: usize, secret: &str) -> Option<Connection> {
        let credentials = Credentials::new(&self.mode, &id(app), secret);
        Connection::open(&self.peer, self.server().address(), &credentials).ok()
    }

    fn registers(&self, app: usize, secret: &str) -> Connection {
        let connection = self.connect(app, secret).expect("the secret was handed over");
        let appcache = self.dir.path().join("usercache/u/appcache").join(id(app));
        let executor = Executor::beneath(&appcache, &format!("{app}"));
        connection.register(&id(app), "1", &executor).answer();
        connection
    }

    fn told(&self, message: &str) -> f64 {
        let sample = format!("sealed_shuffle_handover_total{{message=\"{message}\",outcome=\"done\"}}");
        self.server().metrics().get(&sample).copied().unwrap_or_default()
    }

    /// Lines of the server's log with these words.
    fn logged(&self, words: &str) -> usize {
        self.server().log().iter().filter(|line| line.contains(words)).count()
    }

    #[track_caller]
    fn eventually_told(&self, message: &str, times: f64) {
        let deadline = Instant::now() + PATIENCE;
        while self.told(message) < times {
            assert!(Instant::now() < deadline, "{message} {times} times:\n{:#?}", self.server().log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn held(&self) -> f64 {
        self.server().metric("sealed_shuffle_secrets_handed_over")
    }

    fn finish_server(&mut self, expected: &[&str]) {
        let log = self.server.take().expect("the test serves").finish(expected);
        for secret in SECRETS {
            assert!(!log.iter().any(|line| line.contains(secret)), "a secret is in the log");
        }
    }
}

fn id(app: usize) -> String {
    format!("application_{CLUSTER}_{app:04}")
}

fn plain(secret: &str) -> Value {
    json!({"spark.authenticate": "true", "spark.authenticate.secret": secret})
}

fn as_json(secret: &str) -> Value {
    json!({"spark.authenticate": "true", "spark.authenticate.secret": secret, RECOVERY_DISABLED: "true"})
}

#[test]
fn an_application_is_let_in_from_its_beginning_to_its_end() {
    for mode in MODES {
        eprintln!("in mode {mode}");
        let mut node = Node::start(mode);
        node.serve();
        let started = node.manage(&binary().display().to_string());
        assert_eq!((&started["name"], &started["meta"]), (&json!("spark_shuffle"), &json!(0)));

        let told = node.begin(1, plain(SECRETS[0]));
        assert_eq!(told["bytes"], json!(SECRETS[0].len()), "the first form is the secret itself");
        assert_eq!(told["left"], told["bytes"], "the buffer is the NodeManager's");
        let told = node.begin(2, as_json(SECRETS[1]));
        assert!(
            told["bytes"].as_u64() > Some(SECRETS[1].len() as u64 + 30),
            "the second form says more: {told}"
        );
        let first = node.registers(1, SECRETS[0]);
        let second = node.registers(2, SECRETS[1]);
        node.begin(1, plain(SECRETS[0]));
        assert!(node.connect(1, SECRETS[1]).is_none(), "one application's secret is no other's");
        assert_eq!((node.told("started"), node.held()), (2.0, 2.0), "a second container says nothing new");
        assert_eq!(node.logged("an application was handed over"), 2, "{:#?}", node.server().log());
        assert_eq!(node.server().metric("sealed_shuffle_executors"), 2.0);

        node.end(1);
        assert!(first.is_closed_within(10_000), "the connection ends with its application");
        assert!(node.connect(1, SECRETS[0]).is_none());
        assert!(second.is_active());
        assert_eq!((node.told("ended"), node.held()), (1.0, 1.0));
        assert_eq!(node.logged("forgot an application"), 1, "{:#?}", node.server().log());
        assert_eq!(node.server().metric("sealed_shuffle_executors"), 1.0);
        let ended = "sealed_shuffle_forgotten_applications_total{reason=\"ended\"}";
        assert_eq!(node.server().metrics()[ended], 1.0);
        node.node_manager("stop", json!({}));
        node.registers(2, SECRETS[1]);
        node.finish_server(&["refused a handshake", "below the target"]);
    }
}

#[test]
fn a_server_that_comes_back_is_told_everything_again() {
    let mut node = Node::start(MODES[0]);
    node.manage(&binary().display().to_string());
    node.begin(1, plain(SECRETS[0]));
    node.begin(2, plain(SECRETS[1]));
    node.serve();
    node.eventually_told("started", 2.0);
    node.registers(1, SECRETS[0]);
    node.finish_server(&[]);

    node.end(1);
    node.begin(3, as_json(SECRETS[2]));
    node.serve();
    node.eventually_told("ended", 1.0);
    node.eventually_told("started", 2.0);
    for (app, secret) in [(2, SECRETS[1]), (3, SECRETS[2])] {
        node.registers(app, secret);
    }
    assert!(node.connect(1, SECRETS[0]).is_none(), "it ended while there was no server");
    assert_eq!(node.held(), 2.0);
    node.node_manager("stop", json!({}));
    node.finish_server(&["refused a handshake", "below the target"]);
}

#[test]
fn a_node_manager_lives_with_whatever_goes_wrong() {
    let node = Node::start(MODES[0]);
    let use_it = || {
        node.begin(1, plain(SECRETS[0]));
        node.begin(2, json!({}));
        node.end(1);
        node.end(7);
        node.node_manager("stop", json!({}));
    };
    node.manage("/nowhere/sealed-shuffle");
    use_it();
    node.manage("/bin/false");
    use_it();
    node.manage("/bin/cat");
    use_it();
    node.node_manager("start", json!({"class": CLASS, "conf": {}}));
    use_it();
    assert!(node.peer.logs("set spark.sealed.handover.socket"), "it says what is missing");
}

/// NodeManagers run on it, and what the tests run on would not show what it lacks.
#[test]
fn the_service_is_made_for_java_8() {
    const JAVA_8: u8 = 52;
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../yarn/src/sealedshuffle/yarn");
    let sources =
        fs::read_dir(sources).expect("the sources are there").map(|entry| entry.expect("readable").path());
    let into = TempDir::with_prefix("interop-yarn-").expect("the temporary directory is writable");
    let jars = Spark::release(MODES[0].version).home().join("jars/*");
    let mut javac = Command::new(java_home().join("bin/javac"));
    javac.args(["--release", "8", "-nowarn", "-d"]).arg(into.path()).arg("-cp").arg(jars).args(sources);
    let output = javac.output().expect("javac runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let class =
        fs::read(into.path().join("sealedshuffle/yarn/HandOverService.class")).expect("it was compiled");
    assert_eq!(class[7], JAVA_8, "the major version of a class file is its seventh and eighth byte");
}
