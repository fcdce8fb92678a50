//! Reads index, checksum and merged meta files, and compares them with the files beside them.
//!
//! Files are read piece by piece, never held whole. Merged meta is the exception: it is small and bounded
//! ([`LARGEST_META`]). Layouts: [`crate::io_encryption::partitions`], [`crate::disk::checksum`]; merged meta is one
//! bitmap of map indexes for each chunk, one after the other (`RemoteBlockPushResolver`, Spark 4.3.0).

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sealed_shuffle_protocol::codec::Decoder;
use sealed_shuffle_protocol::shuffle::Bitmap;

use super::beside;
use super::name::SparkName;
use super::reading::{From0, open_regular, read_at};
use crate::disk::checksum::{Algorithm, Checksum};
use crate::io_encryption::partitions::{Partitions, PartitionsError, Summary};

/// Length of the longest merged meta file that is read.
pub const LARGEST_META: u64 = 64 << 20;

/// Most wrong partitions that are named.
const NAMED: usize = 16;

/// Why the content of a metadata file cannot be reported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// The index is not valid.
    #[error(transparent)]
    Index(#[from] PartitionsError),
    /// The bytes are not those of a file with this name.
    #[error("{0}")]
    Corrupt(String),
    /// The file cannot be read.
    #[error("cannot read it: {0}")]
    Io(#[from] io::Error),
}

/// Whether the other file of the output agrees with this one.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Agreement {
    /// It agrees.
    With(PathBuf),
    /// It does not agree, for this reason.
    Not(PathBuf, String),
    /// The other file is neither beside this one nor where Spark puts it.
    NotFound(String),
    /// There is no other file, and none is needed: every partition is empty.
    NotNeeded,
}

/// The content of an index.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct IndexReport {
    /// Partitions, or chunks of a merged index.
    pub summary: Summary,
    /// Whether the length of the data file is the last offset.
    pub data: Agreement,
}

/// Reads an index, of a map output or merged, and compares it with its data file.
pub fn index(path: &Path, name: &SparkName, more: &[PathBuf]) -> Result<IndexReport, MetadataError> {
    let file = open_regular(path)?;
    let summary = Partitions::new(&file, file.metadata()?.len(), None)?.sum_up()?;
    let wanted = name.sibling("data");
    let data = match beside::find(path, &wanted, more) {
        None if summary.end == 0 => Agreement::NotNeeded,
        None => Agreement::NotFound(wanted),
        Some(data) => {
            let len = data.metadata()?.len();
            match len == summary.end {
                true => Agreement::With(data),
                false => {
                    let other = PartitionsError::OtherLength { index: summary.end, data: len };
                    Agreement::Not(data, other.to_string())
                }
            }
        }
    };
    Ok(IndexReport { summary, data })
}

/// The content of a checksum file.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ChecksumReport {
    /// Number of values: one for each partition.
    pub partitions: u64,
    /// The first values.
    pub first: Vec<u64>,
    /// Whether the data file has these checksums.
    pub data: Agreement,
    /// Number of partitions whose bytes have another checksum.
    pub wrong: u64,
    /// The first of these partitions.
    pub first_wrong: Vec<u64>,
}

