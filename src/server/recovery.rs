//! The recovery store outlasts a restart. The server opens it before it binds a port, and takes up its records before it
//! serves a peer.

use std::sync::Arc;
use std::time::Duration;

use sealed_shuffle_config::ServerConfig;
use sealed_shuffle_transport::lane::{LaneError, OnLane};
use sealed_shuffle_transport::pot::Tenant;
use tracing::{info, warn};

use super::Shared;
use crate::applications::Restoration;
use crate::keys::envelope::EnvelopeKeys;
use crate::state::{Recovered, State, StateError, node_app};

/// The time for the last changes to reach the disk.
const CLOSING: Duration = Duration::from_secs(10);

/// Opens the store that the configuration names. The key service gives the node key that seals it.
pub(super) async fn open(
    config: &ServerConfig,
    keys: &EnvelopeKeys,
) -> Result<(Arc<State>, Recovered), StateError> {
    let context = keys.context(&node_app());
    State::open(&config.envelope.state_dir, &**keys.provider(), &context).await
}

/// Takes up the records that were recovered.
pub(super) async fn take_up(
    shared: &Arc<Shared>,
    state: &State,
    recovered: Recovered,
) -> Result<(), LaneError> {
    let taking = Arc::clone(shared);
    let lane = shared.store.roots().across();
    // Each look at a disk has its own deadline.
    let restore = move |on: &OnLane| taking.applications.restore(on, recovered);
    let taken = lane.run_within(&Tenant::Own, None, restore).await?;
    let Restoration { executors, dropped, in_part, merges, secrets } = taken;
    let file = state.path().display();
    info!(executors, dropped, in_part, merging = merges, secrets, %file, "took up the records from before the restart");
    Ok(())
}

/// Writes the changes that wait. A server does this last. A disk that does not answer does not hold up the process.
pub(super) async fn close(shared: &Shared) {
    let Some(state) = shared.applications.state().cloned() else { return };
    let lane = state.lane().clone();
    let closing = lane.run(move |_| state.close());
    if !matches!(tokio::time::timeout(CLOSING, closing).await, Ok(Ok(()))) {
        warn!("the recovery store was not closed in time: it holds every change that was answered");
    }
}
