//! Finding and removing partitions. `writer` makes them.

use std::cmp::Ordering;
use std::io::IoSliceMut;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sealed_shuffle_protocol::ids::{AppId, MergedPartition};
use sealed_shuffle_protocol::stored::envelope::DataKey;
use sealed_shuffle_protocol::stored::sealed::{ChunkOpener, Header, Index, Kind, Outline, Progress, Salt};
use sealed_shuffle_transport::lane::OnLane;
use sealed_shuffle_transport::region::{Identity, OpenFile, Region, read_blocking};

use super::error::StoredError;
use super::place::MergedFiles;
use super::region::SealedRegion;
#[cfg(test)]
use crate::disk::own::Watch;
use crate::disk::{OpenError, OwnFile, OwnFiles, Roots};

/// The sealed files of a server.
#[derive(Debug)]
pub struct SealedStore {
    pub(super) files: OwnFiles,
    limits: SealedLimits,
}

/// What bounds the store.
#[derive(Clone, Debug)]
pub struct SealedLimits {
    /// Data files that are kept open for writing, however many partitions are open. Default 1024.
    pub write_handles: usize,
    /// Data files that are kept open for reading. Default 1024.
    pub read_handles: usize,
    /// One that was not read during this time is closed. Default 60 s.
    pub read_idle: Duration,
    /// A larger index or meta file is refused. Default 128 MiB: the chunks of a terabyte, or the bitmaps of a
    /// shuffle of 100,000 map tasks with 10,000 chunks.
    pub max_read_bytes: usize,
}

impl Default for SealedLimits {
    fn default() -> Self {
        Self {
            write_handles: 1024,
            read_handles: 1024,
            read_idle: Duration::from_secs(60),
            max_read_bytes: 128 << 20,
        }
    }
}

impl SealedStore {
    /// A store beneath `roots`.
    pub fn new(roots: impl Into<Arc<Roots>>, limits: SealedLimits) -> Self {
        let SealedLimits { write_handles, read_handles, read_idle, .. } = limits;
        Self { files: OwnFiles::new(roots.into(), write_handles, read_handles, read_idle), limits }
    }

    /// The same, watched.
    #[cfg(test)]
    pub(crate) fn watched_by(self, watch: Arc<dyn Watch>) -> Self {
        Self { files: self.files.watched_by(watch), ..self }
    }

    /// The header of a partition's index file, which holds the wrapped key: what a key service needs after a restart.
    pub fn header(
        &self,
        on: &OnLane,
        place: &MergedFiles,
        partition: MergedPartition,
    ) -> Result<Header, StoredError> {
        let file = place.file(partition, Kind::Index)?;
        let (front, _) = self.files.read_front(on, &file, Header::MAX_LEN)?;
        let header = Header::decode(&front).and_then(|(header, _)| {
            header.expect(Kind::Index, partition, place.attempt(), place.context())?;
            Ok(header)
        });
        header.map_err(|source| StoredError::Refused { path: file.shown(), source })
    }

    /// Opens a finalized partition: verifies its index, and the fronts and lengths of its two other files.
    pub fn open(
        &self,
        on: &OnLane,
        place: &MergedFiles,
        partition: MergedPartition,
        key: &DataKey,
    ) -> Result<SealedPartition, StoredError> {
        self.open_index(on, place, partition, key, None)
    }

    /// Opens a partition that is still being merged, as far as its writer was ([`SealedWriter::progress`](super::SealedWriter::progress)).
    pub fn open_unfinished(
        &self,
        on: &OnLane,
        place: &MergedFiles,
        partition: MergedPartition,
        key: &DataKey,
        progress: &Progress,
    ) -> Result<SealedPartition, StoredError> {
        self.open_index(on, place, partition, key, Some(progress))
    }

    fn open_index(
        &self,
        on: &OnLane,
        place: &MergedFiles,
        partition: MergedPartition,
        key: &DataKey,
        progress: Option<&Progress>,
    ) -> Result<SealedPartition, StoredError> {
        let mut bytes = self.read(on, place, partition, Kind::Index)?;
        let index = Index::open(&mut bytes, partition, place.attempt(), place.context(), key, progress);
        let index = index.map_err(|source| {
            place.failed(partition, Kind::Index, |path| StoredError::Refused { path, source })
        })?;
        let mut opened = SealedPartition { partition, index: Arc::new(index), checked: None };
        opened.checked = Some(*self.open_data(on, place, &opened)?.identity());
        let meta = place.file(partition, Kind::Meta)?;
        let (front, size) = self.files.read_front(on, &meta, opened.index.header_len())?;
        let checked = opened.index.check(Kind::Meta, &front, size);
        checked.map_err(|source| StoredError::Refused { path: meta.shown(), source })?;
        Ok(opened)
    }

