//! The offsets of a map output.
//!
//! ```text
//! index:  | 0 (8 B) | end of part 0 | end of part 1 | ... | end of part n-1 |      i64, big-endian
//! ```
//!
//! Bytes after the last whole offset are ignored, as Spark does. That the first offset is 0 and none is smaller
//! than the one before is noted while parsing and matters when a range is asked for, so that a bad index fails with
//! the words that Spark has for that range.
//!
//! Origin: `IndexShuffleBlockResolver.writeMetadataFileAndCommit` and `ShuffleIndexInformation`, Spark 4.3.0.

use std::os::fd::AsFd;

use rustix::io::Errno;

/// Parsed offsets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Index {
    offsets: Offsets,
    in_order: bool,
}

/// Most map outputs are below 4 GiB; their offsets take half the room.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Offsets {
    Narrow(Box<[u32]>),
    Wide(Box<[i64]>),
}

/// Why an index has no such range.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RangeError {
    /// A partition that the index has not.
    OutOfBounds,
    /// The range ends before it begins.
    NegativeLength(i64),
    /// The offsets are not ascending from 0.
    OutOfOrder,
}

impl Index {
    /// Parses the content of an index file.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut parser = Parser::new(bytes.len() / OFFSET);
        parser.take(bytes);
        parser.finish()
    }

    /// Reads `size` bytes of an open index file. A file that has become shorter reads as `None`.
    pub(super) fn read(file: impl AsFd, size: usize) -> Result<Option<Self>, Errno> {
        let whole = size / OFFSET * OFFSET;
        let mut parser = Parser::new(whole / OFFSET);
        let mut buffer = vec![0; whole.min(READ_AT_ONCE)];
        let mut at = 0;
        while at < whole {
            let want = buffer.len().min(whole - at);
            let part = &mut buffer[..want];
            let mut filled = 0;
            while filled < want {
                let position = u64::try_from(at + filled).map_err(|_| Errno::OVERFLOW)?;
                match rustix::io::pread(&file, &mut part[filled..], position) {
                    Ok(0) => return Ok(None),
                    Ok(n) => filled += n,
                    Err(Errno::INTR) => {}
                    Err(errno) => return Err(errno),
                }
            }
            parser.take(part);
            at += want;
        }
        Ok(Some(parser.finish()))
    }

    /// How many offsets there are: partitions and one.
    pub fn count(&self) -> usize {
        match &self.offsets {
            Offsets::Narrow(offsets) => offsets.len(),
            Offsets::Wide(offsets) => offsets.len(),
        }
    }

    /// The last offset, which is the length of the data file; 0 for an index without offsets.
    pub fn data_len(&self) -> i64 {
        self.count().checked_sub(1).and_then(|last| self.offset(last)).unwrap_or(0)
    }

    /// Offset and length of the partitions from `start` to before `end`.
    pub fn range(&self, start: i64, end: i64) -> Result<(u64, u64), RangeError> {
        let offset =
            |at| usize::try_from(at).ok().and_then(|at| self.offset(at)).ok_or(RangeError::OutOfBounds);
        between(offset(start)?, offset(end)?, self.in_order)
    }

    fn offset(&self, at: usize) -> Option<i64> {
        match &self.offsets {
            Offsets::Narrow(offsets) => offsets.get(at).copied().map(i64::from),
            Offsets::Wide(offsets) => offsets.get(at).copied(),
        }
    }
}

/// Offset and length of what lies between two offsets of an index that is, or is not, in order.
pub(super) fn between(from: i64, to: i64, in_order: bool) -> Result<(u64, u64), RangeError> {
    // Java's subtraction wraps.
    let length = to.wrapping_sub(from);
    let Ok(len) = u64::try_from(length) else { return Err(RangeError::NegativeLength(length)) };
    match u64::try_from(from) {
        // A difference that wrapped looks like a length.
        Ok(start) if in_order && from <= to => Ok((start, len)),
        _ => Err(RangeError::OutOfOrder),
    }
}

pub(super) const OFFSET: usize = size_of::<i64>();
const READ_AT_ONCE: usize = 64 << 10;

struct Parser {
    narrow: Vec<u32>,
    wide: Vec<i64>,
    count: usize,
    last: i64,
    ascending: bool,
}

impl Parser {
    fn new(count: usize) -> Self {
        Self { narrow: Vec::with_capacity(count), wide: Vec::new(), count, last: 0, ascending: true }
    }

