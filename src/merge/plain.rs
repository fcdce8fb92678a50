//! Merged partitions in Spark's own form (`plain_form`), for volumes that are encrypted below us:
//! executors of the same host open these files by themselves, as they do beside Spark's own service.
//!
//! One thing differs from Spark: the index bears its name only once the partition is finalized, and is written whole
//! then. Executors read after the driver has told them, which comes later. So an index that is there says that its
//! partition is finalized, after any restart, and such a partition is never made anew.
//!
//! Origin: `RemoteBlockPushResolver` (layout, names, places) and `MergedBlockMeta`, Spark 4.3.0.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::stored::envelope::WrappedKey;
use sealed_shuffle_protocol::stored::sealed::Kind;
use sealed_shuffle_transport::lane::OnLane;
use sealed_shuffle_transport::region::Region;
use sealed_shuffle_transport::seal::{Pull, PullError};

use super::dirs::MergeDirs;
use super::names::{PartitionId, is_file_of};
use super::plain_form::{OFFSET, index_of, offsets};
use super::storage::{
    AppStore, CreateError, MissingFiles, PartitionReader, PartitionWriter, ReadError, Store,
};
use crate::disk::own::{OwnFile, OwnFiles, Readers, WriteError, WriteId};
use crate::disk::{OpenError, Roots};

/// Longest index that is read: a million chunks.
const MOST_INDEX: usize = OFFSET << 20;

/// Longest meta file that is read: what fits into an answer that Spark takes.
const MOST_META: usize = 64 << 20;

/// For a descriptor that nobody used.
const IDLE: Duration = Duration::from_secs(60);

/// Merged partitions in plain files beneath the roots.
#[derive(Debug)]
pub struct PlainMerges {
    files: Arc<OwnFiles>,
    roots: Arc<Roots>,
    /// Whether finalizing waits for the disk.
    fsync: bool,
}

impl PlainMerges {
    /// Keeps at most `handles` files open for writing, and as many for reading.
    pub fn new(roots: Arc<Roots>, handles: usize, fsync: bool) -> Self {
        let files = OwnFiles::new(Arc::clone(&roots), handles, handles, IDLE).read_by(Readers::Everybody);
        Self { files: Arc::new(files), roots, fsync }
    }
}

impl Store for PlainMerges {
    fn application(
        &self,
        app: &AppId,
        _attempt: i32,
        dirs: &Arc<MergeDirs>,
        _: Option<WrappedKey>,
    ) -> Result<Arc<dyn AppStore>, String> {
        let place =
            Arc::new(Place { app: app.clone(), dirs: Arc::clone(dirs), files: Arc::clone(&self.files) });
        Ok(Arc::new(AppFiles { place, roots: Arc::clone(&self.roots), fsync: self.fsync }))
    }

    fn is_plain(&self) -> bool {
        true
    }

    fn forget(&self, app: &AppId) {
        self.files.forget(app);
    }

    fn close_files(&self, on: &OnLane, disk: usize, now: Instant) {
        self.files.close_files(on, disk, now);
    }
}

/// Where the files of an attempt lie.
#[derive(Debug)]
struct Place {
    app: AppId,
    dirs: Arc<MergeDirs>,
    files: Arc<OwnFiles>,
}

impl Place {
    fn file(&self, partition: &PartitionId, kind: Kind) -> io::Result<OwnFile<'_>> {
        let name = kind.file_name(&self.app, partition.merged);
        let file = OwnFile::place(self.dirs.dirs(), self.dirs.sub_dirs(), name);
        file.ok_or_else(|| io::Error::other(format!("{partition} has no merge directories")))
    }

    fn to_read(&self, partition: &PartitionId, kind: Kind) -> Result<OwnFile<'_>, ReadError> {
        self.file(partition, kind)
            .map_err(|_| ReadError::Missing(MissingFiles { data: true, index: true, meta: true }))
    }
}

#[derive(Debug)]
struct AppFiles {
    place: Arc<Place>,
    roots: Arc<Roots>,
    fsync: bool,
}

impl AppStore for AppFiles {
    fn create(&self, on: &OnLane, partition: &PartitionId) -> Result<Box<dyn PartitionWriter>, CreateError> {
        let Place { files, .. } = &*self.place;
        if files.is_there(on, &self.place.file(partition, Kind::Index)?).map_err(io::Error::other)? {
            return Err(CreateError::Finalized);
        }
        let make = |kind| {
            let file = self.place.file(partition, kind)?;
            files.create(on, &file, &[], true).map_err(write_error)
        };
        Ok(Box::new(Writer {
            meta: make(Kind::Meta)?,
            data: make(Kind::Data)?,
            place: Arc::clone(&self.place),
            partition: partition.clone(),
            fsync: self.fsync,
            offsets: vec![0],
            meta_len: 0,
            committed: 0,
            appended: 0,
            is_failed: false,
        }))
    }

