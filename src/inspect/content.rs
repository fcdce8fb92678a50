//! Judges from samples how the bytes of a file are protected.
//!
//! A sample is 4096 bytes. Samples are taken through the whole of a file, its beginning and its end among them; a file that
//! is not longer than all its samples is read whole. Each partition of a data file is a stream of its own, so a sample is
//! taken at the beginning of each; the index tells where. [`Depth::Whole`] reads everything.
//!
//! The gravest finding counts for the whole file: one readable sample makes the file readable. Samples without a mark that
//! are not clearly readable are measured together: what compression leaves of a pattern shows in many bytes only, and
//! partitions may be too short to be judged alone.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;

use super::deep_mark;
use super::follow;
use super::mark::Mark;
use super::randomness::{Histogram, Judgement, Measurement};
use super::reading::{From0, SAMPLE, read_at, read_range};
use super::sealed::{SEALED_HEAD, SealedHeader, may_be_sealed, sealed_header};
use crate::io_encryption::partitions::{Partition, Partitions, PartitionsError};

/// Samples of one file, beside one at the beginning of each partition.
pub const SAMPLES: u64 = 64;

/// Bytes that are read at once where everything is.
const PIECE: u64 = 64 << 10;

/// How much of a file is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Depth {
    /// [`SAMPLES`] of each file, and the beginnings of at most so many of its partitions, evenly spread.
    Samples {
        /// Partitions.
        partitions: u64,
    },
    /// Everything.
    Whole,
}

impl Depth {
    /// Most partitions of one file that are looked at.
    fn partitions(self) -> u64 {
        match self {
            Self::Samples { partitions } => partitions.max(1),
            Self::Whole => u64::MAX,
        }
    }

    /// What is read of a stream behind its beginning, in `samples` samples at most: one at the end of each part of it.
    fn pieces(self, stream: &Range<u64>, samples: u64) -> impl Iterator<Item = Range<u64>> + use<> {
        let sample = SAMPLE as u64;
        let rest = (stream.start + sample).min(stream.end)..stream.end;
        let len = rest.end - rest.start;
        let (step, piece) = match self {
            Self::Samples { .. } if len > samples.saturating_mul(sample) => {
                (len.div_ceil(samples.max(1)), sample)
            }
            Self::Whole | Self::Samples { .. } => (PIECE, PIECE),
        };
        let is_wanted = self == Self::Whole || samples > 0;
        let parts = cut(if is_wanted { rest } else { 0..0 }, step);
        parts.map(move |part| part.end.saturating_sub(piece).max(part.start)..part.end)
    }
}

fn cut(range: Range<u64>, step: u64) -> impl Iterator<Item = Range<u64>> {
    let end = range.end;
    range.step_by(usize::try_from(step).unwrap_or(usize::MAX)).map(move |at| at..(at + step).min(end))
}

/// How the content is protected.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Protection {
    /// The file has no bytes.
    Empty,
    /// This project's server sealed it.
    Sealed(SealedHeader),
    /// It looks random and has no known mark. That is consistent with `spark.io.encryption`, which leaves no mark.
    LikelyEncrypted(Measurement),
    /// Everybody who can read the file can read its content: it has a known mark, or its bytes are not random.
    Readable(Measurement),
    /// The samples decide neither way.
    CannotTell(Reason, Measurement),
}

/// The reason why the samples do not decide.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// Too few bytes, and no mark.
    TooShort,
    /// The bytes are neither random nor clearly not random.
    Between,
    /// The file begins in the middle of a value that may be compressed.
    NoBeginning,
    /// It begins as this project's server seals files, and does not go on so.
    NotAsSealed,
}

impl Reason {
    /// The reason in words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::TooShort => "too few bytes and no known mark",
            Self::Between => "no known mark, and neither random nor clearly not",
            Self::NoBeginning => "begins in the middle of a value, where nothing has a mark",
            Self::NotAsSealed => {
                "begins as a sealed file does, and does not go on so: it was changed or cut, or is of a newer version"
            }
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
    /// A sample without a mark that is not random was seen.
    unmarked: Option<Measurement>,
    pool: Histogram,
}

impl Look {
    /// Adds the sample `head` from the beginning of a stream.
    pub fn at(&mut self, head: &[u8]) {
        if head.is_empty() {
            return;
        }
        self.looked_at += 1;
        match deep_mark::beginning(head).or_else(|| deep_mark::within(head)) {
            Some(mark) => self.found(mark),
            None => self.measure(head),
        }
    }

    /// Adds a sample from anywhere in a stream.
    pub fn inside(&mut self, bytes: &[u8]) {
        match deep_mark::within(bytes) {
            Some(mark) => self.found(mark),
            None => self.measure(bytes),
        }
    }

    fn found(&mut self, mark: Mark) {
        *self.marks.entry(mark).or_default() += 1;
    }

    fn measure(&mut self, bytes: &[u8]) {
        let measured = Measurement::of(bytes);
        if measured.judge() == Judgement::NotRandom {
            self.unmarked.get_or_insert(measured);
        }
        self.pool.add(bytes);
    }

