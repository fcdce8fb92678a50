//! Our client fetching from our server over loopback, both in this process, in every mode.
//!
//! Plaintext is the floor: what framing, sockets and assembling blocks cost without a cipher. Data comes from
//! the page cache. `cargo bench --bench fetch`.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub)] // a bench that cannot run should stop

#[path = "../tests/client/support.rs"]
mod support;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sealed_shuffle_client::{Client, Security};
use sealed_shuffle_protocol::shuffle::BlockId;

use support::{Running, executor, modes, settings};

/// Bytes fetched in one iteration.
const TOTAL: usize = 64 << 20;

fn fetch(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for (name, size) in [("blocks of 64 KiB", 64 << 10), ("blocks of 4 MiB", 4 << 20)] {
        let mut group = criterion.benchmark_group(format!("fetch, {name}"));
        group.throughput(Throughput::Bytes(TOTAL as u64)).sample_size(10);
        for security in modes() {
            let mode = match &security {
                Security::Aes { mode, .. } => mode.to_string(),
                Security::Plaintext => "plaintext".to_owned(),
                // DES runs at tens of MB/s, and nobody chooses between these by speed.
                _ => continue,
            };
            let (server, client, blocks) = runtime.block_on(ready(&security, size));
            group.bench_function(mode, |bencher| {
                bencher.iter(|| {
                    runtime.block_on(async {
                        let mut fetch = client.fetch(&server.address, &executor(), blocks.clone());
                        let mut bytes = 0;
                        while let Some(outcome) = fetch.next().await {
                            bytes += outcome.unwrap().1.len();
                        }
                        assert_eq!(bytes, TOTAL);
                    });
                });
            });
        }
    }
}

async fn ready(security: &Security, size: usize) -> (Running, Client, Vec<BlockId>) {
    let server = Running::start(security).await;
    let content: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
    let count = TOTAL / size;
    server.write_map(0, 0, &vec![content.as_slice(); count]);
    let client = Client::new(settings(security.clone()), support::app());
    server.register(&client).await.unwrap();
    let blocks = (0..count).map(|reduce| format!("shuffle_0_0_{reduce}").parse().unwrap()).collect();
    (server, client, blocks)
}

criterion_group!(benches, fetch);
criterion_main!(benches);