    fn open(&self, on: &OnLane, partition: &PartitionId) -> Result<Arc<dyn PartitionReader>, ReadError> {
        let Place { files, .. } = &*self.place;
        let is_missing = |kind| {
            let file = self.place.to_read(partition, kind)?;
            files.is_there(on, &file).map(|there| !there).map_err(|error| unreadable(&error))
        };
        let missing = MissingFiles {
            data: is_missing(Kind::Data)?,
            index: is_missing(Kind::Index)?,
            meta: is_missing(Kind::Meta)?,
        };
        if missing != MissingFiles::default() {
            return Err(ReadError::Missing(missing));
        }
        let index = self.place.to_read(partition, Kind::Index)?;
        let (bytes, len) = files.read_front(on, &index, MOST_INDEX).map_err(|error| unreadable(&error))?;
        let damaged = |why: &str| ReadError::Damaged { why: format!("{}: {why}", index.shown()) };
        if bytes.len() as u64 != len {
            return Err(damaged("it has more chunks than are read"));
        }
        let offsets = offsets(&bytes).ok_or_else(|| damaged("its offsets are none"))?;
        let reader = Reader { place: Arc::clone(&self.place), partition: partition.clone(), offsets };
        let (end, data) = (reader.end(), reader.data_len(on)?);
        match data >= end {
            true => Ok(Arc::new(reader)),
            false => Err(damaged(&format!("its last chunk ends at {end}, and the data at {data}"))),
        }
    }

    fn delete(&self, on: &OnLane, disk: usize, partition: &PartitionId) -> io::Result<()> {
        // The index last: without the others it is nothing, and the others without it are not finalized.
        for kind in [Kind::Data, Kind::Meta, Kind::Index] {
            let Ok(file) = self.place.file(partition, kind) else { return Ok(()) };
            if file.disk_number() == disk {
                self.place.files.remove(on, &file).map_err(io::Error::other)?;
            }
        }
        Ok(())
    }

    fn delete_all(&self, on: &OnLane, disk: usize, dirs: &MergeDirs) -> io::Result<()> {
        self.place.files.forget(&self.place.app);
        let mut failed = Ok(());
        for dir in dirs.on_disk(disk) {
            let app = self.place.app.clone();
            if let Err(error) = self.roots.purge(on, dir, move |name| is_file_of(&app, name)) {
                failed = Err(io::Error::other(error));
            }
        }
        failed
    }
}

fn write_error(error: WriteError) -> io::Error {
    match error {
        // The kind says whether the disk is full, which peers are told in Spark's words.
        WriteError::Io { errno, .. } => io::Error::new(io::Error::from(errno).kind(), error.to_string()),
        error => io::Error::other(error),
    }
}

fn unreadable(error: &OpenError) -> ReadError {
    ReadError::Unreadable { why: error.to_string() }
}

#[derive(Debug)]
struct Writer {
    place: Arc<Place>,
    partition: PartitionId,
    data: WriteId,
    meta: WriteId,
    fsync: bool,
    /// Where each chunk begins, and the end of the last.
    offsets: Vec<u64>,
    meta_len: u64,
    /// Bytes of committed blocks.
    committed: u64,
    /// Bytes behind them of the block that is being written.
    appended: u64,
    is_failed: bool,
}

impl PartitionWriter for Writer {
    fn append(&mut self, on: &OnLane, pieces: &[&[u8]]) -> io::Result<()> {
        let file = self.place.file(&self.partition, Kind::Data)?;
        for piece in pieces {
            let position = self.committed + self.appended;
            let written = self.place.files.write_at(on, &file, self.data, piece, position, true);
            if let Err(error) = written {
                self.is_failed = true;
                return Err(write_error(error));
            }
            self.appended += piece.len() as u64;
        }
        Ok(())
    }

    fn abort(&mut self) {
        (self.appended, self.is_failed) = (0, false);
    }

    fn commit(&mut self) -> io::Result<()> {
        if self.is_failed {
            return Err(io::Error::other("a piece of the block was not written"));
        }
        self.committed += std::mem::take(&mut self.appended);
        Ok(())
    }