/// Reads a checksum file and computes the checksums of the data again.
///
/// A difference need not be damage. Under `spark.io.encryption` the file of a map task that spilled more than once
/// holds the checksums of its spills (Spark 3.5.9 and 4.3.0).
pub fn checksums(
    path: &Path,
    name: &SparkName,
    algorithm: &str,
    more: &[PathBuf],
) -> Result<ChecksumReport, MetadataError> {
    let file = open_regular(path)?;
    let len = file.metadata()?.len();
    if !len.is_multiple_of(8) {
        let text = format!("a checksum file has 8 bytes for each partition, this has {len} bytes");
        return Err(MetadataError::Corrupt(text));
    }
    let mut values = io::BufReader::new(From0(&file, 0));
    let mut next = || -> Result<u64, MetadataError> {
        let mut value = [0; 8];
        values.read_exact(&mut value)?;
        Ok(u64::from_be_bytes(value))
    };
    let mut report = ChecksumReport {
        partitions: len / 8,
        first: Vec::new(),
        data: Agreement::NotNeeded,
        wrong: 0,
        first_wrong: Vec::new(),
    };
    let find = |ending: &str| beside::find(path, &name.sibling(ending), more);
    let (index, data) = (find("index"), find("data"));
    let Some(known) = Algorithm::from_name(algorithm) else {
        return Err(MetadataError::Corrupt(format!("{algorithm} is no checksum algorithm of Spark")));
    };
    let Some(index) = index else {
        report.first = (0..report.partitions.min(NAMED as u64)).map(|_| next()).collect::<Result<_, _>>()?;
        report.data = Agreement::NotFound(name.sibling("index"));
        return Ok(report);
    };
    let index_file = open_regular(&index)?;
    let data_file = data.as_deref().map(open_regular).transpose()?;
    let data_len = data_file.as_ref().map(File::metadata).transpose()?.map(|stat| stat.len());
    let partitions = Partitions::new(&index_file, index_file.metadata()?.len(), data_len)?;
    if partitions.total() != report.partitions {
        let text = format!("{} checksums of {} partitions", report.partitions, partitions.total());
        report.data = Agreement::Not(index, text);
        return Ok(report);
    }
    let mut buffer = vec![0; 128 << 10];
    let mut missing = false;
    for partition in partitions {
        let partition = partition?;
        let stored = next()?;
        if report.first.len() < NAMED {
            report.first.push(stored);
        }
        let Some(data_file) = data_file.as_ref().filter(|_| !partition.is_empty()) else {
            missing |= !partition.is_empty();
            continue;
        };
        if of_range(known, data_file, partition.start, partition.len(), &mut buffer)? != stored {
            report.wrong += 1;
            if report.first_wrong.len() < NAMED {
                report.first_wrong.push(partition.number);
            }
        }
    }
    report.data = match data {
        None if missing => Agreement::NotFound(name.sibling("data")),
        None => Agreement::NotNeeded,
        Some(data) if report.wrong > 0 => {
            Agreement::Not(data, format!("{} of {} partitions differ", report.wrong, report.partitions))
        }
        Some(data) => Agreement::With(data),
    };
    Ok(report)
}

fn of_range(algorithm: Algorithm, file: &File, start: u64, len: u64, buffer: &mut [u8]) -> io::Result<u64> {
    let mut checksum = Checksum::new(algorithm);
    let mut at = 0;
    while at < len {
        let want = usize::try_from(len - at).unwrap_or(usize::MAX).min(buffer.len());
        let n = read_at(file, &mut buffer[..want], start + at)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        checksum.update(&buffer[..n]);
        at += n as u64;
    }
    Ok(checksum.value().cast_unsigned())
}

/// The content of a merged meta file.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct MetaReport {
    /// Number of chunks: the file has one bitmap for each.
    pub chunks: u64,
    /// Number of map outputs in all chunks.
    pub maps: u64,
    /// Whether the merged index has as many chunks.
    pub index: Agreement,
}

