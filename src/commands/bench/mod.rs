//! `bench`: measures the cost of serving on this machine, in every mode.

mod cell;
mod data;
mod executor;
mod files;
mod growth;
mod load;
mod merge_work;
mod mode;
mod report;
mod service;

use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sealed_shuffle_client::Client;
use sealed_shuffle_config::raise_descriptor_limit;
use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use sealed_shuffle_transport::random::random_bytes;
use serde_json::json;

use self::cell::{Cell, Operation};
use self::data::Blocks;
use self::executor::{APP, EXECUTOR, SORT_MANAGER, SUB_DIRS, info};
use self::growth::{Ground, SeriesKind};
use self::merge_work::Ids;
use self::mode::Mode;
use self::report::{ConnectionFigures, Row};
use self::service::Service;
use super::versioned::versioned;
use super::{Exit, Failure, complain};

/// Measure the cost of serving on this machine
///
/// Our server runs as a process of its own and our client in this one, over loopback. Measured are throughput, CPU
/// seconds per GB of each side, the latency of a request (4 MiB or 64 blocks, whichever is less; of a block where it
/// is pushed) and the server's memory; then connections a second, and the memory of idle ones. Pushed blocks are
/// merged, sealed, finalized and removed by the same clock; merged chunks are of 2 MiB at least. The figures say
/// little if the machine does something else at the same time.
#[derive(Args, Debug)]
pub(crate) struct Bench {
    /// Modes, separated by commas [default: plaintext,aes-ctr,aes-gcm,tls]
    #[arg(long, value_enum, value_delimiter = ',')]
    modes: Vec<Mode>,

    /// Operations on blocks, separated by commas [default: fetch; push and merged with blocks of 128k over 4 connections]
    #[arg(long, value_enum, value_delimiter = ',')]
    operations: Vec<Operation>,

    /// Bytes of a block, separated by commas: 2k, 128k, 4m
    #[arg(long, value_delimiter = ',', default_value = "2k,128k,4m")]
    sizes: Vec<String>,

    /// Connections at once, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "1,4,64,256")]
    connections: Vec<usize>,

    /// Seconds for each line of the table
    #[arg(long, value_name = "SECONDS", default_value = "2")]
    seconds: f64,

    /// Read from the disk: the page cache is emptied of the files before each line, and each block is read once [operation: fetch]
    #[arg(long)]
    cold: bool,

    /// Bytes in the files of each block size, and in merged files
    #[arg(long, value_name = "SIZE", default_value = "256m")]
    data: String,

    /// Idle connections that are opened to measure their memory
    #[arg(long, value_name = "N", default_value = "1000")]
    idle: usize,

    /// Directory for the blocks; removed at the end [default: the temporary directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Show how cost grows with load instead: connections, executors, sizes, partitions, memory [mode: aes-ctr]
    #[arg(long)]
    growth: bool,

    /// Rounds over the points of each series of --growth; medians are shown
    #[arg(long, value_name = "N", default_value = "5")]
    rounds: usize,

