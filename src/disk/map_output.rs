//! The output of a map task: which bytes of its data file are which partition.

use std::sync::Arc;

use sealed_shuffle_protocol::ids::{MapId, ReduceId, ShuffleId};
use sealed_shuffle_transport::lane::{Lane, OnLane};
use sealed_shuffle_transport::region::{OpenFile, ReadError, Region};

use super::far_index::{FarError, FarOffsets};
use super::index::RangeError;
use super::index_cache::{IndexEntry, KnownOffsets};
use super::lookup_error::LookupError;
use super::open_error::OpenError;

/// The output of a map task, found and checked.
#[derive(Clone, Debug)]
pub struct MapOutput {
    shuffle: ShuffleId,
    map: MapId,
    found: CheckedOutput,
}

impl MapOutput {
    pub(super) fn new(shuffle: ShuffleId, map: MapId, found: CheckedOutput) -> Self {
        Self { shuffle, map, found }
    }

    /// The bytes of one partition.
    pub fn block(&self, on: &OnLane, reduce: ReduceId) -> Result<Region, LookupError> {
        self.range(on, i64::from(reduce.0), i64::from(reduce.0) + 1)
    }

    /// The bytes of the partitions from `start` to before `end`.
    pub fn region(&self, on: &OnLane, start: ReduceId, end: ReduceId) -> Result<Region, LookupError> {
        self.range(on, i64::from(start.0), i64::from(end.0))
    }

    /// How many partitions the map output has.
    pub fn partitions(&self) -> usize {
        self.found.entry.index.count().saturating_sub(1)
    }

    /// The bytes from the offset at `start` to the one at `end`. Waits for a disk where the index is not kept and the
    /// page cache has not the two.
    pub fn range(&self, on: &OnLane, start: i64, end: i64) -> Result<Region, LookupError> {
        let found = match self.offsets(start, end) {
            Offsets::Known(found) => found.map_err(FarError::Range),
            Offsets::Far(far) => far.range_blocking(on),
        };
        self.region_of(start, end, found)
    }

    /// The same without waiting; `None` where that is not possible: [`MapOutput::range`], on [`MapOutput::lane`].
    pub fn range_now(&self, start: i64, end: i64) -> Option<Result<Region, LookupError>> {
        let found = match self.offsets(start, end) {
            Offsets::Known(found) => found.map_err(FarError::Range),
            Offsets::Far(far) => far.range_now().transpose()?,
        };
        Some(self.region_of(start, end, found))
    }

    /// The lane of the disk that its index lies on; `None` where its offsets are at hand.
    pub fn lane(&self) -> Option<&Lane> {
        self.found.index.as_ref().map(|index| index.lane())
    }

    fn offsets(&self, start: i64, end: i64) -> Offsets {
        match (&self.found.entry.index, &self.found.index) {
            (KnownOffsets::Whole(index), _) => Offsets::Known(index.range(start, end)),
            (KnownOffsets::Ends(ends), Some(file)) => match ends.find(file, start, end) {
                Ok(far) => Offsets::Far(far),
                Err(error) => Offsets::Known(Err(error)),
            },
            (KnownOffsets::Ends(_), None) => unreachable!("the ends of an index are found with its file"),
        }
    }

    fn region_of(
        &self,
        start: i64,
        end: i64,
        found: Result<(u64, u64), FarError>,
    ) -> Result<Region, LookupError> {
        let (shuffle, map) = (self.shuffle, self.map);
        let (offset, len) = found.map_err(|error| match error {
            FarError::Range(RangeError::OutOfBounds) => {
                let offsets = self.found.entry.index.count();
                LookupError::OutOfBounds { shuffle, map, start, end, offsets }
            }
            FarError::Range(RangeError::NegativeLength(length)) => {
                LookupError::NegativeLength { shuffle, map, start, end, length }
            }
            FarError::Range(RangeError::OutOfOrder) => LookupError::DamagedIndex { shuffle, map },
            // The open index file no longer has what it had a moment ago, or cannot be read.
            FarError::Read(ReadError::Truncated { path, .. }) => LookupError::Changing { path },
            FarError::Read(ReadError::Io { path, errno, .. }) => {
                LookupError::index(OpenError::Io { path, errno })
            }
        })?;
        if len == 0 {
            return Ok(Region::empty());
        }
        match &self.found.data {
            Ok(Some(file)) => Ok(Region::new(file.clone(), offset, len)),
            Ok(None) => Err(LookupError::DamagedIndex { shuffle, map }),
            Err(error) => Err(error.clone()),
        }
    }
}

/// What the offsets of a range say, or where they are.
enum Offsets {
    Known(Result<(u64, u64), RangeError>),
    Far(FarOffsets),
}

/// What belongs to a map output, checked.
#[derive(Clone, Debug)]
pub(super) struct CheckedOutput {
    pub(super) entry: Arc<IndexEntry>,
    /// The index file, where its offsets are not kept.
    pub(super) index: Option<Arc<OpenFile>>,
    /// The data file where it is needed, or why it cannot be had.
    pub(super) data: Result<Option<Arc<OpenFile>>, LookupError>,
}
