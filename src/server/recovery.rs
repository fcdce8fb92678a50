//! What survives a restart: the recovery store, opened before any port is bound and taken up before anybody is served.

use std::error::Error;
use std::sync::Arc;

use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::secret::AppSecret;
use tracing::{info, warn};

use super::{Secrets, Shared, StartError};
use crate::config::ServerConfig;
use crate::disk::BlockStore;
use crate::keys::RememberSecrets;
use crate::keys::envelope::EnvelopeKeys;
use crate::merge::Merger;
use crate::state::{Recovered, State, node_app, restore};

/// Opens the store that the configuration names, under a node key from the key service.
pub(super) async fn open(
    config: &ServerConfig,
    keys: &EnvelopeKeys,
) -> Result<(Arc<State>, Recovered), StartError> {
    let context = keys.context(&node_app());
    Ok(State::open(&config.envelope.state_dir, &**keys.provider(), &context).await?)
}

/// Takes up what was recovered.
pub(super) async fn take_up(
    state: &Arc<State>,
    recovered: Recovered,
    store: &Arc<BlockStore>,
    merger: Option<&Arc<Merger>>,
    secrets: &Secrets,
) -> Result<(), StartError> {
    let work = {
        let (state, store, merger) = (Arc::clone(state), Arc::clone(store), merger.cloned());
        move || {
            let restored = restore(&state, recovered, &store, merger.as_deref());
            merger.inspect(|merger| merger.clean_up());
            restored
        }
    };
    let restored = tokio::task::spawn_blocking(work).await.map_err(StartError::Recovery)?;
    info!(
        executors = restored.executors,
        dropped = restored.dropped,
        merging = restored.merges,
        secrets = restored.secrets.len(),
        file = %state.path().display(),
        "took up what was known before the restart"
    );
    for (app, secret) in restored.secrets {
        secrets.restore(app, secret);
    }
    secrets.remember_in(Arc::clone(state) as Arc<dyn RememberSecrets>);
    Ok(())
}

/// An application was forgotten; unless it has come back meanwhile, so are its records. May wait for a disk.
pub(super) fn forget(shared: &Shared, app: &AppId) {
    let Some(state) = &shared.state else { return };
    let (store, back) = (Arc::clone(&shared.store), app.clone());
    state.forget_executors(app, move || store.executors().proof(&back).is_some()).detach();
}

/// Writes what waits. The last thing that a server does.
pub(super) async fn close(shared: &Shared) {
    let Some(state) = shared.state.clone() else { return };
    if tokio::task::spawn_blocking(move || state.close()).await.is_err() {
        warn!("the recovery store was not closed: what was answered is in it");
    }
}

impl RememberSecrets for State {
    fn remember(&self, app: &AppId, secret: &AppSecret) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.remember_secret(app, secret).wait().then_some(()).ok_or_else(not_written)
    }

    fn forget(&self, app: &AppId) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.forget_secret(app).wait().then_some(()).ok_or_else(not_written)
    }
}

fn not_written() -> Box<dyn Error + Send + Sync> {
    "the recovery store cannot write it; the log says why".into()
}
