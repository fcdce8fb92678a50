//! The server's anonymous resident memory: after its start, with 1,000 idle connections, and with 64 readers that are
//! slower than the server.

use std::time::Duration;

use sealed_shuffle_client::Client;
use sealed_shuffle_measure::Meter;
use sealed_shuffle_measure::process::anonymous_memory;
use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use tokio::task::JoinSet;

use super::super::data::Blocks;
use super::super::executor::{APP, EXECUTOR};
use super::super::load::unmeasured;
use super::super::service::Service;
use super::ground::Ground;
use super::series::{Column, Series};
use crate::commands::{Exit, Failure};

const IDLE: usize = 1_000;
const READERS: usize = 64;

/// Pause of a slow reader before it takes the next block.
const PAUSE: Duration = Duration::from_millis(100);
const SAMPLE: Duration = Duration::from_millis(10);

const COLUMNS: &[Column] =
    &[Column { key: "server_anonymous_bytes", heading: "SERVER MB", scale: 1e-6, digits: 1 }];

pub(super) async fn measure(ground: &Ground<'_>) -> Result<Series, Failure> {
    let small = Blocks::sparse(ground.executor, 400, 2 << 10, 64).map_err(unmeasured)?;
    let large = Blocks::sparse(ground.executor, 401, 4 << 20, 64).map_err(unmeasured)?;
    let mut series = Series::new("memory", COLUMNS, "");
    for _ in 0..ground.rounds {
        // Each point has its own server, because an allocator keeps memory that it once had.
        let service = ground.service(&[]).await?;
        series.add("just started", vec![resident(&service)?]);
        series.add("1,000 idle connections", vec![idle(ground, &service, &small).await?]);
        let service = ground.service(&[]).await?;
        series.add("64 slow readers of 4 MiB blocks", vec![slow(ground, &service, &large).await?]);
        ground.progress.inc(1);
    }
    Ok(series)
}

fn resident(service: &Service) -> Result<f64, Failure> {
    Ok(anonymous_memory(service.process()).map_err(unmeasured)? as f64)
}

async fn idle(ground: &Ground<'_>, service: &Service, blocks: &Blocks) -> Result<f64, Failure> {
    let mut open = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        let client = ground.client()?;
        take(&client, service, blocks).await?;
        open.push(client);
    }
    resident(service)
}

/// The largest value that was seen.
async fn slow(ground: &Ground<'_>, service: &Service, blocks: &Blocks) -> Result<f64, Failure> {
    // The reader asks for one block at a time: then the socket stops.
    let settings = ground.settings()?.max_size_in_flight(blocks.size);
    let mut readers = JoinSet::new();
    for _ in 0..READERS {
        let client = Client::new(settings.clone(), AppId::new(APP));
        let executor = ExecutorId::new(EXECUTOR);
        let mut fetch = client.fetch(&service.address, &executor, blocks.some(0, 64));
        readers.spawn(async move {
            loop {
                tokio::time::sleep(PAUSE).await;
                match fetch.next().await {
                    None => return Ok(()),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(Failure::new(error.error.kind().into(), error.error)),
                }
            }
        });
    }
    let meter = Meter::start(service.process(), SAMPLE).map_err(unmeasured)?;
    let end = tokio::time::sleep(2 * ground.time);
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => break,
            Some(reader) = readers.join_next() => reader.map_err(|error| Failure::new(Exit::Failed, error))??,
        }
    }
    Ok(meter.stop().map_err(unmeasured)?.memory as f64)
}

async fn take(client: &Client, service: &Service, blocks: &Blocks) -> Result<(), Failure> {
    let executor = ExecutorId::new(EXECUTOR);
    let mut fetch = client.fetch(&service.address, &executor, blocks.some(0, 1));
    while let Some(outcome) = fetch.next().await {
        outcome.map_err(|error| Failure::new(error.error.kind().into(), error.error))?;
    }
    Ok(())
}
