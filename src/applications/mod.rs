//! The home of an application: it owns everything here that lives as long as an application does.
//!
//! ```text
//! begin ─► prove ─► register ─► … ─► end        restore: what was registered before a restart
//!                                     ▲
//!             the operator, the resource manager, a sweep that finds directories gone or idleness
//! ```
//!
//! | the application's | lies in | why there |
//! |---|---|---|
//! | secret that was handed over, connections that proved it | [`Secrets`] | a handshake waits for it before anything else is known |
//! | proof, executors, directories | [`Executors`](crate::disk::Executors) | each block that is read looks them up: one table, one lock of its own |
//! | cached indexes and open files | [`BlockStore`] | bounded over all applications |
//! | merges, and the data key with them | [`Merger`] | every push looks them up; the key goes when the last file is deleted |
//! | records, and whether any are written | [`State`] | they outlive the process |
//! | channels that it was seen to speak | `usage` | bounded over all applications; names that nobody proved stand there too; a restart keeps them ([`state`](crate::state)) |
//! | clients that lose messages of AES-GCM | `broken_gcm` | by address, bounded over all applications |
//!
//! Each table has one bound and one look-up of its own, so they are not one table. They are one owner's: nothing else
//! begins, registers or ends an application. [`Applications::end`] names every field of [`Applications`], so that a
//! table that is added here does not compile before its end is written.
//!
//! | module | knows |
//! |---|---|
//! | `turns` | one change of an application at a time |
//! | `begin` | the secret that is handed over; the proof of it |
//! | `records` | the recovery store, which may still wait for its key |
//! | `register` | an executor; proof takes away what was registered without it |
//! | `end` | why an application ends, and all that goes; what a sweep finds |
//! | `restore` | what was known before a restart |
//! | [`usage`], [`broken_gcm`] | what applications were seen speaking |
//!
//! # Lock order
//!
//! 1. The application's turn: over a beginning, a registration and an end, and what they have the recovery store write, so
//!    that records are written in the order in which things happened. A commit or a merge directory may be waited for
//!    under it, which keeps this application alone, and for a bounded time.
//! 2. One lock of one of the tables above, for a few lines, and never another one of them inside it. Two hand their
//!    changes to the recovery store inside it: the secrets that are being taken, and the attempts of the merger.
//! 3. The queue of the recovery store.
//!
//! Reading and pushing blocks takes no turn.

mod begin;
pub(crate) mod broken_gcm;
mod end;
mod records;
mod register;
mod restore;
#[cfg(test)]
mod tests;
mod turns;
pub(crate) mod usage;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use sealed_shuffle_protocol::ids::AppId;

use self::broken_gcm::BrokenGcm;
use self::records::Records;
use self::turns::Turns;
use self::usage::UsageTable;
use crate::audit::Audit;
use crate::disk::{BlockStore, Proof};
use crate::keys::{RememberSecrets, Secrets};
use crate::merge::Merger;
use crate::state::State;
use crate::telemetry::Metrics;

pub(crate) use self::end::{End, EndReason};
pub(crate) use self::register::Enrolment;
pub(crate) use self::restore::Restoration;
pub(crate) use self::usage::{ApplicationLimits, Evidence, Speaker, UsageReport, timestamp};

/// All applications that a server knows.
#[derive(Debug)]
pub(crate) struct Applications {
    turns: Turns,
    secrets: Secrets,
    store: Arc<BlockStore>,
    /// None where merging is not switched on.
    merger: Option<Arc<Merger>>,
    /// None where a restart forgets.
    state: Records,
    usage: UsageTable,
    /// The sightings could not be written when that was tried last.
    sightings_fail: AtomicBool,
    broken_gcm: BrokenGcm,
    metrics: Arc<Metrics>,
    audit: Audit,
}

impl Applications {
    /// None yet.
    pub(crate) fn new(
        limits: ApplicationLimits,
        secrets: Secrets,
        store: Arc<BlockStore>,
        merger: Option<Arc<Merger>>,
        state: Option<Arc<State>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        if let Some(state) = &state {
            secrets.remember_in(Arc::clone(state) as Arc<dyn RememberSecrets>);
        }
        Self {
            turns: Turns::default(),
            secrets,
            store,
            merger,
            state: Records::of(state),
            usage: UsageTable::new(limits),
            sightings_fail: AtomicBool::new(false),
            broken_gcm: BrokenGcm::default(),
            metrics,
            audit: Audit::default(),
        }
    }

    /// The same, before its first use, which writes beginnings and ends into the audit trail.
    pub(crate) fn with_audit(self, audit: Audit) -> Self {
        Self { audit, ..self }
    }

    /// Which secret an application proves itself with.
    pub(crate) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Which application speaks over which channel.
    pub(crate) fn usage(&self) -> &UsageTable {
        &self.usage
    }

    /// Clients that lose messages of AES-GCM.
    pub(crate) fn broken_gcm(&self) -> &BrokenGcm {
        &self.broken_gcm
    }

    /// The recovery store.
    pub(crate) fn state(&self) -> Option<&Arc<State>> {
        self.state.as_ref()
    }

    /// How an application was registered; `None` where it was not.
    pub(crate) fn proof(&self, app: &AppId) -> Option<Proof> {
        self.store.executors().proof(app)
    }

    /// Executors that an application has registered.
    pub(crate) fn executors(&self, app: &AppId) -> usize {
        self.store.executors().app(app).map_or(0, |known| known.executors)
    }
}
