//! The end of an application: whoever tells it or finds it out, everything goes that it could be served with.

use std::time::{Instant, SystemTime};

use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::labels;
use sealed_shuffle_transport::lane::OnLane;
use tracing::info;

use super::Applications;
use super::begin::not_written;
use crate::disk::{Finding, FindingReason};
use crate::keys::HandOverError;
use crate::receipt::WriteReceipt;

/// Why an application ends. A newer attempt is not among them: it ends the attempt before it, whose merges the merger
/// drops as it takes up the new one, and the application goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum EndReason<'a> {
    /// The operator says so.
    Operator,
    /// The resource manager says so.
    ResourceManager,
    /// It had taken a directory that belonged to another application before the restart.
    Displaced,
    /// A sweep found out.
    Finding(&'a Finding),
}

impl EndReason<'_> {
    labels! {
        /// The reason in metrics and logs.
        pub(crate) fn label, LABELS {
            Self::Operator => "told",
            Self::ResourceManager => "ended",
            Self::Displaced => "displaced",
            Self::Finding(Finding { reason: FindingReason::DirectoriesGone, .. }) => "directories_gone",
            Self::Finding(Finding { reason: FindingReason::Idle, .. }) => "idle",
        }
    }
}

/// An application that has ended.
#[derive(Debug)]
pub(crate) struct End {
    /// The executors that it had; `None` where nothing was known of it.
    pub(crate) executors: Option<usize>,
    written: Option<WriteReceipt>,
}

impl End {
    /// Waits until its records are gone. An error says that its secret may come back with a restart: the end can be told
    /// again. May wait for a disk.
    pub(crate) fn written(self) -> Result<(), HandOverError> {
        let written = self.written.is_none_or(WriteReceipt::wait);
        written.then_some(()).ok_or_else(|| HandOverError::Memory(not_written()))
    }
}

impl Applications {
    /// Ends an application, whatever is known of it; `None` where a sweep was wrong about it. Its connections end where
    /// its secret was handed over. What it merged is deleted by the next round of housekeeping, and its data key goes
    /// with that. May wait for a disk.
    pub(crate) fn end(&self, app: &AppId, why: EndReason<'_>) -> Option<End> {
        // No field is left out: a new one decides here what ends of it.
        let Self {
            turns,
            secrets,
            store,
            merger,
            state,
            usage,
            sightings_fail: _,
            broken_gcm,
            metrics,
            audit,
        } = self;
        let (_turn, executors) = match why {
            EndReason::Operator | EndReason::ResourceManager | EndReason::Displaced => {
                (turns.take(app), store.forget(app))
            }
            // One that is just being changed is not over.
            EndReason::Finding(finding) => (turns.try_take(app)?, Some(store.forget_found(finding)?)),
        };
        let had_secret = secrets.end(app);
        let merged = merger.as_ref().is_some_and(|merger| merger.forget(app));
        let written = state.forget(app);
        let was_listed = match why {
            EndReason::Operator | EndReason::ResourceManager | EndReason::Displaced => usage.end(app),
            // Its row stays: whoever raises the minimum wants to see short applications, too. It goes by its own age.
            EndReason::Finding(_) => false,
        };
        broken_gcm.forget(app);
        let was_known = executors.is_some() || had_secret || merged;
        if was_known {
            let (executors, reason) = (executors.unwrap_or(0), why.label());
            metrics.forgot(reason);
            audit.application_ended(app, executors, reason);
            info!(%app, executors, had_secret, reason, "forgot an application");
        }
        // One that was refused, or has only asked so far, is listed and nothing more: whoever ends it knew it from there.
        Some(End { executors: (was_known || was_listed).then(|| executors.unwrap_or(0)), written })
    }

    /// Ends applications that are over. Call it every few seconds.
    pub(crate) fn sweep(&self, on: &OnLane, now: Instant) {
        for finding in self.store.find_over(on, now) {
            // The records go soon: nobody is told.
            drop(self.end(&finding.app, EndReason::Finding(&finding)));
        }
        self.usage.sweep(SystemTime::now());
    }
}
