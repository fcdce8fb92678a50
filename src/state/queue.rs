//! Changes on their way to the writer.
//!
//! Invariants: changes are committed in the order in which they were pushed. Nobody waits for a place: while the disk
//! fails, or hangs with very many changes behind it, a change is answered at once as not written. It is kept in the
//! [`Backlog`] until it is written, except where its caller takes the answer for the end of it ([`Keep::UntilAnswered`]).
//! Every lot gets one answer, also when the writer is gone.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::backlog::Backlog;
use super::change::Change;
use crate::receipt::WriteReceipt;

/// Most lots of changes that wait, and that share a commit.
const PLACES: usize = 1024;

/// The queue is full with so many bytes of values. A lot that comes before that is taken up whole.
const WAITING_BYTES: usize = 16 << 20;

/// Between two tries to write to a disk that fails.
const RETRY: Duration = Duration::from_secs(1);

/// A commit that takes longer is overdue: those who wait for it give up.
const OVERDUE: Duration = Duration::from_secs(4);

/// The queue, and its counters.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<QueueState>,
    changed: Condvar,
    /// Somebody has given up, and it was said.
    late: AtomicBool,
    written: AtomicU64,
    lost: AtomicU64,
    commits: AtomicU64,
    records: AtomicU64,
}

#[derive(Debug, Default)]
struct QueueState {
    lots: VecDeque<Lot>,
    bytes: usize,
    /// Older than all lots.
    backlog: Backlog,
    /// What the writer has in hand: how many changes, how many of them were answered before, and since when.
    in_hand: Option<(usize, usize, Instant)>,
    /// The next try, while the disk fails.
    retry_at: Option<Instant>,
    closed: bool,
}

impl QueueState {
    fn is_full(&self) -> bool {
        self.lots.len() >= PLACES || self.bytes >= WAITING_BYTES
    }

    fn empty(&mut self) -> Vec<Lot> {
        self.bytes = 0;
        self.lots.drain(..).collect()
    }

    /// Changes whose callers do not wait any more.
    fn unwritten(&self) -> usize {
        let changes = |lots: &VecDeque<Lot>| lots.iter().map(|lot| lot.changes.len()).sum::<usize>();
        let of_lots = match self.in_hand {
            Some((all, _, since)) if since.elapsed() >= OVERDUE => all + changes(&self.lots),
            Some((_, answered, _)) => answered,
            None => 0,
        };
        self.backlog.len() + of_lots
    }
}

/// What becomes of a change that is not written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Keep {
    /// It is true all the same, and written when it can be.
    UntilWritten,
    /// Its caller takes it for undone.
    UntilAnswered,
}

/// Changes that are written in one commit.
#[derive(Debug)]
pub(super) struct Lot {
    pub(super) changes: Vec<Change>,
    keep: Keep,
    done: oneshot::Sender<bool>,
}

/// What the writer takes at once: first the changes that were answered before.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) backlog: Vec<Change>,
    pub(super) lots: Vec<Lot>,
}

/// The store in numbers. Counters grow; gauges are as of now.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct StateCounters {
    /// Counter: changes that were committed.
    pub written: u64,
    /// Counter: changes that were given up: too large, or without room, or their caller was told that they failed.
    pub lost: u64,
    /// Counter: commits, each of one change or many.
    pub commits: u64,
    /// Gauge: records.
    pub records: u64,
    /// Gauge: lots of changes that wait.
    pub waiting: usize,
    /// Gauge: changes that are true and not on the disk, and that nobody waits for any more, because the disk fails or does
    /// not answer. They are written as soon as it does.
    pub unwritten: usize,
}

impl Queue {
    pub(super) fn new(records: u64) -> Self {
        Self {
            waiting: Mutex::default(),
            changed: Condvar::new(),
            late: AtomicBool::new(false),
            written: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            records: AtomicU64::new(records),
        }
    }

