//! One disk: a configured root, and everything that belongs to it.
//!
//! Each root has its handle, its lane of threads with the queue before it, its caches of indexes and open files, and its
//! health. What waits for one disk takes places of that disk's lane, so a disk that hangs holds up nobody who asks for
//! another. Files are opened relative to the handle; every function that looks up a path takes an [`OnLane`].
//!
//! A root may come and go under a running server: [`Disk::watch`] looks at its path about every second, on a lane of its
//! own. Where the path leads to another directory than the one that is held, that one is taken instead, and nothing that
//! was cached is used any more. While the disk cannot be used its lane is shut, so that who asks for it is told at once.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use rustix::fs::{CWD, Mode, OFlags, Stat, StatVfsMountFlags};
use rustix::io::Errno;
use sealed_shuffle_transport::descriptors::Ceiling;
use sealed_shuffle_transport::lane::{Lane, LaneError, OnLane, Resident};
use sealed_shuffle_transport::pot::Tenant;
use sealed_shuffle_transport::region::Identity;

use super::files::{Files, OpenHandle};
use super::health::{Condition, Facts, Health, Look, SLOW_LOOK, Space, judge};
use super::index_cache::IndexCache;
use super::root_error::RootError;
use crate::confined::{self, Confinement, Links, OpenFailure};

/// A configured root with what belongs to it.
#[derive(Debug)]
pub struct Disk {
    /// As it is configured, absolute.
    configured: String,
    /// Canonical and absolute, as it was opened first; ends in no slash, and is empty for `/`.
    path: OnceLock<String>,
    /// The directory that its path leads to; none while it was never there.
    root: ArcSwapOption<Root>,
    lane: Lane,
    /// Where it is looked at.
    looks: Lane,
    watched: Mutex<DiskState>,
    /// Until then no work of other disks waits for it.
    no_guests: Mutex<Option<Instant>>,
    pub(super) indexes: IndexCache,
    pub(super) files: Files,
    /// Where the descriptors of its files end.
    ceiling: Ceiling,
}

/// What is known of it.
#[derive(Debug)]
struct DiskState {
    condition: Condition,
    look: Look,
    slow_look: Option<Instant>,
}

/// A directory that is held.
#[derive(Debug)]
pub(super) struct Root {
    handle: OwnedFd,
    confinement: Confinement,
    device: u64,
    inode: u64,
    /// Places on its path where another file system begins.
    mounts: usize,
}

/// What became of a disk since it was looked at last.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Watch {
    /// How it was and how it is, where that is something else.
    pub change: Option<(Health, Condition)>,
    /// It is another directory than before, or the first that was found.
    pub taken_up: bool,
}

/// A look at a root takes no longer, or the disk hangs.
pub const LOOK: Duration = Duration::from_secs(5);

/// Looks that may hang.
const LOOKS: usize = 4;

/// Threads of a disk's looks.
pub const LOOK_THREADS: usize = 2 * LOOKS;

/// Work of one disk waits for another no longer.
pub(super) const GUEST: Duration = Duration::from_secs(1);

/// A disk that let work of another wait for so long lets none wait for some time.
const NO_GUESTS: Duration = Duration::from_secs(5);

/// How long a call of a disk may take unless told otherwise (`spark.sealed.disk.timeout`).
pub const PATIENCE: Duration = Duration::from_secs(30);

impl Disk {
    /// A root that has not been opened yet, with a lane of `threads` and caches that keep nothing.
    pub(super) fn new(configured: &Path, threads: usize) -> Result<Self, RootError> {
        let path = std::path::absolute(configured).map_err(|error| {
            RootError::from_errno(configured, Errno::from_io_error(&error).unwrap_or(Errno::INVAL))
        })?;
        let configured = path
            .into_os_string()
            .into_string()
            .map_err(|odd| RootError::NotUtf8 { path: PathBuf::from(odd) })?;
        let lane = Lane::shared(threads).with_patience(PATIENCE);
        let (indexes, files) = (IndexCache::new(0), Files::new(0, Duration::ZERO, Instant::now()));
        let look = Look::Gone("it was not looked at yet".into());
        Ok(Self {
            configured: configured.trim_end_matches('/').to_owned(),
            path: OnceLock::new(),
            root: ArcSwapOption::empty(),
            lane,
            looks: Lane::new(LOOKS).with_patience(LOOK),
            watched: Mutex::new(DiskState { condition: Condition::default(), look, slow_look: None }),
            no_guests: Mutex::default(),
            indexes,
            files,
            ceiling: Ceiling::NONE,
        })
    }

