//! Fetching: lists of blocks become requests, requests become rounds, until each block has its outcome.
//!
//! ```text
//! blocks ── cut ──► requests ──► round: lease, open, receive ──► outcome of each block
//!                      ▲                     │
//!                      └── what is left ◄────┘   failed chunk, broken connection, failed opening
//! ```
//!
//! * A connection that breaks is replaced after `spark.shuffle.io.retryWait`, at most
//!   `spark.shuffle.io.maxRetries` times a request, and only what is missing is asked for again
//!   (RetryingBlockTransferor, Spark 4.3.0).
//! * A chunk that the server fails is final; what lay behind it in the stream is asked for anew, since
//!   Spark's servers confuse it (OneForOneStreamManager, Spark 4.3.0).
//! * Who takes nothing for `spark.shuffle.io.connectionTimeout` does not hold the connection up: what was not
//!   taken is asked for again.
//! * An executor fails a whole request when one block is not there: such a request is halved until the
//!   block is found.
//!
//! Every block has exactly one outcome.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use sealed_shuffle_protocol::ids::ExecutorId;
use sealed_shuffle_protocol::shuffle::BlockId;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use super::opening::{Request, cut};
use super::session::Carrier;
use super::transfer::{Arrival, Transfer};
use super::{Address, ClientError, FetchError, Inner};

/// Blocks in one request where nothing else bounds them: an executor opens all of them at once.
const BLOCKS: usize = 4096;

/// Outcomes that wait to be taken, beside the bound on their bytes.
const OUTCOMES: usize = 64;

/// Blocks on their way, in the order of their arrival: a stream of one outcome for each block asked for.
///
/// Dropping it stops the fetch and leaves the connection to others.
///
/// A block that fails does not end the stream:
///
/// ```no_run
/// use sealed_shuffle_client::{BlockId, Bytes, Fetch};
///
/// /// The bytes of all blocks that arrive, and the names of those to compute again.
/// async fn collect(mut fetch: Fetch) -> (Vec<(BlockId, Bytes)>, Vec<BlockId>) {
///     let (mut arrived, mut lost) = (Vec::new(), Vec::new());
///     while let Some(outcome) = fetch.next().await {
///         match outcome {
///             Ok(block) => arrived.push(block),
///             Err(failure) => {
///                 eprintln!("{failure}");
///                 lost.push(failure.block);
///             }
///         }
///     }
///     (arrived, lost)
/// }
/// ```
#[derive(Debug)]
pub struct Fetch<T = Bytes> {
    outcomes: mpsc::Receiver<Outcome<T>>,
    _task: AbortOnDropHandle<()>,
}

/// The outcome of one block, and its share of what may wait.
#[derive(Debug)]
pub(super) struct Outcome<T> {
    pub(super) result: Result<(BlockId, T), FetchError>,
    pub(super) _share: Option<OwnedSemaphorePermit>,
}

impl<T> Fetch<T> {
    /// The next block, or the next failure; `None` when every block has had its outcome.
    pub async fn next(&mut self) -> Option<Result<(BlockId, T), FetchError>> {
        self.outcomes.recv().await.map(|outcome| outcome.result)
    }
}

impl<T> Stream for Fetch<T> {
    type Item = Result<(BlockId, T), FetchError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.outcomes.poll_recv(cx).map(|outcome| outcome.map(|outcome| outcome.result))
    }
}

/// What becomes of the bytes of blocks.
pub(super) trait Keeper: Send + Sync + 'static {
    /// A block that is arriving.
    type Place: Send;
    /// A block that has arrived.
    type Delivery: Send + 'static;

    /// A block of `len` bytes begins. An error fails this block alone.
    fn begin(
        &self,
        block: &BlockId,
        len: u64,
    ) -> impl Future<Output = Result<Self::Place, ClientError>> + Send;

    /// Takes the next bytes of a block.
    fn add(
        &self,
        place: &mut Self::Place,
        bytes: Bytes,
    ) -> impl Future<Output = Result<(), ClientError>> + Send;

    /// The block is whole.
    fn finish(
        &self,
        place: Self::Place,
    ) -> impl Future<Output = Result<(Self::Delivery, Option<OwnedSemaphorePermit>), ClientError>> + Send;
}

/// Starts a fetch.
pub(super) fn start<K: Keeper>(
    client: Arc<Inner>,
    server: Address,
    executor: ExecutorId,
    blocks: Vec<BlockId>,
    carrier: Carrier,
    keeper: K,
) -> Fetch<K::Delivery> {
    let (sender, outcomes) = mpsc::channel(OUTCOMES);
    let job = Job {
        client,
        server,
        executor,
        carrier,
        keeper,
        outcomes: sender,
        given_up: OnceLock::new(),
        is_heard: AtomicBool::new(false),
    };
    let task = tokio::spawn(Arc::new(job).run(blocks));
    Fetch { outcomes, _task: AbortOnDropHandle::new(task) }
}

