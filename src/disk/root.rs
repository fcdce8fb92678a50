//! The configured directories beneath which executors' directories must lie.
//!
//! Each root is one [`Disk`], opened at start if it is there, and else when it is. An executor's directory is
//! accepted as `LocalDirValidator` (Spark 3.5.9 and later) accepts it, and remembered as text and place, without a
//! handle of its own.
//!
//! A directory on a disk that does not answer, or is not there, is accepted by its text alone: executors have a directory
//! on every disk, and one dead disk must not keep them from registering. Its text has to begin with the root's, as that is
//! configured or canonical, and may have no `..`. Links in it were not looked for; since files are never opened through
//! links, one that has some serves nothing.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, FileType};
use rustix::io::Errno;
use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::shown::Shown;
use sealed_shuffle_transport::descriptors::Ceiling;
use sealed_shuffle_transport::lane::{Lane, OnLane, within};

use super::device::{Disk, GUEST, LOOK, PATIENCE, Root, beneath};
use super::files::Files;
use super::index_cache::IndexCache;
use super::open_error::our_uid;
use super::root_error::RootError;
use super::scope;
#[cfg(test)]
use crate::confined::Confinement;

/// Threads of each lane unless told otherwise (`spark.sealed.disk.threads`).
pub const THREADS: usize = 8;

/// The roots: one disk each.
#[derive(Debug)]
pub struct Roots {
    map: Arc<Map>,
    across: Lane,
    /// Where paths are looked at of which nobody knows yet where they lead.
    unknown: Lane,
    app_scope: bool,
}

/// Which places are beneath a root, and on the way to one.
#[derive(Debug)]
struct Map {
    disks: Vec<Arc<Disk>>,
    /// The disk of directories that lie beneath no root.
    nowhere: Disk,
    /// Places outside the roots that lead to them, as they are configured.
    ways: HashSet<PathBuf>,
}

impl Roots {
    /// Opens the configured directories, in order. Entries are taken as they are: trim them before. Call it at start,
    /// before anybody is served: it waits for the disks, all of them at once, and no longer than [`LOOK`]. Those that
    /// cannot be used now are taken up later, if one can.
    pub fn open<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Result<Self, RootError> {
        let (mut disks, mut ways, mut waiting) = (Vec::new(), HashSet::new(), Vec::new());
        for path in paths {
            let path = path.as_ref().to_owned();
            disks.push(Arc::new(Disk::new(&path, THREADS)?));
            ways.extend(path.ancestors().skip(1).map(Path::to_owned));
            waiting.push(within(LOOK, move |_| (Root::open(&path), way_to(&path))));
        }
        let mut errors = Vec::new();
        for (disk, waiting) in disks.iter().zip(waiting) {
            let (opened, way) = waiting.result().unzip();
            ways.extend(way.into_iter().flatten());
            errors.extend(disk.take_up(opened).err());
        }
        if errors.len() == disks.len() {
            return Err(RootError::of_all(errors));
        }
        let map = Arc::new(Map { disks, nowhere: Disk::nowhere(), ways });
        let across = Lane::shared(THREADS).with_patience(PATIENCE);
        Ok(Self { map, across, unknown: unknown(), app_scope: false })
    }

    /// The same with so many threads for each disk, and for what concerns several, whose calls take no longer than
    /// `patience`. Default [`THREADS`] and [`PATIENCE`].
    pub fn with_threads(self, threads: usize, patience: Duration) -> Self {
        // Its work asks the lanes of disks, and each of these waits has a deadline; together they take longer.
        let across = Lane::shared(threads).with_patience(patience.max(ACROSS));
        Self { across, ..self.with_disks(|_, disk| disk.with_threads(threads, patience)) }
    }

    /// The same where the path of every directory must name the application that it is accepted for, as in YARN.
    pub fn with_app_scope(self, app_scope: bool) -> Self {
        Self { app_scope, ..self }
    }

    /// The same, whose files have descriptors below `ceiling` alone.
    pub fn with_ceiling(self, ceiling: Ceiling) -> Self {
        self.with_disks(|_, disk| disk.with_ceiling(ceiling))
    }

    /// The same with caches of so many bytes of indexes and so many open files, which the disks share.
    pub(super) fn with_caches(self, index_bytes: u64, files: usize, idle: Duration, now: Instant) -> Self {
        let number = self.map.disks.len();
        self.with_disks(|n, disk| {
            let indexes = IndexCache::new(share(index_bytes, number, n));
            let files = Files::new(share_of_files(files, number, n), idle, now);
            disk.with_caches(indexes, files)
        })
    }

