//! Changes on their way to the writer.
//!
//! Invariants: changes are committed in the order in which they were pushed. At most [`PLACES`] lots of changes or
//! [`WAITING_BYTES`] wait; a thread that brings more waits for a place. Every lot gets one answer, also when the writer is
//! gone.

use std::collections::VecDeque;
use std::fmt;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use sealed_shuffle_protocol::ids::ShuffleMergeId;
use tokio::sync::oneshot;
use tracing::warn;

/// Most lots of changes that wait, and that share a commit.
const PLACES: usize = 1024;

/// The queue is full with so many bytes of values. A lot that comes before that is taken up whole.
const WAITING_BYTES: usize = 16 << 20;

/// The queue, and its counters.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<QueuedChange>,
    changed: Condvar,
    written: AtomicU64,
    lost: AtomicU64,
    commits: AtomicU64,
    records: AtomicU64,
}

#[derive(Debug, Default)]
struct QueuedChange {
    lots: VecDeque<Lot>,
    bytes: usize,
    closed: bool,
}

impl QueuedChange {
    fn is_full(&self) -> bool {
        self.lots.len() >= PLACES || self.bytes >= WAITING_BYTES
    }

    fn empty(&mut self) -> Vec<Lot> {
        self.bytes = 0;
        self.lots.drain(..).collect()
    }
}

/// Changes that are written in one commit.
#[derive(Debug)]
pub(super) struct Lot {
    pub(super) changes: Vec<Change>,
    done: oneshot::Sender<bool>,
}

impl Lot {
    fn bytes(&self) -> usize {
        let value = |change: &Change| match change {
            Change::Put { value, .. } => value.len(),
            _ => 0,
        };
        self.changes.iter().map(value).sum()
    }
}

/// A change of the records; values are sealed.
pub(super) enum Change {
    Put {
        name: Vec<u8>,
        value: Vec<u8>,
    },
    Delete {
        name: Vec<u8>,
    },
    /// A finalized merge, if it is still this one.
    DeleteMerge {
        name: Vec<u8>,
        merge: ShuffleMergeId,
    },
    /// All executors that were registered without proof of identity and whose names begin with `prefix`.
    DeleteUnproven {
        prefix: Vec<u8>,
    },
    /// The clear front, with the node key wrapped anew.
    Header {
        encoded: Vec<u8>,
    },
    /// All records whose names begin with `prefix`.
    DeleteAll {
        prefix: Vec<u8>,
    },
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Put { .. } => "Put",
            Self::Delete { .. } => "Delete",
            Self::DeleteMerge { .. } => "DeleteMerge",
            Self::DeleteUnproven { .. } => "DeleteUnproven",
            Self::DeleteAll { .. } => "DeleteAll",
            Self::Header { .. } => "Header",
        })
    }
}

/// The store in numbers. Counters grow; gauges are as of now.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct StateCounters {
    /// Counter: changes that were committed.
    pub written: u64,
    /// Counter: changes that were lost.
    pub lost: u64,
    /// Counter: commits, each of one change or many.
    pub commits: u64,
    /// Gauge: records.
    pub records: u64,
    /// Gauge: changes that wait.
    pub waiting: usize,
}

/// The answer to a change: whether it is on the disk. Dropping the receipt takes nothing back. A change that is lost has
/// been logged and counted.
#[derive(Debug)]
#[must_use = "a kill may lose a change that nobody waited for"]
pub struct WriteReceipt(oneshot::Receiver<bool>);

impl WriteReceipt {
    /// An answer that is there already.
    pub(super) fn at_once(written: bool) -> Self {
        let (done, answer) = oneshot::channel();
        // The receiver is there.
        _ = done.send(written);
        Self(answer)
    }

    /// Waits on this thread.
    pub fn wait(self) -> bool {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut answer = pin!(self);
        loop {
            if let Poll::Ready(written) = answer.as_mut().poll(&mut Context::from_waker(&waker)) {
                return written;
            }
            std::thread::park();
        }
    }