    /// The finding about a file of which `filled` partitions (or 1) are not empty.
    pub fn judge(self, filled: u64) -> Content {
        let protection = self.protection();
        Content { protection, marks: self.marks, looked_at: self.looked_at, filled }
    }

    /// Whether somebody can read it, as far as was seen.
    fn is_readable(&self) -> bool {
        !self.marks.is_empty()
            || self.unmarked.is_some()
            || self.pool.measure().judge() == Judgement::NotRandom
    }

    fn protection(&self) -> Protection {
        let pool = self.pool.measure();
        match pool.judge() {
            _ if self.is_readable() => Protection::Readable(self.unmarked.unwrap_or(pool)),
            _ if self.pool.is_empty() => Protection::Empty,
            Judgement::LooksRandom => Protection::LikelyEncrypted(pool),
            Judgement::TooFew => Protection::CannotTell(Reason::TooShort, pool),
            Judgement::Between | Judgement::NotRandom => Protection::CannotTell(Reason::Between, pool),
        }
    }

    /// Adds what is behind the beginning of a stream.
    fn rest(&mut self, file: &File, stream: &Range<u64>, depth: Depth, samples: u64) -> io::Result<()> {
        let mut bytes = Vec::new();
        for piece in depth.pieces(stream, samples) {
            self.inside(read_range(file, &piece, &mut bytes)?);
        }
        Ok(())
    }
}

/// Judges the content of a file that is one stream, or whose partitions are not known.
pub fn of_file(file: &File, depth: Depth) -> io::Result<Content> {
    let len = file.metadata()?.len();
    let mut head = vec![0; SAMPLE];
    let mut n = read_at(file, &mut head, 0)?;
    if n == SAMPLE && may_be_sealed(&head) {
        head.resize(SEALED_HEAD, 0);
        n += read_at(file, &mut head[n..], SAMPLE as u64)?;
    }
    head.truncate(n);
    if let Some(header) = sealed_header(&head) {
        return of_sealed(file, header, len, depth);
    }
    let mut look = Look::default();
    look.at(&head[..n.min(SAMPLE)]);
    look.rest(file, &(0..len), depth, SAMPLES)?;
    let mut tail = [0; 8];
    let ends = read_at(file, &mut tail, len.saturating_sub(8))? == tail.len();
    if let Some(mark) = deep_mark::at_end(&tail).filter(|_| ends) {
        look.found(mark);
    }
    Ok(look.judge(u64::from(n > 0)))
}

/// Judges a file that begins as a sealed one: its segments must follow each other, and what is sealed in them must look
/// random.
fn of_sealed(file: &File, header: SealedHeader, len: u64, depth: Depth) -> io::Result<Content> {
    let mut look = Look { looked_at: 1, ..Look::default() };
    let follow = follow::walk(&header, file, len, depth == Depth::Whole, |text| look.inside(text))?;
    if !follow {
        look = Look { looked_at: 1, ..Look::default() };
        let behind = header.len().unwrap_or(0).min(len)..len;
        let first = behind.start..(behind.start + SAMPLE as u64).min(len);
        look.inside(read_range(file, &first, &mut Vec::new())?);
        look.rest(file, &behind, depth, SAMPLES)?;
    }
    let protection = match look.protection() {
        Protection::Readable(measured) => Protection::Readable(measured),
        Protection::CannotTell(Reason::Between, measured) if follow => {
            Protection::CannotTell(Reason::Between, measured)
        }
        _ if follow => Protection::Sealed(header),
        _ => Protection::CannotTell(Reason::NotAsSealed, look.pool.measure()),
    };
    Ok(Content { protection, ..look.judge(1) })
}

