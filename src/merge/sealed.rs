//! The store of merged partitions on disk. It seals everything that it writes.
//!
//! It joins the rules of merging with `sealed_files` and the data keys of applications. A piece is copied
//! once, into a segment in which it is sealed; segments are kept for the next piece.
//!
//! A chunk that turned out damaged while it was sent is remembered as long as its partition is kept open. Its
//! connection had to be closed, since the head was out. The next request for the chunk is refused at once, and its
//! reader fetches the original blocks.
//!
//! Keys come from the ring of [`EnvelopeKeys`]. An application's key is made when it registers. Its wrapped form is
//! known from then on, also after a restart: one call makes the key, and one call unwraps it after a restart, when it
//! is first needed. Opening a partition takes the key that its header carries. That is the same key unless the record
//! was lost. No thread of the disks ever waits for a key service, which may be slow and may need such a thread
//! itself. Callers have awaited [`Store::prepare`] before; a key that is still missing is an error.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;
use sealed_shuffle_protocol::cipher::Segment;
use sealed_shuffle_protocol::ids::{AppId, MergedPartition};
use sealed_shuffle_protocol::stored::envelope::WrappedKey;
use sealed_shuffle_protocol::stored::sealed::{Kind, MAX_PIECE, MAX_SEGMENT, PIECE};
use sealed_shuffle_transport::lane::{Lane, OnLane};
use sealed_shuffle_transport::seal::{Pull, PullError};
use tokio::runtime::Handle;
use tracing::warn;

use super::dirs::MergeDirs;
use super::names::{PartitionId, is_file_of};
use super::storage::{
    AppStore, CreateError, MissingFiles, PartitionReader, PartitionWriter, ReadError, Store,
};
use crate::disk::Roots;
use crate::keys::envelope::{AppKey, EnvelopeKeys, KeyError, KeyErrorKind, LoanState};
use crate::sealed_files::{
    FillState, Fsync, MergedFiles, OpenBuffer, SealedPartition, SealedRegion, SealedStore, SealedWriter,
    StoredError,
};

/// Sealed partitions beneath the roots.
#[derive(Debug)]
pub struct SealedMerges {
    files: Arc<SealedStore>,
    roots: Arc<Roots>,
    keys: Keys,
    segments: Arc<BufferShelf<Segment>>,
    buffers: Arc<BufferShelf<OpenBuffer>>,
    fsync: Fsync,
}

impl SealedMerges {
    /// Sealed partitions of `files`, which lie beneath `roots`. Calls for `keys` run on `runtime`.
    pub fn new(
        files: Arc<SealedStore>,
        roots: Arc<Roots>,
        keys: EnvelopeKeys,
        runtime: Handle,
        fsync: Fsync,
    ) -> Self {
        Self {
            files,
            roots,
            keys: Keys { ring: keys, runtime },
            segments: Arc::default(),
            buffers: Arc::default(),
            fsync,
        }
    }
}

/// The data keys of applications, for threads that may wait for a disk and for nothing else.
#[derive(Clone, Debug)]
struct Keys {
    ring: EnvelopeKeys,
    runtime: Handle,
}

impl Keys {
    /// The key that a file of `app` carries in wrapped form, or the key of its first files.
    fn at_hand(&self, app: &AppId, wrapped: Option<&WrappedKey>) -> Result<Arc<AppKey>, KeyError> {
        let _runtime = self.runtime.enter();
        self.ring.at_hand(app, wrapped)
    }
}

/// The key of what was derived from it, while that is in use: a file that is written or read, a chunk on its way.
#[derive(Debug)]
struct KeyInUse {
    app: AppId,
    keys: Keys,
    key: ArcSwap<AppKey>,
}

impl KeyInUse {
    fn new(app: &AppId, keys: &Keys, key: Arc<AppKey>) -> Self {
        Self { app: app.clone(), keys: keys.clone(), key: ArcSwap::new(key) }
    }

    /// Comes before every use: an error where the loan is over. Does not wait.
    fn check(&self) -> Result<(), KeyError> {
        let key = self.key.load();
        let renewed = || {
            let _runtime = self.keys.runtime.enter();
            self.keys.ring.renewed(&self.app, &key)
        };
        match key.loan.state() {
            LoanState::Good => {}
            // It stays good if nobody answers.
            LoanState::WantsConfirmation => drop(renewed()),
            LoanState::Over => self.key.store(renewed()?),
        }
        Ok(())
    }

    fn wrapped(&self) -> WrappedKey {
        self.key.load().wrapped.clone()
    }
}

impl Store for SealedMerges {
    fn prepare<'a>(
        &'a self,
        app: &'a AppId,
        key: Option<&'a WrappedKey>,
    ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>> {
        Box::pin(async move {
            let ring = &self.keys.ring;
            let key = match key {
                Some(key) => ring.unwrap(app, key).await,
                None => ring.current(app).await,
            };
            key.map(drop).map_err(|error| error.for_peer())
        })
    }

