//! How long a key may be used that a key service gave.
//!
//! Everything that is derived from a key shares its loan, and asks it before each use. So the end of the loan is the end
//! of all of it: no open file outlives it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sealed_shuffle_config::OutagePolicy;
use tokio::time::{Duration, Instant};

/// The loan of one key.
#[derive(Debug)]
pub struct Loan {
    outage: OutagePolicy,
    began: Instant,
    /// When the key service last confirmed the key: milliseconds since it began.
    confirmed: AtomicU64,
    /// The key was withdrawn.
    ended: AtomicBool,
    /// Milliseconds by which a test has made it older.
    #[cfg(test)]
    aged: AtomicU64,
}

/// What a loan is worth at a moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LoanState {
    /// The key may be used.
    Good,
    /// The key may be used, and the key service is to be asked about it.
    WantsConfirmation,
    /// The key must not be used.
    Over,
}

impl Loan {
    pub(super) fn new(outage: OutagePolicy) -> Self {
        Self {
            outage,
            began: Instant::now(),
            confirmed: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            #[cfg(test)]
            aged: AtomicU64::new(0),
        }
    }

    /// What it is worth now.
    pub fn state(&self) -> LoanState {
        self.at(Instant::now())
    }

    pub(super) fn at(&self, now: Instant) -> LoanState {
        let confirmed = self.began + Duration::from_millis(self.confirmed.load(Ordering::Relaxed));
        let age = now.saturating_duration_since(confirmed);
        #[cfg(test)]
        let age = age + Duration::from_millis(self.aged.load(Ordering::Relaxed));
        match () {
            () if self.ended.load(Ordering::Relaxed) || self.outage.is_over(age) => LoanState::Over,
            () if self.outage.wants_confirmation(age) => LoanState::WantsConfirmation,
            () => LoanState::Good,
        }
    }

    /// The key service has just confirmed the key.
    pub(super) fn confirm(&self, now: Instant) {
        let since = now.saturating_duration_since(self.began).as_millis();
        self.confirmed.store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
        #[cfg(test)]
        self.aged.store(0, Ordering::Relaxed);
    }

    /// Time goes by without a confirmation.
    #[cfg(test)]
    pub(super) fn age(&self, by: Duration) {
        self.aged.fetch_add(by.as_millis().try_into().unwrap(), Ordering::Relaxed);
    }

    /// The key was withdrawn: for good.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}