    /// Series of --growth, separated by commas [default: all]
    #[arg(long, value_enum, value_delimiter = ',')]
    series: Vec<SeriesKind>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Bench {
    pub(crate) fn run(self) -> Result<(), Failure> {
        if let Err(error) = raise_descriptor_limit() {
            complain(format_args!("the descriptor limit stays as it is: {error}"));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Exit::Failed, format!("cannot start threads: {error}")))?;
        runtime.block_on(async {
            tokio::select! {
                done = self.measure() => done,
                _ = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Failed, "interrupted")),
            }
        })
    }

    async fn measure(&self) -> Result<(), Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::new(Exit::Failed, error);
        let usage = |text: &str| Failure::new(Exit::Usage, format!("{text:?} is no size: use 2k, 128k, 4m"));
        let sizes: Vec<u64> =
            self.sizes.iter().map(|text| bytes(text).ok_or_else(|| usage(text))).collect::<Result<_, _>>()?;
        let data = bytes(&self.data).ok_or_else(|| usage(&self.data))?;
        if self.connections.contains(&0) || !(self.seconds > 0.0 && self.seconds < 3600.0) {
            return Err(Failure::new(
                Exit::Usage,
                "connections and seconds must be more than 0, an hour at most",
            ));
        }
        if self.cold && self.operations.iter().any(|operation| operation.merges()) {
            return Err(Failure::new(Exit::Usage, "--cold is about fetching alone"));
        }
        let time = Duration::from_secs_f64(self.seconds);
        let dir = match &self.dir {
            None => tempfile::tempdir(),
            Some(dir) => tempfile::tempdir_in(dir),
        }
        .map_err(|error| failed(&error))?;
        let secret: [u8; 32] = random_bytes().map_err(|error| failed(&error))?;
        let secret: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let executor = files::prepare(dir.path())?;
        if self.growth {
            return self.grow(&secret, dir.path(), &executor, time).await;
        }
        let modes = if self.modes.is_empty() { Mode::USUAL.to_vec() } else { self.modes.clone() };
        let mut blocks = Vec::new();
        for (shuffle, size) in (0..).zip(&sizes) {
            let written = Blocks::write(&executor, shuffle, *size, data).map_err(|error| failed(&error))?;
            blocks.push(Arc::new(written));
        }

        let cells = self.cells(&sizes);
        let merges = cells.iter().any(|cell| cell.operation.merges());
        let conf: &[&str] = if merges { &merge_work::CONF } else { &[] };
        let manager = if merges { merge_work::MANAGER } else { SORT_MANAGER };
        if merges {
            merge_work::prepare(&executor, SUB_DIRS).map_err(|error| failed(&error))?;
        }
        let ids = Arc::new(Ids::default());

        let progress = progress(modes.len() * (cells.len() + 1));
        let mut out = Table { json: self.json, rows: Vec::new(), connecting: Vec::new() };
        out.say(&progress, Row::HEADING)?;
        for mode in modes {
            let service = Service::start(mode, &secret, dir.path(), conf)?;
            let settings = mode.client(&secret, dir.path())?;
            let client = Client::new(settings.clone(), AppId::new(APP));
            let info = info(&executor, manager)?;
            client.register(&service.address, &ExecutorId::new(EXECUTOR), info).await?;
            let mut subject = cell::Subject {
                service: &service,
                settings: &settings,
                blocks: &blocks,
                data,
                time,
                is_cold: self.cold,
                ids: Arc::clone(&ids),
                merged: None,
            };
            for &cell in &cells {
                let Cell { operation, connections, .. } = cell;
                progress.set_message(format!(
                    "{}, {}, {connections} connections",
                    mode.name(),
                    operation.name()
                ));
                let row = Row { mode, cell, figures: subject.measure(cell).await? };
                out.say(&progress, &row.line())?;
                out.rows.push(row);
                progress.inc(1);
            }
            subject.remove_merged().await?;
            if let Some(smallest) = blocks.first() {
                let (per_second, cpu) = load::handshakes(&service, &settings, smallest, time).await?;
                let idle = match self.idle {
                    0 => 0,
                    idle => load::idle(&service, &settings, smallest, idle).await?,
                };
                out.connecting.push(ConnectionFigures { mode, per_second, cpu, idle });
            }
            progress.inc(1);
        }
        progress.finish_and_clear();
        out.finish()
    }

    /// The lines of the table for each mode.
    fn cells(&self, sizes: &[u64]) -> Vec<Cell> {
        let operations: &[Operation] = match self.operations.as_slice() {
            [] if self.cold => &[Operation::Fetch],
            [] => Operation::value_variants(),
            named => named,
        };
        let mut cells = Vec::new();
        for &operation in operations {
            for &size in sizes {
                let all = self.connections.iter().map(|&connections| Cell { operation, size, connections });
                // All operations together would take three times as long.
                let is_shown = |cell: &Cell| {
                    !self.operations.is_empty()
                        || cell.operation == Operation::Fetch
                        || (cell.size, cell.connections) == USUAL
                };
                cells.extend(all.filter(is_shown));
            }
        }
        cells
    }

    async fn grow(&self, secret: &str, dir: &Path, executor: &Path, time: Duration) -> Result<(), Failure> {
        let series =
            if self.series.is_empty() { SeriesKind::value_variants() } else { self.series.as_slice() };
        let modes = if self.modes.is_empty() { vec![Mode::AesCtr] } else { self.modes.clone() };
        let rounds = self.rounds.clamp(1, 1000);
        let progress = progress(modes.len() * series.len() * rounds);
        let out = Table { json: self.json, rows: Vec::new(), connecting: Vec::new() };
        let mut shown = Vec::new();
        for mode in modes {
            let ground = Ground { mode, secret, dir, executor, time, rounds, progress: &progress };
            for which in series {
                progress.set_message(format!("{}, {}", mode.name(), which.name()));
                let series = which.measure(&ground).await?;
                out.say(&progress, &series.text(mode))?;
                shown.push(series.json(mode));
            }
        }
        progress.finish_and_clear();
        if !self.json {
            return Ok(());
        }
        let text = versioned(json!({ "release": env!("CARGO_PKG_VERSION"), "growth": shown }));
        writeln!(stdout(), "{text}").map_err(|error| Failure::new(Exit::Failed, error))
    }
}