    fn application(
        &self,
        app: &AppId,
        attempt: i32,
        dirs: &Arc<MergeDirs>,
        key: Option<WrappedKey>,
    ) -> Result<Arc<dyn AppStore>, String> {
        let key = match key {
            Some(key) => key,
            None => self.keys.at_hand(app, None).map_err(|error| error.for_peer())?.wrapped.clone(),
        };
        let place = MergedFiles::new(self.keys.ring.context(app), attempt, dirs.dirs(), dirs.sub_dirs());
        Ok(Arc::new(AppFiles {
            app: app.clone(),
            place: Arc::new(place),
            files: Arc::clone(&self.files),
            roots: Arc::clone(&self.roots),
            key,
            keys: self.keys.clone(),
            segments: Arc::clone(&self.segments),
            buffers: Arc::clone(&self.buffers),
            fsync: self.fsync,
        }))
    }

    fn is_plain(&self) -> bool {
        false
    }

    fn forget(&self, app: &AppId) {
        self.keys.ring.forget(app);
    }

    fn close_files(&self, on: &OnLane, disk: usize, now: Instant) {
        self.files.close_files(on, disk, now);
    }

    fn sweep_keys(&self) {
        self.keys.ring.sweep();
    }
}

/// Memory that is kept for the next use: segments in which pieces are sealed, buffers in which chunks are opened. New
/// memory would have to be cleared and paged in for each use.
#[derive(Debug)]
struct BufferShelf<T>(Mutex<Vec<T>>);

/// About the number of threads of the disks.
const MOST_KEPT: usize = 16;

impl<T> BufferShelf<T> {
    fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn give_back(&self, memory: T) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < MOST_KEPT {
            kept.push(memory);
        }
    }
}

impl<T> Default for BufferShelf<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

#[derive(Debug)]
struct AppFiles {
    app: AppId,
    place: Arc<MergedFiles>,
    files: Arc<SealedStore>,
    roots: Arc<Roots>,
    /// The key of new files. Existing files carry their own.
    key: WrappedKey,
    keys: Keys,
    segments: Arc<BufferShelf<Segment>>,
    buffers: Arc<BufferShelf<OpenBuffer>>,
    fsync: Fsync,
}

fn io_error(error: StoredError) -> io::Error {
    io::Error::other(error)
}

impl AppFiles {
    /// Why a partition does not open: files that are not there, or something worse.
    fn read_error(&self, on: &OnLane, partition: MergedPartition, error: StoredError) -> ReadError {
        if !error.is_missing() {
            return read_error(error);
        }
        // Only the text needs to know which file is missing, so the disk is asked again.
        let is_missing = |kind| self.files.is_missing(on, &self.place, partition, kind);
        let missing = MissingFiles {
            data: is_missing(Kind::Data),
            index: is_missing(Kind::Index),
            meta: is_missing(Kind::Meta),
        };
        ReadError::Missing(missing)
    }

    /// The reason why a partition's key is missing. If no key fits, the wrapped key was most likely changed in its
    /// file.
    fn key_error(&self, partition: MergedPartition, key: WrappedKey, error: &KeyError) -> ReadError {
        let why = error.to_string();
        if error.is_retryable() {
            return ReadError::AwaitsKey { key, why };
        }
        if matches!(error.kind(), KeyErrorKind::WrongContext | KeyErrorKind::NotFound)
            && let Ok(path) = self.place.shown(partition, Kind::Index)
        {
            warn!("{path} is not served: {why}");
        }
        ReadError::Unreadable { why }
    }
}

/// Why what is open cannot be used: whoever waits for the key can use it again.
fn key_error(key: &KeyInUse, error: &KeyError) -> ReadError {
    let why = error.to_string();
    match error.is_retryable() {
        true => ReadError::AwaitsKey { key: key.wrapped(), why },
        false => ReadError::Unreadable { why },
    }
}

/// The reason why a file is not served. A file that was changed is named in the log.
fn read_error(error: StoredError) -> ReadError {
    let why = error.to_string();
    if !error.is_refused() {
        return ReadError::Unreadable { why };
    }
    // The client reads the original blocks, and nobody else would ever report the file.
    warn!("{why}");
    ReadError::Damaged { why }
}

impl AppStore for AppFiles {
    fn key(&self) -> Option<&WrappedKey> {
        Some(&self.key)
    }

