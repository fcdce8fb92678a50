//! Directories that nobody's registration names any more and that are to be cleared.
//!
//! ```text
//! an application ends ─► its directories ─┐
//! before a restart    ─► a journal ───────┼─► leaving ──begin_clearing──► a step ──► … ──► cleared
//! nobody's            ─► a look for them ─┘      ▲
//! an executor registers at, above or below ──────┘ takes it out; waits for nothing: in the midst of a step it is refused
//! ```
//!
//! The directories of an application go from its registration to this table under one hold of the lock, and a registration
//! takes out what it names under one, too. So there is no moment in which a directory is cleared that a registration names:
//! a step holds the [`ClearingTurn`] of its directory, and a registration that meets one is told to come again. Spark's
//! executors try three times, five seconds apart; a step takes milliseconds.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;
use std::time::Duration;

use sealed_shuffle_protocol::ids::{AppId, ExecutorId};

use super::super::claims::parents;
use super::super::remains::is_block_dir;
use super::super::root::LocalDir;
use super::{App, Executors, Proof, RegisterRefusal, Registration, Table};

/// Directories that wait at most; a look for orphans finds those that found no room.
const MOST: usize = 100_000;

/// Whose directory it was.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum LeftBy {
    /// An application that has ended.
    Application,
    /// Nobody knows.
    Orphan,
}

/// A directory that is to be cleared.
#[derive(Clone, Debug)]
pub struct Leaver {
    /// The directory.
    pub dir: LocalDir,
    /// Whose it was.
    pub left_by: LeftBy,
    /// For how long nothing must have been written there.
    pub quiet: Option<Duration>,
}

/// Directories that are to be cleared, by their canonical paths.
#[derive(Debug, Default)]
pub(super) struct Departures {
    dirs: BTreeMap<Arc<str>, Entry>,
    /// Grows with each change.
    version: u64,
}

#[derive(Debug)]
struct Entry {
    leaver: Leaver,
    busy: bool,
}

impl Departures {
    fn add(&mut self, leaver: Leaver) -> bool {
        let path = leaver.dir.path();
        if self.dirs.len() >= MOST && !self.dirs.contains_key(path) {
            return false;
        }
        self.version += 1;
        self.dirs.entry(Arc::clone(path)).or_insert(Entry { leaver, busy: false });
        true
    }

    fn remove(&mut self, path: &str) {
        self.version += u64::from(self.dirs.remove(path).is_some());
    }

    /// Takes out what lies at, above and below directories that are about to be registered.
    fn give_way(&mut self, dirs: &[LocalDir]) -> Result<(), RegisterRefusal> {
        if self.dirs.is_empty() {
            return Ok(());
        }
        let met: Vec<Arc<str>> = dirs.iter().flat_map(|dir| self.around(dir)).collect();
        let is_busy = |path: &Arc<str>| self.dirs.get(path).is_some_and(|entry| entry.busy);
        if let Some(path) = met.iter().find(|path| is_busy(path)) {
            return Err(RegisterRefusal::BeingCleared { dir: path.to_string() });
        }
        met.iter().for_each(|path| self.remove(path));
        Ok(())
    }

    /// Directories here that lie at, above or below `dir`. What lies below a root does not go with the root.
    fn around(&self, dir: &LocalDir) -> Vec<Arc<str>> {
        let path: &str = dir.path();
        let above = std::iter::once(path).chain(parents(path));
        let above = above.filter_map(|path| self.dirs.get_key_value(path).map(|(path, _)| Arc::clone(path)));
        let (begin, end) = (format!("{path}/"), format!("{path}0"));
        let below = self.dirs.range::<str, _>((Excluded(begin.as_str()), Excluded(end.as_str())));
        let below = below.filter(|_| !dir.relative().is_empty());
        above.chain(below.map(|(path, _)| Arc::clone(path))).collect()
    }
}

impl Table {
    /// Directories that are about to be registered are no longer to be cleared.
    pub(super) fn take_back(&mut self, dirs: &[LocalDir]) -> Result<(), RegisterRefusal> {
        self.leaving.give_way(dirs)
    }

    /// The directories of an application that has just been taken out; `quiet` as for a [`Leaver`]: executors of one that a
    /// sweep found idle may write and read there without asking here.
    pub(super) fn leave(&mut self, gone: &App, least: Option<Proof>, quiet: Option<Duration>) {
        if least.is_none_or(|least| least.overrules(gone.proof)) {
            return;
        }
        for dir in gone.dirs().filter(|dir| is_block_dir(dir.name())) {
            self.leaving.add(Leaver { dir: dir.clone(), left_by: LeftBy::Application, quiet });
        }
    }
}

