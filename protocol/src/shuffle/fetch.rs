//! Fetching shuffle blocks, and chunks of merged ones, by number.
//!
//! One message of these opens a stream; the chunk at a position of the stream is found without building the
//! list of chunks, since a request may hold hundreds of thousands.

use thiserror::Error;

use crate::ids::{AppId, ExecutorId, MapId, ReduceId, ShuffleId, ShuffleMergeId};
use crate::shuffle::Lists;

fields! {
    /// Opens blocks of one shuffle (Spark 3.0).
    FetchShuffleBlocks {
        /// The application.
        app: AppId,
        /// The executor that wrote them.
        executor: ExecutorId,
        /// The shuffle.
        shuffle: ShuffleId,
        /// The map tasks.
        maps: Vec<MapId>,
        /// For each map task the partitions wanted; with `batch` the first one and the one past the last.
        reduces: Lists<ReduceId>,
        /// Whether the partitions of a map task are one range, served as one chunk.
        batch: bool,
    }
}

fields! {
    /// Opens chunks of merged partitions (Spark 3.2).
    FetchShuffleBlockChunks {
        /// The application.
        app: AppId,
        /// Ignored; Spark sends [`crate::shuffle::SHUFFLE_PUSH_MERGER`].
        executor: ExecutorId,
        /// The shuffle.
        shuffle: ShuffleId,
        /// The attempt of merging it.
        merge: ShuffleMergeId,
        /// The merged partitions.
        reduces: Vec<ReduceId>,
        /// For each partition the chunks wanted.
        chunks: Lists<i32>,
    }
}

/// Partitions of one map task that are served as one chunk.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ReduceRange {
    /// The map task.
    pub map: MapId,
    /// The first partition.
    pub start: ReduceId,
    /// Past the last partition; 64 bits, since the partition 2^31-1 has a successor too.
    pub end: i64,
}

/// A chunk of a merged partition.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct MergedChunk {
    /// The partition.
    pub reduce: ReduceId,
    /// Which of its chunks.
    pub chunk: i32,
}

/// Lists in one message that do not belong together. Spark only asserts this, or fails at a later chunk.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum ShapeError {
    /// Two lists that should be of one length.
    #[error("lists of {left} and {right} elements should be equally long")]
    Lengths {
        /// Elements of the one.
        left: usize,
        /// Elements of the other.
        right: usize,
    },
    /// A batch whose range is not two numbers.
    #[error("batch range at {index} has {len} numbers instead of start and end")]
    BatchRange {
        /// Which map task's.
        index: usize,
        /// How many numbers it has.
        len: usize,
    },
}

impl FetchShuffleBlocks {
    /// Checks that the lists belong together; [`FetchShuffleBlocks::chunk`] relies on it.
    pub fn check_shape(&self) -> Result<(), ShapeError> {
        check_lengths(self.maps.len(), self.reduces.len())?;
        if !self.batch {
            return Ok(());
        }
        match self.reduces.iter().enumerate().find(|(_, range)| range.len() != 2) {
            Some((index, range)) => Err(ShapeError::BatchRange { index, len: range.len() }),
            None => Ok(()),
        }
    }

    /// Chunks of the stream that the message opens.
    pub fn chunk_count(&self) -> usize {
        if self.batch { self.reduces.len() } else { self.reduces.items().len() }
    }

    /// The chunk at `index` of the stream; `None` past the end or where the lists do not fit.
    pub fn chunk(&self, index: usize) -> Option<ReduceRange> {
        if self.batch {
            let &[start, end] = self.reduces.list(index)? else { return None };
            return Some(ReduceRange { map: *self.maps.get(index)?, start, end: i64::from(end.0) });
        }
        let map = *self.maps.get(self.reduces.list_of(index)?)?;
        Some(ReduceRange::single(map, self.reduces.items()[index]))
    }
}

impl FetchShuffleBlockChunks {
    /// Checks that the lists belong together; [`FetchShuffleBlockChunks::chunk`] relies on it.
    pub fn check_shape(&self) -> Result<(), ShapeError> {
        check_lengths(self.reduces.len(), self.chunks.len())
    }

    /// Chunks of the stream that the message opens.
    pub fn chunk_count(&self) -> usize {
        self.chunks.items().len()
    }

    /// The chunk at `index` of the stream; `None` past the end or where the lists do not fit.
    pub fn chunk(&self, index: usize) -> Option<MergedChunk> {
        let reduce = *self.reduces.get(self.chunks.list_of(index)?)?;
        Some(MergedChunk { reduce, chunk: self.chunks.items()[index] })
    }
}

impl ReduceRange {
    /// One partition.
    pub fn single(map: MapId, reduce: ReduceId) -> Self {
        Self { map, start: reduce, end: i64::from(reduce.0) + 1 }
    }
}

fn check_lengths(left: usize, right: usize) -> Result<(), ShapeError> {
    if left != right {
        return Err(ShapeError::Lengths { left, right });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetch(maps: &[i64], reduces: &[&[i32]], batch: bool) -> FetchShuffleBlocks {
        FetchShuffleBlocks {
            app: AppId::new("app-1"),
            executor: ExecutorId::new("2"),
            shuffle: ShuffleId(0),
            maps: maps.iter().copied().map(MapId).collect(),
            reduces: reduces.iter().map(|list| list.iter().copied().map(ReduceId)).collect(),
            batch,
        }
    }

    #[test]
    fn chunks_go_map_by_map_in_list_order() {
        let message = fetch(&[3, 4], &[&[2, 0], &[5]], false);
        message.check_shape().unwrap();
        assert_eq!(message.chunk_count(), 3);
        let chunks: Vec<_> = (0..4).map_while(|index| message.chunk(index)).collect();
        let expected = [(3, 2), (3, 0), (4, 5)].map(|(m, r)| ReduceRange::single(MapId(m), ReduceId(r)));
        assert_eq!(chunks, expected);
    }

    #[test]
    fn batch_has_one_chunk_for_each_map() {
        let message = fetch(&[3, 4], &[&[0, 4], &[1, 3]], true);
        message.check_shape().unwrap();
        assert_eq!(message.chunk_count(), 2);
        assert_eq!(message.chunk(1), Some(ReduceRange { map: MapId(4), start: ReduceId(1), end: 3 }));
        assert_eq!(message.chunk(2), None);
    }

    #[test]
    fn rejects_lists_that_do_not_belong_together() {
        assert_eq!(
            fetch(&[1, 2], &[&[0]], false).check_shape(),
            Err(ShapeError::Lengths { left: 2, right: 1 })
        );
        assert_eq!(
            fetch(&[1, 2], &[&[0, 1], &[0, 1, 2]], true).check_shape(),
            Err(ShapeError::BatchRange { index: 1, len: 3 })
        );
        assert_eq!(fetch(&[1], &[&[0], &[1]], false).chunk(1), None);
    }

    #[test]
    fn the_last_partition_number_has_a_successor() {
        assert_eq!(ReduceRange::single(MapId(0), ReduceId(i32::MAX)).end, 1 << 31);
    }
}
