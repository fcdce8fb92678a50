//! A server that merges, and an application that pushes.

use std::path::PathBuf;

use bytes::Bytes;
use sealed_shuffle::{ByteCount, MergeConfig, ServerConfig};
use sealed_shuffle_protocol::cipher::SessionMode;
use sealed_shuffle_protocol::ids::{
    AppId, ChunkIndex, ExecutorId, ReduceId, RequestId, ShuffleId, ShuffleMergeId, StreamId,
};
use sealed_shuffle_protocol::message::Head;
use sealed_shuffle_protocol::shuffle::{
    BlockTransferMessage, ExecutorShuffleInfo, FetchShuffleBlockChunks, FinalizeShuffleMerge, MergeStatuses,
    PushBlockStream, RegisterExecutor, RemoveShuffleMerge, ReturnCode, Strings,
};

use crate::running::{Peer, Running, message};

pub(crate) const APP: &str = "application_1700000000000_0001";

/// Chunks of 16 bytes.
pub(crate) fn merging(config: &mut ServerConfig) {
    config.merging = Some(MergeConfig { min_chunk: ByteCount::new(16), ..MergeConfig::default() });
}

pub(crate) struct Merging {
    pub(crate) server: Running,
    pub(crate) mode: SessionMode,
}

impl Merging {
    /// Attempt 1 is registered.
    pub(crate) fn start(mode: SessionMode) -> Self {
        let merging = Self::unregistered(mode, merging);
        merging.peer().rpc(&merging.register(1)).unwrap();
        merging
    }

    pub(crate) fn unregistered(mode: SessionMode, change: impl FnOnce(&mut ServerConfig)) -> Self {
        Self { server: Running::start_with(change), mode }
    }

    pub(crate) fn peer(&self) -> Peer {
        self.peer_of(APP)
    }

    pub(crate) fn peer_of(&self, app: &str) -> Peer {
        let mut peer = Peer::connect(self.server.address);
        peer.handshake(app, &self.server.secret, self.mode).unwrap();
        peer
    }

    pub(crate) fn register(&self, attempt: i32) -> BlockTransferMessage {
        self.register_as(&format!(
            r#"org.apache.spark.shuffle.sort.SortShuffleManager:{{"mergeDir":"merge_manager_{attempt}","attemptId":"{attempt}"}}}}}}"#
        ))
    }

    pub(crate) fn register_as(&self, shuffle_manager: &str) -> BlockTransferMessage {
        let dir = self.dir();
        RegisterExecutor {
            app: AppId::new(APP),
            executor: ExecutorId::new("1"),
            info: ExecutorShuffleInfo {
                local_dirs: Strings::try_from_iter([dir.to_str().unwrap()]).unwrap(),
                sub_dirs_per_local_dir: 64,
                shuffle_manager: shuffle_manager.to_owned(),
            },
        }
        .into()
    }

    /// The executor's directory; that of the server's own application is another.
    pub(crate) fn dir(&self) -> PathBuf {
        self.server.root.join("merging-1/blockmgr-1")
    }

    pub(crate) fn merge_dir(&self, attempt: i32) -> String {
        self.server.root.join(format!("merging-1/merge_manager_{attempt}")).to_str().unwrap().to_owned()
    }
}

/// A push of attempt 1.
pub(crate) fn block(shuffle: i32, merge: i32, map: i32, reduce: i32) -> PushBlockStream {
    PushBlockStream {
        app: AppId::new(APP),
        app_attempt: 1,
        shuffle: ShuffleId(shuffle),
        merge: ShuffleMergeId(merge),
        map_index: map,
        reduce: ReduceId(reduce),
        index: 0,
    }
}

/// The head of a push, and as much of its body as is given; `len` is what it announces.
pub(crate) fn upload(request: i64, push: PushBlockStream, len: u64, body: &[u8]) -> Bytes {
    let meta = BlockTransferMessage::from(push).encode().unwrap();
    let head = Head::UploadStream { request: RequestId(request), meta };
    let mut bytes = bytes::BytesMut::new();
    head.encode(len, &mut bytes).unwrap();
    bytes.extend_from_slice(body);
    bytes.freeze()
}

