//! Latency over registered executors: one server for each number, and requests for blocks of any of its executors.

use sealed_shuffle_protocol::ids::ExecutorId;

use super::super::data::Blocks;
use super::super::executor::{EXECUTOR, SORT_MANAGER, info};
use super::super::load::unmeasured;
use super::ground::Ground;
use super::latency::{Asker, COLUMNS, SLICES};
use super::series::Series;
use crate::commands::Failure;

const EXECUTORS: [u64; 3] = [1, 1_000, 100_000];

pub(super) async fn measure(ground: &Ground<'_>) -> Result<Series, Failure> {
    let blocks = Blocks::sparse(ground.executor, 200, 2 << 10, 64).map_err(unmeasured)?;
    let mut all = Vec::new();
    for count in EXECUTORS {
        let service = ground.service(&[]).await?;
        let client = ground.client()?;
        // The first one is registered already. All of them have the same directory, and so the same blocks.
        let others = (2..=count).map(|executor| ExecutorId::new(executor.to_string()));
        client.register_all(&service.address, others, info(ground.executor, SORT_MANAGER)?).await?;
        all.push((count, service, Asker::new(client)));
    }
    debug_assert_eq!(EXECUTOR, "1", "executors are counted from it");
    let mut series = Series::new("registered executors", COLUMNS, "1");
    for round in 0..=ground.rounds {
        for _ in 0..SLICES {
            for (count, service, asking) in &mut all {
                let choose = |random: u64| {
                    (ExecutorId::new((1 + random % *count).to_string()), blocks.some(random % 64, 1))
                };
                asking.ask(&service.address, ground.time / SLICES, choose).await?;
            }
        }
        for (count, service, asking) in &mut all {
            let values = asking.values(service)?;
            // The first round fills caches.
            if round > 0 {
                series.add(count.to_string(), values);
            }
        }
        ground.progress.inc(1);
    }
    Ok(series)
}