    /// A disk for directories that lie beneath no root: it is never there.
    pub(super) fn nowhere() -> Self {
        let disk = Self::new(Path::new("/"), 1).expect("the root of all has a name");
        disk.path.get_or_init(|| "(outside)".to_owned());
        disk.learn(Condition::missing("it is none of the service's local directories"));
        disk
    }

    /// The same with another way of confinement than was detected.
    #[cfg(test)]
    pub(super) fn with_confinement(self, confinement: Confinement) -> Self {
        let root = self.root.swap(None).and_then(Arc::into_inner);
        self.root.store(root.map(|root| Arc::new(Root { confinement, ..root })));
        self
    }

    /// The same with another number of threads, and with calls that take no longer than `patience`. Called before
    /// [`Disk::with_caches`].
    pub(super) fn with_threads(self, threads: usize, patience: Duration) -> Self {
        let looks = Lane::new(LOOKS).with_patience(LOOK.min(patience));
        let lane = Lane::shared(threads).with_patience(patience);
        if let Some(why) = self.lane.is_shut() {
            lane.shut(why);
        }
        Self { lane, looks, ..self }
    }

    /// The same with descriptors below `ceiling` alone.
    pub(super) fn with_ceiling(self, ceiling: Ceiling) -> Self {
        Self { ceiling, ..self }
    }

    /// The same with these caches.
    pub(super) fn with_caches(self, indexes: IndexCache, files: Files) -> Self {
        Self { indexes, files, ..self }
    }

    /// The canonical path; as it is configured while it was never there.
    pub fn path(&self) -> &Path {
        let path = self.path_text();
        Path::new(if path.is_empty() { "/" } else { path })
    }

    fn path_text(&self) -> &str {
        self.path.get().unwrap_or(&self.configured)
    }

    /// Where everything runs that may wait for this disk.
    pub fn lane(&self) -> &Lane {
        &self.lane
    }

    /// How it is.
    pub fn health(&self) -> Health {
        self.watched().condition.health
    }

    /// The same, and why.
    pub fn condition(&self) -> Condition {
        self.watched().condition.clone()
    }

    /// How paths are kept beneath the root; none while it was never there.
    pub fn confinement(&self) -> Option<Confinement> {
        self.root.load().as_ref().map(|root| root.confinement)
    }

    /// The room on its file system, as it was looked at last; `None` where the kernel did not say.
    pub fn space(&self) -> Option<Space> {
        match self.watched().look {
            Look::There { space, .. } => space,
            _ => None,
        }
    }

    /// Looks at it, and judges how it is. Call it about every second; it takes no longer than [`LOOK`].
    pub async fn watch(self: &Arc<Self>) -> Watch {
        let disk = Arc::clone(self);
        let looked = self.looks.run_for(&Tenant::Own, move |on| disk.look(on)).await;
        let (look, found) = match looked {
            Ok(looked) => looked,
            Err(LaneError::Silent { waited }) => (Look::Silent(waited), None),
            Err(error) => (Look::Gone(error.to_string()), None),
        };
        let watch = self.looked(look, found, Instant::now());
        let is_missing =
            watch.change.as_ref().is_some_and(|(_, condition)| condition.health == Health::Missing);
        if watch.taken_up || is_missing {
            // Whoever unmounted it wants its files closed. That may wait for the disk.
            let disk = Arc::clone(self);
            self.looks.send(move |_| disk.drop_all_cached());
        }
        watch
    }

