//! The configured directories beneath which executors' directories must lie.
//!
//! Each root is opened once, at start; every file is opened relative to that handle. An executor's directory is
//! accepted as `LocalDirValidator` (Spark 3.5.9 and later) accepts it, and remembered as text and place, without a
//! handle of its own.

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use sealed_shuffle_transport::region::Identity;

use super::confined::{self, Confinement, OpenFailure, our_uid};

/// The roots, opened.
#[derive(Debug)]
pub struct Roots {
    roots: Vec<Root>,
    confinement: Confinement,
}

#[derive(Debug)]
struct Root {
    /// Canonical and absolute; ends in no slash, and is empty for `/`.
    path: String,
    handle: OwnedFd,
}

impl Roots {
    /// Opens the configured directories, in order. Entries are taken as they are: trim them before.
    pub fn open<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Result<Self, RootError> {
        let roots = paths.into_iter().map(|path| Root::open(path.as_ref())).collect::<Result<Vec<_>, _>>()?;
        let confinement = Confinement::detect(roots.first().ok_or(RootError::None)?.handle.as_fd());
        Ok(Self { roots, confinement })
    }

    /// The same roots with a way of confinement that was not detected.
    #[cfg(test)]
    pub(super) fn with_confinement(self, confinement: Confinement) -> Self {
        Self { confinement, ..self }
    }

    /// How paths are kept beneath the roots.
    pub fn confinement(&self) -> Confinement {
        self.confinement
    }

    /// The canonical paths.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.roots.iter().map(|root| Path::new(if root.path.is_empty() { "/" } else { &root.path }))
    }

    /// Says which root's path no longer leads to the directory that was opened at start (it was removed and made
    /// anew, or something was mounted over it). Files there cannot be served until a restart.
    pub fn replaced(&self) -> Option<&Path> {
        let same = |root: &Root, path: &Path| {
            let there = rustix::fs::stat(path).ok()?;
            let held = rustix::fs::fstat(&root.handle).ok()?;
            Some((there.st_dev, there.st_ino) == (held.st_dev, held.st_ino))
        };
        let found = self.roots.iter().zip(self.paths()).find(|(root, path)| same(root, path) != Some(true));
        found.map(|(_, path)| path)
    }

    /// Accepts a directory as an executor registers it, or says why not.
    ///
    /// Relative paths start at this process's working directory, as in Spark. The directory need not exist.
    pub fn accept(&self, dir: &str) -> Result<LocalDir, DirRefused> {
        if dir.is_empty() {
            return Err(DirRefused::Empty);
        }
        let unclear = || DirRefused::NotCanonicalizable { dir: dir.into() };
        let canonical = Canonical::of(dir).map_err(|_| unclear())?;
        // Java would hand on a mangled name; one that we could never open is refused here instead.
        let path = canonical.path.into_os_string().into_string().map_err(|_| unclear())?;
        let (number, root, rel) = self
            .roots
            .iter()
            .enumerate()
            .find_map(|(number, root)| Some((number, root, beneath(&path, &root.path)?)))
            .ok_or_else(|| DirRefused::NotUnderRoot { dir: dir.into() })?;
        // Mostly the text is the root's path, a slash and the place: then one copy of it does for both.
        let plain = dir.strip_prefix(&root.path).and_then(|rest| rest.strip_prefix('/')) == Some(rel);
        let place = match u32::try_from(dir.len() - rel.len().min(dir.len())) {
            Ok(start) if plain => Place::Tail(start),
            _ => Place::Own(rel.into()),
        };
        let root = RootId(u16::try_from(number).map_err(|_| unclear())?);
        Ok(LocalDir { text: dir.into(), place, root, existed: canonical.existed })
    }

    /// Whether an executor's directory is there.
    pub fn presence(&self, dir: &LocalDir) -> Presence {
        match confined::identity(self.handle(dir.root), dir.relative()) {
            Ok(Some(_)) => Presence::Present,
            Ok(None) => Presence::Absent,
            Err(_) => Presence::Unknown,
        }
    }

    pub(super) fn open_file(&self, root: RootId, path: &str) -> Result<(OwnedFd, Identity), OpenFailure> {
        self.confinement.open_file(self.handle(root), path)
    }

    pub(super) fn identity(&self, root: RootId, path: &str) -> Result<Option<Identity>, Errno> {
        confined::identity(self.handle(root), path)
    }

    pub(super) fn create(
        &self,
        root: RootId,
        dir: &str,
        name: &str,
    ) -> Result<(OwnedFd, Identity), OpenFailure> {
        self.confinement.create(self.handle(root), dir, name)
    }

    pub(super) fn open_for_writing(
        &self,
        root: RootId,
        path: &str,
    ) -> Result<(OwnedFd, Identity), OpenFailure> {
        self.confinement.open_for_writing(self.handle(root), path)
    }

    pub(super) fn sync_dir(&self, root: RootId, dir: &str) -> Result<(), OpenFailure> {
        self.confinement.sync_dir(self.handle(root), dir)
    }

    pub(super) fn unlink(&self, root: RootId, dir: &str, name: &str) -> Result<(), OpenFailure> {
        self.confinement.unlink(self.handle(root), dir, name)
    }

    pub(super) fn handle(&self, root: RootId) -> BorrowedFd<'_> {
        self.roots[usize::from(root.0)].handle.as_fd()
    }
}

