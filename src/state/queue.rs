//! Changes on their way to the writer.
//!
//! Invariants: changes are committed in the order in which they were pushed; at most [`PLACES`] lots of them wait, whoever
//! comes then waits; every lot gets one answer.

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

/// Lots of changes that may wait, which is also the most that share a commit.
pub(super) const PLACES: usize = 1024;

/// The queue, and what is counted.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    written: AtomicU64,
    lost: AtomicU64,
    commits: AtomicU64,
    records: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    lots: VecDeque<Lot>,
    closed: bool,
}

/// Changes that are written together.
#[derive(Debug)]
pub(super) struct Lot {
    pub(super) changes: Vec<Change>,
    done: oneshot::Sender<bool>,
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
    /// All names that begin so.
    DeleteAll {
        prefix: Vec<u8>,
        unless: Option<Box<dyn Fn() -> bool + Send + Sync>>,
    },
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Put { .. } => "Put",
            Self::Delete { .. } => "Delete",
            Self::DeleteMerge { .. } => "DeleteMerge",
            Self::DeleteAll { .. } => "DeleteAll",
        })
    }
}

/// The store in numbers. Counters grow; gauges are as of now.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct StateCounters {
    /// Counter: changes that were committed.
    pub written: u64,
    /// Counter: changes that were not, and never will be.
    pub lost: u64,
    /// Counter: commits, each of one change or many.
    pub commits: u64,
    /// Gauge: records.
    pub records: u64,
    /// Gauge: changes that wait.
    pub waiting: usize,
}

/// The answer to a change: whether it is on the disk. Dropping it takes nothing back; what is lost has been logged and
/// counted.
#[derive(Debug)]
#[must_use = "what is not waited for may be lost by a kill"]
pub struct Written(oneshot::Receiver<bool>);

impl Written {
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

impl Future for Written {
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

    /// Takes changes up, in order. Waits for a place.
    pub(super) fn push(&self, changes: Vec<Change>) -> Written {
        let (done, answer) = oneshot::channel();
        let lot = Lot { changes, done };
        let mut waiting = self.lock();
        while waiting.lots.len() >= PLACES && !waiting.closed {
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        if waiting.closed {
            drop(waiting);
            self.answer(lot, false);
        } else {
            waiting.lots.push_back(lot);
            self.changed.notify_all();
        }
        Written(answer)
    }

    /// A change that cannot be taken up.
    pub(super) fn refuse(&self, why: &dyn fmt::Display) -> Written {
        warn!("a change of the recovery store is lost: {why}");
        self.lost.fetch_add(1, Ordering::Relaxed);
        let (done, answer) = oneshot::channel();
        // The receiver is there.
        _ = done.send(false);
        Written(answer)
    }

    /// All that waits; waits for something, and is `None` when there will be nothing any more.
    pub(super) fn take(&self) -> Option<Vec<Lot>> {
        let mut waiting = self.lock();
        while waiting.lots.is_empty() && !waiting.closed {
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        if waiting.lots.is_empty() {
            return None;
        }
        let lots = waiting.lots.drain(..).collect();
        self.changed.notify_all();
        Some(lots)
    }

    /// Says whether a lot is written.
    pub(super) fn answer(&self, lot: Lot, written: bool) {
        let counter = if written { &self.written } else { &self.lost };
        counter.fetch_add(1, Ordering::Relaxed);
        // Who does not wait for it has dropped the other end.
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

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
