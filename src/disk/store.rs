//! Block id to region: the lookup that the server uses.
//!
//! [`BlockStore::resolve_map`] finds a map output once a request, with one validation; the request then takes as
//! many partitions as it likes from the [`MapOutput`]. A map output whose index is cached and whose data
//! file is open costs two stats. Of an index that is too large to be kept ([`DiskLimits::kept_index_bytes`]) each range
//! takes one read of 16 bytes besides. A region is handed out only when
//!
//! - the index and the data file are (device, inode, size, times) the two that were read together, and
//! - the data file is as long as the last offset says.
//!
//! What does not fit is read anew once, since Spark 2.4 repeats map ids and a rewritten pair is legal, and then
//! fails. One gap stays: while Spark itself replaces a pair (index first), a new index and an old data file of the
//! very same length cannot be told from a pair. Readers do not ask before the pair is published.
//!
//! Everything here may wait for a disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sealed_shuffle_protocol::ids::{AppId, ExecutorId, MapId, ReduceId, ShuffleId};
use sealed_shuffle_transport::region::{Identity, OpenFile, ReadError, Region, ShownPath};

use super::confined::{OpenError, OpenFailure};
use super::executors::{
    Executors, Finding, Proof, RegisterRefused, Registered, Registration, RegistryLimits,
};
use super::far_index::{Ends, FarError, FarOffsets};
use super::files::Files;
use super::index::{Index, RangeError};
use super::index_cache::{FileKeyRef, IndexCache, IndexEntry, Known};
use super::layout::{self, Placement};
use super::lookup_error::LookupError;
use super::root::{DirRefused, LocalDir, Roots};

/// The blocks of all registered executors.
#[derive(Debug)]
pub struct BlockStore {
    roots: Arc<Roots>,
    executors: Executors,
    indexes: IndexCache,
    files: Files,
    max_index_bytes: u64,
    kept_index_bytes: u64,
    index_hits: AtomicU64,
    index_misses: AtomicU64,
}

/// What bounds the store.
#[derive(Clone, Debug)]
pub struct DiskLimits {
    /// Weight of the parsed indexes, `8 * offsets + 176` each; 0 keeps none. Default 100 MiB,
    /// `spark.shuffle.service.index.cache.size`. The memory taken is about half of it.
    pub index_cache_bytes: u64,
    /// A larger index file is refused. Default 128 MiB and 8 bytes, which is 2^24 partitions, Spark's own bound.
    pub max_index_bytes: u64,
    /// Of a larger index file no more is read than a request needs, and its offsets are not kept. Default 64 KiB, 8,191
    /// partitions.
    pub kept_index_bytes: u64,
    /// Data files, and index files that are not kept, that stay open; 0 keeps none. Default 1024.
    pub open_files: usize,
    /// A data file that was not used during this time is closed. Default 60 s.
    pub file_idle: Duration,
    /// What bounds the registrations.
    pub registry: RegistryLimits,
}

impl Default for DiskLimits {
    fn default() -> Self {
        Self {
            index_cache_bytes: 100 << 20,
            max_index_bytes: (128 << 20) + 8,
            kept_index_bytes: 64 << 10,
            open_files: 1024,
            file_idle: Duration::from_secs(60),
            registry: RegistryLimits::default(),
        }
    }
}

