//! The shuffle that is served, and the client that asks for it.

use std::path::Path;
use std::process::Command;

use sealed_shuffle_interop_tests::oracle::{Executor, content};
use sealed_shuffle_interop_tests::service::APP;
use sealed_shuffle_interop_tests::spark::Spark;
use serde_json::Value;
use tempfile::TempDir;

use crate::case::{Case, Work};
use crate::options::Options;

const MAPS: u32 = 80;
const REDUCES: u32 = 100;
const BLOCK: usize = 128 << 10;
/// Threads of the client that open connections; more would measure a queue.
const HANDSHAKES_AT_ONCE: usize = 4;

/// About 1 GiB in blocks of 128 KiB. A request takes one partition of every map, as reducers do: 10 MiB, what
/// Spark asks one service for at once by default (a fifth of `spark.reducer.maxSizeInFlight`).
pub(crate) struct Shuffle {
    root: TempDir,
    executor: Executor,
}

impl Shuffle {
    /// Writes it; having been written just now, it is in the page cache.
    pub(crate) fn write() -> Self {
        let root = TempDir::with_prefix("serve-cost-").expect("the temporary directory is writable");
        let executor = Executor::beneath(root.path(), "1");
        let partitions: Vec<Vec<u8>> = (0..u64::from(REDUCES)).map(|reduce| content(reduce, BLOCK)).collect();
        (0..u64::from(MAPS)).for_each(|map| executor.write_map(0, map, &partitions));
        Self { root, executor }
    }

    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    /// What is served, for the report.
    pub(crate) fn describe(&self) -> String {
        format!("{MAPS} maps of {REDUCES} blocks of {} KiB, {MAPS} blocks a request", BLOCK >> 10)
    }
}

/// One run of Spark's client.
pub(crate) struct Load<'a> {
    pub(crate) spark: &'a Spark,
    pub(crate) shuffle: &'a Shuffle,
    pub(crate) case: &'a Case,
    pub(crate) port: u16,
    pub(crate) options: &'a Options,
}

impl Load<'_> {
    /// The client's process (`jvm/Bench.java`).
    pub(crate) fn command(&self) -> Command {
        let mut command = self.spark.java();
        command.args(["-Xmx1g", "Bench"]);
        command.arg(format!("port={}", self.port));
        command.arg(format!("app={APP}"));
        command.arg("exec=1");
        command.arg(format!("dirs={}", self.shuffle.executor.dir_names().join(",")));
        command.arg(format!("sub_dirs={}", self.shuffle.executor.sub_dirs));
        match self.case.work {
            Work::Blocks => {
                command.arg(format!("connections={}", self.options.connections));
                command.arg(format!("bytes={}", self.options.bytes));
                command.args([format!("maps={MAPS}"), format!("reduces={REDUCES}")]);
                command.arg("reduces_per_request=1");
            }
            Work::Handshakes => {
                command.arg(format!("connections={HANDSHAKES_AT_ONCE}"));
                command.arg(format!("handshakes={}", self.options.handshakes));
            }
        }
        command.args(self.case.secret().map(|secret| format!("secret={secret}")));
        command.args(self.case.client_conf().iter().map(|(key, value)| format!("{key}={value}")));
        command
    }
}

/// What the client says in the end.
pub(crate) struct Answer {
    /// GB (10^9 bytes) of blocks, or thousands of connections.
    pub(crate) amount: f64,
    pub(crate) seconds: f64,
}

/// The client's line of JSON.
pub(crate) fn answer(line: &str) -> Option<Answer> {
    let value: Value = serde_json::from_str(line).ok()?;
    let bytes = value["bytes"].as_f64().map(|bytes| bytes / 1e9);
    let amount = bytes.or_else(|| value["handshakes"].as_f64().map(|count| count / 1e3))?;
    Some(Answer { amount, seconds: value["seconds"].as_f64()? })
}
