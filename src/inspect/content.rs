//! Judges from a bounded sample how the bytes of a file are protected.
//!
//! Each partition of a data file is a stream of its own, so a sample is taken at the beginning of each; the index
//! tells where. Of any other file the sample is its beginning. Samples that have no mark and are too short to judge
//! alone are judged together with those of the other partitions of the file. The gravest finding counts for the whole
//! file: one readable partition makes the file readable.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::mark::Mark;
use super::randomness::{Judgement, Measured};
use super::sealed::{SEALED_HEAD, SealedHeader, may_be_sealed, sealed_header};
use crate::io_encryption::partitions::{Partition, Partitions, PartitionsError};
use crate::io_encryption::segments::fill;

/// Length of the sample from the beginning of a partition, or of a file without partitions.
pub const HEAD: usize = 4096;

/// Most unmarked bytes of one file that are judged together.
const POOL: usize = 16 << 10;

/// How the content is protected.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Protection {
    /// The file has no bytes.
    Empty,
    /// This project's server sealed it.
    Sealed(SealedHeader),
    /// It looks random and has no known mark. That is consistent with `spark.io.encryption`, which leaves no mark.
    LikelyEncrypted(Measured),
    /// Everybody who can read the file can read its content: it has a known mark, or its bytes are not random.
    Readable(Measured),
    /// The sample decides neither way.
    CannotTell(Reason, Measured),
}

/// The reason why the sample does not decide.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// Too few bytes, and no mark.
    TooShort,
    /// The bytes are neither random nor clearly not random.
    Between,
    /// The sample begins in the middle of a value that may be compressed.
    NoBeginning,
}

impl Reason {
    /// The reason in words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::TooShort => "too few bytes and no known mark",
            Self::Between => "no known mark, and neither random nor clearly not",
            Self::NoBeginning => "begins in the middle of a value, where nothing has a mark",
        }
    }
}

/// The finding about the content of a file.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Content {
    /// The finding.
    pub protection: Protection,
    /// The number of partitions (1 for a file without partitions) for each mark.
    pub marks: BTreeMap<Mark, u64>,
    /// Partitions (or 1) that were sampled; empty ones are not counted.
    pub looked_at: u64,
    /// Partitions (or 1) that are not empty.
    pub filled: u64,
}

/// Collects the samples of one file.
#[derive(Debug, Default)]
pub struct Look {
    marks: BTreeMap<Mark, u64>,
    looked_at: u64,
    sealed: Option<SealedHeader>,
    /// A sample without a mark that is not random was seen.
    unmarked: Option<Measured>,
    pool: Vec<u8>,
}

impl Look {
    /// Adds the sample `head` from the beginning of a stream.
    pub fn at(&mut self, head: &[u8]) {
        if head.is_empty() {
            return;
        }
        self.looked_at += 1;
        if let Some(header) = sealed_header(head) {
            self.sealed = Some(header);
            return;
        }
        if let Some(mark) = Mark::of(head) {
            *self.marks.entry(mark).or_default() += 1;
            return;
        }
        let measured = Measured::of(head);
        if measured.judge() == Judgement::NotRandom {
            self.unmarked.get_or_insert(measured);
            return;
        }
        let room = POOL - self.pool.len();
        self.pool.extend_from_slice(&head[..head.len().min(room)]);
    }

    /// The finding about a file of which `filled` partitions (or 1) are not empty.
    pub fn judge(self, filled: u64) -> Content {
        let protection = self.protection();
        Content { protection, marks: self.marks, looked_at: self.looked_at, filled }
    }

    fn protection(&self) -> Protection {
        let pool = Measured::of(&self.pool);
        match pool.judge() {
            _ if !self.marks.is_empty() => Protection::Readable(pool),
            _ if self.unmarked.is_some() => Protection::Readable(self.unmarked.unwrap_or(pool)),
            Judgement::NotRandom => Protection::Readable(pool),
            _ if self.pool.is_empty() => match &self.sealed {
                Some(header) => Protection::Sealed(header.clone()),
                None => Protection::Empty,
            },
            Judgement::LooksRandom => Protection::LikelyEncrypted(pool),
            Judgement::TooFew => Protection::CannotTell(Reason::TooShort, pool),
            Judgement::Between => Protection::CannotTell(Reason::Between, pool),
        }
    }
}

/// Judges the content of a file that is one stream, or whose partitions are not known, from its beginning.
pub fn of_beginning(file: &File) -> io::Result<Content> {
    let mut look = Look::default();
    let mut head = vec![0; HEAD];
    let mut n = read_at(file, &mut head, 0)?;
    if n == HEAD && may_be_sealed(&head) {
        head.resize(SEALED_HEAD, 0);
        n += read_at(file, &mut head[n..], HEAD as u64)?;
    }
    look.at(&head[..n]);
    Ok(look.judge(u64::from(n > 0)))
}

