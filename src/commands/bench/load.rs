//! One cell: so many connections that do the same, and what that took; fetching blocks of one size.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sealed_shuffle_client::{Address, Client, Settings};
use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::data::Blocks;
use super::process;
use super::service::Service;
use crate::commands::{Exit, Failure};

/// The application and executor whose blocks are fetched.
pub(super) const APP: &str = "app-bench";
/// See [`APP`].
pub(super) const EXECUTOR: &str = "1";

/// Bytes of a request, and blocks at most.
pub(super) const REQUEST: u64 = 4 << 20;
const BLOCKS: u64 = 64;

/// How often memory is looked at.
const SAMPLE: Duration = Duration::from_millis(50);

/// How long a cell goes on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Until {
    /// So long.
    Time(Duration),
    /// Until every block was read once: from files that the page cache does not have.
    OnceThrough,
}

/// What a cell took.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) bytes: u64,
    pub(super) wall: f64,
    pub(super) server_cpu: f64,
    pub(super) client_cpu: f64,
    /// Largest anonymous resident memory of the server that was seen.
    pub(super) server_memory: u64,
    /// Seconds from a request to its last byte, or from a pushed block to its answer, sorted.
    pub(super) latencies: Vec<f64>,
}

/// Runs a cell that fetches.
pub(super) async fn run(
    service: &Service,
    settings: &Settings,
    blocks: Arc<Blocks>,
    connections: usize,
    until: Until,
) -> Result<Measured, Failure> {
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

/// Measures both processes while workers, which say how many bytes they moved and how long each piece took, do their
/// work. Each of them has connected before it waits for the others.
pub(super) async fn measure<W>(
    service: &Service,
    connections: usize,
    worker: impl Fn(Arc<Barrier>) -> W,
) -> Result<Measured, Failure>
where
    W: Future<Output = Result<(u64, Vec<f64>), Failure>> + Send + 'static,
{
    let ready = Arc::new(Barrier::new(connections + 1));
    let mut workers = JoinSet::new();
    for _ in 0..connections {
        workers.spawn(worker(Arc::clone(&ready)));
    }
    // Whoever cannot connect never comes to the barrier.
    tokio::select! {
        _ = ready.wait() => {}
        Some(Ok(Err(failure))) = workers.join_next() => return Err(failure),
    }
    let (us, them) = (std::process::id(), service.process());
    let io = |error: std::io::Error| Failure::new(Exit::Failed, format!("cannot measure: {error}"));
    let begun = Instant::now();
    let (our_cpu, their_cpu) =
        (process::cpu_seconds(us).map_err(io)?, process::cpu_seconds(them).map_err(io)?);

    let (mut bytes, mut latencies, mut server_memory) = (0, Vec::new(), 0);
    let mut samples = tokio::time::interval(SAMPLE);
    loop {
        tokio::select! {
            _ = samples.tick() => {
                server_memory = server_memory.max(process::resident_anonymous(them).map_err(io)?);
            }
            worker = workers.join_next() => match worker {
                None => break,
                Some(Err(error)) => return Err(Failure::new(Exit::Failed, error)),
                Some(Ok(done)) => {
                    let (got, took) = done?;
                    bytes += got;
                    latencies.extend(took);
                }
            },
        }
    }
    let wall = begun.elapsed().as_secs_f64();
    let client_cpu = process::cpu_seconds(us).map_err(io)? - our_cpu;
    let server_cpu = process::cpu_seconds(them).map_err(io)? - their_cpu;
    latencies.sort_by(f64::total_cmp);
    Ok(Measured { bytes, wall, server_cpu, client_cpu, server_memory, latencies })
}

/// One connection's worth of fetching.
struct Worker {
    client: Client,
    server: Address,
    blocks: Arc<Blocks>,
    /// The first block that nobody has asked for yet, counted on and on.
    next: Arc<AtomicU64>,
    until: Until,
}

impl Worker {
    async fn run(self, ready: Arc<Barrier>) -> Result<(u64, Vec<f64>), Failure> {
        let request = (REQUEST / self.blocks.size).clamp(1, BLOCKS);
        // The connection and its handshake are not what is measured here.
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
    let io = |error: std::io::Error| Failure::new(Exit::Failed, format!("cannot measure: {error}"));
    let before = process::cpu_seconds(service.process()).map_err(io)?;
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
    let cpu = process::cpu_seconds(service.process()).map_err(io)? - before;
    Ok((all as f64 / wall, cpu / all as f64))
}

/// Anonymous resident bytes that the server holds for each of `connections` that are open and idle.
pub(super) async fn idle(
    service: &Service,
    settings: &Settings,
    blocks: &Arc<Blocks>,
    connections: usize,
) -> Result<u64, Failure> {
    let io = |error: std::io::Error| Failure::new(Exit::Failed, format!("cannot measure: {error}"));
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
        // The first one brings what there is once.
        if at == 0 {
            before = process::resident_anonymous(service.process()).map_err(io)?;
        }
    }
    let after = process::resident_anonymous(service.process()).map_err(io)?;
    Ok(after.saturating_sub(before) / connections as u64)
}
