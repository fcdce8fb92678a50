//! What each request means: authorization first, then the disk.
//!
//! Order of checks and texts are those of ExternalBlockHandler, Spark 4.3.0. Whatever may wait for a
//! disk runs on that disk's lane; what the caches and the open files know is answered on the spot.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sealed_shuffle_protocol::connection::{self, CloseReason, Request};
use sealed_shuffle_protocol::ids::{AppId, ChunkIndex, ExecutorId, MapId, RequestId, ShuffleId, StreamId};
use sealed_shuffle_protocol::message::MAX_PAYLOAD;
use sealed_shuffle_protocol::shuffle::{
    BlockTransferMessage, BlocksRemoved, CorruptionCause, DiagnoseCorruption, FetchShuffleBlocks,
    GetLocalDirsForExecutors, LocalDirsForExecutors, OpenBlocks, OpenRequest, ReduceRange, RegisterExecutor,
    RemoveBlocks, SHUFFLE_PUSH_MERGER, StreamHandle, StreamName,
};
use sealed_shuffle_transport::lane::{Lane, LaneError, OnLane};
use sealed_shuffle_transport::region::Region;
use sealed_shuffle_transport::seal::{Body, Pull, Ticket};
use tracing::{debug, info, warn};

use super::Failure;
use super::errand::Errand;
use super::merging::{clean_up, merged_chunk, partition};
use super::refusals::{self, Refusal};
use super::repeats::Loudness;
use super::session::{Engine, Session};
use super::streams::{ChunkPlan, FoundOutput, Plan, Stream, StreamError};
use super::succession::Change;
use crate::applications::Enrolment;
use crate::disk::{
    BATCH, BlockStore, Diagnosis, Examination, Lookup, LookupError, MapOutput, Proof, RegistrationEffect,
    Removal,
};
use crate::merge::MergeError;
use crate::telemetry::{RefusalReason, RequestKind};
use crate::traces::Trace;

/// How long a registration is waited for, the record of it included. Spark's executors wait 5 s for the answer
/// (`spark.shuffle.registration.timeout`).
const REGISTERING: Duration = Duration::from_secs(4);

/// A chunk answer is a frame with 13 bytes of head.
const MAX_CHUNK: u64 = MAX_PAYLOAD - 13;

/// The part of the memory budget that one list of directories may take: this part of it, and never less or more bytes
/// than these. A list of 100 executors with 12 directories each takes some 150 KB.
const LISTS: u64 = 256;
const SMALL_LIST: u64 = 256 << 10;
const LARGE_LIST: u64 = 4 << 20;

/// How long a request about an executor is held that only the recovery store may know.
pub(super) const HELD: Duration = Duration::from_secs(20);

/// The type byte of RemoveShuffleMerge.
const REMOVE_SHUFFLE_MERGE: u8 = 19;

impl Session {
    /// Answers one request of a peer whose channel is good enough.
    pub(super) async fn answer(&mut self, engine: &mut Engine, request: Request) -> Result<(), CloseReason> {
        let kind = match &request {
            // What a stream is asked for belongs to the request that opened it.
            Request::Chunk { .. } | Request::Stream { .. } => None,
            Request::Upload { .. } => Some("upload"),
            Request::Rpc { .. } | Request::OneWay { .. } => Some("rpc"),
            Request::MergedBlockMeta { .. } => Some("MergedBlockMetaRequest"),
        };
        // It is answered when its block has come.
        let is_push = matches!(request, Request::Upload { .. });
        self.trace = kind.and_then(|kind| self.shared.traces.request(kind, self.peer, self.channel()));
        let done = self.answer_one(engine, request).await;
        if let Some(trace) = self.trace.take() {
            match &done {
                Ok(()) if is_push => {}
                Ok(()) => trace.answers(),
                Err(reason) => trace.fails(&reason.to_string()),
            }
        }
        done
    }

    async fn answer_one(&mut self, engine: &mut Engine, request: Request) -> Result<(), CloseReason> {
        match request {
            Request::Rpc { request, body } => self.rpc(engine, request, body).await,
            Request::OneWay { body } => {
                self.one_way(engine, body).await;
                Ok(())
            }
            Request::Chunk { stream, chunk } => self.chunk(engine, stream, chunk).await,
            Request::Stream { name } => self.named_chunk(engine, name).await,
            Request::Upload { request, meta, len } => self.upload(engine, request, meta, len).await,
            Request::MergedBlockMeta { request, app, shuffle, merge, reduce } => {
                self.shared.metrics.request(RequestKind::Merge);
                self.trace.iter().for_each(|trace| trace.about(&app));
                match self.authorize(engine, &app) {
                    Ok(_) => {
                        let partition = partition(app, shuffle, merge, reduce);
                        self.merged_meta(engine, request, partition).await
                    }
                    Err(text) => {
                        self.failed_trace(&text);
                        engine.fail_rpc(request, &text)
                    }
                }
            }
        }
    }