/// Size and number of connections for merging, unless the user names others.
const USUAL: (u64, usize) = (128 << 10, 4);

/// Prints each line when it is measured, or everything at once as JSON.
struct Table {
    json: bool,
    rows: Vec<Row>,
    connecting: Vec<ConnectionFigures>,
}

impl Table {
    fn say(&self, progress: &ProgressBar, line: &str) -> Result<(), Failure> {
        if self.json {
            return Ok(());
        }
        progress.suspend(|| writeln!(stdout(), "{line}")).map_err(|error| Failure::new(Exit::Failed, error))
    }

    fn finish(&self) -> Result<(), Failure> {
        let mut text = String::new();
        if self.json {
            let rows = |operation| -> Vec<_> {
                self.rows.iter().filter(|row| row.cell.operation == operation).map(Row::json).collect()
            };
            let (fetch, push, merged) =
                (rows(Operation::Fetch), rows(Operation::Push), rows(Operation::Merged));
            let connecting: Vec<_> = self.connecting.iter().map(ConnectionFigures::json).collect();
            text = versioned(json!({
                "release": env!("CARGO_PKG_VERSION"),
                "fetch": fetch,
                "push": push,
                "merged": merged,
                "connect": connecting,
            }))
            .to_string();
        } else {
            text.push('\n');
            text.push_str(ConnectionFigures::HEADING);
            for connecting in &self.connecting {
                text.push('\n');
                text.push_str(&connecting.line());
            }
        }
        writeln!(stdout(), "{text}").map_err(|error| Failure::new(Exit::Failed, error))
    }
}

fn progress(steps: usize) -> ProgressBar {
    let target =
        if stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(steps as u64), target);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    bar
}

/// `2k`, `128k`, `4m`, `1g`, or bytes.
fn bytes(text: &str) -> Option<u64> {
    let (number, shift) = match text.as_bytes().last()?.to_ascii_lowercase() {
        b'k' => (&text[..text.len() - 1], 10),
        b'm' => (&text[..text.len() - 1], 20),
        b'g' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift).filter(|bytes| *bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        bench: Bench,
    }

    fn cells(arguments: &[&str]) -> Vec<(&'static str, u64, usize)> {
        let line: Line = clap::Parser::parse_from(["bench"].iter().chain(arguments));
        let cells = line.bench.cells(&[2 << 10, 128 << 10]);
        cells.into_iter().map(|cell| (cell.operation.name(), cell.size, cell.connections)).collect()
    }

    #[test]
    fn merging_is_measured_once_unless_it_is_asked_for() {
        let usual = cells(&["--connections", "1,4"]);
        assert_eq!(usual.len(), 6);
        assert_eq!(usual[4..], [("push", 128 << 10, 4), ("merged", 128 << 10, 4)]);
        assert_eq!(cells(&["--connections", "1,4", "--operations", "push"]).len(), 4);
        assert!(cells(&["--cold"]).iter().all(|(operation, ..)| *operation == "fetch"));
    }

    #[test]
    fn sizes_are_read_with_their_unit() {
        for (text, read) in
            [("2k", Some(2048)), ("4M", Some(4 << 20)), ("7", Some(7)), ("0", None), ("k", None)]
        {
            assert_eq!(bytes(text), read, "{text}");
        }
        assert_eq!(bytes("99999999999999999999g"), None);
    }
}