/// Judges the content of a shuffle data file from at most `most` of its partitions, evenly spread.
///
/// The whole index is checked. An index that does not fit this data file is an error.
pub fn of_partitions(data: &File, index: &File, most: u64) -> Result<Content, PartitionsError> {
    let data_len = data.metadata()?.len();
    let index_len = index.metadata()?.len();
    let filled = Partitions::new(From0(index, 0), index_len, Some(data_len))?.sum_up()?.filled;
    let partitions = Partitions::new(From0(index, 0), index_len, Some(data_len))?;
    let mut look = Look::default();
    let mut head = vec![0; HEAD];
    let step = filled.div_ceil(most.max(1)).max(1);
    let mut seen = 0_u64;
    for partition in partitions {
        let partition: Partition = partition?;
        if partition.is_empty() {
            continue;
        }
        if seen.is_multiple_of(step) {
            let len = usize::try_from(partition.len()).unwrap_or(HEAD).min(HEAD);
            let n = read_at(data, &mut head[..len], partition.start)?;
            look.at(&head[..n]);
        }
        seen += 1;
    }
    Ok(look.judge(filled))
}

/// Reads an open file from an offset on. It neither uses nor moves the file's own position.
pub(super) struct From0<'f>(pub(super) &'f File, pub(super) u64);

impl io::Read for From0<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.0.read_at(out, self.1)?;
        self.1 += n as u64;
        Ok(n)
    }
}

/// Reads at most `most` bytes at `at`; fewer where the file ends.
pub(super) fn read_at(file: &File, out: &mut [u8], at: u64) -> io::Result<usize> {
    fill(&mut From0(file, at), out)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use sealed_shuffle_protocol::stored::io_encryption::IoKey;

    use super::*;
    use crate::io_encryption::EncryptingWriter;

    const ROW: &[u8] = b"LZ4Block\x25and then some bytes of a row that lz4 found nothing to save in";

    fn encrypted(payload: &[u8]) -> Vec<u8> {
        let key = IoKey::from_bytes(&[9; 32]).unwrap();
        let mut writer = EncryptingWriter::new(Vec::new(), &key).unwrap();
        writer.write_all(payload).unwrap();
        writer.finish().unwrap()
    }

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    fn look(partitions: &[Vec<u8>], most: u64) -> Content {
        let mut end = 0_u64;
        let mut index = vec![0; 8];
        for partition in partitions {
            end += partition.len() as u64;
            index.extend_from_slice(&end.to_be_bytes());
        }
        of_partitions(&file(&partitions.concat()), &file(&index), most).unwrap()
    }

    #[test]
    fn small_encrypted_partitions_are_judged_together() {
        let partitions: Vec<_> = (0..20).map(|_| encrypted(ROW)).collect();
        let content = look(&partitions, 64);
        assert!(matches!(content.protection, Protection::LikelyEncrypted(_)), "{content:?}");
        let alone = look(&partitions[..1], 64);
        assert!(matches!(alone.protection, Protection::CannotTell(Reason::TooShort, _)), "{alone:?}");
    }

    #[test]
    fn one_readable_partition_makes_a_file_readable() {
        let mut partitions: Vec<_> = (0..20).map(|_| encrypted(ROW)).collect();
        partitions[13] = ROW.to_vec();
        let content = look(&partitions, 64);
        assert!(matches!(content.protection, Protection::Readable(_)), "{content:?}");
        assert_eq!((content.marks[&Mark::Lz4Block], content.looked_at, content.filled), (1, 20, 20));
    }

    #[test]
    fn looks_at_no_more_partitions_than_allowed() {
        let mut partitions = vec![ROW.to_vec(); 1000];
        partitions[7].clear();
        let content = look(&partitions, 16);
        assert_eq!(content.filled, 999);
        assert!((8..=16).contains(&content.looked_at), "{content:?}");
    }

    #[test]
    fn knows_a_beginning() {
        assert_eq!(of_beginning(&file(&[])).unwrap().protection, Protection::Empty);
        let plain = of_beginning(&file(b"the quick brown fox jumps over the lazy dog")).unwrap();
        assert!(matches!(plain.protection, Protection::Readable(_)), "{plain:?}");
        let secret = of_beginning(&file(&encrypted(&[0; 8192]))).unwrap();
        assert!(matches!(secret.protection, Protection::LikelyEncrypted(_)), "{secret:?}");
    }

    #[test]
    fn an_index_of_another_file_is_an_error() {
        let index = file(&[[0; 8], 5_u64.to_be_bytes()].concat());
        assert!(matches!(of_partitions(&file(ROW), &index, 9), Err(PartitionsError::OtherLength { .. })));
    }
}
