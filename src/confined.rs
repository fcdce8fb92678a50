//! Opening, making and removing a file without leaving a directory that is open.
//!
//! Paths come from names that peers sent, and others may write beneath the directory. So the kernel itself keeps the
//! path beneath it: `openat2` with `RESOLVE_BENEATH` and `RESOLVE_NO_MAGICLINKS`, and with `RESOLVE_NO_SYMLINKS` unless
//! the caller admits links ([`Links`]). If the kernel (before 5.6) or a system-call filter has no `openat2`, the path
//! is walked one component at a time. Each component is opened with `O_NOFOLLOW` relative to the one before, so the walk
//! follows no link at all.
//!
//! Only regular files are opened. `O_NONBLOCK` keeps a fifo from hanging the open.
//!
//! `disk` opens blocks here, and `keys` the secrets of applications.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use sealed_shuffle_transport::lane::OnLane;
use sealed_shuffle_transport::region::Identity;

/// How a path is kept beneath a directory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Confinement {
    /// One `openat2` call.
    Kernel,
    /// One `openat` call a component.
    Walk,
}

/// Whether a symbolic link on the path is followed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Links {
    /// A link is an escape. That is stricter than Spark, which follows links that end inside an executor's directories.
    Refused,
    /// A link is followed if it stays beneath the directory. The walk refuses it.
    Beneath,
}

impl Confinement {
    /// Finds out which way this kernel offers, with a call on `dir`.
    pub(crate) fn detect(dir: BorrowedFd<'_>) -> Self {
        match rustix::fs::openat2(dir, c".", DIRECTORY, Mode::empty(), resolve(Links::Refused)) {
            // The call is there also where this user may not search the directory yet.
            Ok(_) | Err(Errno::ACCESS) => Self::Kernel,
            Err(_) => Self::Walk,
        }
    }

    /// Opens the regular file `path` beneath `root` for reading.
    pub(crate) fn open_file(
        self,
        on: &OnLane,
        root: BorrowedFd<'_>,
        path: &str,
        links: Links,
    ) -> Result<(OwnedFd, Stat), OpenFailure> {
        regular(self.open(on, root, path, FILE, links)?)
    }

    /// Opens the regular file `path` beneath `root` for writing.
    pub(crate) fn open_for_writing(
        self,
        on: &OnLane,
        root: BorrowedFd<'_>,
        path: &str,
    ) -> Result<(OwnedFd, Stat), OpenFailure> {
        regular(self.open(on, root, path, WRITTEN_FILE, Links::Refused)?)
    }

    /// Opens the directory `path` beneath `root`, so that its names can be read.
    pub(crate) fn open_directory(
        self,
        on: &OnLane,
        root: BorrowedFd<'_>,
        path: &str,
    ) -> Result<OwnedFd, OpenFailure> {
        self.open(on, root, path, READ_DIRECTORY, Links::Refused)
    }

    /// The same where no mount point beneath `root` is crossed: what lies behind one is another's.
    pub(crate) fn open_directory_here(
        self,
        on: &OnLane,
        root: BorrowedFd<'_>,
        path: &str,
    ) -> Result<OwnedFd, OpenFailure> {
        let opened = match self {
            Self::Kernel => {
                let resolve = resolve(Links::Refused) | ResolveFlags::NO_XDEV;
                open_in_kernel(root, path, READ_DIRECTORY, resolve)?
            }
            Self::Walk => self.open(on, root, path, READ_DIRECTORY, Links::Refused)?,
        };
        // A walk sees other file systems, but no mount of the same one.
        let [held, there] = [rustix::fs::fstat(root)?, rustix::fs::fstat(&opened)?];
        if held.st_dev == there.st_dev { Ok(opened) } else { Err(OpenFailure::Escapes) }
    }