/// One fetch.
struct Job<K: Keeper> {
    client: Arc<Inner>,
    server: Address,
    executor: ExecutorId,
    carrier: Carrier,
    keeper: K,
    outcomes: mpsc::Sender<Outcome<K::Delivery>>,
    /// What fails all blocks alike; further requests are not tried.
    given_up: OnceLock<Arc<ClientError>>,
    /// A chunk has arrived: the server hears more than one message of a connection.
    is_heard: AtomicBool,
}

/// How a round with one request ended; what is not in `left` has its outcome.
enum Round {
    Done,
    /// A chunk failed and has its outcome; the others are to be asked for anew.
    Again {
        left: Vec<BlockId>,
    },
    /// The server refused to open the stream.
    NotOpened {
        error: ClientError,
    },
    /// The connection broke, or nothing was connected.
    Broken {
        error: ClientError,
        left: Vec<BlockId>,
        /// The block that was arriving, the first of `left`.
        in_midst: bool,
        /// A connection of the pool turned out dead, or went on without a slow reader: no try was spent.
        stale: bool,
    },
    /// All of `left` fail for the same reason.
    Hopeless {
        error: ClientError,
        left: Vec<BlockId>,
    },
}

impl<K: Keeper> Job<K> {
    async fn run(self: Arc<Self>, blocks: Vec<BlockId>) {
        let settings = &self.client.settings;
        let most = settings.max_blocks_in_flight.clamp(1, BLOCKS);
        let (requests, refused) = cut(blocks, most, settings.old_fetch_protocol);
        for (block, error) in refused {
            self.fail(block, &Arc::new(error)).await;
        }
        let workers = settings.connections_per_peer.min(settings.max_requests_in_flight).min(requests.len());
        let queue = Arc::new(Mutex::new(VecDeque::from(requests)));
        // Aborted with this task, when the set is dropped.
        let mut tasks = JoinSet::new();
        for _ in 0..workers {
            tasks.spawn(Arc::clone(&self).work(Arc::clone(&queue)));
        }
        while tasks.join_next().await.is_some() {}
    }

