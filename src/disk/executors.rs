//! Which application and executor registered which directories, and when an application ends.
//!
//! Nothing tells a separate service that an application is over (Spark's own keeps entries until its restart), so
//! [`Executors::sweep`] finds out: when directories that it once had are gone, or when it was idle for too long. To end an
//! application is the business of `applications`, which owns the entries here.
//!
//! Invariants: no handle is kept; the number of executors and their bytes are bounded; an application
//! has one [`Proof`] for all its executors; a directory belongs to one application (`claims`); the locks are held for a
//! few lines and never over IO.
//!
//! Origin: `ExternalShuffleBlockResolver.registerExecutor` and `applicationRemoved`, Spark 4.3.0.

mod leaving;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use sealed_shuffle_config::{Values, keys};
use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use sealed_shuffle_transport::lane::OnLane;
use sealed_shuffle_transport::pot::{PotFigures, is_fair};

use self::leaving::Departures;
use super::claims::{CLAIM_BYTES, Claims};
use super::root::{LocalDir, Presence, Roots};

pub use self::leaving::{ClearingTurn, Leaver, LeftBy};

/// The registered executors of all applications.
#[derive(Debug)]
pub struct Executors {
    limits: RegistryLimits,
    started: Instant,
    table: RwLock<Table>,
    round: Mutex<Round>,
}

/// What bounds the registrations.
#[derive(Clone, Debug)]
pub struct RegistryLimits {
    /// Executors of all applications together. Default 100,000; each costs some 400 bytes beside its texts.
    pub executors: usize,
    /// Bytes of their texts (ids, directories, shuffle managers) and of the records for each directory, merge
    /// directories among them. Default 256 MiB.
    pub bytes: usize,
    /// An application that nothing asked for during this time is forgotten. Default none: never.
    pub idle_ttl: Option<Duration>,
    /// The least proof with which an application's directories are cleared when it has ended. Default none: they stay.
    pub clears: Option<Proof>,
}

impl Default for RegistryLimits {
    fn default() -> Self {
        let executors = Values::defaults().count(&keys::LIMIT_EXECUTORS);
        Self { executors, bytes: 256 << 20, idle_ttl: None, clears: None }
    }
}

/// Whether the peer that registered an application had proven to be it. What follows from that is decided by the
/// server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Proof {
    /// An authenticated connection of that application.
    Proven,
    /// A connection that proved nothing.
    Unproven,
}

impl Proof {
    /// Proof wins: what was registered with it takes away what was registered without, whichever came first. That holds
    /// for an application's name, and for directories that two applications name.
    pub const fn overrules(self, other: Self) -> bool {
        matches!((self, other), (Self::Proven, Self::Unproven))
    }
}

/// What an executor registered.
#[derive(Debug)]
pub struct Registration {
    dirs: Box<[LocalDir]>,
    sub_dirs: i32,
    shuffle_manager: Arc<str>,
}

impl Registration {
    /// Takes what the message said, the directories accepted by [`Roots::accept`]. No directories and no
    /// sub-directories are accepted, as in Spark; looking up a block fails then.
    pub fn new(dirs: Vec<LocalDir>, sub_dirs: i32, shuffle_manager: &str) -> Self {
        Self { dirs: dirs.into(), sub_dirs, shuffle_manager: shuffle_manager.into() }
    }

    /// The directories, in the order that placement counts.
    pub fn dirs(&self) -> &[LocalDir] {
        &self.dirs
    }

    /// Sub-directories of each; any number that a peer can send.
    pub fn sub_dirs(&self) -> i32 {
        self.sub_dirs
    }

    /// Class name of the shuffle manager, with what push-based shuffle appends to it.
    pub fn shuffle_manager(&self) -> &str {
        &self.shuffle_manager
    }

    fn bytes(&self) -> usize {
        self.shuffle_manager.len() + bytes_of(&self.dirs)
    }
}

/// What directories cost, with the claims on them.
fn bytes_of(dirs: &[LocalDir]) -> usize {
    dirs.iter().map(|dir| dir.text_bytes() + size_of::<LocalDir>() + CLAIM_BYTES).sum()
}

