//! A store of merged partitions in memory: for tests, of ours and of who embeds the server.
//!
//! It keeps what Spark's files would hold, to the byte, under the names that they would have, so that a test can look
//! at them; and its disk can be told to fail. Nothing of it survives the process.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use roaring::RoaringBitmap;
use sealed_shuffle_protocol::ids::AppId;

use super::dirs::MergeDirs;
use super::names::PartitionId;
use super::store::{ChunkRead, Missing, PartitionReader, PartitionWriter, ReadError, Store};

/// Files by path.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    files: BTreeMap<String, Vec<u8>>,
    failing: HashSet<Step>,
    removed_dirs: Vec<String>,
}

/// A step that can be told to fail.
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

    /// What the file at `path` holds; bytes of an aborted block behind its end are not shown.
    pub fn file(&self, path: &str) -> Option<Vec<u8>> {
        self.lock().files.get(path).cloned()
    }

    /// All paths.
    pub fn paths(&self) -> Vec<String> {
        self.lock().files.keys().cloned().collect()
    }

    /// Directories that were removed.
    pub fn removed_dirs(&self) -> Vec<String> {
        self.lock().removed_dirs.clone()
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
    fn create(&self, dirs: &MergeDirs, partition: &PartitionId) -> io::Result<Box<dyn PartitionWriter>> {
        self.check(Step::Create)?;
        let paths = Paths::of(dirs, partition).ok_or_else(|| io::Error::other("no merge directories"))?;
        let mut shared = self.lock();
        shared.files.insert(paths.data.clone(), Vec::new());
        shared.files.insert(paths.index.clone(), vec![0; OFFSET]);
        shared.files.insert(paths.meta.clone(), Vec::new());
        let writer = Writer { store: self.clone(), paths, committed: 0, appended: 0, chunk_end: 0 };
        Ok(Box::new(writer))
    }

    fn open(&self, dirs: &MergeDirs, partition: &PartitionId) -> Result<Arc<dyn PartitionReader>, ReadError> {
        let none = ReadError::Missing(Missing { data: true, index: true, meta: true });
        self.reader(&Paths::of(dirs, partition).ok_or(none)?)
    }

    fn delete(&self, dirs: &MergeDirs, partition: &PartitionId) -> io::Result<()> {
        let Some(Paths { data, index, meta }) = Paths::of(dirs, partition) else { return Ok(()) };
        let mut shared = self.lock();
        for path in [data, index, meta] {
            shared.files.remove(&path);
        }
        Ok(())
    }

    fn delete_all(&self, dirs: &MergeDirs, app: &AppId) -> io::Result<()> {
        let mut shared = self.lock();
        let stem = format!("shuffleMerged_{}_", app.as_str());
        for dir in dirs.texts() {
            let beneath = format!("{dir}/");
            let is_ours = |path: &str| {
                path.starts_with(&beneath)
                    && path.rsplit('/').next().is_some_and(|name| name.starts_with(&stem))
            };
            shared.files.retain(|path, _| !is_ours(path));
            shared.removed_dirs.push(dir.to_owned());
        }
        Ok(())
    }

    fn is_plain(&self) -> bool {
        true
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
            return Err(ReadError::Missing(Missing { data, index, meta }));
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
    fn append(&mut self, piece: &[u8]) -> io::Result<()> {
        let end = self.committed + self.appended;
        let fails = self.store.check(Step::Append);
        // A disk that fails may have taken some.
        let taken = if fails.is_ok() { piece.len() } else { piece.len() / 2 };
        self.with(&self.paths.data, |data| {
            data.truncate(end);
            data.extend_from_slice(&piece[..taken]);
        })?;
        self.appended += taken;
        fails
    }

    fn abort(&mut self) {
        self.appended = 0;
        let committed = self.committed;
        // Deleted meanwhile, it has nothing to be forgotten.
        drop(self.with(&self.paths.data, |data| data.truncate(committed)));
    }

    fn commit(&mut self) {
        self.committed += std::mem::take(&mut self.appended);
    }

    fn close_chunk(&mut self, maps: &RoaringBitmap) -> io::Result<()> {
        self.store.check(Step::CloseChunk)?;
        let end = self.committed + self.appended;
        let mut bitmap = Vec::new();
        maps.serialize_into(&mut bitmap)?;
        self.with(&self.paths.index, |index| index.extend_from_slice(&(end as u64).to_be_bytes()))?;
        self.with(&self.paths.meta, |meta| meta.extend_from_slice(&bitmap))?;
        self.chunk_end = end;
        Ok(())
    }

    fn finalize(self: Box<Self>) -> io::Result<u64> {
        self.store.check(Step::Finalize)?;
        let end = self.chunk_end;
        self.with(&self.paths.data, |data| data.truncate(end))?;
        Ok(end as u64)
    }

    fn reader(&self) -> Result<Arc<dyn PartitionReader>, ReadError> {
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

    fn meta(&self) -> Result<Bytes, ReadError> {
        Ok(self.meta.clone())
    }

    fn chunk(self: Arc<Self>, chunk: usize) -> Result<Option<Box<dyn ChunkRead>>, ReadError> {
        let Some(&[start, end]) = self.offsets.get(chunk..chunk.saturating_add(2)) else { return Ok(None) };
        if end > self.data.len() || start > end {
            let why = format!("chunk {chunk} ends at {end} of {}", self.data.len());
            return Err(ReadError::Damaged { path: "memory".into(), why });
        }
        let bytes = self.data.slice(start..end);
        Ok(Some(Box::new(Chunk { len: bytes.len() as u64, left: BytesMut::from(bytes) })))
    }

    fn weight(&self) -> u64 {
        (self.data.len() + self.meta.len() + self.offsets.len() * OFFSET) as u64
    }
}

#[derive(Debug)]
struct Chunk {
    len: u64,
    left: BytesMut,
}

impl ChunkRead for Chunk {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&mut self, into: &mut [u8]) -> Result<usize, ReadError> {
        let n = into.len().min(self.left.len());
        into[..n].copy_from_slice(&self.left.split_to(n));
        Ok(n)
    }
}