    fn create(&self, on: &OnLane, partition: &PartitionId) -> Result<Box<dyn PartitionWriter>, CreateError> {
        let key = self.keys.at_hand(&self.app, Some(&self.key)).map_err(io::Error::other)?;
        let made = self.files.create(on, &self.place, partition.merged, &key.key, &key.wrapped);
        let made = made.map_err(|error| match error {
            StoredError::Finalized { .. } => CreateError::Finalized,
            StoredError::InDoubt { .. } => CreateError::InDoubt { why: error.to_string() },
            error => CreateError::Failed(io_error(error)),
        });
        Ok(Box::new(Writer {
            writer: made?,
            key: Arc::new(KeyInUse::new(&self.app, &self.keys, key)),
            place: Arc::clone(&self.place),
            files: Arc::clone(&self.files),
            segments: Arc::clone(&self.segments),
            buffers: Arc::clone(&self.buffers),
            fsync: self.fsync,
        }))
    }

    fn open(&self, on: &OnLane, partition: &PartitionId) -> Result<Arc<dyn PartitionReader>, ReadError> {
        let id = partition.merged;
        let failed = |error| self.read_error(on, id, error);
        let header = self.files.header(on, &self.place, id).map_err(failed)?;
        let key = self.keys.at_hand(&self.app, Some(&header.key));
        let key = key.map_err(|error| self.key_error(id, header.key.clone(), &error))?;
        let opened = self.files.open(on, &self.place, id, &key.key).map_err(failed)?;
        let key = Arc::new(KeyInUse::new(&self.app, &self.keys, key));
        Ok(Arc::new(Reader::new(opened, key, &self.place, &self.files, &self.buffers)))
    }

    fn delete(&self, on: &OnLane, disk: usize, partition: &PartitionId) -> io::Result<()> {
        self.files.remove_on(on, disk, &self.place, partition.merged).map(|_| ()).map_err(io_error)
    }

    fn delete_all(&self, on: &OnLane, disk: usize, dirs: &MergeDirs) -> io::Result<()> {
        self.files.forget(&self.app);
        let mut failed = Ok(());
        // One directory that fails keeps its files; those in the others go all the same.
        for dir in dirs.on_disk(disk) {
            let app = self.app.clone();
            if let Err(error) = self.roots.purge(on, dir, move |name| is_file_of(&app, name)) {
                failed = Err(io::Error::other(error));
            }
        }
        failed
    }
}

#[derive(Debug)]
struct Writer {
    writer: SealedWriter,
    key: Arc<KeyInUse>,
    place: Arc<MergedFiles>,
    files: Arc<SealedStore>,
    segments: Arc<BufferShelf<Segment>>,
    buffers: Arc<BufferShelf<OpenBuffer>>,
    fsync: Fsync,
}

impl PartitionWriter for Writer {
    fn append(&mut self, on: &OnLane, pieces: &[&[u8]]) -> io::Result<()> {
        self.key.check().map_err(io::Error::other)?;
        let kept = self.segments.take();
        let mut segment = kept.unwrap_or_else(|| Segment::with_capacity(MAX_SEGMENT));
        segment.reset(PIECE);
        let mut room = MAX_PIECE;
        for mut piece in pieces.iter().copied() {
            while !piece.is_empty() {
                let n = segment.put(&piece[..piece.len().min(room)]);
                (piece, room) = (&piece[n..], room - n);
                if room == 0 || n == 0 {
                    self.writer.append(on, &mut segment).map_err(io_error)?;
                    segment.reset(PIECE);
                    room = MAX_PIECE;
                }
            }
        }
        self.writer.append(on, &mut segment).map_err(io_error)?;
        self.segments.give_back(segment);
        Ok(())
    }

    fn abort(&mut self) {
        self.writer.abort();
    }

    fn commit(&mut self) -> io::Result<()> {
        self.key.check().map_err(io::Error::other)?;
        self.writer.commit().map_err(io_error)
    }

    fn close_chunk(&mut self, on: &OnLane, bitmap: &[u8]) -> io::Result<()> {
        self.key.check().map_err(io::Error::other)?;
        self.writer.close_chunk(on, bitmap).map_err(io_error)
    }

    fn is_chunk_full(&self) -> bool {
        self.writer.is_chunk_full()
    }

    fn finalize(self: Box<Self>, on: &OnLane) -> io::Result<u64> {
        self.key.check().map_err(io::Error::other)?;
        Ok(self.writer.finalize(on, self.fsync).map_err(io_error)?.len)
    }

    fn reader(&self, on: &OnLane) -> Result<Arc<dyn PartitionReader>, ReadError> {
        self.key.check().map_err(|error| key_error(&self.key, &error))?;
        let progress = self.writer.progress();
        let key = self.key.key.load();
        let opened = self.files.open_unfinished(on, &self.place, self.writer.id(), &key.key, &progress);
        let opened = opened.map_err(read_error)?;
        Ok(Arc::new(Reader::new(opened, Arc::clone(&self.key), &self.place, &self.files, &self.buffers)))
    }
}

