//! What survives a restart: the recovery store, opened before any port is bound and taken up before anybody is served.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use sealed_shuffle_config::ServerConfig;
use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::secret::AppSecret;
use sealed_shuffle_transport::lane::OnLane;
use tracing::{info, warn};

use super::{Secrets, Shared, StartError};
use crate::disk::BlockStore;
use crate::keys::RememberSecrets;
use crate::keys::envelope::EnvelopeKeys;
use crate::merge::Merger;
use crate::state::{Recovered, State, node_app, restore};

/// For the last changes to reach the disk.
const CLOSING: Duration = Duration::from_secs(10);

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
    let lane = store.roots().across().clone();
    let work = {
        let (state, store, merger) = (Arc::clone(state), Arc::clone(store), merger.cloned());
        move |on: &OnLane| {
            let restored = restore(on, &state, recovered, &store, merger.as_deref());
            merger.inspect(|merger| merger.clean_up(on));
            restored
        }
    };
    let mut restored = lane.run(work).await.map_err(StartError::Recovery)?;
    info!(
        executors = restored.executors,
        dropped = restored.dropped,
        merging = restored.merges,
        secrets = restored.secrets.len(),
        file = %state.path().display(),
        "took up what was known before the restart"
    );
    if !secrets.are_handed_over() && !restored.secrets.is_empty() {
        // Nobody would ever say that these applications are over.
        let applications = restored.secrets.len();
        warn!(
            applications,
            "nobody hands over secrets any more (spark.sealed.handover.socket): those that were are removed"
        );
        restored.secrets.drain(..).for_each(|(app, _)| state.forget_secret(&app).detach());
    }
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

/// Writes what waits. The last thing that a server does; a disk that does not answer does not keep the process.
pub(super) async fn close(shared: &Shared) {
    let Some(state) = shared.state.clone() else { return };
    let lane = state.lane().clone();
    let closing = lane.run(move |_| state.close());
    if !matches!(tokio::time::timeout(CLOSING, closing).await, Ok(Ok(()))) {
        warn!("the recovery store was not closed in time: what was answered is in it");
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

#[cfg(test)]
mod tests {
    use sealed_shuffle_protocol::stored::envelope::Context;

    use super::*;
    use crate::disk::{DiskLimits, Roots};
    use crate::keys::Source;
    use crate::keys::envelope::LocalKeyFile;

    #[tokio::test]
    async fn secrets_are_taken_up_only_where_secrets_are_handed_over() {
        let temp = tempfile::tempdir().unwrap();
        let (keys, _) = LocalKeyFile::open_or_make(&temp.path().join("keys")).unwrap();
        let store = Arc::new(BlockStore::new(Roots::open([temp.path()]).unwrap(), DiskLimits::default()));
        let app = AppId::new("application_1_1");
        let open =
            async || State::open(&temp.path().join("state"), &keys, &Context::of(node_app())).await.unwrap();
        let (state, _) = open().await;
        assert!(state.remember_secret(&app, &AppSecret::new("open sesame".to_owned())).await);
        state.close();

        let taking = || Secrets::handed_over_or(Source::None, Duration::ZERO);
        for (secrets, known) in [(taking(), 1), (Secrets::none(), 0), (taking(), 0)] {
            let (state, recovered) = open().await;
            take_up(&state, recovered, &store, None, &secrets).await.unwrap();
            assert_eq!(secrets.handed_over(), known);
            state.close();
        }
    }
}