impl Root {
    fn open(path: &Path) -> Result<Self, RootError> {
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
        Ok(Self { path: if path == "/" { String::new() } else { path }, handle })
    }
}

/// Position of a root among the configured ones.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct RootId(u16);

/// An executor's directory that lies beneath a root: the text as it was registered, and its canonical place.
#[derive(Clone)]
pub struct LocalDir {
    text: Box<str>,
    place: Place,
    root: RootId,
    existed: bool,
}

/// The path below the root.
#[derive(Clone)]
enum Place {
    /// The registered text from this byte on.
    Tail(u32),
    /// A text of its own.
    Own(Box<str>),
}

impl LocalDir {
    /// The text as the executor registered it; `GetLocalDirsForExecutors` answers with it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The canonical path below the root; empty for the root itself.
    pub fn relative(&self) -> &str {
        match &self.place {
            Place::Tail(start) => {
                usize::try_from(*start).ok().and_then(|at| self.text.get(at..)).unwrap_or("")
            }
            Place::Own(path) => path,
        }
    }

    /// Whether it was there when it was registered.
    pub fn existed(&self) -> bool {
        self.existed
    }

    /// Whether it lies at the same place as `other`.
    pub(crate) fn is_same_place(&self, other: &Self) -> bool {
        self.root == other.root && self.relative() == other.relative()
    }

    /// Whether it is what bears the name `name` in `parent`.
    pub(crate) fn is_child(&self, parent: &Self, name: &str) -> bool {
        let place = match parent.relative() {
            "" => self.relative() == name,
            within => beneath(self.relative(), within) == Some(name),
        };
        self.root == parent.root && place
    }

    pub(super) fn root(&self) -> RootId {
        self.root
    }

    /// Bytes of text that it holds.
    pub(super) fn text_bytes(&self) -> usize {
        self.text.len()
            + match &self.place {
                Place::Tail(_) => 0,
                Place::Own(path) => path.len(),
            }
    }
}

impl fmt::Debug for LocalDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} (root {}, {:?})", self.text, self.root.0, self.relative())
    }
}

/// Whether a directory is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Presence {
    /// It is.
    Present,
    /// It is not.
    Absent,
    /// The kernel would not say (no permission, an IO error).
    Unknown,
}

