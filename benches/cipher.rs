//! What a session cipher costs per segment, with no cipher as the floor.
//!
//! `cargo bench --bench cipher`. Sealing and opening happen in place, so the null layer shows what the
//! segment itself costs; the rest is the cipher. The size 26 is a small request, 32,752 one AES-GCM unit,
//! 256 KiB a segment of a large block.

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sealed_shuffle_protocol::cipher::{CtrLayer, GcmLayer, Layer, NullLayer, Segment};
use sealed_shuffle_protocol::crypto::random::{Random, RandomError};
use sealed_shuffle_protocol::secret::Secret;

const SIZES: [usize; 4] = [26, 2048, 32752, 256 << 10];

fn seal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("seal");
    for size in SIZES {
        group.throughput(Throughput::Bytes(size as u64));
        for (name, mut layer) in layers() {
            let mut segment = filled(layer.as_ref(), size);
            group.bench_function(BenchmarkId::new(name, size), |bencher| {
                bencher.iter(|| {
                    segment.reset(layer.layout());
                    segment.advance(size);
                    layer.seal(black_box(&mut segment)).expect("the segment is the layer's");
                    black_box(segment.sealed().len())
                });
            });
        }
    }
    group.finish();
}

fn open(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("open");
    for size in SIZES {
        group.throughput(Throughput::Bytes(size as u64));
        for (name, mut layer) in layers() {
            let mut segment = filled(layer.as_ref(), size);
            layer.seal(&mut segment).expect("the segment is the layer's");
            let sealed = segment.sealed();
            group.bench_function(BenchmarkId::new(name, size), |bencher| {
                bencher.iter_batched_ref(
                    || BytesMut::from(sealed),
                    |input| {
                        while let Some(plain) = layer.open(input).expect("sealed with the same key") {
                            black_box(plain.len());
                        }
                    },
                    BatchSize::SmallInput,
                );
            });
        }
    }
    group.finish();
}

fn layers() -> [(&'static str, Box<dyn Layer>); 5] {
    let (wide, narrow, iv) = (|| Secret::new([1; 32]), || Secret::new([1; 16]), [2; 16]);
    [
        ("null", Box::new(NullLayer)),
        ("ctr-v1", Box::new(CtrLayer::aes_256(&wide(), &iv, &iv))),
        ("ctr-v2", Box::new(CtrLayer::aes_128(&narrow(), &iv, &iv))),
        ("gcm-v1", Box::new(GcmLayer::aes_256(wide(), Box::new(OperatingSystem)))),
        ("gcm-v2", Box::new(GcmLayer::aes_128(narrow(), Box::new(OperatingSystem)))),
    ]
}

fn filled(layer: &dyn Layer, size: usize) -> Segment {
    let capacity = layer.layout().sealed_len(size as u64);
    let mut segment = Segment::with_capacity(usize::try_from(capacity).expect("small sizes"));
    segment.reset(layer.layout());
    segment.advance(size);
    segment
}

struct OperatingSystem;

impl Random for OperatingSystem {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
        getrandom::fill(out).map_err(RandomError::new)
    }
}

criterion_group!(benches, seal, open);
criterion_main!(benches);
