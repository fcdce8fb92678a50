//! What a session cipher costs per segment, with no cipher as the floor.
//!
//! `cargo bench --bench cipher`. Spark's ciphers seal and open in place, so the null layer shows what the
//! segment itself costs; the rest is the cipher. TLS 1.3 is one direction of a connection between two layers. The size
//! 26 is a small request, 32,752 one AES-GCM unit, 256 KiB a segment of a large block.

#[path = "support/tls.rs"]
mod tls;

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rustls::SupportedCipherSuite;
use rustls::crypto::aws_lc_rs::cipher_suite;
use sealed_shuffle_protocol::cipher::{CtrLayer, GcmLayer, Layer, NullLayer, Role, Segment};
use sealed_shuffle_protocol::secret::Secret;
use sealed_shuffle_transport::random::OsRandom;

const SIZES: [usize; 4] = [26, 2048, 32752, 256 << 10];

fn seal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("seal");
    for size in SIZES {
        group.throughput(Throughput::Bytes(size as u64));
        for Ends { name, sealer: mut layer, .. } in ends() {
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
        for Ends { name, mut sealer, mut opener } in ends() {
            let mut segment = filled(sealer.as_ref(), size);
            group.bench_function(BenchmarkId::new(name, size), |bencher| {
                bencher.iter_batched_ref(
                    // Each message anew: TLS counts them.
                    || {
                        segment.reset(sealer.layout());
                        segment.advance(size);
                        sealer.seal(&mut segment).expect("the segment is the layer's");
                        BytesMut::from(segment.sealed())
                    },
                    |input| {
                        while let Some(plain) = opener.open(input).expect("sealed with the same key") {
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

/// What seals, and what opens it.
struct Ends {
    name: &'static str,
    sealer: Box<dyn Layer>,
    opener: Box<dyn Layer>,
}

fn ends() -> Vec<Ends> {
    let alike = symmetric(Role::Client).into_iter().zip(symmetric(Role::Server));
    let mut ends: Vec<Ends> =
        alike.map(|((name, sealer), (_, opener))| Ends { name, sealer, opener }).collect();
    ends.extend([
        tls("tls-aes-128", cipher_suite::TLS13_AES_128_GCM_SHA256),
        tls("tls-aes-256", cipher_suite::TLS13_AES_256_GCM_SHA384),
        tls("tls-chacha20", cipher_suite::TLS13_CHACHA20_POLY1305_SHA256),
    ]);
    ends
}

/// Layers whose two ends are made alike, but for the role.
fn symmetric(role: Role) -> [(&'static str, Box<dyn Layer>); 5] {
    let (wide, narrow, iv) = (|| Secret::new([1; 32]), || Secret::new([1; 16]), [2; 16]);
    [
        ("null", Box::new(NullLayer)),
        ("ctr-v1", Box::new(CtrLayer::aes_256(&wide(), &iv, &iv))),
        ("ctr-v2", Box::new(CtrLayer::aes_128(&narrow(), &iv, &iv))),
        ("gcm-v1", Box::new(GcmLayer::aes_256(wide(), role, Box::new(OsRandom)))),
        ("gcm-v2", Box::new(GcmLayer::aes_128(narrow(), role, Box::new(OsRandom)))),
    ]
}

fn tls(name: &'static str, suite: SupportedCipherSuite) -> Ends {
    let (server, client) = tls::ends(suite);
    Ends { name, sealer: Box::new(server), opener: Box::new(client) }
}

fn filled(layer: &dyn Layer, size: usize) -> Segment {
    let capacity = layer.layout().sealed_len(size as u64);
    let mut segment = Segment::with_capacity(usize::try_from(capacity).expect("small sizes"));
    segment.reset(layer.layout());
    segment.advance(size);
    segment
}

criterion_group!(benches, seal, open);
criterion_main!(benches);
