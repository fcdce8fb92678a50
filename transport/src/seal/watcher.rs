//! Who watches a body on its way out, where somebody does: see [`Body::watched_by`](super::Body::watched_by).

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::phases::{Lap, Phase};

/// Is told how the segments fared that have bytes of a body. It is called on the thread of the connection, and waits for
/// nothing.
pub trait Watcher: fmt::Debug + Send + Sync {
    /// A segment with bytes of the body was in `phase` for `time`.
    fn was_in(&self, phase: Phase, began: Instant, time: Duration);

    /// The kernel has `bytes` more of the body.
    fn sent(&self, bytes: u64);
}

/// A body with bytes in the segment that is being filled or written.
#[derive(Debug)]
pub(super) struct Rider {
    pub(super) watcher: Arc<dyn Watcher>,
    /// How many.
    pub(super) bytes: u64,
}

impl Rider {
    pub(super) fn tell(&self, laps: &[Lap]) {
        for lap in laps {
            self.watcher.was_in(lap.phase, lap.began, lap.time);
        }
    }
}
