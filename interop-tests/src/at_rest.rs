//! A running application whose files lie on disk (`python/at_rest.py`), with or without `spark.io.encryption`, and
//! Spark's own streams of it (`jvm/IoStreams.java`).

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    application::{JAVA_OPTIONS, private_home},
    merging::files,
    process::Process,
    python::Program,
    server::{binary, clean_environment},
    service::{Fixture, SECRET},
    spark::{Spark, run},
    turn::Turn,
};

const PROGRAM: Program = Program { file: "at_rest.py", text: include_str!("../python/at_rest.py") };
const START_LIMIT: Duration = Duration::from_secs(240);

/// The application, alive until dropped; its files are beneath the root of its shuffle service.
#[derive(Debug)]
pub struct AtRest {
    /// The key in hexadecimal, where encryption is on.
    pub key: Option<String>,
    /// Names of cached blocks on disk.
    pub cached: Vec<String>,
    /// What it computed.
    pub result: String,
    root: PathBuf,
    _process: Process,
    _turn: Turn,
    _dir: TempDir,
}

impl AtRest {
    /// Starts it on `local-cluster` with two executors, through the service of `fixture`, and waits until it has
    /// computed.
    pub fn start(fixture: &Fixture, conf: &[(&str, &str)]) -> Self {
        let mode = &fixture.mode;
        let release = Spark::release(mode.version);
        let turn = Turn::wait();
        let dir = TempDir::with_prefix("interop-at-rest-").expect("the temporary directory is writable");
        let home = private_home(&release, dir.path());
        let mut keys: serde_json::Map<String, Value> =
            mode.client_conf().into_iter().map(|(key, value)| (key.to_owned(), json!(value))).collect();
        let port = fixture.address().port().to_string();
        let fixed = [
            ("spark.authenticate.secret", SECRET),
            ("spark.driver.host", "127.0.0.1"),
            ("spark.driver.extraClassPath", &release.classes().to_string_lossy()),
            ("spark.driver.extraJavaOptions", JAVA_OPTIONS),
            ("spark.executor.extraJavaOptions", JAVA_OPTIONS),
            // What is computed is to stay: neither the collector of unused shuffles nor the end of a query removes it.
            ("spark.cleaner.referenceTracking", "false"),
            ("spark.sql.classic.shuffleDependency.fileCleanup.enabled", "false"),
            ("spark.shuffle.readHostLocalDisk", "false"),
            ("spark.shuffle.service.enabled", "true"),
            ("spark.shuffle.service.port", &port),
            ("spark.sql.adaptive.enabled", "false"),
            ("spark.sql.codegen.wholeStage", "false"),
            ("spark.ui.enabled", "false"),
            ("spark.ui.showConsoleProgress", "false"),
        ];
        for (key, value) in fixed.iter().chain(conf) {
            keys.insert((*key).to_owned(), json!(value));
        }
        let options = json!({"master": "local-cluster[2,1,1024]", "conf": keys});
        let name = format!("the application at rest on Spark {}", mode.version);
        let mut process = PROGRAM.start(&name, &release, &home, &options, fixture.root());
        let ready = process.wait_for(START_LIMIT, |line| line.strip_prefix("READY ").map(str::to_owned));
        let ready: Value = serde_json::from_str(&ready).expect("the line is JSON");
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Self {
            key: text(&ready["key"]),
            cached: ready["cached"].as_array().into_iter().flatten().filter_map(text).collect(),
            result: text(&ready["result"]).expect("a result"),
            root: fixture.root().to_owned(),
            _process: process,
            _turn: turn,
            _dir: dir,
        }
    }

    /// Files of its block managers whose names `wanted` accepts, by path.
    pub fn files(&self, wanted: impl Fn(&str) -> bool) -> BTreeMap<PathBuf, Vec<u8>> {
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let read = |path: PathBuf| {
            let content = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            (path, content)
        };
        let all = files(&self.root).into_iter();
        all.filter(|path| name(path).is_some_and(|name| wanted(&name))).map(read).collect()
    }

    /// `sealed-shuffle` with the key in the environment.
    pub fn command(&self, arguments: &[&str]) -> Output {
        command_with_key(self.key.as_deref(), arguments)
    }
}

/// `sealed-shuffle` with a key in the environment, and nothing else of this process's.
pub fn command_with_key(key: Option<&str>, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    clean_environment(&mut command);
    if let Some(key) = key {
        command.env("SPARK_IO_ENCRYPTION_KEY", key);
    }
    command.args(arguments).output().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"))
}

/// What Spark's own streams are to do.
#[derive(Clone, Copy, Debug)]
pub enum Stream {
    /// Decrypt the first file into the second.
    Read,
    /// Encrypt the second file into the first.
    Write,
    /// Encrypt the second file into the first as a spill of three segments, and compress these into a third, whose name
    /// is the second's with `.lz4`.
    Spill,
}

/// Runs Spark's own streams: what, key in hexadecimal, encrypted file, plain file.
pub fn spark_streams(version: &str, work: &[(Stream, &str, &Path, &Path)]) {
    let mut java = Spark::release(version).java();
    java.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "IoStreams"]);
    for (what, key, sealed, plain) in work {
        let what = match what {
            Stream::Read => "read",
            Stream::Write => "write",
            Stream::Spill => "spill",
        };
        java.args([what, key]).args([sealed, plain]);
    }
    run(&mut java, || format!("Spark's streams of {version} fail"));
}
