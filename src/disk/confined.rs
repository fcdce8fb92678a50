//! Opening, removing and looking at a file without leaving a root.
//!
//! Paths come from names that peers sent, and executors may write beneath the roots, so a path is walked with the
//! kernel's own confinement: `openat2` with `RESOLVE_BENEATH`, `RESOLVE_NO_SYMLINKS` and `RESOLVE_NO_MAGICLINKS`.
//! That is stricter than Spark, which follows symlinks that end inside the executor's directories. Where the kernel
//! (before 5.6) or a system-call filter has no `openat2`, the path is walked one component at a time, each opened
//! with `O_NOFOLLOW` relative to the one before.
//!
//! Only regular files are opened. `O_NONBLOCK` keeps a fifo from hanging the open.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use sealed_shuffle_transport::lane::OnLane;
use sealed_shuffle_transport::region::{Identity, ShownPath};

/// How a path is kept beneath its root.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Confinement {
    /// One `openat2` call.
    Kernel,
    /// One `openat` call a component.
    Walk,
}

impl Confinement {
    /// What this kernel offers, tried on a directory.
    pub(super) fn detect(dir: BorrowedFd<'_>) -> Self {
        match rustix::fs::openat2(dir, c".", DIRECTORY, Mode::empty(), RESOLVE) {
            Ok(_) => Self::Kernel,
            Err(_) => Self::Walk,
        }
    }

    /// Opens the regular file `path` beneath `root` for reading.
    pub(super) fn open_file(
        self,
        on: &OnLane,
        root: BorrowedFd<'_>,
        path: &str,
    ) -> Result<(OwnedFd, Identity), OpenFailure> {
        let fd = self.open(on, root, path, FILE)?;
        let stat = rustix::fs::fstat(&fd)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok((fd, Identity::of(&stat))),
            other => Err(OpenFailure::NotRegular(other)),
        }
    }

    /// Makes the file `name` in the directory `dir` beneath `root`, for writing, with mode 0600. What bore the name is
    /// removed first: whoever has it open, or a further name for it, keeps what was there.
    pub(super) fn create(
        self,
        on: &OnLane,
        root: BorrowedFd<'_>,
        dir: &str,
        name: &str,
    ) -> Result<(OwnedFd, Identity), OpenFailure> {
        if !is_plain(name) {
            return Err(OpenFailure::Escapes);
        }
        let dir = self.open(on, root, dir, DIRECTORY)?;
        match rustix::fs::unlinkat(&dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        let fd = rustix::fs::openat(&dir, name, NEW_FILE, Mode::RUSR | Mode::WUSR)?;
        let stat = rustix::fs::fstat(&fd)?;
        Ok((fd, Identity::of(&stat)))
    }

    /// Opens the regular file `path` beneath `root` for writing.
    pub(super) fn open_for_writing(
        self,
        on: &OnLane,
        root: BorrowedFd<'_>,
        path: &str,
    ) -> Result<(OwnedFd, Identity), OpenFailure> {
        let fd = self.open(on, root, path, WRITTEN_FILE)?;
        let stat = rustix::fs::fstat(&fd)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok((fd, Identity::of(&stat))),
            other => Err(OpenFailure::NotRegular(other)),
        }
    }

    /// Writes the names in the directory `dir` beneath `root` to the disk.
    pub(super) fn sync_dir(self, on: &OnLane, root: BorrowedFd<'_>, dir: &str) -> Result<(), OpenFailure> {
        let dir = self.open(on, root, dir, READ_DIRECTORY)?;
        Ok(rustix::fs::fsync(dir)?)
    }

    /// Removes the file `name` from the directory `dir` beneath `root`. A link is removed itself.
    pub(super) fn unlink(
        self,
        on: &OnLane,
        root: BorrowedFd<'_>,
        dir: &str,
        name: &str,
    ) -> Result<(), OpenFailure> {
        if !is_plain(name) {
            return Err(OpenFailure::Escapes);
        }
        let dir = self.open(on, root, dir, DIRECTORY)?;
        Ok(rustix::fs::unlinkat(dir, name, AtFlags::empty())?)
    }

    pub(super) fn open(
        self,
        _: &OnLane,
        root: BorrowedFd<'_>,
        path: &str,
        flags: OFlags,
    ) -> Result<OwnedFd, OpenFailure> {
        match self {
            Self::Kernel => open_in_kernel(root, path, flags),
            Self::Walk => walk(root, path, flags),
        }
    }
}