/// Judges the content of a shuffle data file by its partitions.
///
/// The whole index is checked. An index that does not fit this data file is an error.
pub fn of_partitions(data: &File, index: &File, depth: Depth) -> Result<Content, PartitionsError> {
    let data_len = data.metadata()?.len();
    let index_len = index.metadata()?.len();
    let filled = Partitions::new(From0(index, 0), index_len, Some(data_len))?.sum_up()?.filled;
    let partitions = Partitions::new(From0(index, 0), index_len, Some(data_len))?;
    let mut look = Look::default();
    let mut bytes = Vec::new();
    let step = filled.div_ceil(depth.partitions()).max(1);
    let samples = SAMPLES / filled.div_ceil(step).max(1);
    let mut seen = 0_u64;
    for partition in partitions {
        let partition: Partition = partition?;
        if partition.is_empty() {
            continue;
        }
        if seen.is_multiple_of(step) {
            let stream = partition.start..partition.end;
            let head = stream.start..stream.end.min(stream.start + SAMPLE as u64);
            look.at(read_range(data, &head, &mut bytes)?);
            look.rest(data, &stream, depth, samples)?;
        }
        seen += 1;
    }
    Ok(look.judge(filled))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use sealed_shuffle_protocol::stored::io_encryption::IoKey;

    use super::*;
    use crate::io_encryption::EncryptingWriter;

    const ROW: &[u8] = b"LZ4Block\x25and then some bytes of a row that lz4 found nothing to save in";
    const DEPTH: Depth = Depth::Samples { partitions: 256 };

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
        let depth = Depth::Samples { partitions: most };
        of_partitions(&file(&partitions.concat()), &file(&index), depth).unwrap()
    }

    fn is_readable(content: &[u8], depth: Depth) -> bool {
        matches!(of_file(&file(content), depth).unwrap().protection, Protection::Readable(_))
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
        for (filled, clear) in [(20, 13), (64, 0), (64, 37), (64, 63), (200, 111)] {
            let mut partitions: Vec<_> = (0..filled).map(|_| encrypted(ROW)).collect();
            partitions[clear] = ROW.to_vec();
            let content = look(&partitions, 256);
            assert!(matches!(content.protection, Protection::Readable(_)), "{content:?}");
            let filled = filled as u64;
            assert_eq!(
                (content.marks[&Mark::Lz4Block], content.looked_at, content.filled),
                (1, filled, filled)
            );
            partitions[clear] = b"a line of text without any mark at all".to_vec();
            let content = look(&partitions, 256);
            assert!(matches!(content.protection, Protection::Readable(_)), "{content:?}");
        }
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
    fn knows_a_whole_file() {
        assert_eq!(of_file(&file(&[]), DEPTH).unwrap().protection, Protection::Empty);
        let plain = of_file(&file(b"the quick brown fox jumps over the lazy dog"), DEPTH).unwrap();
        assert!(matches!(plain.protection, Protection::Readable(_)), "{plain:?}");
        for len in [300, 8192, 1 << 20] {
            let secret = of_file(&file(&encrypted(&vec![0; len])), DEPTH).unwrap();
            assert!(matches!(secret.protection, Protection::LikelyEncrypted(_)), "{secret:?}");
        }
    }

    #[test]
    fn what_is_readable_behind_a_random_beginning_is_found() {
        let noise = encrypted(&vec![0; 3 << 20]);
        let text = b"a line of a book about nothing, and another one; ".repeat(3000);
        for at in [5000, 100_000, 1 << 20, noise.len() - 8000] {
            let mut mixed = noise.clone();
            let end = (at + text.len()).min(mixed.len());
            mixed[at..end].copy_from_slice(&text[..end - at]);
            assert!(is_readable(&mixed, DEPTH), "text at {at}");
        }
        // A little in the midst of much is for those who read all of it.
        let mut mixed = noise.clone();
        mixed[1_000_000..1_002_000].copy_from_slice(&text[..2000]);
        assert!(is_readable(&mixed, Depth::Whole));
        assert!(!is_readable(&noise, Depth::Whole) && !is_readable(&noise, DEPTH));
    }

    /// The bytes of a JPEG's picture look random in 4096 of them: but no `ff` stands there without `00` behind it.
    #[test]
    fn cached_image_is_readable_although_its_beginning_looks_random() {
        let mut picture = Vec::new();
        for byte in encrypted(&vec![0; 400_000]) {
            picture.push(byte);
            if byte == 0xff {
                picture.push(0);
            }
        }
        let begins = Measurement::of(&picture[..SAMPLE]).judge();
        assert_ne!(begins, Judgement::NotRandom, "the old way saw no more than this");
        assert!(is_readable(&picture, DEPTH));
    }

    #[test]
    fn pieces_are_within_the_stream_in_order_and_reach_its_end() {
        for len in [0, 1, 4096, 4097, 64 * 4096, 65 * 4096, 65 * 4096 + 1, 10 << 20, (1 << 33) + 5] {
            for samples in [0, 1, 7, 64] {
                for depth in [DEPTH, Depth::Whole] {
                    if depth == Depth::Whole && len > 100 << 20 {
                        continue;
                    }
                    let stream = 100..100 + len;
                    let pieces: Vec<_> = depth.pieces(&stream, samples).collect();
                    let mut at = 100 + (SAMPLE as u64).min(len);
                    for piece in &pieces {
                        assert!(piece.start >= at && piece.end > piece.start && piece.end <= stream.end);
                        at = piece.end;
                    }
                    assert!(pieces.is_empty() || at == stream.end, "{len} {samples}");
                    let read: u64 = pieces.iter().map(|piece| piece.end - piece.start).sum();
                    match depth {
                        Depth::Whole => assert_eq!(read, len.saturating_sub(SAMPLE as u64)),
                        Depth::Samples { .. } => assert!(read <= samples * SAMPLE as u64),
                    }
                }
            }
        }
    }

    #[test]
    fn an_index_of_another_file_is_an_error() {
        let index = file(&[[0; 8], 5_u64.to_be_bytes()].concat());
        assert!(matches!(of_partitions(&file(ROW), &index, DEPTH), Err(PartitionsError::OtherLength { .. })));
    }
}
