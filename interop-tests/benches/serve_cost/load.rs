//! The shuffle that is served or pushed, and the clients that do it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sealed_shuffle_interop_tests::merger::merged_files;
use sealed_shuffle_interop_tests::oracle::{Executor, content};
use sealed_shuffle_interop_tests::spark::Spark;
use sealed_shuffle_interop_tests::{fixture::APP, modes::Service};
use serde_json::Value;
use tempfile::TempDir;

use crate::case::{Case, Work};
use crate::our_client;

/// Threads of the client that open connections; more would measure a queue.
const HANDSHAKES_AT_ONCE: usize = 4;

/// How long removed files may stay.
const REMOVAL: Duration = Duration::from_secs(60);

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
/// Blocks as large as chunks that are merged of [`LARGE`], and as many: 16 blocks make 2 MiB, the least of a chunk
/// (`spark.shuffle.push.server.minChunkSizeInMergedShuffleFile`). A request is 10 MiB, too.
pub(crate) const CHUNKS: Layout = Layout { shuffle: 3, maps: 5, reduces: 100, block: 2 << 20 };
/// Pushed shuffles have ids from here on, each its own.
const FIRST_PUSHED: u32 = 100;

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
    next_pushed: AtomicU32,
}

impl Shuffle {
    /// Writes it, with [`CHUNKS`] where asked to; having been written just now, it is in the page cache.
    pub(crate) fn write(has_chunks: bool) -> Self {
        let root = TempDir::with_prefix("serve-cost-").expect("the temporary directory is writable");
        let executor = Executor::merging_beneath(root.path(), "1");
        for Layout { shuffle, maps, reduces, block } in
            [LARGE, SMALL, HUGE].into_iter().chain(has_chunks.then_some(CHUNKS))
        {
            let partitions: Vec<Vec<u8>> =
                (0..u64::from(reduces)).map(|reduce| content(reduce, block)).collect();
            (0..u64::from(maps)).for_each(|map| executor.write_map(shuffle, map, &partitions));
        }
        Self { root, executor, next_pushed: AtomicU32::new(FIRST_PUSHED) }
    }

    /// The id of a shuffle that nobody has pushed yet.
    pub(crate) fn next_pushed(&self) -> u32 {
        self.next_pushed.fetch_add(1, Ordering::Relaxed)
    }

    /// Waits until a service has deleted what it merged.
    pub(crate) fn wait_for_removal(&self) {
        let begun = Instant::now();
        while !merged_files(self.root()).is_empty() {
            assert!(begun.elapsed() < REMOVAL, "merged files were removed, and stay");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Deletes what a service that has ended had merged.
    pub(crate) fn remove_merged(&self) {
        for file in merged_files(self.root()) {
            fs::remove_file(&file).unwrap_or_else(|e| panic!("cannot remove {}: {e}", file.display()));
        }
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
    /// Pushes all of a layout as this shuffle and finalizes; removes what was merged when nobody measures any more,
    /// unless it is kept. Ours alone.
    Push { layout: &'static Layout, shuffle: u32, is_kept: bool },
    /// As `Take`, of what was pushed as this shuffle. Ours alone.
    TakeMerged { layout: &'static Layout, shuffle: u32, bytes: u64 },
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
            Task::Push { layout, shuffle, is_kept } => {
                command.arg(format!("push={}", if is_kept { "keep" } else { "remove" }));
                self.merging(&mut command, layout, shuffle);
                command.arg(format!("block={}", layout.block));
            }
            Task::TakeMerged { layout, shuffle, bytes } => {
                command.args([format!("bytes={bytes}"), "warm_up=0".to_owned(), "merged=true".to_owned()]);
                self.merging(&mut command, layout, shuffle);
            }
            Task::Handshakes(count) => {
                command.arg(format!("connections={HANDSHAKES_AT_ONCE}"));
                command.arg(format!("handshakes={count}"));
            }
            Task::Hold => _ = command.arg(format!("connections={}", self.connections)),
        }
        command
    }

    fn merging(&self, command: &mut Command, Layout { maps, reduces, .. }: &Layout, shuffle: u32) {
        command.arg(format!("connections={}", self.connections));
        command.args([format!("shuffle={shuffle}"), format!("maps={maps}"), format!("reduces={reduces}")]);
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
        Work::Blocks | Work::Push | Work::Merged => of("bytes")? / 1e9,
        Work::SmallBlocks => of("blocks")? / 1e6,
        Work::Handshakes => of("handshakes")? / 1e3,
    };
    let timed = of("timed_bytes").map_or(amount, |bytes| bytes / 1e9);
    Some(Answer { amount, rate: timed / of("seconds")?, client_cpu: of("client_cpu_seconds") })
}