/// Looks at `path` beneath `root`; `None` where nothing is there.
///
/// This stat is **not** confined: an intermediate symlink is followed. That is safe, because the answer is only
/// compared with the identity of a file that a confined open returned (or tells whether a directory is still
/// there): a path that leads elsewhere yields another identity, and then a confined open decides.
pub(super) fn identity(_: &OnLane, root: BorrowedFd<'_>, path: &str) -> Result<Option<Identity>, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    match rustix::fs::statat(root, path, flags) {
        Ok(stat) => Ok(Some(Identity::of(&stat))),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Why a confined call failed, before the path is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum OpenFailure {
    /// The path has a symlink, `..`, or leads out of the root.
    Escapes,
    /// Something that is not a regular file bears the name.
    NotRegular(FileType),
    /// The kernel said no.
    Errno(Errno),
}

impl From<Errno> for OpenFailure {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::LOOP | Errno::XDEV => Self::Escapes,
            other => Self::Errno(other),
        }
    }
}

impl OpenFailure {
    /// Adds the path, for log and peer.
    pub(super) fn at(self, path: ShownPath) -> OpenError {
        match self {
            Self::Escapes => OpenError::Escapes { path },
            Self::NotRegular(kind) => OpenError::NotRegular { path, kind: kind_name(kind) },
            Self::Errno(Errno::NOENT | Errno::NOTDIR) => OpenError::Missing { path },
            Self::Errno(Errno::ACCESS | Errno::PERM) => OpenError::Denied { path, uid: our_uid() },
            Self::Errno(errno) => OpenError::Io { path, errno },
        }
    }
}

/// Why a file could not be opened.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No such file, or no such directory on the way.
    #[error("{path} does not exist")]
    Missing {
        /// The file.
        path: ShownPath,
    },
    /// The path has a symlink or leads out of its root.
    #[error("{path} goes through a symlink or leaves its root; files are served only by their plain path")]
    Escapes {
        /// The file.
        path: ShownPath,
    },
    /// A directory, fifo, socket or device.
    #[error("{path} is a {kind}, not a regular file")]
    NotRegular {
        /// The file.
        path: ShownPath,
        /// What it is.
        kind: &'static str,
    },
    /// No permission.
    #[error(
        "no permission to use {path} as uid {uid}; executors' directories have mode 0700, so this service must \
         run as the user that runs the executors"
    )]
    Denied {
        /// The file.
        path: ShownPath,
        /// The effective user id of this process.
        uid: u32,
    },
    /// Anything else the kernel said.
    #[error("cannot use {path}: {errno}")]
    Io {
        /// The file.
        path: ShownPath,
        /// What the kernel said.
        errno: Errno,
    },
}

impl OpenError {
    /// The file.
    pub fn path(&self) -> &ShownPath {
        match self {
            Self::Missing { path }
            | Self::Escapes { path }
            | Self::NotRegular { path, .. }
            | Self::Denied { path, .. }
            | Self::Io { path, .. } => path,
        }
    }
}

/// The effective user id of this process.
pub(super) fn our_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

const RESOLVE: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const READ_DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// `O_EXCL` follows no link, and opens nothing that is there.
const NEW_FILE: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);
/// A fifo that nobody reads does not open.
const WRITTEN_FILE: OFlags = OFlags::WRONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::NOFOLLOW);
const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::NOFOLLOW);

/// `openat2` gives `EAGAIN` when something on the path is being renamed; it asks to be called again.
const RENAME_RETRIES: usize = 16;

fn open_in_kernel(root: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd, OpenFailure> {
    let mut tries = 0;
    loop {
        match rustix::fs::openat2(root, path, flags, Mode::empty(), RESOLVE) {
            Err(Errno::AGAIN | Errno::INTR) if tries < RENAME_RETRIES => tries += 1,
            other => return Ok(other?),
        }
    }
}

fn walk(root: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd, OpenFailure> {
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
