//! The blocks of all registered executors, over the disks that they lie on.
//!
//! `search` finds map outputs; [`super::remove`] and [`super::diagnose`] are the other requests that touch files.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use sealed_shuffle_transport::lane::{Lane, OnLane};
use sealed_shuffle_transport::region::{Identity, OpenFile, Region};

use super::device::Disk;
use super::executors::{Executors, Finding, Proof, RegisterRefusal, Registration, RegistrationEffect};
use super::layout;
use super::limits::DiskLimits;
use super::lookup_error::LookupError;
use super::open_error::OpenError;
use super::place::{PlacedFile, place};
use super::root::{DirRefusal, Roots};

/// The blocks of all registered executors.
#[derive(Debug)]
pub struct BlockStore {
    roots: Arc<Roots>,
    executors: Executors,
    started: Instant,
    pub(super) max_index_bytes: u64,
    pub(super) kept_index_bytes: u64,
    pub(super) index_hits: AtomicU64,
    pub(super) index_misses: AtomicU64,
}

/// Why an executor was not registered.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// One of its directories; nothing was stored.
    #[error(transparent)]
    Dir(#[from] DirRefusal),
    /// The table of executors.
    #[error(transparent)]
    Refused(#[from] RegisterRefusal),
}

/// What a sweep did.
#[derive(Debug, Default)]
pub struct SweepReport {
    /// Applications that are over; they are still there.
    pub findings: Vec<Finding>,
    /// Files that were closed because they were idle or deleted.
    pub closed_files: usize,
}

/// The store in numbers. Counters grow; gauges are as of now.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct DiskCounters {
    /// Counter: map outputs resolved with a cached index.
    pub index_hits: u64,
    /// Counter: index files read.
    pub index_misses: u64,
    /// Gauge: weight of the cached indexes.
    pub index_cache_bytes: u64,
    /// Gauge: cached indexes.
    pub indexes_cached: usize,
    /// Counter: data files found open.
    pub file_hits: u64,
    /// Counter: data files opened.
    pub file_misses: u64,
    /// Gauge: files that the cache holds open.
    pub files_cached: usize,
    /// Gauge: files that are open, in the cache or held by regions.
    pub files_open: u64,
    /// Gauge: registered executors.
    pub executors: usize,
}

impl BlockStore {
    /// A store of nothing yet.
    pub fn new(roots: Roots, limits: DiskLimits) -> Self {
        let now = Instant::now();
        Self {
            roots: Arc::new(roots.with_caches(
                limits.index_cache_bytes,
                limits.open_files,
                limits.file_idle,
                now,
            )),
            executors: Executors::new(limits.registry, now),
            started: now,
            max_index_bytes: limits.max_index_bytes,
            kept_index_bytes: limits.kept_index_bytes,
            index_hits: AtomicU64::new(0),
            index_misses: AtomicU64::new(0),
        }
    }

    /// Registers an executor, in place of an earlier registration of the same; all its directories or none.
    #[allow(clippy::too_many_arguments)]
    pub fn register<S: AsRef<str>>(
        &self,
        on: &OnLane,
        app: &AppId,
        executor: &ExecutorId,
        local_dirs: &[S],
        sub_dirs: i32,
        shuffle_manager: &str,
        proof: Proof,
    ) -> Result<RegistrationEffect, RegisterError> {
        let registration = self.accept(on, app, local_dirs, sub_dirs, shuffle_manager)?;
        Ok(self.executors.register(app, executor, registration, proof, Instant::now())?.registered)
    }

    /// What an executor of `app` registers, with its directories judged; all of them are accepted or none.
    pub fn accept<S: AsRef<str>>(
        &self,
        on: &OnLane,
        app: &AppId,
        local_dirs: &[S],
        sub_dirs: i32,
        shuffle_manager: &str,
    ) -> Result<Registration, DirRefusal> {
        let dirs = local_dirs.iter().map(|dir| self.roots.accept_readable(on, app, dir.as_ref()));
        Ok(Registration::new(dirs.collect::<Result<_, _>>()?, sub_dirs, shuffle_manager))
    }

    /// The same for what was registered before a restart: a directory that lies beneath no root now keeps its place among
    /// the others, and serves nothing.
    pub fn accept_again<S: AsRef<str>>(
        &self,
        on: &OnLane,
        app: &AppId,
        local_dirs: &[S],
        sub_dirs: i32,
        shuffle_manager: &str,
    ) -> Result<Registration, DirRefusal> {
        let dirs = local_dirs.iter().map(|dir| self.roots.accept_again(on, app, dir.as_ref()));
        Ok(Registration::new(dirs.collect::<Result<_, _>>()?, sub_dirs, shuffle_manager))
    }

    /// Finds a cached partition that an executor keeps on disk; `None` where there is no such file.
    pub fn rdd_block(
        &self,
        on: &OnLane,
        app: &AppId,
        executor: &ExecutorId,
        rdd: i32,
        split: i32,
    ) -> Result<Option<Region>, LookupError> {
        let now = Instant::now();
        let registration = self.registration(app, executor, now)?;
        let file = place(&registration, app, executor, layout::rdd_name(rdd, split))?;
        match self.open_seen(on, &file, app, now) {
            Ok(open) => {
                let len = open.identity().size();
                Ok(Some(Region::new(open, 0, len)))
            }
            Err(OpenError::Missing { .. }) => Ok(None),
            Err(error) => Err(LookupError::data(error)),
        }
    }

