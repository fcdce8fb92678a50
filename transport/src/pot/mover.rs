//! Who holds something and moves nothing.
//!
//! A connection that holds a part of a pot counts the bytes that it moves. While others wait for the pot, whoever moved
//! less than the floor since the look before loses its place. Nobody loses anything while nobody waits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// Shortest time that a rate is taken from: longer than most pauses of a JVM.
const WINDOW: Duration = Duration::from_secs(3);

/// What one connection holds of a pot, and moves. Clones share it.
#[derive(Clone, Debug)]
pub struct Mover {
    state: Arc<MoverState>,
}

#[derive(Debug)]
struct MoverState {
    held: AtomicU64,
    moved: AtomicU64,
    evicted: CancellationToken,
}

impl Mover {
    /// So many bytes have gone to the peer or come from it.
    pub fn moved(&self, bytes: usize) {
        self.state.moved.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Whether the place was taken away, since others waited for it and it moved too little.
    pub fn is_evicted(&self) -> bool {
        self.state.evicted.is_cancelled()
    }

    pub(super) fn holds(&self, amount: u64) {
        self.state.held.fetch_add(amount, Ordering::Relaxed);
    }

    pub(super) fn gave_back(&self, amount: u64) {
        self.state.held.fetch_sub(amount, Ordering::Relaxed);
    }
}

/// All movers of a pot.
#[derive(Debug, Default)]
pub(super) struct Movers {
    all: Vec<MoverWatch>,
    /// Entries above which those of movers that are gone are dropped.
    tidy_at: usize,
}

#[derive(Debug)]
struct MoverWatch {
    mover: Weak<MoverState>,
    /// Of the look before: when, and the bytes that had moved. None unless something was held then.
    before: Option<(Instant, u64)>,
}

impl Movers {
    /// A mover whose place is taken away by cancelling `evicted`.
    pub(super) fn add(&mut self, evicted: CancellationToken) -> Mover {
        if self.all.len() >= self.tidy_at.max(64) {
            self.all.retain(|watched| watched.mover.strong_count() > 0);
            self.tidy_at = 2 * self.all.len();
        }
        let state = Arc::new(MoverState { held: AtomicU64::new(0), moved: AtomicU64::new(0), evicted });
        self.all.push(MoverWatch { mover: Arc::downgrade(&state), before: None });
        Mover { state }
    }

    /// Evicts those that held something since the look before and moved less than `floor` bytes a second, if somebody
    /// waits; how many.
    pub(super) fn look(&mut self, now: Instant, floor: u64, waited_for: bool) -> usize {
        let mut evicted = 0;
        self.all.retain_mut(|watched| {
            let Some(mover) = watched.mover.upgrade() else { return false };
            let moved = mover.moved.load(Ordering::Relaxed);
            if mover.held.load(Ordering::Relaxed) == 0 || mover.evicted.is_cancelled() {
                watched.before = None;
                return true;
            }
            let Some((then, had)) = watched.before else {
                watched.before = Some((now, moved));
                return true;
            };
            let passed = now.saturating_duration_since(then);
            if passed < WINDOW {
                return true;
            }
            let rate = u128::from(moved.saturating_sub(had)) * 1000 / passed.as_millis().max(1);
            if waited_for && rate < u128::from(floor) {
                mover.evicted.cancel();
                evicted += 1;
            }
            watched.before = Some((now, moved));
            true
        });
        evicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOR: u64 = 1000;

    #[test]
    fn whoever_holds_and_moves_too_little_loses_its_place_when_others_wait() {
        let mut movers = Movers::default();
        let [slow, quick, idle] = std::array::from_fn(|_| movers.add(CancellationToken::new()));
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        slow.holds(10);
        quick.holds(10);
        assert_eq!(movers.look(after(0), FLOOR, true), 0, "there is no rate yet");
        slow.moved(2999);
        quick.moved(3000);
        assert_eq!(movers.look(after(3), FLOOR, true), 1);
        assert_eq!([&slow, &quick, &idle].map(Mover::is_evicted), [true, false, false]);
        assert_eq!(movers.look(after(6), FLOOR, false), 0, "nobody waits");
        assert!(!quick.is_evicted());
        quick.gave_back(10);
        assert_eq!(movers.look(after(9), FLOOR, true), 0, "it holds nothing");
    }

    #[test]
    fn movers_that_are_gone_are_forgotten() {
        let mut movers = Movers::default();
        for _ in 0..1000 {
            drop(movers.add(CancellationToken::new()));
        }
        assert!(movers.all.len() <= 130, "{}", movers.all.len());
    }
}
