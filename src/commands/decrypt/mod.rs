//! `decrypt`: decrypts files that Spark wrote under `spark.io.encryption`.

mod key;
mod output;

use std::fs::File;
use std::io::{self, IsTerminal, Read, Seek, SeekFrom, Write, stdout};
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::HumanBytes;
use sealed_shuffle_config::ProcessEnvironment;
use sealed_shuffle_protocol::stored::io_encryption::{IV_LEN, IoKey, TRANSFORMATION, check_transformation};
use zeroize::Zeroizing;

use self::output::Output;
use super::versioned::versioned;
use super::{Exit, Failure, complain, tell};
use crate::inspect::beside;
use crate::inspect::deep_mark;
use crate::inspect::name::{Kind, SparkName};
use crate::inspect::randomness::{Histogram, Judgement, Measurement};
use crate::inspect::reading::open_regular;
use crate::io_encryption::DecryptingReader;
use crate::io_encryption::partitions::{Partition, Partitions, PartitionsError};
use crate::io_encryption::segments::{Lz4Segments, MARK};

const HELP: &str = "Examples:
  sealed-shuffle decrypt --key-file key rdd_4_2 --out rdd_4_2.plain
  sealed-shuffle decrypt --key-file key --out plain /data/blockmgr-…/1b/shuffle_1_6_0.data
  SPARK_IO_ENCRYPTION_KEY=… sealed-shuffle decrypt --partition 3 shuffle_1_6_0.data | strings

A file has partitions if its name is shuffle_S_M_0.data, or if --index is given. Its index is
looked for beside it and where Spark puts it. Any other file is one stream: a cached block, a
broadcast file, a fetched block. A spill (temp_shuffle_…, temp_local_…) has one stream for each
segment. If they are compressed with lz4, Spark's default, all of them are decrypted. Otherwise only
the executor's memory has their lengths, and --offset and --length pick one.

The key is the application's. SparkEnv.get().securityManager().getIOEncryptionKey() returns it in
the driver; Spark stores it nowhere. The output is the bytes that Spark encrypted: they are still
compressed and serialized as the application did it. spark.io.encryption authenticates nothing: a
wrong key gives noise. Noise of 256 bytes or more, of one stream or of all partitions together, is
refused; --noise takes it, for content that looks random by itself.

Exit codes:
  0 done, 1 failed, 2 wrong usage, 65 the key is not the file's, index and data do not belong
  together, or a stream is cut off, 66 file or index not there, 78 no usable key or another transformation";

/// Decrypt files of executors under spark.io.encryption: a shuffle data file, a cached block, a fetched block
///
/// Prints a line for each file that it writes: name, size and path.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct Decrypt {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// File with the key, in hexadecimal or as 16, 24 or 32 bytes; - reads standard input. Without it the
    /// environment's SPARK_IO_ENCRYPTION_KEY, in hexadecimal
    #[arg(long, value_name = "FILE")]
    key_file: Option<String>,

    /// Write to this file, or with partitions to files of this directory, instead of standard output
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,

    /// Decrypt only this partition
    #[arg(long, value_name = "N", conflicts_with_all = ["offset", "length"])]
    partition: Option<u64>,

    /// The index of the file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["offset", "length"])]
    index: Option<PathBuf>,

    /// Another local directory (blockmgr-…) of the executor, to look for the index in; may be given many times
    #[arg(long, value_name = "DIR")]
    local_dir: Vec<PathBuf>,

    /// Offset of the stream in the file
    #[arg(long, value_name = "BYTES")]
    offset: Option<u64>,

    /// Length of the stream, including its IV
    #[arg(long, value_name = "BYTES")]
    length: Option<u64>,

    /// Replace existing files
    #[arg(long)]
    force: bool,

    /// Take plain bytes that look random and begin like nothing that Spark writes
    #[arg(long)]
    noise: bool,

    /// The application's spark.io.crypto.cipher.transformation
    #[arg(long, value_name = "NAME", default_value = TRANSFORMATION)]
    transformation: String,

    /// Print the result as one JSON object; needs --out
    #[arg(long, requires = "out")]
    json: bool,
}

