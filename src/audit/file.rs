//! The files of a trail: their names, what the first line of each says, and reading their lines.

use std::fs::{File, read_dir};
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealed_shuffle_protocol::stored::envelope::WrappedKey;
use sealed_shuffle_transport::lane::OnLane;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::line::{Hash, hex};
use super::record::Record;

/// The version of lines and head.
pub(super) const VERSION: u64 = 1;

/// What the first line of a file is.
pub(super) const BEGINS: &str = "file";

/// Longest line that is read. Ours have some hundred bytes, and at most a few thousand.
pub(super) const LONGEST_LINE: usize = 64 << 10;

/// The path of the file with this number.
pub(super) fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(name_of(number))
}

pub(super) fn name_of(number: u64) -> String {
    format!("audit-{number:08}.jsonl")
}

fn number_of(name: &str) -> Option<u64> {
    let number = name.strip_prefix("audit-")?.strip_suffix(".jsonl")?.parse().ok()?;
    (name_of(number) == name).then_some(number)
}

/// The numbers of the files in a directory, in order; none where there is no directory.
pub(super) fn list(_: &OnLane, dir: &Path) -> io::Result<Vec<u64>> {
    let entries = match read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut numbers = Vec::new();
    for entry in entries {
        numbers.extend(entry?.file_name().to_str().and_then(number_of));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The end of a file that is no whole line: a process was killed, or a machine lost its power, as it was written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Torn {
    /// The number of the file.
    pub(super) file: u64,
    /// Its last bytes, which are left as they are.
    pub(super) bytes: u64,
    /// Their hash.
    pub(super) sha256: String,
}

/// What the first line of a file says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Header {
    pub(super) file: u64,
    pub(super) key: WrappedKey,
    /// How the file before ends, where that is no whole line.
    pub(super) torn: Option<Torn>,
    /// What was found wrong with the files before, as this one was begun.
    pub(super) broken: Option<String>,
}

impl Header {
    pub(super) fn record(&self) -> Record {
        let record = Record::now(BEGINS).value("file", self.file).value("version", VERSION);
        let record = record.value("key_id", &*self.key.key_id);
        let mut record = record.value("wrapped_key", STANDARD.encode(&self.key.bytes));
        if let Some(Torn { file, bytes, sha256 }) = &self.torn {
            record = record.value("torn", json!({"file": file, "bytes": bytes, "sha256": sha256}));
        }
        record.maybe("broken", self.broken.as_deref())
    }

    pub(super) fn read(object: &Value) -> Option<Self> {
        if object["what"] != BEGINS || object["version"] != VERSION {
            return None;
        }
        let torn = &object["torn"];
        let torn = match torn.is_null() {
            true => None,
            false => Some(Torn {
                file: torn["file"].as_u64()?,
                bytes: torn["bytes"].as_u64()?,
                sha256: torn["sha256"].as_str()?.to_owned(),
            }),
        };
        Some(Self {
            file: object["file"].as_u64()?,
            key: wrapped_key(object)?,
            torn,
            broken: object["broken"].as_str().map(str::to_owned),
        })
    }
}

/// The wrapped key that an object carries.
pub(super) fn wrapped_key(object: &Value) -> Option<WrappedKey> {
    let key_id = object["key_id"].as_str()?.to_owned();
    let bytes = STANDARD.decode(object["wrapped_key"].as_str()?).ok()?;
    let fits = key_id.len() <= WrappedKey::MAX_ID && bytes.len() <= WrappedKey::MAX_BYTES;
    fits.then(|| WrappedKey { key_id, bytes: bytes.into() })
}

/// A piece of a file.
#[derive(Debug)]
pub(super) enum Piece {
    /// A line, without its line break.
    Line(Vec<u8>),
    /// What is left at the end, and is no line.
    Rest { bytes: u64, hash: Hash },
}

/// The pieces of a file, in order.
pub(super) struct Pieces {
    from: BufReader<File>,
    is_over: bool,
}

impl Pieces {
    pub(super) fn of(_: &OnLane, path: &Path) -> io::Result<Self> {
        Ok(Self { from: BufReader::with_capacity(256 << 10, File::open(path)?), is_over: false })
    }

    /// The next one; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Piece>> {
        if self.is_over {
            return Ok(None);
        }
        let mut line = Vec::new();
        let mut bounded = (&mut self.from).take(LONGEST_LINE as u64);
        bounded.read_until(b'\n', &mut line)?;
        if line.last() == Some(&b'\n') {
            line.pop();
            return Ok(Some(Piece::Line(line)));
        }
        self.is_over = true;
        let mut hash = Sha256::new();
        let mut bytes = line.len() as u64;
        hash.update(&line);
        let mut buffer = vec![0; LONGEST_LINE];
        loop {
            let read = self.from.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            bytes += read as u64;
            hash.update(&buffer[..read]);
        }
        Ok((bytes > 0).then(|| Piece::Rest { bytes, hash: hash.finalize().into() }))
    }
}

impl Torn {
    pub(super) fn new(file: u64, bytes: u64, hash: &Hash) -> Self {
        Self { file, bytes, sha256: hex(hash) }
    }

    /// A file without a byte, or with all of them: nothing of it was ever a line.
    pub(super) fn empty(file: u64) -> Self {
        Self::new(file, 0, &Sha256::digest([]).into())
    }
}
