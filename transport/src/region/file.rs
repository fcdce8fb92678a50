//! An open file: its descriptor, what it was when it was opened, and its path for people.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{AtFlags, Stat, Statx, StatxFlags};
use sealed_shuffle_protocol::shown::Shown;

use crate::lane::{Lane, Resident};

/// A regular file, open for reading.
#[derive(Debug)]
pub struct OpenFile {
    fd: Resident<OwnedFd>,
    identity: Identity,
    path: ShownPath,
    /// The file system does not answer `RWF_NOWAIT`.
    pub(crate) never_now: AtomicBool,
    open: Arc<AtomicU64>,
}

impl OpenFile {
    /// The file behind `fd`, which was `identity` when it was opened. Who must wait for its bytes does so on its lane, and
    /// `open` counts it for as long as it lives.
    pub fn new(fd: Resident<OwnedFd>, identity: Identity, path: ShownPath, open: Arc<AtomicU64>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self { fd, identity, path, never_now: AtomicBool::new(false), open }
    }

    /// Opens the regular file at `path`.
    #[cfg(test)]
    pub(crate) fn open(path: &std::path::Path) -> Self {
        let fd = OwnedFd::from(std::fs::File::open(path).unwrap());
        let identity = Identity::of(&rustix::fs::fstat(&fd).unwrap());
        let fd = Resident::new(fd, Lane::new(1));
        Self::new(fd, identity, ShownPath::new(path.to_str().unwrap()), Arc::default())
    }

    /// What it was when it was opened.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Its path as Spark would print it.
    pub fn path(&self) -> &ShownPath {
        &self.path
    }

    /// The lane of the disk that it lies on.
    pub fn lane(&self) -> &Lane {
        self.fd.lane()
    }

    /// Whether it is known to be the file that was opened, unchanged and with as many names. It is not where somebody
    /// wrote to it, deleted it, renamed it or another file over it, or linked it; nor where the kernel would have to ask
    /// a server. What became of a directory above it does not show. Looks up no path and waits for nothing.
    pub fn is_unchanged(&self) -> bool {
        self.look().is_some_and(|now| Identity::of_statx(&now).as_ref() == Some(&self.identity))
    }

    /// Whether it is known to be as long as it was when it was opened. Waits for nothing.
    pub fn has_its_size(&self) -> bool {
        self.look().is_some_and(|now| now.stx_size == self.identity.size)
    }

    /// What the kernel knows of it by itself.
    fn look(&self) -> Option<Statx> {
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        rustix::fs::statx(self.fd(), c"", flags, LOOKED_AT).ok()
    }

    /// The descriptor, for positional reads only.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What an [`Identity`] is made of. Not the time of the last access: after a read the kernel asks a file system in user space for
/// that, whatever the flags say, and waits.
const LOOKED_AT: StatxFlags = StatxFlags::TYPE
    .union(StatxFlags::INO)
    .union(StatxFlags::NLINK)
    .union(StatxFlags::SIZE)
    .union(StatxFlags::MTIME)
    .union(StatxFlags::CTIME);

impl Drop for OpenFile {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What makes a file the same file, unchanged: device, inode, number of names, size, time of the last write and of the
/// last change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Identity {
    device: u64,
    inode: u64,
    links: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    /// Takes the identity out of a stat.
    // The fields of `Stat` have other widths on other architectures.
    #[allow(clippy::unnecessary_cast, clippy::cast_lossless)]
    pub fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            links: stat.st_nlink as u64,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }

    /// The same from what the kernel says of an open file; `None` where it does not say all of it.
    fn of_statx(stat: &Statx) -> Option<Self> {
        StatxFlags::from_bits_retain(stat.stx_mask).contains(LOOKED_AT).then(|| Self {
            device: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            links: u64::from(stat.stx_nlink),
            size: stat.stx_size,
            modified: (stat.stx_mtime.tv_sec, i64::from(stat.stx_mtime.tv_nsec)),
            changed: (stat.stx_ctime.tv_sec, i64::from(stat.stx_ctime.tv_nsec)),
        })
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Device and inode: what stays while a file is written to.
    pub fn inode(&self) -> (u64, u64) {
        (self.device, self.inode)
    }
}

/// A path as Spark would print it: the directory's text as the executor registered it, then the file's place.
#[derive(Clone, Eq, PartialEq)]
pub struct ShownPath(Box<str>);

impl ShownPath {
    /// Takes the text as it stands.
    pub fn new(path: impl Into<Box<str>>) -> Self {
        Self(path.into())
    }

    /// The text as it stands, for a peer.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ShownPath {
    /// Harmless in a log: its beginning was a peer's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Shown(&self.0).fmt(f)
    }
}

impl fmt::Debug for ShownPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}
