//! Files of executors that have ended.
//!
//! Their map outputs are still served, so their registrations stay. What no service serves goes: spills, broadcast blocks,
//! checksums, and cached blocks unless those are served. Spark's Worker has its own service do the same
//! (`ExternalShuffleBlockResolver.executorRemoved`, Spark 4.3.0). A restart forgets what was not done yet; whoever told it
//! tells it again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use tracing::{debug, info, warn};

use super::figures::{ClearedOf, lock};
use super::{ROUND, Remains, rounds};
use crate::disk::remains::{Purpose, Selection, Tally, Walk};
use crate::disk::{LocalDir, Registration};

/// Directories that wait at most.
const MOST: usize = 100_000;

/// How often a directory is tried.
const TRIES: u32 = 5;

/// Directories of executors that have ended, by the disk that they lie on.
#[derive(Debug)]
pub(super) struct DeadExecutors(Vec<Mutex<VecDeque<Dead>>>);

#[derive(Clone, Debug)]
struct Dead {
    app: AppId,
    executor: ExecutorId,
    registration: Arc<Registration>,
    dir: LocalDir,
    tries: u32,
}

impl DeadExecutors {
    pub(super) fn new(disks: usize) -> Self {
        Self((0..disks).map(|_| Mutex::default()).collect())
    }

    pub(super) fn add(&self, app: &AppId, executor: &ExecutorId, registration: &Arc<Registration>) {
        for dir in registration.dirs() {
            let (app, executor) = (app.clone(), executor.clone());
            let dead =
                Dead { app, executor, registration: Arc::clone(registration), dir: dir.clone(), tries: 0 };
            self.push(dead);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|queue| lock(queue).len()).sum()
    }

    fn push(&self, dead: Dead) {
        let Some(queue) = self.0.get(dead.dir.disk_number()) else { return };
        let mut queue = lock(queue);
        if queue.len() < MOST {
            queue.push_back(dead);
        }
    }

    fn take(&self, disk: usize) -> VecDeque<Dead> {
        self.0.get(disk).map(|queue| std::mem::take(&mut *lock(queue))).unwrap_or_default()
    }
}

impl Remains {
    /// Removes what nobody is served with, as executors end.
    pub(super) async fn clear_executors(&self, disk: usize) {
        let mut rounds = rounds(ROUND);
        loop {
            rounds.tick().await;
            let (mut places, mut sum) = (0_u64, Tally::default());
            for dead in self.dead.take(disk) {
                if let Some(tally) = self.clear_executor(disk, dead).await {
                    places += 1;
                    sum.add(&tally);
                }
            }
            if sum.files > 0 {
                let Tally { files, bytes, .. } = sum;
                info!(
                    places,
                    files, bytes, "removed files of executors that have ended, which nobody is served with"
                );
            }
        }
    }

    async fn clear_executor(&self, disk: usize, dead: Dead) -> Option<Tally> {
        let purpose = Purpose::Remove(Selection::NotServed { serves_rdd: self.config.serves_rdd });
        let walk = Walk::new(dead.dir.clone(), purpose)?;
        let (store, job) = (Arc::clone(&self.store), dead.clone());
        // A directory that another executor of the application has, too, is not the dead one's alone.
        let is_still_its = move |walk: &Walk| {
            store.executors().is_alone_in(&job.app, &job.executor, &job.registration, walk.dir())
        };
        match self.walk_through(disk, walk, is_still_its).await {
            Ok(walk) => {
                let tally = walk?.tally().clone();
                debug!(app = %dead.app, executor = %dead.executor, ?tally, "cleared after an executor");
                self.counters.cleared(ClearedOf::Executor, &tally, false);
                Some(tally)
            }
            Err(error) if dead.tries + 1 < TRIES => {
                debug!(app = %dead.app, executor = %dead.executor, error, "files of an executor are tried again");
                self.dead.push(Dead { tries: dead.tries + 1, ..dead });
                None
            }
            Err(error) => {
                let dir = dead.dir.shown();
                warn!(app = %dead.app, executor = %dead.executor, dir, error, "files of an executor that has ended stay");
                None
            }
        }
    }
}
