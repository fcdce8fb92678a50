//! An open file: its descriptor, what it was when it was opened, and its path for people.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::Stat;

/// A regular file, open for reading.
#[derive(Debug)]
pub struct OpenFile {
    fd: OwnedFd,
    identity: Identity,
    path: ShownPath,
    /// The file system does not answer `RWF_NOWAIT`.
    pub(crate) never_now: AtomicBool,
    open: Arc<AtomicU64>,
}

impl OpenFile {
    /// The file behind `fd`, which was `identity` when it was opened. `open` counts it for as long as it lives.
    pub fn new(fd: OwnedFd, identity: Identity, path: ShownPath, open: Arc<AtomicU64>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self { fd, identity, path, never_now: AtomicBool::new(false), open }
    }

    /// Opens the regular file at `path`.
    #[cfg(test)]
    pub(crate) fn open(path: &std::path::Path) -> Self {
        let fd = OwnedFd::from(std::fs::File::open(path).unwrap());
        let identity = Identity::of(&rustix::fs::fstat(&fd).unwrap());
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

    /// The descriptor, for positional reads only.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What makes a file the same file, unchanged: device, inode, size, time of the last write and of the last change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Identity {
    device: u64,
    inode: u64,
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
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
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
    /// Control characters come out escaped, so that a peer cannot forge log lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c.is_control() {
            true => write!(f, "{}", c.escape_debug()),
            false => write!(f, "{c}"),
        })
    }
}

impl fmt::Debug for ShownPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}