    async fn rpc(&mut self, engine: &mut Engine, request: RequestId, body: Bytes) -> Result<(), CloseReason> {
        self.await_records(&body).await?;
        let dispatched = self.dispatch(engine, body.clone()).await;
        // A stream is opened for blocks that nobody has, too: what counts is the first that is handed out.
        if !matches!(dispatched, Err(_) | Ok(Some(BlockTransferMessage::StreamHandle(_)))) {
            self.granted();
        }
        match dispatched {
            Ok(Some(BlockTransferMessage::StreamHandle(handle))) => {
                self.answer_opening(engine, request, &body, handle)
            }
            Ok(Some(answer)) => engine.answer_rpc(request, &answer.encode()?),
            // Spark executes it and never answers, however it came.
            Ok(None) if is_remove_merge(&body) => Ok(()),
            Ok(None) => engine.answer_rpc(request, &[]),
            Err(text) => {
                self.deeds.failed += 1;
                debug!(peer = %self.peer, text, "a request failed");
                self.failed_trace(&text);
                // Spark tries again where a connection ends, and fails the stage where a request does: what will pass
                // must not be answered.
                match self.ends_with.take() {
                    Some(reason) => Err(reason),
                    None => engine.fail_rpc(request, &text),
                }
            }
        }
    }

    /// While the recovery store waits for its key, holds requests about executors that only it may know; then ends their
    /// connection, so that the client comes back.
    async fn await_records(&self, body: &Bytes) -> Result<(), CloseReason> {
        let Some(awaited) = self.shared.awaited_store() else { return Ok(()) };
        let Ok(message) = BlockTransferMessage::decode(body.clone()) else { return Ok(()) };
        let Some(app) = message.app() else { return Ok(()) };
        let executors = self.shared.store.executors();
        let is_known = |executor: &ExecutorId| match executor.as_str() {
            SHUFFLE_PUSH_MERGER => executors.proof(app).is_some(),
            _ => executors.lookup(app, executor, Instant::now()).is_some(),
        };
        let is_known = match &message {
            BlockTransferMessage::RegisterExecutor(_) => true,
            BlockTransferMessage::FetchShuffleBlocks(m) => is_known(&m.executor),
            BlockTransferMessage::OpenBlocks(m) => is_known(&m.executor),
            BlockTransferMessage::RemoveBlocks(m) => is_known(&m.executor),
            BlockTransferMessage::DiagnoseCorruption(m) => is_known(&m.executor),
            BlockTransferMessage::GetLocalDirsForExecutors(m) => {
                m.executors.iter().all(|name| is_known(&ExecutorId::new(name)))
            }
            _ => executors.proof(app).is_some(),
        };
        match is_known || awaited.opened_within(HELD).await {
            true => Ok(()),
            false => Err(CloseReason::Starved { what: "the key of the recovery store", waited: HELD }),
        }
    }

    async fn dispatch(
        &mut self,
        engine: &Engine,
        body: Bytes,
    ) -> Result<Option<BlockTransferMessage>, Failure> {
        let message = BlockTransferMessage::decode(body).map_err(|error| {
            self.shared.metrics.request(RequestKind::Other);
            self.undecodable(error.spark_text())
        })?;
        let (kind, began) = (kind_of(&message), Instant::now());
        self.shared.metrics.request(kind);
        self.trace_message(&message);
        let done = self.execute(engine, message).await;
        self.shared.metrics.answered(kind, began.elapsed());
        done
    }

    async fn execute(
        &mut self,
        engine: &Engine,
        message: BlockTransferMessage,
    ) -> Result<Option<BlockTransferMessage>, Failure> {
        let proof = match message.app() {
            Some(app) => self.authorize(engine, app)?,
            None => return Err(self.unexpected(&message)),
        };
        self.learn(&message);
        let _change = match changes_records(&message) {
            true => Some(self.begin_change().await?),
            false => None,
        };
        match message {
            BlockTransferMessage::RegisterExecutor(m) => self.register(m, proof).await.map(|()| None),
            BlockTransferMessage::FetchShuffleBlocks(m) => self.fetch(m).map(Some),
            BlockTransferMessage::OpenBlocks(m) => self.open(&m).map(Some),
            BlockTransferMessage::RemoveBlocks(m) => self.remove(m).await.map(Some),
            BlockTransferMessage::GetLocalDirsForExecutors(m) => self.local_dirs(&m).map(Some),
            BlockTransferMessage::DiagnoseCorruption(m) => self.diagnose(m).await.map(Some),
            BlockTransferMessage::DiagnoseShuffleChunkCorruption(m) => self.diagnose_chunk(m).await.map(Some),
            BlockTransferMessage::FinalizeShuffleMerge(m) => self.finalize_merge(m).await.map(Some),
            BlockTransferMessage::FetchShuffleBlockChunks(m) => self.fetch_chunks(m).map(Some),
            BlockTransferMessage::RemoveShuffleMerge(m) => self.remove_merge(m).await.map(|()| None),
            // Uploads to an executor, pushes outside an UploadStream, and answers.
            BlockTransferMessage::UploadBlock(_)
            | BlockTransferMessage::UploadBlockStream(_)
            | BlockTransferMessage::PushBlockStream(_)
            | BlockTransferMessage::StreamHandle(_)
            | BlockTransferMessage::BlocksRemoved(_)
            | BlockTransferMessage::LocalDirsForExecutors(_)
            | BlockTransferMessage::MergeStatuses(_)
            | BlockTransferMessage::CorruptionCause(_)
            | BlockTransferMessage::BlockPushReturnCode(_) => Err(self.unexpected(&message)),
        }
    }

