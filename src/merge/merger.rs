//! Applications, their attempts and shuffles: which may merge, the place of their files, and the cleaning up.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard, TryLockError};
use std::time::Instant;

use sealed_shuffle_protocol::ids::{AppId, MergedPartition, ReduceId, ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::stored::envelope::WrappedKey;
use sealed_shuffle_transport::lane::OnLane;
use sealed_shuffle_transport::pot::{Holding, Pot};
use tracing::{info, warn};

use super::dirs::MergeDirs;
use super::error::MergeError;
use super::journal::{Journal, JournalPlace, Remembered};
use super::names::PartitionId;
use super::partition::Partition;
use super::readers::Readers;
use super::registration::{MergeInfo, NO_ATTEMPT};
use super::settings::MergeSettings;
use super::shares::{Accounts, Pots};
use super::store::{AppStore, Store};
use crate::disk::{BlockStore, DirRefused, Disk, LocalDir, Proof, Roots};

/// Figures of merging, under the names that Spark gives them (push-merge metrics since Spark 3.4).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct MergeCounters {
    /// Counter: pushes that met another writer (`blockAppendCollisions`).
    pub collisions: u64,
    /// Counter: pushes after finalization, and pushes of blocks that were merged already (`lateBlockPushes`).
    pub late: u64,
    /// Counter: pushes that a newer merge overtook (`staleBlockPushes`).
    pub stale: u64,
    /// Counter: bytes written (`blockBytesWritten`).
    pub written_bytes: u64,
    /// Counter: bytes that arrived and were not merged (`ignoredBlockBytes`).
    pub ignored_bytes: u64,
    /// Counter: chunks that were handed out to readers.
    pub read_chunks: u64,
    /// Counter: bytes of these chunks.
    pub read_bytes: u64,
    /// Gauge: memory of deferred blocks (`deferredBlockBytes`).
    pub deferred_bytes: u64,
    /// Gauge: deferred blocks (`deferredBlocks`).
    pub deferred_blocks: u64,
    /// Gauge: partitions being merged.
    pub open_partitions: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) collisions: AtomicU64,
    pub(super) late: AtomicU64,
    pub(super) stale: AtomicU64,
    pub(super) written_bytes: AtomicU64,
    pub(super) ignored_bytes: AtomicU64,
    pub(super) read_chunks: AtomicU64,
    pub(super) read_bytes: AtomicU64,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}

/// All merging of a server.
#[derive(Debug)]
pub struct Merger {
    pub(super) settings: MergeSettings,
    store: Arc<dyn Store>,
    pub(super) pots: Pots,
    pub(super) counters: Counters,
    pub(super) readers: Readers,
    pub(super) next_push: AtomicU64,
    pub(super) journal: JournalPlace,
    apps: RwLock<HashMap<AppId, Arc<App>>>,
    chores: Mutex<VecDeque<Chore>>,
    pub(super) cleaning: Mutex<()>,
    /// Held while an attempt begins or ends, so that the journal hears of it in the same order. The journal may wait
    /// for a disk; `apps` is never held during that, since callers that must not wait look there.
    changing: Mutex<()>,
    /// A successor of this server merges.
    retired: AtomicBool,
}

/// One attempt of an application.
#[derive(Debug)]
pub(super) struct App {
    pub(super) id: AppId,
    pub(super) attempt: i32,
    pub(super) dirs: Arc<MergeDirs>,
    pub(super) files: Arc<dyn AppStore>,
    pub(super) accounts: Accounts,
    shuffles: Mutex<HashMap<ShuffleId, Shuffle>>,
    /// Another attempt took its place, or it was forgotten: nothing more is made for it.
    pub(super) is_over: AtomicBool,
}

/// The newest merge of a shuffle.
#[derive(Debug)]
pub(super) struct Shuffle {
    /// Its place among the shuffles that are remembered.
    place: Arc<Holding>,
    pub(super) merge: ShuffleMergeId,
    pub(super) phase: Phase,
}

#[derive(Debug)]
pub(super) enum Phase {
    Open(HashMap<ReduceId, Arc<Partition>>),
    /// The partitions that have files.
    Finalized(Vec<ReduceId>),
}

impl Shuffle {
    pub(super) fn open(place: Holding, merge: ShuffleMergeId) -> Self {
        Self { place: Arc::new(place), merge, phase: Phase::Open(HashMap::new()) }
    }

