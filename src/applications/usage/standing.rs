//! How an application stands: whether it runs, and which of the channels that it was seen to use say something about it.
//!
//! An application that moved to another channel is judged by the new one, and one that has ended by its last.

use std::sync::Arc;
use std::time::SystemTime;

use super::row::{Row, Use};

/// What a row says of its application at one moment.
pub(super) struct Standing {
    /// It has registered executors, or connections that were granted something.
    pub(super) is_running: bool,
    /// The channels that count: those at work; where there are none, the one that was used last; and those that were used
    /// since the moment of the question.
    pub(super) counting: Vec<Arc<Use>>,
}

impl Standing {
    /// Of an application with so many registered `executors`; `since` is the moment of the question.
    pub(super) fn of(row: &Row, executors: usize, since: Option<SystemTime>) -> Self {
        let uses: Vec<_> = row.details().uses.iter().filter(|one| one.is_used()).cloned().collect();
        let is_any_at_work = uses.iter().any(|one| one.is_at_work());
        let last = uses.iter().filter_map(|one| one.last_used()).max();
        let counts = |one: &Use| {
            one.is_at_work()
                || (!is_any_at_work && one.last_used() == last)
                || since.is_some_and(|since| one.last_used() >= Some(since))
        };
        let counting = uses.iter().filter(|one| counts(one)).cloned().collect();
        Self { is_running: executors > 0 || is_any_at_work, counting }
    }

    /// Whether a channel counts.
    pub(super) fn counts(&self, one: &Arc<Use>) -> bool {
        self.counting.iter().any(|counting| Arc::ptr_eq(counting, one))
    }
}
