//! A store over two directories beneath a root, and partitions in it.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use sealed_shuffle_protocol::cipher::Segment;
use sealed_shuffle_protocol::ids::{AppId, MergedPartition, ReduceId, ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::stored::envelope::{Context, DataKey, WrappedKey};
use sealed_shuffle_protocol::stored::sealed::{Kind, MAX_PIECE, MAX_SEGMENT, PIECE};
use sealed_shuffle_transport::lane::OnLane;
use tempfile::TempDir;

use crate::disk::Roots;
use crate::disk::own::Watch;
use crate::sealed_files::{
    FillState, FinalizedFiles, Fsync, MergedFiles, OpenBuffer, SealedLimits, SealedPartition, SealedRegion,
    SealedStore, SealedWriter, StoredError,
};

const SUB_DIRS: i32 = 4;

pub(super) struct Fixture {
    pub(super) root: PathBuf,
    pub(super) store: Arc<SealedStore>,
    pub(super) place: Arc<MergedFiles>,
    pub(super) roots: Arc<Roots>,
    _temp: TempDir,
}

impl Fixture {
    pub(super) fn new() -> Self {
        Self::with(SealedLimits::default())
    }

    pub(super) fn with(limits: SealedLimits) -> Self {
        Self::made(limits, None)
    }

    /// With somebody who watches what is done to files.
    pub(super) fn watched(limits: SealedLimits, watch: Arc<dyn Watch>) -> Self {
        Self::made(limits, Some(watch))
    }

    fn made(limits: SealedLimits, watch: Option<Arc<dyn Watch>>) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().canonicalize().unwrap();
        let roots = Arc::new(Roots::open([&root]).unwrap());
        let store = SealedStore::new(roots.clone(), limits);
        let store = Arc::new(match watch {
            Some(watch) => store.watched_by(watch),
            None => store,
        });
        let place = Arc::new(merged(&root, &roots, "app-1"));
        Self { root, store, place, roots, _temp: temp }
    }

    /// The files of another application in the same root.
    pub(super) fn place_of(&self, app: &str) -> Arc<MergedFiles> {
        Arc::new(merged(&self.root, &self.roots, app))
    }

    pub(super) fn create(&self, reduce: i32) -> SealedWriter {
        self.store.create(&OnLane::here(), &self.place, partition(reduce), &key(), &wrapped()).unwrap()
    }

    /// A partition of these chunks, each of one block.
    pub(super) fn finalized(&self, reduce: i32, chunks: &[&[u8]]) -> FinalizedFiles {
        let mut writer = self.create(reduce);
        for chunk in chunks {
            writer.block(chunk);
            writer.close_chunk(&OnLane::here(), b"bits").unwrap();
        }
        writer.finalize(&OnLane::here(), Fsync::Never).unwrap()
    }

    /// The same in the place of what is there.
    pub(super) fn finalized_anew(&self, reduce: i32, chunks: &[&[u8]]) -> FinalizedFiles {
        self.store.remove(&OnLane::here(), &self.place, partition(reduce)).unwrap();
        self.finalized(reduce, chunks)
    }

    pub(super) fn open(&self, reduce: i32) -> Result<SealedPartition, StoredError> {
        self.store.open(&OnLane::here(), &self.place, partition(reduce), &key())
    }

    pub(super) fn path(&self, reduce: i32, kind: Kind) -> PathBuf {
        PathBuf::from(self.place.shown(partition(reduce), kind).unwrap().as_str())
    }

    pub(super) fn chunk(&self, opened: &SealedPartition, chunk: usize) -> Result<SealedRegion, StoredError> {
        self.store.chunk(&OnLane::here(), &self.place, opened, chunk)
    }

    /// Everything of a partition, the way a reader takes it.
    pub(super) fn read(&self, reduce: i32) -> Result<(Vec<Vec<u8>>, Bytes), StoredError> {
        let opened = self.open(reduce)?;
        let meta = self.store.meta(&OnLane::here(), &self.place, &opened)?;
        let mut buffer = OpenBuffer::default();
        let mut chunks = Vec::new();
        for chunk in 0..opened.chunks() {
            let mut region = self.chunk(&opened, chunk)?;
            region.lend(buffer);
            chunks.push(drain(&mut region)?);
            buffer = region.take_buffer();
        }
        Ok((chunks, meta))
    }

    /// Changes a file in place.
    pub(super) fn edit(&self, reduce: i32, kind: Kind, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.path(reduce, kind);
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
    }
}

/// Short ways of saying things.
pub(super) trait Blocks {
    fn pieces(&mut self, block: &[u8], piece: usize) -> Result<(), StoredError>;
    fn block(&mut self, block: &[u8]);
}

impl Blocks for SealedWriter {
    fn pieces(&mut self, block: &[u8], piece: usize) -> Result<(), StoredError> {
        let mut segment = Segment::with_capacity(MAX_SEGMENT);
        for piece in block.chunks(piece) {
            segment.reset(PIECE);
            segment.put(piece);
            self.append(&OnLane::here(), &mut segment)?;
        }
        Ok(())
    }

    fn block(&mut self, block: &[u8]) {
        self.pieces(block, MAX_PIECE).unwrap();
        self.commit().unwrap();
    }
}

/// All that is left of a chunk: by way of the disk, of the page cache, and where there is room straight from there, in
/// turn.
pub(super) fn drain(region: &mut SealedRegion) -> Result<Vec<u8>, StoredError> {
    let mut plain = Vec::new();
    let mut out = vec![0; MAX_PIECE];
    for n in 0.. {
        let room = [0, 100, 65_000, MAX_PIECE][n % 4];
        if let Some(put) = region.put_now(&mut out[..room])?
            && put > 0
        {
            plain.extend_from_slice(&out[..put]);
            continue;
        }
        if n % 2 == 1 || region.fill_now()? == FillState::WouldBlock {
            region.fill_blocking(&OnLane::here())?;
        }
        let some = region.plain();
        if some.is_empty() {
            break;
        }
        let some = &some[..some.len().div_ceil(2)];
        plain.extend_from_slice(some);
        let n = some.len();
        region.consume(n);
    }
    assert_eq!(region.remaining(), 0);
    Ok(plain)
}

pub(super) fn partition(reduce: i32) -> MergedPartition {
    MergedPartition { shuffle: ShuffleId(0), merge: ShuffleMergeId(2), reduce: ReduceId(reduce) }
}

pub(super) fn key() -> DataKey {
    DataKey::new([0x33; 32])
}

pub(super) fn wrapped() -> WrappedKey {
    WrappedKey { key_id: "test-key".into(), bytes: Bytes::from_static(b"wrapped by nobody") }
}

/// Bytes that do not repeat soon.
pub(super) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 31 + n / 251) as u8).collect()
}

fn merged(root: &std::path::Path, roots: &Roots, app: &str) -> MergedFiles {
    let dirs: Vec<_> = ["disk-1", "disk-2"]
        .iter()
        .map(|disk| {
            let dir = root.join(disk).join(app).join("merge_manager");
            (0..SUB_DIRS).for_each(|sub| fs::create_dir_all(dir.join(format!("{sub:02x}"))).unwrap());
            roots.accept(&OnLane::here(), dir.to_str().unwrap()).unwrap()
        })
        .collect();
    MergedFiles::new(Context::of(AppId::new(app)), 1, dirs, SUB_DIRS)
}