    /// The same roots with a way of confinement that was not detected.
    #[cfg(test)]
    pub(super) fn with_confinement(self, confinement: Confinement) -> Self {
        self.with_disks(|_, disk| disk.with_confinement(confinement))
    }

    /// The same with changed disks. Called before anybody else has one.
    fn with_disks(self, change: impl Fn(usize, Disk) -> Disk) -> Self {
        let Map { disks, nowhere, ways } = Arc::into_inner(self.map).expect(UNSHARED);
        let own = disks.into_iter().map(|disk| Arc::into_inner(disk).expect(UNSHARED));
        let disks = own.enumerate().map(|(n, disk)| Arc::new(change(n, disk))).collect();
        Self { map: Arc::new(Map { disks, nowhere, ways }), ..self }
    }

    /// The disks, in the order in which they were configured; at least one.
    pub fn disks(&self) -> &[Arc<Disk>] {
        &self.map.disks
    }

    /// The disk that an executor's directory lies on. One that lies beneath no root is on a disk that is never there.
    pub fn disk(&self, dir: &LocalDir) -> &Disk {
        self.map.disks.get(dir.disk_number()).map_or(&self.map.nowhere, |disk| disk)
    }

    /// The same, for work that is handed to its lane; `None` where it lies beneath no root.
    pub(super) fn shared_disk(&self, dir: &LocalDir) -> Option<&Arc<Disk>> {
        self.map.disks.get(dir.disk_number())
    }

    /// The lane of the disk with a number, as the disks count; `None` where there is none.
    pub fn lane(&self, disk: usize) -> Option<&Lane> {
        self.map.disks.get(disk).map(|disk| disk.lane())
    }

    /// The lanes of the disks, and the one across them.
    pub fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.map.disks.iter().map(|disk| disk.lane()).chain([&self.across])
    }

    /// Where everything runs that concerns more than one disk, or a path of which nobody knows yet where it leads.
    pub fn across(&self) -> &Lane {
        &self.across
    }

    /// Accepts a directory as an executor registers it, or says why not.
    ///
    /// Relative paths start at this process's working directory, as in Spark. The directory need not exist. Nothing is
    /// looked at that neither lies beneath a root nor on the way to one, as it is configured: elsewhere a look may hang.
    pub fn accept(&self, on: &OnLane, dir: &str) -> Result<LocalDir, DirRefusal> {
        if dir.is_empty() {
            return Err(DirRefusal::Empty);
        }
        let by_text = self.map.by_text(dir);
        let (map, text) = (Arc::clone(&self.map), dir.to_owned());
        let look = move |_: &OnLane| map.look(&text);
        let looked = match &by_text {
            Some(dir) => self.disk(dir).ask(on, GUEST, look),
            None => self.unknown.ask(on, GUEST, look),
        };
        match (looked, by_text) {
            (Ok(looked), _) => looked,
            (Err(_), Some(dir)) => Ok(dir),
            (Err(_), None) => Err(DirRefusal::Unanswered { dir: dir.into() }),
        }
    }

    /// The same for a directory of `app` that was accepted before a restart. One that lies beneath no root now keeps its
    /// place among those of its executor, where the place of a file is counted, and serves nothing.
    pub fn accept_again(&self, on: &OnLane, app: &AppId, dir: &str) -> Result<LocalDir, DirRefusal> {
        match self.accept_for(on, app, dir) {
            Err(DirRefusal::NotUnderRoot { .. } | DirRefusal::Unanswered { .. }) => {
                let root = RootId(NOWHERE);
                Ok(LocalDir { path: dir.into(), below: 0, root, existed: false, seen: true, text: None })
            }
            accepted => accepted,
        }
    }

    /// The same for a directory of `app`, which must not be another application's by its path (`scope`).
    pub fn accept_for(&self, on: &OnLane, app: &AppId, dir: &str) -> Result<LocalDir, DirRefusal> {
        let accepted = self.accept(on, dir)?;
        let below = accepted.path.len() - accepted.relative().len();
        match scope::allows(app, &accepted.path, below, self.app_scope) {
            true => Ok(accepted),
            false => Err(DirRefusal::OtherApplication { dir: dir.into(), app: app.clone() }),
        }
    }

    /// The same for a directory of `app` that is being registered: files in it must be readable, as far as can be told.
    pub fn accept_readable(&self, on: &OnLane, app: &AppId, dir: &str) -> Result<LocalDir, DirRefusal> {
        let accepted = self.accept_for(on, app, dir)?;
        let Some(disk) = self.shared_disk(&accepted).filter(|_| accepted.seen) else { return Ok(accepted) };
        let (of, path) = (Arc::clone(disk), accepted.relative().to_owned());
        match disk.ask(on, GUEST, move |on| of.locked(on, &path)) {
            Ok(Some((length, stat))) => {
                let below = accepted.path.len() - accepted.relative().len();
                let place = accepted.path.get(..below + length).unwrap_or(&accepted.path);
                Err(DirRefusal::Locked(Box::new(LockedDir {
                    dir: dir.to_owned(),
                    place: place.to_owned(),
                    user: stat.st_uid,
                    group: stat.st_gid,
                    mode: stat.st_mode & 0o7777,
                    uid: our_uid(),
                })))
            }
            // A disk that does not answer refuses nobody.
            Ok(None) | Err(_) => Ok(accepted),
        }
    }

    /// The user that an executor's directory belongs to.
    pub fn owner(&self, on: &OnLane, dir: &LocalDir) -> Option<u32> {
        let disk = self.shared_disk(dir)?;
        let (of, path) = (Arc::clone(disk), dir.relative().to_owned());
        disk.ask(on, GUEST, move |on| of.owner(on, &path)).ok()?
    }

    /// Whether another root is the same directory, by another mount perhaps. What is registered by one path is then unknown
    /// by the other.
    pub fn is_there_twice(&self, on: &OnLane, disk: usize) -> bool {
        let Some(this) = self.map.disks.get(disk) else { return false };
        let mut others = self.map.disks.iter().enumerate().filter(|(n, _)| *n != disk);
        others.any(|(_, other)| this.is_same_place(on, other))
    }

    /// Whether an executor's directory is there.
    pub fn presence(&self, on: &OnLane, dir: &LocalDir) -> Presence {
        let Some(disk) = self.map.disks.get(dir.disk_number()) else { return Presence::Absent };
        let (of, path) = (Arc::clone(disk), dir.relative().to_owned());
        match disk.ask(on, GUEST, move |on| of.identity(on, &path)) {
            Ok(Ok(Some(_))) => Presence::Present,
            Ok(Ok(None)) => Presence::Absent,
            Ok(Err(_)) | Err(_) => Presence::Unknown,
        }
    }
}

