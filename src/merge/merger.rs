//! Applications, their attempts and shuffles: which may merge, the place of their files, and the cleaning up.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockWriteGuard};
use std::time::Instant;

use sealed_shuffle_protocol::ids::{AppId, ShuffleId};
use sealed_shuffle_protocol::stored::envelope::WrappedKey;
use sealed_shuffle_transport::lane::OnLane;
use sealed_shuffle_transport::pot::Pot;
use tracing::{info, warn};

use super::application::{App, Phase, Shuffle};
use super::chores::{AttemptEnd, Chore, Chores, OldPartitions};
use super::dirs::MergeDirs;
use super::error::MergeError;
use super::journal::{Journal, JournalPlace, StoredAttempt};
use super::names::PartitionId;
use super::readers::Readers;
use super::registration::{MergeInfo, NO_ATTEMPT};
use super::settings::MergeSettings;
use super::shares::Pots;
use super::storage::{AppStore, Store};
use crate::disk::{BlockStore, DirRefusal, Disk, LocalDir, Proof, Roots};

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
    /// Gauge: deletions that are not done, each of one disk.
    pub deletions: u64,
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
    pub(super) chores: Chores,
    /// Held while an attempt begins or ends, so that the journal hears of it in the same order. Nothing waits under it.
    changing: Mutex<()>,
    next_life: AtomicU64,
    /// A successor of this server merges.
    retired: AtomicBool,
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
            chores: Chores::default(),
            changing: Mutex::default(),
            next_life: AtomicU64::new(0),
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
    ///
    /// The record may be older than what lies on the disks. Where a later attempt has a directory beside those of this one,
    /// this one is over ([`Merger::restore_over`]): its files bear the names that readers of the later one ask for.
    pub fn restore(&self, on: &OnLane, known: StoredAttempt, blocks: &BlockStore) -> Result<(), MergeError> {
        let roots = blocks.roots();
        let again = known.dirs.iter().map(|dir| roots.accept_again(on, &known.app, dir));
        let dirs: Vec<LocalDir> = again.collect::<Result<_, _>>().map_err(MergeError::Dir)?;
        if let Some(dir) = dirs.first()
            && !dirs.iter().any(LocalDir::has_root)
        {
            return Err(MergeError::Dir(DirRefusal::NotUnderRoot { dir: dir.text().into() }));
        }
        let dirs = Arc::new(MergeDirs::new(dirs, known.sub_dirs));
        if let Some(later) = dirs.greatest_attempt(on, known.attempt, roots)
            && supersedes(later, known.attempt)
        {
            let (app, attempt) = (&known.app, known.attempt);
            warn!(%app, attempt, later, "the record of an application is older than its directories: its attempt is over");
            self.restore_over(on, known, blocks);
            return Ok(());
        }
        let refused = |why| MergeError::Store { app: known.app.clone(), why };
        let files = self.store.application(&known.app, known.attempt, &dirs, known.key).map_err(refused)?;
        let executors = blocks.executors();
        if executors.proof(&known.app).is_some() {
            executors.claim_merges(&known.app, dirs.dirs()).map_err(MergeError::Claim)?;
        }
        let app = self.new_app(&known.app, known.attempt, dirs, files);
        app.weigh_what_is_there(on, roots);
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

    /// Takes up an attempt that was over before a restart: what it made is deleted. Where some of its directories lie
    /// beneath no root, it stays in the journal, for a start at which they do.
    pub fn restore_over(&self, on: &OnLane, known: StoredAttempt, blocks: &BlockStore) {
        let StoredAttempt { app, attempt, dirs, sub_dirs, key, .. } = known;
        let all = dirs.len();
        let found: Vec<_> =
            dirs.iter().filter_map(|dir| blocks.roots().accept_for(on, &app, dir).ok()).collect();
        let is_whole = found.len() == all || found.is_empty();
        let dirs = Arc::new(MergeDirs::new(found, sub_dirs));
        let files = self.store.application(&app, attempt, &dirs, key);
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        match files {
            Ok(files) => {
                let mut old = self.new_app(&app, attempt, dirs, files);
                old.is_whole = is_whole;
                let new = self.find(&app);
                self.end_attempt(Arc::new(old), new.as_ref());
            }
            Err(why) => {
                warn!(%app, attempt, "files of an attempt that is over stay: {why}");
                self.journal.over(&app, attempt);
            }
        }
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
        let files = self.store.application(app, info.attempt, &dirs, None).map_err(refused)?;
        let new = Arc::new(self.new_app(app, info.attempt, dirs, files));
        let changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        // Another executor of the same attempt may have come first.
        if !self.is_newer(app, info.attempt) {
            return Ok(vec![]);
        }
        let overruled = executors.claim_merges(app, new.dirs.dirs()).map_err(MergeError::Claim)?;
        let old = self.apps_mut().insert(app.clone(), Arc::clone(&new));
        if let Some(old) = old {
            info!(%app, attempt = old.attempt, "an older attempt of the application is over: what it merged goes");
            self.end_attempt(old, Some(&new));
        }
        self.journal.registered(app, new.attempt, &new.dirs, new.files.key());
        drop(changing);
        info!(%app, attempt = new.attempt, directories = new.dirs.dirs().len(), "an application merges");
        Ok(overruled)
    }

    fn new_app(&self, app: &AppId, attempt: i32, dirs: Arc<MergeDirs>, files: Arc<dyn AppStore>) -> App {
        let life = self.next_life.fetch_add(1, Ordering::Relaxed);
        App::new(app, attempt, life, dirs, files, self.pots.accounts(app))
    }

    /// Ends an attempt, with its application or because of a `new` one. The caller holds `changing`.
    fn end_attempt(&self, old: Arc<App>, new: Option<&Arc<App>>) {
        old.is_over.store(true, Ordering::SeqCst);
        self.readers.forget(old.life);
        if let Some(end) = self.chores.add_end(old, new.map(Arc::as_ref)) {
            self.attempt_is_gone(&end);
        }
    }

    /// The files of an attempt are deleted: nothing of it is needed any more, unless it has come again meanwhile. The
    /// caller holds `changing`.
    fn attempt_is_gone(&self, end: &AttemptEnd) {
        let App { id, attempt, .. } = &*end.old;
        let now = self.find(id);
        if end.is_last && now.is_none() {
            self.store.forget(id);
        }
        if end.old.is_whole && now.is_none_or(|now| now.attempt != *attempt) {
            self.journal.over(id, *attempt);
        }
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

    /// Whether readers are told what damaged a chunk.
    pub fn diagnoses_chunks(&self) -> bool {
        self.settings.diagnoses_chunks
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
            deletions: self.chores.waiting() as u64,
        }
    }

    /// What merging has, of which each application has a share.
    pub fn pots(&self) -> impl Iterator<Item = &Pot> {
        self.pots.all()
    }

    /// The disks on which [`Merger::clean_up_disk`] has something to do.
    pub fn due_chores(&self) -> Vec<usize> {
        self.chores.due()
    }

    /// What could not be deleted is tried again; call it every few seconds.
    pub fn retry_chores(&self) {
        self.chores.retry();
    }

    /// Deletes what is no longer wanted, on all disks, one after the other.
    pub fn clean_up(&self, on: &OnLane) {
        self.chores.due().into_iter().for_each(|disk| self.clean_up_disk(on, disk));
    }

    /// Closes and deletes what is no longer wanted on one disk, in the order that it came up, unless somebody does so
    /// already. What came up as that one was about to leave is left to the next call.
    pub fn clean_up_disk(&self, on: &OnLane, disk: usize) {
        let Some(turn) = self.chores.take_turn(disk) else { return };
        while let Some(chore) = turn.next() {
            let done = match &chore {
                Chore::Partitions(app, old) => self.delete_partitions(on, disk, app, old),
                Chore::Attempt(end) => self.delete_attempt(on, disk, end),
            };
            if !done {
                turn.keep(chore);
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
        let merge = old.merge;
        let (reduces, open) = match old.phase {
            Phase::Finalized(reduces) => (reduces, Vec::new()),
            // Pushes that are still arriving find out that their merge is over.
            Phase::Open(partitions) => partitions.into_iter().unzip(),
        };
        let all: Vec<_> =
            reduces.into_iter().map(|reduce| app.partition_id(shuffle, merge, reduce)).collect();
        if !all.is_empty() {
            self.chores.add_partitions(app, OldPartitions { all, open });
        }
    }

    fn delete_partitions(&self, on: &OnLane, disk: usize, app: &App, old: &OldPartitions) -> bool {
        // Nobody counts on its place any more.
        old.open.iter().for_each(|partition| _ = partition.try_close());
        // All of it goes with the application.
        if app.is_over.load(Ordering::SeqCst) {
            return true;
        }
        let mut done = true;
        for partition in &old.all {
            self.readers.remove(app.life, partition);
            if let Err(error) = app.files.delete(on, disk, partition) {
                warn!(%partition, %error, "cannot delete a merged partition: it is tried again");
                done = false;
            }
        }
        if done && let Some(PartitionId { merged, .. }) = old.all.first() {
            app.merged_bytes.forget(merged.shuffle, merged.merge);
        }
        done
    }

    fn delete_attempt(&self, on: &OnLane, disk: usize, end: &Arc<AttemptEnd>) -> bool {
        let app = &end.old;
        // They stay in the table, so that a push that is still arriving learns that its file is closed. Whoever makes or
        // writes files at the moment is not waited for: what he makes is deleted with the next try.
        let open: Vec<_> = app.shuffles().values().flat_map(Shuffle::partitions).cloned().collect();
        let closed = open.iter().filter(|partition| partition.try_close()).count() == open.len();
        self.readers.forget(app.life);
        if let Err(error) = app.files.delete_all(on, disk, &end.dirs) {
            if end.fails_first(disk) {
                warn!(app = %app.id, disk, %error, "cannot delete all that an application merged: it is tried again until it is done");
            }
            return false;
        }
        if !closed {
            return false;
        }
        if end.has_failed(disk) {
            info!(app = %app.id, disk, "deleted what an application merged");
        }
        if self.chores.done(end, disk) {
            let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
            self.attempt_is_gone(end);
        }
        true
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
}

/// Whether an attempt takes the place of another. An attempt without a number never does.
fn supersedes(new: i32, old: i32) -> bool {
    new != NO_ATTEMPT && new > old
}
