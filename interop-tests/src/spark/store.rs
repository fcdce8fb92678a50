//! Spark's block store client, which executors and drivers use, request by request.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use serde_json::{Value, json};

use super::{
    exchange::{Credentials, Outcome},
    peer::Peer,
};
use crate::oracle::{Executor, SORT_MANAGER, merging_manager};

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
        let name = Outcome::of(peer.call(command)).name();
        Self { peer: Arc::clone(peer), name, address }
    }

    /// `registerWithShuffleServer`.
    pub fn register(&self, exec: &str, executor: &Executor) -> Outcome {
        self.register_with(exec, executor, SORT_MANAGER)
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
        self.register_with(exec, executor, &merging_manager(attempt))
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

    fn register_with(&self, exec: &str, executor: &Executor, manager: &str) -> Outcome {
        self.run(json!({"cmd": "register", "exec": exec, "dirs": executor.dir_names(),
            "sub_dirs": executor.sub_dirs, "manager": manager}))
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