impl Map {
    /// Whether a place lies beneath a root, or on the way to one.
    fn leads_to_a_root(&self, place: &Path) -> bool {
        self.ways.contains(place) || self.disks.iter().any(|disk| place.starts_with(disk.path()))
    }

    /// Looks where a directory lies.
    fn look(&self, dir: &str) -> Result<LocalDir, DirRefusal> {
        let unclear = || DirRefusal::NotCanonicalizable { dir: dir.into() };
        let canonical =
            Canonical::walk(dir, |place| self.leads_to_a_root(place)).map_err(|error| match error {
                WalkError::Unclear => unclear(),
                WalkError::Outside => DirRefusal::NotUnderRoot { dir: dir.into() },
            })?;
        // Java would hand on a mangled name; one that we could never open is refused here instead.
        let path = canonical.path.into_os_string().into_string().map_err(|_| unclear())?;
        let (number, rel) = self
            .disks
            .iter()
            .enumerate()
            .find_map(|(number, disk)| Some((number, disk.beneath(&path)?)))
            .ok_or_else(|| DirRefusal::NotUnderRoot { dir: dir.into() })?;
        let below = u32::try_from(path.len() - rel.len()).map_err(|_| unclear())?;
        let root = RootId(u16::try_from(number).map_err(|_| unclear())?);
        // Mostly it was registered by its canonical path: then one text does for both.
        let text = (path != dir).then(|| dir.into());
        Ok(LocalDir { path: path.into(), below, root, existed: canonical.existed, seen: true, text })
    }

