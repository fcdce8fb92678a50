//! Spark's clients, request by request: a raw connection and the block store client, both living in a [`Peer`].

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use serde_json::{Value, json};

use crate::{
    mode::Mode,
    oracle::{Digest, Executor},
    peer::Peer,
};

/// The shuffle manager that real executors name when they register.
pub const SORT_MANAGER: &str = "org.apache.spark.shuffle.sort.SortShuffleManager";

/// What to present on connecting.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The application id of the handshake.
    pub app: String,
    /// The secret, or none to speak without authentication.
    pub secret: Option<String>,
    /// Transport keys.
    pub conf: Vec<(String, String)>,
}

impl Credentials {
    /// The application's own, in the given mode; the secret is left out where nothing is proven.
    pub fn new(mode: &Mode, app: &str, secret: &str) -> Self {
        let conf = mode.client_conf().into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Self { app: app.to_owned(), secret: mode.authenticates().then(|| secret.to_owned()), conf }
    }

    /// No authentication at all.
    pub fn none(app: &str) -> Self {
        Self { app: app.to_owned(), secret: None, conf: Vec::new() }
    }

    /// The same with one more key.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.conf.push((key.to_owned(), value.to_owned()));
        self
    }

    fn describe(&self) -> Value {
        let conf: serde_json::Map<String, Value> =
            self.conf.iter().map(|(key, value)| (key.clone(), Value::String(value.clone()))).collect();
        json!({"app": self.app, "secret": self.secret, "conf": conf})
    }
}

/// Why Spark's client says that something failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The Java class of the exception.
    pub class: String,
    /// Its message, word for word, remote stack trace included.
    pub message: String,
    /// Messages of its causes.
    pub causes: Vec<String>,
}

impl Failure {
    fn of(error: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let causes =
            error["causes"].as_array().into_iter().flatten().map(|cause| text(&cause["message"])).collect();
        Self { class: text(&error["class"]), message: text(&error["message"]), causes }
    }

    /// The first line of what the service said, without what the client put in front.
    pub fn text(&self) -> &str {
        let line = self.message.lines().next().unwrap_or_default();
        if line.starts_with("Failure while fetching StreamChunkId") {
            return line.split_once("]: ").map_or(line, |(_, text)| text);
        }
        line
    }

    /// Whether the connection went away, which Spark's clients retry, rather than an answer saying no.
    pub fn is_disconnect(&self) -> bool {
        let io = ["java.io.IOException", "java.nio.channels.ClosedChannelException"];
        io.contains(&self.class.as_str())
            || self.message.contains("closed") && self.class.contains("IOException")
    }
}

/// The answer to one request: received, refused, or nothing within the time given.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The decoded answer.
    Answer(Value),
    /// An exception.
    Failed(Failure),
    /// Nothing came.
    Silence,
}

impl Outcome {
    fn of(answer: Value) -> Self {
        if answer["timeout"].as_bool() == Some(true) {
            return Self::Silence;
        }
        match answer.get("error") {
            Some(error) => Self::Failed(Failure::of(error)),
            None => Self::Answer(answer),
        }
    }

    /// The answer, or a panic with the failure.
    #[track_caller]
    pub fn answer(self) -> Value {
        match self {
            Self::Answer(value) => value,
            other => panic!("no answer but {other:?}"),
        }
    }

    /// The failure, or a panic with the answer.
    #[track_caller]
    pub fn failure(self) -> Failure {
        match self {
            Self::Failed(failure) => failure,
            other => panic!("no failure but {other:?}"),
        }
    }

    /// Length and hash of the bytes received.
    #[track_caller]
    pub fn digest(self) -> Digest {
        Digest::received(&self.answer())
    }
}

/// An open stream as the service announced it.
#[derive(Clone, Debug)]
pub struct Stream {
    /// The id in decimal.
    pub id: String,
    /// How many chunks it has.
    pub chunks: u64,
}

/// One connection of Spark's `TransportClient`.
#[derive(Debug)]
pub struct Connection {
    peer: Arc<Peer>,
    name: String,
}

impl Connection {
    /// Connects and authenticates.
    pub fn open(peer: &Arc<Peer>, address: SocketAddr, credentials: &Credentials) -> Result<Self, Failure> {
        let mut command = credentials.describe();
        command["cmd"] = json!("open");
        command["host"] = json!(address.ip().to_string());
        command["port"] = json!(address.port());
        match Outcome::of(peer.call(command)) {
            Outcome::Failed(failure) => Err(failure),
            outcome => Ok(Self { peer: Arc::clone(peer), name: name_of(&outcome.answer()) }),
        }
    }