    /// All bitmaps, one behind the other: the body of a MergedBlockMetaSuccess.
    pub fn meta(
        &self,
        on: &OnLane,
        place: &MergedFiles,
        opened: &SealedPartition,
    ) -> Result<Bytes, StoredError> {
        let mut bytes = self.read(on, place, opened.partition, Kind::Meta)?;
        let meta = opened.index.open_meta(&mut bytes);
        meta.map_err(|source| {
            place.failed(opened.partition, Kind::Meta, |path| StoredError::Refused { path, source })
        })
    }

    /// One chunk, to be read and opened as it is pulled.
    pub fn chunk(
        &self,
        on: &OnLane,
        place: &MergedFiles,
        opened: &SealedPartition,
        chunk: usize,
    ) -> Result<SealedRegion, StoredError> {
        let Some(opener) = ChunkOpener::new(opened.index.clone(), chunk) else {
            let path = place.shown(opened.partition, Kind::Index)?;
            return Err(StoredError::NoChunk { path, chunk, chunks: opened.chunks() });
        };
        Ok(SealedRegion::new(opener, self.open_data(on, place, opened)?))
    }

    /// Whether files of a partition may be made: those that are there, if any, were not finalized, or an earlier attempt
    /// made them. Whatever does not show that it was not finalized is left alone, since somebody may have been told that
    /// it was.
    pub(super) fn may_be_made(
        &self,
        on: &OnLane,
        place: &MergedFiles,
        partition: MergedPartition,
    ) -> Result<(), StoredError> {
        let file = place.file(partition, Kind::Index)?;
        let doubt = |path, why: String| StoredError::InDoubt { path, why };
        let bytes = match self.read(on, place, partition, Kind::Index) {
            Ok(bytes) => bytes,
            Err(error) if error.is_missing() => {
                // A writer makes the index first and removes it last, so that the others are never there alone.
                for kind in [Kind::Meta, Kind::Data] {
                    let other = place.file(partition, kind)?;
                    if self.files.is_there(on, &other)? {
                        return Err(doubt(other.shown(), "its index file is missing".to_owned()));
                    }
                }
                return Ok(());
            }
            Err(StoredError::Open(error)) if !matches!(error, OpenError::NotRegular { .. }) => {
                return Err(error.into());
            }
            Err(error) => return Err(doubt(file.shown(), error.to_string())),
        };
        let outline = Outline::of(&bytes).map_err(|error| doubt(file.shown(), error.to_string()))?;
        let (header, is_final) = match outline {
            Outline::Begun => return Ok(()),
            Outline::Open(header) => (header, false),
            Outline::Committed(header) => (header, true),
        };
        let attempt = header.attempt.unwrap_or_else(|| place.attempt());
        let expected = header.expect(Kind::Index, partition, attempt, place.context());
        expected.map_err(|error| doubt(file.shown(), error.to_string()))?;
        match attempt.cmp(&place.attempt()) {
            Ordering::Less => Ok(()),
            Ordering::Equal if is_final => Err(StoredError::Finalized { path: file.shown() }),
            Ordering::Equal => Ok(()),
            Ordering::Greater => Err(doubt(file.shown(), format!("a later attempt ({attempt}) made it"))),
        }
    }

    /// Removes the files of a partition; whether there were any.
    pub fn remove(
        &self,
        on: &OnLane,
        place: &MergedFiles,
        partition: MergedPartition,
    ) -> Result<bool, StoredError> {
        self.remove_where(on, place, partition, |_| true)
    }

    /// Removes those files of a partition that lie on one disk; whether there were any.
    pub fn remove_on(
        &self,
        on: &OnLane,
        disk: usize,
        place: &MergedFiles,
        partition: MergedPartition,
    ) -> Result<bool, StoredError> {
        self.remove_where(on, place, partition, |file| file.disk_number() == disk)
    }