    /// Takes up what a look has found.
    fn looked(&self, look: Look, found: Option<(String, Root)>, now: Instant) -> Watch {
        self.lane.give_up_overdue(now);
        let taken_up = found.is_some();
        if let Some((path, root)) = found {
            self.path.get_or_init(|| path);
            // The last descriptor of what was unmounted takes its file system down, which waits for it.
            drop(self.resident(self.root.swap(Some(Arc::new(root)))));
        }
        let mut watched = self.watched();
        if matches!(look, Look::There { took, .. } if took > SLOW_LOOK) {
            watched.slow_look = Some(now);
        }
        watched.look = look;
        let facts = Facts {
            look: &watched.look,
            slow_look: watched.slow_look,
            calls: self.lane.calls(now),
            patience: self.lane.patience().unwrap_or(PATIENCE),
            trouble: self.lane.trouble(),
            now,
        };
        let condition = judge(&facts);
        drop(watched);
        Watch { change: self.learn(condition), taken_up }
    }

    /// How it is from now on. How it was and is, where that is something else.
    fn learn(&self, condition: Condition) -> Option<(Health, Condition)> {
        let before = std::mem::replace(&mut self.watched().condition, condition.clone()).health;
        match condition.health.serves() {
            true => self.lane.open(),
            false => {
                let path = self.path().display();
                self.lane.shut(format!("disk {path} is {condition}"));
            }
        }
        (condition.health != before).then_some((before, condition))
    }

    fn drop_all_cached(&self) {
        self.indexes.clear();
        self.files.clear();
    }

    /// Looks at its path. With what it leads to, where that is not the directory that is held.
    fn look(&self, _: &OnLane) -> (Look, Option<(String, Root)>) {
        let began = Instant::now();
        let held = self.root.load_full();
        let found = match Root::open(Path::new(&self.configured)) {
            Ok(found) => found,
            Err(RootError::Io { errno, .. }) if !matches!(errno, Errno::STALE | Errno::LOOP) => {
                return (Look::Failed(errno), None);
            }
            Err(error) => return (Look::Gone(error.to_string()), None),
        };
        let (path, root) = found;
        if let Some(before) = self.path.get()
            && *before != path
        {
            let why = format!("its path leads to {path} now: restart to use that");
            return (Look::Gone(why), None);
        }
        if let Some(held) = &held
            && root.mounts < held.mounts
        {
            return (Look::Gone("its file system is not mounted".into()), None);
        }
        let stat = rustix::fs::fstatvfs(&root.handle);
        let look = match stat {
            Err(Errno::NOSYS | Errno::PERM | Errno::ACCESS) => {
                Look::There { took: began.elapsed(), space: None, read_only: false }
            }
            Err(errno) => return (Look::Failed(errno), None),
            Ok(stat) => {
                let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
                let space = Space { total: bytes(stat.f_blocks), free: bytes(stat.f_bavail) };
                let read_only = stat.f_flag.contains(StatVfsMountFlags::RDONLY);
                // Some kinds have no size.
                Look::There { took: began.elapsed(), space: (space.total > 0).then_some(space), read_only }
            }
        };
        let is_held = held.is_some_and(|held| (held.device, held.inode) == (root.device, root.inode));
        (look, (!is_held).then_some((path, root)))
    }

    /// Opens it for the first time, at start. An error is remembered as what it is.
    pub(super) fn take_up(&self, opened: Option<Result<(String, Root), RootError>>) -> Result<(), RootError> {
        let (look, found, error) = match opened {
            Some(Ok(found)) => {
                (Look::There { took: Duration::ZERO, space: None, read_only: false }, Some(found), None)
            }
            Some(Err(error)) => (Look::Gone(error.to_string()), None, Some(error)),
            None => (Look::Silent(LOOK), None, Some(RootError::Silent { path: self.path().to_owned() })),
        };
        self.looked(look, found, Instant::now());
        error.map_or(Ok(()), Err)
    }

