//! Records that wait for the writer. Nobody waits for a place: a record that finds none is lost, and counted.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::counters::AuditCounters;
use super::record::Record;

/// Most records that wait. A record has some hundred bytes.
pub(super) const MOST: usize = 4096;

/// Records on their way.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    counters: AuditCounters,
}

#[derive(Debug, Default)]
struct State {
    records: VecDeque<Record>,
    /// Lost since the last record that told of it.
    lost: u64,
    is_closed: bool,
}

/// What is to be written.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) records: VecDeque<Record>,
    /// Records that were lost before these.
    pub(super) lost: u64,
}

impl Queue {
    pub(super) fn new(counters: AuditCounters) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), counters }
    }

    /// Waits for nothing.
    pub(super) fn push(&self, record: Record) {
        let mut state = self.state();
        if state.is_closed || state.records.len() >= MOST {
            state.lost += 1;
            self.counters.lost.inc();
            return;
        }
        state.records.push_back(record);
        drop(state);
        self.changed.notify_one();
    }

    /// Adds what waits to `batch`, as far as there is room in it; waits for at most `patience` where there is nothing.
    /// Whether anything may still come.
    pub(super) fn take(&self, batch: &mut Batch, patience: Duration) -> bool {
        let state = self.state();
        let is_idle = |state: &mut State| state.records.is_empty() && !state.is_closed;
        let waited = self.changed.wait_timeout_while(state, patience, is_idle);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let room = MOST.saturating_sub(batch.records.len()).min(state.records.len());
        batch.records.extend(state.records.drain(..room));
        batch.lost += std::mem::take(&mut state.lost);
        !state.is_closed
    }

    /// Nothing more comes. What comes all the same is lost.
    pub(super) fn close(&self) {
        self.state().is_closed = true;
        self.changed.notify_all();
    }

    /// Records that the writer has not taken yet.
    pub(super) fn waiting(&self) -> usize {
        self.state().records.len()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state().is_closed
    }

    /// What waits is not written any more.
    pub(super) fn give_up(&self, batch: Batch) {
        let mut state = self.state();
        let lost = (batch.records.len() + state.records.len()) as u64;
        state.records.clear();
        state.lost += lost + batch.lost;
        self.counters.lost.inc_by(lost);
    }

    /// Records that are lost, and told nowhere yet.
    pub(super) fn untold(&self) -> u64 {
        self.state().lost
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