impl Executors {
    /// The directories of one disk that are to be cleared; at most `most`, behind `after` in their order.
    pub fn leaving(&self, disk: usize, after: Option<&str>, most: usize) -> Vec<Leaver> {
        let table = self.read();
        let begin = after.map_or(Unbounded, Excluded);
        let range = table.leaving.dirs.range::<str, _>((begin, Unbounded));
        let of_disk = range.map(|(_, entry)| &entry.leaver).filter(|leaver| leaver.dir.disk_number() == disk);
        of_disk.take(most).cloned().collect()
    }

    /// All directories that are to be cleared, as the journal keeps them, and a number that changes with them.
    pub fn all_leaving(&self) -> (u64, Vec<Leaver>) {
        let table = self.read();
        let leaving = &table.leaving;
        (leaving.version, leaving.dirs.values().map(|entry| entry.leaver.clone()).collect())
    }

    /// Directories that are to be cleared, and the number of [`Executors::all_leaving`].
    pub fn leaving_count(&self) -> (u64, usize) {
        let table = self.read();
        (table.leaving.version, table.leaving.dirs.len())
    }

    /// Adds a directory that is to be cleared, unless a registration names it, or one above or below it. Whether it was
    /// added.
    pub fn add_leaving(&self, leaver: Leaver) -> bool {
        let table = &mut *self.write();
        table.claims.is_free(&leaver.dir) && table.leaving.add(leaver)
    }

    /// Whether no registration names a directory, or one above or below it, and it is not to be cleared.
    pub fn is_nobodys(&self, dir: &LocalDir) -> bool {
        let table = self.read();
        table.claims.is_free(dir) && !table.leaving.dirs.contains_key(dir.path())
    }

    /// The right to clear a directory for one step; `None` where a registration has named it by now.
    pub fn begin_clearing(&self, dir: &LocalDir) -> Option<ClearingTurn<'_>> {
        let table = &mut *self.write();
        let entry = table.leaving.dirs.get_mut(dir.path()).filter(|entry| !entry.busy)?;
        entry.busy = true;
        Some(ClearingTurn { executors: self, path: Arc::clone(dir.path()) })
    }

    /// A directory is cleared, or will not be.
    pub fn cleared(&self, dir: &LocalDir) {
        self.write().leaving.remove(dir.path());
    }

    /// The paths of all directories that belong to applications, or are to be cleared by this server.
    pub fn taken_paths(&self) -> Vec<String> {
        let table = self.read();
        let leaving = table.leaving.dirs.keys();
        table.claims.paths().chain(leaving).map(|path| path.to_string()).collect()
    }

    /// What an executor registered, without counting as use.
    pub fn registered(&self, app: &AppId, executor: &ExecutorId) -> Option<Arc<Registration>> {
        self.read().apps.get(app)?.executors.get(executor).cloned()
    }

    /// Whether `registration` is what the executor registered still, and nobody else uses its directory `dir`.
    pub fn is_alone_in(
        &self,
        app: &AppId,
        executor: &ExecutorId,
        registration: &Arc<Registration>,
        dir: &LocalDir,
    ) -> bool {
        let table = self.read();
        let there = table.apps.get(app).and_then(|entry| entry.executors.get(executor));
        there.is_some_and(|there| Arc::ptr_eq(there, registration)) && table.claims.uses(app, dir) == 1
    }

    /// The directories of each application that lie on a disk.
    pub fn dirs_on(&self, disk: usize) -> Vec<(AppId, Vec<LocalDir>)> {
        let table = self.read();
        let lies_there = |dir: &&LocalDir| dir.disk_number() == disk;
        let of_app = |(app, entry): (&AppId, &App)| {
            (app.clone(), entry.dirs().filter(lies_there).cloned().collect::<Vec<_>>())
        };
        table.apps.iter().map(of_app).filter(|(_, dirs)| !dirs.is_empty()).collect()
    }
}

/// The right to clear a directory, until it is dropped.
#[derive(Debug)]
#[must_use = "the turn ends when it is dropped"]
pub struct ClearingTurn<'a> {
    executors: &'a Executors,
    path: Arc<str>,
}

impl Drop for ClearingTurn<'_> {
    fn drop(&mut self) {
        if let Some(entry) = self.executors.write().leaving.dirs.get_mut(&self.path) {
            entry.busy = false;
        }
    }
}
