//! Taking up the recovery store after a restart. Each record is checked again.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_transport::lane::OnLane;
use tracing::{info, warn};

use super::Applications;
use super::end::EndReason;
use super::records::Meanwhile;
use crate::disk::{LocalDir, Proof};
use crate::keys::RememberSecrets;
use crate::merge::{Journal as _, StoredAttempt};
use crate::state::{RecoveredExecutor, Recovery, State};

/// The numbers of records that were taken up again.
#[derive(Debug, Default)]
pub(crate) struct Restoration {
    /// Executors that are registered again.
    pub(crate) executors: usize,
    /// Executors that were removed: their directories are all gone or outside the roots, or there is no room.
    pub(crate) dropped: usize,
    /// Executors of those that are registered which have a directory that cannot be served now.
    pub(crate) in_part: usize,
    /// Applications that merge again.
    pub(crate) merges: usize,
    /// Secrets that are valid again.
    pub(crate) secrets: usize,
}

impl Applications {
    /// The recovery store opens later: what happens until then is noted.
    pub(crate) fn await_store(&self) {
        self.state.await_store();
    }

    /// The store that was waited for is open: takes up its records, and writes what happened meanwhile. Whatever was told
    /// meanwhile is newer: it stands, but for directories that belonged to somebody else.
    pub(crate) fn open_store(&self, on: &OnLane, state: Arc<State>, mut recovered: Recovery) -> Restoration {
        let Meanwhile { executors, ended } = self.state.open(Arc::clone(&state));
        for app in &ended {
            let _turn = self.turns.take(app);
            state.forget(app).detach();
        }
        recovered.executors.retain(|known| !ended.contains(&known.app));
        recovered.merges.retain(|known| !ended.contains(&known.app));
        recovered.secrets.retain(|(app, _)| !ended.contains(app));
        self.secrets.remember_in(Arc::clone(&state) as Arc<dyn RememberSecrets>);
        let restored = self.take_up(on, recovered, true);
        for ((app, executor), (message, proof)) in executors {
            let _turn = self.turns.take(&app);
            // It may have gone since.
            if self.store.executors().lookup(&app, &executor, Instant::now()).is_some()
                && let Some(written) = self.state.executor(&message, proof)
            {
                written.detach();
            }
        }
        restored
    }

    /// Takes up the records of the recovery store. Call it before the first connection.
    ///
    /// Without a merger, the records of merging are removed. If the executors of an application are all gone, its merging
    /// is over, and its files are deleted. If hand-over is switched off, nobody would ever end the
    /// applications that were handed over, so their secrets are removed.
    pub(crate) fn restore(&self, on: &OnLane, recovered: Recovery) -> Restoration {
        self.take_up(on, recovered, false)
    }

