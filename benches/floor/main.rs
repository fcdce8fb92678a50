//! The floor: what reading from the page cache, ciphering and writing to a socket must cost on this machine.
//!
//! One thread a side, blocking calls, one connection, nothing of Spark's frames:
//!
//! ```text
//! sender    pread ─► segment ─ seal in place ─► write        CPU time of this thread ─► the floor
//! receiver  read  ─► buffer  ─ open in place
//! ```
//!
//! The segment size and the implementation of each cipher are tuned first, by the sender's time, and printed. Then the
//! floor and our server (`SEALED_SHUFFLE_BIN`, a release build: 128 KiB blocks, 16 connections) take turns, and the
//! ratio is formed within each pair. Bounds are printed beside it and never fail a run.
//!
//! `make floor`, or `cargo bench --bench floor -- --help`. Under `cargo test` it sends a little in every mode and
//! compares what arrives.

#![allow(clippy::unwrap_used)] // a bench that cannot run should stop

mod cipher;
mod ours;
mod report;
#[path = "../support/tls.rs"]
mod tls;
mod transfer;

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use clap::Parser;
use sealed_shuffle_measure::{Noise, Spread};

use cipher::{Candidate, Mode};
use report::Line;
use transfer::{Plan, Run};

/// Segment sizes that are tried.
const SEGMENTS: [usize; 5] = [64 << 10, 128 << 10, 256 << 10, 512 << 10, 1 << 20];

/// Bytes of the file, as many as `sealed-shuffle bench` has of each block size.
const FILE: u64 = 256 << 20;

/// What reading, ciphering and writing must cost on this machine, and what our server costs beside it
#[derive(Parser)]
struct Floor {
    /// Modes, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "plaintext,aes-ctr,aes-gcm,tls")]
    modes: Vec<Mode>,

    /// Pairs of floor and server
    #[arg(long, default_value = "10")]
    rounds: usize,

    /// Runs of each cipher and segment size while tuning
    #[arg(long, default_value = "3")]
    tuning: usize,

    /// Seconds for each run of the server
    #[arg(long, default_value = "2")]
    seconds: f64,

    /// Bytes that the floor sends in one run
    #[arg(long, default_value = "1073741824")]
    bytes: u64,

    /// Our program, else the environment's SEALED_SHUFFLE_BIN; without it the floor is measured alone
    #[arg(long)]
    server: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    // The libtest arguments that `cargo test` hands on are nothing to us.
    if !std::env::args().any(|arg| arg == "--bench" || arg == "--help") {
        return try_everything();
    }
    Floor::parse().run();
}

impl Floor {
    fn run(self) {
        let file = content(FILE);
        let server =
            self.server.clone().or_else(|| std::env::var_os("SEALED_SHUFFLE_BIN").map(PathBuf::from));
        let mut lines: Vec<Line> = self.modes.iter().map(|mode| self.tune(*mode, &file)).collect();
        for round in 0..self.rounds {
            for line in &mut lines {
                eprintln!("round {} of {}, {}", round + 1, self.rounds, line.mode.name());
                line.floor.push(self.floor(&file, line.candidate, line.segment));
                if let Some(server) = &server {
                    line.ours.push(ours::measure(server, line.mode, self.seconds));
                }
            }
        }
        let text = if self.json { report::json(&lines) } else { report::table(&lines) };
        println!("{text}");
    }

    /// The implementation and segment size that cost the sender least.
    fn tune(&self, mode: Mode, file: &File) -> Line {
        eprintln!("tuning {}", mode.name());
        let mut tried: Vec<_> = mode
            .candidates()
            .iter()
            .flat_map(|candidate| SEGMENTS.map(|segment| (*candidate, segment, Vec::new())))
            .collect();
        for _ in 0..self.tuning.max(1) {
            for (candidate, segment, took) in &mut tried {
                took.push(self.floor(file, *candidate, *segment).sender_per_gb());
            }
        }
        let mut tried: Vec<_> = tried
            .into_iter()
            .map(|(candidate, segment, took)| (candidate, segment, Spread::of(took)))
            .collect();
        tried.sort_by(|a, b| a.2.median.total_cmp(&b.2.median));
        let (candidate, segment, _) = tried[0];
        Line { mode, candidate, segment, tried, floor: Vec::new(), ours: Vec::new() }
    }

    fn floor(&self, file: &File, candidate: Candidate, segment: usize) -> Run {
        let plan = Plan { file: FILE, bytes: self.bytes, segment };
        transfer::run(file, &plan, candidate.ends(), None).unwrap()
    }
}

/// Every implementation, with segments that end in the middle of the file.
fn try_everything() {
    const LITTLE: u64 = 1 << 20;
    let file = content(LITTLE);
    let mut expected = vec![0; usize::try_from(LITTLE).unwrap()];
    rustix::io::pread(&file, &mut expected, 0).unwrap();
    for candidate in Mode::ALL.iter().flat_map(|mode| mode.candidates()) {
        for segment in [64 << 10, 256 << 10] {
            let plan = Plan { file: LITTLE, bytes: 3 * LITTLE, segment };
            let took = transfer::run(&file, &plan, candidate.ends(), Some(&expected)).unwrap();
            assert_eq!(took.bytes, 3 * LITTLE, "{}", candidate.name());
        }
    }
}

/// A file of noise that has no name.
fn content(len: u64) -> File {
    let mut file = tempfile::tempfile().unwrap();
    let mut noise = Noise::default();
    let mut left = len;
    while left > 0 {
        let take = left.min(1 << 20);
        file.write_all(&noise.bytes(usize::try_from(take).unwrap())).unwrap();
        left -= take;
    }
    // Nobody should write it back in mid-measurement.
    file.sync_all().unwrap();
    file
}
