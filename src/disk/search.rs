//! Finding the output of a map task: the lookup that the server uses.
//!
//! A map output is found once a request, with one validation; the request then takes as many partitions as it likes from
//! the [`MapOutput`]. There are two ways:
//!
//! | way | runs | looks at | costs |
//! |---|---|---|---|
//! | [`BlockStore::resolve_now`] | anywhere | the open data file itself | one `statx` of a descriptor |
//! | [`Search`], [`BlockStore::resolve_map`] | on the disks' lanes | both paths | two stats, and reading the index if it is not cached |
//!
//! A region is handed out only when
//!
//! - the index and the data file are (device, inode, names, size, times) the two that were read together, and
//! - the data file is as long as the last offset says.
//!
//! The first way needs no path: whoever replaces, deletes or rewrites a data file changes the open one (its number of
//! names, its times), be there further names for it or not. Two things do not show in it: an index that alone was
//! replaced or deleted, and a directory above that was moved. Spark does neither. The bytes that are served then are
//! those of a pair that was published, and every [`LOOK_AGAIN`] the paths are looked at all the same. Where there is no
//! data file, since all partitions are empty, nothing open would show that one has come: that takes the second way.
//!
//! Of an index that is too large to be kept ([`kept_index_bytes`](super::DiskLimits::kept_index_bytes)) each range takes one read of 16 bytes
//! besides.
//!
//! What does not fit is read anew once, since Spark 2.4 repeats map ids and a rewritten pair is legal, and then
//! fails. One gap stays: while Spark itself replaces a pair (index first), a new index and an old data file of the
//! very same length cannot be told from a pair. Readers do not ask before the pair is published.
//!
//! The two files may lie on two disks, since each has its place by its own name. So a search goes in steps, each on the
//! lane of the disk that it asks:
//!
//! ```text
//! index's disk              data's disk                 index's disk
//! look at it, read it ────► look at the file, open it ────► is the index still the same?
//!                   (cached) └────► found                   └────► found
//! ```

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sealed_shuffle_protocol::ids::{AppId, ExecutorId, MapId, ShuffleId};
use sealed_shuffle_transport::lane::{Lane, OnLane, Resident};
use sealed_shuffle_transport::region::{Identity, OpenFile};

use super::block_store::BlockStore;
use super::executors::Registration;
use super::far_index::Ends;
use super::index::Index;
use super::index_cache::{IndexEntry, KnownOffsets};
use super::layout;
use super::lookup_error::LookupError;
use super::map_output::{CheckedOutput, MapOutput};
use super::open_error::OpenError;
use super::place::{PlacedFile, place};

/// How long an open file alone says what its path leads to.
pub const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// How often a pair of files is read before it counts as being rewritten.
const READS: usize = 2;

/// What is known of a map output.
#[derive(Debug)]
pub enum Lookup {
    /// It is this.
    Found(MapOutput),
    /// Nothing yet: a disk has to be asked.
    Waits(Search),
}

/// A map output that is being looked for.
#[derive(Debug)]
pub struct Search {
    app: AppId,
    shuffle: ShuffleId,
    map: MapId,
    executor: ExecutorId,
    registration: Arc<Registration>,
    lanes: Lanes,
    /// The cache was not asked yet.
    may_be_cached: bool,
    /// How often the pair was read.
    reads: usize,
    step: Step,
}

/// The lanes of the two files' disks.
#[derive(Debug)]
struct Lanes {
    index: Lane,
    data: Lane,
    are_one: bool,
}

/// What comes next.
#[derive(Debug)]
enum Step {
    /// On the index's disk: look at it, or read it.
    Index,
    /// On the data's disk: see whether the data file is the one that belongs to a cached index. An index whose offsets
    /// are not kept comes with its file.
    Cached(Arc<IndexEntry>, Option<Arc<OpenFile>>),
    /// On the data's disk: open the data file of an index that was read.
    Data(ReadIndex),
    /// On the index's disk: see whether it is still the same.
    Again(ReadIndex, Result<DataFile, LookupError>),
}