/// What a registration meant for its application.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RegistrationEffect {
    /// It is the first of an application that was not known.
    First,
    /// The application was known.
    Further,
    /// The first with proof of identity: all that was registered without is gone.
    Overruling,
}

/// An executor that is registered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// What that meant for its application.
    pub registered: RegistrationEffect,
    /// Other applications, registered without proof, that had named one of its directories: they are gone.
    pub overruled: Vec<AppId>,
}

/// An application in numbers.
#[derive(Clone, Debug)]
pub struct AppSummary {
    /// The application.
    pub app: AppId,
    /// How it was registered.
    pub proof: Proof,
    /// Its executors.
    pub executors: usize,
    /// When it was last registered or asked for.
    pub last_use: Instant,
}

/// An application that a sweep found to be over. [`Executors::forget_found`] looks again before it goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// The application.
    pub app: AppId,
    /// Why it is over.
    pub reason: FindingReason,
    /// When it was looked at.
    at: Instant,
    /// Of its last registration.
    generation: u64,
}

/// Why a sweep takes an application to be over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FindingReason {
    /// At least one of its directories was there once, and none is now.
    DirectoriesGone,
    /// Nothing asked for it during the idle time.
    Idle,
}

/// Why an executor was not registered.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterRefusal {
    /// The application was registered by a peer that had proven to be it, this one has not.
    #[error("application {app} was registered with proof of identity, and this peer has none")]
    NeedsProof {
        /// The application.
        app: AppId,
    },
    /// A directory belongs to another application that lives.
    #[error(
        "{dir} lies at, above or below a directory of application {owner}; end that application if it is over \
         (sealed-shuffle apps --end {owner})"
    )]
    Taken {
        /// The directory, as it was registered.
        dir: String,
        /// Whose it is.
        owner: AppId,
    },
    /// The server is just removing files there that an application left behind.
    #[error("{dir} is being cleared of what an application left behind; register again")]
    BeingCleared {
        /// The directory.
        dir: String,
    },
    /// The application ended while it claimed further directories.
    #[error("application {app} has ended")]
    Ended {
        /// The application.
        app: AppId,
    },
    /// The table is full.
    #[error(
        "of {limit} executors there are so many that this application may have no more; forget applications that are \
         over, or raise the limit"
    )]
    TooManyExecutors {
        /// The bound.
        limit: usize,
    },
    /// Their texts are too long, or their directories too many.
    #[error(
        "the registrations of this application would hold more than its share of {limit} bytes; forget applications \
         that are over"
    )]
    TooManyBytes {
        /// The bound.
        limit: usize,
    },
}

impl Executors {
    /// An empty table.
    pub fn new(limits: RegistryLimits, now: Instant) -> Self {
        Self { limits, started: now, table: RwLock::default(), round: Mutex::default() }
    }

