//! One cell: a number of connections that do the same, and the cost of it; and the fetching of blocks of one size.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sealed_shuffle_client::{Address, Client, Settings};
use sealed_shuffle_measure::process::{anonymous_memory, cpu_seconds};
use sealed_shuffle_measure::{Meter, Sample};
use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::data::Blocks;
use super::executor::{APP, EXECUTOR};
use super::service::Service;
use crate::commands::{Exit, Failure};

/// Most bytes, and most blocks, of a request.
pub(super) const REQUEST: u64 = 4 << 20;
const BLOCKS: u64 = 64;

/// Interval between two readings of the memory.
const SAMPLE: Duration = Duration::from_millis(50);

/// The end of a cell.
#[derive(Clone, Copy, Debug)]
pub(super) enum Until {
    /// After this time.
    Time(Duration),
    /// After every block was read once, from files that are not in the page cache.
    OnceThrough,
}

/// The cost of a cell.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) bytes: u64,
    pub(super) wall: f64,
    pub(super) server_cpu: f64,
    pub(super) client_cpu: f64,
    /// The largest anonymous resident memory of the server that was seen.
    pub(super) server_memory: u64,
    /// Seconds from each request to its last byte, or from each pushed block to its answer.
    pub(super) latencies: Sample,
}

/// Runs a cell that fetches.
pub(super) async fn run(
    service: &Service,
    settings: &Settings,
    blocks: Arc<Blocks>,
    connections: usize,
    until: Until,
) -> Result<Figures, Failure> {
    let next = Arc::new(AtomicU64::new(0));
    measure(service, connections, |ready| {
        let worker = Worker {
            client: Client::new(settings.clone(), AppId::new(APP)),
            server: service.address.clone(),
            blocks: Arc::clone(&blocks),
            next: Arc::clone(&next),
            until,
        };
        worker.run(ready)
    })
    .await
}

/// Measures both processes while workers do their work. Each worker returns the bytes that it moved and the time of
/// each piece. Each has connected before it waits for the others.
pub(super) async fn measure<W>(
    service: &Service,
    connections: usize,
    worker: impl Fn(Arc<Barrier>) -> W,
) -> Result<Figures, Failure>
where
    W: Future<Output = Result<(u64, Vec<f64>), Failure>> + Send + 'static,
{
    let ready = Arc::new(Barrier::new(connections + 1));
    let mut workers = JoinSet::new();
    for _ in 0..connections {
        workers.spawn(worker(Arc::clone(&ready)));
    }
    // A worker that cannot connect never comes to the barrier.
    tokio::select! {
        _ = ready.wait() => {}
        Some(Ok(Err(failure))) = workers.join_next() => return Err(failure),
    }
    let (us, them) = (std::process::id(), service.process());
    let begun = Instant::now();
    let our_cpu = cpu_seconds(us).map_err(unmeasured)?;
    let meter = Meter::start(them, SAMPLE).map_err(unmeasured)?;
    let (mut bytes, mut latencies) = (0, Vec::new());
    while let Some(worker) = workers.join_next().await {
        let (got, took) = worker.map_err(|error| Failure::new(Exit::Failed, error))??;
        bytes += got;
        latencies.extend(took);
    }
    let wall = begun.elapsed().as_secs_f64();
    let client_cpu = cpu_seconds(us).map_err(unmeasured)? - our_cpu;
    let server = meter.stop().map_err(unmeasured)?;
    let latencies = Sample::of(latencies);
    Ok(Figures { bytes, wall, server_cpu: server.cpu, client_cpu, server_memory: server.memory, latencies })
}

/// The fetching over one connection.
struct Worker {
    client: Client,
    server: Address,
    blocks: Arc<Blocks>,
    /// The number of the first block that nobody has asked for yet; it only grows.
    next: Arc<AtomicU64>,
    until: Until,
}