#[derive(Debug)]
struct Reader {
    opened: SealedPartition,
    key: Arc<KeyInUse>,
    place: Arc<MergedFiles>,
    files: Arc<SealedStore>,
    buffers: Arc<BufferShelf<OpenBuffer>>,
    damaged: Arc<DamagedChunks>,
}

impl Reader {
    fn new(
        opened: SealedPartition,
        key: Arc<KeyInUse>,
        place: &Arc<MergedFiles>,
        files: &Arc<SealedStore>,
        buffers: &Arc<BufferShelf<OpenBuffer>>,
    ) -> Self {
        let (place, files, buffers) = (Arc::clone(place), Arc::clone(files), Arc::clone(buffers));
        Self { opened, key, place, files, buffers, damaged: Arc::default() }
    }
}

/// The damaged chunks of a partition, each with the fault.
#[derive(Debug, Default)]
struct DamagedChunks(Mutex<BTreeMap<usize, String>>);

impl DamagedChunks {
    fn of(&self, chunk: usize) -> Option<String> {
        self.chunks().get(&chunk).cloned()
    }

    fn found(&self, chunk: usize, why: &str) {
        self.chunks().entry(chunk).or_insert_with(|| why.to_owned());
    }

    fn chunks(&self) -> MutexGuard<'_, BTreeMap<usize, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PartitionReader for Reader {
    fn chunks(&self) -> usize {
        self.opened.chunks()
    }

    fn offsets(&self) -> Vec<u64> {
        self.opened.offsets()
    }

    fn meta(&self, on: &OnLane) -> Result<Bytes, ReadError> {
        self.key.check().map_err(|error| key_error(&self.key, &error))?;
        self.files.meta(on, &self.place, &self.opened).map_err(read_error)
    }

    fn chunk(&self, on: &OnLane, chunk: usize) -> Result<Option<Box<dyn Pull>>, ReadError> {
        if let Some(why) = self.damaged.of(chunk) {
            return Err(ReadError::Damaged { why });
        }
        self.key.check().map_err(|error| key_error(&self.key, &error))?;
        let (damaged, buffers) = (Arc::clone(&self.damaged), Arc::clone(&self.buffers));
        let key = Arc::clone(&self.key);
        match self.files.chunk(on, &self.place, &self.opened, chunk) {
            Ok(region) => Ok(Some(Box::new(Chunk { region, key, chunk, damaged, buffers, is_lent: false }))),
            Err(StoredError::NoChunk { .. }) => Ok(None),
            Err(error) => Err(read_error(error)),
        }
    }

    fn weight(&self) -> u64 {
        self.opened.memory() as u64
    }
}

/// A chunk that is being sent.
#[derive(Debug)]
struct Chunk {
    region: SealedRegion,
    key: Arc<KeyInUse>,
    chunk: usize,
    damaged: Arc<DamagedChunks>,
    buffers: Arc<BufferShelf<OpenBuffer>>,
    is_lent: bool,
}

impl Chunk {
    /// A chunk that waits for its turn has no memory; it gets some with its first byte.
    fn begin(&mut self) -> Result<&mut SealedRegion, PullError> {
        // Nothing of it goes out after the end of the loan.
        self.key.check().map_err(|error| PullError(error.to_string()))?;
        if !self.is_lent {
            self.is_lent = true;
            self.region.lend(self.buffers.take().unwrap_or_default());
        }
        Ok(&mut self.region)
    }

    fn failed(&self, error: &StoredError) -> PullError {
        let text = error.to_string();
        if error.is_refused() {
            self.damaged.found(self.chunk, &text);
        }
        PullError(text)
    }
}

impl Pull for Chunk {
    fn remaining(&self) -> u64 {
        self.region.remaining()
    }

    fn fill_now(&mut self) -> Result<bool, PullError> {
        let filled = self.begin()?.fill_now().map_err(|error| self.failed(&error))?;
        Ok(filled == FillState::Ready)
    }

    fn fill_blocking(&mut self, on: &OnLane) -> Result<(), PullError> {
        self.begin()?.fill_blocking(on).map_err(|error| self.failed(&error))
    }

    fn lane(&self) -> Lane {
        self.region.lane().clone()
    }

    fn put_now(&mut self, out: &mut [u8]) -> Result<Option<usize>, PullError> {
        self.begin()?.put_now(out).map_err(|error| self.failed(&error))
    }

    fn plain(&self) -> &[u8] {
        self.region.plain()
    }

