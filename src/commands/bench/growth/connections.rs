//! Throughput over connections: 128 KiB blocks, 4 MiB a request, from the page cache.

use std::sync::Arc;

use super::super::data::Blocks;
use super::super::load::{self, Figures, Until, unmeasured};
use super::ground::Ground;
use super::series::{Column, Series};
use crate::commands::Failure;

const CONNECTIONS: [usize; 5] = [1, 4, 16, 64, 256];

/// The throughput and its cost at either side.
pub(super) const COLUMNS: &[Column] = &[
    Column { key: "bytes_per_second", heading: "MB/S", scale: 1e-6, digits: 0 },
    Column { key: "server_cpu_seconds_per_byte", heading: "SERVER CPU-S/GB", scale: 1e9, digits: 3 },
    Column { key: "client_cpu_seconds_per_byte", heading: "CLIENT CPU-S/GB", scale: 1e9, digits: 3 },
    Column { key: "server_cpu_seconds_per_block", heading: "SERVER US/BLOCK", scale: 1e6, digits: 1 },
    Column { key: "server_anonymous_bytes", heading: "SERVER MB", scale: 1e-6, digits: 1 },
];

pub(super) async fn measure(ground: &Ground<'_>) -> Result<Series, Failure> {
    let service = ground.service(&[]).await?;
    let settings = ground.settings()?;
    let blocks = Arc::new(Blocks::write(ground.executor, 1, 128 << 10, 256 << 20).map_err(unmeasured)?);
    let mut series = Series::new("connections that fetch 128 KiB blocks", COLUMNS, "4");
    for _ in 0..ground.rounds {
        for connections in CONNECTIONS {
            let until = Until::Time(ground.time);
            let figures = load::run(&service, &settings, Arc::clone(&blocks), connections, until).await?;
            series.add(connections.to_string(), values(&figures, blocks.size));
        }
        ground.progress.inc(1);
    }
    Ok(series)
}

/// The values of [`COLUMNS`].
pub(super) fn values(figures: &Figures, block: u64) -> Vec<f64> {
    let bytes = figures.bytes as f64;
    vec![
        bytes / figures.wall,
        figures.server_cpu / bytes,
        figures.client_cpu / bytes,
        figures.server_cpu / bytes * block as f64,
        figures.server_memory as f64,
    ]
}
