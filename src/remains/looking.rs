//! Looks for block directories that no registration names.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sealed_shuffle_config::Clears;
use tracing::{info, warn};

use super::figures::{DiskUse, OrphanFigures, lock};
use super::{Remains, ago, rounds};
use crate::disk::remains::{OrphanLook, Purpose, Selection, Step, Walk};
use crate::disk::{Leaver, LeftBy, LocalDir};

/// Between two looks.
const DAY: Duration = Duration::from_secs(86_400);

/// Directories that are named in the log.
const NAMED: usize = 3;

/// What the last look at each disk has found.
#[derive(Debug)]
pub(super) struct Orphans(Vec<Mutex<OrphanFigures>>);

impl Orphans {
    pub(super) fn new(disks: usize) -> Self {
        Self((0..disks).map(|_| Mutex::default()).collect())
    }

    pub(super) fn now(&self) -> OrphanFigures {
        let sum = |sum: OrphanFigures, disk: &Mutex<OrphanFigures>| {
            let OrphanFigures { directories, used } = *lock(disk);
            OrphanFigures { directories: sum.directories + directories, used: sum.used.and(used) }
        };
        self.0.iter().fold(OrphanFigures::default(), sum)
    }
}

impl Remains {
    /// Looks at a disk now and daily.
    pub(super) async fn look(&self, disk: usize) {
        if self.config.orphans == Clears::Off {
            return;
        }
        let mut rounds = rounds(DAY);
        loop {
            rounds.tick().await;
            self.look_once(disk).await;
        }
    }

    async fn look_once(&self, disk: usize) {
        let Some(root) = self.store.roots().disks().get(disk).map(|disk| disk.path().display()) else {
            return;
        };
        let (mut figures, mut names, mut leavers) = (OrphanFigures::default(), Vec::new(), Vec::new());
        let clears = self.clears(LeftBy::Orphan);
        for dir in self.candidates(disk).await {
            let Some(walk) = Walk::new(dir.clone(), Purpose::Count(Selection::All)) else { continue };
            let walk = walk.until_newer(ago(self.config.orphan_age));
            // One that cannot be looked at is nobody's who can be helped here.
            let Ok(Some(walk)) = self.walk_through(disk, walk, |_| true).await else { continue };
            if walk.met_newer() {
                continue;
            }
            figures.directories += 1;
            figures.used = figures.used.and(DiskUse { files: walk.tally().files, bytes: walk.tally().bytes });
            if names.len() < NAMED {
                names.push(dir.shown().to_owned());
            }
            if clears == Clears::On {
                let quiet = Some(self.config.orphan_age);
                leavers.push(Leaver { dir, left_by: LeftBy::Orphan, quiet });
            }
        }
        if let Some(kept) = self.orphans.0.get(disk) {
            *lock(kept) = figures;
        }
        let OrphanFigures { directories, used: DiskUse { files, bytes } } = figures;
        if directories == 0 {
            return;
        }
        match clears {
            Clears::On => {
                // Before the first of them goes.
                self.audit.removes_orphans(directories);
                for leaver in leavers {
                    self.store.executors().add_leaving(leaver);
                }
                info!(%root, directories, files, bytes, ?names, "block directories that no registration names go")
            }
            _ => info!(
                %root, directories, files, bytes, ?names,
                "no registration names these block directories: see sealed-shuffle orphans"
            ),
        }
    }

    /// The block directories of a disk that belong to no application.
    async fn candidates(&self, disk: usize) -> Vec<LocalDir> {
        let Some(lane) = self.store.roots().lane(disk) else {
            return Vec::new();
        };
        let mut look = OrphanLook::default();
        loop {
            let store = Arc::clone(&self.store);
            let step = move |on: &_| {
                let Some(of) = store.roots().disks().get(disk) else { return (look, Ok(Step::Done)) };
                let done = look.step(on, of);
                (look, done)
            };
            match lane.run(step).await {
                Ok((back, Ok(Step::More))) => look = back,
                Ok((back, Ok(Step::Done))) => {
                    look = back;
                    break;
                }
                Ok((_, Err(error))) => {
                    warn!(%error, "a disk cannot be looked at for directories that are left behind");
                    return Vec::new();
                }
                Err(error) => {
                    warn!(%error, "a look for directories that are left behind was lost");
                    return Vec::new();
                }
            }
        }
        let (found, _) = look.found();
        let store = Arc::clone(&self.store);
        let judged = lane.run(move |on| {
            let Some(root) = store.roots().disks().get(disk) else { return Vec::new() };
            if store.roots().is_there_twice(on, disk) {
                let root = root.path().display();
                warn!(%root, "two roots are one directory: what one of them registers is unknown by the other, and nothing is looked for there");
                return Vec::new();
            }
            let accept = |below: &String| {
                let path = root.path().join(below);
                store.roots().accept(on, path.to_str()?).ok()
            };
            let dirs = found.iter().filter_map(accept);
            dirs.filter(|dir| dir.disk_number() == disk && store.executors().is_nobodys(dir)).collect()
        });
        judged.await.unwrap_or_default()
    }
}
