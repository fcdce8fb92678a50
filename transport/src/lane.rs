//! Lanes: threads that may wait, so many of a kind, and the proof that code runs on one.
//!
//! A thread that serves connections must never wait for a disk: one dead disk would hold up everybody. So whatever may
//! wait runs on a lane, and lanes do not share places: work that hangs takes places of its own lane alone. What must
//! run on a lane takes an [`OnLane`] as an argument, so that a call from elsewhere does not compile.
//!
//! A lane of a disk serves applications in turn, and none of them has all of its places: what one of them has waiting
//! does not hold up another ([`Lane::shared`]).
//!
//! The threads are those of tokio's blocking pool. It must have room for the places of all lanes.

use std::fmt;
use std::marker::PhantomData;

use tokio::runtime::Handle;
use tokio::task::JoinError;

use crate::pot::{Pot, Tenant};

/// A bounded number of threads for one kind of work, and a queue before them. Clones share both.
#[derive(Clone, Debug)]
pub struct Lane {
    places: Pot,
}

/// The thread at hand may wait for a disk. A lane lends one to its work; it cannot be kept, copied or sent to another
/// thread.
pub struct OnLane {
    _of_this_thread: PhantomData<*const ()>,
}

impl Lane {
    /// A lane for `places` pieces of work at once, at least one.
    pub fn new(places: usize) -> Self {
        Self { places: Pot::of_turns("lane", places as u64) }
    }

    /// The same, of which no application has more than eight ninths (but one place at least).
    pub fn shared(places: usize) -> Self {
        Self { places: Pot::new("disk_threads", places as u64) }
    }

    /// The places, for metrics.
    pub fn places(&self) -> &Pot {
        &self.places
    }

    /// Whether it is a clone of `other`.
    pub fn is(&self, other: &Self) -> bool {
        self.places.is(&other.places)
    }

    /// Runs `work` of this process itself on a thread of this lane, when its turn has come. Fails only where `work`
    /// panics. If the future is dropped, work that waits for its turn is dropped with it, and work that runs goes on.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&OnLane) -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        self.run_for(&Tenant::Own, work).await
    }

    /// The same for a tenant: tenants take turns.
    pub async fn run_for<T: Send + 'static>(
        &self,
        tenant: &Tenant,
        work: impl FnOnce(&OnLane) -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        // The place goes with the work: a caller that gives up does not free the thread.
        let place = self.places.account(tenant).take(1).await;
        tokio::task::spawn_blocking(move || {
            let _place = place;
            work(&OnLane { _of_this_thread: PhantomData })
        })
        .await
    }

    /// Has `work` done when its turn comes; nobody waits for it. Outside a runtime it is dropped.
    pub fn send(&self, work: impl FnOnce(&OnLane) + Send + 'static) {
        let Ok(runtime) = Handle::try_current() else { return };
        let lane = self.clone();
        drop(runtime.spawn(async move { lane.run(work).await }));
    }
}

impl OnLane {
    /// For programs without a runtime on this thread, whose threads may wait: commands, tests, benchmarks.
    ///
    /// # Panics
    ///
    /// On a thread of a runtime: [`Lane::run`] is the way there.
    pub fn here() -> Self {
        assert!(Handle::try_current().is_err(), "a thread of a runtime must not wait for a disk");
        Self { _of_this_thread: PhantomData }
    }
}

impl fmt::Debug for OnLane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnLane")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use sealed_shuffle_protocol::ids::AppId;

    use super::*;

    #[tokio::test]
    async fn no_more_work_runs_at_once_than_there_are_places() {
        let lane = Lane::new(2);
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let work: Vec<_> = (0..8)
            .map(|_| {
                let (lane, now, most) = (lane.clone(), Arc::clone(&now), Arc::clone(&most));
                tokio::spawn(async move {
                    let work = move |_: &OnLane| {
                        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        now.fetch_sub(1, Ordering::SeqCst);
                        most.load(Ordering::SeqCst)
                    };
                    lane.run(work).await.unwrap()
                })
            })
            .collect();
        for work in work {
            assert!(work.await.unwrap() <= 2);
        }
    }

    #[tokio::test]
    async fn application_that_fills_a_shared_lane_leaves_a_place_for_another() {
        let lane = Lane::shared(8);
        let (a, b) = (Tenant::App(AppId::new("a")), Tenant::App(AppId::new("b")));
        let mut hung = Vec::new();
        for _ in 0..100 {
            let (free, hang) = std::sync::mpsc::channel::<()>();
            let (lane, a) = (lane.clone(), a.clone());
            hung.push((free, tokio::spawn(async move { lane.run_for(&a, move |_| hang.recv()).await })));
        }
        tokio::task::yield_now().await;
        assert_eq!(lane.run_for(&b, |_| 7).await.unwrap(), 7);
        assert_eq!(lane.places().figures().used, 7);
        for (free, work) in hung {
            drop(free);
            assert!(work.await.unwrap().unwrap().is_err());
        }
    }

    #[tokio::test]
    async fn lane_whose_places_hang_holds_up_no_other() {
        let (dead, alive) = (Lane::new(1), Lane::new(1));
        let (free, hang) = std::sync::mpsc::channel::<()>();
        let hangs = tokio::spawn({
            let dead = dead.clone();
            async move { dead.run(move |_| hang.recv()).await }
        });
        tokio::task::yield_now().await;
        assert_eq!(alive.run(|_| 7).await.unwrap(), 7);
        drop(free);
        assert!(hangs.await.unwrap().unwrap().is_err());
    }

    #[tokio::test]
    #[should_panic(expected = "must not wait for a disk")]
    async fn thread_of_a_runtime_gets_no_token() {
        OnLane::here();
    }

    #[test]
    fn thread_of_no_runtime_gets_one() {
        assert_eq!(format!("{:?}", OnLane::here()), "OnLane");
        assert_eq!(size_of::<OnLane>(), 0);
    }
}
