//! Another process may take this server's place: whether this one accepts peers and changes records.
//!
//! ```text
//! Serving ──pause──► Paused ──retire──► Succeeded ──► its connections end, the process too
//!    ▲                  │
//!    └──── the successor did not come ────┘        Serving ──stop──► Stopping
//! ```
//!
//! While it is paused, peers that connect wait in the backlog of the socket, which is the successor's, too. Requests that
//! change something of what the recovery store holds wait as well: registrations, pushes, finalizations, ends. Reading
//! goes on all the time. Once there is a successor, a push is answered as one that met another writer: its block is read
//! unmerged. The other requests end their connection, and Spark asks the successor.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sealed_shuffle_protocol::connection::CloseReason;
use sealed_shuffle_transport::lane::OnLane;
use thiserror::Error;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock, watch};
use tracing::error;

use super::{Server, Shared};

/// For requests that change something, to end before the store is given away.
const CHANGES: Duration = Duration::from_secs(5);

/// For the last changes to reach the disk, and the store to be closed.
const CLOSING: Duration = Duration::from_secs(10);

/// A connection that was quiet for so long is closed once there is a successor: nothing of its peer is under way.
const QUIET: Duration = Duration::from_secs(1);

/// The same when half of the time to drain is over.
const HARDLY_QUIET: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Serving,
    Paused,
    Succeeded,
    Stopping,
}

/// Where this server stands.
#[derive(Debug)]
pub(super) struct Succession {
    phase: watch::Sender<Phase>,
    /// Read by whoever changes something, written by who gives the records away.
    changes: Arc<RwLock<()>>,
    /// Whether half of the time to drain is over.
    hurried: AtomicBool,
}

/// A change of the records is under way.
pub(super) type Change = OwnedRwLockReadGuard<()>;

impl Default for Succession {
    fn default() -> Self {
        Self {
            phase: watch::Sender::new(Phase::Serving),
            changes: Arc::default(),
            hurried: AtomicBool::new(false),
        }
    }
}

impl Succession {
    /// A change of the records begins; it waits while the server is paused. Where a successor has the records, the
    /// connection ends.
    pub(super) async fn change(&self) -> Result<Change, CloseReason> {
        let change = Arc::clone(&self.changes).read_owned().await;
        match self.is_over() {
            true => Err(CloseReason::ShuttingDown),
            false => Ok(change),
        }
    }

    /// The same for a thread that may not wait; `None` while the server is paused, and once there is a successor.
    pub(super) fn change_now(&self) -> Option<Change> {
        let change = Arc::clone(&self.changes).try_read_owned().ok()?;
        (!self.is_over()).then_some(change)
    }

    /// Whether there is a successor.
    pub(super) fn is_over(&self) -> bool {
        *self.phase.borrow() == Phase::Succeeded
    }

    /// Resolves when the server accepts nobody.
    pub(super) async fn not_serving(&self) {
        self.wait_for(|phase| phase != Phase::Serving).await;
    }

    /// Whether the server goes on accepting: waits for the outcome of a pause. `stopped` says that it is to stop.
    pub(super) async fn goes_on(&self, stopped: bool) -> bool {
        loop {
            self.wait_for(|phase| phase != Phase::Paused).await;
            match (*self.phase.borrow(), stopped) {
                (Phase::Succeeded | Phase::Stopping, _) => return false,
                (Phase::Serving, false) => return true,
                (Phase::Serving | Phase::Paused, _) => {}
            }
            if stopped && self.step(Phase::Serving, Phase::Stopping) {
                return false;
            }
        }
    }

    /// How long a connection is to be quiet before it is closed; `None` without a successor: at once.
    pub(super) fn quiet(&self) -> Option<Duration> {
        let quiet = if self.hurried.load(Ordering::Relaxed) { HARDLY_QUIET } else { QUIET };
        self.is_over().then_some(quiet)
    }

    /// Half of the time to drain is over.
    pub(super) fn hurry(&self) {
        self.hurried.store(true, Ordering::Relaxed);
    }

    fn step(&self, from: Phase, to: Phase) -> bool {
        self.phase.send_if_modified(|phase| {
            let fits = *phase == from;
            if fits {
                *phase = to;
            }
            fits
        })
    }

    async fn wait_for(&self, is: impl Fn(Phase) -> bool) {
        let mut phase = self.phase.subscribe();
        // The sender is ours.
        _ = phase.wait_for(|phase| is(*phase)).await;
    }
}

/// Why the records cannot be given away. The server goes on.
#[derive(Debug, Error)]
pub(crate) enum PauseRefusal {
    #[error("the server is stopping, or another one takes over already")]
    NotServing,
    #[error(
        "it keeps no records (spark.shuffle.service.db.enabled=false): registrations would be lost; restart it"
    )]
    NoRecords,
    #[error("requests that change something did not end within {CHANGES:?}; try again")]
    Busy,
    #[error("the recovery store was not closed within {CLOSING:?}; look at its disk")]
    StoreBusy,
}