    /// Registers an executor, in place of an earlier registration of the same.
    ///
    /// Its directories belong to its application from then on: nothing at, above or below a directory of another
    /// application is registered.
    ///
    /// Proof wins: a proven registration of an application that was registered without proof drops what was there, and
    /// so it does with other applications without proof that have one of its directories. One without proof of an
    /// application that was registered with is refused.
    pub fn register(
        &self,
        app: &AppId,
        executor: &ExecutorId,
        mut registration: Registration,
        proof: Proof,
        now: Instant,
    ) -> Result<Entry, RegisterRefusal> {
        let table = &mut *self.write();
        let before = table.apps.get(app).map(|there| there.proof);
        if before.is_some_and(|before| before.overrules(proof)) {
            return Err(RegisterRefusal::NeedsProof { app: app.clone() });
        }
        let overruled = table.overruled(app, proof, &registration.dirs)?;
        let registered = match before {
            None => RegistrationEffect::First,
            Some(before) if proof.overrules(before) => {
                table.forget(app);
                RegistrationEffect::Overruling
            }
            Some(_) => RegistrationEffect::Further,
        };
        let there = table.apps.get(app);
        let old = there.and_then(|app| app.executors.get(executor));
        let own = there.map_or(0, |app| app.executors.len());
        if old.is_none() && !has_room(own, 1, table.executors, self.limits.executors) {
            table.refused_executors += 1;
            return Err(RegisterRefusal::TooManyExecutors { limit: self.limits.executors });
        }
        let freed = old.map_or(0, |old| cost(executor, old));
        let name = if there.is_none() { app.as_str().len() } else { 0 };
        let more = name + cost(executor, &registration);
        let own = there.map_or(0, |app| app.bytes);
        let is_larger = more > freed;
        if is_larger && !has_room(own.saturating_sub(freed), more, table.bytes - freed, self.limits.bytes) {
            table.refused_bytes += 1;
            return Err(RegisterRefusal::TooManyBytes { limit: self.limits.bytes });
        }
        table.take_back(&registration.dirs)?;
        overruled.iter().for_each(|other| drop(table.forget(other)));
        let entry = table.apps.entry(app.clone()).or_insert_with(|| App::new(proof));
        // Executors of an application name the same class.
        match entry.shuffle_manager == registration.shuffle_manager {
            true => registration.shuffle_manager = entry.shuffle_manager.clone(),
            false => entry.shuffle_manager = registration.shuffle_manager.clone(),
        }
        entry.seen |= registration.dirs.iter().any(LocalDir::existed);
        entry.generation = table.generation;
        entry.touch(self.since_start(now));
        let registration = Arc::new(registration);
        let replaced = entry.executors.insert(executor.clone(), Arc::clone(&registration));
        table.generation += 1;
        entry.bytes = entry.bytes.saturating_sub(freed) + more;
        table.bytes = table.bytes - freed + more;
        table.executors += usize::from(replaced.is_none());
        registration.dirs.iter().for_each(|dir| table.claims.take(app, dir));
        let old = replaced.iter().flat_map(|old| &old.dirs);
        old.for_each(|dir| table.claims.release(app, dir));
        Ok(Entry { registered, overruled })
    }

    /// Gives an application the directories that it merges into, in place of those that it had, and with them the
    /// directories that they lie in where nobody else has a place there: the next attempt merges beside this one. Other
    /// applications without proof that have one of `dirs` are gone, where this one has proof; they are the answer.
    pub fn claim_merges(&self, app: &AppId, dirs: &[LocalDir]) -> Result<Vec<AppId>, RegisterRefusal> {
        let table = &mut *self.write();
        let ended = || RegisterRefusal::Ended { app: app.clone() };
        let entry = table.apps.get(app).ok_or_else(ended)?;
        let overruled = table.overruled(app, entry.proof, dirs)?;
        let parents = dirs.iter().filter_map(LocalDir::parent);
        let parents = parents.filter(|parent| table.claims.rivals(app, parent).next().is_none());
        let dirs: Box<[LocalDir]> = dirs.iter().cloned().chain(parents).collect();
        let (freed, more) = (bytes_of(&entry.merges), bytes_of(&dirs));
        if table.bytes - freed + more > self.limits.bytes {
            table.refused_bytes += 1;
            return Err(RegisterRefusal::TooManyBytes { limit: self.limits.bytes });
        }
        table.take_back(&dirs)?;
        overruled.iter().for_each(|other| drop(table.forget(other)));
        let entry = table.apps.get_mut(app).ok_or_else(ended)?;
        dirs.iter().for_each(|dir| table.claims.take(app, dir));
        let old = std::mem::replace(&mut entry.merges, dirs);
        table.bytes = table.bytes - freed + more;
        old.iter().for_each(|dir| table.claims.release(app, dir));
        Ok(overruled)
    }

    /// What an executor registered; counts as use of its application.
    pub fn lookup(&self, app: &AppId, executor: &ExecutorId, now: Instant) -> Option<Arc<Registration>> {
        let table = self.read();
        let entry = table.apps.get(app)?;
        entry.touch(self.since_start(now));
        entry.executors.get(executor).cloned()
    }

    /// Counts as use of an application, whatever is asked for.
    pub fn touch(&self, app: &AppId, now: Instant) {
        if let Some(entry) = self.read().apps.get(app) {
            entry.touch(self.since_start(now));
        }
    }

    /// How an application was registered; `None` when it is not.
    pub fn proof(&self, app: &AppId) -> Option<Proof> {
        Some(self.read().apps.get(app)?.proof)
    }

    /// The other applications that have a place at, above or below one of these directories.
    pub fn rivals(&self, app: &AppId, registration: &Registration) -> HashSet<AppId> {
        let table = self.read();
        registration.dirs.iter().flat_map(|dir| table.claims.rivals(app, dir)).cloned().collect()
    }