    /// Adds changes to the end. Waits for nothing.
    pub(super) fn push(&self, changes: Vec<Change>, keep: Keep) -> WriteReceipt {
        let (done, receipt) = WriteReceipt::pending();
        let lot = Lot { changes, keep, done };
        let mut waiting = self.lock();
        if waiting.closed {
            drop(waiting);
            self.lose(1);
            _ = lot.done.send(false);
            return receipt;
        }
        if waiting.retry_at.is_some() {
            self.set_aside(&mut waiting, vec![lot]);
            return receipt;
        }
        waiting.bytes += lot.changes.iter().map(Change::bytes).sum::<usize>();
        waiting.lots.push_back(lot);
        if waiting.is_full() && waiting.in_hand.is_some_and(|(.., since)| since.elapsed() >= OVERDUE) {
            let lots = waiting.empty();
            self.set_aside(&mut waiting, lots);
        }
        self.changed.notify_all();
        receipt
    }

    /// Answers lots as not written, and keeps what is to be kept of them.
    fn set_aside(&self, waiting: &mut QueueState, lots: Vec<Lot>) {
        for Lot { changes, keep, done } in lots {
            match keep {
                Keep::UntilWritten => self.lose(waiting.backlog.add(changes)),
                Keep::UntilAnswered => self.lose(1),
            }
            // The other end is dropped if nobody waits.
            _ = done.send(false);
        }
    }

    /// Loses a change that cannot be added, for the reason `why`.
    pub(super) fn refuse(&self, why: &dyn fmt::Display) -> WriteReceipt {
        warn!("a change of the recovery store is lost: {why}");
        self.lose(1);
        WriteReceipt::at_once(false)
    }

    /// Somebody waits no longer. That is said once, until the disk answers.
    pub(super) fn is_late(&self) {
        // A disk that fails was named when it failed.
        if self.lock().retry_at.is_none() && !self.late.swap(true, Ordering::Relaxed) {
            let changes = self.counters().unwritten;
            warn!(
                changes,
                "the disk of the recovery store does not answer: what is registered now is written when it does, and is \
                 unknown after a restart before that"
            );
        }
    }

