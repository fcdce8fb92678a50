//! What sealing at rest costs: a piece of a pushed block sealed where it lies, and opened where it lies.
//!
//! `cargo bench --bench sealed`. `piece` is the cipher with its key set up for each piece, as the server does; `file` adds
//! the write to a file in the page cache, or the read from it. The floor below `file` is the same write and read of a
//! plain file.

use std::fs;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sealed_shuffle::internals::disk::Roots;
use sealed_shuffle::internals::sealed_files::{
    Fsync, MergedFiles, OpenBuffer, SealedLimits, SealedStore, SealedWriter,
};
use sealed_shuffle_protocol::cipher::Segment;
use sealed_shuffle_protocol::ids::{AppId, MergedPartition, ReduceId, ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::stored::envelope::{Context, DataKey, WrappedKey};
use sealed_shuffle_protocol::stored::sealed::{
    ChunkOpener, Index, MAX_SEGMENT, OVERHEAD, PIECE, PartitionSealer, Salt,
};
use sealed_shuffle_transport::lane::OnLane;
use tempfile::TempDir;

const SIZES: [usize; 3] = [3 << 10, 32 << 10, 128 << 10];
/// Bytes of a chunk, as Spark merges by default.
const CHUNK: usize = 2 << 20;

fn piece(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("piece");
    for size in SIZES {
        group.throughput(Throughput::Bytes(size as u64));
        let mut buffer = Segment::with_capacity(MAX_SEGMENT);
        let (mut sealer, _) = sealer();
        group.bench_function(BenchmarkId::new("seal", size), |bencher| {
            bencher.iter(|| {
                fill(&mut buffer, size);
                sealer.seal(black_box(&mut buffer)).expect("a piece");
                sealer.commit();
            });
        });

        let (index, sealed) = one_segment(size);
        let first = ChunkOpener::new(index, 0).expect("one chunk");
        let mut copy = sealed.clone();
        group.bench_function(BenchmarkId::new("copy-and-open", size), |bencher| {
            bencher.iter(|| {
                copy.copy_from_slice(&sealed);
                let mut opener = first.clone();
                black_box(opener.open(&mut copy).expect("as it was sealed").len())
            });
        });
        group.bench_function(BenchmarkId::new("copy", size), |bencher| {
            bencher.iter(|| black_box(&mut copy).copy_from_slice(black_box(&sealed)));
        });
    }
    group.finish();
}

fn file(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("file");
    group.throughput(Throughput::Bytes(CHUNK as u64));
    for size in SIZES {
        let files = Files::new();
        let mut writer = files.create(1);
        let mut buffer = Segment::with_capacity(MAX_SEGMENT);
        group.bench_function(BenchmarkId::new("append-2MiB", size), |bencher| {
            bencher.iter(|| {
                append(&mut writer, &mut buffer, size);
                writer.abort();
            });
        });
        let plain = files.plain();
        let bytes = vec![7; size];
        group.bench_function(BenchmarkId::new("append-2MiB-plain", size), |bencher| {
            bencher.iter(|| {
                for at in (0..CHUNK).step_by(size) {
                    plain.write_all_at(&bytes, at as u64).expect("room on the disk");
                }
            });
        });

        append(&mut writer, &mut buffer, size);
        writer.commit().expect("all was written");
        writer.close_chunk(&OnLane::here(), b"bits").expect("room on the disk");
        writer.finalize(&OnLane::here(), Fsync::Never).expect("room on the disk");
        let opened =
            files.store.open(&OnLane::here(), &files.place, id(1), &key()).expect("as it was sealed");
        let mut lent = Some(OpenBuffer::default());
        group.bench_function(BenchmarkId::new("read-2MiB", size), |bencher| {
            bencher.iter(|| {
                let mut region =
                    files.store.chunk(&OnLane::here(), &files.place, &opened, 0).expect("one chunk");
                region.lend(lent.take().unwrap_or_default());
                while region.remaining() > 0 {
                    region.fill_now().expect("as it was sealed");
                    let n = black_box(region.plain()).len();
                    region.consume(n);
                }
                lent = Some(region.take_buffer());
            });
        });
        let mut buffer = vec![0; 256 << 10];
        group.bench_function(BenchmarkId::new("read-2MiB-plain", size), |bencher| {
            bencher.iter(|| {
                for at in (0..CHUNK).step_by(buffer.len()) {
                    plain.read_exact_at(&mut buffer, at as u64).expect("it was written");
                }
            });
        });
    }
    group.finish();
}

/// A root with one directory.
struct Files {
    store: Arc<SealedStore>,
    place: Arc<MergedFiles>,
    temp: TempDir,
}

impl Files {
    fn new() -> Self {
        let temp = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(temp.path().join("00")).expect("a sub-directory");
        let roots = Roots::open([temp.path()]).expect("it is there");
        let dir = roots
            .accept(&OnLane::here(), temp.path().to_str().expect("its name is text"))
            .expect("it is the root");
        let place = Arc::new(MergedFiles::new(context(), 1, [dir], 1));
        let store = Arc::new(SealedStore::new(roots, SealedLimits::default()));
        Self { store, place, temp }
    }

    fn create(&self, reduce: i32) -> SealedWriter {
        self.store
            .create(&OnLane::here(), &self.place, id(reduce), &key(), &wrapped())
            .expect("room on the disk")
    }

    fn plain(&self) -> fs::File {
        let path = self.temp.path().join("plain");
        fs::File::options().create(true).truncate(false).read(true).write(true).open(path).expect("a file")
    }
}

fn append(writer: &mut SealedWriter, buffer: &mut Segment, size: usize) {
    let mut left = CHUNK;
    while left > 0 {
        let n = left.min(size);
        fill(buffer, n);
        writer.append(&OnLane::here(), buffer).expect("room on the disk");
        left -= n;
    }
}

fn fill(buffer: &mut Segment, size: usize) {
    buffer.reset(PIECE);
    buffer.advance(size);
}

fn one_segment(size: usize) -> (Arc<Index>, Vec<u8>) {
    let (mut sealer, headers) = sealer();
    let mut buffer = Segment::with_capacity(size + OVERHEAD);
    fill(&mut buffer, size);
    sealer.seal(&mut buffer).expect("a piece");
    sealer.commit();
    let chunk = sealer.seal_chunk(b"bits").expect("a chunk");
    sealer.chunk_written(&chunk).expect("nothing came between");
    let commit = sealer.finish().expect("the end");
    let mut file = [headers.index, chunk.index, commit.index].concat();
    let index = Index::open(&mut file, id(1), 1, &context(), &key(), None).expect("as it was sealed");
    (Arc::new(index), buffer.sealed().to_vec())
}

fn sealer() -> (PartitionSealer, sealed_shuffle_protocol::stored::sealed::Headers) {
    PartitionSealer::new(&key(), &wrapped(), &context(), id(1), 1, Salt([9; 32])).expect("short names")
}

fn id(reduce: i32) -> MergedPartition {
    MergedPartition { shuffle: ShuffleId(0), merge: ShuffleMergeId(0), reduce: ReduceId(reduce) }
}

fn key() -> DataKey {
    DataKey::new([3; 32])
}

fn wrapped() -> WrappedKey {
    WrappedKey { key_id: "bench".into(), bytes: Bytes::from_static(&[0; 200]) }
}

fn context() -> Context {
    Context::of(AppId::new("app-1"))
}

criterion_group!(benches, piece, file);
criterion_main!(benches);