    /// A request changes what the recovery store holds. Where a successor has it, the connection ends.
    async fn begin_change(&mut self) -> Result<Change, Failure> {
        self.shared.succession.change().await.map_err(|reason| {
            let text = reason.to_string();
            self.ends_with = Some(reason);
            text
        })
    }

    /// One-way messages get no answer, whatever becomes of them. RemoveShuffleMerge is the only one that Spark sends,
    /// and the only one that is executed.
    async fn one_way(&mut self, engine: &Engine, body: Bytes) {
        let Ok(message) = BlockTransferMessage::decode(body) else {
            self.shared.metrics.request(RequestKind::Other);
            debug!(peer = %self.peer, "a one-way message does not decode");
            return;
        };
        self.shared.metrics.request(kind_of(&message));
        self.trace_message(&message);
        if message.app().is_some_and(|app| self.authorize(engine, app).is_err()) {
            return;
        }
        match message {
            BlockTransferMessage::RemoveShuffleMerge(message) if self.shared.merger.is_some() => {
                // A successor removes the files at the end of the application.
                let Ok(_change) = self.shared.succession.change().await else { return };
                if let Err(text) = self.remove_merge(message).await {
                    debug!(peer = %self.peer, text, "a merged shuffle was not removed");
                }
            }
            message => {
                self.shared.metrics.refused(RefusalReason::Unsupported);
                debug!(peer = %self.peer, message = message.name(), "ignored a one-way message");
            }
        }
    }

    /// Pushed blocks are merged; nothing else can be uploaded. A refusal goes out and, since the body cannot be
    /// skipped, the connection ends, as Spark's does.
    async fn upload(
        &mut self,
        engine: &mut Engine,
        request: RequestId,
        meta: Bytes,
        len: u64,
    ) -> Result<(), CloseReason> {
        let text = match BlockTransferMessage::decode(meta) {
            Err(error) => self.undecodable(error.spark_text()),
            Ok(message) => {
                self.shared.metrics.request(kind_of(&message));
                self.trace_message(&message);
                let allowed = message.app().map_or(Ok(Proof::Unproven), |app| self.authorize(engine, app));
                match (allowed, message) {
                    (Err(text), _) => text,
                    (Ok(_), BlockTransferMessage::PushBlockStream(push)) => match self.merger() {
                        Ok(_) => {
                            self.granted();
                            return self.push(engine, request, push, len).await;
                        }
                        Err(text) => text,
                    },
                    (Ok(_), other) => self.refuse(&Refusal::UnexpectedUpload { message: other.name() }),
                }
            }
        };
        self.failed_trace(&text);
        // Answers keep the order of what they answer.
        self.work_off_uploads(engine).await?;
        engine.fail_rpc(request, &text)?;
        engine.close(CloseReason::Refused(text));
        Ok(())
    }

    async fn register(&mut self, message: RegisterExecutor, proof: Proof) -> Result<(), Failure> {
        let dirs = message.info.local_dirs.len();
        let most = self.shared.limits.local_dirs;
        if dirs > most {
            return Err(self.refuse(&Refusal::TooManyDirs { dirs, most }));
        }
        let (app, executor) = (message.app.clone(), message.executor.clone());
        self.await_journal(&app, &message.info.shuffle_manager).await?;
        self.prepare_merging(&app, &message.info.shuffle_manager).await?;
        let shared = Arc::clone(&self.shared);
        let deadline = tokio::time::Instant::now() + REGISTERING;
        let work = move |on: &OnLane| shared.applications.register(on, &message, proof);
        self.trace.iter().for_each(|trace| trace.of_executor(&executor));
        let across = self.shared.store.roots().across();
        let registered = self.errand().run_within(across, REGISTERING, work).await;
        let registered = registered.map_err(|error| {
            if matches!(error, LaneError::Silent { .. }) {
                // Very many come at once, or a disk hangs. The executor tries again, sooner or later it is its turn.
                let what = "a thread of the disks to register on";
                self.ends_with = Some(CloseReason::Starved { what, waited: REGISTERING });
            }
            self.shared.unanswered("a registration", error)
        })?;
        let Enrolment { registered, merging, written } = registered.map_err(|error| {
            self.refuse(&Refusal::Register { app: app.clone(), executor: executor.clone(), error })
        })?;
        if let Some(written) = written {
            // What cannot be written was logged and counted, and the registration holds until a restart, as in Spark.
            // A disk that does not answer is not waited for longer than Spark waits for us: it is written when it does.
            if tokio::time::timeout_at(deadline, written).await.is_err() {
                self.shared.applications.state().inspect(|state| state.is_late());
            }
        }
        if registered == RegistrationEffect::First {
            info!(peer = %self.peer, %app, %executor, directories = dirs, "an application registered its first executor");
        }
        clean_up(&self.shared);
        self.deeds.registered += 1;
        self.executor.get_or_insert_with(|| executor.clone());
        // The executor stays registered for its own blocks, as in Spark.
        merging.map_err(|error| self.refuse(&Refusal::RegisterMerging { app, executor, error }))
    }

