//! `inspect`: tells what some files hold, and how much beneath some directories anybody can read.

pub(super) mod data_keys;
mod file;
pub(super) mod scan;

use std::io::{Write, stdout};
use std::path::PathBuf;

use clap::Args;
use indicatif::HumanBytes;
use sealed_shuffle_protocol::stored::sealed::Header;
use serde_json::{Value, json};

use self::data_keys::Keys;
use super::{ConfigArgs, Exit, Failure};
use crate::inspect::content::{Depth, SAMPLES};
use crate::inspect::randomness::{ENOUGH, FEWEST, Measurement};
use crate::inspect::reading::SAMPLE;
use crate::inspect::scan::PARTITIONS;

const HELP: &str = "Examples:
  sealed-shuffle inspect /data/blockmgr-…/1b/shuffle_1_6_0.data /data/blockmgr-…/37/shuffle_1_6_0.index
  sealed-shuffle inspect --scan /data1 /data2 --json

How it tells. Codecs, serializers and file formats leave marks: lz4, zstd, snappy, lzf, gzip, xz, bzip2,
zlib, Java serialization, rows of SQL, RocksDB, images. spark.io.encryption leaves none. Content without a
mark that looks random (chi-square of the bytes between 140 and 400, from 256 bytes on) is called
consistent with it, and could be compressed by another program than Spark. Content without a mark that is
not random (chi-square above 500, from 32 bytes on) is readable. Between, and for fewer bytes, it cannot
tell. It reads 64 samples of 4096 bytes through the whole of each file, and the first 4096 bytes of each
partition of a shuffle data file, found through its index, of at most 256 partitions, evenly spread.
--full reads everything.

What this project's server sealed is opened where the local key file of the configuration can be read, or
with --keys: then its index is verified, and the first and last chunk of its data (--full: all). Without
the key its segments must follow each other to the end of the file, and must look random.

--scan counts by application where the path names one, else by the executor's directory. Index and
checksum files hold no data, and Spark never encrypts them: METADATA. Files that are not a block
manager's, of PySpark or of a state store are counted and not judged: OTHER. Symbolic links are not
followed.

Exit codes:
  0 done, 1 failed, 2 wrong usage, 65 a file is not what its name says, or does not fit the one
  beside it, 66 not there; with --scan: 0 nothing is readable, 1 something is, 66 a directory is
  not there, 69 nothing readable was seen, but not all was judged: something could not be looked at, or
  told either way, or there was nothing to judge";

/// Show the content of shuffle files, or how much beneath directories is sealed, encrypted by Spark, or readable
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct Inspect {
    /// Files; with --scan, directories
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// Look at everything beneath directories
    #[arg(long)]
    scan: bool,

    /// Another local directory (blockmgr-…) of the executor, to look for index and data in; may be given many times
    #[arg(long, value_name = "DIR", conflicts_with = "scan")]
    local_dir: Vec<PathBuf>,

    /// Read everything, and not samples
    #[arg(long)]
    full: bool,

    /// Open what this project's server sealed with the key service that serve uses, whichever it is
    ///
    /// Without this, only a local key file that this user may read is used.
    #[arg(long)]
    keys: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    config: ConfigArgs,
}

impl Inspect {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let depth = if self.full { Depth::Whole } else { Depth::Samples { partitions: PARTITIONS } };
        let mut keys = Keys::of(self.config, self.keys)?;
        let mut key = |header: &Header| keys.key(header);
        match self.scan {
            true => scan::run(&self.paths, depth, &mut key, self.json),
            false => file::run(&self.paths, &self.local_dir, depth, &mut key, self.json),
        }
    }
}

fn print(text: &str) -> Result<(), Failure> {
    stdout()
        .write_all(text.as_bytes())
        .map_err(|error| Failure::new(Exit::Failed, format!("standard output: {error}")))
}

fn bytes(count: u64) -> String {
    HumanBytes(count).to_string()
}

/// In JSON, with the rule that it is judged by.
fn measured(measured: &Measurement) -> Value {
    json!({
        "bytes": measured.bytes,
        "entropy": round(measured.entropy),
        "chi_square": round(measured.chi_square),
    })
}

fn round(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

/// The extent of the samples, for reports that outlive this help text.
fn sampling(depth: Depth) -> Value {
    json!({
        "reads_everything": depth == Depth::Whole,
        "bytes_of_each_sample": SAMPLE, "samples_of_each_file": SAMPLES, "partitions_of_each_file": PARTITIONS,
        "fewest_bytes_that_look_random": ENOUGH, "fewest_bytes_judged": FEWEST,
    })
}

/// The same in words.
fn extent(depth: Depth) -> String {
    match depth {
        Depth::Whole => "looked at everything in each file".to_owned(),
        Depth::Samples { partitions } => format!(
            "looked at {SAMPLES} samples of {SAMPLE} bytes of each file, and at the beginnings of up to {partitions} \
             partitions of each shuffle data file (--full looks at everything)"
        ),
    }
}

const _: () = assert!(
    SAMPLE == 4096 && SAMPLES == 64 && PARTITIONS == 256 && ENOUGH == 256 && FEWEST == 32,
    "the help text says so"
);
