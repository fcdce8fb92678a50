//! The offsets of a map output that are too many to be kept in memory, or to be read for one block.
//!
//! ```text
//! index:  | first | ... | start | end | ... | last |      i64, big-endian
//!           once          each time           once
//! ```
//!
//! The first and the last are read with the file and remembered ([`Ends`]); the two of a range are read from the
//! open file each time, by one read where they are neighbours. So an index costs the same whatever its size, where
//! the page cache has it. What [`super::index`] checks of all offsets is checked of these four: a range that is handed out
//! lies within the data file, and damage elsewhere in the index is not seen.

use std::io::IoSliceMut;
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::io::Errno;
use sealed_shuffle_transport::lane::OnLane;
use sealed_shuffle_transport::region::{OpenFile, ReadError, ReadNow, Region, read_blocking, read_now};

use super::index::{OFFSET, RangeError, between};

/// How many offsets an index has, and the two that are looked at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Ends {
    count: usize,
    first: i64,
    last: i64,
}

impl Ends {
    /// Reads them from an open index file of `size` bytes. A file that has become shorter reads as `None`.
    pub(super) fn read(file: impl AsFd, size: usize) -> Result<Option<Self>, Errno> {
        let count = size / OFFSET;
        let Some(last) = count.checked_sub(1) else { return Ok(Some(Self { count, first: 0, last: 0 })) };
        let (Some(first), Some(last)) = (offset_at(&file, 0)?, offset_at(&file, last)?) else {
            return Ok(None);
        };
        Ok(Some(Self { count, first, last }))
    }

    /// How many offsets there are: partitions and one.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The last offset, which is the length of the data file; 0 for an index without offsets.
    pub(super) fn data_len(&self) -> i64 {
        self.last
    }

    /// Where the offsets at `start` and at `end` lie in `file`.
    pub(super) fn find(&self, file: &Arc<OpenFile>, start: i64, end: i64) -> Result<FarOffsets, RangeError> {
        let place =
            |at| usize::try_from(at).ok().filter(|at| *at < self.count).ok_or(RangeError::OutOfBounds);
        let region = |at: usize, offsets: usize| {
            let bytes = |offsets| u64::try_from(offsets * OFFSET).map_err(|_| RangeError::OutOfBounds);
            Ok(Region::new(Arc::clone(file), bytes(at)?, bytes(offsets)?))
        };
        let (start, end) = (place(start)?, place(end)?);
        let places = match start.checked_add(1) == Some(end) {
            true => Places::Together(region(start, 2)?),
            false => Places::Apart(region(start, 1)?, region(end, 1)?),
        };
        Ok(FarOffsets { ends: *self, places })
    }
}

/// Two offsets that have to be read.
pub(super) struct FarOffsets {
    ends: Ends,
    places: Places,
}

enum Places {
    Together(Region),
    Apart(Region, Region),
}

/// Why there is nothing between them.
pub(super) enum FarError {
    /// What they say.
    Range(RangeError),
    /// They cannot be had.
    Read(ReadError),
}

impl From<RangeError> for FarError {
    fn from(error: RangeError) -> Self {
        Self::Range(error)
    }
}

impl From<ReadError> for FarError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl FarOffsets {
    /// What lies between them, where the page cache has them; `None` where somebody must wait for a disk.
    pub(super) fn range_now(&self) -> Result<Option<(u64, u64)>, FarError> {
        let read = |region: &Region, bytes: &mut [u8]| {
            let wanted = bytes.len();
            let read = read_now(region, 0, &mut [IoSliceMut::new(bytes)])?;
            Ok(read == ReadNow::Read(wanted))
        };
        let mut offsets = [[0; OFFSET]; 2];
        match self.read(&mut offsets, read)? {
            true => Ok(Some(self.judge(offsets)?)),
            false => Ok(None),
        }
    }

    /// The same, and waits.
    pub(super) fn range_blocking(&self, on: &OnLane) -> Result<(u64, u64), FarError> {
        let read = |region: &Region, bytes: &mut [u8]| {
            let mut filled = 0;
            while filled < bytes.len() {
                filled +=
                    read_blocking(on, region, filled as u64, &mut [IoSliceMut::new(&mut bytes[filled..])])?;
            }
            Ok(true)
        };
        let mut offsets = [[0; OFFSET]; 2];
        self.read(&mut offsets, read)?;
        Ok(self.judge(offsets)?)
    }

    fn read(
        &self,
        offsets: &mut [[u8; OFFSET]; 2],
        read: impl Fn(&Region, &mut [u8]) -> Result<bool, ReadError>,
    ) -> Result<bool, ReadError> {
        match &self.places {
            Places::Together(both) => read(both, offsets.as_flattened_mut()),
            Places::Apart(start, end) => Ok(read(start, &mut offsets[0])? && read(end, &mut offsets[1])?),
        }
    }

    fn judge(&self, offsets: [[u8; OFFSET]; 2]) -> Result<(u64, u64), RangeError> {
        let [from, to] = offsets.map(i64::from_be_bytes);
        between(from, to, self.ends.first == 0 && to <= self.ends.last)
    }
}

/// One offset of an open index file; `None` where the file ends before.
fn offset_at(file: impl AsFd, at: usize) -> Result<Option<i64>, Errno> {
    let begin = u64::try_from(at * OFFSET).map_err(|_| Errno::OVERFLOW)?;
    let mut bytes = [0; OFFSET];
    let mut filled = 0;
    while filled < OFFSET {
        match rustix::io::pread(&file, &mut bytes[filled..], begin + filled as u64) {
            Ok(0) => return Ok(None),
            Ok(n) => filled += n,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(Some(i64::from_be_bytes(bytes)))
}
