//! The quota of bandwidth: how fast one tenant may send, over all its connections.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

/// What a connection is about to send, before anybody knows: a segment.
const ABOUT: u64 = 256 << 10;

/// So late may a tenant be, for timers or for want of a processor, and catch up.
const SLACK: Duration = Duration::from_millis(20);

/// The pace of one tenant. Its connections wait one after the other, in their order.
#[derive(Debug)]
pub(super) struct Pace {
    /// Bytes a second.
    rate: u64,
    gate: Semaphore,
    state: Mutex<PaceState>,
    waits: AtomicU64,
}

#[derive(Debug)]
struct PaceState {
    /// When everything that was sent would have gone out at the rate.
    due: Instant,
    /// Connections that passed and have not sent yet.
    passed: u64,
}

/// A connection that may send; it counts as if it sent a segment until it is dropped.
#[derive(Debug)]
pub struct Passage {
    line: super::Line,
}

impl Pace {
    pub(super) fn new(rate: u64) -> Self {
        Self {
            rate: rate.max(1),
            gate: Semaphore::new(1),
            state: Mutex::new(PaceState { due: Instant::now(), passed: 0 }),
            waits: AtomicU64::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, PaceState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn time(&self, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.rate);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Waits until the tenant may send. Cancel safe. The caller calls [`Pace::leave`] when it has sent.
    pub(super) async fn pass(&self) {
        // The gate is never closed.
        let _turn = self.gate.acquire().await;
        loop {
            let now = Instant::now();
            let at = {
                let mut state = self.state();
                let at = state.due + self.time(ABOUT.saturating_mul(state.passed));
                if at <= now {
                    state.passed += 1;
                    return;
                }
                at
            };
            self.waits.fetch_add(1, Relaxed);
            sleep_until(at).await;
        }
    }

    pub(super) fn leave(&self) {
        let mut state = self.state();
        state.passed = state.passed.saturating_sub(1);
    }

    pub(super) fn sent(&self, bytes: u64) {
        let now = Instant::now();
        let mut state = self.state();
        let from = now.checked_sub(SLACK).map_or(now, |earliest| earliest.max(state.due));
        state.due = from + self.time(bytes);
    }

    /// Whether a connection waits now.
    pub(super) fn holds_up(&self) -> bool {
        self.gate.available_permits() == 0
    }

    /// How often a connection had to wait.
    pub(super) fn waits(&self) -> u64 {
        self.waits.load(Relaxed)
    }
}

impl Passage {
    pub(super) fn of(line: super::Line) -> Self {
        Self { line }
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        if let Some(pace) = self.line.pace() {
            pace.leave();
        }
    }
}
