//! The operations of push-based merging. The server seals merged data at rest.
//!
//! ```text
//! push      a connection ─► a shuffle of its own ─► finalized ─► removed ─► the next one
//! merged    pushed once, finalized ─► all connections read its chunks, as fetch reads blocks
//! ```
//!
//! Each connection has its own shuffle, so that no two pushes meet in one partition, and none waits in memory or is
//! refused. A cell uses no more room on the disk than the configured bytes, except for files that wait for their
//! deletion.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sealed_shuffle_client::{Address, Client, Merge, MergedPartition, PushedBlock, Settings};
use sealed_shuffle_protocol::ids::{AppId, ExecutorId, ReduceId, ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::shuffle::ReturnCode;
use tokio::task::JoinSet;

use super::executor::{APP, EXECUTOR};
use super::load::{Figures, REQUEST, measure};
use super::service::Service;
use crate::commands::{Exit, Failure};

/// The settings that switch merging on.
pub(super) const CONF: [&str; 1] = [
    "spark.shuffle.push.server.mergedShuffleFileManagerImpl=org.apache.spark.network.shuffle.RemoteBlockPushResolver",
];

/// The shuffle manager in an executor's registration, with the name of its merge directory.
pub(super) const MANAGER: &str =
    r#"org.apache.spark.shuffle.sort.SortShuffleManager:{"mergeDir":"merge_manager_1","attemptId":"1"}"#;

/// Partitions of a shuffle.
const PARTITIONS: i32 = 4;

/// Most blocks of a connection that wait for their answers, and most bytes of them.
const AHEAD: u64 = 32;
const BYTES_AHEAD: u64 = 1 << 20;

/// Makes the merge directory beside the executor's own, as executors do before they register.
pub(super) fn prepare(executor: &Path, sub_dirs: i32) -> std::io::Result<()> {
    let dir = executor.with_file_name("merge_manager_1");
    (0..sub_dirs).try_for_each(|n| std::fs::create_dir_all(dir.join(format!("{n:02x}"))))
}

/// Ids of shuffles that nobody has pushed yet.
#[derive(Debug, Default)]
pub(super) struct Ids(AtomicI32);

impl Ids {
    fn next(&self) -> Merge {
        let shuffle = ShuffleId(self.0.fetch_add(1, Ordering::Relaxed));
        Merge { app_attempt: 1, shuffle, merge: ShuffleMergeId(0) }
    }
}

/// Pushes for a while and returns the cost. The latencies are those of blocks.
pub(super) async fn push(
    service: &Service,
    settings: &Settings,
    ids: &Arc<Ids>,
    (size, data): (u64, u64),
    connections: usize,
    time: Duration,
) -> Result<Figures, Failure> {
    let block = block(size)?;
    let blocks = count(data / connections as u64, size);
    measure(service, connections, |ready| {
        let pusher = Pusher {
            client: Client::new(settings.clone(), AppId::new(APP)),
            server: service.address.clone(),
            block: block.clone(),
        };
        let ids = Arc::clone(ids);
        async move {
            pusher.connect().await?;
            ready.wait().await;
            let until = Instant::now() + time;
            let (mut pushed, mut latencies) = (0, Vec::new());
            while Instant::now() < until {
                let merge = ids.next();
                let took = pusher.push(merge, blocks, until).await?;
                pushed += took.len() as u64 * size;
                latencies.extend(took);
                pusher.finalize(merge).await?;
                pusher.remove(merge).await?;
            }
            Ok((pushed, latencies))
        }
    })
    .await
}

/// A merged shuffle that is read.
#[derive(Clone)]
pub(super) struct MergedShuffle {
    pusher: Pusher,
    merge: Merge,
    /// The chunks of each request.
    requests: Arc<Vec<(ReduceId, Range<i32>)>>,
}

impl MergedShuffle {
    /// Pushes about `data` bytes in blocks of `size` and finalizes.
    pub(super) async fn make(
        service: &Service,
        settings: &Settings,
        ids: &Ids,
        (size, data): (u64, u64),
    ) -> Result<Self, Failure> {
        let pusher = Pusher {
            client: Client::new(settings.clone(), AppId::new(APP)),
            server: service.address.clone(),
            block: block(size)?,
        };
        let merge = ids.next();
        let far = Instant::now() + Duration::from_secs(3600);
        pusher.push(merge, count(data, size), far).await?;
        let mut requests = Vec::new();
        for (reduce, bytes) in pusher.finalize(merge).await? {
            let partition = partition(merge, reduce);
            let chunks = pusher.client.merged_block_meta(&pusher.server, partition).await?.len();
            let of_request = (REQUEST * chunks as u64 / bytes.max(1)).max(1);
            let (chunks, step) = (small(chunks as u64), usize::try_from(of_request).unwrap_or(1));
            let from = (0..chunks).step_by(step);
            requests
                .extend(from.map(|from| (reduce, from..from.saturating_add(small(of_request)).min(chunks))));
        }
        Ok(Self { pusher, merge, requests: Arc::new(requests) })
    }

    /// Reads the chunks for a while.
    pub(super) async fn read(
        &self,
        service: &Service,
        settings: &Settings,
        connections: usize,
        time: Duration,
    ) -> Result<Figures, Failure> {
        let next = Arc::new(AtomicU64::new(0));
        measure(service, connections, |ready| {
            let reader = Pusher {
                client: Client::new(settings.clone(), AppId::new(APP)),
                server: service.address.clone(),
                block: Bytes::new(),
            };
            let (merge, requests, next) = (self.merge, Arc::clone(&self.requests), Arc::clone(&next));
            async move {
                reader.connect().await?;
                ready.wait().await;
                let until = Instant::now() + time;
                let (mut bytes, mut latencies) = (0, Vec::new());
                while Instant::now() < until {
                    let at = next.fetch_add(1, Ordering::Relaxed) % (requests.len() as u64).max(1);
                    let Some((reduce, chunks)) = usize::try_from(at).ok().and_then(|at| requests.get(at))
                    else {
                        break;
                    };
                    let asked = Instant::now();
                    bytes += reader.read(partition(merge, *reduce), chunks.clone()).await?;
                    latencies.push(asked.elapsed().as_secs_f64());
                }
                Ok((bytes, latencies))
            }
        })
        .await
    }

    /// Has the server delete the shuffle.
    pub(super) async fn remove(&self) -> Result<(), Failure> {
        self.pusher.remove(self.merge).await
    }
}

/// A connection of the application.
#[derive(Clone)]
struct Pusher {
    client: Client,
    server: Address,
    /// The content of every block.
    block: Bytes,
}

impl Pusher {
    /// Opens the connection. This is not part of the measurement.
    async fn connect(&self) -> Result<(), Failure> {
        self.client.local_dirs(&self.server, &[ExecutorId::new(EXECUTOR)]).await?;
        Ok(())
    }

    /// Pushes `count` blocks, fewer if the time is up. Returns the seconds from the beginning of each to its answer.
    async fn push(&self, merge: Merge, blocks: i32, until: Instant) -> Result<Vec<f64>, Failure> {
        let next = Arc::new(AtomicI32::new(0));
        let lanes = (BYTES_AHEAD / self.block.len().max(1) as u64).clamp(1, AHEAD);
        let mut pushing = JoinSet::new();
        for _ in 0..lanes {
            let (pusher, next) = (self.clone(), Arc::clone(&next));
            pushing.spawn(async move {
                let mut took = Vec::new();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    // At least one block is pushed, however short the time is.
                    if at >= blocks || (at > 0 && Instant::now() >= until) {
                        return Ok::<_, Failure>(took);
                    }
                    let begun = Instant::now();
                    pusher.push_one(merge, at).await?;
                    took.push(begun.elapsed().as_secs_f64());
                }
            });
        }
        let mut all = Vec::new();
        while let Some(took) = pushing.join_next().await {
            all.extend(took.map_err(|error| Failure::new(Exit::Failed, error))??);
        }
        Ok(all)
    }

    async fn push_one(&self, merge: Merge, at: i32) -> Result<(), Failure> {
        let (map_index, reduce) = (at / PARTITIONS, ReduceId(at % PARTITIONS));
        let block = PushedBlock { map_index, reduce, body: self.block.clone().into() };
        match self.client.push_block(&self.server, merge, block).await? {
            ReturnCode::Success => Ok(()),
            code => Err(Failure::new(Exit::Failed, format!("a pushed block was not merged: {code:?}"))),
        }
    }

    /// The partitions that were merged, and their bytes.
    async fn finalize(&self, merge: Merge) -> Result<Vec<(ReduceId, u64)>, Failure> {
        let statuses = self.client.finalize_shuffle_merge(&self.server, merge).await?;
        Ok(statuses.into_iter().map(|status| (status.reduce, status.size)).collect())
    }

    async fn remove(&self, merge: Merge) -> Result<(), Failure> {
        Ok(self.client.remove_shuffle_merge(&self.server, merge).await?)
    }

    async fn read(&self, partition: MergedPartition, chunks: Range<i32>) -> Result<u64, Failure> {
        let mut fetch = self.client.fetch_merged_chunks(&self.server, partition, chunks);
        let mut bytes = 0;
        while let Some(outcome) = fetch.next().await {
            match outcome {
                Ok((_, content)) => bytes += content.len() as u64,
                Err(error) => return Err(Failure::new(error.error.kind().into(), error.error)),
            }
        }
        Ok(bytes)
    }
}

fn partition(merge: Merge, reduce: ReduceId) -> MergedPartition {
    MergedPartition { shuffle: merge.shuffle, merge: merge.merge, reduce }
}

/// Number of blocks of a shuffle of about so many bytes; at least one for each partition.
fn count(bytes: u64, size: u64) -> i32 {
    small(bytes / size).max(PARTITIONS)
}

fn small(number: u64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn block(size: u64) -> Result<Bytes, Failure> {
    let size = usize::try_from(size).map_err(|error| Failure::new(Exit::Usage, error))?;
    Ok(super::data::noise().into_iter().cycle().take(size).collect())
}
