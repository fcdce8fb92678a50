//! The requests of push-based merging, one by one: what the pusher, the driver of a job and the reader are made of.
//!
//! A merger is a shuffle service with merging (Spark 3.2 and later); what it knows of an application is what that
//! application's executors registered. Answers are checked before anybody sees them: lists of one length, numbers that
//! make sense, an answer to what was asked. Sources: ExternalBlockStoreClient, OneForOneBlockPusher and
//! RemoteBlockPushResolver, Spark 4.3.0.

use std::collections::HashSet;

use sealed_shuffle_protocol::ids::{ExecutorId, ReduceId, ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::shuffle::{
    Bitmap, BlockId, BlockPushReturnCode, BlockTransferMessage, CorruptionCause,
    DiagnoseShuffleChunkCorruption, FinalizeShuffleMerge, MergeStatuses, PushBlockStream, RemoveShuffleMerge,
    ReturnCode, SHUFFLE_PUSH_MERGER,
};

use super::calls::unexpected;
use super::connection::{Connection, UploadReceipt};
use super::{Address, BlockBody, Client, ClientError, Fetch, Merge, MergedPartition};

/// A chunk of a merged partition whose bytes arrived with another checksum than was expected.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SuspectChunk {
    /// The chunk, from 0.
    pub chunk: i32,
    /// The checksum of the bytes that arrived.
    pub checksum: i64,
    /// `ADLER32`, `CRC32` or `CRC32C`.
    pub algorithm: String,
}

/// A partition of one map task, as it is pushed.
#[derive(Clone, Debug)]
pub struct PushedBlock {
    /// The map partition: not the task's id.
    pub map_index: i32,
    /// The partition to append to.
    pub reduce: ReduceId,
    /// Its bytes.
    pub body: BlockBody,
}

/// What a merger has of one partition after finalization.
#[derive(Clone, Debug, PartialEq)]
pub struct MergeStatus {
    /// The partition.
    pub reduce: ReduceId,
    /// Its bytes.
    pub size: u64,
    /// The map indexes whose blocks are in it. A few bytes may stand for 2^32 numbers: look at [`Bitmap::len`].
    pub maps: Bitmap,
}

impl Client {
    /// Pushes one block and says how that ended. It is tried once, but for a connection that turned out dead before
    /// anything was sent; [`Client::push`] does as Spark's pusher does.
    ///
    /// On one connection as many are pushed at once as this is called at once, up to half of
    /// [`Limits::pipelined_requests`](sealed_shuffle_protocol::limits::Limits::pipelined_requests); further calls wait.
    pub async fn push_block(
        &self,
        server: &Address,
        merge: Merge,
        block: PushedBlock,
    ) -> Result<ReturnCode, ClientError> {
        loop {
            let lease = self.inner.pool.lease(server, self.app(), self.settings()).await?;
            let pushed = async {
                let pushing = self.begin_push(&lease.connection, merge, &block, 0).await?;
                pushing.ended().await
            };
            match pushed.await {
                Err(error @ ClientError::Closed { .. }) if lease.reused && error.is_retryable() => {}
                ended => return ended,
            }
        }
    }

    /// Sends a block on a connection; [`PushReceipt::ended`] says what became of it.
    pub(super) async fn begin_push(
        &self,
        connection: &Connection,
        merge: Merge,
        block: &PushedBlock,
        index: i32,
    ) -> Result<PushReceipt, ClientError> {
        let Merge { app_attempt, shuffle, merge } = merge;
        let PushedBlock { map_index, reduce, ref body } = *block;
        let app = self.app().clone();
        let message = PushBlockStream { app, app_attempt, shuffle, merge, map_index, reduce, index };
        let meta = BlockTransferMessage::from(message).encode()?;
        let uploading = connection.upload(meta, body.outbound(self.inner.pushing())).await?;
        let block = BlockId::ShufflePush { shuffle, merge, map_index, reduce };
        Ok(PushReceipt { uploading, server: connection.server().clone(), block })
    }

    /// Ends the merging of a shuffle at one merger: no block is taken any more. Says what was merged, in no order.
    ///
    /// Spark refuses a second time, so nothing but a connection that turned out dead is tried again.
    pub async fn finalize_shuffle_merge(
        &self,
        server: &Address,
        merge: Merge,
    ) -> Result<Vec<MergeStatus>, ClientError> {
        const WHAT: &str = "a finalization";
        let Merge { app_attempt, shuffle, merge } = merge;
        let message = FinalizeShuffleMerge { app: self.app().clone(), app_attempt, shuffle, merge };
        let wrong = |how| ClientError::Unexpected { server: server.clone(), what: WHAT, how };
        match self.call(server, message, WHAT).await? {
            BlockTransferMessage::MergeStatuses(statuses) => {
                checked_statuses(statuses, shuffle, merge).map_err(wrong)
            }
            other => Err(unexpected(server, WHAT, &other)),
        }
    }

    /// Tells a merger to drop what it merged of a shuffle: of the attempt named, or of whichever is current where that
    /// is -1 (Spark 3.4). Never answered: it returns when the request is on its way.
    pub async fn remove_shuffle_merge(&self, server: &Address, merge: Merge) -> Result<(), ClientError> {
        let Merge { app_attempt, shuffle, merge } = merge;
        let message = RemoveShuffleMerge { app: self.app().clone(), app_attempt, shuffle, merge };
        let body = BlockTransferMessage::from(message).encode()?;
        loop {
            let lease = self.inner.pool.lease(server, self.app(), self.settings()).await?;
            match lease.connection.one_way(body.clone()).await {
                Err(error @ ClientError::Closed { .. }) if lease.reused && error.is_retryable() => {}
                sent => return sent,
            }
        }
    }