    pub(super) fn finalized(place: Holding, merge: ShuffleMergeId) -> Self {
        Self { place: Arc::new(place), merge, phase: Phase::Finalized(Vec::new()) }
    }

    /// Begins a newer merge; what was there.
    pub(super) fn begin(&mut self, merge: ShuffleMergeId) -> Self {
        self.replace(merge, Phase::Open(HashMap::new()))
    }

    /// Ends this merge, or a newer one; what was there.
    pub(super) fn finalize(&mut self, merge: ShuffleMergeId) -> Self {
        self.replace(merge, Phase::Finalized(Vec::new()))
    }

    fn replace(&mut self, merge: ShuffleMergeId, phase: Phase) -> Self {
        std::mem::replace(self, Self { place: Arc::clone(&self.place), merge, phase })
    }

    /// The partitions that are being merged.
    fn partitions(&self) -> impl Iterator<Item = &Arc<Partition>> {
        let open = match &self.phase {
            Phase::Open(partitions) => Some(partitions.values()),
            Phase::Finalized(_) => None,
        };
        open.into_iter().flatten()
    }
}

impl App {
    fn new(
        id: &AppId,
        attempt: i32,
        dirs: Arc<MergeDirs>,
        files: Arc<dyn AppStore>,
        accounts: Accounts,
    ) -> Self {
        let (shuffles, is_over) = (Mutex::default(), AtomicBool::new(false));
        Self { id: id.clone(), attempt, dirs, files, accounts, shuffles, is_over }
    }

    pub(super) fn shuffles(&self) -> MutexGuard<'_, HashMap<ShuffleId, Shuffle>> {
        self.shuffles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn partition_id(
        &self,
        shuffle: ShuffleId,
        merge: ShuffleMergeId,
        reduce: ReduceId,
    ) -> PartitionId {
        PartitionId { app: self.id.clone(), merged: MergedPartition { shuffle, merge, reduce } }
    }
}

/// Work that is done while nobody waits for it.
#[derive(Debug)]
enum Chore {
    /// Close and delete partitions of one merge.
    Partitions(Arc<App>, ShuffleId, Shuffle),
    /// The attempt is over: close its open files and delete the files that it made, except in directories that the
    /// attempt that took its place uses, too. Directories stay: whoever made them removes them.
    Attempt { old: Arc<App>, new: Option<Arc<App>> },
}

impl Merger {
    /// A merger that writes into `store`.
    pub fn new(mut settings: MergeSettings, store: Arc<dyn Store>) -> Self {
        // An empty block is never a chunk.
        settings.min_chunk = settings.min_chunk.max(1);
        Self {
            pots: Pots::new(&settings),
            readers: Readers::new(settings.reader_bytes, settings.readers),
            settings,
            store,
            counters: Counters::default(),
            next_push: AtomicU64::new(0),
            journal: JournalPlace::default(),
            apps: RwLock::default(),
            chores: Mutex::default(),
            cleaning: Mutex::default(),
            changing: Mutex::default(),
            retired: AtomicBool::new(false),
        }
    }

    /// A successor of this server merges from here on: what is pushed is ignored, as if it had met another writer, and
    /// nothing is written.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    pub(super) fn has_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// The same merger with a journal that survives a restart.
    pub fn with_journal(self, journal: Arc<dyn Journal>) -> Self {
        self.write_to(journal);
        self
    }

    /// The journal, where it comes late. Nothing may have been registered for merging before; the first one counts.
    pub fn write_to(&self, journal: Arc<dyn Journal>) {
        self.journal.set(journal);
    }