    /// Refuses a file whose disk takes no work now.
    pub(super) fn check_disk(&self, file: &PlacedFile<'_>) -> Result<(), LookupError> {
        match self.disk(file).lane().is_shut() {
            Some(why) => Err(LookupError::Disk { path: file.shown(), why }),
            None => Ok(()),
        }
    }

    /// The lane on which [`BlockStore::rdd_block`] runs.
    pub fn rdd_lane(
        &self,
        app: &AppId,
        executor: &ExecutorId,
        rdd: i32,
        split: i32,
    ) -> Result<Lane, LookupError> {
        let registration = self.registration(app, executor, Instant::now())?;
        let file = place(&registration, app, executor, layout::rdd_name(rdd, split))?;
        self.check_disk(&file)?;
        Ok(self.disk(&file).lane().clone())
    }

    /// Has all looks at paths lie back by so much more.
    #[cfg(test)]
    pub(super) fn age(&mut self, by: Duration) {
        self.started = self.started.checked_sub(by).unwrap_or(self.started);
    }

    /// The registrations.
    pub fn executors(&self) -> &Executors {
        &self.executors
    }

    /// The roots.
    pub fn roots(&self) -> &Arc<Roots> {
        &self.roots
    }

    /// Forgets an application: registrations, cached indexes, open files. How many executors it had, if it was there.
    pub fn forget(&self, app: &AppId) -> Option<usize> {
        let executors = self.executors.forget(app);
        self.drop_cached(app);
        executors
    }

    /// The same for an application that a sweep found to be over; `None` where it is not, by now.
    pub fn forget_found(&self, finding: &Finding) -> Option<usize> {
        let executors = self.executors.forget_found(finding)?;
        self.drop_cached(&finding.app);
        Some(executors)
    }

    /// All that is to be done every few seconds: closes idle and deleted files, and finds applications that are over. A
    /// call takes milliseconds whatever is registered.
    pub fn sweep(&self, on: &OnLane, now: Instant) -> SweepReport {
        let closed = (0..self.roots.disks().len()).map(|disk| self.close_files(on, disk, now));
        SweepReport { closed_files: closed.sum(), findings: self.find_over(on, now) }
    }

    /// Closes idle and deleted files of one disk, on its lane; how many.
    pub fn close_files(&self, on: &OnLane, disk: usize, now: Instant) -> usize {
        self.roots.disks().get(disk).map_or(0, |disk| disk.files.sweep(on, now))
    }

    /// Finds applications that are over. Their directories lie on any disk.
    pub fn find_over(&self, on: &OnLane, now: Instant) -> Vec<Finding> {
        self.executors.sweep(on, now, &self.roots)
    }

    /// The store in numbers.
    pub fn counters(&self) -> DiskCounters {
        let mut counters = DiskCounters {
            index_hits: self.index_hits.load(Ordering::Relaxed),
            index_misses: self.index_misses.load(Ordering::Relaxed),
            executors: self.executors.count(),
            ..DiskCounters::default()
        };
        for disk in self.roots.disks() {
            let Disk { indexes, files, .. } = &**disk;
            counters.index_cache_bytes += indexes.weight();
            counters.indexes_cached += indexes.len();
            counters.file_hits += files.hits();
            counters.file_misses += files.misses();
            counters.files_cached += files.len();
            counters.files_open += files.open_now();
        }
        counters
    }

    /// What an executor registered.
    pub fn registration(
        &self,
        app: &AppId,
        executor: &ExecutorId,
        now: Instant,
    ) -> Result<Arc<Registration>, LookupError> {
        let unknown = || LookupError::NotRegistered { app: app.clone(), executor: executor.clone() };
        self.executors.lookup(app, executor, now).ok_or_else(unknown)
    }

    pub(super) fn drop_file(&self, file: &PlacedFile<'_>) {
        let disk = self.disk(file);
        disk.indexes.remove(&file.path);
        disk.files.remove(&file.path);
    }

    fn drop_cached(&self, app: &AppId) {
        for disk in self.roots.disks() {
            disk.indexes.forget(app);
            disk.files.forget(app);
        }
    }

    pub(super) fn disk(&self, file: &PlacedFile<'_>) -> &Disk {
        self.roots.disk(file.dir)
    }

    pub(super) fn since_start(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    pub(super) fn open_seen(
        &self,
        on: &OnLane,
        file: &PlacedFile<'_>,
        app: &AppId,
        now: Instant,
    ) -> Result<Arc<OpenFile>, OpenError> {
        let Some(seen) = self.look(on, file)? else {
            self.disk(file).files.remove(&file.path);
            return Err(OpenError::Missing { path: file.shown() });
        };
        self.open(on, file, &seen, app, now)
    }

    pub(super) fn open(
        &self,
        on: &OnLane,
        file: &PlacedFile<'_>,
        seen: &Identity,
        app: &AppId,
        now: Instant,
    ) -> Result<Arc<OpenFile>, OpenError> {
        let disk = self.disk(file);
        let open = || disk.open_file(on, &file.path);
        let opened = disk.files.open(&file.path, seen, app, || file.shown(), now, open);
        opened.map_err(|failure| {
            disk.files.remove(&file.path);
            failure.at(file.shown())
        })
    }

    pub(super) fn look(&self, on: &OnLane, file: &PlacedFile<'_>) -> Result<Option<Identity>, OpenError> {
        self.disk(file).identity(on, &file.path).map_err(|failure| failure.at(file.shown()))
    }
}
