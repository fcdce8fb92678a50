//! What a lookup costs: with everything open (one look at a descriptor), with everything cached (two stats), and with an
//! index of 100,000 partitions to read.

use std::fs;
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use sealed_shuffle::internals::disk::index::Index;
use sealed_shuffle::internals::disk::layout::{self, Placement};
use sealed_shuffle::internals::disk::{BlockStore, DiskLimits, Lookup, Proof, Roots};
use sealed_shuffle_protocol::ids::{AppId, ExecutorId, MapId, ReduceId, ShuffleId};
use sealed_shuffle_transport::lane::OnLane;
use tempfile::TempDir;

const SHUFFLE: ShuffleId = ShuffleId(0);
const MAP: MapId = MapId(3);

struct Prepared {
    store: BlockStore,
    app: AppId,
    executor: ExecutorId,
    _temp: TempDir,
}

impl Prepared {
    /// One map output of `partitions` partitions of one byte each.
    fn new(partitions: usize, index_cache_bytes: u64) -> Self {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let dir = temp.path().join("blockmgr-1");
        let write = |name: String, bytes: &[u8]| {
            let sub = dir.join(Placement::of(&name, 1, 64).expect("one directory").sub_dir());
            fs::create_dir_all(&sub).expect("a sub-directory");
            fs::write(sub.join(name), bytes).expect("a file");
        };
        write(layout::index_name(SHUFFLE, MAP), &index(partitions));
        write(layout::data_name(SHUFFLE, MAP), &vec![7; partitions]);
        let roots = Roots::open([temp.path()]).expect("a root");
        let store = BlockStore::new(roots, DiskLimits { index_cache_bytes, ..DiskLimits::default() });
        let (app, executor) = (AppId::new("app-1"), ExecutorId::new("1"));
        let dirs = [dir.to_str().expect("a UTF-8 path")];
        store
            .register(&OnLane::here(), &app, &executor, &dirs, 64, "sort", Proof::Proven)
            .expect("a registration");
        Self { store, app, executor, _temp: temp }
    }

    fn look_up(&self, reduce: i32) -> u64 {
        let on = &OnLane::here();
        let output =
            self.store.resolve_map(on, &self.app, &self.executor, SHUFFLE, MAP).expect("a map output");
        output.block(on, ReduceId(reduce)).expect("a partition").len()
    }

    fn look_up_now(&self, reduce: i64) -> u64 {
        let known = self.store.resolve_now(&self.app, &self.executor, SHUFFLE, MAP).expect("a registration");
        match known {
            Lookup::Found(output) => {
                let region = output.range_now(reduce, reduce + 1).expect("a kept index");
                region.expect("a partition").len()
            }
            // As a server does, every few seconds.
            Lookup::Waits(_) => self.look_up(100),
        }
    }
}

fn index(partitions: usize) -> Vec<u8> {
    (0..=partitions as u64).flat_map(u64::to_be_bytes).collect()
}

fn lookup(c: &mut Criterion) {
    let cached = Prepared::new(200, 100 << 20);
    c.bench_function("lookup/cached", |b| b.iter(|| cached.look_up(black_box(100))));
    c.bench_function("lookup/open", |b| b.iter(|| cached.look_up_now(black_box(100))));
    let on = &OnLane::here();
    let output =
        cached.store.resolve_map(on, &cached.app, &cached.executor, SHUFFLE, MAP).expect("a map output");
    c.bench_function("lookup/next partition of the same request", |b| {
        b.iter(|| output.block(on, ReduceId(black_box(100))).expect("a partition").len())
    });
    let uncached = Prepared::new(200, 0);
    c.bench_function("lookup/index of 200 partitions from file", |b| {
        b.iter(|| uncached.look_up(black_box(100)))
    });
    let large = Prepared::new(100_000, 0);
    c.bench_function("lookup/index of 100k partitions from file", |b| {
        b.iter(|| large.look_up(black_box(100)))
    });
}

fn parse(c: &mut Criterion) {
    let bytes = index(100_000);
    c.bench_function("parse/index of 100k partitions", |b| {
        b.iter(|| Index::parse(black_box(&bytes)).count())
    });
}

criterion_group!(benches, lookup, parse);
criterion_main!(benches);
