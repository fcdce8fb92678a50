//! A JVM with Spark's own network classes (`jvm/SparkClient.java`), told what to do by one JSON line a command.
//!
//! Starting a JVM costs a second or two, so a test binary shares one per Spark version: commands carry ids and run
//! side by side, and every test opens connections and services of its own.

use std::{
    collections::{BTreeMap, HashMap},
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::release::Spark;
use crate::{
    machine::Lines,
    modes::{Abilities, Gcm},
};

const ANSWER_LIMIT: Duration = Duration::from_secs(120);
/// How far a line of the log may come behind what it tells of.
const LOG_LIMIT: Duration = Duration::from_secs(10);

/// The JVM's handle. It ends when its standard input closes, which the end of the test process does too.
#[derive(Debug)]
pub struct Peer {
    spark: Spark,
    child: Child,
    input: Mutex<ChildStdin>,
    waiting: Arc<Mutex<HashMap<String, Sender<Value>>>>,
    next: AtomicU64,
    log: Lines,
}

impl Peer {
    /// The JVM of this version that the tests of one binary share.
    pub fn shared(version: &str) -> Arc<Self> {
        static PEERS: Mutex<BTreeMap<String, Slot>> = Mutex::new(BTreeMap::new());
        let slot = {
            let mut peers = locked(&PEERS);
            peers.entry(version.to_owned()).or_default().clone()
        };
        Arc::clone(slot.0.get_or_init(|| Arc::new(Self::start(Spark::release(version)))))
    }

    /// Starts a JVM.
    pub fn start(spark: Spark) -> Self {
        Self::start_with(spark, &[])
    }

    /// Starts a JVM with further system properties, `KEY=VALUE`.
    pub fn start_with(spark: Spark, properties: &[&str]) -> Self {
        let mut command: Command = spark.java();
        command.args(properties.iter().map(|property| format!("-D{property}")));
        let mut child = command
            .arg("-XX:+UseSerialGC")
            .arg("-XX:TieredStopAtLevel=1")
            .arg("-Xmx768m")
            .arg("SparkClient")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
        let input = Mutex::new(child.stdin.take().expect("standard input is a pipe"));
        let output = child.stdout.take().expect("standard output is a pipe");
        let log = Lines::of(child.stderr.take().expect("standard error is a pipe"));
        let waiting = Arc::default();
        deliver(output, Arc::clone(&waiting));
        let peer = Self { spark, child, input, waiting, next: AtomicU64::new(1), log };
        peer.call(serde_json::json!({"cmd": "ping"}));
        peer
    }

    /// The release whose classes run in this JVM.
    pub fn spark(&self) -> &Spark {
        &self.spark
    }

    /// Runs one command (an object with `cmd`) and waits for its answer.
    pub fn call(&self, mut command: Value) -> Value {
        let id = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        command["id"] = Value::String(id.clone());
        let (sender, receiver): (_, Receiver<Value>) = channel();
        locked(&self.waiting).insert(id, sender);
        let sent = writeln!(locked(&self.input), "{command}");
        assert!(sent.is_ok(), "the JVM has gone: {command}\n{}", self.tail());
        receiver
            .recv_timeout(ANSWER_LIMIT)
            .unwrap_or_else(|e| panic!("no answer from the JVM to {command}: {e}\n{}", self.tail()))
    }

    /// Whether the JVM logs a text, now or soon.
    pub fn logs(&self, text: &str) -> bool {
        let deadline = Instant::now() + LOG_LIMIT;
        while Instant::now() < deadline {
            if self.log.all().iter().any(|line| line.contains(text)) {
                return true;
            }
            self.log.changed(Duration::from_millis(20));
        }
        false
    }

    /// What this build of Spark can speak, told from its classes.
    pub fn abilities(&self) -> Abilities {
        let answer = self.call(serde_json::json!({"cmd": "abilities"}));
        let has = |what: &str| answer[what].as_bool().unwrap_or_else(|| panic!("no {what} in {answer}"));
        let gcm = match answer["gcm"].as_str() {
            Some("absent") => Gcm::Absent,
            Some("broken") => Gcm::Broken,
            Some("sound") => Gcm::Sound,
            _ => panic!("no gcm in {answer}"),
        };
        Abilities { x25519: has("x25519"), engines: has("engines"), gcm, tls: has("tls") }
    }

    fn tail(&self) -> String {
        self.log.tail(60)
    }
}

/// The place of one version's JVM, which the first caller fills while others of the same version wait.
#[derive(Clone, Default)]
struct Slot(Arc<OnceLock<Arc<Peer>>>);

impl Drop for Peer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Hands each answer to the caller that waits for its id; at the end of the output all callers learn it.
fn deliver(output: ChildStdout, waiting: Arc<Mutex<HashMap<String, Sender<Value>>>>) {
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let Ok(answer) = serde_json::from_str::<Value>(&line) else {
                continue;
            };
            let caller = answer["id"].as_str().and_then(|id| locked(&waiting).remove(id));
            if let Some(caller) = caller {
                // A caller that gave up has already failed its test.
                caller.send(answer).ok();
            }
        }
        locked(&waiting).clear();
    });
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
