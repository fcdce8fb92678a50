//! The calls that run on a lane, and those that were given up.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::pot::Holding;

/// Work that runs.
#[derive(Debug)]
pub(super) struct Call {
    number: u64,
    began: Instant,
    /// Nanoseconds from the beginning to the last progress.
    moved: AtomicU64,
}

impl Call {
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn progress(&self) {
        let since = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.moved.store(since, Ordering::Relaxed);
    }

    /// How long it has done nothing.
    fn silent(&self, now: Instant) -> Duration {
        let moved = self.began + Duration::from_nanos(self.moved.load(Ordering::Relaxed));
        now.saturating_duration_since(moved)
    }
}

/// What runs on a lane, as of a moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CallFigures {
    /// Calls that run and have their place.
    pub running: usize,
    /// Calls that were given up and have not come back.
    pub given_up: usize,
    /// Whether no further call can be given up: the next ones that hang keep their places.
    pub used_up: bool,
    /// How long the call that has done nothing for longest has done nothing.
    pub longest: Duration,
    /// Of the calls that take longer than the lane's patience: how long the last one of them has done nothing.
    pub overdue: Option<Duration>,
}

/// The calls of one lane.
pub(super) struct Calls {
    /// Calls that may be given up at once.
    most: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last: u64,
    /// With their places, but for those that were given up.
    running: HashMap<u64, (Arc<Call>, Option<Holding>)>,
    given_up: u64,
}

impl Calls {
    pub(super) fn new(most: u64) -> Self {
        Self { most, state: Mutex::default() }
    }

    pub(super) fn begin(&self, place: Holding) -> Arc<Call> {
        let mut state = self.state();
        state.last += 1;
        let call = Arc::new(Call { number: state.last, began: Instant::now(), moved: AtomicU64::new(0) });
        state.running.insert(call.number, (Arc::clone(&call), Some(place)));
        call
    }

    pub(super) fn end(&self, call: &Call) {
        let mut state = self.state();
        let ended = state.running.remove(&call.number);
        if matches!(ended, Some((_, None))) {
            state.given_up -= 1;
        }
        // A place is given back outside of the lock.
        drop(state);
        drop(ended);
    }

    /// Gives the place of a call to others, if it runs and as many may be given up.
    pub(super) fn give_up(&self, number: u64) {
        let mut state = self.state();
        let place = state.give_up(number, self.most);
        drop(state);
        drop(place);
    }

    pub(super) fn give_up_overdue(&self, now: Instant, patience: Duration) {
        let mut state = self.state();
        let overdue =
            |(call, place): &&(Arc<Call>, Option<Holding>)| place.is_some() && call.silent(now) > patience;
        let overdue: Vec<u64> = state.running.values().filter(overdue).map(|(call, _)| call.number).collect();
        let places: Vec<_> =
            overdue.into_iter().filter_map(|number| state.give_up(number, self.most)).collect();
        drop(state);
        drop(places);
    }

    pub(super) fn figures(&self, now: Instant, patience: Option<Duration>) -> CallFigures {
        let state = self.state();
        let given_up = usize::try_from(state.given_up).unwrap_or(usize::MAX);
        let silent = || state.running.values().map(|(call, _)| call.silent(now));
        CallFigures {
            running: state.running.len().saturating_sub(given_up),
            given_up,
            used_up: state.given_up >= self.most,
            longest: silent().max().unwrap_or_default(),
            overdue: patience.and_then(|patience| silent().filter(|silent| *silent > patience).min()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn give_up(&mut self, number: u64, most: u64) -> Option<Holding> {
        if self.given_up >= most {
            return None;
        }
        let place = self.running.get_mut(&number)?.1.take()?;
        self.given_up += 1;
        Some(place)
    }
}
