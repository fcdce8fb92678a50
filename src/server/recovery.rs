//! What survives a restart: the recovery store, opened before any port is bound and taken up before anybody is served.

use std::sync::Arc;
use std::time::Duration;

use sealed_shuffle_config::ServerConfig;
use tokio::task::JoinError;
use tracing::{info, warn};

use super::Shared;
use crate::applications::Restoration;
use crate::keys::envelope::EnvelopeKeys;
use crate::state::{Recovered, State, StateError, node_app};

/// For the last changes to reach the disk.
const CLOSING: Duration = Duration::from_secs(10);

/// Opens the store that the configuration names, under a node key from the key service.
pub(super) async fn open(
    config: &ServerConfig,
    keys: &EnvelopeKeys,
) -> Result<(Arc<State>, Recovered), StateError> {
    let context = keys.context(&node_app());
    State::open(&config.envelope.state_dir, &**keys.provider(), &context).await
}

/// Takes up what was recovered.
pub(super) async fn take_up(
    shared: &Arc<Shared>,
    state: &State,
    recovered: Recovered,
) -> Result<(), JoinError> {
    let taking = Arc::clone(shared);
    let lane = shared.store.roots().across();
    let taken = lane.run(move |on| taking.applications.restore(on, recovered)).await?;
    let Restoration { executors, dropped, merges, secrets } = taken;
    let file = state.path().display();
    info!(executors, dropped, merging = merges, secrets, %file, "took up what was known before the restart");
    Ok(())
}

/// Writes what waits. The last thing that a server does; a disk that does not answer does not keep the process.
pub(super) async fn close(shared: &Shared) {
    let Some(state) = shared.applications.state().cloned() else { return };
    let lane = state.lane().clone();
    let closing = lane.run(move |_| state.close());
    if !matches!(tokio::time::timeout(CLOSING, closing).await, Ok(Ok(()))) {
        warn!("the recovery store was not closed in time: what was answered is in it");
    }
}