    fn consume(&mut self, n: usize) {
        self.region.consume(n);
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if self.is_lent {
            self.buffers.give_back(self.region.take_buffer());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use sealed_shuffle_protocol::ids::{ExecutorId, ReduceId, ShuffleId, ShuffleMergeId};
    use sealed_shuffle_protocol::shuffle::{
        Bitmap, CorruptionCause, FinalizeShuffleMerge, PushBlockStream, RemoveShuffleMerge, ReturnCode,
    };
    use sealed_shuffle_protocol::stored::envelope::{Context, DataKey};
    use sealed_shuffle_protocol::stored::sealed::Header;
    use tempfile::TempDir;
    use tokio::runtime::Runtime;

    use super::*;
    use crate::disk::checksum::{Algorithm, Checksum};
    use crate::disk::{BlockStore, DiskLimits, Examination, Proof};
    use crate::keys::envelope::{Answer, KeyCalls, KeyProvider, LocalKeyFile, RingSettings};
    use crate::merge::{MergeError, MergeSettings, Merger, PushRefusal, StoredAttempt};
    use crate::sealed_files::SealedLimits;
    use sealed_shuffle_config::OutagePolicy;

    const APP: &str = "application_1_2";
    const CANARY: &[u8] = b"a canary that nobody may find on the disk";

    struct Disk {
        temp: TempDir,
        keys: TempDir,
        blocks: BlockStore,
        runtime: Runtime,
    }

    impl Disk {
        fn new() -> Self {
            let temp = tempfile::tempdir().unwrap();
            for sub in 0..64 {
                fs::create_dir_all(temp.path().join(format!("d/merge_manager_1/{sub:02x}"))).unwrap();
            }
            let blocks = BlockStore::new(Roots::open([temp.path()]).unwrap(), DiskLimits::default());
            Self { temp, keys: tempfile::tempdir().unwrap(), blocks, runtime: Runtime::new().unwrap() }
        }

        /// Nothing is in memory, as after a restart.
        fn ring(&self) -> EnvelopeKeys {
            self.ring_of(Arc::new(self.key_file()), OutagePolicy::Refuse)
        }

        fn key_file(&self) -> LocalKeyFile {
            LocalKeyFile::for_test(&self.keys.path().join("keys"))
        }

        fn ring_of(&self, provider: Arc<dyn KeyProvider>, outage: OutagePolicy) -> EnvelopeKeys {
            let settings = RingSettings::new(outage, Duration::from_secs(10));
            EnvelopeKeys::new(provider, settings, KeyCalls::default())
        }

        /// Takes up the state from before a restart.
        fn restored(&self, key: Option<WrappedKey>, finalized: &[i32]) -> Arc<Merger> {
            let merger = self.merger();
            let finalized =
                finalized.iter().map(|shuffle| (ShuffleId(*shuffle), ShuffleMergeId(0))).collect();
            let (app, dirs) = (AppId::new(APP), vec![self.dir()]);
            let known = StoredAttempt { app, attempt: 1, dirs, sub_dirs: 64, key, finalized };
            if known.key.is_none() {
                self.runtime.block_on(merger.prepare(&known.app, &self.manager(1))).unwrap();
            }
            merger.restore(&OnLane::here(), known, &self.blocks).unwrap();
            merger
        }

        fn merger(&self) -> Arc<Merger> {
            self.merger_with(self.ring())
        }

        fn merger_with(&self, ring: EnvelopeKeys) -> Arc<Merger> {
            let files = Arc::new(SealedStore::new(Arc::clone(self.blocks.roots()), SealedLimits::default()));
            let (roots, runtime) = (Arc::clone(self.blocks.roots()), self.runtime.handle().clone());
            let store = SealedMerges::new(files, roots, ring, runtime, Fsync::Never);
            let settings = MergeSettings { min_chunk: 100, ..MergeSettings::default() };
            Arc::new(Merger::new(settings, Arc::new(store)))
        }

        fn dir(&self) -> String {
            self.temp.path().canonicalize().unwrap().join("d/merge_manager_1").to_str().unwrap().to_owned()
        }

        fn manager(&self, attempt: i32) -> String {
            format!(r#"x:{{"mergeDir":"merge_manager_{attempt}","attemptId":"{attempt}"}}"#)
        }

        /// The key of the application's only file, or of all of its files.
        fn key(&self) -> Option<WrappedKey> {
            let keys = self.files().into_iter().map(|file| Header::decode(&file).unwrap().0.key);
            keys.reduce(|one, other| {
                assert_eq!(one, other);
                one
            })
        }

        fn register(&self, merger: &Merger, attempt: i32) {
            let local = format!("{}/../blockmgr-1", self.dir());
            let manager = self.manager(attempt);
            self.runtime.block_on(merger.prepare(&AppId::new(APP), &manager)).unwrap();
            let (on, app, executor) = (OnLane::here(), AppId::new(APP), ExecutorId::new("1"));
            self.blocks.register(&on, &app, &executor, &[&local], 64, &manager, Proof::Proven).unwrap();
            merger.register(&on, &app, [local.as_str()], 64, &manager, &self.blocks).unwrap();
        }

        fn files(&self) -> Vec<Vec<u8>> {
            self.paths().iter().map(|path| fs::read(path).unwrap()).collect()
        }

        fn paths(&self) -> Vec<PathBuf> {
            fn walk(dir: &Path, all: &mut Vec<PathBuf>) {
                for entry in fs::read_dir(dir).unwrap() {
                    let path = entry.unwrap().path();
                    match path.is_dir() {
                        true => walk(&path, all),
                        false => all.push(path),
                    }
                }
            }
            let mut all = Vec::new();
            walk(self.temp.path(), &mut all);
            all
        }

        fn assert_no_canary(&self) {
            assert!(self.files().iter().all(|file| !file.windows(10).any(|window| window == &CANARY[..10])));
        }
    }

    fn push(map: i32) -> PushBlockStream {
        PushBlockStream {
            app: AppId::new(APP),
            app_attempt: 1,
            shuffle: ShuffleId(0),
            merge: ShuffleMergeId(0),
            map_index: map,
            reduce: ReduceId(0),
            index: 0,
        }
    }

    fn whole(merger: &Arc<Merger>, map: i32, pieces: &[&[u8]]) -> ReturnCode {
        let mut push = merger.begin(&OnLane::here(), &push(map), 0).unwrap();
        pieces.iter().for_each(|piece| push.data(&OnLane::here(), &[piece]).unwrap());
        push.complete(&OnLane::here()).unwrap().code
    }

    fn partition() -> PartitionId {
        let (shuffle, merge, reduce) = (ShuffleId(0), ShuffleMergeId(0), ReduceId(0));
        PartitionId { app: AppId::new(APP), merged: MergedPartition { shuffle, merge, reduce } }
    }

    /// The key is in memory, as in the server.
    fn read(disk: &Disk, merger: &Merger, chunk: i32) -> Result<Vec<u8>, String> {
        let app = AppId::new(APP);
        disk.runtime.block_on(merger.at_hand(&app));
        let found = match merger.chunk(&OnLane::here(), &partition(), chunk) {
            Err(MergeError::AwaitsKey { key, .. }) => {
                disk.runtime.block_on(merger.fetch_key(&app, &key));
                merger.chunk(&OnLane::here(), &partition(), chunk)
            }
            found => found,
        };
        let mut chunk = found.map_err(|error| error.spark_text())?;
        let mut bytes = Vec::new();
        while chunk.remaining() > 0 {
            if !chunk.fill_now().map_err(|error| error.to_string())? {
                chunk.fill_blocking(&OnLane::here()).map_err(|error| error.to_string())?;
            }
            let n = chunk.plain().len();
            bytes.extend_from_slice(chunk.plain());
            chunk.consume(n);
        }
        Ok(bytes)
    }

    fn finalize() -> FinalizeShuffleMerge {
        let (shuffle, merge) = (ShuffleId(0), ShuffleMergeId(0));
        FinalizeShuffleMerge { app: AppId::new(APP), app_attempt: 1, shuffle, merge }
    }

    #[test]
    fn merged_blocks_are_sealed_at_all_times_and_survive_a_restart() {
        let disk = Disk::new();
        let merger = disk.merger();
        disk.register(&merger, 1);
        let long: Vec<u8> = CANARY.iter().copied().cycle().take(700_000).collect();
        assert_eq!(whole(&merger, 1, &[CANARY]), ReturnCode::Success);
        let mut lost = merger.begin(&OnLane::here(), &push(2), 0).unwrap();
        lost.data(&OnLane::here(), &[CANARY]).unwrap();
        disk.assert_no_canary();
        drop(lost);
        assert_eq!(whole(&merger, 3, &[&long[..300_000], &long[300_000..]]), ReturnCode::Success);
        assert_eq!(whole(&merger, 4, &[]), ReturnCode::Success);
        let first = [CANARY, &long].concat();
        assert!(read(&disk, &merger, 0).unwrap() == first);
        assert_eq!(whole(&merger, 5, &[CANARY]), ReturnCode::Success);
        disk.assert_no_canary();
        let statuses = merger.finalize(&OnLane::here(), &finalize()).unwrap();
        assert_eq!(statuses.sizes, [i64::try_from(first.len() + CANARY.len()).unwrap()]);
        let meta = merger.meta(&OnLane::here(), &partition()).unwrap();
        let maps = Bitmap::decode_all(meta.bitmaps).unwrap();
        assert_eq!(maps, [[1, 3].into_iter().collect(), [4, 5].into_iter().collect()]);
        disk.assert_no_canary();
        assert_eq!(disk.files().len(), 3);
        drop(merger);

        let merger = disk.restored(disk.key(), &[0]);
        assert!(read(&disk, &merger, 0).unwrap() == first);
        assert_eq!(read(&disk, &merger, 1).unwrap(), CANARY);
        assert_eq!(read(&disk, &merger, 2).unwrap_err(), "java.lang.IndexOutOfBoundsException");
        assert_eq!(whole(&merger, 9, &[CANARY]), ReturnCode::TooLateBlockPush);
        disk.register(&merger, 2);
        merger.clean_up(&OnLane::here());
        assert!(disk.files().is_empty());
        assert_eq!(fs::read_dir(disk.dir()).unwrap().count(), 64, "the directories are not the server's");
    }

    #[test]
    fn a_chunk_that_does_not_open_is_an_issue_of_the_disk() {
        let disk = Disk::new();
        let merger = disk.merger();
        disk.register(&merger, 1);
        let long: Vec<u8> = CANARY.iter().copied().cycle().take(700_000).collect();
        assert_eq!(whole(&merger, 1, &[&long]), ReturnCode::Success);
        merger.finalize(&OnLane::here(), &finalize()).unwrap();
        let received = {
            let mut checksum = Checksum::new(Algorithm::Crc32c);
            checksum.update(&long);
            checksum.value()
        };
        let cause = || {
            let chunk = merger.find_chunk(&OnLane::here(), &partition(), 0).unwrap();
            Examination::of_chunk(chunk, !merger.is_plain(), "CRC32C", received).finish(&OnLane::here())
        };
        assert_eq!(cause(), CorruptionCause::ChecksumVerifyPass);
        let data = disk.paths().into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
        let mut bytes = fs::read(&data).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&data, bytes).unwrap();
        assert_eq!(cause(), CorruptionCause::DiskIssue);
    }

    #[test]
    fn after_a_restart_new_files_are_sealed_under_the_key_that_was_remembered() {
        let disk = Disk::new();
        let merger = disk.merger();
        disk.register(&merger, 1);
        assert_eq!(whole(&merger, 1, &[CANARY]), ReturnCode::Success);
        let key = disk.key();
        drop(merger);
        let merger = disk.restored(key.clone(), &[]);
        disk.runtime.block_on(merger.at_hand(&AppId::new(APP)));
        assert_eq!(whole(&merger, 1, &[CANARY]), ReturnCode::Success);
        assert_eq!(disk.key(), key);
    }

    /// A key service that can be away.
    struct KeyService {
        keys: LocalKeyFile,
        fails: Arc<Mutex<Option<KeyErrorKind>>>,
    }

    impl KeyService {
        fn answers(&self) -> Result<(), KeyError> {
            let fails = *self.fails.lock().unwrap();
            fails.map_or(Ok(()), |kind| Err(KeyError::new(kind, "k", "it was told to", "tell it otherwise")))
        }
    }

    impl KeyProvider for KeyService {
        fn generate<'a>(&'a self, context: &'a Context) -> Answer<'a, (DataKey, WrappedKey)> {
            Box::pin(async {
                self.answers()?;
                self.keys.generate(context).await
            })
        }

        fn unwrap<'a>(&'a self, wrapped: &'a WrappedKey, context: &'a Context) -> Answer<'a, DataKey> {
            Box::pin(async {
                self.answers()?;
                self.keys.unwrap(wrapped, context).await
            })
        }

        fn describe(&self) -> String {
            "a key service".into()
        }

        fn name(&self) -> &'static str {
            "test"
        }
    }

    /// What is open of shuffle 0: a chunk on its way, of a finalized partition; a partition with one block.
    #[test]
    fn end_of_a_loan_is_the_end_of_every_open_reader_and_writer() {
        const TTL: Duration = Duration::from_secs(3600);
        for fault in [KeyErrorKind::Unavailable, KeyErrorKind::Denied, KeyErrorKind::Disabled] {
            let disk = Disk::new();
            let fails = Arc::new(Mutex::new(None));
            let service = KeyService { keys: disk.key_file(), fails: Arc::clone(&fails) };
            let ring = disk.ring_of(Arc::new(service), OutagePolicy::UseCached { ttl: TTL });
            let merger = disk.merger_with(ring.clone());
            let app = AppId::new(APP);
            disk.register(&merger, 1);
            let long: Vec<u8> = CANARY.iter().copied().cycle().take(900_000).collect();
            assert_eq!(whole(&merger, 1, &[&long]), ReturnCode::Success);
            let wrapped = disk.key().unwrap();
            let wait_until_it = |answers: bool| {
                disk.runtime.block_on(async {
                    while ring.unwrap(&app, &wrapped).await.is_ok() != answers {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                });
            };
            let mut on_its_way = merger.chunk(&OnLane::here(), &partition(), 0).unwrap();
            pull_once(&mut *on_its_way).unwrap();
            let mut open = merger.begin(&OnLane::here(), &push(2), 0).unwrap();
            open.data(&OnLane::here(), &[CANARY]).unwrap();

            *fails.lock().unwrap() = Some(fault);
            ring.age(TTL / 2);
            if fault == KeyErrorKind::Unavailable {
                assert_eq!(read(&disk, &merger, 0).unwrap(), long, "{fault:?} is no withdrawal");
                ring.age(TTL / 2);
            } else {
                // Whoever uses the key asks about it, and hears that it was withdrawn.
                wait_until_it(false);
            }
            assert!(pull_once(&mut *on_its_way).is_err(), "{fault:?}: a chunk goes on");
            assert!(read(&disk, &merger, 0).is_err(), "{fault:?}: a reader goes on");
            assert!(
                merger.meta(&OnLane::here(), &partition()).is_err(),
                "{fault:?}: a reader of bitmaps goes on"
            );
            assert!(open.data(&OnLane::here(), &[CANARY]).is_err(), "{fault:?}: a push goes on");
            drop(open);
            assert!(
                merger
                    .begin(&OnLane::here(), &push(3), 0)
                    .and_then(|mut push| { push.data(&OnLane::here(), &[CANARY]).map_err(PushRefusal::from) })
                    .is_err(),
                "{fault:?}: a new push is taken"
            );

            // The key service is back, and everything goes on that is still open.
            *fails.lock().unwrap() = None;
            wait_until_it(true);
            assert_eq!(read(&disk, &merger, 0).unwrap(), long, "{fault:?}");
            assert_eq!(whole(&merger, 4, &[CANARY]), ReturnCode::Success, "{fault:?}");

            *fails.lock().unwrap() = Some(KeyErrorKind::Unavailable);
            ring.age(TTL);
            let statuses = merger.finalize(&OnLane::here(), &finalize()).unwrap();
            assert!(statuses.reduces.is_empty(), "{fault:?}: a finalization goes on");
        }
    }

    fn pull_once(chunk: &mut dyn Pull) -> Result<(), PullError> {
        if !chunk.fill_now()? {
            chunk.fill_blocking(&OnLane::here())?;
        }
        chunk.consume(chunk.plain().len());
        Ok(())
    }

    /// Key services also need threads that may wait (the local key file does), and may be slow.
    #[test]
    fn keys_are_had_although_all_threads_of_the_disks_wait_for_them() {
        let mut disk = Disk::new();
        let merger = disk.merger();
        disk.register(&merger, 1);
        assert_eq!(whole(&merger, 1, &[CANARY]), ReturnCode::Success);
        merger.finalize(&OnLane::here(), &finalize()).unwrap();
        drop(merger);
        let key = disk.key();
        for key in [key, None] {
            let few = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .max_blocking_threads(1)
                .enable_all()
                .build()
                .unwrap();
            disk.runtime = few;
            let merger = disk.restored(key.clone(), &[0]);
            disk.runtime.block_on(async {
                let chunk = |merger: &Arc<Merger>| {
                    let merger = Arc::clone(merger);
                    let lane = disk.blocks.roots().disks()[0].lane().clone();
                    async move { lane.run(move |on| merger.chunk(on, &partition(), 0).map(drop)).await }
                };
                let began = Instant::now();
                merger.at_hand(&AppId::new(APP)).await;
                let found = chunk(&merger).await.unwrap();
                if key.is_none() {
                    // The application has another key than its file.
                    let Err(MergeError::AwaitsKey { key, .. }) = found else { panic!("{found:?}") };
                    merger.fetch_key(&AppId::new(APP), &key).await;
                    chunk(&merger).await.unwrap().unwrap();
                } else {
                    found.unwrap();
                }
                assert!(
                    began.elapsed() < Duration::from_secs(10),
                    "nothing ran into the time limit of a call"
                );
            });
        }
    }

    #[test]
    fn what_is_removed_or_was_never_finished_is_not_found() {
        let disk = Disk::new();
        let merger = disk.merger();
        disk.register(&merger, 1);
        assert!(read(&disk, &merger, 0).unwrap_err().contains("Merged shuffle data file"));
        assert!(
            merger
                .meta(&OnLane::here(), &partition())
                .unwrap_err()
                .spark_text()
                .contains("Merged shuffle index file")
        );
        assert_eq!(whole(&merger, 1, &[CANARY; 4]), ReturnCode::Success);
        drop(merger);
        let merger = disk.merger();
        disk.register(&merger, 1);
        // Open merges are forgotten: their files are refused, and the next push begins anew.
        assert!(read(&disk, &merger, 0).unwrap_err().contains("Failed to open merged shuffle index file"));
        assert_eq!(whole(&merger, 2, &[CANARY; 4]), ReturnCode::Success);
        assert_eq!(read(&disk, &merger, 0).unwrap(), CANARY.repeat(4));
        let (shuffle, merge) = (ShuffleId(0), ShuffleMergeId(-1));
        merger.remove(&RemoveShuffleMerge { app: AppId::new(APP), app_attempt: 1, shuffle, merge }).unwrap();
        merger.clean_up(&OnLane::here());
        assert!(disk.files().is_empty());
    }
}
