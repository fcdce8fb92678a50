//! The recovery store outlasts a restart. The server opens it before it binds a port, and takes up its records before it
//! serves a peer. Where the key service does not give its key then, the server serves what needs no key, tells those to
//! come back whom only the store knows, and keeps trying.
//!
//! Spark's clients try again where a connection ends, and not where a request fails
//! (`RetryingBlockTransferor.shouldRetry`, 4.3.0: an `IOException`, three times, five seconds apart). So requests about
//! executors that are not known are held for a while, and then their connection ends. An executor whose registration
//! fails tries twice more, five seconds apart (`BlockManager.registerWithExternalShuffleServer`).

use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sealed_shuffle_config::ServerConfig;
use sealed_shuffle_transport::lane::{LaneError, OnLane};
use sealed_shuffle_transport::pot::Tenant;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::Shared;
use crate::applications::Restoration;
use crate::keys::envelope::EnvelopeKeys;
use crate::merge::Journal;
use crate::state::{Recovery, State, StateError, node_app};

/// Between two looks whether another key wraps.
const WRAPPING_ROUND: Duration = Duration::from_secs(10);

/// Before the store is tried again whose key was not to be had; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The time for the last changes to reach the disk.
const CLOSING: Duration = Duration::from_secs(10);

/// Opens the store that the configuration names. The key service gives the node key that seals it.
pub(super) async fn open(
    config: &ServerConfig,
    keys: &EnvelopeKeys,
) -> Result<(Arc<State>, Recovery), StateError> {
    let context = keys.context(&node_app());
    State::open(&config.envelope.state_dir, &**keys.provider(), &context).await
}

/// A store whose key was not to be had at the start.
#[derive(Debug)]
pub(super) struct AwaitedStore {
    dir: PathBuf,
    opened: CancellationToken,
}

impl AwaitedStore {
    pub(super) fn of(config: &ServerConfig) -> Self {
        Self { dir: config.envelope.state_dir.clone(), opened: CancellationToken::new() }
    }

    /// Whether nobody waits any more.
    pub(super) fn is_open(&self) -> bool {
        self.opened.is_cancelled()
    }

    /// Waits for it; whether it has opened.
    pub(super) async fn opened_within(&self, patience: Duration) -> bool {
        tokio::time::timeout(patience, self.opened.cancelled()).await.is_ok()
    }
}

/// Opens the store when the key service gives its key. Ends where that will never be.
pub(super) async fn open_when_possible(shared: Arc<Shared>) {
    let (Some(awaited), Some(keys)) = (&shared.awaited_store, &shared.keys) else { return pending().await };
    if awaited.is_open() {
        return pending().await;
    }
    let (context, mut pause) = (keys.context(&node_app()), FIRST_PAUSE);
    let mut said = String::new();
    loop {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        match State::open(&awaited.dir, &**keys.provider(), &context).await {
            Ok((state, recovered)) => {
                let taking = Arc::clone(&shared);
                let across = shared.store.roots().across();
                // Each look at a disk has its own deadline.
                let taken = across.run_within(&Tenant::Own, None, move |on: &OnLane| {
                    if let Some(merger) = &taking.merger {
                        merger.write_to(Arc::clone(&state) as Arc<dyn Journal>);
                    }
                    let file = state.path().display().to_string();
                    (taking.applications.open_store(on, state, recovered), file)
                });
                match taken.await {
                    Ok((restoration, file)) => say(&shared, &restoration, &file),
                    Err(error) => {
                        return error!(%error, "what was known before the restart could not be taken up");
                    }
                }
                awaited.opened.cancel();
                return pending().await;
            }
            Err(error) if error.is_configuration() => {
                return error!(%error, "the recovery store will not open");
            }
            Err(error) => {
                let text = error.to_string();
                if text != said {
                    warn!(%error, "the recovery store is still waited for");
                    said = text;
                }
            }
        }
    }
}

fn say(shared: &Shared, restoration: &Restoration, file: &str) {
    let Restoration { executors, dropped, in_part, merges, secrets } = restoration;
    shared.audit.restored(*executors, *dropped, *secrets);
    info!(
        executors,
        dropped,
        in_part,
        merging = merges,
        secrets,
        file,
        "took up the records from before the restart"
    );
}

/// Takes up the records that were recovered.
pub(super) async fn take_up(
    shared: &Arc<Shared>,
    state: &State,
    recovered: Recovery,
) -> Result<(), LaneError> {
    let taking = Arc::clone(shared);
    let lane = shared.store.roots().across();
    // Each look at a disk has its own deadline.
    let restore = move |on: &OnLane| taking.applications.restore(on, recovered);
    let taken = lane.run_within(&Tenant::Own, None, restore).await?;
    say(shared, &taken, &state.path().display().to_string());
    Ok(())
}

/// Keeps the node key wrapped by the key that the key service wraps with, so that an older one can be given up. Never
/// ends.
pub(super) async fn keep_wrapped(shared: Arc<Shared>) {
    let mut rounds = interval(WRAPPING_ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_failing = false;
    loop {
        rounds.tick().await;
        let (Some(state), Some(keys)) = (shared.applications.state(), &shared.keys) else { continue };
        let wrapped = state.keep_wrapped(&**keys.provider(), &keys.context(&node_app())).await;
        if let Err(error) = &wrapped
            && !is_failing
        {
            warn!(%error, "the recovery store's key is not wrapped anew, and the key that wraps it is still needed");
        }
        is_failing = wrapped.is_err();
    }
}

/// Writes who speaks how, so that a kill forgets little of it.
pub(super) async fn keep_sightings(shared: &Arc<Shared>) {
    let Some(state) = shared.applications.state() else { return };
    // A successor has the file now.
    let Some(_change) = shared.succession.change_now() else { return };
    let (lane, shared) = (state.lane().clone(), Arc::clone(shared));
    let kept = lane.run(move |on| shared.applications.keep_sightings(on));
    if tokio::time::timeout(CLOSING, kept).await.is_err() {
        debug!("the state disk does not answer: which channels applications use was not written");
    }
}

/// Writes the changes that wait. A server does this last. A disk that does not answer does not hold up the process.
pub(super) async fn close(shared: &Arc<Shared>) {
    let Some(state) = shared.applications.state().cloned() else { return };
    let (lane, shared) = (state.lane().clone(), Arc::clone(shared));
    let closing = lane.run(move |on| {
        shared.applications.keep_sightings(on);
        state.close();
    });
    if !matches!(tokio::time::timeout(CLOSING, closing).await, Ok(Ok(()))) {
        warn!("the recovery store was not closed in time: it holds every change that was answered");
    }
}
