//! The configured directories beneath which executors' directories must lie.
//!
//! Each root is one [`Disk`], opened once, at start. An executor's directory is
//! accepted as `LocalDirValidator` (Spark 3.5.9 and later) accepts it, and remembered as text and place, without a
//! handle of its own.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, FileType};
use rustix::io::Errno;
use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::shown::Shown;
use sealed_shuffle_transport::lane::{Lane, OnLane};

use super::device::{Disk, beneath};
use super::files::Files;
use super::index_cache::IndexCache;
use super::root_error::RootError;
use super::scope;
#[cfg(test)]
use crate::confined::Confinement;

/// Threads of each lane unless told otherwise (`spark.sealed.disk.threads`).
pub const THREADS: usize = 8;

/// The roots, opened: one disk each.
#[derive(Debug)]
pub struct Roots {
    disks: Vec<Disk>,
    across: Lane,
    /// Places outside the roots that lead to them, as they are configured.
    ways: HashSet<PathBuf>,
    app_scope: bool,
}

impl Roots {
    /// Opens the configured directories, in order. Entries are taken as they are: trim them before. Call it at start,
    /// before anybody is served: it waits for the disks.
    pub fn open<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Result<Self, RootError> {
        let (mut disks, mut ways) = (Vec::new(), HashSet::new());
        for path in paths {
            let path = path.as_ref();
            disks.push(Disk::open(path, THREADS)?);
            // A path that cannot be walked was not opened either.
            if let Some(text) = path.to_str() {
                Canonical::walk(text, |place| {
                    ways.insert(place.to_owned());
                    true
                })
                .ok();
            }
        }
        if disks.is_empty() {
            return Err(RootError::None);
        }
        Ok(Self { disks, across: Lane::shared(THREADS), ways, app_scope: false })
    }

    /// The same with so many threads for each disk, and for what concerns several. Default [`THREADS`].
    pub fn with_threads(self, threads: usize) -> Self {
        let disks = self.disks.into_iter().map(|disk| disk.with_threads(threads)).collect();
        Self { disks, across: Lane::shared(threads), ..self }
    }

    /// The same where the path of every directory must name the application that it is accepted for, as in YARN.
    pub fn with_app_scope(self, app_scope: bool) -> Self {
        Self { app_scope, ..self }
    }

    /// The same with caches of so many bytes of indexes and so many open files, which the disks share.
    pub(super) fn with_caches(self, index_bytes: u64, files: usize, idle: Duration, now: Instant) -> Self {
        let number = self.disks.len();
        let caches = |(n, disk): (usize, Disk)| {
            let indexes = IndexCache::new(share(index_bytes, number, n));
            let files = Files::new(share_of_files(files, number, n), idle, now, disk.lane().clone());
            disk.with_caches(indexes, files)
        };
        let disks = self.disks.into_iter().enumerate().map(caches).collect();
        Self { disks, ..self }
    }

    /// The same roots with a way of confinement that was not detected.
    #[cfg(test)]
    pub(super) fn with_confinement(self, confinement: Confinement) -> Self {
        let disks = self.disks.into_iter().map(|disk| disk.with_confinement(confinement)).collect();
        Self { disks, ..self }
    }

    /// The disks, in the order in which they were configured; at least one.
    pub fn disks(&self) -> &[Disk] {
        &self.disks
    }

    /// The disk that an executor's directory lies on.
    pub fn disk(&self, dir: &LocalDir) -> &Disk {
        &self.disks[dir.disk_number()]
    }

    /// The lanes of the disks, and the one across them.
    pub fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.disks.iter().map(Disk::lane).chain([&self.across])
    }

    /// Where everything runs that concerns more than one disk, or a path of which nobody knows yet where it leads.
    pub fn across(&self) -> &Lane {
        &self.across
    }

    /// Accepts a directory as an executor registers it, or says why not.
    ///
    /// Relative paths start at this process's working directory, as in Spark. The directory need not exist. Nothing is
    /// looked at that neither lies beneath a root nor on the way to one, as it is configured: elsewhere a look may hang.
    pub fn accept(&self, _: &OnLane, dir: &str) -> Result<LocalDir, DirRefused> {
        if dir.is_empty() {
            return Err(DirRefused::Empty);
        }
        let unclear = || DirRefused::NotCanonicalizable { dir: dir.into() };
        let canonical =
            Canonical::walk(dir, |place| self.leads_to_a_root(place)).map_err(|error| match error {
                WalkError::Unclear => unclear(),
                WalkError::Outside => DirRefused::NotUnderRoot { dir: dir.into() },
            })?;
        // Java would hand on a mangled name; one that we could never open is refused here instead.
        let path = canonical.path.into_os_string().into_string().map_err(|_| unclear())?;
        let (number, rel) = self
            .disks
            .iter()
            .enumerate()
            .find_map(|(number, disk)| Some((number, disk.beneath(&path)?)))
            .ok_or_else(|| DirRefused::NotUnderRoot { dir: dir.into() })?;
        let below = u32::try_from(path.len() - rel.len()).map_err(|_| unclear())?;
        let root = RootId(u16::try_from(number).map_err(|_| unclear())?);
        // Mostly it was registered by its canonical path: then one text does for both.
        let text = (path != dir).then(|| dir.into());
        Ok(LocalDir { path: path.into(), below, root, existed: canonical.existed, text })
    }

    /// Whether a place lies beneath a root, or on the way to one.
    fn leads_to_a_root(&self, place: &Path) -> bool {
        self.ways.contains(place) || self.disks.iter().any(|disk| place.starts_with(disk.path()))
    }

    /// The same for a directory of `app`, which must not be another application's by its path (`scope`).
    pub fn accept_for(&self, on: &OnLane, app: &AppId, dir: &str) -> Result<LocalDir, DirRefused> {
        let accepted = self.accept(on, dir)?;
        let below = accepted.path.len() - accepted.relative().len();
        match scope::allows(app, &accepted.path, below, self.app_scope) {
            true => Ok(accepted),
            false => Err(DirRefused::OtherApplication { dir: dir.into(), app: app.clone() }),
        }
    }

    /// Whether an executor's directory is there.
    pub fn presence(&self, on: &OnLane, dir: &LocalDir) -> Presence {
        match self.disk(dir).identity(on, dir.relative()) {
            Ok(Some(_)) => Presence::Present,
            Ok(None) => Presence::Absent,
            Err(_) => Presence::Unknown,
        }
    }
}