impl Worker {
    async fn run(self, ready: Arc<Barrier>) -> Result<(u64, Vec<f64>), Failure> {
        let request = (REQUEST / self.blocks.size).clamp(1, BLOCKS);
        // The connection and its handshake are not part of the measurement.
        self.fetch(0, 1).await?;
        ready.wait().await;
        let begun = Instant::now();
        let all = u64::from(self.blocks.count.unsigned_abs());
        let (mut bytes, mut latencies) = (0, Vec::new());
        loop {
            let first = self.next.fetch_add(request, Ordering::Relaxed);
            let count = match self.until {
                Until::Time(time) if begun.elapsed() >= time => break,
                Until::OnceThrough if first >= all => break,
                Until::OnceThrough => request.min(all - first),
                Until::Time(_) => request,
            };
            let asked = Instant::now();
            bytes += self.fetch(first, count).await?;
            latencies.push(asked.elapsed().as_secs_f64());
        }
        Ok((bytes, latencies))
    }

    async fn fetch(&self, first: u64, count: u64) -> Result<u64, Failure> {
        let blocks = self.blocks.some(first, usize::try_from(count).unwrap_or(1));
        let mut fetch = self.client.fetch(&self.server, &ExecutorId::new(EXECUTOR), blocks);
        let mut bytes = 0;
        while let Some(outcome) = fetch.next().await {
            match outcome {
                Ok((_, content)) => bytes += content.len() as u64,
                Err(error) => return Err(Failure::new(error.error.kind().into(), error.error)),
            }
        }
        if bytes != count * self.blocks.size {
            return Err(Failure::new(Exit::Corrupt, format!("{bytes} bytes came of {count} blocks")));
        }
        Ok(bytes)
    }
}

/// Handshakes a second, with four at a time, and the server's CPU seconds for one.
pub(super) async fn handshakes(
    service: &Service,
    settings: &Settings,
    blocks: &Arc<Blocks>,
    time: Duration,
) -> Result<(f64, f64), Failure> {
    let before = cpu_seconds(service.process()).map_err(unmeasured)?;
    let begun = Instant::now();
    let mut workers = JoinSet::new();
    for _ in 0..4 {
        let (settings, server, blocks) = (settings.clone(), service.address.clone(), Arc::clone(blocks));
        workers.spawn(async move {
            let mut done = 0_u64;
            while begun.elapsed() < time {
                let worker = Worker {
                    client: Client::new(settings.clone(), AppId::new(APP)),
                    server: server.clone(),
                    blocks: Arc::clone(&blocks),
                    next: Arc::default(),
                    until: Until::OnceThrough,
                };
                worker.fetch(0, 1).await?;
                done += 1;
            }
            Ok::<_, Failure>(done)
        });
    }
    let mut all = 0;
    while let Some(done) = workers.join_next().await {
        all += done.map_err(|error| Failure::new(Exit::Failed, error))??;
    }
    let wall = begun.elapsed().as_secs_f64();
    let cpu = cpu_seconds(service.process()).map_err(unmeasured)? - before;
    Ok((all as f64 / wall, cpu / all as f64))
}

/// Anonymous resident bytes of the server for each of `connections` that are open and idle.
pub(super) async fn idle(
    service: &Service,
    settings: &Settings,
    blocks: &Arc<Blocks>,
    connections: usize,
) -> Result<u64, Failure> {
    let mut open = Vec::with_capacity(connections);
    let mut before = 0;
    for at in 0..connections {
        let worker = Worker {
            client: Client::new(settings.clone(), AppId::new(APP)),
            server: service.address.clone(),
            blocks: Arc::clone(blocks),
            next: Arc::default(),
            until: Until::OnceThrough,
        };
        worker.fetch(0, 1).await?;
        open.push(worker);
        // The first connection makes the memory that is needed only once.
        if at == 0 {
            before = anonymous_memory(service.process()).map_err(unmeasured)?;
        }
    }
    let after = anonymous_memory(service.process()).map_err(unmeasured)?;
    Ok(after.saturating_sub(before) / connections as u64)
}

/// The system does not give this figure.
pub(super) fn unmeasured(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Failed, format!("cannot measure: {error}"))
}
