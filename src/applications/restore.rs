//! Taking up the recovery store after a restart. Each record is checked again.

use std::collections::HashSet;
use std::time::Instant;

use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_transport::lane::OnLane;
use tracing::{info, warn};

use super::Applications;
use crate::disk::{LocalDir, Proof};
use crate::merge::{Journal as _, Remembered};
use crate::state::{Recovered, RecoveredExecutor, State};

/// The numbers of records that were taken up again.
#[derive(Debug, Default)]
pub(crate) struct Restoration {
    /// Executors that are registered again.
    pub(crate) executors: usize,
    /// Executors that were removed: their directories are gone or outside the roots, or there is no room.
    pub(crate) dropped: usize,
    /// Applications that merge again.
    pub(crate) merges: usize,
    /// Secrets that are valid again.
    pub(crate) secrets: usize,
}

impl Applications {
    /// Takes up the records of the recovery store. Call it before the first connection.
    ///
    /// Without a merger, the records of merging are removed. If the executors of an application are all gone, its merging
    /// is over, and its files are deleted. If hand-over is switched off, nobody would ever end the
    /// applications that were handed over, so their secrets are removed.
    pub(crate) fn restore(&self, on: &OnLane, recovered: Recovered) -> Restoration {
        let Some(state) = &self.state else { return Restoration::default() };
        let Recovered { executors, secrets, merges, stale, .. } = recovered;
        let mut restored = Restoration::default();
        self.restore_executors(on, state, executors, &mut restored);
        if self.merger.is_none() && !merges.is_empty() {
            info!(applications = merges.len(), "merging is off: the records of merges are removed");
        }
        restored.merges =
            merges.into_iter().filter_map(|known| self.restore_merges(on, state, known)).count();
        for known in stale {
            self.restore_over(on, state, known);
        }
        self.merger.as_ref().inspect(|merger| merger.clean_up(on));
        if !self.secrets.are_handed_over() && !secrets.is_empty() {
            let applications = secrets.len();
            warn!(
                applications,
                "hand-over is switched off (spark.sealed.handover.socket): the secrets that were handed over before \
                 are removed"
            );
            secrets.iter().for_each(|(app, _)| state.forget_secret(app).detach());
            return restored;
        }
        restored.secrets = secrets.len();
        secrets.into_iter().for_each(|(app, secret)| self.secrets.restore(app, secret));
        restored
    }

    fn restore_executors(
        &self,
        on: &OnLane,
        state: &State,
        mut executors: Vec<RecoveredExecutor>,
        restored: &mut Restoration,
    ) {
        let proven = executors.iter().filter(|known| known.proof == Proof::Proven);
        let proven: HashSet<AppId> = proven.map(|known| known.app.clone()).collect();
        // Directories that two applications name belong to the one with proof.
        executors.sort_by_key(|known| Proof::Proven.overrules(known.proof));
        for known in executors {
            // The proof counts although the executor that brought it may be dropped.
            let overruled = proven.contains(&known.app) && Proof::Proven.overrules(known.proof);
            let registered =
                if overruled { Err(OVERRULED.to_owned()) } else { self.restore_executor(on, &known) };
            match registered {
                Ok(()) => restored.executors += 1,
                Err(why) => {
                    let RecoveredExecutor { app, executor, .. } = known;
                    info!(%app, %executor, "an executor that was registered before the restart is dropped: {why}");
                    state.forget_executor(&app, &executor).detach();
                    restored.dropped += 1;
                }
            }
        }
    }

    fn restore_executor(&self, on: &OnLane, known: &RecoveredExecutor) -> Result<(), String> {
        let accepted = self.store.accept(on, &known.app, &known.dirs, known.sub_dirs, &known.shuffle_manager);
        let registration = accepted.map_err(|refused| refused.to_string())?;
        let dirs = registration.dirs();
        if !dirs.is_empty() && !dirs.iter().any(LocalDir::existed) {
            return Err("its directories are gone".to_owned());
        }
        let (app, executor) = (&known.app, &known.executor);
        let registered =
            self.store.executors().register(app, executor, registration, known.proof, Instant::now());
        registered.map(drop).map_err(|refused| refused.to_string())
    }

    /// Takes up the merges of an application. Returns `None` if they are over.
    fn restore_merges(&self, on: &OnLane, state: &State, known: Remembered) -> Option<()> {
        let (app, attempt) = (known.app.clone(), known.attempt);
        let Some(merger) = &self.merger else {
            state.over(&app, attempt);
            return None;
        };
        if self.proof(&app).is_none() {
            self.restore_over(on, state, known);
            return None;
        }
        if let Err(error) = merger.restore(on, known, &self.store) {
            // Its record stays, so that a later start finds its files, and deletes them once it is over.
            warn!(%app, attempt, %error, "the merges of the application from before the restart are not served");
            return None;
        }
        Some(())
    }

    /// An attempt is over, and its files may be there.
    fn restore_over(&self, on: &OnLane, state: &State, known: Remembered) {
        match &self.merger {
            Some(merger) => merger.restore_over(on, known, &self.store),
            None => state.over(&known.app, known.attempt),
        }
    }
}

const OVERRULED: &str =
    "this executor was registered without proof of identity, and a later one of its application with proof";
