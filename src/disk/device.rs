//! One disk: a configured root, and everything that belongs to it.
//!
//! Each root has its handle, its lane of threads with the queue before it, its caches of indexes and open files, and its
//! health. What waits for one disk takes places of that disk's lane, so a disk that hangs holds up nobody who asks for
//! another. Files are opened relative to the handle; every function that looks up a path takes an [`OnLane`].

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags, Stat};
use rustix::io::Errno;
use sealed_shuffle_transport::lane::{Lane, OnLane};
use sealed_shuffle_transport::region::Identity;

use super::files::Files;
use super::index_cache::IndexCache;
use super::root_error::RootError;
use crate::confined::{self, Confinement, Links, OpenFailure};

/// A configured root with what belongs to it.
#[derive(Debug)]
pub struct Disk {
    /// Canonical and absolute; ends in no slash, and is empty for `/`.
    path: String,
    handle: OwnedFd,
    confinement: Confinement,
    lane: Lane,
    pub(super) indexes: IndexCache,
    pub(super) files: Files,
}

/// How a disk is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Health {
    /// It is asked for what lies on it.
    #[default]
    Ok,
}

/// Bytes of the file system that a root lies on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Space {
    /// All that there are.
    pub total: u64,
    /// Those that a process without privileges can still write.
    pub free: u64,
}

impl Disk {
    /// Opens a root, with a lane of `threads` and caches that keep nothing. Called at start, before anybody is served.
    pub(super) fn open(path: &Path, threads: usize) -> Result<Self, RootError> {
        let failed = |errno: Errno| RootError::from_errno(path, errno);
        let canonical = std::fs::canonicalize(path)
            .map_err(|error| failed(Errno::from_io_error(&error).unwrap_or(Errno::INVAL)))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::openat(CWD, &canonical, flags, Mode::empty()).map_err(failed)?;
        // O_PATH asks for no permission on the directory itself; a step inside does.
        rustix::fs::openat(&handle, c".", flags, Mode::empty()).map_err(failed)?;
        let path = canonical
            .into_os_string()
            .into_string()
            .map_err(|odd| RootError::NotUtf8 { path: PathBuf::from(odd) })?;
        let path = if path == "/" { String::new() } else { path };
        let confinement = Confinement::detect(handle.as_fd());
        let lane = Lane::shared(threads);
        let (indexes, files) =
            (IndexCache::new(0), Files::new(0, Duration::ZERO, Instant::now(), lane.clone()));
        Ok(Self { path, handle, confinement, lane, indexes, files })
    }

    /// The same with another way of confinement than was detected.
    #[cfg(test)]
    pub(super) fn with_confinement(self, confinement: Confinement) -> Self {
        Self { confinement, ..self }
    }

    /// The same with another number of threads. Called before [`Disk::with_caches`].
    pub(super) fn with_threads(self, threads: usize) -> Self {
        Self { lane: Lane::shared(threads), ..self }
    }

    /// The same with these caches.
    pub(super) fn with_caches(self, indexes: IndexCache, files: Files) -> Self {
        Self { indexes, files, ..self }
    }

    /// The canonical path.
    pub fn path(&self) -> &Path {
        Path::new(if self.path.is_empty() { "/" } else { &self.path })
    }

    /// Where everything runs that may wait for this disk.
    pub fn lane(&self) -> &Lane {
        &self.lane
    }

    /// How it is. Today a disk that does not answer is found out by each request for itself.
    pub fn health(&self) -> Health {
        Health::Ok
    }

    /// How paths are kept beneath the root.
    pub fn confinement(&self) -> Confinement {
        self.confinement
    }

    /// The room on its file system; `None` where the kernel does not say.
    pub fn space(&self, _: &OnLane) -> Option<Space> {
        let stat = rustix::fs::fstatvfs(&self.handle).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Some(Space { total: bytes(stat.f_blocks), free: bytes(stat.f_bavail) })
    }

