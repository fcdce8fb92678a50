//! Lanes: threads that may wait, so many of a kind, and the proof that code runs on one.
//!
//! A thread that serves connections must never wait for a disk: one dead disk would hold up everybody. So whatever may
//! wait runs on a lane, and lanes do not share places: work that hangs takes places of its own lane alone. What must
//! run on a lane takes an [`OnLane`] as an argument, so that a call from elsewhere does not compile.
//!
//! The threads are those of tokio's blocking pool. It must have room for the places of all lanes.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinError;

/// A bounded number of threads for one kind of work, and a queue before them. Clones share both.
#[derive(Clone, Debug)]
pub struct Lane {
    places: Arc<Semaphore>,
}

/// The thread at hand may wait for a disk. A lane lends one to its work; it cannot be kept, copied or sent to another
/// thread.
pub struct OnLane {
    _of_this_thread: PhantomData<*const ()>,
}

impl Lane {
    /// A lane for `places` pieces of work at once, at least one.
    pub fn new(places: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(places.max(1))) }
    }

    /// Whether it is a clone of `other`.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.places, &other.places)
    }

    /// Runs `work` on a thread of this lane, when its turn has come. Fails only where `work` panics. If the future is
    /// dropped, work that waits for its turn is dropped with it, and work that runs goes on.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&OnLane) -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        // The place goes with the work: a caller that gives up does not free the thread.
        let place = Arc::clone(&self.places).acquire_owned().await;
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
    use std::sync::atomic::{AtomicUsize, Ordering};

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