    /// Takes up an application as it was before a restart: the newest of its attempts that the journal has, and of each
    /// shuffle the newest merge that was finalized. Its directories are judged anew, and claimed where the application is
    /// registered. What was being merged is forgotten: the next push makes its files anew.
    pub fn restore(&self, on: &OnLane, known: Remembered, blocks: &BlockStore) -> Result<(), MergeError> {
        let roots = blocks.roots();
        let again = known.dirs.iter().map(|dir| roots.accept_again(on, &known.app, dir));
        let dirs: Vec<LocalDir> = again.collect::<Result<_, _>>().map_err(MergeError::Dir)?;
        if let Some(dir) = dirs.first()
            && !dirs.iter().any(LocalDir::has_root)
        {
            return Err(MergeError::Dir(DirRefused::NotUnderRoot { dir: dir.text().into() }));
        }
        let dirs = Arc::new(MergeDirs::new(dirs, known.sub_dirs));
        let refused = |why| MergeError::Store { app: known.app.clone(), why };
        let files = self.store.application(&known.app, &dirs, known.key).map_err(refused)?;
        let executors = blocks.executors();
        if executors.proof(&known.app).is_some() {
            executors.claim_merges(&known.app, dirs.dirs()).map_err(MergeError::Claim)?;
        }
        let app = App::new(&known.app, known.attempt, dirs, files, self.pots.accounts(&known.app));
        let mut left_out = 0;
        for (shuffle, merge) in known.finalized {
            match app.accounts.shuffles.try_take(1) {
                Ok(place) => _ = app.shuffles().insert(shuffle, Shuffle::finalized(place, merge)),
                Err(_) => left_out += 1,
            }
        }
        if left_out > 0 {
            warn!(app = %app.id, left_out, "merged shuffles are not taken up: the share of the application is used up");
        }
        self.apps_mut().insert(known.app, Arc::new(app));
        Ok(())
    }

    /// Prepares the store, if [`Merger::register`] will take up a new attempt. Cancel safe.
    pub async fn prepare(&self, app: &AppId, shuffle_manager: &str) -> Result<(), MergeError> {
        // A text that cannot be parsed is refused when it is registered.
        let Ok(Some(info)) = MergeInfo::parse(shuffle_manager) else { return Ok(()) };
        if !self.is_newer(app, info.attempt) {
            return Ok(());
        }
        let refused = |why| MergeError::Store { app: app.clone(), why };
        self.store.prepare(app, None).await.map_err(refused)
    }

    /// Prepares the store for making and opening files of an application, before a thread of the disks does it. Call
    /// it before [`Merger::begin`], [`Merger::meta`] and [`Merger::chunk`]; these report the fault if the key is
    /// missing. Cancel safe.
    pub async fn at_hand(&self, app: &AppId) {
        let Some(known) = self.find(app) else { return };
        if let Some(key) = known.files.key() {
            self.store.prepare(app, Some(key)).await.ok();
        }
    }

    /// The names of the keys that wrap the data keys of new files.
    pub fn wrapping_keys(&self) -> Vec<(AppId, String)> {
        let apps = self.apps.read().unwrap_or_else(PoisonError::into_inner);
        let named = apps.values().filter_map(|app| Some((app.id.clone(), app.files.key()?.key_id.clone())));
        named.collect()
    }

    /// The same for a key that files carry ([`MergeError::AwaitsKey`]).
    pub async fn fetch_key(&self, app: &AppId, key: &WrappedKey) {
        self.store.prepare(app, Some(key)).await.ok();
    }