    /// Whether its path leads elsewhere than to the directory that was opened at start: it was removed and made anew,
    /// or something was mounted over it. Files there cannot be served until a restart.
    pub fn is_replaced(&self, _: &OnLane) -> bool {
        let same = || {
            let there = rustix::fs::stat(self.path()).ok()?;
            let held = rustix::fs::fstat(&self.handle).ok()?;
            Some((there.st_dev, there.st_ino) == (held.st_dev, held.st_ino))
        };
        same() != Some(true)
    }

    /// Whether it is the same directory as another one, by another mount perhaps.
    pub(super) fn is_same_place(&self, _: &OnLane, other: &Self) -> bool {
        let place = |disk: &Self| rustix::fs::fstat(&disk.handle).map(|stat| (stat.st_dev, stat.st_ino)).ok();
        place(self).is_some_and(|here| Some(here) == place(other))
    }

    /// What is left of a canonical path below this root, by whole components.
    pub(super) fn beneath<'a>(&self, path: &'a str) -> Option<&'a str> {
        beneath(path, &self.path)
    }

    pub(super) fn open_file(&self, on: &OnLane, path: &str) -> Result<(OwnedFd, Identity), OpenFailure> {
        identified(self.confinement.open_file(on, self.handle(), path, Links::Refused))
    }

    pub(super) fn identity(&self, on: &OnLane, path: &str) -> Result<Option<Identity>, Errno> {
        confined::identity(on, self.handle(), path)
    }

    pub(super) fn create(
        &self,
        on: &OnLane,
        dir: &str,
        name: &str,
    ) -> Result<(OwnedFd, Identity), OpenFailure> {
        identified(self.confinement.create(on, self.handle(), dir, name))
    }

    pub(super) fn open_for_writing(
        &self,
        on: &OnLane,
        path: &str,
    ) -> Result<(OwnedFd, Identity), OpenFailure> {
        identified(self.confinement.open_for_writing(on, self.handle(), path))
    }

    pub(super) fn open_directory(&self, on: &OnLane, path: &str) -> Result<OwnedFd, OpenFailure> {
        self.confinement.open_directory(on, self.handle(), path)
    }

    /// The same where no mount point beneath the root is crossed.
    pub(super) fn open_directory_here(&self, on: &OnLane, path: &str) -> Result<OwnedFd, OpenFailure> {
        self.confinement.open_directory_here(on, self.handle(), path)
    }

    /// Removes the empty directory `name` from the directory `dir`.
    pub(super) fn remove_directory(&self, on: &OnLane, dir: &str, name: &str) -> Result<(), OpenFailure> {
        self.confinement.remove_directory(on, self.handle(), dir, name)
    }

    pub(super) fn sync_dir(&self, on: &OnLane, dir: &str) -> Result<(), OpenFailure> {
        self.confinement.sync_dir(on, self.handle(), dir)
    }

    pub(super) fn unlink(&self, on: &OnLane, dir: &str, name: &str) -> Result<(), OpenFailure> {
        self.confinement.unlink(on, self.handle(), dir, name)
    }

    fn handle(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

fn identified(opened: Result<(OwnedFd, Stat), OpenFailure>) -> Result<(OwnedFd, Identity), OpenFailure> {
    opened.map(|(fd, stat)| (fd, Identity::of(&stat)))
}

/// What is left of `path` below `root`, by whole components.
pub(super) fn beneath<'a>(path: &'a str, root: &str) -> Option<&'a str> {
    match path.strip_prefix(root)? {
        "" => Some(""),
        rest => rest.strip_prefix('/'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_says_how_it_is_and_how_much_room_it_has() {
        let temp = tempfile::tempdir().unwrap();
        let disk = Disk::open(temp.path(), 1).unwrap();
        let space = disk.space(&OnLane::here()).unwrap();
        assert!(space.free <= space.total && space.total > 0, "{space:?}");
        assert_eq!(disk.health(), Health::Ok);
    }
}