    /// Does not wait: the change is committed soon, and before all later ones.
    pub fn detach(self) {}
}

impl Future for WriteReceipt {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<bool> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(false))
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl Queue {
    pub(super) fn new(records: u64) -> Self {
        Self {
            waiting: Mutex::default(),
            changed: Condvar::new(),
            written: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            records: AtomicU64::new(records),
        }
    }

    /// Adds changes to the end. Waits for a place.
    pub(super) fn push(&self, changes: Vec<Change>) -> WriteReceipt {
        let (done, answer) = oneshot::channel();
        let lot = Lot { changes, done };
        let mut waiting = self.lock();
        while waiting.is_full() && !waiting.closed {
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        if waiting.closed {
            drop(waiting);
            self.answer(lot, false);
        } else {
            waiting.bytes += lot.bytes();
            waiting.lots.push_back(lot);
            self.changed.notify_all();
        }
        WriteReceipt(answer)
    }

    /// Loses a change that cannot be added, for the reason `why`.
    pub(super) fn refuse(&self, why: &dyn fmt::Display) -> WriteReceipt {
        warn!("a change of the recovery store is lost: {why}");
        self.lost.fetch_add(1, Ordering::Relaxed);
        WriteReceipt::at_once(false)
    }

    /// Takes all lots that wait. If there is none, it waits for one. Returns `None` if the queue is closed and empty.
    pub(super) fn take(&self) -> Option<Vec<Lot>> {
        let mut waiting = self.lock();
        while waiting.lots.is_empty() && !waiting.closed {
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        if waiting.lots.is_empty() {
            return None;
        }
        let lots = waiting.empty();
        self.changed.notify_all();
        Some(lots)
    }

    /// Says whether a lot is written.
    pub(super) fn answer(&self, lot: Lot, written: bool) {
        let counter = if written { &self.written } else { &self.lost };
        counter.fetch_add(1, Ordering::Relaxed);
        // The other end is dropped if nobody waits.
        _ = lot.done.send(written);
    }

    pub(super) fn committed(&self, records: u64) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.records.store(records, Ordering::Relaxed);
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Takes changes again.
    pub(super) fn reopen(&self) {
        self.lock().closed = false;
    }

    /// The writer is gone: all lots that wait are lost.
    pub(super) fn abandon(&self) {
        self.close();
        let lots = self.lock().empty();
        lots.into_iter().for_each(|lot| self.answer(lot, false));
    }

    pub(super) fn counters(&self) -> StateCounters {
        let now = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StateCounters {
            written: now(&self.written),
            lost: now(&self.lost),
            commits: now(&self.commits),
            records: now(&self.records),
            waiting: self.lock().lots.len(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, QueuedChange> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_a_writer_that_is_gone() {
        let queue = Arc::new(Queue::new(0));
        let answers: Vec<_> = (0..PLACES).map(|_| queue.push(Vec::new())).collect();
        let late = std::thread::spawn({
            let queue = Arc::clone(&queue);
            move || queue.push(Vec::new()).wait()
        });
        queue.abandon();
        assert!(!late.join().unwrap());
        assert!(answers.into_iter().all(|answer| !answer.wait()));
        assert_eq!(queue.counters().lost, u64::try_from(PLACES).unwrap() + 1);
        assert!(queue.take().is_none());
    }

    #[test]
    fn few_large_values_are_as_full_as_many_small_ones() {
        let queue = Queue::new(0);
        let large = || vec![Change::Put { name: Vec::new(), value: vec![0; WAITING_BYTES / 2] }];
        queue.push(large()).detach();
        assert!(!queue.lock().is_full());
        queue.push(large()).detach();
        assert!(queue.lock().is_full());
        assert_eq!(queue.take().unwrap().len(), 2);
        assert!(!queue.lock().is_full());
    }
}
