//! Positional reads of a [`Region`] into the caller's buffers.
//!
//! [`read_now`] takes what the page cache has and never waits for a disk; where it says [`ReadNow::WouldBlock`], the
//! caller goes to the lane of the file ([`OpenFile::lane`]) and calls [`read_blocking`]. Neither reads past the region's end, whatever
//! room the buffers have, and either may read less than there is room for. [`is_at_hand`] reads nothing.

use std::io::IoSliceMut;
use std::sync::atomic::Ordering;

use rustix::io::{Errno, ReadWriteFlags};

use super::{OpenFile, Region, ShownPath};
use crate::lane::OnLane;

/// What the page cache had.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReadNow {
    /// So many bytes are in the buffers; 0 only where nothing was left to read or the buffers have no room.
    Read(usize),
    /// Nothing is known without waiting for the disk.
    WouldBlock,
}

/// Why bytes of a region cannot be had.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// The file has become shorter than it was when the region was found.
    #[error("{path} was truncated: the block needs {expected} bytes of it, and it has {found}")]
    Truncated {
        /// The file.
        path: ShownPath,
        /// Position of the region's end.
        expected: u64,
        /// Position at which the file ended.
        found: u64,
    },
    /// The kernel said no.
    #[error("cannot read {path} at {position}: {errno}")]
    Io {
        /// The file.
        path: ShownPath,
        /// Position in the file.
        position: u64,
        /// What the kernel said.
        errno: Errno,
    },
}

/// Reads from `position` (counted from the region's begin) on what is at hand.
///
/// A file system that cannot say what is at hand is asked once a file; then the answer is always
/// [`ReadNow::WouldBlock`].
pub fn read_now(region: &Region, position: u64, bufs: &mut [IoSliceMut<'_>]) -> Result<ReadNow, ReadError> {
    let Some(read) = Read::plan(region, position) else { return Ok(ReadNow::Read(0)) };
    if read.file.never_now.load(Ordering::Relaxed) {
        return Ok(ReadNow::WouldBlock);
    }
    match read.run(bufs, ReadWriteFlags::NOWAIT) {
        // Linux 5.9 and 5.10 may say 0 before the end; the blocking read decides whether it is the end.
        Ok(0) if has_room(bufs) => Ok(ReadNow::WouldBlock),
        Ok(n) => Ok(ReadNow::Read(n)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(ReadNow::WouldBlock),
        // Seccomp profiles of old container runtimes refuse calls that they do not know with EPERM.
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::PERM) => {
            read.file.never_now.store(true, Ordering::Relaxed);
            Ok(ReadNow::WouldBlock)
        }
        Err(errno) => Err(read.failed(errno)),
    }
}

/// Reads from `position` (counted from the region's begin) on, waiting for the disk. At least one byte, unless
/// nothing is left or the buffers have no room.
pub fn read_blocking(
    _: &OnLane,
    region: &Region,
    position: u64,
    bufs: &mut [IoSliceMut<'_>],
) -> Result<usize, ReadError> {
    let Some(read) = Read::plan(region, position) else { return Ok(0) };
    loop {
        match read.run(bufs, ReadWriteFlags::empty()) {
            Ok(0) if has_room(bufs) => return Err(read.truncated()),
            Ok(n) => {
                read.file.lane().moved_bytes();
                return Ok(n);
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(read.failed(errno)),
        }
    }
}

/// Whether the page cache has the `len` bytes from `position` on (counted from the region's begin), as far as looking
/// at one byte in every 128 KiB, and at the last one, can tell: files enter it in such pieces, and what came
/// together mostly goes together. For who moves bytes without reading them (`sendfile`), and would wait for the rest.
/// Never where the region ends before.
pub fn is_at_hand(region: &Region, position: u64, len: u64) -> bool {
    let Some(last) = len.checked_sub(1) else { return true };
    let has = |at: u64| {
        let position = position.checked_add(at);
        let read = position.map(|position| read_now(region, position, &mut [IoSliceMut::new(&mut [0])]));
        matches!(read, Some(Ok(ReadNow::Read(1))))
    };
    has(last) && (0..last).step_by(LOOK_EVERY).all(has)
}

/// What Linux reads ahead at once unless told otherwise (`read_ahead_kb`).
const LOOK_EVERY: usize = 128 << 10;

/// One read that is known to want at least one byte.
struct Read<'a> {
    file: &'a OpenFile,
    position: u64,
    left: u64,
}

impl<'a> Read<'a> {
    fn plan(region: &'a Region, position: u64) -> Option<Self> {
        let left = region.len().checked_sub(position).filter(|left| *left > 0)?;
        Some(Self { file: region.file()?, position: region.offset().checked_add(position)?, left })
    }

    fn run(&self, bufs: &mut [IoSliceMut<'_>], flags: ReadWriteFlags) -> Result<usize, Errno> {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let skip = bufs.iter().take_while(|buf| buf.is_empty()).count();
        let bufs = &mut bufs[skip..];
        let mut room = 0;
        let fitting = bufs.iter().take(MOST_BUFS).take_while(|buf| {
            room += buf.len();
            room <= left
        });
        match fitting.count() {
            0 => {
                let Some(first) = bufs.first_mut() else { return Ok(0) };
                let end = left.min(first.len());
                self.call(&mut [IoSliceMut::new(&mut first[..end])], flags)
            }
            fitting => self.call(&mut bufs[..fitting], flags),
        }
    }

    fn call(&self, bufs: &mut [IoSliceMut<'_>], flags: ReadWriteFlags) -> Result<usize, Errno> {
        match flags.is_empty() {
            true => rustix::io::preadv(self.file.fd(), bufs, self.position),
            false => rustix::io::preadv2(self.file.fd(), bufs, self.position, flags),
        }
    }

    fn truncated(&self) -> ReadError {
        let found = rustix::fs::fstat(self.file.fd()).ok();
        let found = found.and_then(|stat| u64::try_from(stat.st_size).ok()).unwrap_or(self.position);
        let path = self.file.path().clone();
        ReadError::Truncated { path, expected: self.position + self.left, found: found.min(self.position) }
    }

    fn failed(&self, errno: Errno) -> ReadError {
        self.file.lane().failed(errno);
        ReadError::Io { path: self.file.path().clone(), position: self.position, errno }
    }
}

/// `UIO_MAXIOV`: a call with more of them fails.
const MOST_BUFS: usize = 1024;

fn has_room(bufs: &[IoSliceMut<'_>]) -> bool {
    bufs.iter().any(|buf| !buf.is_empty())
}