/// The part of `total` that the `n`th of `number` has, so that all of them together have it all.
fn share(total: u64, number: usize, n: usize) -> u64 {
    let (number, n) = (number as u64, n as u64);
    total / number + u64::from(n < total % number)
}

/// The same for a number of files.
pub(super) fn share_of_files(total: usize, number: usize, n: usize) -> usize {
    usize::try_from(share(total as u64, number, n)).unwrap_or(usize::MAX)
}

/// Position of a root among the configured ones.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct RootId(u16);

/// An executor's directory that lies beneath a root: its canonical place, and the text as it was registered.
#[derive(Clone)]
pub struct LocalDir {
    path: Arc<str>,
    /// Where the part of `path` begins that is below the root.
    below: u32,
    root: RootId,
    existed: bool,
    /// Where it was not registered by its canonical path.
    text: Option<Box<str>>,
}

impl LocalDir {
    /// The text as the executor registered it; `GetLocalDirsForExecutors` answers with it.
    pub fn text(&self) -> &str {
        self.text.as_deref().unwrap_or(&self.path)
    }

    /// The canonical path.
    pub(super) fn path(&self) -> &Arc<str> {
        &self.path
    }

    /// The canonical path below the root; empty for the root itself.
    pub fn relative(&self) -> &str {
        usize::try_from(self.below).ok().and_then(|at| self.path.get(at..)).unwrap_or("")
    }

    /// Whether it was there when it was registered.
    pub fn existed(&self) -> bool {
        self.existed
    }

    /// Whether it lies at the same place as `other`.
    pub(crate) fn is_same_place(&self, other: &Self) -> bool {
        self.path == other.path
    }

    /// Whether it lies in the same directory as `other`.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        let parent = |dir: &Self| dir.path.rfind('/').map(|end| dir.path.get(..end).map(str::to_owned));
        parent(self) == parent(other)
    }

    /// The directory that it lies in, unless that is the root or above it.
    pub(super) fn parent(&self) -> Option<Self> {
        let (parent, _) = self.relative().rsplit_once('/')?;
        let end = self.path.len() - self.relative().len() + parent.len();
        Some(Self { path: self.path.get(..end)?.into(), text: None, ..self.clone() })
    }

    /// Whether it is what bears the name `name` in `parent`.
    pub(crate) fn is_child(&self, parent: &Self, name: &str) -> bool {
        let parent = if &*parent.path == "/" { "" } else { &*parent.path };
        beneath(&self.path, parent) == Some(name)
    }

    /// Position of its disk among the configured ones.
    pub(crate) fn disk_number(&self) -> usize {
        usize::from(self.root.0)
    }

    /// Bytes of text that it holds.
    pub(super) fn text_bytes(&self) -> usize {
        self.path.len() + self.text.as_ref().map_or(0, |text| text.len())
    }
}

impl fmt::Debug for LocalDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} (root {}, {:?})", self.text(), self.root.0, self.relative())
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

/// Why an executor's directory is refused. Display is Spark's message, to the letter but for what is not harmless.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DirRefused {
    /// No text.
    #[error("localDirs entries must be non-null and non-empty")]
    Empty,
    /// A loop of symlinks, a NUL, or a name that is too long or not UTF-8.
    #[error("localDirs entry could not be canonicalized: {}", Shown(dir))]
    NotCanonicalizable {
        /// As it was sent.
        dir: String,
    },
    /// Its path names another application, or not the own one where it must.
    #[error("localDirs entry is not within application {app}'s directory: {}", Shown(dir))]
    OtherApplication {
        /// As it was sent.
        dir: String,
        /// Who sent it.
        app: AppId,
    },
    /// It lies elsewhere.
    #[error("localDirs entry is not under any of the service's local directories: {}", Shown(dir))]
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

/// Why a path was not walked to its end.
enum WalkError {
    /// It cannot be resolved.
    Unclear,
    /// It leads to a place where nobody may look.
    Outside,
}

impl From<Errno> for WalkError {
    fn from(_: Errno) -> Self {
        Self::Unclear
    }
}

impl Canonical {
    /// Resolves `text`, and asks before it looks at a place whether it may.
    fn walk(text: &str, mut may_look_at: impl FnMut(&Path) -> bool) -> Result<Self, WalkError> {
        if text.contains('\0') {
            return Err(WalkError::Unclear);
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
            if !may_look_at(&path) {
                return Err(WalkError::Outside);
            }
            match rustix::fs::statat(CWD, &path, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(WalkError::Unclear);
                    }
                    let target = rustix::fs::readlinkat(CWD, &path, Vec::new())?;
                    match target.as_bytes().starts_with(b"/") {
                        true => path = PathBuf::from("/"),
                        false => _ = path.pop(),
                    }
                    push_front(&mut rest, target.as_bytes());
                }
                Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => {}
                Err(errno) => return Err(errno.into()),
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