    fn close_chunk(&mut self, on: &OnLane, bitmap: &[u8]) -> io::Result<()> {
        let file = self.place.file(&self.partition, Kind::Meta)?;
        let written = self.place.files.write_at(on, &file, self.meta, bitmap, self.meta_len, true);
        written.map_err(write_error)?;
        self.meta_len += bitmap.len() as u64;
        self.offsets.push(self.committed);
        Ok(())
    }

    fn finalize(self: Box<Self>, on: &OnLane) -> io::Result<u64> {
        let Place { files, .. } = &*self.place;
        let end = self.offsets.last().copied().unwrap_or(0);
        for (kind, writing, len) in [(Kind::Data, self.data, end), (Kind::Meta, self.meta, self.meta_len)] {
            let file = self.place.file(&self.partition, kind)?;
            files.cut(on, &file, writing, len, self.fsync).map_err(write_error)?;
            files.written(writing);
        }
        let bytes = index_of(&self.offsets);
        let file = self.place.file(&self.partition, Kind::Index)?;
        let written = files.create(on, &file, &bytes, false).map_err(write_error)?;
        if self.fsync {
            files.cut(on, &file, written, bytes.len() as u64, true).map_err(write_error)?;
            for kind in [Kind::Data, Kind::Meta, Kind::Index] {
                files.sync_dir(on, &self.place.file(&self.partition, kind)?).map_err(write_error)?;
            }
        }
        Ok(end)
    }

    fn reader(&self, _: &OnLane) -> Result<Arc<dyn PartitionReader>, ReadError> {
        let (place, partition) = (Arc::clone(&self.place), self.partition.clone());
        Ok(Arc::new(Reader { place, partition, offsets: self.offsets.clone() }))
    }
}

#[derive(Debug)]
struct Reader {
    place: Arc<Place>,
    partition: PartitionId,
    offsets: Vec<u64>,
}

impl Reader {
    fn end(&self) -> u64 {
        self.offsets.last().copied().unwrap_or(0)
    }

    fn data_len(&self, on: &OnLane) -> Result<u64, ReadError> {
        let file = self.place.to_read(&self.partition, Kind::Data)?;
        let opened = self.place.files.open(on, &file, &self.place.app).map_err(|error| read_error(&error))?;
        Ok(opened.identity().size())
    }
}

/// A file that is gone by now is missing; which ones, the next opening tells.
fn read_error(error: &OpenError) -> ReadError {
    match error {
        OpenError::Missing { .. } => {
            ReadError::Missing(MissingFiles { data: true, ..MissingFiles::default() })
        }
        other => unreadable(other),
    }
}

impl PartitionReader for Reader {
    fn chunks(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    fn offsets(&self) -> Vec<u64> {
        self.offsets.clone()
    }

    fn meta(&self, on: &OnLane) -> Result<Bytes, ReadError> {
        let file = self.place.to_read(&self.partition, Kind::Meta)?;
        let read = self.place.files.read_front(on, &file, MOST_META).map_err(|error| unreadable(&error));
        let (bytes, len) = read?;
        match bytes.len() as u64 == len {
            true => Ok(bytes.into()),
            false => Err(ReadError::Damaged { why: format!("{} is too long", file.shown()) }),
        }
    }

    fn chunk(&self, on: &OnLane, chunk: usize) -> Result<Option<Box<dyn Pull>>, ReadError> {
        let Some(&[start, end]) = self.offsets.get(chunk..chunk.saturating_add(2)) else { return Ok(None) };
        let file = self.place.to_read(&self.partition, Kind::Data)?;
        let opened = self.place.files.open(on, &file, &self.place.app).map_err(|error| read_error(&error))?;
        if opened.identity().size() < end {
            let why = format!("{} was cut: chunk {chunk} ends at {end}", file.shown());
            return Err(ReadError::Damaged { why });
        }
        Ok(Some(Box::new(Chunk(Region::new(opened, start, end - start)))))
    }

    fn weight(&self) -> u64 {
        (self.offsets.len() * OFFSET) as u64
    }
}

/// A chunk is a region of a file like any other block: nothing has to be pulled.
#[derive(Debug)]
struct Chunk(Region);

impl Pull for Chunk {
    fn remaining(&self) -> u64 {
        self.0.len()
    }

    fn region(&self) -> Option<Region> {
        Some(self.0.clone())
    }

    fn fill_now(&mut self) -> Result<bool, PullError> {
        Ok(true)
    }

    fn fill_blocking(&mut self, _: &OnLane) -> Result<(), PullError> {
        Ok(())
    }

    fn plain(&self) -> &[u8] {
        &[]
    }

    fn consume(&mut self, _: usize) {}
}
