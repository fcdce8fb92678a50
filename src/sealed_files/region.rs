//! The plaintext of one chunk, as it is pulled.
//!
//! ```text
//! buffer  [ opened and taken | opened, plain() | read, not opened | room ]
//! ```
//!
//! One read brings many small segments, or one large one and the front of the next. A segment is opened to where it goes
//! ([`SealedRegion::put_now`]) if there is room for all of it, else where it lies and its plaintext handed out from
//! there; no segment costs an allocation.

use std::io::IoSliceMut;
use std::ops::Range;
use std::sync::Arc;

use sealed_shuffle_protocol::stored::sealed::{ChunkOpener, HEAD, MAX_SEGMENT, OVERHEAD, SealedError};
use sealed_shuffle_transport::lane::{Lane, OnLane};
use sealed_shuffle_transport::region::{OpenFile, ReadNow, Region, read_blocking, read_now};

use super::error::StoredError;

/// A chunk on its way out. Its length is known before its first byte: [`SealedRegion::remaining`].
#[derive(Debug)]
pub struct SealedRegion {
    opener: ChunkOpener,
    /// The chunk's segments in the data file.
    region: Region,
    buffer: OpenBuffer,
    /// Opened and not taken.
    plain: Range<usize>,
    /// Read and not opened.
    read: Range<usize>,
}

/// Memory in which segments are opened. Lend one to each chunk in turn; it has no size before its first use.
#[derive(Debug, Default)]
pub struct OpenBuffer(Vec<u8>);

impl OpenBuffer {
    /// Bytes that one takes at most: what a budget has to count for a chunk in transfer.
    pub const MAX_LEN: usize = MAX_SEGMENT + HEAD;

    /// Bytes that it takes now.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it was not used yet.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What [`SealedRegion::fill_now`] has come to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Filled {
    /// [`SealedRegion::plain`] has something, or the chunk is at its end.
    Ready,
    /// The disk has to be waited for: [`SealedRegion::fill_blocking`], on a thread that may.
    WouldBlock,
}

impl SealedRegion {
    pub(super) fn new(opener: ChunkOpener, file: Arc<OpenFile>) -> Self {
        let sealed = opener.chunk().sealed();
        let region = Region::new(file, sealed.start, sealed.end - sealed.start);
        Self { opener, region, buffer: OpenBuffer::default(), plain: 0..0, read: 0..0 }
    }

    /// Plaintext that was not taken yet.
    pub fn remaining(&self) -> u64 {
        self.opener.plain_left() + self.plain.len() as u64
    }

    /// Opens the next segment if [`SealedRegion::plain`] is empty and the page cache has it; never waits.
    pub fn fill_now(&mut self) -> Result<Filled, StoredError> {
        self.fill(read_if_cached)
    }

    /// The same, and waits for the disk where it has to.
    pub fn fill_blocking(&mut self, on: &OnLane) -> Result<(), StoredError> {
        let read = |region: &Region, position, buf: &mut [u8]| {
            Ok(Some(read_blocking(on, region, position, &mut [IoSliceMut::new(buf)])?))
        };
        self.fill(read).map(|_| ())
    }

    /// The lane of the disk that it lies on, where [`SealedRegion::fill_blocking`] runs.
    pub fn lane(&self) -> &Lane {
        self.file().lane()
    }

    /// Opens the next segment into the front of `out`: how many bytes, and 0 where there is no room for all of it. `None`
    /// where [`SealedRegion::plain`] has something, the disk has to be waited for, or the chunk is at its end.
    pub fn put_now(&mut self, out: &mut [u8]) -> Result<Option<usize>, StoredError> {
        if !self.plain.is_empty()
            || self.opener.sealed_left() == 0
            || self.read_next(read_if_cached)? != Filled::Ready
        {
            return Ok(None);
        }
        let read = &self.buffer.0[self.read.clone()];
        let Some(head) = read.first_chunk::<HEAD>() else { return Ok(None) };
        let next = self.opener.next_len(head).map_err(|source| self.refused(source))?;
        if next - OVERHEAD > out.len() {
            return Ok(Some(0));
        }
        let opened = self.opener.open_into(read, out);
        let len = opened.map_err(|source| self.refused(source))?;
        self.read.start += next;
        Ok(Some(len))
    }

    /// Plaintext that has verified and was not taken: empty before the first fill, and at the end.
    pub fn plain(&self) -> &[u8] {
        &self.buffer.0[self.plain.clone()]
    }

