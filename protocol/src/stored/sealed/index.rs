//! The reading side of a partition: its index, verified as a whole, and what follows from it for the two other files.
//!
//! An index is believed when its header is that of the partition asked for, every record verifies under the key
//! derived from that header, each names the one before it, positions only grow, and the last one is a commit behind
//! which the file ends, or the one at which the partition's writer says that it is ([`Progress`]).

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::error::SealedError;
use super::file_key::{FileKey, header_of};
use super::header::{Header, Salt};
use super::partition::Kind;
use super::record::{ChunkRecord, CommitRecord, Gap, NO_RECORD, Progress, Record};
use super::segment::{self, HEAD, MAX_RECORD, OVERHEAD, SegmentHead};
use crate::crypto::gcm::GcmKey;
use crate::ids::MergedPartition;
use crate::stored::envelope::{Context, DataKey};

/// The chunks of a partition, and the keys that open them. Made once, used for any number of reads.
#[derive(Debug)]
pub struct Index {
    /// That of the index file, as it stands there.
    header: Bytes,
    salt: Salt,
    chunks: Box<[Chunk]>,
    lengths: Lengths,
    data_key: GcmKey,
    meta_key: GcmKey,
}

/// Where a chunk lies.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Chunk {
    plain: Range<u64>,
    sealed: Range<u64>,
    meta: Range<u64>,
    meta_counter: u64,
    segments: u32,
    first: u64,
    gaps: Box<[Gap]>,
}

/// How long the files are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Lengths {
    data: u64,
    meta: u64,
    /// Whether they are the whole files, or so much as is known of files that grow.
    is_final: bool,
}

impl Index {
    /// Reads the index file of `partition` as `attempt` merged it, which is in `file` from first to last byte, and opens its records where
    /// they lie. `progress` is that of the partition's writer while there is one; else the file must be finalized.
    pub fn open(
        file: &mut [u8],
        partition: MergedPartition,
        attempt: i32,
        context: &Context,
        key: &DataKey,
        progress: Option<&Progress>,
    ) -> Result<Self, SealedError> {
        let (header, begin) = Header::decode(file)?;
        header.expect(Kind::Index, partition, attempt, context)?;
        let (front, records) = file.split_at_mut(begin);
        let derive = |header: &[u8], salt| FileKey::derive(key, salt, header).expand();
        let walk = Walk {
            key: derive(front, &header.salt),
            at: begin as u64,
            previous: NO_RECORD,
            begin: begin as u64,
            chunks: Vec::new(),
        };
        let (chunks, lengths) = match progress {
            Some(progress) => walk.until(progress, records)?,
            None => walk.until_commit(records)?,
        };
        Ok(Self {
            data_key: derive(&header_of(Kind::Data, front), &header.salt),
            meta_key: derive(&header_of(Kind::Meta, front), &header.salt),
            header: Bytes::copy_from_slice(front),
            salt: header.salt,
            chunks: chunks.into(),
            lengths,
        })
    }

    /// The chunks, in order.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// Plaintext of all chunks.
    pub fn plain_len(&self) -> u64 {
        self.chunks.last().map_or(0, |chunk| chunk.plain.end)
    }

    /// Which opening of the partition this is.
    pub fn salt(&self) -> Salt {
        self.salt
    }

    /// Bytes of the header of each of the three files.
    pub fn header_len(&self) -> usize {
        self.header.len()
    }

    /// Whether the partition is finalized.
    pub fn is_final(&self) -> bool {
        self.lengths.is_final
    }

    /// Checks what stands at the front of the data or meta file (its first [`Index::header_len`] bytes, or all there
    /// are) and how long the file is.
    pub fn check(&self, kind: Kind, front: &[u8], file_len: u64) -> Result<(), SealedError> {
        let expected = header_of(kind, &self.header);
        if front.get(..expected.len()) != Some(&expected[..]) {
            return Err(self.explain(kind, front));
        }
        self.check_len(kind, file_len)
    }

    /// Checks how long the data or meta file is.
    pub fn check_len(&self, kind: Kind, found: u64) -> Result<(), SealedError> {
        let expected = match kind {
            Kind::Data => self.lengths.data,
            Kind::Meta => self.lengths.meta,
            // It was read to its end.
            Kind::Index => return Ok(()),
        };
        if found < expected {
            return Err(SealedError::Cut { at: found, needed: expected });
        }
        match self.lengths.is_final && found > expected {
            true => Err(SealedError::Appended { found, expected }),
            false => Ok(()),
        }
    }

