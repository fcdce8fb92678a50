//! Takes up again what was in the store, judging it anew.

use std::collections::HashSet;
use std::time::Instant;

use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::secret::AppSecret;
use sealed_shuffle_transport::lane::OnLane;
use tracing::{info, warn};

use super::State;
use super::load::{Recovered, RecoveredExecutor};
use crate::disk::{BlockStore, LocalDir, Proof, Registration};
use crate::merge::{Journal as _, Merger};

/// What was taken up.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Restored {
    /// Executors that are registered again.
    pub executors: usize,
    /// Executors that are not, and were removed: their directories are gone or outside the roots, or there is no room.
    pub dropped: usize,
    /// Applications that merge again.
    pub merges: usize,
    /// Secrets that were handed over.
    pub secrets: Vec<(AppId, AppSecret)>,
}

/// Registers what was recovered, without telling anybody. Call it before the first connection, on a thread that may wait
/// for a disk. `merger` has `state` as its journal; without one, what is known of merging is removed.
///
/// Merging of an application whose executors are all gone is taken up and forgotten in one, which deletes its files
/// ([`Merger::clean_up`] does).
pub fn restore(
    on: &OnLane,
    state: &State,
    recovered: Recovered,
    store: &BlockStore,
    merger: Option<&Merger>,
) -> Restored {
    let Recovered { executors, secrets, merges, stale, .. } = recovered;
    let mut restored = Restored { secrets, ..Restored::default() };
    let proven: HashSet<AppId> = executors
        .iter()
        .filter(|known| known.proof == Proof::Proven)
        .map(|known| known.app.clone())
        .collect();
    for executor in executors {
        // Proof wins, as it did before the restart, whatever became of the executor that had it.
        let overruled = executor.proof == Proof::Unproven && proven.contains(&executor.app);
        let registered = if overruled { Err(OVERRULED.to_owned()) } else { register(on, store, &executor) };
        match registered {
            Ok(()) => restored.executors += 1,
            Err(why) => {
                let RecoveredExecutor { app, executor, .. } = executor;
                info!(%app, %executor, "an executor of before the restart is dropped: {why}");
                state.forget_executor(&app, &executor).detach();
                restored.dropped += 1;
            }
        }
    }
    for (app, attempt) in stale {
        state.over(&app, attempt);
    }
    if merger.is_none() && !merges.is_empty() {
        info!(applications = merges.len(), "merging is off: what is known of merges is removed");
    }
    for known in merges {
        let (app, attempt) = (known.app.clone(), known.attempt);
        let Some(merger) = merger else {
            state.over(&app, attempt);
            continue;
        };
        if let Err(error) = merger.restore(on, known, store.roots()) {
            warn!(%app, attempt, %error, "what the application merged before the restart is not known any more");
            state.over(&app, attempt);
            continue;
        }
        match store.executors().proof(&app) {
            Some(_) => restored.merges += 1,
            None => _ = merger.forget(&app),
        }
    }
    restored
}

const OVERRULED: &str =
    "the application was registered with proof of identity later, and this executor without";

fn register(on: &OnLane, store: &BlockStore, known: &RecoveredExecutor) -> Result<(), String> {
    let accepted = known.dirs.iter().map(|dir| store.roots().accept(on, dir)).collect::<Result<Vec<_>, _>>();
    let dirs = accepted.map_err(|refused| refused.to_string())?;
    if !dirs.is_empty() && !dirs.iter().any(LocalDir::existed) {
        return Err("its directories are gone".to_owned());
    }
    let registration = Registration::new(dirs, known.sub_dirs, &known.shuffle_manager);
    let (app, executor) = (&known.app, &known.executor);
    let registered = store.executors().register(app, executor, registration, known.proof, Instant::now());
    registered.map(drop).map_err(|refused| refused.to_string())
}