/// An index file that was read just now.
#[derive(Debug)]
struct ReadIndex {
    known: KnownOffsets,
    file: Resident<OwnedFd>,
    identity: Identity,
}

/// A data file as it was seen, and open where its bytes are needed.
#[derive(Debug)]
struct DataFile {
    seen: Option<Identity>,
    open: Option<Arc<OpenFile>>,
}

/// What a step has come to.
enum Advance {
    Found(CheckedOutput),
    Next(Step),
}

impl BlockStore {
    /// Finds the output of a map task without waiting, where it is known; where it is not, what is to be done.
    ///
    /// A data file that cannot be used fails the regions that need it, not the map output: partitions without bytes
    /// need no file.
    pub fn resolve_now(
        &self,
        app: &AppId,
        executor: &ExecutorId,
        shuffle: ShuffleId,
        map: MapId,
    ) -> Result<Lookup, LookupError> {
        let now = Instant::now();
        let registration = self.registration(app, executor, now)?;
        let files = PairOfFiles::place(&registration, (app, executor), (shuffle, map), now)?;
        for file in [&files.index, &files.data] {
            self.check_disk(file)?;
        }
        if let Some(found) = self.find_open(&files) {
            self.index_hits.fetch_add(1, Ordering::Relaxed);
            return Ok(Lookup::Found(MapOutput::new(shuffle, map, found)));
        }
        self.search(app, executor, shuffle, map).map(Lookup::Waits)
    }

    /// The same where all disks may be waited for. Looks at both paths in any case.
    pub fn resolve_map(
        &self,
        on: &OnLane,
        app: &AppId,
        executor: &ExecutorId,
        shuffle: ShuffleId,
        map: MapId,
    ) -> Result<MapOutput, LookupError> {
        let mut search = self.search(app, executor, shuffle, map)?;
        loop {
            match search.step(on, self)? {
                Lookup::Found(found) => return Ok(found),
                Lookup::Waits(next) => search = next,
            }
        }
    }

    /// A search that has done nothing yet.
    fn search(
        &self,
        app: &AppId,
        executor: &ExecutorId,
        shuffle: ShuffleId,
        map: MapId,
    ) -> Result<Search, LookupError> {
        let registration = self.registration(app, executor, Instant::now())?;
        let lane = |name| {
            let file = place(&registration, app, executor, name)?;
            Ok::<_, LookupError>(self.disk(&file).lane().clone())
        };
        let index = lane(layout::index_name(shuffle, map))?;
        let data = lane(layout::data_name(shuffle, map))?;
        Ok(Search {
            lanes: Lanes { are_one: index.is(&data), index, data },
            app: app.clone(),
            shuffle,
            map,
            executor: executor.clone(),
            registration,
            may_be_cached: true,
            reads: 0,
            step: Step::Index,
        })
    }

    /// The pair of files if its index is cached, its data file is open and unchanged, and its paths were looked at not
    /// long ago.
    fn find_open(&self, files: &PairOfFiles<'_>) -> Option<CheckedOutput> {
        let of_index = self.disk(&files.index);
        let entry = of_index.indexes.find(&files.index.path)?;
        let looked = Duration::from_nanos(entry.looked.load(Ordering::Relaxed));
        if self.since_start(files.now).saturating_sub(looked) >= LOOK_AGAIN {
            return None;
        }
        let seen = entry.data_file.filter(|_| entry.index.data_len() > 0)?;
        let data = self.disk(&files.data).files.find_unchanged(&files.data.path, &seen, files.now)?;
        let index = match entry.index {
            KnownOffsets::Whole(_) => None,
            KnownOffsets::Ends(_) => {
                Some(of_index.files.find_unchanged(&files.index.path, &entry.index_file, files.now)?)
            }
        };
        Some(CheckedOutput { entry, index, data: Ok(Some(data)) })
    }

    fn looked_at(&self, entry: &IndexEntry, now: Instant) {
        let nanos = u64::try_from(self.since_start(now).as_nanos()).unwrap_or(u64::MAX);
        entry.looked.fetch_max(nanos, Ordering::Relaxed);
    }
}

