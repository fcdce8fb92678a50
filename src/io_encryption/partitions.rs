//! Walks the partitions of a shuffle data file through its index, without holding the index in memory.
//!
//! ```text
//! index:  | 0 (8 B) | end of part 0 | end of part 1 | ... | end of part n-1 |      i64, big-endian
//! ```
//!
//! The server's own [`crate::disk::index`] answers single ranges from a parsed index and accepts all that Spark
//! accepts. This module is for a caller that reads a whole file and first has to know that the two files belong
//! together. It checks every offset, and the last one must be the length of the data. The index of a merged file has
//! the same form, with an end for each chunk. The callers are `decrypt` and `inspect`.
//!
//! Origin: `IndexShuffleBlockResolver.checkIndexAndDataFile`, Spark 4.3.0.

use std::io::{self, BufReader, Read};

/// Length of an offset.
const OFFSET: u64 = 8;

/// The reason why an index does not fit its data file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartitionsError {
    /// The index has no offset, or not a whole number of them.
    #[error("an index has 8 bytes for each offset and at least one offset, this has {0} bytes")]
    Length(u64),
    /// The first offset is not 0.
    #[error("the first offset is {0}, not 0")]
    FirstNotZero(i64),
    /// An offset is smaller than the one before.
    #[error("partition {partition} ends at {end}, before its beginning at {start}")]
    Descending {
        /// The number of the partition.
        partition: u64,
        /// The offset where it begins.
        start: u64,
        /// The offset that follows, which is smaller.
        end: i64,
    },
    /// The last offset is not the length of the data file.
    #[error("the index ends at {index} and the data file at {data}: they do not belong together")]
    OtherLength {
        /// The last offset.
        index: u64,
        /// The length of the data file.
        data: u64,
    },
    /// The index cannot be read.
    #[error("cannot read the index: {0}")]
    Io(#[from] io::Error),
}

/// One partition: the bytes from `start` to before `end`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Partition {
    /// The number of the partition, from 0.
    pub number: u64,
    /// The offset in the data file where it begins.
    pub start: u64,
    /// The offset where the next one begins.
    pub end: u64,
}

impl Partition {
    /// Length of the partition in bytes.
    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Whether the partition has no bytes.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }
}

/// Iterates over the partitions of an index. It ends after the first error.
#[derive(Debug)]
pub struct Partitions<R> {
    from: BufReader<R>,
    count: u64,
    next: u64,
    start: u64,
    data_len: Option<u64>,
}

impl<R: Read> Partitions<R> {
    /// Walks the index of `index_len` bytes that `from` is about to give. If `data_len` is given, the last offset
    /// must be equal to it.
    pub fn new(from: R, index_len: u64, data_len: Option<u64>) -> Result<Self, PartitionsError> {
        if index_len == 0 || !index_len.is_multiple_of(OFFSET) {
            return Err(PartitionsError::Length(index_len));
        }
        let count = index_len / OFFSET - 1;
        let mut partitions = Self { from: BufReader::new(from), count, next: 0, start: 0, data_len };
        match partitions.offset()? {
            0 => {}
            other => return Err(PartitionsError::FirstNotZero(other)),
        }
        match data_len {
            Some(data) if count == 0 && data > 0 => Err(PartitionsError::OtherLength { index: 0, data }),
            _ => Ok(partitions),
        }
    }

    /// The number of all partitions.
    pub fn total(&self) -> u64 {
        self.count
    }

    /// Walks to the end and sums everything up, if nothing is wrong.
    pub fn sum_up(self) -> Result<Summary, PartitionsError> {
        let mut summary = Summary { partitions: self.count, ..Summary::default() };
        for partition in self {
            let partition = partition?;
            summary.filled += u64::from(!partition.is_empty());
            summary.largest = summary.largest.max(partition.len());
            summary.end = partition.end;
        }
        Ok(summary)
    }

