//! Files that this service makes itself, beneath the same roots and with the same confinement.
//!
//! A file that is written bit by bit for minutes is not held open for so long: [`OwnFiles::write_at`] takes its
//! descriptor from a bounded cache and opens it again where it has been pushed out. What it finds then must be the
//! very file that was made: executors may write beneath the roots, and a file that was put in its place is not written
//! to.
//!
//! Descriptors are kept under numbers that are never given twice ([`WriteId`]). Device and inode are no name: a file that
//! is deleted gives its inode to the next one, and the descriptor kept for the one would be found for the other. For the
//! same reason a file that is opened again must also begin as the one that was made: what is sealed begins with a salt of
//! its own.
//!
//! The files of one partition lie on several disks. Each call runs on the lane of its file's disk: at once where the thread
//! at hand is of that lane, and else it is waited for `GUEST` (1 s) at most, so that a disk that hangs does not hold up the
//! threads of another one. A write that was not waited for to its end may still come; nothing more is written to its file.
//!
//! `sealed_files` is the caller.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;
use rustix::fs::Mode;
use rustix::io::Errno;
use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_transport::lane::{OnLane, Resident};
use sealed_shuffle_transport::region::{OpenFile, ShownPath};

use super::bounded;
use super::device::GUEST;
use super::files::Files;
use super::layout::{self, Placement};
use super::open_error::OpenError;
use super::root::{LocalDir, Roots, share_of_files};

/// Files of our own: making, writing, reading, removing.
#[derive(Debug)]
pub struct OwnFiles {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    roots: Arc<Roots>,
    /// Data files that are being read, of each disk.
    reading: Vec<Files>,
    /// Descriptors of files that are being written.
    writing: Cache<u64, Arc<CachedDescriptor>>,
    next: AtomicU64,
    fronts: RandomState,
    /// Files with a write that may still come.
    late: Mutex<HashSet<u64>>,
    reopened: AtomicU64,
    readers: Readers,
    #[cfg(test)]
    watch: Option<Arc<dyn Watch>>,
}

/// A descriptor that is kept for the next write.
#[derive(Debug)]
struct CachedDescriptor {
    fd: Resident<OwnedFd>,
    disk: usize,
}

/// The place of a file of ours.
pub struct OwnFile<'a> {
    dir: &'a LocalDir,
    parent: String,
    name: String,
    sub: String,
}

/// A file that was made and is being written: which one it was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WriteId {
    /// Which one of all that were made.
    number: u64,
    inode: (u64, u64),
    /// Its first bytes, as a hash, and how many they are.
    front: u64,
    front_len: u32,
}

/// Why a file of ours could not be written.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// It could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Another file has taken its place.
    #[error(
        "{path} is no longer the file that was made there; something replaced it while it was being written"
    )]
    ReplacedFile {
        /// The file.
        path: ShownPath,
    },
    /// The kernel said no.
    #[error("cannot write {path}: {errno}")]
    Io {
        /// The file.
        path: ShownPath,
        /// What the kernel said.
        errno: Errno,
    },
}

/// Who may read the files, by their mode. Nobody else writes them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Readers {
    /// This server's user.
    Ourselves,
    /// Everybody who reaches the directory: executors, which may be other users.
    Everybody,
}

impl Readers {
    fn mode(self) -> Mode {
        match self {
            Self::Ourselves => Mode::RUSR | Mode::WUSR,
            Self::Everybody => Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH,
        }
    }
}

/// A call that waits until something is on the disk takes longer.
const TO_DISK: Duration = Duration::from_secs(3);