    /// Takes all that waits. If there is nothing, it waits for something; while the disk fails, for the time of the next
    /// try. Returns `None` if the queue is closed and empty.
    pub(super) fn take(&self) -> Option<Batch> {
        let mut waiting = self.lock();
        while !waiting.closed {
            let left = match waiting.retry_at {
                Some(at) => Some(at.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero()),
                None if waiting.lots.is_empty() && waiting.backlog.is_empty() => Some(Duration::MAX),
                None => None,
            };
            let Some(left) = left else { break };
            waiting = match left {
                Duration::MAX => self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner),
                left => self.changed.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        let batch = Batch { backlog: waiting.backlog.take(), lots: waiting.empty() };
        if batch.backlog.is_empty() && batch.lots.is_empty() {
            return None;
        }
        let answered = batch.backlog.len();
        let all = answered + batch.lots.iter().map(|lot| lot.changes.len()).sum::<usize>();
        waiting.in_hand = Some((all, answered, Instant::now()));
        Some(batch)
    }

    /// A batch is committed: which of its lots found room, how many changes of the backlog did not, and how many records
    /// there are now, where that has changed.
    pub(super) fn committed(&self, batch: Batch, written: &[bool], lost: u64, records: Option<u64>) {
        let mut waiting = self.lock();
        let failed = waiting.retry_at.take().is_some();
        waiting.in_hand = None;
        drop(waiting);
        let changes = batch.backlog.len();
        if self.late.swap(false, Ordering::Relaxed) || failed {
            info!(changes, "the recovery store is written again, with all that waited for it");
        }
        if let Some(records) = records {
            self.commits.fetch_add(1, Ordering::Relaxed);
            self.records.store(records, Ordering::Relaxed);
        }
        self.written.fetch_add((changes as u64).saturating_sub(lost), Ordering::Relaxed);
        self.lose(lost);
        for (lot, written) in batch.lots.into_iter().zip(written) {
            let counter = if *written { &self.written } else { &self.lost };
            counter.fetch_add(1, Ordering::Relaxed);
            // The other end is dropped if nobody waits.
            _ = lot.done.send(*written);
        }
    }

    /// A batch is not written: it is tried again, and those who wait for it are told.
    pub(super) fn failed(&self, batch: Batch, why: &dyn fmt::Display) {
        let mut waiting = self.lock();
        let newer = waiting.backlog.take();
        self.lose(waiting.backlog.add(batch.backlog));
        self.set_aside(&mut waiting, batch.lots);
        self.lose(waiting.backlog.add(newer));
        let lots = waiting.empty();
        self.set_aside(&mut waiting, lots);
        waiting.in_hand = None;
        let is_first = waiting.retry_at.replace(Instant::now() + RETRY).is_none();
        let changes = waiting.backlog.len();
        if waiting.closed {
            let lost = waiting.backlog.take().len() as u64;
            drop(waiting);
            self.lose(lost);
            error!(changes = lost, "the recovery store cannot be written: changes are lost: {why}");
            return;
        }
        drop(waiting);
        if is_first {
            error!(
                changes,
                "the recovery store cannot be written: what registers now is written as soon as it can be, and is unknown \
                 after a restart before that; merges are reported as not merged until then: {why}"
            );
        }
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Takes changes again.
    pub(super) fn reopen(&self) {
        self.lock().closed = false;
    }

    /// The writer is gone: all that waits is lost.
    pub(super) fn abandon(&self) {
        self.close();
        let mut waiting = self.lock();
        let (lots, backlog) = (waiting.empty(), waiting.backlog.take());
        waiting.in_hand = None;
        drop(waiting);
        self.lose((lots.len() + backlog.len()) as u64);
        lots.into_iter().for_each(|lot| _ = lot.done.send(false));
    }

    pub(super) fn counters(&self) -> StateCounters {
        let now = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let waiting = self.lock();
        StateCounters {
            written: now(&self.written),
            lost: now(&self.lost),
            commits: now(&self.commits),
            records: now(&self.records),
            waiting: waiting.lots.len(),
            unwritten: waiting.unwritten(),
        }
    }

    fn lose(&self, changes: u64) {
        self.lost.fetch_add(changes, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn put(name: u8, len: usize) -> Vec<Change> {
        vec![Change::Put { name: vec![name], value: vec![0; len] }]
    }

    #[test]
    fn nobody_waits_for_a_writer_that_is_gone() {
        let queue = Arc::new(Queue::new(0));
        let answers: Vec<_> = (0..PLACES).map(|_| queue.push(put(1, 1), Keep::UntilWritten)).collect();
        queue.abandon();
        assert!(!queue.push(put(1, 1), Keep::UntilWritten).wait());
        assert!(answers.into_iter().all(|answer| !answer.wait()));
        assert_eq!(queue.counters().lost, u64::try_from(PLACES).unwrap() + 1);
        assert!(queue.take().is_none());
    }

    #[test]
    fn what_fails_is_answered_at_once_and_kept_until_it_is_written() {
        let queue = Queue::new(0);
        let first = queue.push(put(1, 1), Keep::UntilWritten);
        let secret = queue.push(put(2, 1), Keep::UntilAnswered);
        queue.failed(queue.take().unwrap(), &"full");
        assert!(!first.wait() && !secret.wait());
        assert!(!queue.push(put(3, 1), Keep::UntilWritten).wait(), "nobody waits for a disk that fails");
        assert_eq!((queue.counters().unwritten, queue.counters().lost), (2, 1));
        let batch = queue.take().unwrap();
        assert_eq!((batch.backlog.len(), batch.lots.len()), (2, 0));
        assert_eq!(queue.counters().unwritten, 2);
        queue.committed(batch, &[], 0, Some(2));
        let counters = queue.counters();
        assert_eq!((counters.unwritten, counters.written, counters.lost), (0, 2, 1));
        let next = queue.push(put(4, 1), Keep::UntilWritten);
        queue.committed(queue.take().unwrap(), &[true], 0, Some(3));
        assert!(next.wait());
    }

    #[test]
    fn nobody_waits_for_a_place_behind_a_disk_that_hangs() {
        let queue = Queue::new(0);
        queue.push(put(0, 1), Keep::UntilWritten).detach();
        let hangs = queue.take().unwrap();
        queue.lock().in_hand = Some((1, 0, Instant::now().checked_sub(OVERDUE).unwrap()));
        for n in 0..u8::MAX {
            queue.push(put(n, WAITING_BYTES / 128), Keep::UntilWritten).detach();
        }
        let waiting = queue.lock();
        assert!(waiting.bytes < WAITING_BYTES && waiting.backlog.len() >= 100);
        assert!(waiting.unwritten() > 200);
        drop(waiting);
        queue.committed(hangs, &[true], 0, Some(1));
        let rest = queue.take().unwrap();
        assert!(rest.backlog.len() + rest.lots.len() <= 255);
    }
}