    fn fetch(&mut self, message: FetchShuffleBlocks) -> Result<BlockTransferMessage, Failure> {
        // Stricter than Spark, which fails such a request at one of its chunks.
        if let Err(error) = message.check_shape() {
            return Err(self.refuse(&Refusal::Malformed(error.to_string())));
        }
        let (app, executor) = (message.app.clone(), message.executor.clone());
        self.open_stream(app, executor, Plan::Fetch(message))
    }

    fn open(&mut self, message: &OpenBlocks) -> Result<BlockTransferMessage, Failure> {
        let plan = match OpenRequest::parse(&message.blocks)
            .map_err(|error| self.undecodable(error.spark_text()))?
        {
            OpenRequest::Shuffle { shuffle, blocks } => Plan::Shuffle { shuffle, blocks },
            OpenRequest::Rdd { blocks } => Plan::Rdd(blocks),
            OpenRequest::Chunks { shuffle, merge, chunks } => {
                self.merger()?;
                Plan::Chunks { shuffle, merge, chunks }
            }
        };
        self.open_stream(message.app.clone(), message.executor.clone(), plan)
    }

    pub(super) fn open_stream(
        &mut self,
        app: AppId,
        executor: ExecutorId,
        plan: Plan,
    ) -> Result<BlockTransferMessage, Failure> {
        let most = self.shared.limits.chunks;
        let num_chunks = match i32::try_from(plan.len()) {
            Ok(chunks) if plan.len() <= most => chunks,
            _ => {
                return Err(self.refuse(&Refusal::TooManyBlocks { blocks: plan.len(), most }));
            }
        };
        let mut stream = Stream::new(app, executor, plan, Instant::now());
        if let Some(trace) = &self.trace {
            trace.of_executor(&stream.executor);
            trace.opens(num_chunks);
            stream.trace = Some(Arc::clone(trace));
        }
        let opened = self.streams.open(&self.shared.stream_ids, stream, &self.stream_bytes);
        let stream = opened.map_err(|error| {
            if let StreamError::UsedUp(used_up) = &error {
                self.ends_with = Some(CloseReason::ShareUsedUp { what: used_up.pot });
            }
            self.refuse(&Refusal::Stream(error))
        })?;
        Ok(StreamHandle { stream, num_chunks }.into())
    }

    async fn named_chunk(&mut self, engine: &mut Engine, name: String) -> Result<(), CloseReason> {
        self.shared.metrics.request(RequestKind::Stream);
        let parsed = match StreamName::parse(&name) {
            Ok(parsed) => parsed,
            Err(error) => return engine.fail_stream(name, &self.undecodable(error.spark_text())),
        };
        self.admit_transfer()?;
        match self.take_chunk(engine, parsed.stream, parsed.chunk, u64::MAX).await {
            Ok(body) => engine.answer_stream(name, body),
            Err(NoChunk::Absent) => {
                // Spark words an absent block differently here than for a chunk.
                let text = self.refuse(&Refusal::NoSuchStream { name: name.clone() });
                engine.fail_stream(name, &text)
            }
            Err(NoChunk::Failed(text)) => engine.fail_stream(name, &text),
        }
    }

    async fn chunk(
        &mut self,
        engine: &mut Engine,
        stream: StreamId,
        chunk: ChunkIndex,
    ) -> Result<(), CloseReason> {
        self.shared.metrics.request(RequestKind::Chunk);
        self.admit_transfer()?;
        match self.take_chunk(engine, stream, chunk, MAX_CHUNK).await {
            Ok(body) => engine.answer_chunk(stream, chunk, body),
            Err(NoChunk::Absent) => engine.fail_chunk(stream, chunk, &self.refuse(&Refusal::NoSuchChunk)),
            Err(NoChunk::Failed(text)) => engine.fail_chunk(stream, chunk, &text),
        }
    }

