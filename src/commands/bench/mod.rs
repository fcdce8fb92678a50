//! `bench`: what serving costs on this machine, in every mode.

mod data;
mod load;
mod mode;
mod process;
mod report;
mod service;

use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sealed_shuffle::client::Client;
use sealed_shuffle::config::raise_descriptor_limit;
use sealed_shuffle::random::random_bytes;
use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use sealed_shuffle_protocol::shuffle::{ExecutorShuffleInfo, Strings};
use serde_json::json;

use self::data::Blocks;
use self::load::Until;
use self::mode::Mode;
use self::report::{Connecting, Row};
use self::service::Service;
use super::{Exit, Failure};

/// Measure what serving costs on this machine
///
/// Our server, as a process of its own, and our client in this one, over loopback: throughput, CPU seconds per GB of each
/// side, latency of a request (4 MiB or 64 blocks, whichever is less) and the server's memory; then connections a second, and
/// memory for idle ones. Figures of a machine that does something else meanwhile say little.
#[derive(Args, Debug)]
pub(crate) struct Bench {
    /// Modes, separated by commas [default: plaintext,aes-ctr,aes-gcm,tls]
    #[arg(long, value_enum, value_delimiter = ',')]
    modes: Vec<Mode>,

    /// Bytes of a block, separated by commas: 2k, 128k, 4m
    #[arg(long, value_delimiter = ',', default_value = "2k,128k,4m")]
    sizes: Vec<String>,

    /// Connections at once, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "1,4,64,256")]
    connections: Vec<usize>,

    /// Seconds for each line of the table
    #[arg(long, value_name = "SECONDS", default_value = "2")]
    seconds: f64,

    /// Read from the disk: the page cache is emptied of the files before each line, and each block is read once
    #[arg(long)]
    cold: bool,

    /// Bytes in the files of each block size
    #[arg(long, value_name = "SIZE", default_value = "256m")]
    data: String,

    /// Idle connections that are opened to see what they hold
    #[arg(long, value_name = "N", default_value = "1000")]
    idle: usize,

    /// Where the blocks are written; removed at the end [default: the temporary directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Bench {
    pub(crate) fn run(self) -> Result<(), Failure> {
        if let Err(error) = raise_descriptor_limit() {
            eprintln!("sealed-shuffle: the descriptor limit stays as it is: {error}");
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
        let time = Duration::from_secs_f64(self.seconds);
        let modes = if self.modes.is_empty() { Mode::USUAL.to_vec() } else { self.modes.clone() };
        let dir = match &self.dir {
            None => tempfile::tempdir(),
            Some(dir) => tempfile::tempdir_in(dir),
        }
        .map_err(|error| failed(&error))?;
        let secret: [u8; 32] = random_bytes().map_err(|error| failed(&error))?;
        let secret: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let executor = service::prepare(dir.path())?;
        let mut blocks = Vec::new();
        for (shuffle, size) in (0..).zip(&sizes) {
            let written = Blocks::write(&executor, shuffle, *size, data).map_err(|error| failed(&error))?;
            blocks.push(Arc::new(written));
        }

        let progress = progress(modes.len() * (sizes.len() * self.connections.len() + 1));
        let mut out = Table { json: self.json, rows: Vec::new(), connecting: Vec::new() };
        out.say(&progress, Row::HEADING)?;
        let until = if self.cold { Until::OnceThrough } else { Until::Time(time) };
        for mode in modes {
            let service = Service::start(mode, &secret, dir.path())?;
            let settings = mode.client(&secret, dir.path())?;
            let info = ExecutorShuffleInfo {
                local_dirs: Strings::try_from_iter([executor.display().to_string().as_str()])
                    .map_err(|error| failed(&error))?,
                sub_dirs_per_local_dir: 64,
                shuffle_manager: "org.apache.spark.shuffle.sort.SortShuffleManager".into(),
            };
            let client = Client::new(settings.clone(), AppId::new(load::APP));
            client.register(&service.address, &ExecutorId::new(load::EXECUTOR), info).await?;
            for blocks in &blocks {
                for &connections in &self.connections {
                    if self.cold {
                        blocks.evict().map_err(|error| failed(&error))?;
                    }
                    progress.set_message(format!("{}, {} connections", mode.name(), connections));
                    let measured =
                        load::run(&service, &settings, Arc::clone(blocks), connections, until).await?;
                    let row = Row { mode, size: blocks.size, connections, measured };
                    out.say(&progress, &row.line())?;
                    out.rows.push(row);
                    progress.inc(1);
                }
            }
            if let Some(smallest) = blocks.first() {
                let (per_second, cpu) = load::handshakes(&service, &settings, smallest, time).await?;
                let idle = match self.idle {
                    0 => 0,
                    idle => load::idle(&service, &settings, smallest, idle).await?,
                };
                out.connecting.push(Connecting { mode, per_second, cpu, idle });
            }
            progress.inc(1);
        }
        progress.finish_and_clear();
        out.finish()
    }
}

/// Lines as they come, or everything at once as JSON.
struct Table {
    json: bool,
    rows: Vec<Row>,
    connecting: Vec<Connecting>,
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
            let fetches: Vec<_> = self.rows.iter().map(Row::json).collect();
            let connecting: Vec<_> = self.connecting.iter().map(Connecting::json).collect();
            text = json!({ "version": env!("CARGO_PKG_VERSION"), "fetch": fetches, "connect": connecting })
                .to_string();
        } else {
            text.push('\n');
            text.push_str(Connecting::HEADING);
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