    /// Where a directory lies by its text alone.
    fn by_text(&self, dir: &str) -> Option<LocalDir> {
        if dir.contains('\0') || dir.split('/').any(|component| component == "..") {
            return None;
        }
        let absolute = std::path::absolute(dir).ok()?;
        let plain: PathBuf = absolute.components().collect();
        let plain = plain.to_str()?;
        let (number, below) = self
            .disks
            .iter()
            .enumerate()
            .find_map(|(number, disk)| Some((number, disk.beneath_configured(plain)?)))?;
        let (path, begin) = self.disks.get(number)?.place(below);
        let (below, root) = (u32::try_from(begin).ok()?, RootId(u16::try_from(number).ok()?));
        let text = (path != dir).then(|| dir.into());
        Some(LocalDir { path: path.into(), below, root, existed: false, seen: false, text })
    }
}

/// Work across disks takes no longer, unless a call of one disk may: the driver waits so long for a finalization.
const ACROSS: Duration = Duration::from_secs(10);

/// Where nobody looks at more than one path at once that nobody knows.
fn unknown() -> Lane {
    Lane::new(1).with_patience(LOOK)
}

/// The places outside of a root that lead to it.
fn way_to(root: &Path) -> Vec<PathBuf> {
    let mut way = Vec::new();
    // A path that cannot be walked was not opened either.
    if let Some(text) = root.to_str() {
        Canonical::walk(text, |place| {
            way.push(place.to_owned());
            true
        })
        .ok();
    }
    way
}

const UNSHARED: &str = "nobody has a disk before the server is set up";

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

/// Stands for no root.
const NOWHERE: u16 = u16::MAX;

/// An executor's directory that lies beneath a root: its canonical place, and the text as it was registered.
#[derive(Clone)]
pub struct LocalDir {
    path: Arc<str>,
    /// Where the part of `path` begins that is below the root.
    below: u32,
    root: RootId,
    existed: bool,
    /// Whether somebody looked.
    seen: bool,
    /// Where it was not registered by its canonical path.
    text: Option<Box<str>>,
}

impl LocalDir {
    /// The text as the executor registered it; `GetLocalDirsForExecutors` answers with it.
    pub fn text(&self) -> &str {
        self.text.as_deref().unwrap_or(&self.path)
    }

    /// The canonical path, for people and lists.
    pub fn shown(&self) -> &str {
        &self.path
    }

    /// The canonical path.
    pub(super) fn path(&self) -> &Arc<str> {
        &self.path
    }

    /// The canonical path below the root; empty for the root itself.
    pub fn relative(&self) -> &str {
        usize::try_from(self.below).ok().and_then(|at| self.path.get(at..)).unwrap_or("")
    }

    /// Its own name; empty for the root itself.
    pub(super) fn name(&self) -> &str {
        self.relative().rsplit('/').next().unwrap_or("")
    }

    /// Whether it was there when it was registered.
    pub fn existed(&self) -> bool {
        self.existed
    }

    /// Whether it may have been there: it was, or nobody could look.
    pub fn may_exist(&self) -> bool {
        self.existed || !self.seen
    }

    /// Whether it lies beneath a root.
    pub fn has_root(&self) -> bool {
        self.root != RootId(NOWHERE)
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
pub enum DirRefusal {
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
    /// Nobody can say where it leads: a disk on its way does not answer.
    #[error("localDirs entry cannot be looked at, since a disk does not answer: {}", Shown(dir))]
    Unanswered {
        /// As it was sent.
        dir: String,
    },
    /// Nothing in it could be read.
    #[error("localDirs entry cannot be read by the service: {} {}", Shown(&_0.dir), _0.cause())]
    Locked(Box<LockedDir>),
    /// It lies elsewhere.
    #[error("localDirs entry is not under any of the service's local directories: {}", Shown(dir))]
    NotUnderRoot {
        /// As it was sent.
        dir: String,
    },
}

/// A directory that this process may not go into.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LockedDir {
    /// The executor's directory, as it was sent.
    pub dir: String,
    /// The directory, itself or above it, that keeps this process out.
    pub place: String,
    /// The user that `place` belongs to.
    pub user: u32,
    /// Its group.
    pub group: u32,
    /// Its mode.
    pub mode: u32,
    /// The effective user id of this process.
    pub uid: u32,
}

impl LockedDir {
    /// Who is kept out by what, and what to change. The place lies beneath a root, and is the beginning of what was sent
    /// unless that led there by a link.
    pub fn cause(&self) -> String {
        let Self { dir: _, place, user, group, mode, uid } = self;
        format!(
            "(uid {uid} runs the service, and {} belongs to uid {user}, gid {group}, with mode {mode:04o}): run the service \
             as uid {user} (on Kubernetes runAsUser: {user} in its securityContext), or the executors as uid {uid}",
            Shown(place)
        )
    }
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
