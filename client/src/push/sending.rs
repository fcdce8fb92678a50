//! One request of blocks: sent ahead of the answers, and again where the connection broke.
//!
//! The rules are those of RetryingBlockTransferor and BlockPushErrorHandler, Spark 4.3.0: what broke the connection or
//! timed out is sent again after `spark.shuffle.io.retryWait`, at most `spark.shuffle.io.maxRetries` times, and only
//! what had no answer; a merger that refuses connections is left alone; an answer is final, whatever it says.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::plan::{PlannedBlock, Request};
use super::report::PushOutcome;
use crate::merge_calls::PushReceipt;
use crate::{Address, Client, ClientError, Merge, PushedBlock};

/// Blocks sent ahead of the answer that is waited for: enough to hide the round trip of small ones.
const AHEAD: usize = 32;

/// What became of a block.
pub(super) struct Fact {
    pub(super) merger: usize,
    /// Its place in the map output.
    pub(super) at: usize,
    pub(super) pushed: PushOutcome,
}

/// What the requests of one map output share.
pub(super) struct Job {
    pub(super) client: Client,
    pub(super) merge: Merge,
    pub(super) map_index: i32,
    pub(super) facts: mpsc::Sender<Fact>,
    /// Nothing is sent again.
    pub(super) stop: CancellationToken,
}

/// Blocks without an answer, and why.
struct Interruption {
    left: Vec<PlannedBlock>,
    error: ClientError,
    /// There was no connection to send them on.
    is_unconnected: bool,
    /// A connection of the pool turned out dead: no try was spent.
    is_stale: bool,
}

impl Job {
    /// Brings every block of a request to its outcome.
    pub(super) async fn run(self: Arc<Self>, request: Request, server: Address) {
        let Request { merger, mut blocks } = request;
        let settings = self.client.settings();
        let mut retries = 0;
        while !blocks.is_empty() {
            let Some(broken) = self.round(merger, &server, blocks).await else { return };
            let Interruption { left, error, is_unconnected, is_stale } = broken;
            blocks = left;
            if is_stale && !self.stop.is_cancelled() {
                continue;
            }
            let may_heal = error.is_retryable() && !is_refused_connection(&error);
            if self.stop.is_cancelled() {
                return self.tell_all(merger, blocks, &PushOutcome::Stopped).await;
            }
            if is_unconnected && !may_heal {
                return self.tell_all(merger, blocks, &PushOutcome::Unreachable(Arc::new(error))).await;
            }
            if !may_heal || retries >= settings.max_retries {
                return self.tell_all(merger, blocks, &PushOutcome::Failed(Arc::new(error))).await;
            }
            retries += 1;
            warn!(%server, %error, retries, blocks = blocks.len(), "a push broke, will try again");
            // A stop ends the wait, and then the next round too.
            tokio::select! {
                () = tokio::time::sleep(settings.retry_wait) => {}
                () = self.stop.cancelled() => return self.tell_all(merger, blocks, &PushOutcome::Stopped).await,
            }
        }
    }

    /// Sends blocks on one connection; comes back with those that had no answer.
    async fn round(
        &self,
        merger: usize,
        server: &Address,
        blocks: Vec<PlannedBlock>,
    ) -> Option<Interruption> {
        let (app, settings) = (self.client.app(), self.client.settings());
        let lease = match self.client.inner.pool.lease(server, app, settings).await {
            Ok(lease) => lease,
            Err(error) => {
                return Some(Interruption { left: blocks, error, is_unconnected: true, is_stale: false });
            }
        };
        let mut unsent = VecDeque::from(blocks);
        let mut sent: VecDeque<(PlannedBlock, PushReceipt)> = VecDeque::new();
        let mut left = Vec::new();
        let mut why = None;
        let mut has_answer = false;
        loop {
            while sent.len() < AHEAD && why.is_none() && !self.stop.is_cancelled() {
                let Some(block) = unsent.pop_front() else { break };
                let pushed =
                    PushedBlock { map_index: self.map_index, reduce: block.reduce, body: block.body.clone() };
                let index = i32::try_from(block.at).unwrap_or(i32::MAX);
                match self.client.begin_push(&lease.connection, self.merge, &pushed, index).await {
                    Ok(pushing) => sent.push_back((block, pushing)),
                    Err(error) if is_of_the_connection(&error) => {
                        left.push(block);
                        why = Some(error);
                    }
                    Err(error) => self.tell(merger, block.at, PushOutcome::Failed(Arc::new(error))).await,
                }
            }
            let Some((block, pushing)) = sent.pop_front() else { break };
            match pushing.ended().await {
                Ok(code) => {
                    has_answer = true;
                    let pushed = PushOutcome::from(code);
                    if pushed.stops() {
                        self.stop.cancel();
                    }
                    self.tell(merger, block.at, pushed).await;
                }
                Err(error) if is_of_the_connection(&error) => {
                    left.push(block);
                    why.get_or_insert(error);
                }
                Err(error) => {
                    has_answer = true;
                    self.tell(merger, block.at, PushOutcome::Failed(Arc::new(error))).await;
                }
            }
        }
        left.extend(unsent);
        let Some(error) = why else {
            // What is left was held back by a stop.
            self.tell_all(merger, left, &PushOutcome::Stopped).await;
            return None;
        };
        let is_stale = lease.reused
            && !has_answer
            && error.is_retryable()
            && matches!(error, ClientError::Closed { .. });
        Some(Interruption { left, error, is_unconnected: false, is_stale })
    }

    async fn tell_all(&self, merger: usize, blocks: Vec<PlannedBlock>, pushed: &PushOutcome) {
        for block in blocks {
            self.tell(merger, block.at, pushed.clone()).await;
        }
    }

    async fn tell(&self, merger: usize, at: usize, pushed: PushOutcome) {
        // Whoever pushes may have gone; this task is then aborted.
        self.facts.send(Fact { merger, at, pushed }).await.ok();
    }
}

/// What Java's ConnectException is: somebody said no. A name without an address, or a host without a route, may heal.
fn is_refused_connection(error: &ClientError) -> bool {
    match error {
        ClientError::Connect { source, .. } => matches!(
            source.kind(),
            io::ErrorKind::ConnectionRefused | io::ErrorKind::TimedOut | io::ErrorKind::NetworkUnreachable
        ),
        _ => false,
    }
}

/// Whether no block behind it on the same connection has an answer either.
fn is_of_the_connection(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::Closed { .. }
            | ClientError::Handshake { .. }
            | ClientError::OneAnswer { .. }
            | ClientError::NoAnswer { .. }
    )
}