    /// Opens all bitmaps, which are in `file`, the whole meta file or as much of it as is known of
    /// ([`Index::meta_len`]): the body of a MergedBlockMetaSuccess.
    pub fn open_meta(&self, file: &mut [u8]) -> Result<Bytes, SealedError> {
        self.check(Kind::Meta, file, file.len() as u64)?;
        let mut out = BytesMut::new();
        for (n, chunk) in self.chunks.iter().enumerate() {
            let cut = SealedError::Cut { at: file.len() as u64, needed: chunk.meta.end };
            let range = position(chunk.meta.start).zip(position(chunk.meta.end)).map(|(from, to)| from..to);
            let segment = range.and_then(|range| file.get_mut(range)).ok_or(cut)?;
            let at = chunk.meta.start;
            let head = head(segment, at)?;
            if head.counter != chunk.meta_counter {
                return Err(SealedError::Replaced { at, found: head.counter, expected: chunk.meta_counter });
            }
            out.extend_from_slice(segment::open(&self.meta_key, n as u64, at, segment)?);
        }
        Ok(out.freeze())
    }

    /// Bytes of the meta file that count.
    pub fn meta_len(&self) -> u64 {
        self.lengths.meta
    }

    /// Bytes that it takes in memory, about.
    pub fn memory(&self) -> usize {
        let chunks = self.chunks.iter().map(|chunk| size_of::<Chunk>() + size_of_val(&*chunk.gaps));
        size_of::<Self>() + self.header.len() + chunks.sum::<usize>()
    }

    fn explain(&self, kind: Kind, front: &[u8]) -> SealedError {
        let wanted = match Header::decode(&self.header) {
            Ok((wanted, _)) => wanted,
            Err(error) => return error,
        };
        let found = match Header::decode(front) {
            Ok((found, _)) => found,
            Err(error) => return error,
        };
        let attempt = wanted.attempt.or(found.attempt).unwrap_or_default();
        if let Err(error) = found.expect(kind, wanted.partition, attempt, &wanted.context) {
            return error;
        }
        match found.salt == self.salt {
            true => SealedError::HeaderChanged { kind },
            false => SealedError::OtherOpening { kind },
        }
    }
}

impl Header {
    /// Says what differs from the header that should be there, as far as a header can say it: one of version 1 is of
    /// any attempt.
    pub fn expect(
        &self,
        kind: Kind,
        partition: MergedPartition,
        attempt: i32,
        context: &Context,
    ) -> Result<(), SealedError> {
        let differ = |what, found: &str, expected: &str| {
            let quote = |text: &str| format!("{text:?}");
            SealedError::Foreign { what, found: quote(found), expected: quote(expected) }
        };
        let ours = &self.context;
        let node = |context: &Context| context.node.clone().unwrap_or_default();
        if ours.app != context.app {
            return Err(differ("application", ours.app.as_str(), context.app.as_str()));
        }
        if ours.cluster != context.cluster {
            return Err(differ("cluster", &ours.cluster, &context.cluster));
        }
        if ours.node != context.node {
            return Err(differ("node", &node(ours), &node(context)));
        }
        if self.partition != partition {
            let (found, expected) = (self.partition.to_string(), partition.to_string());
            return Err(SealedError::Foreign { what: "partition", found, expected });
        }
        if let Some(found) = self.attempt.filter(|found| *found != attempt) {
            let (found, expected) = (found.to_string(), attempt.to_string());
            return Err(SealedError::Foreign { what: "attempt of its application", found, expected });
        }
        match self.kind == kind {
            true => Ok(()),
            false => Err(SealedError::Foreign {
                what: "kind of file",
                found: self.kind.to_string(),
                expected: kind.to_string(),
            }),
        }
    }
}

impl Chunk {
    /// Its place in the partition's plaintext.
    pub fn plain(&self) -> Range<u64> {
        self.plain.clone()
    }

    /// Its place in the data file: whole segments.
    pub fn sealed(&self) -> Range<u64> {
        self.sealed.clone()
    }

    /// Bytes of plaintext.
    pub fn len(&self) -> u64 {
        self.plain.end - self.plain.start
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Segments that it has.
    pub fn segments(&self) -> u32 {
        self.segments
    }
}

/// On the way through the records.
struct Walk {
    key: GcmKey,
    /// Where the next one begins.
    at: u64,
    previous: u64,
    /// Length of the headers.
    begin: u64,
    chunks: Vec<Chunk>,
}

impl Walk {
    fn until_commit(mut self, mut records: &mut [u8]) -> Result<(Vec<Chunk>, Lengths), SealedError> {
        let end = self.at + records.len() as u64;
        while !records.is_empty() {
            let (record, rest) = self.next(records, end)?;
            records = rest;
            match record {
                Record::Chunk(record) => self.take(record)?,
                Record::Commit(commit) => {
                    self.check(&commit)?;
                    if self.at != end {
                        return Err(SealedError::Appended { found: end, expected: self.at });
                    }
                    let lengths = Lengths { data: commit.data, meta: commit.meta, is_final: true };
                    return Ok((self.chunks, lengths));
                }
            }
        }
        Err(SealedError::NotFinalized)
    }

