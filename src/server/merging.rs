//! The requests of push-based merging, for a server that merges.
//!
//! What concerns one partition runs on the lane of its disk, and what concerns a shuffle runs on the lanes of all its
//! disks, so that a disk that hangs holds up its own partitions alone. What is to be cleaned up follows there without
//! anybody waiting for it.
//! Order of checks and texts: RemoteBlockPushResolver and ExternalBlockHandler, Spark 4.3.0.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sealed_shuffle_config::{ByteCount, MergeConfig, ServerConfig};
use sealed_shuffle_protocol::connection::CloseReason;
use sealed_shuffle_protocol::ids::{AppId, MergedPartition, ReduceId, RequestId, ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::shuffle::{
    BlockTransferMessage, CorruptionCause, DiagnoseShuffleChunkCorruption, FetchShuffleBlockChunks,
    FinalizeShuffleMerge, MergedChunk, PushBlockStream, RemoveShuffleMerge, ReturnCode,
};
use sealed_shuffle_transport::lane::{Lane, LaneError, OnLane};
use sealed_shuffle_transport::seal::{Phase, Pull, Watcher as _};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::errand::Errand;
use super::refusals::Refusal;
use super::session::{Engine, Session};
use super::streams::Plan;
use super::uploads::{Answer, Intake};
use super::{Failure, Server, Shared};
use crate::disk::{Disk, Examination, Roots, Volume};
use crate::keys::envelope::EnvelopeKeys;
use crate::merge::registration::MergeInfo;
use crate::merge::{
    MergeError, MergeSettings, MergedMeta, Merger, PartitionId, PlainMerges, PushRefusal, SealedMerges, Store,
};
use crate::sealed_files::{Fsync, SealedLimits, SealedStore};
use crate::state::State;
use crate::view::{MountError, View, ViewMount};

/// For the recovery store to open before a registration that merges is answered.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long the disks may take to finish the partitions of a merge, after its record: Spark's driver waits 10 s for the
/// answers of all mergers (`spark.shuffle.push.results.timeout`).
const FINISHING: Duration = Duration::from_secs(5);

/// The share of the memory budget that blocks may take that wait for another one to be merged.
const DEFERRED_SHARE: u64 = 4;

/// The share of the files kept open that may be merged ones, half of them being written and half being read.
const MERGED_FILES_SHARE: usize = 2;

/// The part of that which is for the map indexes of partitions that are being merged.
const BITMAP_SHARE: u64 = 4;

/// What of the memory budget is for merging: for deferred blocks and for map indexes.
pub(super) fn merge_bytes(config: &ServerConfig) -> u64 {
    config.merging.as_ref().map_or(0, |_| config.memory_budget.as_u64() / DEFERRED_SHARE)
}

/// What of the files that may be kept open is for merged ones.
pub(super) fn open_files(config: &ServerConfig) -> usize {
    config.merging.as_ref().map_or(0, |_| config.max_open_files / MERGED_FILES_SHARE)
}

/// Files of merged partitions, which are sealed under `keys` beneath `roots`.
pub(super) fn sealed_files(
    config: &ServerConfig,
    merging: &MergeConfig,
    keys: EnvelopeKeys,
    roots: &Arc<Roots>,
) -> Arc<dyn Store> {
    let handles = open_files(config) / 2;
    let limits = SealedLimits { write_handles: handles, read_handles: handles, ..SealedLimits::default() };
    let files = Arc::new(SealedStore::new(Arc::clone(roots), limits));
    let fsync = if merging.fsync { Fsync::Always } else { Fsync::Never };
    Arc::new(SealedMerges::new(files, Arc::clone(roots), keys, Handle::current(), fsync))
}

/// Files of merged partitions in Spark's own form beneath `roots`.
pub(super) fn plain_files(
    config: &ServerConfig,
    merging: &MergeConfig,
    roots: &Arc<Roots>,
) -> Arc<dyn Store> {
    let volumes: Vec<_> = roots.disks().iter().map(|disk| disk.path().to_owned()).collect();
    roots.across().send(move |on| volumes.iter().for_each(|root| say_volume(on, root)));
    Arc::new(PlainMerges::new(Arc::clone(roots), open_files(config) / 2, merging.fsync))
}

/// Says what keeps plain merged files from a thief of the disk: while push-based shuffle is on, Spark does not encrypt them.
fn say_volume(on: &OnLane, root: &Path) {
    let root_shown = root.display();
    match Volume::of(on, root) {
        Volume::DmCrypt => info!(root = %root_shown, "merged data is plain, on a volume of dm-crypt"),
        Volume::Unknown => {
            info!(root = %root_shown, "merged data is plain, on a volume of which nothing is known here")
        }
        Volume::Clear => warn!(
            root = %root_shown,
            "merged data is plain, and the volume is not one of dm-crypt: who takes the disk reads it \
             (spark.sealed.merge.at-rest=sealed, or a volume that is encrypted)"
        ),
    }
}

/// The view of what is merged, where the configuration wants one: the one that is mounted, or one of its own.
pub(super) async fn view(
    config: &ServerConfig,
    mounted: Option<ViewMount>,
    files: View,
) -> Result<Option<ViewMount>, MountError> {
    let Some(dir) = config.merging.as_ref().and_then(|merging| merging.view_dir.clone()) else {
        return Ok(None);
    };
    let mount = match mounted {
        Some(mount) => mount,
        None => {
            let (roots, place) = (config.roots.paths.clone(), dir.clone());
            let lane = Lane::new(1);
            let made = lane.run(move |on| {
                let mount = ViewMount::make(on, &place, &roots, None)?;
                mount.begin().map_err(|error| MountError::Mount { at: place, error })?;
                Ok(mount)
            });
            let lost = |error: LaneError| MountError::Mount { at: dir, error: io::Error::other(error) };
            made.await.map_err(lost)??
        }
    };
    mount.show(files);
    Ok(Some(mount))
}

impl Server {
    /// Executors on this host find merged data here from now on. Whoever listens has to lead them here before it says so.
    pub(crate) async fn leads_to_view(&self) {
        on_view(&self.shared, ViewMount::lead_here).await;
    }
}

/// The view goes; executors on this host read the unmerged blocks, or through the view of a successor.
pub(super) async fn end_view(shared: &Arc<Shared>) {
    on_view(shared, ViewMount::end).await;
}

async fn on_view(shared: &Arc<Shared>, work: fn(&ViewMount, &OnLane)) {
    if shared.view.is_none() {
        return;
    }
    let of = Arc::clone(shared);
    let done = shared.told.run(move |on| of.view.iter().for_each(|view| work(view, on))).await;
    if let Err(error) = done {
        warn!(%error, "the view of merged data is as it was");
    }
}

/// The merger as it was configured.
pub(super) fn merger(
    config: &ServerConfig,
    merging: &MergeConfig,
    files: Arc<dyn Store>,
    state: Option<Arc<State>>,
) -> Merger {
    let settings = MergeSettings {
        min_chunk: merging.min_chunk.as_u64(),
        io_errors: merging.io_errors,
        reader_bytes: merging.index_cache_size.as_u64(),
        diagnoses_chunks: merging.diagnoses_chunks,
        deferred_bytes: merge_bytes(config) - merge_bytes(config) / BITMAP_SHARE,
        bitmap_bytes: merge_bytes(config) / BITMAP_SHARE,
        merged_bytes: config.quota.merged_bytes.map(ByteCount::as_u64),
        cleaner_timeout: merging.cleaner_timeout,
        ..MergeSettings::default()
    };
    let merger = Merger::new(settings, files);
    match state {
        Some(state) => merger.with_journal(state),
        None => merger,
    }
}

impl Session {
    /// The merger, or Spark's own text of a service without one.
    pub(super) fn merger(&self) -> Result<Arc<Merger>, Failure> {
        self.shared.merger.clone().ok_or_else(|| self.refuse(&Refusal::NoMerging))
    }

    /// Has at hand what the store needs for an application, before its executor takes a thread of the disks.
    pub(super) async fn prepare_merging(&self, app: &AppId, shuffle_manager: &str) -> Result<(), Failure> {
        let Some(merger) = &self.shared.merger else { return Ok(()) };
        let prepared = merger.prepare(app, shuffle_manager).await;
        prepared.map_err(|error| self.refuse(&Refusal::PrepareMerging { app: app.clone(), error }))
    }

    /// An application that merges needs a key, and its records; an executor gives its registration five seconds, and tries
    /// twice more.
    pub(super) async fn await_journal(&self, app: &AppId, shuffle_manager: &str) -> Result<(), Failure> {
        let Some(awaited) = self.shared.awaited_store().filter(|_| self.shared.merger.is_some()) else {
            return Ok(());
        };
        if !matches!(MergeInfo::parse(shuffle_manager), Ok(Some(_))) || awaited.opened_within(PATIENCE).await
        {
            return Ok(());
        }
        let why = "the recovery store waits for its key: try again".to_owned();
        let error = MergeError::Store { app: app.clone(), why };
        Err(self.refuse(&Refusal::PrepareMerging { app: app.clone(), error }))
    }

    /// A pushed block begins; its bytes follow.
    pub(super) async fn push(
        &mut self,
        engine: &mut Engine,
        request: RequestId,
        push: PushBlockStream,
        len: u64,
    ) -> Result<(), CloseReason> {
        // An application that only pushes is in use, too.
        self.shared.store.executors().touch(&push.app, Instant::now());
        let partition = PartitionId::of_push(&push);
        let roots = self.shared.store.roots();
        let takes_files =
            self.shared.merger.as_ref().is_none_or(|merger| merger.takes_files(&partition, roots));
        let lane = match takes_files {
            true => lane_of(&self.shared, &partition),
            // Nothing of it is written.
            false => roots.across().clone(),
        };
        self.deeds.pushed(len);
        if let Some(trace) = &self.trace {
            trace.takes_in(len);
            self.pushes.push((request, Arc::clone(trace)));
        }
        self.uploads.header(request, push, len, Intake { lane, is_merged: takes_files });
        self.work_off_if_full(engine).await
    }

    /// More of it.
    pub(super) async fn pushed(&mut self, engine: &mut Engine, piece: Bytes) -> Result<(), CloseReason> {
        self.uploads.piece(piece);
        self.work_off_if_full(engine).await
    }

    /// All of it has come.
    pub(super) async fn push_ended(&mut self, engine: &mut Engine) -> Result<(), CloseReason> {
        self.uploads.end();
        self.work_off_if_full(engine).await
    }

    async fn work_off_if_full(&mut self, engine: &mut Engine) -> Result<(), CloseReason> {
        match self.uploads.is_full() {
            true => self.work_off_uploads(engine).await,
            false => Ok(()),
        }
    }

    /// Hands everything that has arrived of pushed blocks to the partitions, and answers those that are complete.
    pub(super) async fn work_off_uploads(&mut self, engine: &mut Engine) -> Result<(), CloseReason> {
        if self.uploads.is_empty() {
            return Ok(());
        }
        let Some(merger) = self.shared.merger.clone() else { return Ok(()) };
        // Where there is a successor the merger merges nothing, and says so of each block: the connection, which the same
        // executor may be reading on, goes on.
        let _change = self.shared.succession.change().await.ok();
        for app in self.uploads.applications() {
            merger.at_hand(&app).await;
        }
        while let Some((lane, work)) = self.uploads.take() {
            let merger = Arc::clone(&merger);
            let patience = self.shared.patience(&lane);
            let tenant = self.memory.tenant();
            let asked = Instant::now();
            let timed = move |on: &OnLane| {
                let began = Instant::now();
                (work.run(on, &merger), [began, Instant::now()])
            };
            let (worked, times) = match lane.run_within(&tenant, Some(patience), timed).await {
                Ok(worked) => worked,
                // Nobody knows what of it was written: the open push is lost with the connection. Spark pushes again, and
                // is told then that the block is not merged.
                Err(LaneError::Silent { waited }) => {
                    return Err(CloseReason::Starved { what: "a disk to merge to", waited });
                }
                Err(error) => return Err(lost(&error)),
            };
            let answers = self.uploads.resume(worked);
            for (request, trace) in &self.pushes {
                let is_answered = answers.iter().any(|answer| answer.request() == *request);
                if is_answered || self.uploads.arriving() == Some(*request) {
                    trace.was_on_lane(asked, times);
                }
            }
            for answer in answers {
                self.answer_push(engine, answer)?;
            }
        }
        clean_up(&self.shared);
        Ok(())
    }

    fn answer_push(&mut self, engine: &mut Engine, answer: Answer) -> Result<(), CloseReason> {
        let is_merged = matches!(&answer, Answer::Code(_, code) if code.code == ReturnCode::Success);
        self.deeds.not_merged += u64::from(!is_merged);
        if let Some(at) = self.pushes.iter().position(|(request, _)| *request == answer.request()) {
            let (_, trace) = self.pushes.swap_remove(at);
            trace.answers();
            if !is_merged {
                trace.fails(&answer.why());
            }
        }
        match answer {
            Answer::Code(request, code) => {
                engine.answer_rpc(request, &BlockTransferMessage::from(code).encode()?)
            }
            Answer::Failed(request, error) => engine.fail_rpc(request, &self.failed(error)),
            Answer::Last(request, PushRefusal::Code(code)) => {
                let text = format!("{} is of another attempt than the current one", code.failure_block);
                engine.answer_rpc(request, &BlockTransferMessage::from(code).encode()?)?;
                engine.close(CloseReason::Refused(text));
                Ok(())
            }
            Answer::Last(request, PushRefusal::Failed(error)) => {
                let reason = error.to_string();
                engine.fail_rpc(request, &self.failed(error))?;
                engine.close(CloseReason::Refused(reason));
                Ok(())
            }
        }
    }

    fn failed(&self, error: MergeError) -> Failure {
        self.refuse(&Refusal::Merging(error))
    }

    pub(super) async fn finalize_merge(
        &mut self,
        message: FinalizeShuffleMerge,
    ) -> Result<BlockTransferMessage, Failure> {
        let merger = self.merger()?;
        // The loan of its key may have run out while nobody used it.
        merger.at_hand(&message.app).await;
        let mut ending = merger.end(&message).map_err(|error| self.failed(error))?;
        let recorded = ending.recorded().await;
        if let (false, Some(state)) = (recorded, self.shared.applications.state()) {
            state.is_late();
        }
        let roots = self.shared.store.roots();
        let (mut steps, asked) = (JoinSet::new(), Instant::now());
        for step in ending.steps(recorded) {
            let Some(lane) = roots.lane(step.disk).cloned() else { continue };
            let tenant = self.memory.tenant();
            steps.spawn(async move {
                (step.disk, lane.run_within(&tenant, Some(FINISHING), move |on| step.run(on)).await)
            });
        }
        let mut finished = Vec::new();
        while let Some(Ok((disk, step))) = steps.join_next().await {
            match step {
                Ok(step) => finished.extend(step),
                Err(error) => {
                    warn!(%error, disk, "a disk did not finish its merged partitions: they are left out")
                }
            }
        }
        self.trace.iter().for_each(|trace| trace.was_in(Phase::Disk, asked, asked.elapsed()));
        clean_up(&self.shared);
        self.deeds.finalized += 1;
        Ok(ending.statuses(finished).into())
    }

    pub(super) async fn remove_merge(&mut self, message: RemoveShuffleMerge) -> Result<(), Failure> {
        if self.shared.merger.is_none() {
            return Err(self.refuse(&Refusal::NoMergingToRemove));
        }
        let removed = self.merger()?.remove(&message).map_err(|error| self.failed(error));
        clean_up(&self.shared);
        self.deeds.removed_merges += u64::from(removed.is_ok());
        removed
    }

    pub(super) async fn merged_meta(
        &mut self,
        engine: &mut Engine,
        request: RequestId,
        partition: PartitionId,
    ) -> Result<(), CloseReason> {
        let merger = match self.merger() {
            Ok(merger) => merger,
            Err(text) => {
                self.failed_trace(&text);
                return engine.fail_rpc(request, &text);
            }
        };
        let found = reading(self.errand(), merger, partition, Merger::meta).await;
        clean_up(&self.shared);
        match found.and_then(|found| found.map_err(|error| self.failed(error))) {
            Ok(MergedMeta { chunks, bitmaps }) => {
                self.granted();
                engine.answer_merged_meta(request, chunks, bitmaps)
            }
            Err(text) => {
                self.failed_trace(&text);
                engine.fail_rpc(request, &text)
            }
        }
    }

    pub(super) fn fetch_chunks(
        &mut self,
        message: FetchShuffleBlockChunks,
    ) -> Result<BlockTransferMessage, Failure> {
        self.merger()?;
        if let Err(error) = message.check_shape() {
            return Err(self.refuse(&Refusal::Malformed(error.to_string())));
        }
        let (app, executor) = (message.app.clone(), message.executor.clone());
        self.open_stream(app, executor, Plan::FetchChunks(message))
    }

    pub(super) async fn diagnose_chunk(
        &mut self,
        message: DiagnoseShuffleChunkCorruption,
    ) -> Result<BlockTransferMessage, Failure> {
        let DiagnoseShuffleChunkCorruption { app, shuffle, merge, reduce, chunk, checksum, algorithm } =
            message;
        let merger = self.merger()?;
        if !merger.diagnoses_chunks() {
            return Ok(CorruptionCause::UnknownIssue.into());
        }
        let partition = partition(app, shuffle, merge, reduce);
        let find = move |m: &Merger, on: &OnLane, partition: &PartitionId| m.find_chunk(on, partition, chunk);
        let is_authentic = !merger.is_plain();
        let examination = match reading(self.errand(), merger, partition, find).await? {
            Ok(found) => Examination::of_chunk(found, is_authentic, &algorithm, checksum),
            Err(MergeError::Unreadable { .. }) => Examination::Done(CorruptionCause::DiskIssue),
            Err(error) => return Err(self.failed(error)),
        };
        let cause = self.examine(examination).await?;
        info!(
            peer = %self.peer, %shuffle, %reduce, chunk, ?cause,
            "diagnosed a merged chunk that a reader called corrupt"
        );
        Ok(cause.into())
    }

    /// The directories that executors on this machine may look into by themselves.
    pub(super) fn merge_dirs(&self, app: &AppId) -> Result<Vec<String>, Failure> {
        let merger = self.merger()?;
        let dirs = merger.local_dirs(app).map_err(|error| self.failed(error))?;
        if let Some(view) = &self.shared.view {
            let attempt = merger.current_attempt(app).map_err(|error| self.failed(error))?;
            return Ok(vec![view.dir_of(app, attempt)]);
        }
        match merger.is_plain() {
            true => Ok(dirs),
            // The reader falls back to the original blocks; it would take sealed bytes for a damaged index.
            false => Err(self.refuse(&Refusal::SealedMerges)),
        }
    }
}

/// One chunk of a merged partition.
pub(super) async fn merged_chunk(
    errand: Errand<'_>,
    app: AppId,
    shuffle: ShuffleId,
    merge: ShuffleMergeId,
    chunk: MergedChunk,
) -> Result<Result<Box<dyn Pull>, MergeError>, Failure> {
    errand.shared.store.executors().touch(&app, Instant::now());
    let Some(merger) = errand.shared.merger.clone() else {
        return Err(Refusal::NoMerging.text());
    };
    let MergedChunk { reduce, chunk } = chunk;
    let partition = partition(app, shuffle, merge, reduce);
    let read =
        move |merger: &Merger, on: &OnLane, partition: &PartitionId| merger.chunk(on, partition, chunk);
    reading(errand, merger, partition, read).await
}

/// Reads with the key at hand: the one that the application is known with, and where files carry another, that one.
async fn reading<T: Send + 'static>(
    errand: Errand<'_>,
    merger: Arc<Merger>,
    partition: PartitionId,
    read: impl Fn(&Merger, &OnLane, &PartitionId) -> Result<T, MergeError> + Clone + Send + 'static,
) -> Result<Result<T, MergeError>, Failure> {
    merger.at_hand(&partition.app).await;
    let lane = lane_of(errand.shared, &partition);
    let (again, named) = (read.clone(), partition.clone());
    let found = merging(errand, &lane, Arc::clone(&merger), move |on, m| read(m, on, &named)).await?;
    match &found {
        Err(MergeError::AwaitsKey { key, .. }) => {
            merger.fetch_key(&partition.app, key).await;
            // Where it is not to be had, this says why.
            merging(errand, &lane, merger, move |on, m| again(m, on, &partition)).await
        }
        _ => Ok(found),
    }
}