/// A server that accepts nobody and has closed its recovery store. Dropped, it goes on as before.
pub(crate) struct Pause {
    shared: Arc<Shared>,
    changes: Option<OwnedRwLockWriteGuard<()>>,
}

impl Server {
    /// The file of its recovery store.
    pub(crate) fn records(&self) -> Option<&std::path::Path> {
        self.shared.applications.state().map(|state| state.path())
    }

    /// Accepts nobody, lets changes end, and closes the recovery store.
    pub(crate) async fn pause(&self) -> Result<Pause, PauseRefusal> {
        let shared = Arc::clone(&self.shared);
        let Some(state) = shared.applications.state().cloned() else { return Err(PauseRefusal::NoRecords) };
        if !shared.succession.step(Phase::Serving, Phase::Paused) {
            return Err(PauseRefusal::NotServing);
        }
        let mut pause = Pause { shared, changes: None };
        let changes = Arc::clone(&pause.shared.succession.changes).write_owned();
        let changes = tokio::time::timeout(CHANGES, changes).await.map_err(|_| PauseRefusal::Busy)?;
        pause.changes = Some(changes);
        pause.shared.remains.close().await;
        let (lane, shared) = (state.lane().clone(), Arc::clone(&pause.shared));
        let close = move |on: &OnLane| {
            shared.applications.keep_sightings(on);
            state.close();
        };
        match tokio::time::timeout(CLOSING, lane.run(close)).await {
            Ok(Ok(())) => Ok(pause),
            Ok(Err(_)) | Err(_) => Err(PauseRefusal::StoreBusy),
        }
    }

    /// Whether applications may begin and end here: not while a successor comes, and not afterwards.
    pub(crate) fn takes_changes(&self) -> bool {
        self.shared.succession.change_now().is_some()
    }

    /// Whether it serves without its records until the key service gives their key.
    pub(crate) fn awaits_store(&self) -> bool {
        self.shared.awaited_store().is_some()
    }

    /// Whether another server has taken this one's place.
    pub(crate) fn has_successor(&self) -> bool {
        self.shared.succession.is_over()
    }

    /// Resolves when the server stops, or there is a successor.
    pub(crate) async fn ends(&self) {
        let is_over = |phase| matches!(phase, Phase::Succeeded | Phase::Stopping);
        self.shared.succession.wait_for(is_over).await;
    }
}

impl Pause {
    /// A successor serves: what is open here ends, and nothing begins.
    pub(crate) fn retire(self) {
        self.shared.merger.iter().for_each(|merger| merger.retire());
        self.shared.succession.step(Phase::Paused, Phase::Succeeded);
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        let succession = &self.shared.succession;
        if succession.is_over() {
            return;
        }
        if let Some(Err(error)) = self.shared.applications.state().map(|state| state.resume()) {
            error!(%error, "the recovery store is not written any more: restart the server");
        }
        self.changes = None;
        succession.step(Phase::Paused, Phase::Serving);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn changes_wait_for_the_outcome_of_a_pause() {
        let succession = Arc::new(Succession::default());
        let first = succession.change().await.unwrap();
        assert!(succession.step(Phase::Serving, Phase::Paused));
        let waiting = Arc::clone(&succession.changes).write_owned();
        let mut waiting = std::pin::pin!(waiting);
        assert!(
            tokio::time::timeout(Duration::from_millis(5), &mut waiting).await.is_err(),
            "one is under way"
        );
        drop(first);
        let held = waiting.await;
        assert!(succession.change_now().is_none());
        let second = tokio::spawn({
            let succession = Arc::clone(&succession);
            async move { succession.change().await.map(drop) }
        });
        succession.step(Phase::Paused, Phase::Serving);
        drop(held);
        second.await.unwrap().unwrap();
        assert!(succession.goes_on(false).await && succession.change_now().is_some());

        succession.step(Phase::Serving, Phase::Paused);
        succession.step(Phase::Paused, Phase::Succeeded);
        let refused = succession.change().await;
        assert!(matches!(refused, Err(CloseReason::ShuttingDown)));
        assert!(succession.change_now().is_none() && !succession.goes_on(false).await);
    }

    #[tokio::test]
    async fn server_that_is_to_stop_stops_also_where_a_successor_gave_up() {
        let succession = Arc::new(Succession::default());
        succession.step(Phase::Serving, Phase::Paused);
        let stopping = tokio::spawn({
            let succession = Arc::clone(&succession);
            async move { succession.goes_on(true).await }
        });
        succession.step(Phase::Paused, Phase::Serving);
        assert!(!stopping.await.unwrap());
        assert!(!succession.step(Phase::Serving, Phase::Paused), "nobody takes over from now on");
    }
}