    /// `spark.shuffle.maxChunksBeingTransferred`: at the limit the connection is closed, which makes
    /// Spark's client come back later (TransportRequestHandler, 4.3.0).
    fn admit_transfer(&self) -> Result<(), CloseReason> {
        let most = self.shared.max_chunks;
        let now = self.shared.metrics.chunks_in_transfer.load(std::sync::atomic::Ordering::Relaxed);
        if now < most {
            return Ok(());
        }
        self.shared.metrics.refused(RefusalReason::Limit);
        Err(CloseReason::Refused(format!(
            "{now} chunks are being transferred (spark.shuffle.maxChunksBeingTransferred={most})"
        )))
    }

    /// The chunk's body, `most` bytes at most.
    async fn take_chunk(
        &mut self,
        engine: &Engine,
        id: StreamId,
        index: ChunkIndex,
        most: u64,
    ) -> Result<Body, NoChunk> {
        let taken = self.find_chunk(engine, id, index, most).await;
        if let Err(missing) = &taken {
            self.deeds.failed += 1;
            if let Some(trace) = self.streams.trace(id) {
                trace.fails_chunk(&missing.text());
            }
            self.streams.drop_if_over(id);
        }
        taken
    }

    async fn find_chunk(
        &mut self,
        engine: &Engine,
        id: StreamId,
        index: ChunkIndex,
        most: u64,
    ) -> Result<Body, NoChunk> {
        self.heard_of_stream(id);
        let (shared, memory, peer) = (&self.shared, &self.memory, self.peer);
        let (stream, wanted) = self
            .streams
            .ask(id, index, Instant::now())
            .map_err(|error| NoChunk::Failed(Refusal::Stream(error).tell(shared, peer, None)))?;
        let owner = stream.app.clone();
        let trace = stream.trace.clone();
        let errand = Errand { shared, memory, trace: trace.as_deref() };
        let found = match wanted {
            ChunkPlan::Rdd(block) => {
                let (app, executor) = (stream.app.clone(), stream.executor.clone());
                let found = match shared.store.rdd_lane(&app, &executor, block.rdd, block.split) {
                    Ok(lane) => {
                        let find = move |on: &OnLane, store: &BlockStore| {
                            store.rdd_block(on, &app, &executor, block.rdd, block.split)
                        };
                        on_lane(errand, &lane, find).await?
                    }
                    Err(error) => Err(error),
                };
                found.map(|region| region.map(|region| (1, region)))
            }
            ChunkPlan::Shuffle(shuffle, range) => {
                let again = match stream.resolved.as_mut().filter(|last| last.map == range.map) {
                    Some(last) => {
                        let region = find_range(errand, &last.output, range).await?;
                        let is_looked_at = std::mem::replace(&mut last.looked, self.burst) == self.burst;
                        Some(region).filter(|region| is_whole(region, is_looked_at))
                    }
                    None => None,
                };
                let region = match again {
                    Some(region) => region,
                    None => {
                        let (app, executor) = (&stream.app, &stream.executor);
                        match find_map(errand, app, executor, shuffle, range.map).await? {
                            Ok(output) => {
                                let region = find_range(errand, &output, range).await?;
                                let looked = self.burst;
                                stream.resolved = Some(FoundOutput { map: range.map, output, looked });
                                region
                            }
                            Err(error) => Err(error),
                        }
                    }
                };
                let blocks = u64::try_from(range.end - i64::from(range.start.0)).unwrap_or(0);
                region.map(|region| Some((blocks, region)))
            }
            ChunkPlan::Merged(shuffle, merge, chunk) => {
                let found = merged_chunk(errand, owner.clone(), shuffle, merge, chunk)
                    .await
                    .map_err(NoChunk::Failed)?;
                self.check_reach(engine, &owner).map_err(NoChunk::Failed)?;
                return self.take_merged(id, found, most, trace);
            }
        };
        // Behind the lookup: the application may have proven itself since the stream was opened.
        self.check_reach(engine, &owner).map_err(NoChunk::Failed)?;
        let (blocks, region) = match found {
            Ok(Some(found)) => found,
            Ok(None) => {
                self.shared.metrics.block_failed(refusals::ABSENT);
                return Err(NoChunk::Absent);
            }
            Err(error) => return Err(NoChunk::Failed(self.refuse(&Refusal::Block(error)))),
        };
        self.hand_out(id, blocks, region.len(), most)?;
        let ticket = Ticket::take(&self.shared.metrics.chunks_in_transfer);
        Ok(watched(Body::counted(region, ticket), trace, blocks))
    }