    async fn work(self: Arc<Self>, queue: Arc<Mutex<VecDeque<Request>>>) {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(request) = next else { return };
            self.request(request).await;
        }
    }

    /// Brings every block of one request to its outcome.
    async fn request(&self, request: Request) {
        let (max_retries, wait) = (self.client.settings.max_retries, self.client.settings.retry_wait);
        let mut retries = 0;
        let mut cautious = false;
        let mut deaf = false;
        let mut open = vec![request];
        while let Some(request) = open.pop() {
            if let Some(error) = self.given_up.get() {
                self.fail_all(request.blocks, error).await;
                continue;
            }
            match self.round(&request, cautious).await {
                Round::Done => {}
                Round::Again { left } => {
                    cautious = true;
                    if !left.is_empty() {
                        open.push(request.with(left));
                    }
                }
                Round::NotOpened { error } if request.blocks.len() > 1 && !error.is_for_all_blocks() => {
                    let mut first = request.blocks.clone();
                    let second = first.split_off(first.len() / 2);
                    open.push(request.with(second));
                    open.push(request.with(first));
                }
                Round::NotOpened { error } => self.give_up(error, request.blocks).await,
                Round::Hopeless { error, left } => self.give_up(error, left).await,
                Round::Broken { left, stale: true, .. } => open.push(request.with(left)),
                // Once may be a server that hung. Twice is a server that never hears more.
                Round::Broken { error: error @ ClientError::OneAnswer { .. }, left, .. }
                    if deaf && !self.is_heard.load(Ordering::Relaxed) =>
                {
                    self.give_up(error, left).await;
                }
                Round::Broken { error, left, .. } if error.is_retryable() && retries < max_retries => {
                    retries += 1;
                    deaf = matches!(error, ClientError::OneAnswer { .. });
                    warn!(server = %self.server, %error, retries, blocks = left.len(), "a fetch broke, will try again");
                    tokio::time::sleep(wait).await;
                    open.push(request.with(left));
                }
                // The server hung up in the midst of this block again and again; the others may be whole.
                Round::Broken { error, mut left, in_midst: true, .. } if left.len() > 1 => {
                    self.fail(left.remove(0), &Arc::new(error)).await;
                    retries = 0;
                    open.push(request.with(left));
                }
                Round::Broken { error, left, .. } => self.give_up(error, left).await,
            }
        }
    }

    /// One stream on one connection.
    async fn round(&self, request: &Request, cautious: bool) -> Round {
        let Inner { settings, app, pool, .. } = &*self.client;
        let all = || request.blocks.clone();
        let message = match request.encode(app, &self.executor) {
            Ok(message) => message,
            Err(error) => return Round::Hopeless { error: error.into(), left: all() },
        };
        let broken = |error, left, in_midst, stale| Round::Broken { error, left, in_midst, stale };
        let lease = match pool.lease(&self.server, app, settings).await {
            Ok(lease) => lease,
            Err(error) => return broken(error, all(), false, false),
        };
        let patience = settings.answer_timeout;
        let blocks = request.blocks.len();
        let opened =
            Transfer::open(lease.connection, message, blocks, self.carrier, cautious, patience).await;
        let mut transfer = match opened {
            Ok(transfer) => transfer,
            Err(error @ ClientError::Server { .. }) => return Round::NotOpened { error },
            Err(error) => {
                let stale =
                    lease.reused && matches!(error, ClientError::Closed { .. }) && error.is_retryable();
                return broken(error, all(), false, stale);
            }
        };

        let mut done = vec![false; blocks];
        // A server answers what was asked for only: the engine has checked the index.
        loop {
            let (index, error) = match transfer.next().await {
                Ok(None) => return Round::Done,
                Ok(Some(Arrival::Whole { index, block })) => {
                    self.is_heard.store(true, Ordering::Relaxed);
                    self.keep(&request.blocks[index], block).await;
                    done[index] = true;
                    continue;
                }
                Ok(Some(Arrival::Begins { index, len })) => {
                    self.is_heard.store(true, Ordering::Relaxed);
                    if let Err(error) = self.receive(&mut transfer, &request.blocks[index], len).await {
                        // Whoever fetches was slow, and is back.
                        let stale = matches!(error, ClientError::SlowReader(_));
                        return broken(error, missing(request, &done, Some(index)), true, stale);
                    }
                    done[index] = true;
                    continue;
                }
                Ok(Some(Arrival::Failed { index, error })) => (index, error),
                Err(error) => {
                    let stale = matches!(error, ClientError::SlowReader(_));
                    let in_midst = transfer.in_midst().filter(|_| !stale);
                    return broken(error, missing(request, &done, in_midst), in_midst.is_some(), stale);
                }
            };
            if error.is_for_all_blocks() {
                return Round::Hopeless { error, left: missing(request, &done, None) };
            }
            done[index] = true;
            self.fail(request.blocks[index].clone(), &Arc::new(error)).await;
            return Round::Again { left: missing(request, &done, None) };
        }
    }

    /// Brings a block that arrived whole to its outcome.
    async fn keep(&self, block: &BlockId, bytes: Bytes) {
        let kept = async {
            let mut place = self.keeper.begin(block, bytes.len() as u64).await?;
            if !bytes.is_empty() {
                self.keeper.add(&mut place, bytes).await?;
            }
            self.keeper.finish(place).await
        };
        self.settle(block, kept.await).await;
    }

    /// Receives one block to its outcome; fails only where the connection does.
    async fn receive(&self, transfer: &mut Transfer, block: &BlockId, len: u64) -> Result<(), ClientError> {
        let mut place = self.keeper.begin(block, len).await;
        while let Some(bytes) = transfer.piece().await? {
            // What a block that failed here still sends is read and forgotten.
            if let Ok(open) = &mut place
                && let Err(error) = self.keeper.add(open, bytes).await
            {
                place = Err(error);
            }
        }
        let kept = match place {
            Ok(place) => self.keeper.finish(place).await,
            Err(error) => Err(error),
        };
        self.settle(block, kept).await;
        Ok(())
    }

    async fn settle(
        &self,
        block: &BlockId,
        kept: Result<(K::Delivery, Option<OwnedSemaphorePermit>), ClientError>,
    ) {
        match kept {
            Ok((kept, share)) => self.report(Ok((block.clone(), kept)), share).await,
            Err(error) => self.fail(block.clone(), &Arc::new(error)).await,
        }
    }

    /// Fails `left`; where the reason concerns the server, what was not tried yet fails with it.
    async fn give_up(&self, error: ClientError, left: Vec<BlockId>) {
        let is_servers = match &error {
            ClientError::Server { .. } => error.is_for_all_blocks(),
            ClientError::Connect { .. }
            | ClientError::ConnectTimeout { .. }
            | ClientError::Handshake { .. } => true,
            ClientError::OneAnswer { .. } => !self.is_heard.load(Ordering::Relaxed),
            _ => false,
        };
        let error = Arc::new(error);
        if is_servers {
            self.given_up.set(Arc::clone(&error)).ok();
        }
        self.fail_all(left, &error).await;
    }

    async fn fail_all(&self, blocks: Vec<BlockId>, error: &Arc<ClientError>) {
        for block in blocks {
            self.fail(block, error).await;
        }
    }

    async fn fail(&self, block: BlockId, error: &Arc<ClientError>) {
        self.report(Err(FetchError { block, error: Arc::clone(error) }), None).await;
    }

    async fn report(
        &self,
        result: Result<(BlockId, K::Delivery), FetchError>,
        share: Option<OwnedSemaphorePermit>,
    ) {
        // Whoever fetches may have gone; this task is then aborted.
        self.outcomes.send(Outcome { result, _share: share }).await.ok();
    }
}

/// What has had no outcome; the block that was arriving comes first.
fn missing(request: &Request, done: &[bool], in_midst: Option<usize>) -> Vec<BlockId> {
    let first = in_midst.filter(|&at| !done[at]);
    let others = (0..done.len()).filter(|&at| !done[at] && Some(at) != first);
    first.into_iter().chain(others).map(|at| request.blocks[at].clone()).collect()
}
