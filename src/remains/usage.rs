//! How much of the disks each application uses.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Instant;

use sealed_shuffle_protocol::ids::AppId;
use tokio::time::sleep;

use super::figures::{DiskUse, NAMED, UsageFigures, lock};
use super::{Remains, rounds};
use crate::disk::Executors;
use crate::disk::remains::{Purpose, Selection, Walk};

/// A look rests so many times as long as it works.
const REST: u32 = 19;

/// What the last look at each disk has found; `None` before the first.
#[derive(Debug)]
pub(super) struct Usage(Vec<Mutex<Option<HashMap<AppId, DiskUse>>>>);

impl Usage {
    pub(super) fn new(disks: usize) -> Self {
        Self((0..disks).map(|_| Mutex::default()).collect())
    }

    pub(super) fn of(&self, app: &AppId) -> Option<DiskUse> {
        let on_each = self.0.iter().filter_map(|disk| lock(disk).as_ref()?.get(app).copied());
        on_each.reduce(DiskUse::and)
    }

    /// The applications that use most, of those that are registered, and all others.
    pub(super) fn largest(&self, executors: &Executors) -> UsageFigures {
        let mut all: HashMap<AppId, DiskUse> = HashMap::new();
        for disk in &self.0 {
            for (app, used) in lock(disk).iter().flatten() {
                let sum = all.entry(app.clone()).or_default();
                *sum = sum.and(*used);
            }
        }
        let mut largest: Vec<_> = all.into_iter().filter(|(app, _)| executors.proof(app).is_some()).collect();
        largest.sort_by(|(a, x), (b, y)| (y.bytes, a).cmp(&(x.bytes, b)));
        let others = largest.split_off(largest.len().min(NAMED));
        let others = others.into_iter().fold(DiskUse::default(), |sum, (_, used)| sum.and(used));
        UsageFigures { largest, others }
    }
}

impl Remains {
    /// Looks at a disk now and then.
    pub(super) async fn measure(&self, disk: usize) {
        let Some(interval) = self.config.usage_interval else { return };
        let mut rounds = rounds(interval);
        loop {
            rounds.tick().await;
            let mut used: HashMap<AppId, DiskUse> = HashMap::new();
            for (app, dirs) in self.store.executors().dirs_on(disk) {
                let sum = used.entry(app).or_default();
                for dir in dirs {
                    let Some(walk) = Walk::new(dir, Purpose::Count(Selection::All)) else { continue };
                    let begun = Instant::now();
                    if let Ok(Some(walk)) = self.walk_through(disk, walk, |_| true).await {
                        *sum = sum.and(DiskUse { files: walk.tally().files, bytes: walk.tally().bytes });
                    }
                    sleep(begun.elapsed() * REST).await;
                }
            }
            if let Some(known) = self.usage.0.get(disk) {
                *lock(known) = Some(used);
            }
        }
    }
}
