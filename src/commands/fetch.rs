//! `fetch`: blocks to files, or their sizes and checksums.

use std::collections::HashSet;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use sealed_shuffle_client::{FetchError, Progress};
use sealed_shuffle_protocol::shuffle::BlockId;

use super::target::{Target, TargetArgs};
use super::versioned::versioned;
use super::{Exit, Failure, complain, tell};

/// Time between two lines of progress where there is no terminal.
const QUIET: Duration = Duration::from_secs(10);

const HELP: &str = "Example:
  sealed-shuffle fetch --server node-1:7337 --secret-file secret \\
      --app-id app-20261122052236-0000 --executor-id 3 --out blocks \\
      shuffle_0_12_0 shuffle_0_12_1 rdd_4_2

Block ids:
  shuffle_SHUFFLE_MAP_REDUCE       one partition of a map task
  shuffle_SHUFFLE_MAP_START_END    a range of its partitions, END not included
  rdd_RDD_PARTITION                a cached partition
  broadcast_ID_pieceN and others   of live executors and drivers

Spark does not negotiate the cipher: set spark.network.crypto.cipher and authEngineVersion as
they are at the other end, with --conf or in the properties file.

Exit codes, of the first block that failed:
  0 all fetched, 1 failed, 2 wrong usage, 65 corrupt, 66 not there, 69 unreachable, 77 refused,
  78 wrong configuration";

/// Fetch blocks from a shuffle service or a live executor
///
/// Prints one line for each block on standard output: its id, its size in bytes and the CRC32C of its bytes, and with
/// --out its file. A block that fails is named on standard error; all other blocks are still fetched.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct Fetch {
    #[command(flatten)]
    target: TargetArgs,

    /// Write each block to a file of its name in this directory, which is made if need be
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Print the results as one JSON object
    #[arg(long)]
    json: bool,

    /// Blocks to fetch, each once
    #[arg(required = true, value_name = "BLOCK_ID")]
    blocks: Vec<BlockId>,
}

/// A block that was fetched.
struct FetchedBlock {
    block: BlockId,
    bytes: u64,
    crc32c: u32,
    file: Option<PathBuf>,
}

impl Fetch {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let mut seen = HashSet::new();
        if let Some(twice) = self.blocks.iter().find(|block| !seen.insert(*block)) {
            return Err(Failure::new(Exit::Usage, format!("{twice} is given twice")));
        }
        let target = self.target.prepare()?;
        if let Some(dir) = &self.out {
            std::fs::create_dir_all(dir).map_err(|error| {
                Failure::new(Exit::Failed, format!("--out {}: cannot make it: {error}", dir.display()))
            })?;
        }
        target.runtime.block_on(fetch(&target, self.blocks, self.out, self.json))
    }
}

async fn fetch(
    target: &Target,
    blocks: Vec<BlockId>,
    out: Option<PathBuf>,
    json: bool,
) -> Result<(), Failure> {
    let wanted = blocks.len();
    let mut report = Report::new(wanted, json);
    let Target { client, server, executor, .. } = target;
    match out {
        None => {
            let mut fetch = client.fetch(server, executor, blocks);
            while let Some(outcome) = fetch.next().await {
                report.outcome(outcome.map(|(block, content)| {
                    let (bytes, crc32c) = (content.len() as u64, crc32c::crc32c(&content));
                    report.progress.arrived(bytes);
                    FetchedBlock { block, bytes, crc32c, file: None }
                }))?;
            }
        }
        Some(dir) => {
            let bar = report.progress.clone();
            let progress = Arc::new(move |progress: Progress<'_>| {
                if let Progress::Bytes(n) = progress {
                    bar.arrived(n);
                }
            });
            let mut fetch = client
                .fetch_to_files(server, executor, blocks, dir, progress)
                .map_err(|error| Failure::new(Exit::Usage, error))?;
            while let Some(outcome) = fetch.next().await {
                report.outcome(outcome.map(|(block, saved)| FetchedBlock {
                    block,
                    bytes: saved.len,
                    crc32c: saved.crc32c,
                    file: Some(saved.path),
                }))?;
            }
        }
    }
    report.finish(wanted, &client.settings().protection())
}

/// Results on standard output, progress and failures on standard error.
struct Report {
    json: bool,
    progress: Bar,
    started: Instant,
    fetched: Vec<serde_json::Value>,
    failed: Vec<serde_json::Value>,
    count: usize,
    bytes: u64,
    first_failure: Option<Failure>,
}