    fn remove_where(
        &self,
        on: &OnLane,
        place: &MergedFiles,
        partition: MergedPartition,
        is_meant: impl Fn(&OwnFile<'_>) -> bool,
    ) -> Result<bool, StoredError> {
        let mut found = false;
        // The index last: as long as it is there, it says what the others are.
        for kind in [Kind::Data, Kind::Meta, Kind::Index] {
            let file = place.file(partition, kind)?;
            if is_meant(&file) {
                found |= self.files.remove(on, &file)?;
            }
        }
        Ok(found)
    }

    /// Whether a file of a partition is not there.
    pub fn is_missing(
        &self,
        on: &OnLane,
        place: &MergedFiles,
        partition: MergedPartition,
        kind: Kind,
    ) -> bool {
        place.file(partition, kind).is_ok_and(|file| matches!(self.files.is_there(on, &file), Ok(false)))
    }

    /// Closes files of one disk that were read and are idle or deleted; how many. Call it every few seconds.
    pub fn close_files(&self, on: &OnLane, disk: usize, now: Instant) -> usize {
        self.files.close_files(on, disk, now)
    }

    /// Closes what is open for reading of an application.
    pub fn forget(&self, app: &AppId) {
        self.files.forget(app);
    }

    /// Descriptors that are open for writing and for reading.
    pub fn handles(&self) -> (usize, u64) {
        (self.files.write_handles(), self.files.open_now())
    }

    /// The data file, checked against the index.
    fn open_data(
        &self,
        on: &OnLane,
        place: &MergedFiles,
        opened: &SealedPartition,
    ) -> Result<Arc<OpenFile>, StoredError> {
        let file = place.file(opened.partition, Kind::Data)?;
        let open = self.files.open(on, &file, &place.context().app)?;
        if opened.checked == Some(*open.identity()) {
            return Ok(open);
        }
        let mut front = vec![0; opened.index.header_len()];
        let size = open.identity().size();
        let mut filled = 0;
        let region = Region::new(open.clone(), 0, size.min(front.len() as u64));
        while (filled as u64) < region.len() {
            filled +=
                read_blocking(on, &region, filled as u64, &mut [IoSliceMut::new(&mut front[filled..])])?;
        }
        let checked = opened.index.check(Kind::Data, &front[..filled], size);
        checked.map_err(|source| StoredError::Refused { path: file.shown(), source })?;
        Ok(open)
    }

    fn read(
        &self,
        on: &OnLane,
        place: &MergedFiles,
        partition: MergedPartition,
        kind: Kind,
    ) -> Result<Vec<u8>, StoredError> {
        let file = place.file(partition, kind)?;
        let limit = self.limits.max_read_bytes;
        let (bytes, size) = self.files.read_front(on, &file, limit)?;
        match size > limit as u64 {
            true => Err(StoredError::TooLarge { path: file.shown(), limit }),
            false => Ok(bytes),
        }
    }
}

/// A partition whose index was verified. Holds no file; worth keeping in a cache, by [`SealedPartition::memory`].
#[derive(Clone, Debug)]
pub struct SealedPartition {
    partition: MergedPartition,
    index: Arc<Index>,
    /// The data file whose header and length were checked.
    checked: Option<Identity>,
}

impl SealedPartition {
    /// Which partition.
    pub fn id(&self) -> MergedPartition {
        self.partition
    }

    /// How many chunks it has.
    pub fn chunks(&self) -> usize {
        self.index.chunks().len()
    }

    /// Where the plaintext of each chunk begins, and the end of the last.
    pub fn offsets(&self) -> Vec<u64> {
        let ends = self.index.chunks().iter().map(|chunk| chunk.plain().end);
        std::iter::once(0).chain(ends).collect()
    }

    /// Plaintext of all chunks.
    pub fn len(&self) -> u64 {
        self.index.plain_len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is finalized. One that is not has more chunks as soon as its writer has closed them.
    pub fn is_final(&self) -> bool {
        self.index.is_final()
    }

    /// Which opening of the partition it is: compare with [`FinalizedFiles::salt`](super::FinalizedFiles), where that was kept,
    /// and a set of older files that was put back as a whole is found out.
    pub fn salt(&self) -> Salt {
        self.index.salt()
    }

    /// Bytes that it takes in memory, about.
    pub fn memory(&self) -> usize {
        size_of::<Self>() + self.index.memory()
    }
}