    /// Sends one block-transfer message (see `jvm/Messages.java`) as an RPC.
    pub fn rpc(&self, message: Value) -> Outcome {
        self.run(json!({"cmd": "rpc", "message": message}))
    }

    /// Sends raw bytes as the body of an RPC and waits no longer than `limit_ms`.
    pub fn rpc_bytes(&self, hex: &str, limit_ms: u64) -> Outcome {
        self.run(json!({"cmd": "rpc", "message": {"hex": hex}, "timeout_ms": limit_ms}))
    }

    /// Sends a message that is never answered.
    pub fn one_way(&self, message: Value) {
        self.run(json!({"cmd": "one-way", "message": message})).answer();
    }

    /// Sends a message with a body after the frame.
    pub fn upload(&self, message: Value, data_hex: &str) -> Outcome {
        self.run(json!({"cmd": "upload", "message": message, "data": data_hex}))
    }

    /// Asks for the bitmaps of a merged block.
    pub fn merged_meta(&self, app: &str) -> Outcome {
        self.run(json!({"cmd": "merged-meta", "app": app, "shuffle": 0, "merge": 0, "reduce": 0}))
    }

    /// Registers an executor.
    pub fn register(&self, app: &str, exec: &str, executor: &Executor) -> Outcome {
        self.register_dirs(app, exec, &executor.dir_names(), executor.sub_dirs)
    }

    /// Registers an executor with directories as they are given.
    pub fn register_dirs(&self, app: &str, exec: &str, dirs: &[String], sub_dirs: u32) -> Outcome {
        self.rpc(
            json!({"type": "RegisterExecutor", "app": app, "exec": exec, "dirs": dirs, "sub_dirs": sub_dirs,
            "manager": SORT_MANAGER}),
        )
    }

    /// Opens a stream, whatever the message.
    #[track_caller]
    pub fn open_stream(&self, message: Value) -> Stream {
        let answer = self.rpc(message).answer();
        assert_eq!(answer["type"], "StreamHandle", "{answer}");
        let id = answer["stream"].as_str().expect("a handle has an id").to_owned();
        Stream { id, chunks: answer["chunks"].as_u64().expect("a handle has a count") }
    }

    /// Requests chunks back to back; one outcome each, in order.
    pub fn chunks(&self, stream: &Stream, indices: impl IntoIterator<Item = i64>) -> Vec<Outcome> {
        let indices: Vec<i64> = indices.into_iter().collect();
        let answer = self.run(json!({"cmd": "chunks", "stream": stream.id, "indices": indices})).answer();
        answer["chunks"].as_array().expect("a list of chunks").iter().cloned().map(Outcome::of).collect()
    }

    /// Requests one chunk.
    pub fn chunk(&self, stream: &Stream, index: i64) -> Outcome {
        self.chunks(stream, [index]).pop().expect("one outcome a chunk")
    }

    /// Requests a stream by its name, `STREAM_CHUNK` for a chunk to disk.
    pub fn stream(&self, name: &str) -> Outcome {
        self.run(json!({"cmd": "stream", "stream": name}))
    }

    /// Whether the connection is still up.
    pub fn is_active(&self) -> bool {
        self.run(json!({"cmd": "active"})).answer()["active"] == true
    }

    /// Waits until the service has closed the connection.
    pub fn is_closed_within(&self, limit_ms: u64) -> bool {
        self.run(json!({"cmd": "await-closed", "timeout_ms": limit_ms})).answer()["closed"] == true
    }

    fn run(&self, mut command: Value) -> Outcome {
        command["conn"] = json!(self.name);
        Outcome::of(self.peer.call(command))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.run(json!({"cmd": "close"})).answer();
        }
    }
}

/// Spark's `ExternalBlockStoreClient`: what executors and drivers use a shuffle service through.
#[derive(Debug)]
pub struct Store {
    peer: Arc<Peer>,
    name: String,
    address: SocketAddr,
}

impl Store {
    /// Makes a client; it connects on first use.
    pub fn open(peer: &Arc<Peer>, address: SocketAddr, credentials: &Credentials) -> Self {
        let mut command = credentials.describe();
        command["cmd"] = json!("store-open");
        let name = name_of(&Outcome::of(peer.call(command)).answer());
        Self { peer: Arc::clone(peer), name, address }
    }

    /// `registerWithShuffleServer`.
    pub fn register(&self, exec: &str, executor: &Executor) -> Outcome {
        self.run(json!({"cmd": "register", "exec": exec, "dirs": executor.dir_names(),
            "sub_dirs": executor.sub_dirs, "manager": SORT_MANAGER}))
    }