impl Decrypt {
    pub(crate) fn run(self) -> Result<(), Failure> {
        check_transformation(&self.transformation).map_err(|error| Failure::new(Exit::Config, error))?;
        let key = key::resolve(self.key_file.as_deref(), &ProcessEnvironment)?;
        if self.out.is_none() && stdout().is_terminal() {
            let text = "plain bytes do not belong on a terminal: name --out, or redirect standard output";
            return Err(Failure::new(Exit::Usage, text));
        }
        let file = open(&self.file)?;
        let mut work = Work {
            key: &key,
            data: &file,
            path: &self.file,
            buffer: Zeroizing::new(vec![0; BUFFER]),
            takes_noise: self.noise,
            heads: Histogram::default(),
            is_known: false,
        };
        let done = match self.index()? {
            Some(index) => self.partitions(&index, &mut work)?,
            None => self.stream(&mut work)?,
        };
        work.judge()?;
        self.report(&done)
    }

    /// The index, if the file has partitions.
    fn index(&self) -> Result<Option<PathBuf>, Failure> {
        if self.index.is_some() || self.offset.is_some() || self.length.is_some() {
            return Ok(self.index.clone());
        }
        let name = spark_name(&self.file).filter(|name| name.kind == Kind::Data);
        let Some(name) = name else {
            return match self.partition {
                None => Ok(None),
                Some(_) => {
                    Err(Failure::new(Exit::Usage, "--partition needs --index with a file of this name"))
                }
            };
        };
        let wanted = name.sibling("index");
        match beside::find(&self.file, &wanted, &self.local_dir) {
            Some(index) => Ok(Some(index)),
            None => {
                let text = format!(
                    "{wanted} is neither beside {} nor where Spark puts it: name it with --index, or the \
                     executor's other directories with --local-dir",
                    self.file.display()
                );
                Err(Failure::new(Exit::Missing, text))
            }
        }
    }

    fn stream(&self, work: &mut Work<'_>) -> Result<Summary, Failure> {
        if let Some(offset) = self.offset {
            let mut file = work.data;
            file.seek(SeekFrom::Start(offset)).map_err(|error| work.cannot_read(&error))?;
        }
        let mut output = match &self.out {
            Some(path) => Output::file(path, self.force)?,
            None => Output::standard(),
        };
        let is_spill = spark_name(&self.file).is_some_and(|name| name.kind == Kind::Spill);
        let bytes = match is_spill && self.offset.is_none() && self.length.is_none() {
            true => work.spill(&mut output)?,
            false => work.stream(self.length, &mut output, "it")?,
        };
        output.finish()?;
        Ok(Summary { bytes, partitions: None })
    }

    fn partitions(&self, index: &Path, work: &mut Work<'_>) -> Result<Summary, Failure> {
        let file = open(index)?;
        let bad = |error: PartitionsError| {
            let text = format!("{} and {}: {error}", index.display(), work.path.display());
            Failure::new(
                if matches!(error, PartitionsError::Io(_)) { Exit::Failed } else { Exit::Corrupt },
                text,
            )
        };
        // The whole index is checked before the first byte is written.
        let walk = || -> Result<Partitions<&File>, Failure> {
            let mut file = &file;
            let len = |file: &File| file.metadata().map(|stat| stat.len()).map_err(PartitionsError::Io);
            file.seek(SeekFrom::Start(0)).map_err(PartitionsError::Io).map_err(&bad)?;
            let data_len = len(work.data).map_err(&bad)?;
            Partitions::new(file, len(file).map_err(&bad)?, Some(data_len)).map_err(&bad)
        };
        let mut wanted = 0;
        let partitions = walk()?;
        let count = partitions.total();
        for partition in partitions {
            let partition = partition.map_err(&bad)?;
            if self.partition.is_some_and(|only| only != partition.number) {
                continue;
            }
            wanted += 1;
            if !partition.is_empty() && partition.len() < IV_LEN as u64 {
                let text = format!(
                    "{}: partition {} has {} bytes, fewer than the {IV_LEN} of an IV: it is damaged, or not encrypted",
                    work.path.display(),
                    partition.number,
                    partition.len()
                );
                return Err(Failure::new(Exit::Corrupt, text));
            }
        }
        if let Some(number) = self.partition.filter(|_| wanted == 0) {
            let text = format!("{} has no partition {number}: it has {count}", index.display());
            return Err(Failure::new(Exit::Missing, text));
        }

        let mut whole = match (&self.out, self.partition) {
            (None, _) => Some(Output::standard()),
            (Some(path), Some(_)) => Some(Output::file(path, self.force)?),
            (Some(dir), None) => {
                output::make_dir(dir)?;
                None
            }
        };
        let mut done = Summary { bytes: 0, partitions: Some(Counts { files: 0, empty: 0 }) };
        for partition in walk()? {
            let partition = partition.map_err(&bad)?;
            if self.partition.is_some_and(|only| only != partition.number) {
                continue;
            }
            let bytes = match (&mut whole, &self.out) {
                (None, Some(dir)) => self.to_file_of(dir, &partition, work)?,
                (Some(output), _) => work.partition(&partition, output)?,
                (None, None) => unreachable!("without --out everything goes to one output"),
            };
            done.add(&partition, bytes);
        }
        if let Some(output) = whole {
            output.finish()?;
        }
        Ok(done)
    }

