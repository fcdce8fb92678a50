//! Files that applications leave behind: the owner of their removal, and of the knowledge how much they are.
//!
//! ```text
//! the end of an application ─► Executors::leaving ─┐
//! a journal of an earlier server ──────────────────┼─► one loop for each disk ─► a step on its lane ─► … ─► cleared
//! a look for orphans, at start and daily ──────────┘
//! the end of an executor ──────────────────────────► the same loop: what nobody is served with
//! a look at the use of the disk, now and then ─────► metrics, `apps`
//! ```
//!
//! Invariants: nothing is removed that was not asked for by configuration; nothing of a directory that a registration
//! names is removed, but what no service serves of an executor whose end was told; one disk that hangs holds up its own
//! clearing alone; a step takes milliseconds of the lane of its disk; what is not done is tried again; what an ended
//! application left is known after a restart, where the recovery store is on.
//!
//! | module | knows |
//! |---|---|
//! | `clearing` | directories of ended applications and orphans, until they are gone |
//! | `executors` | files of executors that have ended |
//! | `looking` | orphans |
//! | `usage` | how much of the disks each application uses |
//! | `journal` | what a restart must not forget |
//! | [`figures`] | counters |

mod clearing;
mod executors;
pub mod figures;
mod journal;
mod looking;
mod usage;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sealed_shuffle_config::{CleanUpConfig, Clears};
use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use sealed_shuffle_transport::lane::{Lane, OnLane};
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::warn;

use self::executors::DeadExecutors;
use self::figures::{Counters, DiskUse, Figures};
pub(crate) use self::journal::NAME as JOURNAL;
use self::journal::{Journal, LeftDirectory};
use self::looking::Orphans;
use self::usage::Usage;
use crate::audit::Audit;
use crate::disk::{BlockStore, Leaver, LeftBy};

/// Names that one step on a lane looks at.
const STEP: usize = 256;

/// Between two looks for something to clear.
const ROUND: Duration = Duration::from_secs(1);

/// Time for the journal to reach the disk at the end.
const CLOSING: Duration = Duration::from_secs(10);

/// What applications leave behind on the disks of a server.
#[derive(Debug)]
pub(crate) struct Remains {
    config: CleanUpConfig,
    store: Arc<BlockStore>,
    /// None where a restart forgets.
    journal: Option<Journal>,
    dead: DeadExecutors,
    orphans: Orphans,
    usage: Usage,
    counters: Counters,
    audit: Audit,
}

impl Remains {
    /// Of the disks of `store`. `memory` says where the journal lies, and on which lane; none where a restart forgets. `audit`
    /// is told of orphans that go.
    pub(crate) fn new(
        config: CleanUpConfig,
        store: Arc<BlockStore>,
        memory: Option<(PathBuf, Lane)>,
        audit: Audit,
    ) -> Self {
        let disks = store.roots().disks().len();
        Self {
            config,
            journal: memory.map(|(path, lane)| Journal::new(path, lane)),
            dead: DeadExecutors::new(disks),
            orphans: Orphans::new(disks),
            usage: Usage::new(disks),
            counters: Counters::default(),
            audit,
            store,
        }
    }

    /// Reads what an earlier server had not cleared yet. Call it when the registrations are restored.
    pub(crate) async fn restore(&self) {
        if let Some(journal) = &self.journal {
            journal.load(self.store.roots()).await;
        }
    }

    /// Clears, looks and counts until dropped.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut disks = JoinSet::new();
        for disk in 0..self.store.roots().disks().len() {
            let this = Arc::clone(&self);
            disks.spawn(async move {
                this.take_up(disk).await;
                tokio::join!(
                    this.clear(disk),
                    this.clear_executors(disk),
                    this.look(disk),
                    this.measure(disk)
                );
            });
        }
        self.keep_journal().await;
    }

    /// Writes the journal a last time. A disk that does not answer does not hold up the process.
    pub(crate) async fn close(&self) {
        let Some(journal) = &self.journal else { return };
        let saving = journal.save(self.store.executors());
        if tokio::time::timeout(CLOSING, saving).await.is_err() {
            warn!(
                "the list of directories that are to be cleared was not written in time: a restart may forget some"
            );
        }
    }

    /// An executor has ended: what no service serves of its files goes. Whether it was known.
    pub(crate) fn executor_ended(&self, app: &AppId, executor: &ExecutorId) -> bool {
        let Some(registration) = self.store.executors().registered(app, executor) else { return false };
        if self.config.after_executor {
            self.dead.add(app, executor, &registration);
        }
        true
    }

    /// How much of the disks an application used when they were last looked at; `None` where they were not.
    pub(crate) fn usage_of(&self, app: &AppId) -> Option<DiskUse> {
        self.usage.of(app)
    }

    /// Everything in numbers.
    pub(crate) fn figures(&self) -> Figures {
        Figures {
            cleared: self.counters.now(),
            waiting: self.store.executors().leaving_count().1 as u64 + self.dead.len() as u64,
            orphans: self.orphans.now(),
            usage: self.usage.largest(self.store.executors()),
        }
    }

    /// Takes up what an earlier server had not cleared on a disk. Each path is judged anew: one that a registration names by
    /// now is none of ours.
    async fn take_up(&self, disk: usize) {
        let Some(journal) = &self.journal else { return };
        let left = journal.left(disk);
        let Some(lane) = self.store.roots().lane(disk) else { return };
        let store = Arc::clone(&self.store);
        let work = move |on: &OnLane| {
            for LeftDirectory { path, quiet } in left {
                if let Ok(dir) = store.roots().accept(on, &path) {
                    store.executors().add_leaving(Leaver { dir, left_by: LeftBy::Application, quiet });
                }
            }
        };
        match lane.run(work).await {
            Ok(()) => journal.taken_up(disk),
            Err(error) => warn!(%error, "what ended applications left before the restart was not taken up"),
        }
    }

    async fn keep_journal(&self) {
        let mut rounds = rounds(ROUND);
        loop {
            rounds.tick().await;
            if let Some(journal) = &self.journal {
                journal.save_if_changed(self.store.executors()).await;
            }
        }
    }

    /// What happens to the directories of somebody. Orphans go only where this server has watched for as long as they must
    /// be quiet: applications that registered with another service before are not known here.
    fn clears(&self, left_by: LeftBy) -> Clears {
        match left_by {
            LeftBy::Application => self.config.applications,
            LeftBy::Orphan if self.config.orphans != Clears::On => self.config.orphans,
            LeftBy::Orphan => {
                let watched = self.journal.as_ref().and_then(Journal::watched);
                match watched.is_some_and(|watched| watched >= self.config.orphan_age) {
                    true => Clears::On,
                    false => Clears::DryRun,
                }
            }
        }
    }
}

/// A clock that strikes now, and then every `period`; what was missed is not made up for.
fn rounds(period: Duration) -> Interval {
    let mut rounds = interval(period);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    rounds
}

/// `age` ago, in seconds since 1970.
fn ago(age: Duration) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.saturating_sub(age).as_secs()).unwrap_or(i64::MAX)
}