    fn until(
        mut self,
        progress: &Progress,
        mut records: &mut [u8],
    ) -> Result<(Vec<Chunk>, Lengths), SealedError> {
        let end = self.at + records.len() as u64;
        while self.at < progress.index {
            let (record, rest) = self.next(records, end)?;
            records = rest;
            match record {
                Record::Chunk(record) => self.take(record)?,
                Record::Commit(_) => return Err(self.odd("it ends what is still being merged")),
            }
        }
        let (plain, data, meta) = self.ends();
        let chunks = self.count()?;
        let found = Progress { chunks, plain, data, index: self.at, meta, last: self.previous };
        match found == *progress {
            true => Ok((self.chunks, Lengths { data, meta, is_final: false })),
            false => Err(self.odd("it is not what the writer wrote last")),
        }
    }

    /// Opens the record at the front of `records`, the rest of a file that ends at `end`.
    fn next<'a>(&mut self, records: &'a mut [u8], end: u64) -> Result<(Record, &'a mut [u8]), SealedError> {
        let at = self.at;
        let head = head(records, at)?;
        let len = head.sealed_len();
        if head.plain as usize > MAX_RECORD {
            return Err(SealedError::Length { at, found: len });
        }
        let cut = SealedError::Cut { at: end, needed: at.saturating_add(len) };
        let (segment, rest) = position(len).and_then(|len| records.split_at_mut_checked(len)).ok_or(cut)?;
        let place = u64::from(self.count()?);
        let plain = segment::open(&self.key, place, at, segment)?;
        let record = Record::decode(plain, place)?;
        let previous = match &record {
            Record::Chunk(record) => record.previous,
            Record::Commit(record) => record.previous,
        };
        if previous != self.previous {
            return Err(self.odd("the record before it is not the one it was written behind"));
        }
        self.previous = head.counter;
        self.at += len;
        Ok((record, rest))
    }

    fn take(&mut self, record: ChunkRecord) -> Result<(), SealedError> {
        let (plain, data, meta) = self.ends();
        let ChunkRecord { plain_end, sealed_end, segments, first, meta_end, meta_counter, gaps, .. } = record;
        let chunk = Chunk {
            plain: plain..plain_end,
            sealed: data..sealed_end,
            meta: meta..meta_end,
            meta_counter,
            segments,
            first,
            gaps,
        };
        let grown = plain_end.checked_sub(plain).zip(sealed_end.checked_sub(data));
        let overhead = u64::from(segments) * OVERHEAD as u64;
        let fits = grown.is_some_and(|(plain, sealed)| plain.checked_add(overhead) == Some(sealed));
        let meta_fits = meta_end.checked_sub(meta).is_some_and(|len| len >= OVERHEAD as u64);
        if !fits || !meta_fits || !chunk.counts_up() {
            return Err(self.odd("its positions make no sense"));
        }
        self.chunks.push(chunk);
        Ok(())
    }

    fn check(&self, commit: &CommitRecord) -> Result<(), SealedError> {
        let (plain, data, meta) = self.ends();
        let found = CommitRecord {
            previous: commit.previous,
            chunks: self.count()?,
            plain,
            data,
            index: self.at,
            meta,
        };
        match found == *commit {
            true => Ok(()),
            false => Err(self.odd("it commits other lengths")),
        }
    }

    /// Where the last chunk ends in the plaintext, the data file and the meta file.
    fn ends(&self) -> (u64, u64, u64) {
        let last = self.chunks.last();
        last.map_or((0, self.begin, self.begin), |last| (last.plain.end, last.sealed.end, last.meta.end))
    }

    fn count(&self) -> Result<u32, SealedError> {
        u32::try_from(self.chunks.len()).map_err(|_| self.odd("there are too many"))
    }

    fn odd(&self, what: &'static str) -> SealedError {
        SealedError::Record { record: self.chunks.len() as u64, what }
    }
}

impl Chunk {
    /// Whether gaps lie in order, between segments that there are, and no counter passes the largest.
    fn counts_up(&self) -> bool {
        let mut before = 0;
        let mut last = self.first.checked_add(u64::from(self.segments));
        for gap in &self.gaps {
            if gap.segment <= before || gap.segment >= self.segments || gap.skipped == 0 {
                return false;
            }
            before = gap.segment;
            last = last.and_then(|last| last.checked_add(gap.skipped));
        }
        last.is_some()
    }
}