/// Why an executor was not registered.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// One of its directories; nothing was stored.
    #[error(transparent)]
    Dir(#[from] DirRefused),
    /// The table of executors.
    #[error(transparent)]
    Refused(#[from] RegisterRefused),
}

/// What a sweep did.
#[derive(Debug, Default)]
pub struct Swept {
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
    pub fn new(roots: impl Into<Arc<Roots>>, limits: DiskLimits) -> Self {
        let now = Instant::now();
        Self {
            roots: roots.into(),
            executors: Executors::new(limits.registry, now),
            indexes: IndexCache::new(limits.index_cache_bytes),
            files: Files::new(limits.open_files, limits.file_idle, now),
            max_index_bytes: limits.max_index_bytes,
            kept_index_bytes: limits.kept_index_bytes,
            index_hits: AtomicU64::new(0),
            index_misses: AtomicU64::new(0),
        }
    }

    /// Registers an executor, in place of an earlier registration of the same; all its directories or none.
    pub fn register<S: AsRef<str>>(
        &self,
        app: &AppId,
        executor: &ExecutorId,
        local_dirs: &[S],
        sub_dirs: i32,
        shuffle_manager: &str,
        proof: Proof,
    ) -> Result<Registered, RegisterError> {
        let registration = self.accept(local_dirs, sub_dirs, shuffle_manager)?;
        Ok(self.executors.register(app, executor, registration, proof, Instant::now())?)
    }

    /// What an executor registers, with its directories judged; all of them are accepted or none.
    pub fn accept<S: AsRef<str>>(
        &self,
        local_dirs: &[S],
        sub_dirs: i32,
        shuffle_manager: &str,
    ) -> Result<Registration, DirRefused> {
        let dirs = local_dirs.iter().map(|dir| self.roots.accept(dir.as_ref())).collect::<Result<_, _>>()?;
        Ok(Registration::new(dirs, sub_dirs, shuffle_manager))
    }

    /// Finds the output of a map task and checks it, once for all partitions that a request takes from it.
    ///
    /// A data file that cannot be used fails the regions that need it, not the map output: partitions without bytes
    /// need no file.
    pub fn resolve_map(
        &self,
        app: &AppId,
        executor: &ExecutorId,
        shuffle: ShuffleId,
        map: MapId,
    ) -> Result<MapOutput, LookupError> {
        if let Some(found) = self.resolve_cached(app, executor, shuffle, map)? {
            return Ok(found);
        }
        let now = Instant::now();
        let registration = self.registration(app, executor, now)?;
        let files = PairOfFiles::place(&registration, (app, executor), (shuffle, map), now)?;
        self.index_misses.fetch_add(1, Ordering::Relaxed);
        for _ in 0..LOADS {
            if let Some(found) = self.load(&files)? {
                return Ok(MapOutput { shuffle, map, found });
            }
        }
        Err(LookupError::Changing { path: files.index.shown() })
    }

    /// The same from the caches alone, for who must not wait for a disk: two stats, and at most two files to open.
    /// `None` where the index has to be read.
    pub fn resolve_cached(
        &self,
        app: &AppId,
        executor: &ExecutorId,
        shuffle: ShuffleId,
        map: MapId,
    ) -> Result<Option<MapOutput>, LookupError> {
        let now = Instant::now();
        let registration = self.registration(app, executor, now)?;
        let files = PairOfFiles::place(&registration, (app, executor), (shuffle, map), now)?;
        let Some(found) = self.find_cached(&files)? else { return Ok(None) };
        self.index_hits.fetch_add(1, Ordering::Relaxed);
        Ok(Some(MapOutput { shuffle, map, found }))
    }

    /// Finds a cached partition that an executor keeps on disk; `None` where there is no such file.
    pub fn rdd_block(
        &self,
        app: &AppId,
        executor: &ExecutorId,
        rdd: i32,
        split: i32,
    ) -> Result<Option<Region>, LookupError> {
        let now = Instant::now();
        let registration = self.registration(app, executor, now)?;
        let file = place(&registration, app, executor, layout::rdd_name(rdd, split))?;
        match self.open_seen(&file, app, now) {
            Ok(open) => {
                let len = open.identity().size();
                Ok(Some(Region::new(open, 0, len)))
            }
            Err(OpenError::Missing { .. }) => Ok(None),
            Err(error) => Err(LookupError::data(error)),
        }
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

    /// Closes idle and deleted files, and finds applications that are over. Call it every few seconds; a call takes
    /// milliseconds whatever is registered, but may wait for a disk.
    pub fn sweep(&self, now: Instant) -> Swept {
        let findings = self.executors.sweep(now, &self.roots);
        Swept { findings, closed_files: self.files.sweep(now) }
    }

    /// The store in numbers.
    pub fn counters(&self) -> DiskCounters {
        DiskCounters {
            index_hits: self.index_hits.load(Ordering::Relaxed),
            index_misses: self.index_misses.load(Ordering::Relaxed),
            index_cache_bytes: self.indexes.weight(),
            indexes_cached: self.indexes.len(),
            file_hits: self.files.hits(),
            file_misses: self.files.misses(),
            files_cached: self.files.len(),
            files_open: self.files.open_now(),
            executors: self.executors.count(),
        }
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

    pub(super) fn drop_file(&self, key: FileKeyRef<'_>) {
        self.indexes.remove(key);
        self.files.remove(key);
    }

    fn drop_cached(&self, app: &AppId) {
        self.indexes.forget(app);
        self.files.forget(app);
    }

    /// The pair of files if the index is cached and both are still what they were.
    fn find_cached(&self, files: &PairOfFiles<'_>) -> Result<Option<Found>, LookupError> {
        let Some(entry) = self.indexes.find(files.index.key()) else { return Ok(None) };
        let index_file = self.look(&files.index).map_err(LookupError::index)?;
        let data_file = self.look(&files.data).map_err(LookupError::data)?;
        if index_file != Some(entry.index_file) || data_file != entry.data_file {
            self.indexes.remove(files.index.key());
            return Ok(None);
        }
        let index = match entry.index {
            Known::Whole(_) => None,
            Known::Ends(_) => {
                let seen = &entry.index_file;
                let index =
                    self.open(&files.index, seen, files.app, files.now).map_err(LookupError::index)?;
                if index.identity() != seen {
                    return Ok(None);
                }
                Some(index)
            }
        };
        let seen = match entry.data_file {
            Some(seen) if entry.index.data_len() > 0 => seen,
            _ => return Ok(Some(Found { entry, index, data: Ok(None) })),
        };
        let data = self.open(&files.data, &seen, files.app, files.now).map_err(LookupError::data)?;
        match *data.identity() == seen {
            true => Ok(Some(Found { entry, index, data: Ok(Some(data)) })),
            false => Ok(None),
        }
    }

    /// Reads the index and opens the data file; `None` where either was replaced meanwhile.
    fn load(&self, files: &PairOfFiles<'_>) -> Result<Option<Found>, LookupError> {
        let (fd, index_file) = match self.roots.open_file(files.index.dir.root(), &files.index.path) {
            Ok(opened) => opened,
            Err(failure) => {
                self.indexes.remove(files.index.key());
                return Err(LookupError::index(failure.at(files.index.shown())));
            }
        };
        let size = index_file.size();
        let limit = self.max_index_bytes;
        let bytes = usize::try_from(size).ok().filter(|_| size <= limit);
        let too_large = || LookupError::IndexTooLarge { path: files.index.shown(), size, limit };
        let bytes = bytes.ok_or_else(too_large)?;
        let is_kept = size <= self.kept_index_bytes;
        let known = match is_kept {
            true => Index::read(&fd, bytes).map(|index| index.map(Known::Whole)),
            false => Ends::read(&fd, bytes).map(|ends| ends.map(Known::Ends)),
        };
        let known =
            known.map_err(|errno| LookupError::index(OpenError::Io { path: files.index.shown(), errno }))?;
        let Some(known) = known else { return Ok(None) };
        let data = match self.open_data(files, known.data_len()) {
            Err(LookupError::Escapes { path }) => return Err(LookupError::Escapes { path }),
            data => data,
        };
        // The writer replaces the index first: if it is still the same, the data file is not yet the next one's.
        if self.look(&files.index).map_err(LookupError::index)? != Some(index_file) {
            return Ok(None);
        }
        let keep = data.is_ok();
        let (data_file, data) = match data {
            Ok((data_file, data)) => (data_file, Ok(data)),
            Err(error) => (None, Err(error)),
        };
        let index = (!is_kept).then(|| {
            let (key, path) = (files.index.key(), files.index.shown());
            self.files.adopt(key, (fd, index_file), files.app, path, files.now)
        });
        let entry = Arc::new(IndexEntry { index: known, index_file, data_file, app: files.app.clone() });
        match keep {
            true => self.indexes.insert(files.index.key(), entry.clone()),
            false => self.indexes.remove(files.index.key()),
        }
        Ok(Some(Found { entry, index, data }))
    }

    /// The data file of an index whose last offset is `expected`: none is needed where that is 0.
    #[allow(clippy::type_complexity)]
    fn open_data(
        &self,
        files: &PairOfFiles<'_>,
        expected: i64,
    ) -> Result<(Option<Identity>, Option<Arc<OpenFile>>), LookupError> {
        let fits = |seen: &Identity| match u64::try_from(expected) == Ok(seen.size()) {
            true => Ok(()),
            false => Err(LookupError::Mismatch { path: files.data.shown(), expected, found: seen.size() }),
        };
        if expected == 0 {
            let seen = self.look(&files.data).map_err(LookupError::data)?;
            seen.as_ref().map_or(Ok(()), fits)?;
            return Ok((seen, None));
        }
        let data = self.open_seen(&files.data, files.app, files.now).map_err(LookupError::data)?;
        fits(data.identity())?;
        Ok((Some(*data.identity()), Some(data)))
    }

    fn open_seen(&self, file: &Placed<'_>, app: &AppId, now: Instant) -> Result<Arc<OpenFile>, OpenError> {
        let Some(seen) = self.look(file)? else {
            self.files.remove(file.key());
            return Err(OpenError::Missing { path: file.shown() });
        };
        self.open(file, &seen, app, now)
    }

    fn open(
        &self,
        file: &Placed<'_>,
        seen: &Identity,
        app: &AppId,
        now: Instant,
    ) -> Result<Arc<OpenFile>, OpenError> {
        let opened = self.files.open(&self.roots, file.key(), seen, app, || file.shown(), now);
        opened.map_err(|failure| {
            self.files.remove(file.key());
            failure.at(file.shown())
        })
    }

    fn look(&self, file: &Placed<'_>) -> Result<Option<Identity>, OpenError> {
        let seen = self.roots.identity(file.dir.root(), &file.path);
        seen.map_err(|errno| OpenFailure::from(errno).at(file.shown()))
    }
}

/// The output of a map task, found and checked.
#[derive(Clone, Debug)]
pub struct MapOutput {
    shuffle: ShuffleId,
    map: MapId,
    found: Found,
}

impl MapOutput {
    /// The bytes of one partition. May wait for a disk, as [`MapOutput::range`].
    pub fn block(&self, reduce: ReduceId) -> Result<Region, LookupError> {
        self.range(i64::from(reduce.0), i64::from(reduce.0) + 1)
    }

    /// The bytes of the partitions from `start` to before `end`. May wait for a disk, as [`MapOutput::range`].
    pub fn region(&self, start: ReduceId, end: ReduceId) -> Result<Region, LookupError> {
        self.range(i64::from(start.0), i64::from(end.0))
    }

    /// How many partitions the map output has.
    pub fn partitions(&self) -> usize {
        self.found.entry.index.count().saturating_sub(1)
    }

    /// The bytes from the offset at `start` to the one at `end`. Waits for a disk where the index is not kept and the
    /// page cache has not the two.
    pub fn range(&self, start: i64, end: i64) -> Result<Region, LookupError> {
        let found = match self.offsets(start, end) {
            Offsets::Known(found) => found.map_err(FarError::Range),
            Offsets::Far(far) => far.range_blocking(),
        };
        self.region_of(start, end, found)
    }

    /// The same without waiting; `None` where that is not possible.
    pub fn range_now(&self, start: i64, end: i64) -> Option<Result<Region, LookupError>> {
        let found = match self.offsets(start, end) {
            Offsets::Known(found) => found.map_err(FarError::Range),
            Offsets::Far(far) => far.range_now().transpose()?,
        };
        Some(self.region_of(start, end, found))
    }

    fn offsets(&self, start: i64, end: i64) -> Offsets {
        match (&self.found.entry.index, &self.found.index) {
            (Known::Whole(index), _) => Offsets::Known(index.range(start, end)),
            (Known::Ends(ends), Some(file)) => match ends.find(file, start, end) {
                Ok(far) => Offsets::Far(far),
                Err(error) => Offsets::Known(Err(error)),
            },
            (Known::Ends(_), None) => unreachable!("the ends of an index are found with its file"),
        }
    }

    fn region_of(
        &self,
        start: i64,
        end: i64,
        found: Result<(u64, u64), FarError>,
    ) -> Result<Region, LookupError> {
        let (shuffle, map) = (self.shuffle, self.map);
        let (offset, len) = found.map_err(|error| match error {
            FarError::Range(RangeError::OutOfBounds) => {
                let offsets = self.found.entry.index.count();
                LookupError::OutOfBounds { shuffle, map, start, end, offsets }
            }
            FarError::Range(RangeError::NegativeLength(length)) => {
                LookupError::NegativeLength { shuffle, map, start, end, length }
            }
            FarError::Range(RangeError::OutOfOrder) => LookupError::DamagedIndex { shuffle, map },
            // The open index file no longer has what it had a moment ago, or cannot be read.
            FarError::Read(ReadError::Truncated { path, .. }) => LookupError::Changing { path },
            FarError::Read(ReadError::Io { path, errno, .. }) => {
                LookupError::index(OpenError::Io { path, errno })
            }
        })?;
        if len == 0 {
            return Ok(Region::empty());
        }
        match &self.found.data {
            Ok(Some(file)) => Ok(Region::new(file.clone(), offset, len)),
            Ok(None) => Err(LookupError::DamagedIndex { shuffle, map }),
            Err(error) => Err(error.clone()),
        }
    }
}

/// What the offsets of a range say, or where they are.
enum Offsets {
    Known(Result<(u64, u64), RangeError>),
    Far(FarOffsets),
}

/// What belongs to a map output, checked.
#[derive(Clone, Debug)]
struct Found {
    entry: Arc<IndexEntry>,
    /// The index file, where its offsets are not kept.
    index: Option<Arc<OpenFile>>,
    /// The data file where it is needed, or why it cannot be had.
    data: Result<Option<Arc<OpenFile>>, LookupError>,
}

/// How often a pair of files is read before it counts as being rewritten.
const LOADS: usize = 2;

/// The two files of a map task, and who asks for them when.
struct PairOfFiles<'a> {
    index: Placed<'a>,
    data: Placed<'a>,
    app: &'a AppId,
    now: Instant,
}

impl<'a> PairOfFiles<'a> {
    fn place(
        registration: &'a Registration,
        (app, executor): (&'a AppId, &ExecutorId),
        (shuffle, map): (ShuffleId, MapId),
        now: Instant,
    ) -> Result<Self, LookupError> {
        Ok(Self {
            index: place(registration, app, executor, layout::index_name(shuffle, map))?,
            data: place(registration, app, executor, layout::data_name(shuffle, map))?,
            app,
            now,
        })
    }
}

/// A file's place.
pub(super) struct Placed<'a> {
    pub(super) dir: &'a LocalDir,
    /// The directory that holds it, below the root.
    pub(super) parent: String,
    /// The file, below the root.
    pub(super) path: String,
    sub: String,
}

impl Placed<'_> {
    pub(super) fn key(&self) -> FileKeyRef<'_> {
        FileKeyRef { root: self.dir.root(), path: &self.path }
    }

    /// The path as Spark would print it.
    pub(super) fn shown(&self) -> ShownPath {
        let name = self.path.get(self.parent.len()..).unwrap_or("");
        ShownPath::new(layout::java_path(&format!("{}/{}/{name}", self.dir.text(), self.sub)))
    }
}

/// Places the file `name`, which must be one component, among the executor's directories.
pub(super) fn place<'a>(
    registration: &'a Registration,
    app: &AppId,
    executor: &ExecutorId,
    name: String,
) -> Result<Placed<'a>, LookupError> {
    let nowhere = || LookupError::NoDirectories { app: app.clone(), executor: executor.clone() };
    let place =
        Placement::of(&name, registration.dirs().len(), registration.sub_dirs()).ok_or_else(nowhere)?;
    let dir = registration.dirs().get(place.dir).ok_or_else(nowhere)?;
    let sub = place.sub_dir();
    let parent = match dir.relative() {
        "" => sub.clone(),
        relative => format!("{relative}/{sub}"),
    };
    let path = format!("{parent}/{name}");
    Ok(Placed { dir, parent, path, sub })
}
