//! A lane for long computations: slow ciphers and key derivations must not hold up the threads that serve everybody
//! else.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinError;

/// A bounded number of blocking threads. If none is free, the caller waits, and so do other callers of this lane.
#[derive(Clone, Debug)]
pub struct Lane {
    places: Arc<Semaphore>,
}

impl Lane {
    /// A lane for `places` pieces of work at once, at least one.
    pub fn new(places: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(places.max(1))) }
    }

    /// Runs `work` on a blocking thread when its turn has come. Fails only if `work` panics.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        // The place stays with the work: a caller that gives up does not free the thread.
        let place = Arc::clone(&self.places).acquire_owned().await;
        tokio::task::spawn_blocking(move || {
            let _place = place;
            work()
        })
        .await
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
                    let work = move || {
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
}
