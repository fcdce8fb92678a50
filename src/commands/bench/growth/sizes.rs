//! Throughput over block sizes, over four connections; and one block of 1 GiB as a stream to a file.

use std::fs;
use std::sync::Arc;
use std::time::Instant;

use indicatif::HumanBytes;
use sealed_shuffle_measure::Sample;
use sealed_shuffle_measure::process::{anonymous_memory, cpu_seconds};
use sealed_shuffle_protocol::ids::ExecutorId;

use super::super::data::Blocks;
use super::super::executor::EXECUTOR;
use super::super::load::{self, Figures, Until, unmeasured};
use super::super::service::Service;
use super::connections::{COLUMNS, values};
use super::ground::Ground;
use super::series::Series;
use crate::commands::Failure;

/// Bytes of a block, how many of them, and how many connections fetch them.
const SIZES: [(u64, i32, usize); 6] = [
    (1 << 10, 4096, 4),
    (16 << 10, 4096, 4),
    (128 << 10, 2048, 4),
    (4 << 20, 64, 4),
    (64 << 20, 4, 4),
    (GIB, 1, 1),
];
const GIB: u64 = 1 << 30;
const TO_FILE: &str = "1.00 GiB, to a file";

pub(super) async fn measure(ground: &Ground<'_>) -> Result<Series, Failure> {
    let service = ground.service(&[]).await?;
    let settings = ground.settings()?.max_fetch_to_memory(GIB);
    let sparse = |(shuffle, (size, count, connections)): (i32, (u64, i32, usize))| {
        Ok((Arc::new(Blocks::sparse(ground.executor, shuffle, size, count)?), connections))
    };
    let all: Vec<(Arc<Blocks>, usize)> =
        (100..).zip(SIZES).map(sparse).collect::<Result<_, std::io::Error>>().map_err(unmeasured)?;
    // Into the page cache.
    for (blocks, _) in &all {
        load::run(&service, &settings, Arc::clone(blocks), 1, Until::OnceThrough).await?;
    }
    let mut series = Series::new("sizes of blocks", COLUMNS, "128.00 KiB");
    for _ in 0..ground.rounds {
        for (blocks, connections) in &all {
            let until = Until::Time(ground.time);
            let figures = load::run(&service, &settings, Arc::clone(blocks), *connections, until).await?;
            series.add(HumanBytes(blocks.size).to_string(), values(&figures, blocks.size));
        }
        if let Some((huge, _)) = all.last() {
            series.add(TO_FILE, to_file(ground, &service, huge).await?);
        }
        ground.progress.inc(1);
    }
    Ok(series)
}

async fn to_file(ground: &Ground<'_>, service: &Service, blocks: &Blocks) -> Result<Vec<f64>, Failure> {
    let client = ground.client()?;
    let dir = ground.dir.join("fetched");
    fs::create_dir_all(&dir).map_err(unmeasured)?;
    let (us, them) = (std::process::id(), service.process());
    let begun = Instant::now();
    let our_cpu = cpu_seconds(us).map_err(unmeasured)?;
    let their_cpu = cpu_seconds(them).map_err(unmeasured)?;
    let executor = ExecutorId::new(EXECUTOR);
    let mut fetch =
        client.fetch_to_files(&service.address, &executor, blocks.some(0, 1), &dir, Arc::new(|_| {}))?;
    let (mut bytes, mut server_memory) = (0, 0);
    while let Some(outcome) = fetch.next().await {
        let (_, saved) = outcome.map_err(|error| Failure::new(error.error.kind().into(), error.error))?;
        bytes += saved.len;
        server_memory = anonymous_memory(them).map_err(unmeasured)?;
    }
    let figures = Figures {
        bytes,
        wall: begun.elapsed().as_secs_f64(),
        server_cpu: cpu_seconds(them).map_err(unmeasured)? - their_cpu,
        client_cpu: cpu_seconds(us).map_err(unmeasured)? - our_cpu,
        server_memory,
        latencies: Sample::default(),
    };
    fs::remove_dir_all(&dir).map_err(unmeasured)?;
    Ok(values(&figures, blocks.size))
}