    fn take_merged(
        &mut self,
        id: StreamId,
        found: Result<Box<dyn Pull>, MergeError>,
        most: u64,
        trace: Option<Arc<Trace>>,
    ) -> Result<Body, NoChunk> {
        let chunk = found.map_err(|error| NoChunk::Failed(self.refuse(&Refusal::MergedChunk(error))))?;
        // Merged chunks count by their bytes only, as in Spark.
        self.hand_out(id, 0, chunk.remaining(), most)?;
        let ticket = Ticket::take(&self.shared.metrics.chunks_in_transfer);
        Ok(watched(Body::pulled(chunk, ticket), trace, 0))
    }

    /// A chunk of `len` bytes is on its way, if it fits.
    fn hand_out(&mut self, id: StreamId, blocks: u64, len: u64, most: u64) -> Result<(), NoChunk> {
        if len > most {
            return Err(NoChunk::Failed(self.refuse(&Refusal::TooLarge { len })));
        }
        self.streams.took(id);
        let channel = self.channel();
        self.served.get_or_insert_with(|| self.shared.metrics.served_over(channel)).count(blocks, len);
        self.deeds.read(blocks, len);
        if let Some(seen) = &self.seen {
            seen.served(len);
        }
        self.granted();
        Ok(())
    }

    async fn remove(&mut self, message: RemoveBlocks) -> Result<BlockTransferMessage, Failure> {
        let RemoveBlocks { app, executor, blocks } = &message;
        let mut removed = Removal::default();
        let mut names = blocks.iter();
        loop {
            let batch: Vec<&str> = names.by_ref().take(BATCH).collect();
            let steps = self.shared.store.removal_steps(app, executor, batch.iter().copied());
            for step in steps.map_err(|error| self.refuse(&Refusal::Lookup(error)))? {
                let lane = step.lane().clone();
                match self.on_lane(&lane, move |on, store| step.run(on, store)).await {
                    Ok(done) => removed.add(done.map_err(|error| self.refuse(&Refusal::Lookup(error)))?),
                    // What lies on other disks goes all the same. It was logged, and Spark asks for a count alone.
                    Err(text) => debug!(peer = %self.peer, text, "blocks of a disk were not removed"),
                }
            }
            if batch.len() < BATCH {
                break;
            }
        }
        for failure in &removed.failures {
            let words = format_args!("cannot remove a block: {failure}");
            if self.shared.repeats.is_said(Loudness::Warn, "remove_blocks", self.peer, &words) {
                warn!(peer = %self.peer, "{words}");
            }
        }
        self.deeds.removed_blocks += u64::try_from(removed.count).unwrap_or(0);
        Ok(BlocksRemoved { count: removed.count }.into())
    }

    fn local_dirs(&mut self, message: &GetLocalDirsForExecutors) -> Result<BlockTransferMessage, Failure> {
        // A short request may ask for very much, and its answer waits in memory for the peer to take it.
        let most = (self.shared.pool.budget().total() / LISTS).clamp(SMALL_LIST, LARGE_LIST);
        let mut bytes = 0;
        let mut seen = HashSet::new();
        let mut found = Vec::new();
        let mut merged = Vec::new();
        // One by one, so that a long list of names that are unknown or repeated costs nothing.
        for name in &message.executors {
            if name == SHUFFLE_PUSH_MERGER && self.shared.merger.is_none() {
                return Err(self.refuse(&Refusal::NoMerging));
            }
            if !seen.insert(name) {
                return Err(self.refuse(&Refusal::DuplicateExecutor { name: name.to_owned() }));
            }
            let executor = ExecutorId::new(name);
            if name == SHUFFLE_PUSH_MERGER {
                merged = vec![(executor, self.merge_dirs(&message.app)?)];
                continue;
            }
            let registration = self.shared.store.registration(&message.app, &executor, Instant::now());
            let registration = registration.map_err(|error| self.refuse(&Refusal::Lookup(error)))?;
            bytes += name.len() + registration.dirs().iter().map(|dir| 4 + dir.text().len()).sum::<usize>();
            if bytes as u64 > most {
                return Err(self.refuse(&Refusal::AnswerTooLarge { most }));
            }
            found.push((executor, registration));
        }
        let by_executor = found.iter().map(|(executor, registration)| {
            (executor, registration.dirs().iter().map(|dir| dir.text()).collect())
        });
        let merged = merged
            .iter()
            .map(|(executor, dirs)| (executor, dirs.iter().map(String::as_str).collect::<Vec<&str>>()));
        match LocalDirsForExecutors::new(by_executor.chain(merged)) {
            Ok(answer) => Ok(answer.into()),
            Err(error) => Err(self.refuse(&Refusal::Unanswerable(error.to_string()))),
        }
    }

