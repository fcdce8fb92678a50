//! Open data files of one disk, bounded in number and time. Keys are paths below the root.
//!
//! Reducers ask for neighbouring ranges of the same files, so a file stays open for a while. An entry is used only
//! while a stat of its path shows the same file, or the open file itself tells that nothing became of it. A sweep closes what was idle or has been deleted, so that
//! no deleted file pins a disk; what a [`Region`](sealed_shuffle_transport::region::Region) still holds closes with the region. Index files are among
//! them where their offsets are not kept (`far_index`).

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;
use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_transport::lane::{OnLane, Resident};
use sealed_shuffle_transport::region::{Identity, OpenFile, ShownPath};

use super::bounded;
use crate::confined::OpenFailure;

/// A file that was opened, and what it was then.
pub(super) type OpenHandle = (Resident<OwnedFd>, Identity);

/// The cache of open files.
#[derive(Debug)]
pub(super) struct Files {
    cache: Cache<Box<str>, Arc<CachedFile>>,
    idle: Duration,
    started: Instant,
    /// Open now, in the cache and outside of it.
    open: Arc<AtomicU64>,
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Debug)]
struct CachedFile {
    file: Arc<OpenFile>,
    app: AppId,
    /// Nanoseconds since the cache began.
    last_use: AtomicU64,
}

impl Files {
    /// Keeps at most `limit` files of a disk open, none for longer than `idle` after its last use.
    pub(super) fn new(limit: usize, idle: Duration, now: Instant) -> Self {
        Self {
            cache: bounded::by_number(limit),
            idle,
            started: now,
            open: Arc::default(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// The file that was `seen` at `path`, if it is open and nothing became of it since. Waits for nothing.
    pub(super) fn find_unchanged(&self, path: &str, seen: &Identity, now: Instant) -> Option<Arc<OpenFile>> {
        let kept = self.cache.get(path)?;
        if kept.file.identity() != seen || !kept.file.is_unchanged() {
            return None;
        }
        self.used(&kept, now);
        Some(kept.file.clone())
    }

    fn used(&self, kept: &CachedFile, now: Instant) {
        kept.last_use.fetch_max(self.since_start(now), Ordering::Relaxed);
        self.hits.fetch_add(1, Ordering::Relaxed);
    }

    /// The file at `path`, which was `seen` there a moment ago: the open one if that is it, else what `open` opens now.
    /// What was opened may be another than was seen; the caller compares.
    pub(super) fn open(
        &self,
        path: &str,
        seen: &Identity,
        app: &AppId,
        shown: impl FnOnce() -> ShownPath,
        now: Instant,
        open: impl FnOnce() -> Result<OpenHandle, OpenFailure>,
    ) -> Result<Arc<OpenFile>, OpenFailure> {
        if let Some(kept) = self.cache.get(path)
            && kept.file.identity() == seen
        {
            self.used(&kept, now);
            return Ok(kept.file.clone());
        }
        let (fd, identity) = open().inspect_err(|_| self.missed())?;
        Ok(self.adopt(path, (fd, identity), app, shown(), now))
    }

    /// Takes the file that was opened at `path` just now.
    pub(super) fn adopt(
        &self,
        path: &str,
        (fd, identity): OpenHandle,
        app: &AppId,
        shown: ShownPath,
        now: Instant,
    ) -> Arc<OpenFile> {
        let since_start = self.since_start(now);
        self.missed();
        let file = Arc::new(OpenFile::new(fd, identity, shown, self.open.clone()));
        let last_use = AtomicU64::new(since_start);
        let kept = CachedFile { file: file.clone(), app: app.clone(), last_use };
        self.cache.insert(path.into(), Arc::new(kept));
        file
    }

    fn missed(&self) {
        self.misses.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn remove(&self, path: &str) {
        self.cache.remove(path);
    }

    /// Drops everything.
    pub(super) fn clear(&self) {
        self.retain(|_| false);
    }

    pub(super) fn forget(&self, app: &AppId) {
        self.retain(|kept| kept.app != *app);
    }

    /// Drops what was idle or has been deleted; how many.
    pub(super) fn sweep(&self, _: &OnLane, now: Instant) -> usize {
        let now = self.since_start(now);
        let idle = u64::try_from(self.idle.as_nanos()).unwrap_or(u64::MAX);
        bounded::take_out(&self.cache, |kept| {
            let unused = now.saturating_sub(kept.last_use.load(Ordering::Relaxed));
            let linked = || rustix::fs::fstat(kept.file.fd()).is_ok_and(|stat| stat.st_nlink > 0);
            unused >= idle || !linked()
        })
    }

    /// Files in the cache.
    pub(super) fn len(&self) -> usize {
        self.cache.len()
    }

    /// Files that are open, in the cache or held by regions.
    pub(super) fn open_now(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    pub(super) fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    pub(super) fn misses(&self) -> u64 {
        self.misses.load(Ordering::Relaxed)
    }

    fn retain(&self, keep: impl Fn(&CachedFile) -> bool) {
        // Closing may take time: not under the cache's lock.
        let dropped = RefCell::new(Vec::new());
        self.cache.retain(|_, kept| {
            let keep = keep(kept);
            if !keep {
                dropped.borrow_mut().push(Arc::clone(kept));
            }
            keep
        });
    }

    fn since_start(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.started).as_nanos()).unwrap_or(u64::MAX)
    }
}
