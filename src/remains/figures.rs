//! What was cleared, what is left and how much of the disks is used, in numbers.

use std::sync::Mutex;

use sealed_shuffle_protocol::ids::AppId;

use crate::disk::LeftBy;
use crate::disk::remains::Tally;

/// Applications that are named in metrics, those that use most; the others are one sum.
pub const NAMED: usize = 10;

/// Whose files were cleared.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ClearedOf {
    /// Of an application that had ended.
    Application,
    /// Of nobody.
    Orphan,
    /// Of an executor that had ended.
    Executor,
}

impl ClearedOf {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Application, Self::Orphan, Self::Executor];

    /// The word in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Application => "application",
            Self::Orphan => "orphan",
            Self::Executor => "executor",
        }
    }
}

impl From<LeftBy> for ClearedOf {
    fn from(left_by: LeftBy) -> Self {
        match left_by {
            LeftBy::Application => Self::Application,
            LeftBy::Orphan => Self::Orphan,
        }
    }
}

/// Files and what they take on the disk.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct DiskUse {
    /// Files.
    pub files: u64,
    /// Bytes that they take.
    pub bytes: u64,
}

impl DiskUse {
    /// Both together.
    pub fn and(self, other: Self) -> Self {
        Self { files: self.files + other.files, bytes: self.bytes + other.bytes }
    }
}

/// What was cleared of somebody.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Clearance {
    /// Counter: files that were removed, and the bytes that they took.
    pub removed: DiskUse,
    /// Counter: directories that were removed.
    pub directories: u64,
    /// Counter: the same in a dry run, which removes nothing.
    pub dry_run: DiskUse,
    /// Counter: things that stayed, since Spark does not make them.
    pub kept: u64,
}

/// Directories that no registration names.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct OrphanFigures {
    /// Gauge: directories that are old enough.
    pub directories: u64,
    /// Gauge: what they take.
    pub used: DiskUse,
}

/// All of it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Figures {
    /// What was cleared, in the order of [`ClearedOf::ALL`].
    pub cleared: [Clearance; 3],
    /// Gauge: directories that are to be cleared.
    pub waiting: u64,
    /// At the last look.
    pub orphans: OrphanFigures,
    /// Gauge: at the last look, the applications that use most, and all others.
    pub usage: UsageFigures,
}

/// How much of the disks applications use.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct UsageFigures {
    /// Those that use most.
    pub largest: Vec<(AppId, DiskUse)>,
    /// All others.
    pub others: DiskUse,
}

/// Counters of what was cleared.
#[derive(Debug, Default)]
pub(super) struct Counters([Mutex<Clearance>; 3]);

impl Counters {
    pub(super) fn cleared(&self, of: ClearedOf, tally: &Tally, is_dry_run: bool) {
        let mut cleared = lock(&self.0[of as usize]);
        let used = DiskUse { files: tally.files, bytes: tally.bytes };
        match is_dry_run {
            true => cleared.dry_run = cleared.dry_run.and(used),
            false => {
                cleared.removed = cleared.removed.and(used);
                cleared.directories += tally.directories;
                cleared.kept += tally.kept;
            }
        }
    }

    pub(super) fn now(&self) -> [Clearance; 3] {
        ClearedOf::ALL.map(|of| *lock(&self.0[of as usize]))
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