impl Search {
    /// The lane on which the next step runs.
    pub fn lane(&self) -> &Lane {
        match self.step {
            Step::Index | Step::Again(..) => &self.lanes.index,
            Step::Cached(..) | Step::Data(_) => &self.lanes.data,
        }
    }

    /// Goes on as far as one disk can tell.
    pub fn step(mut self, on: &OnLane, store: &BlockStore) -> Result<Lookup, LookupError> {
        let (app, registration) = (self.app.clone(), Arc::clone(&self.registration));
        let (named, task) = ((&app, &self.executor.clone()), (self.shuffle, self.map));
        let files = PairOfFiles::place(&registration, named, task, Instant::now())?;
        loop {
            let done = match std::mem::replace(&mut self.step, Step::Index) {
                Step::Index => self.look_at_index(on, store, &files)?,
                Step::Cached(entry, index) => look_at_data(on, store, &files, entry, index)?,
                Step::Data(read) => match open_data(store, on, &files, read.known.data_len()) {
                    Err(LookupError::Escapes { path }) => return Err(LookupError::Escapes { path }),
                    data => Advance::Next(Step::Again(read, data)),
                },
                Step::Again(read, data) => look_again(on, store, &files, read, data)?,
            };
            match done {
                Advance::Found(found) => {
                    return Ok(Lookup::Found(MapOutput::new(self.shuffle, self.map, found)));
                }
                Advance::Next(step) => self.step = step,
            }
            if !self.lanes.are_one {
                return Ok(Lookup::Waits(self));
            }
        }
    }

    fn look_at_index(
        &mut self,
        on: &OnLane,
        store: &BlockStore,
        files: &PairOfFiles<'_>,
    ) -> Result<Advance, LookupError> {
        if std::mem::take(&mut self.may_be_cached)
            && let Some(step) = cached(on, store, files)?
        {
            return Ok(Advance::Next(step));
        }
        match self.reads {
            0 => _ = store.index_misses.fetch_add(1, Ordering::Relaxed),
            READS => return Err(LookupError::Changing { path: files.index.shown() }),
            _ => {}
        }
        self.reads += 1;
        Ok(Advance::Next(read(on, store, files)?.map_or(Step::Index, Step::Data)))
    }
}

/// The cached index, if it is still the one in the file.
fn cached(on: &OnLane, store: &BlockStore, files: &PairOfFiles<'_>) -> Result<Option<Step>, LookupError> {
    let indexes = &store.disk(&files.index).indexes;
    let Some(entry) = indexes.find(&files.index.path) else { return Ok(None) };
    let seen = &entry.index_file;
    if store.look(on, &files.index).map_err(LookupError::index)?.as_ref() != Some(seen) {
        indexes.remove(&files.index.path);
        return Ok(None);
    }
    let index = match entry.index {
        KnownOffsets::Whole(_) => None,
        KnownOffsets::Ends(_) => {
            let index = store.open(on, &files.index, seen, files.app, files.now);
            let index = index.map_err(LookupError::index)?;
            if index.identity() != seen {
                return Ok(None);
            }
            Some(index)
        }
    };
    Ok(Some(Step::Cached(entry, index)))
}

/// Finds the pair, if the data file is still the one that the cached index belongs to.
fn look_at_data(
    on: &OnLane,
    store: &BlockStore,
    files: &PairOfFiles<'_>,
    entry: Arc<IndexEntry>,
    index: Option<Arc<OpenFile>>,
) -> Result<Advance, LookupError> {
    if store.look(on, &files.data).map_err(LookupError::data)? != entry.data_file {
        store.disk(&files.index).indexes.remove(&files.index.path);
        return Ok(Advance::Next(Step::Index));
    }
    let data = match entry.data_file {
        Some(seen) if entry.index.data_len() > 0 => {
            let data = store.open(on, &files.data, &seen, files.app, files.now).map_err(LookupError::data)?;
            if *data.identity() != seen {
                return Ok(Advance::Next(Step::Index));
            }
            Some(data)
        }
        _ => None,
    };
    store.looked_at(&entry, files.now);
    store.index_hits.fetch_add(1, Ordering::Relaxed);
    Ok(Advance::Found(CheckedOutput { entry, index, data: Ok(data) }))
}

