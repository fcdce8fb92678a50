//! Latency over the partitions of an index file: from the index cache, and without a cache, where each request reads
//! the whole file.

use sealed_shuffle_protocol::ids::ExecutorId;

use super::super::data::Blocks;
use super::super::executor::EXECUTOR;
use super::super::load::unmeasured;
use super::ground::Ground;
use super::latency::{Asker, COLUMNS, SLICES};
use super::series::Series;
use crate::commands::Failure;

const PARTITIONS: [i32; 3] = [100, 10_000, 100_000];

/// Bytes of a partition. It is small, so that the search for it takes most of the time.
const SIZE: u64 = 64;

pub(super) async fn measure(ground: &Ground<'_>) -> Result<Series, Failure> {
    let caching = ground.service(&[]).await?;
    let reading = ground.service(&["spark.shuffle.service.index.cache.size=0"]).await?;
    let mut all = Vec::new();
    for (service, what) in [(&caching, "cached"), (&reading, "read anew")] {
        for (shuffle, partitions) in (300..).zip(PARTITIONS) {
            let blocks = Blocks::sparse(ground.executor, shuffle, SIZE, partitions).map_err(unmeasured)?;
            all.push((format!("{partitions}, {what}"), service, Asker::new(ground.client()?), blocks));
        }
    }
    let mut series = Series::new("partitions of an index file", COLUMNS, "100, cached");
    for round in 0..=ground.rounds {
        for _ in 0..SLICES {
            for (_, service, asking, blocks) in &mut all {
                let choose = |random: u64| {
                    (
                        ExecutorId::new(EXECUTOR),
                        blocks.some(random % u64::from(blocks.count.unsigned_abs()), 1),
                    )
                };
                asking.ask(&service.address, ground.time / SLICES, choose).await?;
            }
        }
        for (label, service, asking, _) in &mut all {
            let values = asking.values(service)?;
            // The first round fills caches.
            if round > 0 {
                series.add(label.as_str(), values);
            }
        }
        ground.progress.inc(1);
    }
    Ok(series)
}
