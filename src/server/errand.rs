//! Work of a request that waits for a disk.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sealed_shuffle_transport::lane::{Lane, LaneError, OnLane};
use sealed_shuffle_transport::seal::{Phase, SegmentPool, Watcher as _};

use super::Shared;
use crate::traces::Trace;

/// Whose work it is.
#[derive(Clone, Copy)]
pub(super) struct Errand<'a> {
    pub(super) shared: &'a Arc<Shared>,
    /// The memory of its connection, which knows the tenant.
    pub(super) memory: &'a SegmentPool,
    /// The request, where it is traced.
    pub(super) trace: Option<&'a Trace>,
}

impl Errand<'_> {
    /// Runs work on a lane, as long as that may take.
    pub(super) async fn run<T: Send + 'static>(
        self,
        lane: &Lane,
        work: impl FnOnce(&OnLane) -> T + Send + 'static,
    ) -> Result<T, LaneError> {
        self.run_within(lane, self.shared.patience(lane), work).await
    }

    /// The same within another time.
    pub(super) async fn run_within<T: Send + 'static>(
        self,
        lane: &Lane,
        patience: Duration,
        work: impl FnOnce(&OnLane) -> T + Send + 'static,
    ) -> Result<T, LaneError> {
        let tenant = self.memory.tenant();
        let Some(trace) = self.trace else {
            return lane.run_within(&tenant, Some(patience), work).await;
        };
        let asked = Instant::now();
        let timed = move |on: &OnLane| {
            let began = Instant::now();
            (work(on), [began, Instant::now()])
        };
        match lane.run_within(&tenant, Some(patience), timed).await {
            Ok((done, times)) => {
                trace.was_on_lane(asked, times);
                Ok(done)
            }
            Err(error) => {
                // The disk, or those that wait for it: nobody knows.
                trace.was_in(Phase::Disk, asked, asked.elapsed());
                Err(error)
            }
        }
    }
}
