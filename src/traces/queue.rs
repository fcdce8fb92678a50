//! Traces that wait for the exporter. Nobody waits for a place: a trace that finds none is lost, and counted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::counters::{Loss, TraceCounters};
use super::notes::Notes;

/// Most traces that wait. One has a KiB or two.
pub(super) const MOST: usize = 2048;

/// Most traces that are open at the same time.
pub(super) const MOST_OPEN: usize = 4096;

/// Traces of one message.
pub(super) const BATCH: usize = 256;

/// Traces on their way.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<VecDeque<Notes>>,
    open: AtomicUsize,
    /// There are enough for a message.
    enough: Notify,
    counters: TraceCounters,
}

impl Queue {
    pub(super) fn new(counters: TraceCounters) -> Self {
        Self { waiting: Mutex::default(), open: AtomicUsize::new(0), enough: Notify::new(), counters }
    }

    /// Counts one that begins; false where there is no room for it, and it is lost. [`Queue::takes`] counts its end.
    pub(super) fn opens_one(&self) -> bool {
        if self.open.fetch_add(1, Ordering::Relaxed) < MOST_OPEN {
            return true;
        }
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.counters.loses(Loss::Open, 1);
        false
    }

    /// One has ended. Waits for nothing.
    pub(super) fn takes(&self, notes: Notes) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        let mut waiting = self.waiting();
        if waiting.len() >= MOST {
            drop(waiting);
            self.counters.loses(Loss::Waiting, notes.spans());
            return;
        }
        waiting.push_back(notes);
        let is_enough = waiting.len() == BATCH;
        drop(waiting);
        if is_enough {
            self.enough.notify_one();
        }
    }

    /// The oldest ones, for a message.
    pub(super) fn batch(&self) -> Vec<Notes> {
        let mut waiting = self.waiting();
        let count = waiting.len().min(BATCH);
        waiting.drain(..count).collect()
    }

    /// Those of a message that failed wait again, in front of all others; where there is no room, the oldest are lost.
    pub(super) fn gives_back(&self, batch: Vec<Notes>) {
        let mut waiting = self.waiting();
        let over = (waiting.len() + batch.len()).saturating_sub(MOST);
        let mut lost = 0;
        for (n, notes) in batch.into_iter().enumerate().rev() {
            match n < over {
                true => lost += notes.spans(),
                false => waiting.push_front(notes),
            }
        }
        drop(waiting);
        self.counters.loses(Loss::Waiting, lost);
    }

    /// Resolves when there are enough for a message.
    pub(super) async fn has_enough(&self) {
        self.enough.notified().await;
    }

    /// Whether there are enough for a message.
    pub(super) fn is_enough(&self) -> bool {
        self.waiting().len() >= BATCH
    }

    pub(super) fn counters(&self) -> &TraceCounters {
        &self.counters
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Notes>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