    async fn diagnose(&mut self, message: DiagnoseCorruption) -> Result<BlockTransferMessage, Failure> {
        let (shuffle, map, reduce) = (message.shuffle, message.map, message.reduce);
        let refused = |error: LookupError| self.refuse(&Refusal::Lookup(error.while_diagnosing()));
        let (shared, app, executor) = (&self.shared, &message.app, &message.executor);
        let output = find_map(self.errand(), app, executor, shuffle, map).await?.map_err(refused)?;
        let data = find_range(self.errand(), &output, ReduceRange::single(map, reduce)).await?;
        let lane = shared.store.checksum_lane(app, executor, &diagnosis(&message)).map_err(refused)?;
        let lane = lane.unwrap_or_else(|| shared.store.roots().across().clone());
        let examine = move |on: &OnLane, store: &BlockStore| {
            store.examine(on, &message.app, &message.executor, &diagnosis(&message), data)
        };
        let examination = self.on_lane(&lane, examine).await?.map_err(refused)?;
        let cause = self.examine(examination).await?;
        info!(peer = %self.peer, %shuffle, %map, %reduce, ?cause, "diagnosed a block that a reader called corrupt");
        Ok(cause.into())
    }

    /// Has what a reader complains of read to its end, and tells the cause.
    pub(super) async fn examine(&mut self, mut examination: Examination) -> Result<CorruptionCause, Failure> {
        let deadline = tokio::time::Instant::now() + self.shared.stalled_timeout();
        let cause = loop {
            let lane = match &examination {
                Examination::Done(cause) => break *cause,
                // The answer only colours a message: a block that takes too long is not worth the disk.
                _ if tokio::time::Instant::now() > deadline => break CorruptionCause::UnknownIssue,
                reading => reading.lane().unwrap_or_else(|| self.shared.store.roots().across().clone()),
            };
            examination = self.on_lane(&lane, move |on, _| examination.step(on)).await?;
        };
        self.deeds.diagnosed += 1;
        Ok(cause)
    }

    fn undecodable(&self, text: String) -> Failure {
        self.refuse(&Refusal::Undecodable(text))
    }

    fn unexpected(&self, message: &BlockTransferMessage) -> Failure {
        self.refuse(&Refusal::Unexpected { message: message.name() })
    }

    /// Runs what waits for a disk.
    async fn on_lane<T: Send + 'static>(
        &self,
        lane: &Lane,
        work: impl FnOnce(&OnLane, &BlockStore) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        Ok(on_lane(self.errand(), lane, work).await?)
    }

    /// The trace, if there is one, is that of this message.
    fn trace_message(&self, message: &BlockTransferMessage) {
        let Some(trace) = &self.trace else { return };
        trace.is_of_kind(message.name());
        if let Some(app) = message.app() {
            trace.about(app);
        }
    }

    /// The request that is being answered failed.
    pub(super) fn failed_trace(&self, text: &str) {
        self.trace.iter().for_each(|trace| trace.fails(text));
    }
}

fn diagnosis(message: &DiagnoseCorruption) -> Diagnosis<'_> {
    let DiagnoseCorruption { shuffle, map, reduce, checksum, .. } = *message;
    Diagnosis { shuffle, map, reduce, checksum, algorithm: &message.algorithm }
}

/// Why there is no chunk.
enum NoChunk {
    /// The block does not exist, which is no fault.
    Absent,
    /// With the text for the peer.
    Failed(Failure),
}

impl NoChunk {
    fn text(&self) -> Failure {
        match self {
            Self::Failed(text) => text.clone(),
            Self::Absent => Refusal::NoSuchChunk.text(),
        }
    }
}

impl From<NoChunk> for Failure {
    fn from(missing: NoChunk) -> Self {
        match missing {
            NoChunk::Failed(text) => text,
            NoChunk::Absent => missing.text(),
        }
    }
}

/// The body of a chunk of a stream, with its trace if there is one.
fn watched(body: Body, trace: Option<Arc<Trace>>, blocks: u64) -> Body {
    let Some(trace) = trace else { return body };
    trace.hands_out(blocks, connection::Body::len(&body));
    body.watched_by(Some(trace))
}

/// Whether the open data file is still as long as it was when the map output was found: what was truncated
/// since must fail before its frame begins. Looks at the descriptor alone, unless that was done for this burst. A file that
/// was deleted or replaced meanwhile still has its bytes.
fn is_whole(region: &Result<Region, LookupError>, is_looked_at: bool) -> bool {
    let region = match region {
        Ok(region) => region,
        // Its index was cut short since.
        Err(LookupError::Changing { .. }) => return false,
        Err(_) => return true,
    };
    is_looked_at || region.file().is_none_or(|file| file.has_its_size())
}

/// Runs `work` on the lane of its disk, and gives up on a disk that does not answer.
///
/// The peer is told, and its connection stays. Spark's reader takes such an answer for a lost block, and has it computed
/// again; it would try again where the connection ends, with all blocks that are under way on it, from healthy disks, too.
async fn on_lane<T: Send + 'static>(
    errand: Errand<'_>,
    lane: &Lane,
    work: impl FnOnce(&OnLane, &BlockStore) -> T + Send + 'static,
) -> Result<T, NoChunk> {
    let shared = errand.shared;
    let store = Arc::clone(&shared.store);
    errand.run(lane, move |on| work(on, &store)).await.map_err(|error| {
        shared.metrics.block_failed("disk");
        NoChunk::Failed(shared.unanswered("a request", error))
    })
}