    fn to_file_of(&self, dir: &Path, partition: &Partition, work: &mut Work<'_>) -> Result<u64, Failure> {
        let name = spark_name(&self.file).and_then(|name| name.partition(partition.number));
        let name = name.unwrap_or_else(|| format!("partition_{}", partition.number));
        let path = dir.join(&name);
        let mut output = Output::file(&path, self.force)?;
        let bytes = work.partition(partition, &mut output)?;
        output.finish()?;
        if !self.json {
            print(&format!("{name} {bytes} {}", path.display()))?;
        }
        Ok(bytes)
    }

    fn report(&self, done: &Summary) -> Result<(), Failure> {
        let out = self.out.as_ref().map(|out| out.display().to_string());
        if self.json {
            let mut object = serde_json::json!({
                "file": self.file.display().to_string(), "out": out, "bytes": done.bytes,
            });
            if let Some(counts) = &done.partitions {
                object["partitions"] = counts.files.into();
                object["empty"] = counts.empty.into();
            }
            print(&versioned(object).to_string())?;
        }
        let bytes = HumanBytes(done.bytes);
        match &done.partitions {
            Some(counts) => tell(format_args!(
                "decrypted {} partitions, {} of them empty: {bytes}",
                counts.files, counts.empty
            )),
            None => tell(format_args!("decrypted {bytes}")),
        }
        Ok(())
    }
}

/// Number of bytes that are read, decrypted and written at once.
const BUFFER: usize = 256 << 10;

/// The one buffer, which is wiped at the end, and its source.
struct Work<'w> {
    key: &'w IoKey,
    data: &'w File,
    path: &'w Path,
    buffer: Zeroizing<Vec<u8>>,
    takes_noise: bool,
    /// The beginnings of the plain bytes of all streams.
    heads: Histogram,
    /// Whether one of them begins like something that Spark writes.
    is_known: bool,
}