    fn advance(&mut self) -> Result<Partition, PartitionsError> {
        let (number, start) = (self.next, self.start);
        let offset = self.offset()?;
        let end = match u64::try_from(offset) {
            Ok(end) if end >= start => end,
            _ => return Err(PartitionsError::Descending { partition: number, start, end: offset }),
        };
        (self.next, self.start) = (number + 1, end);
        match self.data_len {
            Some(data) if end > data || (self.next == self.count && end != data) => {
                Err(PartitionsError::OtherLength { index: end, data })
            }
            _ => Ok(Partition { number, start, end }),
        }
    }

    fn offset(&mut self) -> io::Result<i64> {
        let mut bytes = [0; 8];
        self.from.read_exact(&mut bytes)?;
        Ok(i64::from_be_bytes(bytes))
    }
}

impl<R: Read> Iterator for Partitions<R> {
    type Item = Result<Partition, PartitionsError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.count {
            return None;
        }
        let item = self.advance();
        if item.is_err() {
            self.next = self.count;
        }
        Some(item)
    }
}

/// The sum over a whole index.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Summary {
    /// Number of partitions.
    pub partitions: u64,
    /// Number of partitions that are not empty.
    pub filled: u64,
    /// Length of the largest partition.
    pub largest: u64,
    /// The last offset: the length of the data file.
    pub end: u64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(offsets: &[i64]) -> Vec<u8> {
        offsets.iter().flat_map(|offset| offset.to_be_bytes()).collect()
    }

    fn sum_up(index: &[u8], data_len: Option<u64>) -> Result<Summary, PartitionsError> {
        Partitions::new(index, index.len() as u64, data_len)?.sum_up()
    }

    #[test]
    fn walks_every_partition() {
        let index = bytes(&[0, 4, 4, 9]);
        let walked: Result<Vec<_>, _> =
            Partitions::new(&index[..], index.len() as u64, Some(9)).unwrap().collect();
        let part = |number, start, end| Partition { number, start, end };
        assert_eq!(walked.unwrap(), [part(0, 0, 4), part(1, 4, 4), part(2, 4, 9)]);
        let summary = Summary { partitions: 3, filled: 2, largest: 5, end: 9 };
        assert_eq!(sum_up(&index, None).unwrap(), summary);
        assert_eq!(sum_up(&bytes(&[0]), Some(0)).unwrap(), Summary::default());
    }

    #[test]
    fn refuses_an_index_that_is_not_of_the_data() {
        use PartitionsError as E;

        assert!(matches!(sum_up(&[], None), Err(E::Length(0))));
        assert!(matches!(sum_up(&[0; 15], None), Err(E::Length(15))));
        assert!(matches!(sum_up(&bytes(&[8, 9]), None), Err(E::FirstNotZero(8))));
        let descending = sum_up(&bytes(&[0, 9, 4, 12]), None);
        assert!(matches!(descending, Err(E::Descending { partition: 1, start: 9, end: 4 })));
        assert!(matches!(sum_up(&bytes(&[0, -1]), None), Err(E::Descending { end: -1, .. })));
        for data in [8, 10] {
            let other = sum_up(&bytes(&[0, 4, 9]), Some(data));
            assert!(matches!(other, Err(E::OtherLength { index: 9, .. })), "{other:?}");
        }
        assert!(matches!(sum_up(&bytes(&[0]), Some(1)), Err(E::OtherLength { index: 0, data: 1 })));
    }

    #[test]
    fn a_file_that_becomes_shorter_is_an_error() {
        let index = bytes(&[0, 4, 9]);
        let walked = Partitions::new(&index[..20], 24, None).unwrap().sum_up();
        assert!(matches!(walked, Err(PartitionsError::Io(_))));
    }

    proptest! {
        #[test]
        fn what_is_walked_lies_within_the_data(
            offsets in proptest::collection::vec(-2..40_i64, 0..6), data in 0..40_u64,
        ) {
            let index = bytes(&offsets);
            let Ok(partitions) = Partitions::new(&index[..], index.len() as u64, Some(data)) else {
                return Ok(());
            };
            let mut start = 0;
            for partition in partitions.flatten() {
                prop_assert_eq!(partition.start, start);
                prop_assert!(partition.end >= start && partition.end <= data);
                start = partition.end;
            }
        }
    }
}