pub(crate) fn send_push(peer: &mut Peer, push: PushBlockStream, body: &[u8]) {
    peer.try_say(&upload(7, push, body.len() as u64, body)).unwrap();
}

/// A whole push: `ok`, the code and the block, the text of a failure, or nothing where the connection ended.
pub(crate) fn push(peer: &mut Peer, block: PushBlockStream, body: &[u8]) -> String {
    send_push(peer, block, body);
    pushed(peer)
}

pub(crate) fn pushed(peer: &mut Peer) -> String {
    match peer.next() {
        Some((Head::RpcResponse { .. }, body)) => match BlockTransferMessage::decode(body).unwrap() {
            BlockTransferMessage::BlockPushReturnCode(code) if code.code == ReturnCode::Success => {
                assert_eq!(code.failure_block, "");
                "ok".to_owned()
            }
            BlockTransferMessage::BlockPushReturnCode(code) => {
                format!("{} {}", code.code as u8, code.failure_block)
            }
            other => panic!("{other:?}"),
        },
        Some((Head::RpcFailure { error, .. }, _)) => error,
        None => String::new(),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn finalize_message(app: &str, shuffle: i32, merge: i32) -> BlockTransferMessage {
    let (shuffle, merge) = (ShuffleId(shuffle), ShuffleMergeId(merge));
    FinalizeShuffleMerge { app: AppId::new(app), app_attempt: 1, shuffle, merge }.into()
}

pub(crate) fn finalize(peer: &mut Peer, shuffle: i32, merge: i32) -> Result<MergeStatuses, String> {
    let answer = peer.rpc(&finalize_message(APP, shuffle, merge))?;
    match BlockTransferMessage::decode(answer).unwrap() {
        BlockTransferMessage::MergeStatuses(statuses) => Ok(statuses),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn remove_message(shuffle: i32, merge: i32) -> Bytes {
    let (shuffle, merge) = (ShuffleId(shuffle), ShuffleMergeId(merge));
    let message = RemoveShuffleMerge { app: AppId::new(APP), app_attempt: 1, shuffle, merge };
    BlockTransferMessage::from(message).encode().unwrap()
}

/// Chunks and bitmaps of a merged partition.
pub(crate) fn meta(peer: &mut Peer, shuffle: i32, merge: i32, reduce: i32) -> Result<(i32, Bytes), String> {
    let head = Head::MergedBlockMetaRequest {
        request: RequestId(9),
        app: AppId::new(APP),
        shuffle: ShuffleId(shuffle),
        merge: ShuffleMergeId(merge),
        reduce: ReduceId(reduce),
    };
    peer.try_say(&message(&head, &[])).unwrap();
    match peer.next() {
        Some((Head::MergedBlockMetaSuccess { num_chunks, .. }, bitmaps)) => Ok((num_chunks, bitmaps)),
        Some((Head::RpcFailure { error, .. }, _)) => Err(error),
        other => panic!("{other:?}"),
    }
}

/// Opens a stream of merged chunks, `reduce` to its chunks.
pub(crate) fn open_chunks(
    peer: &mut Peer,
    shuffle: i32,
    merge: i32,
    chunks: &[(i32, &[i32])],
) -> Result<(StreamId, i32), String> {
    let message = FetchShuffleBlockChunks {
        app: AppId::new(APP),
        executor: ExecutorId::new("shuffle-push-merger"),
        shuffle: ShuffleId(shuffle),
        merge: ShuffleMergeId(merge),
        reduces: chunks.iter().map(|(reduce, _)| ReduceId(*reduce)).collect(),
        chunks: chunks.iter().map(|(_, chunks)| chunks.iter().copied()).collect(),
    };
    let answer = peer.rpc(&message.into())?;
    match BlockTransferMessage::decode(answer).unwrap() {
        BlockTransferMessage::StreamHandle(handle) => Ok((handle.stream, handle.num_chunks)),
        other => panic!("{other:?}"),
    }
}

/// The only chunk of a request of its own.
pub(crate) fn chunk(
    peer: &mut Peer,
    shuffle: i32,
    merge: i32,
    reduce: i32,
    chunk: i32,
) -> Result<Bytes, String> {
    let (stream, _) = open_chunks(peer, shuffle, merge, &[(reduce, &[chunk])])?;
    peer.chunk(stream, ChunkIndex(0).0)
}
