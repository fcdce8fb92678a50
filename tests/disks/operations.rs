//! What clients ask for, and what becomes of it.

use sealed_shuffle_protocol::ids::{
    AppId, ChunkIndex, ExecutorId, MapId, ReduceId, RequestId, ShuffleId, ShuffleMergeId,
};
use sealed_shuffle_protocol::message::Head;
use sealed_shuffle_protocol::shuffle::{
    BlockTransferMessage, ExecutorShuffleInfo, FetchShuffleBlocks, FinalizeShuffleMerge, MergeStatuses,
    PushBlockStream, RegisterExecutor, RemoveBlocks, ReturnCode, Strings,
};

use crate::machine::{App, SUB_DIRS};
use crate::running::{Peer, message};

const EXECUTOR: &str = "1";

/// What became of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// As it should.
    Done,
    /// An answer that says no, with its text.
    Refused(String),
    /// The connection ended.
    Closed,
}

fn outcome(result: Result<bytes::Bytes, String>) -> Outcome {
    match result {
        Ok(_) => Outcome::Done,
        Err(text) if text.is_empty() => Outcome::Closed,
        Err(text) => Outcome::Refused(text),
    }
}

pub(crate) fn register(peer: &mut Peer, app: &App) -> Outcome {
    register_as(peer, app, EXECUTOR)
}

pub(crate) fn register_as(peer: &mut Peer, app: &App, executor: &str) -> Outcome {
    let message = RegisterExecutor {
        app: AppId::new(&*app.name),
        executor: ExecutorId::new(executor),
        info: ExecutorShuffleInfo {
            local_dirs: Strings::try_from_iter(app.texts()).unwrap(),
            sub_dirs_per_local_dir: SUB_DIRS,
            shuffle_manager: r#"org.apache.spark.shuffle.sort.SortShuffleManager:{"mergeDir":"merge_manager_1","attemptId":"1"}}}"#
                .to_owned(),
        },
    };
    outcome(peer.rpc(&message.into()))
}

/// Fetches the one partition of a map output.
pub(crate) fn fetch(peer: &mut Peer, app: &App, map: i64, len: usize) -> Outcome {
    let message = FetchShuffleBlocks {
        app: AppId::new(&*app.name),
        executor: ExecutorId::new(EXECUTOR),
        shuffle: ShuffleId(0),
        maps: vec![MapId(map)],
        reduces: [[ReduceId(0)]].into_iter().collect(),
        batch: false,
    };
    let opened = peer.rpc(&message.into());
    let Ok(opened) = opened else { return outcome(opened) };
    let BlockTransferMessage::StreamHandle(handle) = BlockTransferMessage::decode(opened).unwrap() else {
        panic!("no stream");
    };
    peer.send(&Head::ChunkFetchRequest { stream: handle.stream, chunk: ChunkIndex(0) }, &[]);
    match peer.next() {
        Some((Head::ChunkFetchSuccess { .. }, body)) => {
            assert_eq!(&body[..], &crate::running::content(len as u64)[..], "the right bytes");
            Outcome::Done
        }
        Some((Head::ChunkFetchFailure { error, .. }, _)) => Outcome::Refused(error),
        None => Outcome::Closed,
        other => panic!("{other:?}"),
    }
}

/// Pushes a block of 32 bytes.
pub(crate) fn push(peer: &mut Peer, app: &App, shuffle: i32, map: i32, reduce: i32) -> Outcome {
    let push = PushBlockStream {
        app: AppId::new(&*app.name),
        app_attempt: 1,
        shuffle: ShuffleId(shuffle),
        merge: ShuffleMergeId(0),
        map_index: map,
        reduce: ReduceId(reduce),
        index: 0,
    };
    let meta = BlockTransferMessage::from(push).encode().unwrap();
    let said = peer.try_say(&message(&Head::UploadStream { request: RequestId(7), meta }, &[3; 32]));
    if said.is_err() {
        return Outcome::Closed;
    }
    match peer.next() {
        Some((Head::RpcResponse { .. }, body)) => match BlockTransferMessage::decode(body).unwrap() {
            BlockTransferMessage::BlockPushReturnCode(code) if code.code == ReturnCode::Success => {
                Outcome::Done
            }
            BlockTransferMessage::BlockPushReturnCode(code) => Outcome::Refused(format!("{:?}", code.code)),
            other => panic!("{other:?}"),
        },
        Some((Head::RpcFailure { error, .. }, _)) => Outcome::Refused(error),
        None => Outcome::Closed,
        other => panic!("{other:?}"),
    }
}

/// The partitions that the driver is told of.
pub(crate) fn finalize(peer: &mut Peer, app: &App, shuffle: i32) -> Result<Vec<i32>, Outcome> {
    let message = FinalizeShuffleMerge {
        app: AppId::new(&*app.name),
        app_attempt: 1,
        shuffle: ShuffleId(shuffle),
        merge: ShuffleMergeId(0),
    };
    let answer = peer.rpc(&message.into()).map_err(|error| outcome(Err(error)))?;
    match BlockTransferMessage::decode(answer).unwrap() {
        BlockTransferMessage::MergeStatuses(MergeStatuses { reduces, .. }) => {
            Ok(reduces.iter().map(|reduce| reduce.0).collect())
        }
        other => panic!("{other:?}"),
    }
}

/// Removes the data file of map outputs; how many were there.
pub(crate) fn remove(peer: &mut Peer, app: &App, maps: &[i64]) -> Result<i32, Outcome> {
    let names: Vec<String> = maps.iter().map(|map| format!("shuffle_0_{map}_0.data")).collect();
    let message = RemoveBlocks {
        app: AppId::new(&*app.name),
        executor: ExecutorId::new(EXECUTOR),
        blocks: Strings::try_from_iter(names.iter().map(String::as_str)).unwrap(),
    };
    let answer = peer.rpc(&message.into()).map_err(|error| outcome(Err(error)))?;
    match BlockTransferMessage::decode(answer).unwrap() {
        BlockTransferMessage::BlocksRemoved(removed) => Ok(removed.count),
        other => panic!("{other:?}"),
    }
}
