//! Directories of ended applications and orphans, until they are gone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sealed_shuffle_config::Clears;
use sealed_shuffle_transport::lane::OnLane;
use tracing::{debug, info, warn};

use super::{ROUND, Remains, STEP, ago, rounds};
use crate::disk::remains::{Purpose, Selection, Step, Tally, Walk};
use crate::disk::{Leaver, LeftBy};

/// Directories that are taken at a time.
const BATCH: usize = 64;

/// After a failure a directory is left alone for so long, and twice as long after each further one.
const FIRST_WAIT: Duration = Duration::from_secs(10);
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// Directories of a disk that could not be cleared, and when they are tried again.
type Failures = HashMap<String, (Instant, Duration)>;

/// How it went with a directory.
enum Outcome {
    /// It was walked to its end.
    Walked(Tally),
    /// A registration names it by now, or something was written there just before.
    InUse,
    /// The disk refused.
    Failed(String),
}

/// What came of one round.
#[derive(Default)]
struct Sum {
    places: u64,
    tally: Tally,
}

impl Remains {
    /// Clears the directories of a disk as they come up.
    pub(super) async fn clear(&self, disk: usize) {
        let mut rounds = rounds(ROUND);
        let mut failures = Failures::new();
        loop {
            rounds.tick().await;
            let mut sums: HashMap<LeftBy, Sum> = HashMap::new();
            let mut after: Option<String> = None;
            loop {
                let batch = self.store.executors().leaving(disk, after.as_deref(), BATCH);
                let Some(last) = batch.last() else { break };
                after = Some(last.dir.shown().to_owned());
                for leaver in batch {
                    self.clear_one(disk, leaver, &mut failures, &mut sums).await;
                }
            }
            self.sum_up(disk, &sums);
        }
    }

    async fn clear_one(
        &self,
        disk: usize,
        leaver: Leaver,
        failures: &mut Failures,
        sums: &mut HashMap<LeftBy, Sum>,
    ) {
        let path = leaver.dir.shown().to_owned();
        if failures.get(&path).is_some_and(|(again, _)| *again > Instant::now()) {
            return;
        }
        let clears = self.clears(leaver.left_by);
        let outcome = match leaver.quiet {
            _ if clears == Clears::Off => Outcome::InUse,
            Some(quiet) if self.was_written(disk, &leaver, quiet).await => {
                info!(
                    dir = path,
                    "a directory of an application that was idle here is still written: it stays"
                );
                Outcome::InUse
            }
            _ => self.walk(disk, &leaver, clears == Clears::DryRun).await,
        };
        match outcome {
            Outcome::Walked(tally) => {
                debug!(dir = path, ?tally, "cleared a directory");
                if leaver.left_by == LeftBy::Orphan && clears == Clears::On {
                    self.audit.removed_orphan(&path, tally.kept == 0, tally.files, tally.bytes);
                }
                self.counters.cleared(leaver.left_by.into(), &tally, clears == Clears::DryRun);
                let sum = sums.entry(leaver.left_by).or_default();
                sum.places += 1;
                sum.tally.add(&tally);
            }
            Outcome::InUse => {}
            Outcome::Failed(error) => {
                let wait = failures.get(&path).map_or(FIRST_WAIT, |(_, wait)| (*wait * 2).min(LONGEST_WAIT));
                if wait == FIRST_WAIT {
                    if leaver.left_by == LeftBy::Orphan && clears == Clears::On {
                        self.audit.orphan_not_removed(&path, &error);
                    }
                    warn!(dir = path, %error, "what an application left behind cannot be removed yet: it is tried again");
                }
                failures.insert(path, (Instant::now() + wait, wait));
                return;
            }
        }
        failures.remove(&path);
        self.store.executors().cleared(&leaver.dir);
    }

    /// Whether something was written in a directory within `quiet`.
    async fn was_written(&self, disk: usize, leaver: &Leaver, quiet: Duration) -> bool {
        let Some(walk) = Walk::new(leaver.dir.clone(), Purpose::Count(Selection::All)) else { return false };
        let walk = walk.until_newer(ago(quiet));
        match self.walk_through(disk, walk, |_| true).await {
            Ok(Some(walk)) => walk.met_newer(),
            // Where it cannot be looked at it cannot be removed either; the next walk says why.
            _ => false,
        }
    }

    async fn walk(&self, disk: usize, leaver: &Leaver, is_dry_run: bool) -> Outcome {
        let purpose = match is_dry_run {
            true => Purpose::Count(Selection::All),
            false => Purpose::Remove(Selection::All),
        };
        let Some(walk) = Walk::new(leaver.dir.clone(), purpose) else { return Outcome::InUse };
        let store = Arc::clone(&self.store);
        let steps = self.walk_with(disk, walk, move |on, walk| {
            // The turn is held for this step.
            let turn = store.executors().begin_clearing(walk.dir());
            turn.map(|_turn| walk.step(on, store.roots(), STEP))
        });
        match steps.await {
            Ok(Some(walk)) => Outcome::Walked(walk.tally().clone()),
            Ok(None) => Outcome::InUse,
            Err(error) => Outcome::Failed(error),
        }
    }

    /// Walks to the end, a step at a time, as long as `goes_on`. `None` where it did not.
    pub(super) async fn walk_through(
        &self,
        disk: usize,
        walk: Walk,
        goes_on: impl Fn(&Walk) -> bool + Send + Sync + 'static,
    ) -> Result<Option<Walk>, String> {
        let store = Arc::clone(&self.store);
        let step =
            move |on: &OnLane, walk: &mut Walk| goes_on(walk).then(|| walk.step(on, store.roots(), STEP));
        self.walk_with(disk, walk, step).await
    }

    async fn walk_with<E: ToString + Send + 'static>(
        &self,
        disk: usize,
        mut walk: Walk,
        step: impl Fn(&OnLane, &mut Walk) -> Option<Result<Step, E>> + Send + Sync + 'static,
    ) -> Result<Option<Walk>, String> {
        let step = Arc::new(step);
        let Some(lane) = self.store.roots().lane(disk) else {
            return Ok(None);
        };
        loop {
            let step = Arc::clone(&step);
            let stepped = lane.run(move |on| {
                let done = step(on, &mut walk);
                (walk, done)
            });
            let (back, done) = stepped.await.map_err(|error| error.to_string())?;
            walk = back;
            match done {
                None => return Ok(None),
                Some(Ok(Step::More)) => {}
                Some(Ok(Step::Done)) => return Ok(Some(walk)),
                Some(Err(error)) => return Err(error.to_string()),
            }
        }
    }

    fn sum_up(&self, disk: usize, sums: &HashMap<LeftBy, Sum>) {
        let Some(root) = self.store.roots().disks().get(disk).map(|disk| disk.path().display()) else {
            return;
        };
        for (left_by, Sum { places, tally }) in sums {
            let Tally { files, bytes, directories, kept, examples, .. } = tally;
            let whose = match left_by {
                LeftBy::Application => "applications that have ended",
                LeftBy::Orphan => "nobody that is known",
            };
            if files + directories + kept == 0 {
                continue;
            }
            match self.clears(*left_by) {
                Clears::On => {
                    info!(%root, places, files, bytes, directories, "removed block files of {whose}");
                }
                _ => info!(%root, places, files, bytes, "a dry run: would remove block files of {whose}"),
            }
            if *kept > 0 {
                warn!(%root, kept, ?examples, "things lie in block directories of {whose} that Spark does not make: they stay");
            }
        }
    }
}