impl Work<'_> {
    fn partition(&mut self, partition: &Partition, output: &mut Output) -> Result<u64, Failure> {
        if partition.is_empty() {
            return Ok(0);
        }
        let mut file = self.data;
        file.seek(SeekFrom::Start(partition.start)).map_err(|error| self.cannot_read(&error))?;
        let what = format!("partition {}", partition.number);
        let bytes = self.stream(Some(partition.len()), output, &what)?;
        if bytes + IV_LEN as u64 != partition.len() {
            let text = format!("{}: it became shorter while it was read", self.path.display());
            return Err(Failure::new(Exit::Corrupt, text));
        }
        Ok(bytes)
    }

    /// Decrypts all segments of a spill, if lz4 tells them apart.
    fn spill(&mut self, output: &mut Output) -> Result<u64, Failure> {
        let mut head = [0; MARK.len()];
        let is_lz4 = match DecryptingReader::new(self.data, self.key).read_exact(&mut head) {
            Ok(()) => head == *MARK,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => false,
            Err(error) => return Err(self.cannot_read(&error)),
        };
        let mut file = self.data;
        file.rewind().map_err(|error| self.cannot_read(&error))?;
        if is_lz4 {
            return self.copy(Lz4Segments::new(file, self.key), output, "it");
        }
        complain(format_args!(
            "{}: the first segment of this spill is not compressed with lz4, so its end is not \
             known: further segments come out as noise, and --offset and --length pick them",
            self.path.display()
        ));
        self.stream(None, output, "it")
    }

    /// Decrypts the stream at the file's position, to the end of the file or for `length` bytes.
    fn stream(&mut self, length: Option<u64>, output: &mut Output, what: &str) -> Result<u64, Failure> {
        self.copy(DecryptingReader::new(self.data.take(length.unwrap_or(u64::MAX)), self.key), output, what)
    }

    fn copy(&mut self, mut reader: impl Read, output: &mut Output, what: &str) -> Result<u64, Failure> {
        let mut bytes = 0;
        loop {
            let n = match reader.read(&mut self.buffer) {
                Ok(0) => return Ok(bytes),
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData) =>
                {
                    return Err(Failure::new(Exit::Corrupt, format!("{}: {error}", self.path.display())));
                }
                Err(error) => return Err(self.cannot_read(&error)),
            };
            if bytes == 0 {
                self.look(what, n.min(SAMPLE))?;
            }
            output.write(&self.buffer[..n])?;
            bytes += n as u64;
        }
    }

    fn cannot_read(&self, error: &io::Error) -> Failure {
        Failure::new(Exit::Failed, format!("cannot read {}: {error}", self.path.display()))
    }
}

/// Number of plain bytes of a stream that are judged.
const SAMPLE: usize = 4096;

impl Work<'_> {
    /// Refuses plain bytes that look as random as the encrypted ones.
    fn look(&mut self, what: &str, n: usize) -> Result<(), Failure> {
        let plain = &self.buffer[..n];
        self.is_known |= deep_mark::beginning(plain).is_some();
        let measured = Measurement::of(plain);
        self.heads.add(plain);
        match !self.is_known && measured.judge() == Judgement::LooksRandom {
            true => self.noise(what),
            false => Ok(()),
        }
    }

    /// The same of all streams together, each of which may be too short.
    fn judge(&self) -> Result<(), Failure> {
        match !self.is_known && self.heads.measure().judge() == Judgement::LooksRandom {
            true => self.noise("all streams together"),
            false => Ok(()),
        }
    }

    fn noise(&self, what: &str) -> Result<(), Failure> {
        if self.takes_noise {
            return Ok(());
        }
        let text = format!(
            "{}: the plain text of {what} looks random and begins like nothing that Spark writes: this is not the \
             application's key, or the file is not encrypted, or it holds such bytes (--noise takes them)",
            self.path.display()
        );
        Err(Failure::new(Exit::Corrupt, text))
    }
}

/// Counts of the decrypted files.
struct Summary {
    bytes: u64,
    partitions: Option<Counts>,
}

struct Counts {
    files: u64,
    empty: u64,
}

impl Summary {
    fn add(&mut self, partition: &Partition, bytes: u64) {
        self.bytes += bytes;
        if let Some(counts) = &mut self.partitions {
            counts.files += 1;
            counts.empty += u64::from(partition.is_empty());
        }
    }
}

fn spark_name(path: &Path) -> Option<SparkName> {
    SparkName::parse(path.file_name()?.to_str()?)
}

fn open(path: &Path) -> Result<File, Failure> {
    open_regular(path).map_err(|error| {
        let exit = match error.kind() {
            io::ErrorKind::NotFound => Exit::Missing,
            _ => Exit::Failed,
        };
        Failure::new(exit, format!("cannot open {}: {error}", path.display()))
    })
}

fn print(line: &str) -> Result<(), Failure> {
    writeln!(stdout(), "{line}")
        .map_err(|error| Failure::new(Exit::Failed, format!("standard output: {error}")))
}