    /// Takes the merge information of an executor that has registered. The first executor of an attempt decides where
    /// the application merges to; a newer attempt drops the merges of the older one. The merge directories belong to the
    /// application from then on.
    ///
    /// Other applications without proof that have one of these directories are gone, where this one has proof; they are
    /// the answer. A newer attempt without proof is believed only beside a directory of the one before it.
    pub fn register<'a>(
        &self,
        on: &OnLane,
        app: &AppId,
        local_dirs: impl IntoIterator<Item = &'a str>,
        sub_dirs: i32,
        shuffle_manager: &str,
        blocks: &BlockStore,
    ) -> Result<Vec<AppId>, MergeError> {
        let Some(info) = MergeInfo::parse(shuffle_manager)? else { return Ok(vec![]) };
        if !self.is_newer(app, info.attempt) {
            return Ok(vec![]);
        }
        let dirs = MergeDirs::resolve(on, local_dirs, sub_dirs, &info, app, blocks.roots())?;
        let dirs = Arc::new(dirs);
        let executors = blocks.executors();
        if executors.proof(app) != Some(Proof::Proven)
            && let Some(before) = self.find(app)
            && !dirs.are_beside(&before.dirs)
        {
            let (attempt, before) = (info.attempt, before.attempt);
            return Err(MergeError::Elsewhere { app: app.clone(), attempt, before });
        }
        let refused = |why| MergeError::Store { app: app.clone(), why };
        let files = self.store.application(app, &dirs, None).map_err(refused)?;
        let new = Arc::new(App::new(app, info.attempt, dirs, files, self.pots.accounts(app)));
        let changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        // Another executor of the same attempt may have come first.
        if !self.is_newer(app, info.attempt) {
            return Ok(vec![]);
        }
        let overruled = executors.claim_merges(app, new.dirs.dirs()).map_err(MergeError::Claim)?;
        let old = self.apps_mut().insert(app.clone(), Arc::clone(&new));
        if let Some(old) = old {
            info!(%app, attempt = old.attempt, "an older attempt of the application is over: what it merged goes");
            self.end_attempt(old, Some(Arc::clone(&new)));
        }
        self.journal.registered(app, new.attempt, &new.dirs, new.files.key());
        drop(changing);
        info!(%app, attempt = new.attempt, directories = new.dirs.dirs().len(), "an application merges");
        Ok(overruled)
    }

    /// Ends an attempt, with its application or because of a `new` one. The caller holds `changing`.
    fn end_attempt(&self, old: Arc<App>, new: Option<Arc<App>>) {
        self.journal.over(&old.id, old.attempt);
        self.later(Chore::Attempt { old, new });
    }

    fn is_newer(&self, app: &AppId, attempt: i32) -> bool {
        self.find(app).is_none_or(|known| supersedes(attempt, known.attempt))
    }

    /// The merge directories of an application, in the form that executors are told.
    pub fn local_dirs(&self, app: &AppId) -> Result<Vec<String>, MergeError> {
        Ok(self.app(app)?.dirs.texts().map(str::to_owned).collect())
    }

    /// The disk that the file of a partition lies on; `None` if the application does not merge.
    pub fn disk<'a>(&self, partition: &PartitionId, roots: &'a Roots) -> Option<&'a Disk> {
        let app = self.find(&partition.app)?;
        app.dirs.dir_of(&partition.data_name()).map(|dir| roots.disk(dir))
    }

    /// Whether the disks of a partition's three files take files; true where the application does not merge.
    pub fn takes_files(&self, partition: &PartitionId, roots: &Roots) -> bool {
        let Some(app) = self.find(&partition.app) else { return true };
        let names = [partition.data_name(), partition.index_name(), partition.meta_name()];
        let mut dirs = names.iter().filter_map(|name| app.dirs.dir_of(name));
        dirs.all(|dir| roots.disk(dir).health().takes_files())
    }

    /// The settings.
    pub fn settings(&self) -> &MergeSettings {
        &self.settings
    }

    /// Whether executors on this machine can read merged files by themselves.
    pub fn is_plain(&self) -> bool {
        self.store.is_plain()
    }

    /// Forgets an application and deletes its merged files. Returns whether it was known.
    pub fn forget(&self, app: &AppId) -> bool {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = self.apps_mut().remove(app);
        gone.map(|gone| self.end_attempt(gone, None)).is_some()
    }

    /// The figures of merging.
    pub fn counters(&self) -> MergeCounters {
        let Counters { collisions, late, stale, written_bytes, ignored_bytes, read_chunks, read_bytes } =
            &self.counters;
        let now = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        MergeCounters {
            collisions: now(collisions),
            late: now(late),
            stale: now(stale),
            written_bytes: now(written_bytes),
            ignored_bytes: now(ignored_bytes),
            read_chunks: now(read_chunks),
            read_bytes: now(read_bytes),
            deferred_bytes: self.pots.deferred_bytes(),
            deferred_blocks: self.pots.deferred_blocks(),
            open_partitions: self.pots.open_partitions(),
        }
    }

    /// What merging has, of which each application has a share.
    pub fn pots(&self) -> [&Pot; 4] {
        self.pots.all()
    }

    /// Whether [`Merger::clean_up`] has something to do.
    pub fn has_chores(&self) -> bool {
        !self.chores().is_empty()
    }

    /// Closes and deletes what is no longer wanted; one thread at a time does, in the order that it came up.
    pub fn clean_up(&self, on: &OnLane) {
        let turn = self.cleaning.lock().unwrap_or_else(PoisonError::into_inner);
        self.work_off_chores(on, &turn);
    }

    /// The same, unless somebody does so already: a long deletion keeps one thread, however many ask for it. What came up
    /// as that one was about to leave is left to the next call.
    pub fn clean_up_unless_busy(&self, on: &OnLane) {
        match self.cleaning.try_lock() {
            Ok(turn) => self.work_off_chores(on, &turn),
            Err(TryLockError::Poisoned(turn)) => self.work_off_chores(on, &turn.into_inner()),
            Err(TryLockError::WouldBlock) => {}
        }
    }

    fn work_off_chores(&self, on: &OnLane, _turn: &MutexGuard<'_, ()>) {
        loop {
            let Some(chore) = self.chores().pop_front() else { return };
            match chore {
                Chore::Partitions(app, shuffle, old) => self.delete_shuffle(on, &app, shuffle, old),
                Chore::Attempt { old, new: None } => {
                    self.drop_application(on, &old, &old.dirs);
                    // One that has registered anew meanwhile goes on with what it has.
                    if self.find(&old.id).is_none() {
                        self.store.forget(&old.id);
                    }
                }
                Chore::Attempt { old, new: Some(new) } => {
                    self.drop_application(on, &old, &old.dirs.without(&new.dirs));
                }
            }
        }
    }

    /// Drops readers that nobody used since the last call; call it every minute or so.
    pub fn sweep_readers(&self) {
        self.readers.sweep();
    }

    /// Closes files of one disk that nobody used for a while; call it every few seconds, on the lane of the disk.
    pub fn close_files(&self, on: &OnLane, disk: usize, now: Instant) {
        self.store.close_files(on, disk, now);
    }

    /// Drops keys that nobody used for a while; call it every few seconds.
    pub fn sweep_keys(&self) {
        self.store.sweep_keys();
    }

    pub(super) fn delete_later(&self, app: &Arc<App>, shuffle: ShuffleId, old: Shuffle) {
        let is_empty = match &old.phase {
            Phase::Open(partitions) => partitions.is_empty(),
            Phase::Finalized(reduces) => reduces.is_empty(),
        };
        if !is_empty {
            self.later(Chore::Partitions(Arc::clone(app), shuffle, old));
        }
    }

    fn delete_shuffle(&self, on: &OnLane, app: &App, shuffle: ShuffleId, old: Shuffle) {
        let merge = old.merge;
        let reduces: Vec<ReduceId> = match old.phase {
            Phase::Finalized(reduces) => reduces,
            Phase::Open(partitions) => {
                partitions.values().for_each(|partition| partition.close());
                partitions.into_keys().collect()
            }
        };
        for reduce in reduces {
            let partition = app.partition_id(shuffle, merge, reduce);
            self.readers.remove(&partition);
            if let Err(error) = app.files.delete(on, &partition) {
                warn!(%partition, %error, "cannot delete a merged partition");
            }
        }
    }

    fn drop_application(&self, on: &OnLane, app: &App, dirs: &MergeDirs) {
        app.is_over.store(true, Ordering::SeqCst);
        let shuffles = app.shuffles();
        let open: Vec<_> = shuffles.values().flat_map(Shuffle::partitions).cloned().collect();
        drop(shuffles);
        // They stay in the table, so that a push that is still arriving learns that its file is closed.
        open.iter().for_each(|partition| partition.close());
        self.readers.forget(&app.id);
        if let Err(error) = app.files.delete_all(on, dirs) {
            warn!(app = %app.id, %error, "cannot delete all that an application merged");
        }
    }

    pub(super) fn app(&self, app: &AppId) -> Result<Arc<App>, MergeError> {
        self.find(app).ok_or_else(|| MergeError::UnknownApp { app: app.clone() })
    }

    /// The application, if `message` names its current attempt.
    pub(super) fn attempt(
        &self,
        app: &AppId,
        named: i32,
        message: &'static str,
    ) -> Result<Arc<App>, MergeError> {
        let known = self.app(app)?;
        if known.attempt != named {
            return Err(MergeError::Attempt { message, app: app.clone(), named, stored: known.attempt });
        }
        Ok(known)
    }

    fn find(&self, app: &AppId) -> Option<Arc<App>> {
        self.apps.read().unwrap_or_else(PoisonError::into_inner).get(app).cloned()
    }

    fn apps_mut(&self) -> RwLockWriteGuard<'_, HashMap<AppId, Arc<App>>> {
        self.apps.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn later(&self, chore: Chore) {
        self.chores().push_back(chore);
    }

    fn chores(&self) -> MutexGuard<'_, VecDeque<Chore>> {
        self.chores.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an attempt takes the place of another. An attempt without a number never does.
fn supersedes(new: i32, old: i32) -> bool {
    new != NO_ATTEMPT && new > old
}
