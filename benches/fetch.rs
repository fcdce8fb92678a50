//! Our client fetching from our server over loopback, both in this process, in every mode.
//!
//! Plaintext is the floor: what framing, sockets and assembling blocks cost without a cipher. Data comes from
//! the page cache; in the cold cases it is dropped from there before each fetch, so the disk of the temporary directory is
//! measured, too. `cargo bench --bench fetch`.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub)] // a bench that cannot run should stop

#[path = "../tests/client/support.rs"]
mod support;

use std::fs::File;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rustix::fs::{Advice, fadvise};
use sealed_shuffle::internals::disk::layout::{data_name, index_name};
use sealed_shuffle_client::{Client, Security};
use sealed_shuffle_protocol::ids::{MapId, ShuffleId};
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
            let fetch_all = || runtime.block_on(fetch_all(&server, &client, &blocks));
            group.bench_function(mode.as_str(), |bencher| bencher.iter(fetch_all));
            if matches!(security, Security::Plaintext) {
                group.bench_function(format!("{mode}, cold"), |bencher| {
                    bencher.iter_batched(|| drop_cached(&server), |()| fetch_all(), BatchSize::PerIteration);
                });
            }
        }
    }
}

async fn fetch_all(server: &Running, client: &Client, blocks: &[BlockId]) {
    let mut fetch = client.fetch(&server.address, &executor(), blocks.to_vec());
    let mut bytes = 0;
    while let Some(outcome) = fetch.next().await {
        bytes += outcome.unwrap().1.len();
    }
    assert_eq!(bytes, TOTAL);
}

/// Has the kernel forget what it has read of the server's files. A file system in memory keeps it.
fn drop_cached(server: &Running) {
    for name in [data_name(ShuffleId(0), MapId(0)), index_name(ShuffleId(0), MapId(0))] {
        let file = File::open(server.path(&name)).unwrap();
        // What is not written yet would stay.
        file.sync_all().unwrap();
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
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