    /// One application in numbers.
    pub fn app(&self, app: &AppId) -> Option<AppSummary> {
        self.read().apps.get(app).map(|entry| self.summary(app, entry))
    }

    /// All applications in numbers, in no order.
    pub fn apps(&self) -> Vec<AppSummary> {
        self.read().apps.iter().map(|(app, entry)| self.summary(app, entry)).collect()
    }

    /// Registered applications.
    pub fn app_count(&self) -> usize {
        self.read().apps.len()
    }

    /// Executors of all applications.
    pub fn count(&self) -> usize {
        self.read().executors
    }

    /// Bytes that the table holds, counted as [`RegistryLimits::bytes`] says.
    pub fn bytes(&self) -> usize {
        self.read().bytes
    }

    /// The table as a share of applications, by name: places, and bytes as [`RegistryLimits::bytes`] counts them. Nobody
    /// waits here.
    pub fn shares(&self) -> [(&'static str, PotFigures); 2] {
        let table = self.read();
        let largest = |of: fn(&App) -> usize| table.apps.values().map(of).max().unwrap_or(0);
        let figures = |total: usize, used: usize, largest: usize, refused| PotFigures {
            total: total as u64,
            used: used as u64,
            largest: largest as u64,
            refused,
            ..PotFigures::default()
        };
        let (limits, most_executors) = (&self.limits, largest(|app| app.executors.len()));
        let most_bytes = largest(|app| app.bytes + bytes_of(&app.merges));
        [
            (
                "executors",
                figures(limits.executors, table.executors, most_executors, table.refused_executors),
            ),
            ("registration_bytes", figures(limits.bytes, table.bytes, most_bytes, table.refused_bytes)),
        ]
    }

    /// Forgets an application; how many executors it had, if it was there.
    pub fn forget(&self, app: &AppId) -> Option<usize> {
        let gone = {
            let table = &mut *self.write();
            let gone = table.remove(app)?;
            table.leave(&gone, self.limits.clears, None);
            gone
        };
        Some(self.release(app, &gone))
    }

    /// The applications of which a directory lies on a disk, with those that nobody proved.
    pub fn on_disk(&self, disk: usize) -> usize {
        let lies_there = |dir: &LocalDir| dir.disk_number() == disk;
        let apps = &self.read().apps;
        apps.values()
            .filter(|app| app.executors.values().any(|known| known.dirs().iter().any(lies_there)))
            .count()
    }

    /// Finds applications that are over. Call it every few seconds, on a thread that may wait for a disk.
    ///
    /// A call looks at no more than [`SWEEP_SLICE`] directories and goes on where the last one stopped, so that it
    /// takes milliseconds whatever is registered. An application that lives costs one look a round: at the
    /// directory that was found last time.
    pub fn sweep(&self, on: &OnLane, now: Instant, roots: &Roots) -> Vec<Finding> {
        let mut round = lock(&self.round);
        let mut findings = Vec::new();
        let mut budget = SWEEP_SLICE;
        let mut refilled = false;
        while budget > 0 {
            if round.scan.is_none() {
                let Some(app) = round.waiting.pop() else {
                    if std::mem::replace(&mut refilled, true) {
                        break;
                    }
                    round.waiting = self.read().apps.keys().cloned().collect();
                    continue;
                };
                budget -= 1;
                if let Some(idle) = self.find_idle(&app, now) {
                    findings.push(idle);
                    continue;
                }
                if !self.witness_is_there(on, &app, roots) {
                    round.scan = self.begin_scan(app);
                }
                continue;
            }
            let Some(mut scan) = round.scan.take() else { continue };
            match scan.advance(on, roots, &mut budget) {
                Progress::Alive(witness) => self.remember_witness(&scan.app, witness),
                Progress::Gone => findings.extend(self.find_gone(scan, now)),
                Progress::Unfinished => round.scan = Some(scan),
            }
        }
        findings
    }

    /// Forgets an application that is over, unless it was used or has registered since it was found; how many executors
    /// it had.
    pub fn forget_found(&self, finding: &Finding) -> Option<usize> {
        let mut table = self.write();
        let entry = table.apps.get(&finding.app)?;
        let is_over = match finding.reason {
            FindingReason::Idle => self.is_idle(entry, finding.at),
            FindingReason::DirectoriesGone => entry.generation == finding.generation,
        };
        let gone = is_over.then(|| table.remove(&finding.app)).flatten()?;
        // Of directories that are gone nothing is left. Should they come back with a disk, nobody has asked for their end.
        if finding.reason == FindingReason::Idle {
            table.leave(&gone, self.limits.clears, self.limits.idle_ttl);
        }
        drop(table);
        Some(self.release(&finding.app, &gone))
    }

    /// Frees the places of an application that is gone, some at a time, so that others do not wait for long; how many
    /// executors it had.
    fn release(&self, app: &AppId, gone: &App) -> usize {
        let mut dirs = gone.dirs().peekable();
        while dirs.peek().is_some() {
            let table = &mut *self.write();
            dirs.by_ref().take(RELEASE_SLICE).for_each(|dir| table.claims.release(app, dir));
        }
        gone.executors.len()
    }

    fn is_idle(&self, entry: &App, now: Instant) -> bool {
        let last = Duration::from_nanos(entry.last_use.load(Ordering::Relaxed));
        let idle = now.saturating_duration_since(self.started).saturating_sub(last);
        self.limits.idle_ttl.is_some_and(|ttl| idle >= ttl)
    }

    fn find_idle(&self, app: &AppId, now: Instant) -> Option<Finding> {
        let table = self.read();
        let entry = table.apps.get(app).filter(|entry| self.is_idle(entry, now))?;
        let (reason, generation) = (FindingReason::Idle, entry.generation);
        Some(Finding { app: app.clone(), reason, at: now, generation })
    }

    fn find_gone(&self, scan: Scan, now: Instant) -> Option<Finding> {
        let table = self.read();
        table.apps.get(&scan.app).filter(|entry| entry.seen && entry.generation == scan.generation)?;
        let (reason, generation) = (FindingReason::DirectoriesGone, scan.generation);
        Some(Finding { app: scan.app, reason, at: now, generation })
    }

    fn witness_is_there(&self, on: &OnLane, app: &AppId, roots: &Roots) -> bool {
        let witness = self.read().apps.get(app).and_then(|entry| entry.witness.clone());
        witness.is_some_and(|witness| roots.presence(on, witness.dir()) != Presence::Absent)
    }

    fn remember_witness(&self, app: &AppId, witness: Witness) {
        if let Some(entry) = self.write().apps.get_mut(app) {
            entry.seen = true;
            entry.witness = Some(witness);
        }
    }

    fn begin_scan(&self, app: AppId) -> Option<Scan> {
        let table = self.read();
        let entry = table.apps.get(&app)?;
        let registrations = entry.executors.values().cloned().collect();
        let generation = entry.generation;
        Some(Scan { app, generation, registrations, next: 0, next_dir: 0 })
    }

    fn summary(&self, app: &AppId, entry: &App) -> AppSummary {
        let last_use = self.started + Duration::from_nanos(entry.last_use.load(Ordering::Relaxed));
        AppSummary { app: app.clone(), proof: entry.proof, executors: entry.executors.len(), last_use }
    }

    fn since_start(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.started).as_nanos()).unwrap_or(u64::MAX)
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Directories that one [`Executors::sweep`] looks at.
pub const SWEEP_SLICE: usize = 2048;

/// Places that are freed under one hold of the lock.
const RELEASE_SLICE: usize = 1024;

#[derive(Debug, Default)]
struct Table {
    apps: HashMap<AppId, App>,
    claims: Claims,
    leaving: Departures,
    executors: usize,
    bytes: usize,
    /// Counters: what found no room.
    refused_executors: u64,
    refused_bytes: u64,
    /// Counts registrations, so that a scan notices one that came after it began.
    generation: u64,
}

impl Table {
    /// Forgets an application with its places.
    fn forget(&mut self, app: &AppId) -> Option<App> {
        let gone = self.remove(app)?;
        gone.dirs().for_each(|dir| self.claims.release(app, dir));
        Some(gone)
    }