    /// Takes whole offsets; what is left over at the end is ignored.
    fn take(&mut self, bytes: &[u8]) {
        let (offsets, _) = bytes.as_chunks::<OFFSET>();
        for offset in offsets.iter().copied().map(i64::from_be_bytes) {
            self.ascending &= offset >= self.last;
            self.last = offset;
        }
        let fit = offsets.iter().all(|offset| offset[..4] == [0; 4]);
        if fit && self.wide.is_empty() {
            return self
                .narrow
                .extend(offsets.iter().map(|[.., a, b, c, d]| u32::from_be_bytes([*a, *b, *c, *d])));
        }
        if self.wide.is_empty() {
            self.wide.reserve_exact(self.count);
            self.wide.extend(std::mem::take(&mut self.narrow).into_iter().map(i64::from));
        }
        self.wide.extend(offsets.iter().copied().map(i64::from_be_bytes));
    }

    fn finish(self) -> Index {
        let offsets = match self.wide.is_empty() {
            true => Offsets::Narrow(self.narrow.into()),
            false => Offsets::Wide(self.wide.into()),
        };
        let mut index = Index { offsets, in_order: self.ascending };
        index.in_order &= index.offset(0).is_none_or(|first| first == 0);
        index
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(offsets: &[i64]) -> Vec<u8> {
        offsets.iter().flat_map(|offset| offset.to_be_bytes()).collect()
    }

    #[test]
    fn finds_single_partitions_and_batches() {
        let index = Index::parse(&bytes(&[0, 4, 4, 9, 10]));
        assert_eq!((index.count(), index.data_len()), (5, 10));
        assert_eq!(index.range(0, 1), Ok((0, 4)));
        assert_eq!(index.range(1, 2), Ok((4, 0)));
        assert_eq!(index.range(0, 4), Ok((0, 10)));
        assert_eq!(index.range(3, 1), Err(RangeError::NegativeLength(-5)));
        assert_eq!(index.range(4, 5), Err(RangeError::OutOfBounds));
        assert_eq!(index.range(-1, 0), Err(RangeError::OutOfBounds));
        assert_eq!(index.range(i64::from(i32::MAX), 1 << 31), Err(RangeError::OutOfBounds));
    }

    #[test]
    fn ignores_bytes_after_the_last_whole_offset() {
        let mut content = bytes(&[0, 4]);
        content.extend([9; 7]);
        assert_eq!(Index::parse(&content), Index::parse(&bytes(&[0, 4])));
        assert_eq!(Index::parse(&[]).range(0, 1), Err(RangeError::OutOfBounds));
        assert_eq!(Index::parse(&[0; 7]).count(), 0);
    }

    #[test]
    fn reads_files_of_several_segments() {
        let count = 3 * i64::try_from(READ_AT_ONCE / OFFSET).unwrap() + 5;
        for step in [1, 1 << 20] {
            let content = bytes(&(0..count).map(|at| at * step).collect::<Vec<_>>());
            let file = tempfile::tempfile().unwrap();
            std::io::Write::write_all(&mut &file, &content).unwrap();
            let index = Index::read(&file, content.len()).unwrap().unwrap();
            assert_eq!(index, Index::parse(&content));
            assert_eq!(index.range(count - 2, count - 1).unwrap().1, u64::try_from(step).unwrap());
            assert_eq!(Index::read(&file, content.len() + OFFSET), Ok(None));
        }
    }

    #[test]
    fn rejects_offsets_that_do_not_ascend_from_zero() {
        assert_eq!(Index::parse(&bytes(&[1, 4])).range(0, 1), Err(RangeError::OutOfOrder));
        assert_eq!(Index::parse(&bytes(&[0, 9, 4, 12])).range(0, 1), Err(RangeError::OutOfOrder));
        assert_eq!(Index::parse(&bytes(&[0, 9, 4, 12])).range(1, 2), Err(RangeError::NegativeLength(-5)));
        assert_eq!(Index::parse(&bytes(&[-8, -4])).range(0, 1), Err(RangeError::OutOfOrder));
        let wrapping = Index::parse(&bytes(&[i64::MIN, i64::MAX]));
        assert_eq!(wrapping.range(0, 1), Err(RangeError::NegativeLength(-1)));
    }

    proptest! {
        #[test]
        fn keeps_every_offset(offsets in proptest::collection::vec(
            prop_oneof![any::<i64>(), 0..1i64 << 33], 0..40,
        )) {
            let index = Index::parse(&bytes(&offsets));
            let kept: Vec<_> = (0..index.count()).filter_map(|at| index.offset(at)).collect();
            prop_assert_eq!(&kept, &offsets);
            let in_order = offsets.first().is_none_or(|first| *first == 0) && offsets.is_sorted();
            prop_assert_eq!(index.in_order, in_order);
        }

        #[test]
        fn never_panics_and_ranges_stay_below_the_last_offset(
            content in proptest::collection::vec(any::<u8>(), 0..100), start: i32, end: i32,
        ) {
            let index = Index::parse(&content);
            if let Ok((offset, len)) = index.range(start.into(), end.into()) {
                prop_assert!(offset + len <= u64::try_from(index.data_len()).unwrap());
            }
        }
    }
}