    /// Runs `work` on its lane, for work of another lane, which waits no longer than `patience` and not at all where
    /// others waited in vain.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        on: &OnLane,
        patience: Duration,
        work: impl FnOnce(&OnLane) -> T + Send + 'static,
    ) -> Result<T, LaneError> {
        if !on.is_of(&self.lane) {
            if let Some(why) = self.lane.is_shut() {
                return Err(LaneError::Shut { why });
            }
            let mut no_guests = self.no_guests();
            match *no_guests {
                Some(until) if Instant::now() < until => {
                    let why = format!("disk {} did not answer others in time", self.path().display());
                    return Err(LaneError::Shut { why: why.into() });
                }
                _ => *no_guests = None,
            }
        }
        let asked = self.lane.ask(on, patience, work);
        if matches!(asked, Err(LaneError::Silent { .. })) {
            *self.no_guests() = Some(Instant::now() + NO_GUESTS);
        }
        asked
    }

    /// Whether work on the thread at hand is asked for on this disk's lane, and not on another one.
    pub(super) fn is_here(&self, on: &OnLane) -> bool {
        on.is_of(&self.lane) || tokio::runtime::Handle::try_current().is_err()
    }

    /// Whether it is the same directory as another one, by another mount perhaps.
    pub(super) fn is_same_place(&self, _: &OnLane, other: &Self) -> bool {
        let place = |disk: &Self| disk.root.load_full().map(|root| (root.device, root.inode));
        place(self).is_some_and(|here| Some(here) == place(other))
    }

    /// What is left of a canonical path below this root, by whole components.
    pub(super) fn beneath<'a>(&self, path: &'a str) -> Option<&'a str> {
        beneath(path, self.path_text())
    }

    /// The same of a path as it is configured.
    pub(super) fn beneath_configured<'a>(&self, path: &'a str) -> Option<&'a str> {
        beneath(path, &self.configured).or_else(|| self.beneath(path))
    }

    /// The place below this root, as a canonical path and where the part below the root begins.
    pub(super) fn place(&self, below: &str) -> (String, usize) {
        let root = self.path_text();
        match below {
            "" => (if root.is_empty() { "/".to_owned() } else { root.to_owned() }, root.len().max(1)),
            below => (format!("{root}/{below}"), root.len() + 1),
        }
    }

    pub(super) fn open_file(&self, on: &OnLane, path: &str) -> Result<OpenHandle, OpenFailure> {
        let opened =
            self.opened(|root| root.confinement.open_file(on, root.handle.as_fd(), path, Links::Refused))?;
        if !self.ceiling.admits(&*opened.0) {
            return Err(OpenFailure::Errno(Errno::MFILE));
        }
        Ok(opened)
    }

    pub(super) fn identity(&self, on: &OnLane, path: &str) -> Result<Option<Identity>, OpenFailure> {
        self.call(|root| Ok(confined::identity(on, root.handle.as_fd(), path)?))
    }

    /// The user that a directory belongs to.
    pub(super) fn owner(&self, on: &OnLane, path: &str) -> Option<u32> {
        let open = self.open_directory(on, if path.is_empty() { "." } else { path }).ok()?;
        rustix::fs::fstat(&open).ok().map(|stat| stat.st_uid)
    }

    /// What keeps this process from opening files in a directory: how much of its path, and what that is.
    pub(super) fn locked(&self, on: &OnLane, path: &str) -> Option<(usize, Stat)> {
        self.call(|root| Ok(confined::locked(on, root.handle.as_fd(), path))).ok()?
    }

    pub(super) fn create(
        &self,
        on: &OnLane,
        dir: &str,
        name: &str,
        mode: Mode,
    ) -> Result<OpenHandle, OpenFailure> {
        self.opened(|root| root.confinement.create(on, root.handle.as_fd(), dir, name, mode))
    }

    pub(super) fn open_for_writing(&self, on: &OnLane, path: &str) -> Result<OpenHandle, OpenFailure> {
        self.opened(|root| root.confinement.open_for_writing(on, root.handle.as_fd(), path))
    }

    pub(super) fn open_directory(&self, on: &OnLane, path: &str) -> Result<Resident<OwnedFd>, OpenFailure> {
        let opened = self.call(|root| root.confinement.open_directory(on, root.handle.as_fd(), path))?;
        Ok(self.resident(opened))
    }

    /// The same where no mount point beneath the root is crossed.
    pub(super) fn open_directory_here(
        &self,
        on: &OnLane,
        path: &str,
    ) -> Result<Resident<OwnedFd>, OpenFailure> {
        let opened = self.call(|root| root.confinement.open_directory_here(on, root.handle.as_fd(), path))?;
        Ok(self.resident(opened))
    }

    /// Removes the empty directory `name` from the directory `dir`.
    pub(super) fn remove_directory(&self, on: &OnLane, dir: &str, name: &str) -> Result<(), OpenFailure> {
        self.call(|root| root.confinement.remove_directory(on, root.handle.as_fd(), dir, name))
    }

    pub(super) fn sync_dir(&self, on: &OnLane, dir: &str) -> Result<(), OpenFailure> {
        self.call(|root| root.confinement.sync_dir(on, root.handle.as_fd(), dir))
    }

    pub(super) fn unlink(&self, on: &OnLane, dir: &str, name: &str) -> Result<(), OpenFailure> {
        self.call(|root| root.confinement.unlink(on, root.handle.as_fd(), dir, name))
    }

    /// Opens a file.
    fn opened(
        &self,
        open: impl FnOnce(&Root) -> Result<(OwnedFd, Stat), OpenFailure>,
    ) -> Result<OpenHandle, OpenFailure> {
        let (fd, stat) = self.call(open)?;
        Ok((self.resident(fd), Identity::of(&stat)))
    }

    /// A descriptor, or what has some: it is closed where this disk may be waited for.
    pub(super) fn resident<T: Send + 'static>(&self, opened: T) -> Resident<T> {
        Resident::new(opened, self.lane.clone())
    }

    /// Does something with its handle, and remembers what the kernel says.
    fn call<T>(&self, call: impl FnOnce(&Root) -> Result<T, OpenFailure>) -> Result<T, OpenFailure> {
        let root = self.root.load_full().ok_or(OpenFailure::NoAnswer)?;
        call(&root).inspect_err(|failure| {
            if let OpenFailure::Errno(errno) = failure {
                self.lane.failed(*errno);
            }
        })
    }

    fn watched(&self) -> MutexGuard<'_, DiskState> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn no_guests(&self) -> MutexGuard<'_, Option<Instant>> {
        self.no_guests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Root {
    /// Opens the directory that `path` leads to. With its canonical path, empty for `/`.
    pub(super) fn open(path: &Path) -> Result<(String, Self), RootError> {
        let path = if path.as_os_str().is_empty() { Path::new("/") } else { path };
        let failed = |errno: Errno| RootError::from_errno(path, errno);
        let canonical = std::fs::canonicalize(path)
            .map_err(|error| failed(Errno::from_io_error(&error).unwrap_or(Errno::INVAL)))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::openat(CWD, &canonical, flags, Mode::empty()).map_err(failed)?;
        // O_PATH asks for no permission on the directory itself; a step inside does.
        rustix::fs::openat(&handle, c".", flags, Mode::empty()).map_err(failed)?;
        let stat = rustix::fs::fstat(&handle).map_err(failed)?;
        let mounts = mounts(&canonical).map_err(failed)?;
        let path = canonical
            .into_os_string()
            .into_string()
            .map_err(|odd| RootError::NotUtf8 { path: PathBuf::from(odd) })?;
        let path = if path == "/" { String::new() } else { path };
        let confinement = Confinement::detect(handle.as_fd());
        let (device, inode) = Identity::of(&stat).inode();
        Ok((path, Self { handle, confinement, device, inode, mounts }))
    }
}

/// Places on a path where another file system begins.
fn mounts(path: &Path) -> Result<usize, Errno> {
    let mut mounts = 0;
    let mut last = None;
    for place in path.ancestors() {
        let (device, _) = Identity::of(&rustix::fs::stat(place)?).inode();
        if last.replace(device).is_some_and(|last| last != device) {
            mounts += 1;
        }
    }
    Ok(mounts)
}

/// What is left of `path` below `root`, by whole components.
pub(super) fn beneath<'a>(path: &'a str, root: &str) -> Option<&'a str> {
    match path.strip_prefix(root)? {
        "" => Some(""),
        rest => rest.strip_prefix('/'),
    }
}
