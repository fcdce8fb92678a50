//! A store of merged partitions in memory, for tests of this project and of embedders.
//!
//! It keeps the content of Spark's files, to the byte and under their names, so that a test can look at them. A test
//! can make its disk fail. Nothing of it survives the process.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes};
use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::stored::envelope::WrappedKey;
use sealed_shuffle_transport::lane::OnLane;
use sealed_shuffle_transport::seal::{Pull, PullError};

use super::dirs::MergeDirs;
use super::names::{PartitionId, is_file_of};
use super::storage::{
    AppStore, CreateError, MissingFiles, PartitionReader, PartitionWriter, ReadError, Store,
};
use crate::disk::LocalDir;

/// Files by path.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    files: BTreeMap<String, Vec<u8>>,
    /// Index files that are finalized, and the attempts that did so.
    finalized: BTreeMap<String, i32>,
    failing: HashSet<Step>,
}

/// A step that a test can make fail.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Step {
    /// Making the files of a partition.
    Create,
    /// Writing a piece of a block.
    Append,
    /// Ending a chunk.
    CloseChunk,
    /// Finishing the files.
    Finalize,
    /// Deleting files on the disk of this number.
    Delete(usize),
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on `step` fails, or works again.
    pub fn fail(&self, step: Step, fails: bool) {
        let mut shared = self.lock();
        match fails {
            true => shared.failing.insert(step),
            false => shared.failing.remove(&step),
        };
    }

    /// The content of the file at `path`; bytes of an aborted block behind its end are not shown.
    pub fn file(&self, path: &str) -> Option<Vec<u8>> {
        self.lock().files.get(path).cloned()
    }

    /// All paths.
    pub fn paths(&self) -> Vec<String> {
        self.lock().files.keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, step: Step) -> io::Result<()> {
        match self.lock().failing.contains(&step) {
            true => Err(io::Error::new(io::ErrorKind::StorageFull, "No space left on device")),
            false => Ok(()),
        }
    }
}

impl Shared {
    fn remove(&mut self, path: &str) {
        self.files.remove(path);
        self.finalized.remove(path);
    }
}

#[derive(Clone, Debug)]
struct Paths {
    data: String,
    index: String,
    meta: String,
}

impl Paths {
    fn of(dirs: &MergeDirs, partition: &PartitionId) -> Option<Self> {
        let path = |name: String| dirs.place(&name).map(|place| place.shown);
        Some(Self {
            data: path(partition.data_name())?,
            index: path(partition.index_name())?,
            meta: path(partition.meta_name())?,
        })
    }
}

impl Store for MemoryStore {
    fn application(
        &self,
        app: &AppId,
        attempt: i32,
        dirs: &Arc<MergeDirs>,
        _: Option<WrappedKey>,
    ) -> Result<Arc<dyn AppStore>, String> {
        let (store, app, dirs) = (self.clone(), app.clone(), Arc::clone(dirs));
        Ok(Arc::new(AppFiles { store, app, attempt, dirs }))
    }

