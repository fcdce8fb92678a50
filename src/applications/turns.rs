//! One change of an application at a time.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sealed_shuffle_protocol::ids::AppId;
use tracing::warn;

/// A turn is waited for no longer than that: whoever has it waits for a disk that does not answer.
const LONGEST: Duration = Duration::from_secs(30);

/// The applications that are being changed.
#[derive(Debug, Default)]
pub(super) struct Turns {
    taken: Mutex<HashSet<AppId>>,
    given_back: Condvar,
}

impl Turns {
    /// Waits until nobody else changes `app`, and goes on without its turn where that takes very long.
    pub(super) fn take(&self, app: &AppId) -> Turn<'_> {
        self.take_within(app, LONGEST)
    }

    fn take_within(&self, app: &AppId, longest: Duration) -> Turn<'_> {
        let taken = self.taken();
        let waited = self.given_back.wait_timeout_while(taken, longest, |taken| taken.contains(app));
        let (mut taken, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let is_own = taken.insert(app.clone());
        if !is_own {
            warn!(%app, waited = ?longest, "an application is changed while another change of it waits for a disk");
        }
        Turn { turns: self, app: is_own.then(|| app.clone()) }
    }

    /// The turn, unless somebody has it.
    pub(super) fn try_take(&self, app: &AppId) -> Option<Turn<'_>> {
        let is_own = self.taken().insert(app.clone());
        is_own.then(|| Turn { turns: self, app: Some(app.clone()) })
    }

    fn taken(&self) -> MutexGuard<'_, HashSet<AppId>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to change an application, until it is dropped.
#[derive(Debug)]
#[must_use = "the turn ends when it is dropped"]
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    /// None where it was not waited for to the end.
    app: Option<AppId>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(app) = &self.app {
            self.turns.taken().remove(app);
            self.turns.given_back.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn one_change_at_a_time_for_each_application() {
        let (turns, app, other) = (Turns::default(), AppId::new("a"), AppId::new("b"));
        let turn = turns.take(&app);
        assert!(turns.try_take(&app).is_none());
        assert!(turns.try_take(&other).is_some(), "another application does not wait");
        drop(turn);
        assert!(turns.try_take(&app).is_some());
        assert!(turns.taken().is_empty());

        let inside = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let _turn = turns.take(&app);
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(turns.taken().is_empty());
    }

    #[test]
    fn a_turn_that_is_never_given_back_is_not_waited_for_forever() {
        let (turns, app) = (Turns::default(), AppId::new("a"));
        let stuck = turns.take(&app);
        drop(turns.take_within(&app, Duration::from_millis(1)));
        assert!(turns.try_take(&app).is_none(), "it is still the other one's");
        drop(stuck);
        assert!(turns.try_take(&app).is_some());
    }
}