impl Report {
    fn new(wanted: usize, json: bool) -> Self {
        Self {
            json,
            progress: Bar::new(wanted),
            started: Instant::now(),
            fetched: Vec::new(),
            failed: Vec::new(),
            count: 0,
            bytes: 0,
            first_failure: None,
        }
    }

    fn outcome(&mut self, outcome: Result<FetchedBlock, FetchError>) -> Result<(), Failure> {
        match outcome {
            Ok(fetched) => self.fetched(fetched)?,
            Err(error) => self.failed(&error),
        }
        self.progress.done_with_one();
        Ok(())
    }

    fn fetched(&mut self, fetched: FetchedBlock) -> Result<(), Failure> {
        let FetchedBlock { block, bytes, crc32c, file } = fetched;
        self.count += 1;
        self.bytes += bytes;
        if self.json {
            let crc32c = format!("{crc32c:08x}");
            let file = file.map(|file| file.display().to_string());
            self.fetched.push(serde_json::json!({
                "block": block.to_string(), "bytes": bytes, "crc32c": crc32c, "file": file,
            }));
            return Ok(());
        }
        let mut line = format!("{block} {bytes} crc32c:{crc32c:08x}");
        if let Some(file) = file {
            line.push(' ');
            line.push_str(&file.display().to_string());
        }
        self.progress.suspended(|| print(&line))
    }

    fn failed(&mut self, error: &FetchError) {
        self.progress.suspended(|| complain(error));
        self.failed.push(serde_json::json!({
            "block": error.block.to_string(),
            "kind": error.kind().label(),
            "error": error.error.to_string(),
        }));
        if self.first_failure.is_none() {
            self.first_failure = Some(Failure::new(error.kind().into(), error));
        }
    }

    fn finish(mut self, wanted: usize, channel: &str) -> Result<(), Failure> {
        self.progress.finish();
        let seconds = self.started.elapsed().as_secs_f64();
        let missing = wanted - self.count - self.failed.len();
        if self.json {
            let object = serde_json::json!({
                "blocks": self.fetched, "failed": self.failed, "bytes": self.bytes, "seconds": seconds,
            });
            print(&versioned(object).to_string())?;
        }
        // Without a block there may have been no session.
        if self.count > 0 {
            tell(format_args!(
                "fetched {} of {wanted} blocks, {} in {seconds:.2} s, {}/s, {channel}",
                self.count,
                HumanBytes(self.bytes),
                HumanBytes((self.bytes as f64 / seconds.max(1e-9)) as u64),
            ));
        }
        match self.first_failure.take() {
            None if missing > 0 => {
                Err(Failure::new(Exit::Failed, format!("{missing} blocks have no outcome")))
            }
            None => Ok(()),
            Some(first) => {
                let text = format!("{} of {wanted} blocks failed, the first: {first}", wanted - self.count);
                Err(Failure::new(first.exit, text))
            }
        }
    }
}

fn print(line: &str) -> Result<(), Failure> {
    writeln!(stdout(), "{line}")
        .map_err(|error| Failure::new(Exit::Failed, format!("standard output: {error}")))
}

/// A bar on a terminal, a line at intervals elsewhere.
#[derive(Clone)]
struct Bar {
    blocks: ProgressBar,
    bytes: ProgressBar,
    terminal: bool,
    wanted: usize,
    last: Arc<std::sync::Mutex<Instant>>,
}

impl Bar {
    fn new(wanted: usize) -> Self {
        let terminal = stderr().is_terminal();
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let blocks = ProgressBar::with_draw_target(Some(wanted as u64), target);
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} blocks  {msg}  {elapsed}");
        blocks.set_style(style.expect("the template is valid"));
        let bytes = ProgressBar::hidden();
        let last = Arc::new(std::sync::Mutex::new(Instant::now()));
        Self { blocks, bytes, terminal, wanted, last }
    }

    fn arrived(&self, n: u64) {
        self.bytes.inc(n);
        let bytes = HumanBytes(self.bytes.position());
        if self.terminal {
            self.blocks.set_message(bytes.to_string());
            return;
        }
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if last.elapsed() >= QUIET {
            *last = Instant::now();
            tell(format_args!("fetched {} of {} blocks, {bytes}", self.blocks.position(), self.wanted));
        }
    }

    fn done_with_one(&self) {
        self.blocks.inc(1);
    }

    fn suspended<T>(&self, work: impl FnOnce() -> T) -> T {
        self.blocks.suspend(work)
    }

    fn finish(&self) {
        self.blocks.finish_and_clear();
    }
}