/// Finds a map output: on the spot where it is known, else on the lanes of its disks.
async fn find_map(
    errand: Errand<'_>,
    app: &AppId,
    executor: &ExecutorId,
    shuffle: ShuffleId,
    map: MapId,
) -> Result<Result<Arc<MapOutput>, LookupError>, NoChunk> {
    let mut known = errand.shared.store.resolve_now(app, executor, shuffle, map);
    loop {
        match known {
            Ok(Lookup::Found(found)) => return Ok(Ok(Arc::new(found))),
            Err(error) => return Ok(Err(error)),
            Ok(Lookup::Waits(search)) => {
                let lane = search.lane().clone();
                known = on_lane(errand, &lane, move |on, store| search.step(on, store)).await?;
            }
        }
    }
}

/// Finds a range of it: on the spot where the offsets are at hand, else on the lane of its index.
async fn find_range(
    errand: Errand<'_>,
    output: &Arc<MapOutput>,
    range: ReduceRange,
) -> Result<Result<Region, LookupError>, NoChunk> {
    let (start, end) = (i64::from(range.start.0), range.end);
    match output.range_now(start, end) {
        Some(found) => Ok(found),
        None => {
            let lane = output.lane().unwrap_or_else(|| errand.shared.store.roots().across()).clone();
            let output = Arc::clone(output);
            on_lane(errand, &lane, move |on, _| output.range(on, start, end)).await
        }
    }
}

/// Whether a body that decodes is a RemoveShuffleMerge.
fn is_remove_merge(body: &[u8]) -> bool {
    body.first() == Some(&REMOVE_SHUFFLE_MERGE)
}

/// Whether a request changes what the recovery store holds.
fn changes_records(message: &BlockTransferMessage) -> bool {
    match message {
        BlockTransferMessage::RegisterExecutor(_)
        | BlockTransferMessage::FinalizeShuffleMerge(_)
        | BlockTransferMessage::RemoveShuffleMerge(_) => true,
        BlockTransferMessage::FetchShuffleBlocks(_)
        | BlockTransferMessage::OpenBlocks(_)
        | BlockTransferMessage::RemoveBlocks(_)
        | BlockTransferMessage::GetLocalDirsForExecutors(_)
        | BlockTransferMessage::DiagnoseCorruption(_)
        | BlockTransferMessage::DiagnoseShuffleChunkCorruption(_)
        | BlockTransferMessage::PushBlockStream(_)
        | BlockTransferMessage::FetchShuffleBlockChunks(_)
        | BlockTransferMessage::UploadBlock(_)
        | BlockTransferMessage::UploadBlockStream(_)
        | BlockTransferMessage::StreamHandle(_)
        | BlockTransferMessage::BlocksRemoved(_)
        | BlockTransferMessage::LocalDirsForExecutors(_)
        | BlockTransferMessage::MergeStatuses(_)
        | BlockTransferMessage::CorruptionCause(_)
        | BlockTransferMessage::BlockPushReturnCode(_) => false,
    }
}

fn kind_of(message: &BlockTransferMessage) -> RequestKind {
    match message {
        BlockTransferMessage::RegisterExecutor(_) => RequestKind::Register,
        BlockTransferMessage::FetchShuffleBlocks(_) => RequestKind::FetchShuffle,
        BlockTransferMessage::OpenBlocks(_) => RequestKind::OpenBlocks,
        BlockTransferMessage::RemoveBlocks(_) => RequestKind::Remove,
        BlockTransferMessage::GetLocalDirsForExecutors(_) => RequestKind::LocalDirs,
        BlockTransferMessage::DiagnoseCorruption(_)
        | BlockTransferMessage::DiagnoseShuffleChunkCorruption(_) => RequestKind::Diagnose,
        BlockTransferMessage::PushBlockStream(_)
        | BlockTransferMessage::FinalizeShuffleMerge(_)
        | BlockTransferMessage::FetchShuffleBlockChunks(_)
        | BlockTransferMessage::RemoveShuffleMerge(_) => RequestKind::Merge,
        BlockTransferMessage::UploadBlock(_)
        | BlockTransferMessage::UploadBlockStream(_)
        | BlockTransferMessage::StreamHandle(_)
        | BlockTransferMessage::BlocksRemoved(_)
        | BlockTransferMessage::LocalDirsForExecutors(_)
        | BlockTransferMessage::MergeStatuses(_)
        | BlockTransferMessage::CorruptionCause(_)
        | BlockTransferMessage::BlockPushReturnCode(_) => RequestKind::Other,
    }
}