/// Opens the segments of one chunk, in order. Allocates nothing.
#[derive(Clone, Debug)]
pub struct ChunkOpener {
    index: Arc<Index>,
    chunk: usize,
    /// Where the next segment begins: in the plaintext, and in the data file.
    plain: u64,
    sealed: u64,
    /// Segments that were opened.
    opened: u32,
    /// Counter of the next one.
    counter: u64,
    /// Gaps that were passed.
    gaps: usize,
}

impl ChunkOpener {
    /// At the front of chunk `number`; `None` where there is no such chunk.
    pub fn new(index: Arc<Index>, number: usize) -> Option<Self> {
        let chunk = index.chunks.get(number)?;
        let (plain, sealed, counter) = (chunk.plain.start, chunk.sealed.start, chunk.first);
        Some(Self { chunk: number, plain, sealed, opened: 0, counter, gaps: 0, index })
    }

    /// The chunk.
    pub fn chunk(&self) -> &Chunk {
        &self.index.chunks[self.chunk]
    }

    /// Where the next segment begins in the data file.
    pub fn position(&self) -> u64 {
        self.sealed
    }

    /// Plaintext of the segments that were not opened yet.
    pub fn plain_left(&self) -> u64 {
        self.chunk().plain.end - self.plain
    }

    /// The file's bytes that were not opened yet: 0 when the chunk is at its end.
    pub fn sealed_left(&self) -> u64 {
        self.chunk().sealed.end - self.sealed
    }

    /// How long the next segment is, from its first [`HEAD`] bytes, which are compared with what the index says.
    pub fn next_len(&self, head: &[u8; HEAD]) -> Result<usize, SealedError> {
        let at = self.sealed;
        let head = SegmentHead::decode(head);
        let segments = self.chunk().segments;
        if head.counter != self.counter || self.opened >= segments {
            return Err(SealedError::Replaced { at, found: head.counter, expected: self.counter });
        }
        let len = head.sealed_len();
        let others = u64::from(segments - self.opened - 1) * OVERHEAD as u64;
        let fits = match others {
            0 => len == self.sealed_left(),
            _ => len.checked_add(others).is_some_and(|least| least <= self.sealed_left()),
        };
        let bounds = OVERHEAD + 1..=segment::MAX_SEGMENT;
        position(len).filter(|len| fits && bounds.contains(len)).ok_or(SealedError::Length { at, found: len })
    }

    /// Opens the next segment where it lies, and moves on to the one behind it.
    pub fn open<'a>(&mut self, segment: &'a mut [u8]) -> Result<&'a mut [u8], SealedError> {
        let head = segment.first_chunk().ok_or(SealedError::Damaged { at: self.sealed })?;
        let len = self.next_len(head)?;
        let found = segment.len() as u64;
        let segment = segment.get_mut(..len).ok_or(SealedError::Length { at: self.sealed, found })?;
        let text = segment::open(&self.index.data_key, self.plain, self.sealed, segment)?;
        self.move_on(text.len(), len);
        Ok(text)
    }

    /// The same into the front of `out`, which has room for it: how long the plaintext is. After an error the content of
    /// `out` is nobody's.
    pub fn open_into(&mut self, segment: &[u8], out: &mut [u8]) -> Result<usize, SealedError> {
        let head = segment.first_chunk().ok_or(SealedError::Damaged { at: self.sealed })?;
        let len = self.next_len(head)?;
        let found = segment.len() as u64;
        let segment = segment.get(..len).ok_or(SealedError::Length { at: self.sealed, found })?;
        let plain = segment::open_into(&self.index.data_key, self.plain, self.sealed, segment, out)?;
        self.move_on(plain, len);
        Ok(plain)
    }

    fn move_on(&mut self, plain: usize, sealed: usize) {
        self.plain += plain as u64;
        self.sealed += sealed as u64;
        self.opened += 1;
        self.counter += 1;
        if let Some(gap) = self.chunk().gaps.get(self.gaps).filter(|gap| gap.segment == self.opened) {
            self.counter += gap.skipped;
            self.gaps += 1;
        }
    }
}

fn head(segment: &[u8], at: u64) -> Result<SegmentHead, SealedError> {
    let end = at + segment.len() as u64;
    let head = segment.first_chunk::<HEAD>();
    Ok(SegmentHead::decode(head.ok_or(SealedError::Cut { at: end, needed: at + HEAD as u64 })?))
}

fn position(at: u64) -> Option<usize> {
    usize::try_from(at).ok()
}

#[cfg(test)]
mod tests;