    /// Removes the empty directory `name` from the directory `dir` beneath `root`.
    pub(crate) fn remove_directory(
        self,
        on: &OnLane,
        root: BorrowedFd<'_>,
        dir: &str,
        name: &str,
    ) -> Result<(), OpenFailure> {
        let dir = self.open_parent(on, root, dir, name)?;
        Ok(rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?)
    }

    /// Makes the file `name` in the directory `dir` beneath `root`, for writing, with `mode`. A file of that name is
    /// removed first: a process that has it open, or a further name for it, keeps its content.
    pub(crate) fn create(
        self,
        on: &OnLane,
        root: BorrowedFd<'_>,
        dir: &str,
        name: &str,
        mode: Mode,
    ) -> Result<(OwnedFd, Stat), OpenFailure> {
        let dir = self.open_parent(on, root, dir, name)?;
        match rustix::fs::unlinkat(&dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        let fd = rustix::fs::openat(&dir, name, NEW_FILE, mode)?;
        let stat = rustix::fs::fstat(&fd)?;
        Ok((fd, stat))
    }

    /// Writes the names in the directory `dir` beneath `root` to the disk.
    pub(crate) fn sync_dir(self, on: &OnLane, root: BorrowedFd<'_>, dir: &str) -> Result<(), OpenFailure> {
        let dir = self.open_directory(on, root, dir)?;
        Ok(rustix::fs::fsync(dir)?)
    }

    /// Removes the file `name` from the directory `dir` beneath `root`. A link is removed itself.
    pub(crate) fn unlink(
        self,
        on: &OnLane,
        root: BorrowedFd<'_>,
        dir: &str,
        name: &str,
    ) -> Result<(), OpenFailure> {
        let dir = self.open_parent(on, root, dir, name)?;
        Ok(rustix::fs::unlinkat(dir, name, AtFlags::empty())?)
    }

    /// Opens the directory `dir` beneath `root` for a change of `name` in it.
    fn open_parent(
        self,
        on: &OnLane,
        root: BorrowedFd<'_>,
        dir: &str,
        name: &str,
    ) -> Result<OwnedFd, OpenFailure> {
        match is_plain(name) {
            true => self.open(on, root, dir, DIRECTORY, Links::Refused),
            false => Err(OpenFailure::Escapes),
        }
    }

    fn open(
        self,
        _: &OnLane,
        root: BorrowedFd<'_>,
        path: &str,
        flags: OFlags,
        links: Links,
    ) -> Result<OwnedFd, OpenFailure> {
        match self {
            Self::Kernel => open_in_kernel(root, path, flags, resolve(links)),
            Self::Walk => walk(root, path, flags),
        }
    }
}

/// Looks at `path` beneath `root`. Returns `None` if nothing is there.
///
/// This stat is **not** confined: it follows a symlink in the middle of the path. That is safe, because the answer is
/// only compared with the identity of a file that a confined open returned (or tells whether a directory is still
/// there). A path that leads elsewhere yields another identity, and then a confined open decides.
pub(crate) fn identity(_: &OnLane, root: BorrowedFd<'_>, path: &str) -> Result<Option<Identity>, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    match rustix::fs::statat(root, path, flags) {
        Ok(stat) => Ok(Some(Identity::of(&stat))),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// What keeps this process from opening files in the directory `path` beneath `root`: the first directory on the way, itself
/// included, that it may not search, as the length of its path. Returns `None` if nothing does, or nobody can say.
///
/// Like [`identity`] it is not confined, and tells nothing but whether a confined open would be refused.
pub(crate) fn locked(_: &OnLane, root: BorrowedFd<'_>, path: &str) -> Option<(usize, Stat)> {
    let is_locked = |place: &str| {
        // The kernel looks for search permission before it takes the dot.
        let inside = if place.is_empty() { "./.".to_owned() } else { format!("{place}/.") };
        matches!(rustix::fs::statat(root, inside, AtFlags::empty()), Err(Errno::ACCESS))
    };
    if !is_locked(path) {
        return None;
    }
    let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
    let (end, place) = ends.map(|end| (end, &path[..end])).find(|(_, place)| is_locked(place))?;
    let place = if place.is_empty() { "." } else { place };
    let stat = rustix::fs::statat(root, place, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some((end, stat))
}

/// Opens the directory `name` of an open one, so that its names can be read. A link is not followed.
pub(crate) fn open_directory_in(_: &OnLane, dir: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(dir, name, READ_DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
}

/// Why a confined call failed, before the path is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum OpenFailure {
    /// The path has a symlink that is not admitted, has `..`, or leads out of the directory.
    Escapes,
    /// The name belongs to a directory, fifo, socket or device: which of them.
    NotRegular(&'static str),
    /// The kernel refused the call.
    Errno(Errno),
    /// The disk is not there, or does not answer.
    NoAnswer,
}

impl From<Errno> for OpenFailure {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::LOOP | Errno::XDEV => Self::Escapes,
            other => Self::Errno(other),
        }
    }
}

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// A directory, to read its names.
pub(crate) const READ_DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// `O_EXCL` follows no link, and opens nothing that is there.
const NEW_FILE: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);
/// A fifo that nobody reads does not open.
const WRITTEN_FILE: OFlags =
    OFlags::RDWR.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);
