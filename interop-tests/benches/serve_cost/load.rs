//! The shuffle that is served, and the clients that ask for it.

use std::path::Path;
use std::process::Command;

use sealed_shuffle_interop_tests::oracle::{Executor, content};
use sealed_shuffle_interop_tests::service::{APP, Service};
use sealed_shuffle_interop_tests::spark::Spark;
use serde_json::Value;
use tempfile::TempDir;

use crate::case::{Case, Work};
use crate::our_client;

/// Threads of the client that open connections; more would measure a queue.
const HANDSHAKES_AT_ONCE: usize = 4;

/// Map outputs of one shape. A request takes one partition of every map, as reducers do.
pub(crate) struct Layout {
    /// The shuffle's id.
    pub(crate) shuffle: u32,
    maps: u32,
    reduces: u32,
    block: usize,
}

/// About 1 GiB. A request is 10 MiB, what Spark asks one service for at once by default (a fifth of
/// `spark.reducer.maxSizeInFlight`).
pub(crate) const LARGE: Layout = Layout { shuffle: 0, maps: 80, reduces: 100, block: 128 << 10 };
/// 64 blocks a request, 128 MB in all.
pub(crate) const SMALL: Layout = Layout { shuffle: 1, maps: 64, reduces: 1000, block: 2 << 10 };
/// A request is 32 MiB.
pub(crate) const HUGE: Layout = Layout { shuffle: 2, maps: 8, reduces: 8, block: 4 << 20 };

impl Layout {
    /// What a piece of work asks for.
    pub(crate) fn of(work: Work) -> &'static Self {
        if work == Work::SmallBlocks { &SMALL } else { &LARGE }
    }

    /// For the report.
    pub(crate) fn describe(&self) -> String {
        let Self { maps, reduces, block, .. } = self;
        format!("{maps} maps of {reduces} blocks of {} KiB, {maps} blocks a request", block >> 10)
    }
}

/// All layouts on disk, of one executor.
pub(crate) struct Shuffle {
    root: TempDir,
    executor: Executor,
}

impl Shuffle {
    /// Writes it; having been written just now, it is in the page cache.
    pub(crate) fn write() -> Self {
        let root = TempDir::with_prefix("serve-cost-").expect("the temporary directory is writable");
        let executor = Executor::beneath(root.path(), "1");
        for Layout { shuffle, maps, reduces, block } in [LARGE, SMALL, HUGE] {
            let partitions: Vec<Vec<u8>> =
                (0..u64::from(reduces)).map(|reduce| content(reduce, block)).collect();
            (0..u64::from(maps)).for_each(|map| executor.write_map(shuffle, map, &partitions));
        }
        Self { root, executor }
    }

    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }
}

/// What a client does.
#[derive(Clone, Copy)]
pub(crate) enum Task {
    /// Takes so many bytes of blocks, after others for which no clock runs.
    Take { layout: &'static Layout, bytes: u64, warm_up: u64 },
    /// Opens so many connections one after the other and closes them.
    Handshakes(usize),
    /// Opens its connections and keeps them; ours alone.
    Hold,
}

/// One run of a client.
pub(crate) struct Load<'a> {
    pub(crate) spark: &'a Spark,
    pub(crate) shuffle: &'a Shuffle,
    pub(crate) case: &'a Case,
    pub(crate) port: u16,
    pub(crate) connections: usize,
    pub(crate) task: Task,
}

impl Load<'_> {
    /// The client's process: `jvm/Bench.java`, or this program as [`our_client`]. Both take the same words.
    pub(crate) fn command(&self, client: Service) -> Command {
        let mut command = match client {
            Service::Ours => our_client::command(self.case),
            Service::Spark => {
                let mut java = self.spark.java();
                java.args(["-Xmx1g", "Bench"]);
                java.args(self.case.secret().map(|secret| format!("secret={secret}")));
                java.args(self.case.client_conf().iter().map(|(key, value)| format!("{key}={value}")));
                java
            }
        };
        command.arg(format!("port={}", self.port));
        command.arg(format!("app={APP}"));
        command.arg("exec=1");
        command.arg(format!("dirs={}", self.shuffle.executor.dir_names().join(",")));
        command.arg(format!("sub_dirs={}", self.shuffle.executor.sub_dirs));
        match self.task {
            Task::Take { layout: Layout { shuffle, maps, reduces, .. }, bytes, warm_up } => {
                command.arg(format!("connections={}", self.connections));
                command.args([format!("bytes={bytes}"), format!("warm_up={warm_up}")]);
                command.args([
                    format!("shuffle={shuffle}"),
                    format!("maps={maps}"),
                    format!("reduces={reduces}"),
                ]);
                command.arg("reduces_per_request=1");
            }
            Task::Handshakes(count) => {
                command.arg(format!("connections={HANDSHAKES_AT_ONCE}"));
                command.arg(format!("handshakes={count}"));
            }
            Task::Hold => _ = command.arg(format!("connections={}", self.connections)),
        }
        command
    }
}

/// What the client says in the end.
pub(crate) struct Answer {
    /// What the service's costs are divided by: GB (10^9 bytes), millions of small blocks, thousands of connections.
    pub(crate) amount: f64,
    /// GB, or thousands of connections, in a second.
    pub(crate) rate: f64,
    /// Of the client's whole process, where it says so.
    pub(crate) client_cpu: Option<f64>,
}

/// The client's line of JSON.
pub(crate) fn answer(line: &str, work: Work) -> Option<Answer> {
    let value: Value = serde_json::from_str(line).ok()?;
    let of = |key: &str| value[key].as_f64();
    let amount = match work {
        Work::Blocks => of("bytes")? / 1e9,
        Work::SmallBlocks => of("blocks")? / 1e6,
        Work::Handshakes => of("handshakes")? / 1e3,
    };
    let timed = of("timed_bytes").map_or(amount, |bytes| bytes / 1e9);
    Some(Answer { amount, rate: timed / of("seconds")?, client_cpu: of("client_cpu_seconds") })
}