/// Why a root cannot be used. All of them refuse the start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootError {
    /// Nothing is configured.
    #[error("no local directories are configured; without them any path on this machine could be registered")]
    None,
    /// It is not there.
    #[error("local directory {} does not exist; create it or correct the configuration", path.display())]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// It is something else.
    #[error("local directory {} is not a directory", path.display())]
    NotDirectory {
        /// The path.
        path: PathBuf,
    },
    /// We may not go in.
    #[error(
        "no permission to enter local directory {} as uid {uid}; run the service as the user that runs the \
         executors, or give that user access",
        path.display()
    )]
    Denied {
        /// The directory.
        path: PathBuf,
        /// The effective user id of this process.
        uid: u32,
    },
    /// Its canonical name is no text that an executor could send.
    #[error("the name of local directory {} is not valid UTF-8", path.display())]
    NotUtf8 {
        /// The directory.
        path: PathBuf,
    },
    /// Anything else the kernel said.
    #[error("cannot open local directory {}: {errno}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        errno: Errno,
    },
}

impl RootError {
    fn from_errno(path: &Path, errno: Errno) -> Self {
        let path = path.to_path_buf();
        match errno {
            Errno::NOENT => Self::Missing { path },
            Errno::NOTDIR => Self::NotDirectory { path },
            Errno::ACCESS | Errno::PERM => Self::Denied { path, uid: our_uid() },
            errno => Self::Io { path, errno },
        }
    }
}

/// Why an executor's directory is refused. Display is Spark's message, to the letter.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DirRefused {
    /// No text.
    #[error("localDirs entries must be non-null and non-empty")]
    Empty,
    /// A loop of symlinks, a NUL, or a name that is too long or not UTF-8.
    #[error("localDirs entry could not be canonicalized: {dir}")]
    NotCanonicalizable {
        /// As it was sent.
        dir: String,
    },
    /// It lies elsewhere.
    #[error("localDirs entry is not under any of the service's local directories: {dir}")]
    NotUnderRoot {
        /// As it was sent.
        dir: String,
    },
}

/// As many links as Linux itself follows in one path.
const MAX_LINKS: usize = 40;

/// A path with links, `.` and `..` resolved component by component, as `realpath` does, except that it need not
/// exist: what is below a component that is missing (or that we may not look into) is taken as it is written.
struct Canonical {
    path: PathBuf,
    existed: bool,
}

impl Canonical {
    fn of(text: &str) -> Result<Self, Errno> {
        if text.contains('\0') {
            return Err(Errno::INVAL);
        }
        let mut path = PathBuf::from("/");
        let mut rest = VecDeque::new();
        if !text.starts_with('/') {
            let here = std::env::current_dir().map_err(|_| Errno::NOENT)?;
            push_front(&mut rest, here.as_os_str().as_encoded_bytes());
        }
        rest.extend(components(text.as_bytes()));
        let mut links = 0;
        while let Some(component) = rest.pop_front() {
            match component.as_slice() {
                b"." => continue,
                b".." => {
                    path.pop();
                    continue;
                }
                _ => path.push(to_os(&component)),
            }
            match rustix::fs::statat(CWD, &path, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::LOOP);
                    }
                    let target = rustix::fs::readlinkat(CWD, &path, Vec::new())?;
                    match target.as_bytes().starts_with(b"/") {
                        true => path = PathBuf::from("/"),
                        false => _ = path.pop(),
                    }
                    push_front(&mut rest, target.as_bytes());
                }
                Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => {}
                Err(errno) => return Err(errno),
            }
        }
        let existed = rustix::fs::statat(CWD, &path, AtFlags::SYMLINK_NOFOLLOW).is_ok();
        Ok(Self { path, existed })
    }
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = Vec<u8>> {
    path.split(|byte| *byte == b'/').filter(|component| !component.is_empty()).map(<[u8]>::to_vec)
}

fn push_front(rest: &mut VecDeque<Vec<u8>>, path: &[u8]) {
    components(path).rev().for_each(|component| rest.push_front(component));
}

fn to_os(component: &[u8]) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(component)
}

/// What is left of `path` below `root`, by whole components.
fn beneath<'a>(path: &'a str, root: &str) -> Option<&'a str> {
    match path.strip_prefix(root)? {
        "" => Some(""),
        rest => rest.strip_prefix('/'),
    }
}