    /// `fetchBlocks`, in memory or, with a download file manager, to files.
    pub fn fetch(&self, exec: &str, blocks: &[String], to_disk: bool) -> BTreeMap<String, Outcome> {
        let answer =
            self.run(json!({"cmd": "fetch", "exec": exec, "blocks": blocks, "to_disk": to_disk})).answer();
        assert_eq!(answer["complete"], true, "some blocks had no outcome: {answer}");
        let outcomes = answer["blocks"].as_object().expect("outcomes by block");
        outcomes.iter().map(|(block, outcome)| (block.clone(), Outcome::of(outcome.clone()))).collect()
    }

    /// `removeBlocks`.
    pub fn remove(&self, exec: &str, blocks: &[String]) -> Outcome {
        self.run(json!({"cmd": "remove", "exec": exec, "blocks": blocks}))
    }

    /// `getHostLocalDirs`.
    pub fn local_dirs(&self, execs: &[&str]) -> Outcome {
        self.run(json!({"cmd": "local-dirs", "execs": execs}))
    }

    /// `diagnoseCorruption`: the name of the cause.
    pub fn diagnose(&self, exec: &str, block: (u32, u64, u32), checksum: u64, algorithm: &str) -> String {
        let (shuffle, map, reduce) = block;
        let answer = self
            .run(json!({"cmd": "diagnose", "exec": exec, "shuffle": shuffle, "map": map, "reduce": reduce,
                "checksum": checksum, "algorithm": algorithm}))
            .answer();
        answer["cause"].as_str().expect("a cause has a name").to_owned()
    }

    /// Registers an executor of an attempt that merges, as YARN's do.
    pub fn register_merging(&self, exec: &str, executor: &Executor, attempt: i32) -> Outcome {
        let manager =
            format!(r#"{SORT_MANAGER}:{{"mergeDir":"merge_manager_{attempt}","attemptId":"{attempt}"}}}}}}"#);
        self.run(json!({"cmd": "register", "exec": exec, "dirs": executor.dir_names(),
            "sub_dirs": executor.sub_dirs, "manager": manager}))
    }

    /// `setAppAttemptId`.
    pub fn set_attempt(&self, attempt: i32) {
        self.run(json!({"cmd": "attempt", "attempt": attempt.to_string()})).answer();
    }

    /// `pushBlocks`: the name of each block's return code, or how it failed otherwise.
    pub fn push(&self, blocks: &[(String, Vec<u8>)]) -> BTreeMap<String, String> {
        let hex = |data: &[u8]| data.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let blocks: Vec<Value> =
            blocks.iter().map(|(name, data)| json!({"name": name, "data": hex(data)})).collect();
        let answer = self.run(json!({"cmd": "push", "blocks": blocks})).answer();
        assert_eq!(answer["complete"], true, "some blocks had no outcome: {answer}");
        let outcomes = answer["blocks"].as_object().expect("outcomes by block");
        let text =
            |outcome: &Value| outcome["code"].as_str().map_or_else(|| outcome.to_string(), str::to_owned);
        outcomes.iter().map(|(block, outcome)| (block.clone(), text(outcome))).collect()
    }

    /// `finalizeShuffleMerge`: size and map indexes of each reduce partition.
    pub fn finalize(&self, shuffle: i32, merge: i32) -> Outcome {
        self.run(json!({"cmd": "finalize", "shuffle": shuffle, "merge": merge}))
    }

    /// `getMergedBlockMeta`: the map indexes of each chunk.
    pub fn merged(&self, shuffle: i32, merge: i32, reduce: i32) -> Outcome {
        self.run(json!({"cmd": "merged", "shuffle": shuffle, "merge": merge, "reduce": reduce}))
    }

    /// `removeShuffleMerge` (Spark 3.4 and later), which nobody answers.
    pub fn remove_merge(&self, shuffle: i32, merge: i32) -> Outcome {
        self.run(json!({"cmd": "remove-merge", "shuffle": shuffle, "merge": merge}))
    }

    fn run(&self, mut command: Value) -> Outcome {
        command["store"] = json!(self.name);
        command["host"] = json!(self.address.ip().to_string());
        command["port"] = json!(self.address.port());
        Outcome::of(self.peer.call(command))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.run(json!({"cmd": "store-close"})).answer();
        }
    }
}

fn name_of(answer: &Value) -> String {
    answer["name"].as_str().expect("what is opened has a name").to_owned()
}