    /// The same; `is_late` where applications have registered before.
    fn take_up(&self, on: &OnLane, recovered: Recovery, is_late: bool) -> Restoration {
        let Some(state) = self.state.as_ref() else { return Restoration::default() };
        let Recovery { executors, secrets, merges, stale, .. } = recovered;
        let mut restored = Restoration::default();
        self.restore_executors(on, state, executors, is_late, &mut restored);
        if self.merger.is_none() && !merges.is_empty() {
            info!(applications = merges.len(), "merging is off: the records of merges are removed");
        }
        restored.merges =
            merges.into_iter().filter_map(|known| self.restore_merges(on, state, known)).count();
        for known in stale {
            self.restore_over(on, state, known);
        }
        self.merger.as_ref().inspect(|merger| merger.clean_up(on));
        self.recall_sightings(on, state);
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

    /// Who spoke how before the restart. Without it the table of applications knows less, and nothing else is lost.
    fn recall_sightings(&self, on: &OnLane, state: &State) {
        match state.sightings(on) {
            Ok(sightings) => self.usage.recall(sightings),
            Err(error) => {
                let file = state.sightings_path();
                warn!(file = %file.display(), "which channels applications used before the restart is not known: {error}");
            }
        }
    }

    /// Writes who speaks how, for the next start; where that fails, says so once until it works again.
    pub(crate) fn keep_sightings(&self, on: &OnLane) {
        let Some(state) = self.state() else { return };
        let kept = state.keep_sightings(on, &self.usage.sightings());
        let failed = kept.is_err();
        if let Err(error) = kept
            && !self.sightings_fail.load(Ordering::Relaxed)
        {
            let file = state.sightings_path();
            warn!(file = %file.display(), "which channels applications use cannot be kept over a restart: {error}");
        }
        self.sightings_fail.store(failed, Ordering::Relaxed);
    }

    fn restore_executors(
        &self,
        on: &OnLane,
        state: &State,
        mut executors: Vec<RecoveredExecutor>,
        is_late: bool,
        restored: &mut Restoration,
    ) {
        let proven = executors.iter().filter(|known| known.proof == Proof::Proven);
        let proven: HashSet<AppId> = proven.map(|known| known.app.clone()).collect();
        let names: HashSet<AppId> = match is_late {
            true => executors.iter().map(|known| known.app.clone()).collect(),
            false => HashSet::new(),
        };
        // Directories that two applications name belong to the one with proof.
        executors.sort_by_key(|known| Proof::Proven.overrules(known.proof));
        for known in executors {
            // The proof counts although the executor that brought it may be dropped.
            let overruled = proven.contains(&known.app) && Proof::Proven.overrules(known.proof);
            if self.store.executors().lookup(&known.app, &known.executor, Instant::now()).is_some() {
                // It has registered anew while the store was waited for.
                restored.executors += 1;
                continue;
            }
            if is_late {
                self.make_way(on, &known, &names);
            }
            let registered =
                if overruled { Err(OVERRULED.to_owned()) } else { self.restore_executor(on, &known) };
            match registered {
                Ok(is_whole) => {
                    restored.executors += 1;
                    restored.in_part += usize::from(!is_whole);
                }
                Err(why) => {
                    let RecoveredExecutor { app, executor, .. } = known;
                    info!(%app, %executor, "an executor that was registered before the restart is dropped: {why}");
                    state.forget_executor(&app, &executor).detach();
                    restored.dropped += 1;
                }
            }
        }
    }

    /// Ends an application that has taken a directory of a `known` executor while the store was waited for, and is not
    /// among those of `before`.
    fn make_way(&self, on: &OnLane, known: &RecoveredExecutor, before: &HashSet<AppId>) {
        let accepted =
            self.store.accept_again(on, &known.app, &known.dirs, known.sub_dirs, &known.shuffle_manager);
        let Ok(registration) = accepted else { return };
        for owner in self.store.executors().rivals(&known.app, &registration) {
            if !before.contains(&owner) {
                warn!(app = %owner, of = %known.app, "an application had named directories of another before that was known again: it is ended");
                drop(self.end(&owner, EndReason::Displaced));
            }
        }
    }

    /// Whether all its directories can be served.
    fn restore_executor(&self, on: &OnLane, known: &RecoveredExecutor) -> Result<bool, String> {
        let accepted =
            self.store.accept_again(on, &known.app, &known.dirs, known.sub_dirs, &known.shuffle_manager);
        let registration = accepted.map_err(|refused| refused.to_string())?;
        let dirs = registration.dirs();
        if !dirs.is_empty() && !dirs.iter().any(LocalDir::has_root) {
            return Err("its directories are under none of the service's local directories".to_owned());
        }
        // One on a disk that is not there yet may come with it.
        if !dirs.is_empty() && !dirs.iter().any(LocalDir::may_exist) {
            return Err("its directories are gone".to_owned());
        }
        let roots = self.store.roots();
        let is_whole = dirs.iter().all(|dir| dir.has_root() && roots.disk(dir).health().serves());
        let (app, executor) = (&known.app, &known.executor);
        let registered =
            self.store.executors().register(app, executor, registration, known.proof, Instant::now());
        registered.map_err(|refused| refused.to_string())?;
        self.usage.registered(app, known.proof == Proof::Proven);
        Ok(is_whole)
    }

    /// Takes up the merges of an application. Returns `None` if they are over.
    fn restore_merges(&self, on: &OnLane, state: &State, known: StoredAttempt) -> Option<()> {
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
    fn restore_over(&self, on: &OnLane, state: &State, known: StoredAttempt) {
        match &self.merger {
            Some(merger) => merger.restore_over(on, known, &self.store),
            None => state.over(&known.app, known.attempt),
        }
    }
}

const OVERRULED: &str =
    "this executor was registered without proof of identity, and a later one of its application with proof";