    fn is_plain(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct AppFiles {
    store: MemoryStore,
    app: AppId,
    attempt: i32,
    dirs: Arc<MergeDirs>,
}

impl AppStore for AppFiles {
    fn create(&self, _: &OnLane, partition: &PartitionId) -> Result<Box<dyn PartitionWriter>, CreateError> {
        self.store.check(Step::Create)?;
        let paths =
            Paths::of(&self.dirs, partition).ok_or_else(|| io::Error::other("no merge directories"))?;
        let mut shared = self.store.lock();
        match shared.finalized.get(&paths.index).map(|attempt| attempt.cmp(&self.attempt)) {
            Some(Ordering::Equal) => return Err(CreateError::Finalized),
            Some(Ordering::Greater) => {
                return Err(CreateError::InDoubt { why: "a later attempt made it".to_owned() });
            }
            Some(Ordering::Less) | None => _ = shared.finalized.remove(&paths.index),
        }
        shared.files.insert(paths.data.clone(), Vec::new());
        shared.files.insert(paths.index.clone(), vec![0; OFFSET]);
        shared.files.insert(paths.meta.clone(), Vec::new());
        let store = self.store.clone();
        let attempt = self.attempt;
        Ok(Box::new(Writer { store, paths, attempt, committed: 0, appended: 0, chunk_end: 0 }))
    }

    fn open(&self, _: &OnLane, partition: &PartitionId) -> Result<Arc<dyn PartitionReader>, ReadError> {
        let none = ReadError::Missing(MissingFiles { data: true, index: true, meta: true });
        self.store.reader(&Paths::of(&self.dirs, partition).ok_or(none)?)
    }

    fn delete(&self, _: &OnLane, disk: usize, partition: &PartitionId) -> io::Result<()> {
        self.store.check(Step::Delete(disk))?;
        let names = [partition.data_name(), partition.index_name(), partition.meta_name()];
        let mut shared = self.store.lock();
        for place in names.iter().filter_map(|name| self.dirs.place(name)) {
            if place.dir.disk_number() == disk {
                shared.remove(&place.shown);
            }
        }
        Ok(())
    }

    fn delete_all(&self, _: &OnLane, disk: usize, dirs: &MergeDirs) -> io::Result<()> {
        self.store.check(Step::Delete(disk))?;
        let mut shared = self.store.lock();
        for dir in dirs.on_disk(disk).map(LocalDir::text) {
            let beneath = format!("{dir}/");
            let is_ours = |path: &str| {
                path.starts_with(&beneath)
                    && path.rsplit('/').next().is_some_and(|name| is_file_of(&self.app, name))
            };
            shared.files.retain(|path, _| !is_ours(path));
            shared.finalized.retain(|path, _| !is_ours(path));
        }
        Ok(())
    }
}

/// Bytes of an offset in the index.
const OFFSET: usize = 8;

impl MemoryStore {
    fn reader(&self, paths: &Paths) -> Result<Arc<dyn PartitionReader>, ReadError> {
        let shared = self.lock();
        let [data, index, meta] = [&paths.data, &paths.index, &paths.meta].map(|path| shared.files.get(path));
        let (Some(data), Some(index), Some(meta)) = (data, index, meta) else {
            let (data, index, meta) = (data.is_none(), index.is_none(), meta.is_none());
            return Err(ReadError::Missing(MissingFiles { data, index, meta }));
        };
        let offset = |bytes: &[u8]| bytes.iter().fold(0, |offset, byte| offset << 8 | usize::from(*byte));
        let offsets = index.chunks_exact(OFFSET).map(offset).collect();
        let (data, meta) = (Bytes::copy_from_slice(data), Bytes::copy_from_slice(meta));
        Ok(Arc::new(Reader { offsets, data, meta }))
    }
}

#[derive(Debug)]
struct Writer {
    store: MemoryStore,
    paths: Paths,
    attempt: i32,
    committed: usize,
    appended: usize,
    chunk_end: usize,
}

impl Writer {
    fn with<T>(&self, path: &str, change: impl FnOnce(&mut Vec<u8>) -> T) -> io::Result<T> {
        let mut shared = self.store.lock();
        let file = shared.files.get_mut(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(change(file))
    }
}

impl PartitionWriter for Writer {
    fn append(&mut self, _: &OnLane, pieces: &[&[u8]]) -> io::Result<()> {
        let end = self.committed + self.appended;
        let fails = self.store.check(Step::Append);
        let mut bytes = pieces.concat();
        // A disk that fails may have taken some bytes.
        bytes.truncate(if fails.is_ok() { bytes.len() } else { bytes.len() / 2 });
        self.with(&self.paths.data, |data| {
            data.truncate(end);
            data.extend_from_slice(&bytes);
        })?;
        self.appended += bytes.len();
        fails
    }

    fn abort(&mut self) {
        self.appended = 0;
        let committed = self.committed;
        // If the files were deleted meanwhile, there is nothing to forget.
        drop(self.with(&self.paths.data, |data| data.truncate(committed)));
    }

    fn commit(&mut self) -> io::Result<()> {
        self.committed += std::mem::take(&mut self.appended);
        Ok(())
    }

    fn close_chunk(&mut self, _: &OnLane, bitmap: &[u8]) -> io::Result<()> {
        self.store.check(Step::CloseChunk)?;
        let end = self.committed;
        self.with(&self.paths.index, |index| index.extend_from_slice(&(end as u64).to_be_bytes()))?;
        self.with(&self.paths.meta, |meta| meta.extend_from_slice(bitmap))?;
        self.chunk_end = end;
        Ok(())
    }

    fn finalize(self: Box<Self>, _: &OnLane) -> io::Result<u64> {
        self.store.check(Step::Finalize)?;
        let end = self.chunk_end;
        self.with(&self.paths.data, |data| data.truncate(end))?;
        self.store.lock().finalized.insert(self.paths.index.clone(), self.attempt);
        Ok(end as u64)
    }

    fn reader(&self, _: &OnLane) -> Result<Arc<dyn PartitionReader>, ReadError> {
        self.store.reader(&self.paths)
    }
}

#[derive(Debug)]
struct Reader {
    offsets: Vec<usize>,
    data: Bytes,
    meta: Bytes,
}

impl PartitionReader for Reader {
    fn chunks(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    fn offsets(&self) -> Vec<u64> {
        self.offsets.iter().map(|offset| *offset as u64).collect()
    }

    fn meta(&self, _: &OnLane) -> Result<Bytes, ReadError> {
        Ok(self.meta.clone())
    }

    fn chunk(&self, _: &OnLane, chunk: usize) -> Result<Option<Box<dyn Pull>>, ReadError> {
        let Some(&[start, end]) = self.offsets.get(chunk..chunk.saturating_add(2)) else { return Ok(None) };
        if end > self.data.len() || start > end {
            let why = format!("chunk {chunk} ends at {end} of {}", self.data.len());
            return Err(ReadError::Damaged { why });
        }
        let left = self.data.slice(start..end);
        Ok(Some(Box::new(Chunk { left, ready: 0, has_waited: false })))
    }

    fn weight(&self) -> u64 {
        (self.data.len() + self.meta.len() + self.offsets.len() * OFFSET) as u64
    }
}

/// Gives its bytes in small parts, every other one only to a caller that waits for it, as a disk might.
#[derive(Debug)]
struct Chunk {
    left: Bytes,
    ready: usize,
    has_waited: bool,
}

/// Bytes that one fill has ready.
const AT_ONCE: usize = 5000;

impl Pull for Chunk {
    fn remaining(&self) -> u64 {
        self.left.len() as u64
    }

    fn fill_now(&mut self) -> Result<bool, PullError> {
        if self.ready > 0 || self.left.is_empty() {
            return Ok(true);
        }
        if std::mem::replace(&mut self.has_waited, false) {
            self.ready = self.left.len().min(AT_ONCE);
        }
        Ok(self.ready > 0)
    }

    fn fill_blocking(&mut self, _: &OnLane) -> Result<(), PullError> {
        self.has_waited = true;
        self.ready = self.left.len().min(AT_ONCE);
        Ok(())
    }

    fn plain(&self) -> &[u8] {
        &self.left[..self.ready]
    }

    fn consume(&mut self, n: usize) {
        self.left.advance(n);
        self.ready -= n;
    }
}