/// Reads a merged meta file and compares it with the index beside it.
pub fn merged_meta(path: &Path, name: &SparkName, more: &[PathBuf]) -> Result<MetaReport, MetadataError> {
    let mut bytes = Vec::new();
    open_regular(path)?.take(LARGEST_META + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_META {
        return Err(MetadataError::Corrupt("longer than 64 MiB, which no merged meta file is".to_owned()));
    }
    let mut from = Decoder::new(bytes.into());
    let (mut chunks, mut maps) = (0_u64, 0_u64);
    // Reads one bitmap at a time: in memory it may be larger than its bytes.
    while from.remaining() > 0 {
        let bitmap: Bitmap = from
            .read()
            .map_err(|error| MetadataError::Corrupt(format!("chunk {chunks} has no bitmap: {error}")))?;
        chunks += 1;
        maps = maps.saturating_add(bitmap.len());
    }
    let wanted = name.sibling("index");
    let index = match beside::find(path, &wanted, more) {
        None => Agreement::NotFound(wanted),
        Some(index) => {
            let file = open_regular(&index)?;
            match Partitions::new(&file, file.metadata()?.len(), None)?.total() {
                same if same == chunks => Agreement::With(index),
                other => Agreement::Not(index, format!("it has {other} chunks, the meta file {chunks}")),
            }
        }
    };
    Ok(MetaReport { chunks, maps, index })
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use sealed_shuffle_protocol::codec::Wire;

    use super::*;

    struct Dir(tempfile::TempDir);

    impl Dir {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn put(&self, name: &str, content: &[u8]) -> (PathBuf, SparkName) {
            let path = self.0.path().join(name);
            std::fs::write(&path, content).unwrap();
            (path, SparkName::parse(name).unwrap())
        }
    }

    fn numbers(values: &[u64]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_be_bytes()).collect()
    }

    #[test]
    fn an_index_agrees_with_data_of_its_length() {
        let dir = Dir::new();
        let (path, name) = dir.put("shuffle_0_1_0.index", &numbers(&[0, 4, 4, 9]));
        let look = || index(&path, &name, &[]).unwrap();
        assert_eq!(look().data, Agreement::NotFound("shuffle_0_1_0.data".into()));
        dir.put("shuffle_0_1_0.data", b"AAAABBBBB");
        assert!(matches!(look().data, Agreement::With(_)));
        assert_eq!(look().summary, Summary { partitions: 3, filled: 2, largest: 5, end: 9 });
        dir.put("shuffle_0_1_0.data", b"AAAABBBB");
        assert!(matches!(look().data, Agreement::Not(..)));
        let (path, name) = dir.put("shuffle_0_2_0.index", &[0; 24]);
        assert_eq!(index(&path, &name, &[]).unwrap().data, Agreement::NotNeeded);
        let (path, name) = dir.put("shuffle_0_3_0.index", &[0; 23]);
        assert!(matches!(index(&path, &name, &[]), Err(MetadataError::Index(_))));
    }

    #[test]
    fn checksums_are_computed_again() {
        let dir = Dir::new();
        let (path, name) = dir.put("shuffle_0_1_0.checksum.ADLER32", &numbers(&[0x028e0105, 1, 0x0311014a]));
        let look = || checksums(&path, &name, "ADLER32", &[]).unwrap();
        assert!(matches!(look().data, Agreement::NotFound(_)));
        dir.put("shuffle_0_1_0.index", &numbers(&[0, 4, 4, 8]));
        dir.put("shuffle_0_1_0.data", b"AAAABBBB");
        let report = look();
        assert_eq!((report.partitions, report.first.as_slice()), (3, &[0x028e0105, 1, 0x0311014a][..]));
        let good = adler2::adler32_slice(b"BBBB");
        assert_eq!(report.wrong, u64::from(good != 0x0311014a));
        let (path, name) = dir.put("shuffle_0_1_0.checksum.ADLER32", &numbers(&[0x028e0105, 1, good.into()]));
        let report = checksums(&path, &name, "ADLER32", &[]).unwrap();
        assert!(matches!(report.data, Agreement::With(_)), "{report:?}");
        dir.put("shuffle_0_1_0.data", b"AAABBBBB");
        let report = checksums(&path, &name, "ADLER32", &[]).unwrap();
        assert_eq!((report.wrong, report.first_wrong.as_slice()), (1, &[0][..]));
        assert!(checksums(&path, &name, "MD5", &[]).is_err());
    }

    #[test]
    fn merged_meta_has_a_bitmap_a_chunk() {
        let dir = Dir::new();
        let mut bytes = BytesMut::new();
        for chunk in [vec![0, 3, 7], vec![1]] {
            Bitmap::from_iter(chunk).encode(&mut bytes).unwrap();
        }
        let (path, name) = dir.put("shuffleMerged_app-1_0_0_2.meta", &bytes);
        dir.put("shuffleMerged_app-1_0_0_2.index", &numbers(&[0, 100, 120]));
        let report = merged_meta(&path, &name, &[]).unwrap();
        assert_eq!((report.chunks, report.maps), (2, 4));
        assert!(matches!(report.index, Agreement::With(_)));
        dir.put("shuffleMerged_app-1_0_0_2.index", &numbers(&[0, 100]));
        assert!(matches!(merged_meta(&path, &name, &[]).unwrap().index, Agreement::Not(..)));
        let (path, name) = dir.put("shuffleMerged_app-1_0_0_3.meta", b"not a bitmap");
        assert!(matches!(merged_meta(&path, &name, &[]), Err(MetadataError::Corrupt(_))));
    }
}