impl OwnFiles {
    /// Keeps at most `write_handles` descriptors for writing, and `read_handles` for reading, of which each is closed
    /// when it was not used for `idle`.
    pub fn new(roots: Arc<Roots>, write_handles: usize, read_handles: usize, idle: Duration) -> Self {
        let writing = bounded::by_number(write_handles);
        let (number, now) = (roots.disks().len(), Instant::now());
        let reading = (0..number).map(|n| Files::new(share_of_files(read_handles, number, n), idle, now));
        let reading = reading.collect();
        let inner = Inner {
            roots,
            reading,
            writing,
            next: AtomicU64::new(0),
            fronts: RandomState::new(),
            late: Mutex::default(),
            reopened: AtomicU64::new(0),
            readers: Readers::Ourselves,
            #[cfg(test)]
            watch: None,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The same, for these readers.
    pub fn read_by(self, readers: Readers) -> Self {
        self.with(|inner| Inner { readers, ..inner })
    }

    /// The same, watched.
    #[cfg(test)]
    pub(crate) fn watched_by(self, watch: Arc<dyn Watch>) -> Self {
        self.with(|inner| Inner { watch: Some(watch), ..inner })
    }

    fn with(self, change: impl FnOnce(Inner) -> Inner) -> Self {
        let Ok(inner) = Arc::try_unwrap(self.inner) else { unreachable!("nothing was done with it yet") };
        Self { inner: Arc::new(change(inner)) }
    }

    /// Makes a file anew, in place of what was there, and writes `content` to it.
    pub fn create(
        &self,
        on: &OnLane,
        file: &OwnFile<'_>,
        content: &[u8],
        keep_open: bool,
    ) -> Result<WriteId, WriteError> {
        if self.is_here(on, file) {
            return self.inner.create(on, file, content, keep_open);
        }
        let content = content.to_vec();
        self.ask(on, file, GUEST, move |inner, on, file| inner.create(on, file, &content, keep_open))?
    }

    /// Writes `bytes` at `position`, all of them or an error. `keep_open` where more will follow soon.
    pub fn write_at(
        &self,
        on: &OnLane,
        file: &OwnFile<'_>,
        writing: WriteId,
        bytes: &[u8],
        position: u64,
        keep_open: bool,
    ) -> Result<(), WriteError> {
        if self.is_here(on, file) {
            return self.inner.write_at(on, file, writing, bytes, position, keep_open);
        }
        self.inner.check_late(file, writing)?;
        let bytes = bytes.to_vec();
        let written = self.ask(on, file, GUEST, move |inner, on, file| {
            inner.write_at(on, file, writing, &bytes, position, keep_open)
        });
        written.inspect_err(|_| self.inner.is_late(writing))?
    }

    /// Cuts the file to `len`; with `to_disk`, waits until what it has is on the disk. Fails where its path does not lead
    /// to it any more: somebody deleted it, or put another one in its place.
    pub fn cut(
        &self,
        on: &OnLane,
        file: &OwnFile<'_>,
        writing: WriteId,
        len: u64,
        to_disk: bool,
    ) -> Result<(), WriteError> {
        self.inner.check_late(file, writing)?;
        let patience = if to_disk { TO_DISK } else { GUEST };
        let cut =
            self.ask(on, file, patience, move |inner, on, file| inner.cut(on, file, writing, len, to_disk));
        cut.inspect_err(|_| self.inner.is_late(writing))?
    }

    /// Waits until the file's name is on the disk.
    pub fn sync_dir(&self, on: &OnLane, file: &OwnFile<'_>) -> Result<(), WriteError> {
        self.ask(on, file, TO_DISK, |inner, on, file| {
            inner.about_to(Deed::SyncDirectory, file)?;
            let synced = inner.roots.disk(file.dir).sync_dir(on, &file.parent);
            Ok(synced.map_err(|failure| failure.at(file.shown()))?)
        })?
    }

    /// Nothing more will be written: the descriptor is closed.
    pub fn written(&self, writing: WriteId) {
        self.inner.writing.remove(&writing.number);
        self.inner.late().remove(&writing.number);
    }

    /// Opens the file for reading, by a cache: the open one as long as its path leads to it and it is unchanged.
    pub fn open(&self, on: &OnLane, file: &OwnFile<'_>, app: &AppId) -> Result<Arc<OpenFile>, OpenError> {
        let app = app.clone();
        self.ask(on, file, GUEST, move |inner, on, file| inner.open(on, file, &app))?
    }

    /// The first `most` bytes of the file, or all that it has; and how long it is.
    pub fn read_front(
        &self,
        on: &OnLane,
        file: &OwnFile<'_>,
        most: usize,
    ) -> Result<(Vec<u8>, u64), OpenError> {
        self.ask(on, file, GUEST, move |inner, on, file| inner.read_front(on, file, most))?
    }

    /// Whether something bears the file's name.
    pub fn is_there(&self, on: &OnLane, file: &OwnFile<'_>) -> Result<bool, OpenError> {
        self.ask(on, file, GUEST, |inner, on, file| {
            let seen = inner.roots.disk(file.dir).identity(on, &file.path());
            seen.map(|seen| seen.is_some()).map_err(|failure| failure.at(file.shown()))
        })?
    }

    /// Removes the file; whether it was there.
    pub fn remove(&self, on: &OnLane, file: &OwnFile<'_>) -> Result<bool, OpenError> {
        self.ask(on, file, GUEST, |inner, on, file| inner.remove(on, file))?
    }

    /// Closes files of one disk that were read and are idle or deleted, and those being written that were deleted: their
    /// next write fails. How many. Call it every few seconds.
    pub fn close_files(&self, on: &OnLane, disk: usize, now: Instant) -> usize {
        let is_deleted = |kept: &CachedDescriptor| {
            kept.disk == disk && !rustix::fs::fstat(&kept.fd).is_ok_and(|stat| stat.st_nlink > 0)
        };
        bounded::take_out(&self.inner.writing, is_deleted)
            + self.inner.reading.get(disk).map_or(0, |files| files.sweep(on, now))
    }

    /// Closes what is open for reading of an application.
    pub fn forget(&self, app: &AppId) {
        self.inner.reading.iter().for_each(|files| files.forget(app));
    }

    /// Descriptors that the cache holds for writing.
    pub fn write_handles(&self) -> usize {
        self.inner.writing.len()
    }

    /// Files that were opened again for writing, since their descriptor had been pushed out.
    pub fn reopened(&self) -> u64 {
        self.inner.reopened.load(Ordering::Relaxed)
    }

    /// Files that are open for reading.
    pub fn open_now(&self) -> u64 {
        self.inner.reading.iter().map(Files::open_now).sum()
    }

    fn is_here(&self, on: &OnLane, file: &OwnFile<'_>) -> bool {
        self.inner.roots.disk(file.dir).is_here(on)
    }

    /// Does something on the lane of the file's disk.
    fn ask<T: Send + 'static>(
        &self,
        on: &OnLane,
        file: &OwnFile<'_>,
        patience: Duration,
        work: impl FnOnce(&Inner, &OnLane, &OwnFile<'_>) -> T + Send + 'static,
    ) -> Result<T, OpenError> {
        let disk = self.inner.roots.disk(file.dir);
        if disk.is_here(on) {
            return Ok(work(&self.inner, on, file));
        }
        let inner = Arc::clone(&self.inner);
        let (dir, parent, name, sub) =
            (file.dir.clone(), file.parent.clone(), file.name.clone(), file.sub.clone());
        let asked =
            disk.ask(on, patience, move |on| work(&inner, on, &OwnFile { dir: &dir, parent, name, sub }));
        asked.map_err(|_| OpenError::NoAnswer { path: file.shown() })
    }
}

impl Inner {
    fn create(
        &self,
        on: &OnLane,
        file: &OwnFile<'_>,
        content: &[u8],
        keep_open: bool,
    ) -> Result<WriteId, WriteError> {
        self.about_to(Deed::Create, file)?;
        let made = self.roots.disk(file.dir).create(on, &file.parent, &file.name, self.readers.mode());
        let (fd, identity) = made.map_err(|failure| failure.at(file.shown()))?;
        let writing = WriteId {
            number: self.next.fetch_add(1, Ordering::Relaxed),
            inode: identity.inode(),
            front: self.fronts.hash_one(content),
            front_len: u32::try_from(content.len()).unwrap_or(u32::MAX),
        };
        self.write_all(file, &fd, content, 0)?;
        if keep_open {
            self.writing
                .insert(writing.number, Arc::new(CachedDescriptor { fd, disk: file.dir.disk_number() }));
        }
        Ok(writing)
    }

    fn write_at(
        &self,
        on: &OnLane,
        file: &OwnFile<'_>,
        writing: WriteId,
        bytes: &[u8],
        position: u64,
        keep_open: bool,
    ) -> Result<(), WriteError> {
        let kept = self.handle(on, file, writing, keep_open)?;
        self.write_all(file, &kept.fd, bytes, position)
    }

    fn cut(
        &self,
        on: &OnLane,
        file: &OwnFile<'_>,
        writing: WriteId,
        len: u64,
        to_disk: bool,
    ) -> Result<(), WriteError> {
        let kept = self.handle(on, file, writing, false)?;
        self.confirm(on, file, writing)?;
        self.about_to(Deed::Cut { len }, file)?;
        retry(|| rustix::fs::ftruncate(&kept.fd, len)).map_err(|errno| self.io(file, errno))?;
        if to_disk {
            self.about_to(Deed::Sync, file)?;
            retry(|| rustix::fs::fsync(&kept.fd)).map_err(|errno| self.io(file, errno))?;
        }
        Ok(())
    }

    /// Whether the path leads to the file that was made. Its descriptor is open, so that its inode is nobody else's.
    fn confirm(&self, on: &OnLane, file: &OwnFile<'_>, writing: WriteId) -> Result<(), WriteError> {
        let seen = self.roots.disk(file.dir).identity(on, &file.path());
        match seen.map_err(|failure| failure.at(file.shown()))? {
            Some(seen) if seen.inode() == writing.inode => Ok(()),
            Some(_) => Err(WriteError::ReplacedFile { path: file.shown() }),
            None => Err(OpenError::Missing { path: file.shown() }.into()),
        }
    }

    fn open(&self, on: &OnLane, file: &OwnFile<'_>, app: &AppId) -> Result<Arc<OpenFile>, OpenError> {
        let (path, disk, reading) = (file.path(), self.roots.disk(file.dir), self.reading(file)?);
        let seen = disk.identity(on, &path).map_err(|failure| failure.at(file.shown()))?;
        let Some(seen) = seen else {
            reading.remove(&path);
            return Err(OpenError::Missing { path: file.shown() });
        };
        let now = Instant::now();
        let opened = reading.open(&path, &seen, app, || file.shown(), now, || disk.open_file(on, &path));
        opened.map_err(|failure| failure.at(file.shown()))
    }

    fn read_front(&self, on: &OnLane, file: &OwnFile<'_>, most: usize) -> Result<(Vec<u8>, u64), OpenError> {
        let disk = self.roots.disk(file.dir);
        let opened = disk.open_file(on, &file.path());
        let (fd, identity) = opened.map_err(|failure| failure.at(file.shown()))?;
        let size = usize::try_from(identity.size()).unwrap_or(usize::MAX);
        let mut bytes = vec![0; size.min(most)];
        let filled = read_all(&fd, &mut bytes).map_err(|errno| {
            disk.lane().failed(errno);
            OpenError::Io { path: file.shown(), errno }
        })?;
        bytes.truncate(filled);
        Ok((bytes, identity.size()))
    }

    fn remove(&self, on: &OnLane, file: &OwnFile<'_>) -> Result<bool, OpenError> {
        self.reading(file)?.remove(&file.path());
        self.about_to(Deed::Remove, file)
            .map_err(|_| OpenError::Io { path: file.shown(), errno: Errno::IO })?;
        match self.roots.disk(file.dir).unlink(on, &file.parent, &file.name) {
            Ok(()) => Ok(true),
            Err(failure) => match failure.at(file.shown()) {
                OpenError::Missing { .. } => Ok(false),
                error => Err(error),
            },
        }
    }

    fn reading(&self, file: &OwnFile<'_>) -> Result<&Files, OpenError> {
        let reading = self.reading.get(file.dir.disk_number());
        reading.ok_or_else(|| OpenError::NoAnswer { path: file.shown() })
    }

    fn handle(
        &self,
        on: &OnLane,
        file: &OwnFile<'_>,
        writing: WriteId,
        keep_open: bool,
    ) -> Result<Arc<CachedDescriptor>, WriteError> {
        if let Some(kept) = self.writing.get(&writing.number) {
            return Ok(kept);
        }
        let opened = self.roots.disk(file.dir).open_for_writing(on, &file.path());
        let (fd, identity) = opened.map_err(|failure| failure.at(file.shown()))?;
        let mut front = vec![0; usize::try_from(writing.front_len).unwrap_or(0)];
        let read = read_all(&fd, &mut front).map_err(|errno| self.io(file, errno))?;
        if identity.inode() != writing.inode || self.fronts.hash_one(&front[..read]) != writing.front {
            return Err(WriteError::ReplacedFile { path: file.shown() });
        }
        self.reopened.fetch_add(1, Ordering::Relaxed);
        let kept = Arc::new(CachedDescriptor { fd, disk: file.dir.disk_number() });
        if keep_open {
            self.writing.insert(writing.number, Arc::clone(&kept));
        }
        Ok(kept)
    }

    fn write_all(
        &self,
        file: &OwnFile<'_>,
        fd: &OwnedFd,
        bytes: &[u8],
        position: u64,
    ) -> Result<(), WriteError> {
        self.about_to(Deed::Write { bytes, position }, file)?;
        write_all(fd, bytes, position).map_err(|errno| self.io(file, errno))
    }

    /// Tells whoever watches, who may say no.
    #[cfg(test)]
    fn about_to(&self, deed: Deed<'_>, file: &OwnFile<'_>) -> Result<(), WriteError> {
        let place = (file.dir.disk_number(), file.path());
        let said = self.watch.as_ref().map_or(Ok(()), |watch| watch.before(deed, place));
        said.map_err(|errno| self.io(file, errno))
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "tests watch here")]
    fn about_to(&self, _: Deed<'_>, _: &OwnFile<'_>) -> Result<(), WriteError> {
        Ok(())
    }

    /// Refuses a file with a write that may still come.
    fn check_late(&self, file: &OwnFile<'_>, writing: WriteId) -> Result<(), WriteError> {
        match self.late().contains(&writing.number) {
            true => Err(OpenError::NoAnswer { path: file.shown() }.into()),
            false => Ok(()),
        }
    }

    fn is_late(&self, writing: WriteId) {
        self.late().insert(writing.number);
    }

    fn late(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The kernel said no to a write.
    fn io(&self, file: &OwnFile<'_>, errno: Errno) -> WriteError {
        self.roots.disk(file.dir).lane().failed(errno);
        WriteError::Io { path: file.shown(), errno }
    }
}

/// What is about to be done to a file of ours.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(test), expect(dead_code, reason = "tests watch it"))]
pub(crate) enum Deed<'a> {
    /// It is made, empty, in the place of what bore its name.
    Create,
    /// Bytes are written to it.
    Write { bytes: &'a [u8], position: u64 },
    /// It is cut to a length.
    Cut { len: u64 },
    /// What it has goes to the disk.
    Sync,
    /// The names in its directory go to the disk.
    SyncDirectory,
    /// It is removed.
    Remove,
}

/// The seam at which tests stop what is done to files, or write it down. `place` is the number of the disk, and the path
/// below its root.
#[cfg(test)]
pub(crate) trait Watch: fmt::Debug + Send + Sync {
    fn before(&self, deed: Deed<'_>, place: (usize, String)) -> Result<(), Errno>;
}

impl<'a> OwnFile<'a> {
    /// Places the file `name`, which must be one component, among `dirs` as Spark does. `None` where there are no
    /// directories, or no sub-directories.
    pub fn place(dirs: &'a [LocalDir], sub_dirs: i32, name: String) -> Option<Self> {
        let place = Placement::of(&name, dirs.len(), sub_dirs)?;
        let dir = dirs.get(place.dir)?;
        let sub = place.sub_dir();
        let parent = match dir.relative() {
            "" => sub.clone(),
            relative => format!("{relative}/{sub}"),
        };
        Some(Self { dir, parent, name, sub })
    }

    /// The number of the disk that it lies on.
    pub fn disk_number(&self) -> usize {
        self.dir.disk_number()
    }

    /// The path as Spark would print it.
    pub fn shown(&self) -> ShownPath {
        ShownPath::new(layout::java_path(&format!("{}/{}/{}", self.dir.text(), self.sub, self.name)))
    }

    /// The file, below the root.
    fn path(&self) -> String {
        format!("{}/{}", self.parent, self.name)
    }
}

impl fmt::Debug for OwnFile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OwnFile({})", self.shown())
    }
}

fn write_all(fd: &OwnedFd, bytes: &[u8], position: u64) -> Result<(), Errno> {
    let mut written = 0;
    while written < bytes.len() {
        match retry(|| rustix::io::pwrite(fd, &bytes[written..], position + written as u64))? {
            0 => return Err(Errno::IO),
            n => written += n,
        }
    }
    Ok(())
}

/// Reads until `buf` is full or the file ends; how much.
fn read_all(fd: &OwnedFd, buf: &mut [u8]) -> Result<usize, Errno> {
    let mut filled = 0;
    while filled < buf.len() {
        match retry(|| rustix::io::pread(fd, &mut buf[filled..], filled as u64))? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}