/// The partition that a request for metadata names.
pub(super) fn partition(
    app: AppId,
    shuffle: ShuffleId,
    merge: ShuffleMergeId,
    reduce: ReduceId,
) -> PartitionId {
    PartitionId { app, merged: MergedPartition { shuffle, merge, reduce } }
}

/// The lane of the disk that a partition lies on. Where nobody knows it there is nothing to read, and the common lane
/// does as well.
fn lane_of(shared: &Shared, partition: &PartitionId) -> Lane {
    let roots = shared.store.roots();
    let disk = shared.merger.as_ref().and_then(|merger| merger.disk(partition, roots));
    disk.map_or_else(|| roots.across(), Disk::lane).clone()
}

async fn merging<T: Send + 'static>(
    errand: Errand<'_>,
    lane: &Lane,
    merger: Arc<Merger>,
    work: impl FnOnce(&OnLane, &Merger) -> T + Send + 'static,
) -> Result<T, Failure> {
    let done = errand.run(lane, move |on| work(on, &merger)).await;
    done.map_err(|error| errand.shared.unanswered("a request of merging", error))
}

/// Has cleaned up what is to be cleaned up, each disk on its lane; nobody waits.
pub(super) fn clean_up(shared: &Shared) {
    let Some(merger) = &shared.merger else { return };
    for disk in merger.due_chores() {
        let Some(lane) = shared.store.roots().lane(disk) else { continue };
        let merger = Arc::clone(merger);
        lane.send(move |on| merger.clean_up_disk(on, disk));
    }
}

/// The same, with what could not be deleted before.
pub(super) fn clean_up_again(shared: &Shared) {
    shared.merger.as_ref().inspect(|merger| merger.retry_chores());
    clean_up(shared);
}

/// The same at the end of the server, which waits for it.
pub(super) async fn clean_up_last(shared: &Shared) {
    let Some(merger) = &shared.merger else { return };
    let timeout = merger.settings().cleaner_timeout;
    let mut cleaning = JoinSet::new();
    for disk in merger.due_chores() {
        let Some(lane) = shared.store.roots().lane(disk).cloned() else {
            continue;
        };
        let merger = Arc::clone(merger);
        cleaning.spawn(async move { lane.run(move |on| merger.clean_up_disk(on, disk)).await });
    }
    let all = async { while cleaning.join_next().await.is_some() {} };
    if tokio::time::timeout(timeout, all).await.is_err() {
        warn!(
            ?timeout,
            "merged files that nobody wants were not all deleted in time: the next start goes on"
        );
    }
}

fn lost(error: &LaneError) -> CloseReason {
    CloseReason::BodyFailed(format!("work on pushed blocks was lost: {error}"))
}
