//! The recovery store, which may still wait for its key.
//!
//! A key service that is away at start holds up nothing that needs no key. Executors register meanwhile, and are written
//! when the store opens. What the store then brings is older than they are, and so comes first where both cannot be: as it
//! would have, had it been there in time.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use sealed_shuffle_protocol::shuffle::RegisterExecutor;

use crate::disk::Proof;
use crate::receipt::WriteReceipt;
use crate::state::State;

/// Where records go.
#[derive(Debug, Default)]
pub(super) struct Records {
    state: OnceLock<Arc<State>>,
    /// What happens until the store opens; `None` where nobody waits for one.
    meanwhile: Mutex<Option<Meanwhile>>,
}

/// What the store has to hear when it opens. Executors that are registered are bounded, and these are among them.
#[derive(Debug, Default)]
pub(super) struct Meanwhile {
    pub(super) executors: HashMap<(AppId, ExecutorId), (RegisterExecutor, Proof)>,
    /// Applications that have ended.
    pub(super) ended: HashSet<AppId>,
}

impl Records {
    /// Records in a store that is open, or none.
    pub(super) fn of(state: Option<Arc<State>>) -> Self {
        let records = Self::default();
        if let Some(state) = state {
            // It is the first.
            _ = records.state.set(state);
        }
        records
    }

    pub(super) fn as_ref(&self) -> Option<&Arc<State>> {
        self.state.get()
    }

    /// A store will open later.
    pub(super) fn await_store(&self) {
        self.meanwhile().get_or_insert_default();
    }

    /// The store has opened: what happened meanwhile.
    pub(super) fn open(&self, state: Arc<State>) -> Meanwhile {
        let mut meanwhile = self.meanwhile();
        // Nothing is noted from here on.
        _ = self.state.set(state);
        meanwhile.take().unwrap_or_default()
    }

    /// An executor has registered.
    pub(super) fn executor(&self, message: &RegisterExecutor, proof: Proof) -> Option<WriteReceipt> {
        let RegisterExecutor { app, executor, info, .. } = message;
        if let Some(meanwhile) = &mut *self.meanwhile() {
            meanwhile.executors.insert((app.clone(), executor.clone()), (message.clone(), proof));
            return None;
        }
        let dirs: Vec<&str> = info.local_dirs.iter().collect();
        let (sub_dirs, manager) = (info.sub_dirs_per_local_dir, &info.shuffle_manager);
        Some(self.as_ref()?.executor(app, executor, &dirs, sub_dirs, manager, proof))
    }

    /// All of an application goes.
    pub(super) fn forget(&self, app: &AppId) -> Option<WriteReceipt> {
        if let Some(meanwhile) = &mut *self.meanwhile() {
            meanwhile.executors.retain(|(of, _), _| of != app);
            meanwhile.ended.insert(app.clone());
            return None;
        }
        let state = self.as_ref()?;
        state.exempt_no_more(app);
        Some(state.forget(app))
    }

    /// Proof takes away what was registered without it.
    pub(super) fn forget_unproven(&self, app: &AppId) {
        if let Some(meanwhile) = &mut *self.meanwhile() {
            meanwhile.executors.retain(|(of, _), (_, proof)| of != app || !Proof::Proven.overrules(*proof));
        } else if let Some(state) = self.as_ref() {
            state.forget_unproven(app).detach();
        }
    }

    fn meanwhile(&self) -> MutexGuard<'_, Option<Meanwhile>> {
        self.meanwhile.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
