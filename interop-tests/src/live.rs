//! A running application whose driver and executors hold blocks of every kind (`python/live.py`): the peers of
//! clients that fetch from live block managers.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    application::{JAVA_OPTIONS, private_home},
    mode::Mode,
    process::Process,
    python::Program,
    spark::Spark,
    turn::Turn,
};

const PROGRAM: Program = Program { file: "live.py", text: include_str!("../python/live.py") };
const START_LIMIT: Duration = Duration::from_secs(240);

/// The application, alive until dropped.
#[derive(Debug)]
pub struct Live {
    /// Its application id, which clients authenticate as.
    pub app: String,
    /// The driver's block manager.
    pub driver: SocketAddr,
    /// Executor id to block manager.
    pub executors: BTreeMap<String, SocketAddr>,
    /// Map ids of shuffle 0 (3 partitions) and the executor that wrote them.
    pub maps: Vec<(u64, String)>,
    /// A block persisted on disk and its executor.
    pub rdd_disk: (String, String),
    /// A block persisted in memory and its executor.
    pub rdd_memory: (String, String),
    /// The id of a broadcast value whose piece 0 the driver holds.
    pub broadcast: u64,
    local: PathBuf,
    _process: Process,
    _turn: Turn,
    _dir: TempDir,
}

impl Live {
    /// Starts it on `local-cluster` with two executors, authenticated and sealed as `mode` says.
    pub fn start(mode: &Mode, secret: &str) -> Self {
        let release = Spark::release(mode.version);
        let turn = Turn::wait();
        let dir = TempDir::with_prefix("interop-live-").expect("the temporary directory is writable");
        let home = private_home(&release, dir.path());
        let local = dir.path().join("local");
        let mut conf: serde_json::Map<String, Value> =
            mode.client_conf().into_iter().map(|(key, value)| (key.to_owned(), json!(value))).collect();
        for (key, value) in [
            ("spark.authenticate.secret", secret),
            ("spark.driver.host", "127.0.0.1"),
            ("spark.driver.extraClassPath", &release.classes().to_string_lossy()),
            ("spark.driver.extraJavaOptions", JAVA_OPTIONS),
            ("spark.executor.extraJavaOptions", JAVA_OPTIONS),
            ("spark.ui.enabled", "false"),
            ("spark.ui.showConsoleProgress", "false"),
        ] {
            conf.insert(key.to_owned(), json!(value));
        }
        let options = json!({"master": "local-cluster[2,1,1024]", "conf": conf});
        let name = format!("the live application on Spark {}", mode.version);
        let mut process = PROGRAM.start(&name, &release, &home, &options, &local);
        let ready = process.wait_for(START_LIMIT, |line| line.strip_prefix("READY ").map(str::to_owned));
        let ready: Value = serde_json::from_str(&ready).expect("the line is JSON");
        Self {
            app: text(&ready["app"]),
            driver: address(&ready["driver"]),
            executors: ready["executors"]
                .as_object()
                .expect("executors by id")
                .iter()
                .map(|(id, at)| (id.clone(), address(at)))
                .collect(),
            maps: ready["maps"]
                .as_array()
                .expect("a list of maps")
                .iter()
                .map(|map| (map["map"].as_u64().expect("map ids are numbers"), text(&map["executor"])))
                .collect(),
            rdd_disk: (text(&ready["rdd_disk"]["block"]), text(&ready["rdd_disk"]["executor"])),
            rdd_memory: (text(&ready["rdd_memory"]["block"]), text(&ready["rdd_memory"]["executor"])),
            broadcast: ready["broadcast"].as_u64().expect("broadcast ids are numbers"),
            local,
            _process: process,
            _turn: turn,
            _dir: dir,
        }
    }

    /// The content of one partition of a map output, read from the executor's own files.
    pub fn partition(&self, map: u64, reduce: usize) -> Vec<u8> {
        let index = self.file(&format!("shuffle_0_{map}_0.index"));
        let ends: Vec<usize> = index
            .chunks_exact(8)
            .map(|row| u64::from_be_bytes(row.try_into().expect("rows of eight")))
            .map(|end| usize::try_from(end).expect("test files are small"))
            .collect();
        self.file(&format!("shuffle_0_{map}_0.data"))[ends[reduce]..ends[reduce + 1]].to_vec()
    }

    /// The content of a file of this name in any executor's directories.
    pub fn file(&self, name: &str) -> Vec<u8> {
        let path =
            find(&self.local, name).unwrap_or_else(|| panic!("no {name} beneath {}", self.local.display()));
        fs::read(&path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()))
    }
}

fn find(dir: &Path, name: &str) -> Option<PathBuf> {
    let entries: Vec<PathBuf> = fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path()).collect();
    let here = entries.iter().find(|path| path.file_name().is_some_and(|n| n == name)).cloned();
    here.or_else(|| entries.iter().filter(|path| path.is_dir()).find_map(|path| find(path, name)))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not text: {value}")).to_owned()
}

fn address(value: &Value) -> SocketAddr {
    text(value).parse().unwrap_or_else(|e| panic!("no address: {value}: {e}"))
}
