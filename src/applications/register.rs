//! The registration of an executor.

use std::time::Instant;

use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::shuffle::RegisterExecutor;
use sealed_shuffle_transport::lane::OnLane;
use tracing::warn;

use super::Applications;
use super::usage::owner;
use crate::disk::{Entry, Proof, RegisterError, RegistrationEffect};
use crate::merge::MergeError;
use crate::receipt::WriteReceipt;

/// An executor that is registered.
#[derive(Debug)]
pub(crate) struct Enrolment {
    /// What that meant for its application.
    pub(crate) registered: RegistrationEffect,
    /// Whether it takes part in merging, where it wants to; it stays registered for its own blocks, as in Spark.
    pub(crate) merging: Result<(), MergeError>,
    /// Its record in the recovery store, where there is one.
    pub(crate) written: Option<WriteReceipt>,
}

impl Applications {
    /// Registers an executor of a peer with that `proof`. [`Merger::prepare`](crate::merge::Merger::prepare) comes before.
    pub(crate) fn register(
        &self,
        on: &OnLane,
        message: &RegisterExecutor,
        proof: Proof,
    ) -> Result<Enrolment, RegisterError> {
        let RegisterExecutor { app, executor, info, .. } = message;
        let dirs: Vec<&str> = info.local_dirs.iter().collect();
        let (sub_dirs, manager) = (info.sub_dirs_per_local_dir, &info.shuffle_manager);
        // Directories are judged outside the turn: executors of one application do not wait for each other's disks.
        let registration = self.store.accept(on, app, &dirs, sub_dirs, manager)?;
        let is_new = self.proof(app).is_none();
        let user = is_new.then(|| owner(on, &registration, self.store.roots())).flatten();
        let turn = self.turns.take(app);
        let Entry { registered, mut overruled } =
            self.store.executors().register(app, executor, registration, proof, Instant::now())?;
        if registered == RegistrationEffect::Overruling {
            self.overrule(app);
        }
        let merging = self.merger.as_ref().map_or(Ok(vec![]), |merger| {
            merger.register(on, app, dirs.iter().copied(), sub_dirs, manager, &self.store)
        });
        let merging = merging.map(|others| overruled.extend(others));
        let written = self.state.executor(message, proof);
        self.usage.registered(app, proof == Proof::Proven);
        drop(turn);
        for other in &overruled {
            let _turn = self.turns.take(other);
            warn!(app = %other, by = %app, "an application without proof of identity had named directories of another: it is dropped");
            self.overrule(other);
        }
        if registered == RegistrationEffect::First {
            self.audit.application_began(app, executor, proof == Proof::Proven);
            user.inspect(|user| self.usage.owned_by(app, user.clone()));
        }
        Ok(Enrolment { registered, merging, written })
    }

    /// Proof takes away what was registered without it ([`Proof::overrules`]): of the same application, and of another
    /// one that had named its directories. The executors have gone with the registration that brought the proof, so that
    /// no block is looked up between the two; what was merged for them and their records go here.
    fn overrule(&self, app: &AppId) {
        if let Some(merger) = &self.merger {
            merger.forget(app);
        }
        self.state.forget_unproven(app);
        if self.proof(app).is_none() {
            self.usage.registered_no_more(app);
        }
    }
}