const FILE: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// `openat2` gives `EAGAIN` when something on the path is being renamed; it asks to be called again.
const RENAME_RETRIES: usize = 16;

fn resolve(links: Links) -> ResolveFlags {
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    match links {
        Links::Refused => beneath | ResolveFlags::NO_SYMLINKS,
        Links::Beneath => beneath,
    }
}

fn regular(fd: OwnedFd) -> Result<(OwnedFd, Stat), OpenFailure> {
    let stat = rustix::fs::fstat(&fd)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok((fd, stat)),
        other => Err(OpenFailure::NotRegular(kind_name(other))),
    }
}

fn open_in_kernel(
    root: BorrowedFd<'_>,
    path: &str,
    flags: OFlags,
    resolve: ResolveFlags,
) -> Result<OwnedFd, OpenFailure> {
    let mut tries = 0;
    loop {
        match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) if tries < RENAME_RETRIES => tries += 1,
            other => return Ok(other?),
        }
    }
}

fn walk(root: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd, OpenFailure> {
    // The directory itself, which `openat2` opens, too.
    if path == "." {
        return Ok(rustix::fs::openat(root, path, flags, Mode::empty())?);
    }
    let (dirs, last) = match path.rsplit_once('/') {
        Some((dirs, last)) => (Some(dirs), last),
        None => (None, path),
    };
    let mut held: Option<OwnedFd> = None;
    for component in dirs.into_iter().flat_map(|dirs| dirs.split('/')) {
        let here = held.as_ref().map_or(root, AsFd::as_fd);
        let next = step(here, component, DIRECTORY)?;
        held = Some(next);
    }
    step(held.as_ref().map_or(root, AsFd::as_fd), last, flags)
}

fn step(dir: BorrowedFd<'_>, name: &str, flags: OFlags) -> Result<OwnedFd, OpenFailure> {
    if !is_plain(name) {
        return Err(OpenFailure::Escapes);
    }
    match rustix::fs::openat(dir, name, flags | OFlags::NOFOLLOW, Mode::empty()) {
        // A symlink where a directory was asked for says "not a directory"; it is an escape all the same.
        Err(Errno::NOTDIR) => {
            let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink => Err(OpenFailure::Escapes),
                _ => Err(Errno::NOTDIR.into()),
            }
        }
        other => Ok(other?),
    }
}

fn is_plain(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\0'])
}

fn kind_name(kind: FileType) -> &'static str {
    match kind {
        FileType::Directory => "directory",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
        FileType::Symlink => "symlink",
        FileType::CharacterDevice | FileType::BlockDevice => "device",
        _ => "special file",
    }
}