    /// The first `n` bytes of [`SealedRegion::plain`] were taken.
    ///
    /// # Panics
    ///
    /// When there are fewer.
    pub fn consume(&mut self, n: usize) {
        assert!(n <= self.plain.len(), "took more than there is");
        self.plain.start += n;
    }

    /// Lends memory, which saves making some.
    pub fn lend(&mut self, buffer: OpenBuffer) {
        if self.buffer.0.is_empty() {
            self.buffer = buffer;
        }
    }

    /// Gives the memory back, for the next chunk; what was not taken of this one is lost.
    pub fn take_buffer(&mut self) -> OpenBuffer {
        (self.plain, self.read) = (0..0, 0..0);
        std::mem::take(&mut self.buffer)
    }

    fn fill(
        &mut self,
        mut read: impl FnMut(&Region, u64, &mut [u8]) -> Result<Option<usize>, StoredError>,
    ) -> Result<Filled, StoredError> {
        while self.plain.is_empty() && self.opener.sealed_left() > 0 {
            if self.read_next(&mut read)? == Filled::WouldBlock {
                return Ok(Filled::WouldBlock);
            }
            self.open_next()?;
        }
        Ok(Filled::Ready)
    }

    /// Reads until the next segment is there.
    fn read_next(
        &mut self,
        mut read: impl FnMut(&Region, u64, &mut [u8]) -> Result<Option<usize>, StoredError>,
    ) -> Result<Filled, StoredError> {
        while let Some(missing) = self.missing()? {
            let room = self.make_room(missing);
            let position = self.opener.position() - self.region.offset() + self.read.len() as u64;
            let Some(n) = read(&self.region, position, &mut self.buffer.0[room])? else {
                return Ok(Filled::WouldBlock);
            };
            self.read.end += n;
        }
        Ok(Filled::Ready)
    }

    /// Bytes of the next segment that were not read; `None` where all of it is there.
    fn missing(&self) -> Result<Option<usize>, StoredError> {
        let read = &self.buffer.0[self.read.clone()];
        let len = match read.first_chunk::<HEAD>() {
            Some(head) => self.opener.next_len(head).map_err(|source| self.refused(source))?,
            None => HEAD,
        };
        Ok(len.checked_sub(read.len()).filter(|missing| *missing > 0))
    }

    fn open_next(&mut self) -> Result<(), StoredError> {
        let opened = self.opener.open(&mut self.buffer.0[self.read.clone()]).map(|plain| plain.len());
        let len = opened.map_err(|source| self.refused(source))?;
        let start = self.read.start + HEAD;
        self.plain = start..start + len;
        self.read.start += len + OVERHEAD;
        Ok(())
    }

    /// Where the next read goes: behind what was read, moved to the front of the buffer if that is where there is room.
    /// A large segment is read to the front of the one behind it and no further, so that little has to be moved.
    fn make_room(&mut self, missing: usize) -> Range<usize> {
        let left = usize::try_from(self.opener.sealed_left()).unwrap_or(usize::MAX) - self.read.len();
        let batch = READ_AT_ONCE.min(OpenBuffer::MAX_LEN - self.read.len());
        let want = (missing + HEAD).max(batch).min(left);
        if self.buffer.0.len() < self.read.len() + want {
            let len = OpenBuffer::MAX_LEN.min(self.region_len()).max(self.read.len() + want);
            self.buffer.0.resize(len, 0);
        }
        if self.buffer.0.len() - self.read.end < want {
            self.buffer.0.copy_within(self.read.clone(), 0);
            self.read = 0..self.read.len();
            self.plain = 0..0;
        }
        self.read.end..self.read.end + want
    }

    fn region_len(&self) -> usize {
        usize::try_from(self.region.len()).unwrap_or(usize::MAX)
    }

    fn refused(&self, source: SealedError) -> StoredError {
        StoredError::Refused { path: self.file().path().clone(), source }
    }

    fn file(&self) -> &OpenFile {
        self.region.file().expect("a sealed region has its file")
    }
}

fn read_if_cached(region: &Region, position: u64, buf: &mut [u8]) -> Result<Option<usize>, StoredError> {
    match read_now(region, position, &mut [IoSliceMut::new(buf)])? {
        ReadNow::Read(n) => Ok(Some(n)),
        ReadNow::WouldBlock => Ok(None),
    }
}

/// Small segments are read so many bytes at a time.
const READ_AT_ONCE: usize = 64 << 10;