    /// Forgets an application. Its places are still to be freed; until then nobody is given them.
    fn remove(&mut self, app: &AppId) -> Option<App> {
        let gone = self.apps.remove(app)?;
        self.executors -= gone.executors.len();
        self.bytes -= app.as_str().len() + bytes_of(&gone.merges);
        self.bytes -= gone.executors.iter().map(|(id, reg)| cost(id, reg)).sum::<usize>();
        Some(gone)
    }

    /// The other applications that have to go before these directories belong to `app`; the first one that has not
    /// is a refusal.
    fn overruled(&self, app: &AppId, proof: Proof, dirs: &[LocalDir]) -> Result<Vec<AppId>, RegisterRefusal> {
        let mut overruled = HashSet::new();
        for dir in dirs {
            for rival in self.claims.rivals(app, dir) {
                if self.apps.get(rival).is_some_and(|rival| proof.overrules(rival.proof)) {
                    overruled.insert(rival.clone());
                } else {
                    return Err(RegisterRefusal::Taken { dir: dir.text().into(), owner: rival.clone() });
                }
            }
        }
        Ok(overruled.into_iter().collect())
    }
}

#[derive(Debug)]
struct App {
    executors: HashMap<ExecutorId, Arc<Registration>>,
    /// The directories that it merges into, and those that they lie in.
    merges: Box<[LocalDir]>,
    shuffle_manager: Arc<str>,
    proof: Proof,
    /// Bytes of its executors, as the table counts them.
    bytes: usize,
    /// Nanoseconds since the table began; written under the read lock.
    last_use: AtomicU64,
    /// One of its directories has been there.
    seen: bool,
    generation: u64,
    witness: Option<Witness>,
}

impl App {
    fn new(proof: Proof) -> Self {
        Self {
            executors: HashMap::new(),
            merges: Box::default(),
            shuffle_manager: "".into(),
            proof,
            bytes: 0,
            last_use: AtomicU64::new(0),
            seen: false,
            generation: 0,
            witness: None,
        }
    }

