//! Connections of an application that may have so many: who gives way to one that comes.
//!
//! ```text
//! sits ──its application is at its quota, and it is idle──► asked to go ──nothing is owed or under way──► closed
//! ```
//!
//! A connection is idle when none of its requests, streams and pushes is open and it said nothing for a while. It ends as it
//! does where the server has a successor: once it was quiet for a moment, so that nothing of its peer is lost.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_transport::pot::{Account, Holding};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Who said nothing for so long is idle. Spark's executors keep their connections for minutes.
const IDLE: Duration = Duration::from_secs(1);

/// Who was asked to go is closed when it was quiet for so long.
pub(super) const QUIET: Duration = Duration::from_millis(100);

/// Between two looks for one that is idle.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// How long one that comes waits for another to go.
const PATIENCE: Duration = Duration::from_secs(10);

/// The connections of all applications, where each may have so many.
#[derive(Debug, Default)]
pub(super) struct Seats(Mutex<HashMap<AppId, Vec<Weak<SeatState>>>>);

/// That of one connection.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    app: AppId,
    state: Arc<SeatState>,
}

#[derive(Debug)]
struct SeatState {
    last_use: Mutex<Instant>,
    is_busy: AtomicBool,
    asked: CancellationToken,
}

impl Seats {
    /// A connection of `app` begins.
    pub(super) fn sit(self: &Arc<Self>, app: &AppId) -> Seat {
        let state = Arc::new(SeatState {
            last_use: Mutex::new(Instant::now()),
            is_busy: AtomicBool::new(true),
            asked: CancellationToken::new(),
        });
        self.apps().entry(app.clone()).or_default().push(Arc::downgrade(&state));
        Seat { seats: Arc::clone(self), app: app.clone(), state }
    }

    /// Waits for a place on `account`, which is that of `app`, and asks its idle connections to go.
    pub(super) async fn await_place(&self, app: &AppId, account: &Account) -> Option<Holding> {
        let waits = async {
            let mut place = pin!(account.take(1));
            loop {
                self.ask_one(app, Instant::now());
                if let Ok(place) = timeout(LOOK_AGAIN, &mut place).await {
                    return place;
                }
            }
        };
        timeout(PATIENCE, waits).await.ok()
    }

    /// Asks that connection of `app` to go which is idle the longest.
    pub(super) fn ask_one(&self, app: &AppId, now: Instant) {
        let apps = self.apps();
        let seats = apps.get(app).into_iter().flatten().filter_map(Weak::upgrade);
        let idle = seats.filter(|seat| !seat.is_busy.load(Ordering::Relaxed) && !seat.asked.is_cancelled());
        let longest = idle.map(|seat| (seat.last_use(), seat)).min_by_key(|(since, _)| *since);
        if let Some((_, seat)) = longest.filter(|(since, _)| now.saturating_duration_since(*since) >= IDLE) {
            seat.asked.cancel();
        }
    }

    fn apps(&self) -> MutexGuard<'_, HashMap<AppId, Vec<Weak<SeatState>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SeatState {
    fn last_use(&self) -> Instant {
        *self.last_use.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// A request has come.
    pub(super) fn touch(&self) {
        self.state.is_busy.store(true, Ordering::Relaxed);
        *self.state.last_use.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// All that came was handed over; whether something of it is still to be asked for, or to come.
    pub(super) fn pauses(&self, is_busy: bool) {
        self.state.is_busy.store(is_busy, Ordering::Relaxed);
    }

    /// Resolves when it is to go. Cancel safe.
    pub(super) async fn asked(&self) {
        self.state.asked.cancelled().await;
    }

    /// Whether it is to go.
    pub(super) fn is_asked(&self) -> bool {
        self.state.asked.is_cancelled()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut apps = self.seats.apps();
        let Some(seats) = apps.get_mut(&self.app) else { return };
        seats.retain(|seat| !std::ptr::eq(seat.as_ptr(), Arc::as_ptr(&self.state)));
        if seats.is_empty() {
            apps.remove(&self.app);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_is_idle_the_longest_goes_and_none_that_is_not() {
        let (seats, a, b) = (Arc::<Seats>::default(), AppId::new("a"), AppId::new("b"));
        let start = Instant::now();
        let [busy, old, newer, other] = [&a, &a, &a, &b].map(|app| {
            let seat = seats.sit(app);
            seat.pauses(false);
            seat
        });
        newer.touch();
        newer.pauses(false);
        busy.pauses(true);
        let later = Instant::now() + IDLE;
        seats.ask_one(&a, start);
        let asked = || [&busy, &old, &newer, &other].map(Seat::is_asked);
        assert_eq!(asked(), [false; 4], "nobody is idle yet");
        seats.ask_one(&a, later);
        assert_eq!(asked(), [false, true, false, false]);
        seats.ask_one(&a, later);
        seats.ask_one(&a, later);
        assert_eq!(asked(), [false, true, true, false]);
        drop((busy, old, newer, other));
        assert!(seats.apps().is_empty());
    }
}
