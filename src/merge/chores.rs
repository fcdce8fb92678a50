//! Deletions that nobody waits for. Each is one of a disk, and is kept until it is done: a disk that fails or hangs holds
//! up its own alone.
//!
//! ```text
//! due ─► done                what cannot be deleted is due again with the next round of housekeeping
//!  ▲ └─► failed ─┐
//!  └─────────────┘
//! ```
//!
//! Files of an attempt that is over are deleted by their names. The application may have come again meanwhile, with the
//! same directories: until they are deleted, nothing new is made there ([`Chores::holds`]).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::application::App;
use super::dirs::MergeDirs;
use super::names::PartitionId;
use super::partition::Partition;

/// All that is to be deleted.
#[derive(Debug, Default)]
pub(super) struct Chores(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    disks: BTreeMap<usize, OfDisk>,
    /// Attempts whose files are not all deleted.
    ends: Vec<Arc<AttemptEnd>>,
}

#[derive(Debug, Default)]
struct OfDisk {
    due: VecDeque<Chore>,
    failed: Vec<Chore>,
    /// Somebody works on them.
    is_taken: bool,
}

/// What is to be deleted on one disk.
#[derive(Clone, Debug)]
pub(super) enum Chore {
    /// Partitions of one merge.
    Partitions(Arc<App>, Arc<OldPartitions>),
    /// All that an attempt made.
    Attempt(Arc<AttemptEnd>),
}

/// Partitions that nobody wants. Those that were open are closed with the last deletion, on a thread that may wait.
#[derive(Debug)]
pub(super) struct OldPartitions {
    pub(super) all: Vec<PartitionId>,
    pub(super) open: Vec<Arc<Partition>>,
}

/// An attempt that is over. Its files go, except in directories that the attempt that took its place uses, too.
/// Directories stay: whoever made them removes them.
#[derive(Debug)]
pub(super) struct AttemptEnd {
    pub(super) old: Arc<App>,
    /// Where its files are deleted.
    pub(super) dirs: MergeDirs,
    /// Whether no other attempt took its place.
    pub(super) is_last: bool,
    /// The disks on which it is not done with.
    left: Mutex<BTreeSet<usize>>,
    /// The disks of which it was said that something is left there.
    said: Mutex<BTreeSet<usize>>,
}

impl AttemptEnd {
    fn left(&self) -> MutexGuard<'_, BTreeSet<usize>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this is the first failure on a disk.
    pub(super) fn fails_first(&self, disk: usize) -> bool {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).insert(disk)
    }

    /// Whether there was one.
    pub(super) fn has_failed(&self, disk: usize) -> bool {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).contains(&disk)
    }
}

/// The right to work on the chores of a disk, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    chores: &'a Chores,
    disk: usize,
}

impl Chores {
    /// Partitions of one merge are to be deleted.
    pub(super) fn add_partitions(&self, app: &Arc<App>, partitions: OldPartitions) {
        let partitions = Arc::new(partitions);
        let mut table = self.lock();
        for disk in app.dirs.disks() {
            let chore = Chore::Partitions(Arc::clone(app), Arc::clone(&partitions));
            table.disks.entry(disk).or_default().due.push_back(chore);
        }
    }

    /// An attempt is over: what it made is to be deleted. The end where there is nothing to do.
    pub(super) fn add_end(&self, old: Arc<App>, new: Option<&App>) -> Option<Arc<AttemptEnd>> {
        let dirs =
            new.map_or_else(|| old.dirs.without(&MergeDirs::none()), |new| old.dirs.without(&new.dirs));
        let disks = old.dirs.disks();
        let (left, said) = (Mutex::new(disks.clone()), Mutex::default());
        let end = Arc::new(AttemptEnd { old, dirs, is_last: new.is_none(), left, said });
        if disks.is_empty() {
            return Some(end);
        }
        let mut table = self.lock();
        for disk in disks {
            table.disks.entry(disk).or_default().due.push_back(Chore::Attempt(Arc::clone(&end)));
        }
        table.ends.push(end);
        None
    }

    /// The end of an attempt is done with on a disk; whether that was the last one.
    pub(super) fn done(&self, end: &Arc<AttemptEnd>, disk: usize) -> bool {
        let is_over = {
            let mut left = end.left();
            left.remove(&disk) && left.is_empty()
        };
        if is_over {
            self.lock().ends.retain(|other| !Arc::ptr_eq(other, end));
        }
        is_over
    }

    /// Whether files that bear names of `app` are still to be deleted where a file of this name would lie.
    pub(super) fn holds(&self, app: &App, name: &str) -> bool {
        let Some(disk) = app.dirs.dir_of(name).map(crate::disk::LocalDir::disk_number) else { return false };
        let ends = &self.lock().ends;
        let mut older = ends.iter().filter(|end| end.old.id == app.id && end.old.life != app.life);
        older.any(|end| app.dirs.shares(name, &end.dirs) && end.left().contains(&disk))
    }

    /// The disks on which something is due.
    pub(super) fn due(&self) -> Vec<usize> {
        let table = self.lock();
        table.disks.iter().filter(|(_, of)| !of.due.is_empty()).map(|(disk, _)| *disk).collect()
    }

    /// Chores that are not done.
    pub(super) fn waiting(&self) -> usize {
        self.lock().disks.values().map(|of| of.due.len() + of.failed.len()).sum()
    }

    /// What could not be done is due again.
    pub(super) fn retry(&self) {
        self.lock().disks.values_mut().for_each(|of| of.due.extend(of.failed.drain(..)));
    }

    /// The chores of a disk, unless somebody works on them: a long deletion keeps one thread, however many ask for it.
    pub(super) fn take_turn(&self, disk: usize) -> Option<Turn<'_>> {
        let mut table = self.lock();
        let of = table.disks.get_mut(&disk).filter(|of| !of.is_taken)?;
        of.is_taken = true;
        Some(Turn { chores: self, disk })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// The next chore.
    pub(super) fn next(&self) -> Option<Chore> {
        self.chores.lock().disks.get_mut(&self.disk)?.due.pop_front()
    }

    /// Keeps one that could not be done.
    pub(super) fn keep(&self, chore: Chore) {
        self.chores.lock().disks.entry(self.disk).or_default().failed.push(chore);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut table = self.chores.lock();
        let Some(of) = table.disks.get_mut(&self.disk) else { return };
        of.is_taken = false;
        if of.due.is_empty() && of.failed.is_empty() {
            table.disks.remove(&self.disk);
        }
    }
}