    /// Asks a merger where a chunk of a merged partition went wrong. No released Spark knows the question, and refuses it.
    pub async fn diagnose_chunk(
        &self,
        server: &Address,
        partition: MergedPartition,
        suspect: SuspectChunk,
    ) -> Result<CorruptionCause, ClientError> {
        const WHAT: &str = "a diagnosis";
        let MergedPartition { shuffle, merge, reduce } = partition;
        let SuspectChunk { chunk, checksum, algorithm } = suspect;
        let app = self.app().clone();
        let message =
            DiagnoseShuffleChunkCorruption { app, shuffle, merge, reduce, chunk, checksum, algorithm };
        match self.call(server, message, WHAT).await? {
            BlockTransferMessage::CorruptionCause(cause) => Ok(cause),
            other => Err(unexpected(server, WHAT, &other)),
        }
    }

    /// What a merger knows of a merged partition: for each chunk, in their order, the map indexes in it.
    ///
    /// A few bytes may stand for 2^32 numbers: look at [`Bitmap::len`] before walking one.
    pub async fn merged_block_meta(
        &self,
        server: &Address,
        partition: MergedPartition,
    ) -> Result<Vec<Bitmap>, ClientError> {
        const WHAT: &str = "a request for a merged partition";
        let after = self.settings().answer_timeout;
        let (num_chunks, bitmaps) = loop {
            let lease = self.inner.pool.lease(server, self.app(), self.settings()).await?;
            let asked = lease.connection.merged_meta(self.app().clone(), partition);
            match tokio::time::timeout(after, asked).await {
                Ok(Err(error @ ClientError::Closed { .. })) if lease.reused && error.is_retryable() => {}
                Ok(answer) => break answer?,
                Err(_) => return Err(lease.connection.no_answer(WHAT, after)),
            }
        };
        let server = server.clone();
        match Bitmap::decode_all(bitmaps) {
            Ok(bitmaps) if usize::try_from(num_chunks) == Ok(bitmaps.len()) => Ok(bitmaps),
            Ok(bitmaps) => {
                let how = format!("{num_chunks} chunks and {} bitmaps", bitmaps.len());
                Err(ClientError::Unexpected { server, what: WHAT, how })
            }
            Err(source) => Err(ClientError::Answer { server, what: WHAT, source }),
        }
    }

    /// Fetches chunks of a merged partition to memory: one outcome for each, as [`Client::fetch`] has it.
    pub fn fetch_merged_chunks(
        &self,
        server: &Address,
        partition: MergedPartition,
        chunks: impl IntoIterator<Item = i32>,
    ) -> Fetch {
        let MergedPartition { shuffle, merge, reduce } = partition;
        let block = |chunk| BlockId::ShuffleChunk { shuffle, merge, reduce, chunk };
        let blocks = chunks.into_iter().map(block).collect();
        self.fetch(server, &ExecutorId::new(SHUFFLE_PUSH_MERGER), blocks)
    }
}

/// A block on its way.
pub(super) struct PushReceipt {
    uploading: UploadReceipt,
    server: Address,
    block: BlockId,
}

impl PushReceipt {
    /// Waits for the answer. A connection that ends with this block unanswered is an error.
    pub(super) async fn ended(mut self) -> Result<ReturnCode, ClientError> {
        const WHAT: &str = "a push";
        let answer = self.uploading.answer().await?;
        let server = self.server;
        let BlockPushReturnCode { code, failure_block } = match BlockTransferMessage::decode(answer) {
            Ok(BlockTransferMessage::BlockPushReturnCode(code)) => code,
            Ok(other) => return Err(unexpected(&server, WHAT, &other)),
            Err(source) => return Err(ClientError::Answer { server, what: WHAT, source }),
        };
        if code != ReturnCode::Success && failure_block != self.block.to_string() {
            let how = format!("{code:?} for {failure_block:?} instead of {}", self.block);
            return Err(ClientError::Unexpected { server, what: WHAT, how });
        }
        Ok(code)
    }
}

/// What a merger said about each partition, or why it cannot be.
fn checked_statuses(
    statuses: MergeStatuses,
    shuffle: ShuffleId,
    merge: ShuffleMergeId,
) -> Result<Vec<MergeStatus>, String> {
    let MergeStatuses { shuffle: of, merge: attempt, bitmaps, reduces, sizes } = statuses;
    if (of, attempt) != (shuffle, merge) {
        return Err(format!(
            "about shuffle {of}, merge {attempt} instead of shuffle {shuffle}, merge {merge}"
        ));
    }
    let (maps, partitions, lens) = (bitmaps.len(), reduces.len(), sizes.len());
    if maps != partitions || lens != partitions {
        return Err(format!("{partitions} partitions with {maps} bitmaps and {lens} sizes"));
    }
    let mut seen = HashSet::with_capacity(partitions);
    let each = reduces.into_iter().zip(sizes).zip(bitmaps);
    each.map(|((reduce, size), maps)| {
        if reduce.0 < 0 || !seen.insert(reduce) {
            return Err(format!("partition {reduce} twice, or none at all"));
        }
        let size = u64::try_from(size).map_err(|_| format!("{size} bytes in partition {reduce}"))?;
        Ok(MergeStatus { reduce, size, maps })
    })
    .collect()
}