/// Reads the index; `None` where it became shorter meanwhile.
fn read(on: &OnLane, store: &BlockStore, files: &PairOfFiles<'_>) -> Result<Option<ReadIndex>, LookupError> {
    let disk = store.disk(&files.index);
    let (file, identity) = match disk.open_file(on, &files.index.path) {
        Ok(opened) => opened,
        Err(failure) => {
            disk.indexes.remove(&files.index.path);
            return Err(LookupError::index(failure.at(files.index.shown())));
        }
    };
    let (size, limit) = (identity.size(), store.max_index_bytes);
    let too_large = || LookupError::IndexTooLarge { path: files.index.shown(), size, limit };
    let bytes = usize::try_from(size).ok().filter(|_| size <= limit).ok_or_else(too_large)?;
    let known = match size <= store.kept_index_bytes {
        true => Index::read(&file, bytes).map(|index| index.map(KnownOffsets::Whole)),
        false => Ends::read(&file, bytes).map(|ends| ends.map(KnownOffsets::Ends)),
    };
    let unreadable = |errno| {
        disk.lane().failed(errno);
        LookupError::index(OpenError::Io { path: files.index.shown(), errno })
    };
    Ok(known.map_err(unreadable)?.map(|known| ReadIndex { known, file, identity }))
}

/// Finds the pair, and keeps its index, if that is still the one that was read. The writer replaces the index first: if
/// it is still the same, the data file is not yet the next one's.
fn look_again(
    on: &OnLane,
    store: &BlockStore,
    files: &PairOfFiles<'_>,
    read: ReadIndex,
    data: Result<DataFile, LookupError>,
) -> Result<Advance, LookupError> {
    let ReadIndex { known, file, identity } = read;
    if store.look(on, &files.index).map_err(LookupError::index)? != Some(identity) {
        return Ok(Advance::Next(Step::Index));
    }
    let disk = store.disk(&files.index);
    let keep = data.is_ok();
    let (data_file, data) = match data {
        Ok(DataFile { seen, open }) => (seen, Ok(open)),
        Err(error) => (None, Err(error)),
    };
    let index = matches!(known, KnownOffsets::Ends(_)).then(|| {
        let (path, shown) = (&files.index.path, files.index.shown());
        disk.files.adopt(path, (file, identity), files.app, shown, files.now)
    });
    let (app, looked) = (files.app.clone(), AtomicU64::new(0));
    let entry = Arc::new(IndexEntry { index: known, index_file: identity, data_file, app, looked });
    store.looked_at(&entry, files.now);
    match keep {
        true => disk.indexes.insert(&files.index.path, entry.clone()),
        false => disk.indexes.remove(&files.index.path),
    }
    Ok(Advance::Found(CheckedOutput { entry, index, data }))
}

/// The data file of an index whose last offset is `expected`: none is needed where that is 0.
fn open_data(
    store: &BlockStore,
    on: &OnLane,
    files: &PairOfFiles<'_>,
    expected: i64,
) -> Result<DataFile, LookupError> {
    let fits = |seen: &Identity| match u64::try_from(expected) == Ok(seen.size()) {
        true => Ok(()),
        false => Err(LookupError::Mismatch { path: files.data.shown(), expected, found: seen.size() }),
    };
    if expected == 0 {
        let seen = store.look(on, &files.data).map_err(LookupError::data)?;
        seen.as_ref().map_or(Ok(()), fits)?;
        return Ok(DataFile { seen, open: None });
    }
    let data = store.open_seen(on, &files.data, files.app, files.now).map_err(LookupError::data)?;
    fits(data.identity())?;
    Ok(DataFile { seen: Some(*data.identity()), open: Some(data) })
}

/// The two files of a map task, and who asks for them when.
struct PairOfFiles<'a> {
    index: PlacedFile<'a>,
    data: PlacedFile<'a>,
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