    /// All directories that belong to it.
    fn dirs(&self) -> impl Iterator<Item = &LocalDir> {
        self.executors.values().flat_map(|executor| &executor.dirs).chain(&self.merges)
    }

    fn touch(&self, since_start: u64) {
        self.last_use.fetch_max(since_start, Ordering::Relaxed);
    }
}

/// A directory that the last scan found.
#[derive(Clone, Debug)]
struct Witness {
    registration: Arc<Registration>,
    dir: usize,
}

impl Witness {
    fn dir(&self) -> &LocalDir {
        &self.registration.dirs[self.dir]
    }
}

/// How far the sweep is.
#[derive(Debug, Default)]
struct Round {
    waiting: Vec<AppId>,
    scan: Option<Scan>,
}

/// A look at all directories of one application, until one is there.
#[derive(Debug)]
struct Scan {
    app: AppId,
    generation: u64,
    registrations: Vec<Arc<Registration>>,
    next: usize,
    next_dir: usize,
}

enum Progress {
    Alive(Witness),
    Gone,
    Unfinished,
}

impl Scan {
    fn advance(&mut self, on: &OnLane, roots: &Roots, budget: &mut usize) -> Progress {
        while let Some(registration) = self.registrations.get(self.next) {
            let Some(dir) = registration.dirs.get(self.next_dir) else {
                (self.next, self.next_dir) = (self.next + 1, 0);
                continue;
            };
            if *budget == 0 {
                return Progress::Unfinished;
            }
            *budget -= 1;
            // A directory that we may not look at is not known to be gone.
            if roots.presence(on, dir) != Presence::Absent {
                return Progress::Alive(Witness { registration: registration.clone(), dir: self.next_dir });
            }
            self.next_dir += 1;
        }
        Progress::Gone
    }
}

/// Whether one application that has `own` of a table may have `more`. A tenth of the table is always its, where that fits;
/// beyond it something must be left for others, as in a pot.
fn has_room(own: usize, more: usize, used: usize, limit: usize) -> bool {
    let (own, Some(left)) = (own + more, limit.checked_sub(used + more)) else { return false };
    own == more || own <= limit / 10 || is_fair(own as u64, left as u64)
}

fn cost(executor: &ExecutorId, registration: &Registration) -> usize {
    executor.as_str().len() + registration.bytes()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
