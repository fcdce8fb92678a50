//! A connection in clear to a merger, held by hand: blocks are pushed piece by piece, and every answer is written down as
//! a line of text, the same line for the same answer, whoever gave it.
//!
//! Frames are those of Spark's `MessageEncoder` (4.3.0). What differs between two services that agree is left out of the
//! line: ids of requests and streams, the root of all directories, the stack trace behind a failure, and the order in
//! which finalized partitions are listed.

use std::{fmt::Write as _, net::SocketAddr, path::PathBuf, time::Duration};

use bytes::{Bytes, BytesMut};
use sealed_shuffle_protocol::{
    ids::{AppId, ChunkIndex, ExecutorId, ReduceId, RequestId, ShuffleId, ShuffleMergeId, StreamId},
    message::Head,
    shuffle::{
        BlockTransferMessage, ExecutorShuffleInfo, FetchShuffleBlockChunks, GetLocalDirsForExecutors,
        MergeStatuses, PushBlockStream, RegisterExecutor, Strings,
    },
};

use super::socket::PlainSocket;
use crate::oracle::{Executor, merging_manager};

/// Nothing on loopback takes so long.
const LIMIT: Duration = Duration::from_secs(20);
/// A chunk that is not there.
const BEYOND: &str = "java.lang.IndexOutOfBoundsException";

/// One connection.
#[derive(Debug)]
pub struct Pusher {
    plain: PlainSocket,
    root: PathBuf,
}

impl Pusher {
    /// Connects; `root` is what all paths of that service begin with.
    pub fn connect(address: SocketAddr, root: impl Into<PathBuf>) -> Self {
        Self { plain: PlainSocket::connect(address), root: root.into() }
    }

    /// A request and its answer.
    pub fn rpc(&mut self, message: impl Into<BlockTransferMessage>) -> String {
        self.send(&Head::RpcRequest { request: RequestId(1) }, &encode(message.into()));
        self.answer()
    }

    /// A request of bytes as they stand.
    pub fn rpc_bytes(&mut self, body: &[u8]) -> String {
        self.send(&Head::RpcRequest { request: RequestId(1) }, body);
        self.answer()
    }

    /// A message that nobody answers.
    pub fn one_way(&mut self, message: impl Into<BlockTransferMessage>) {
        self.send(&Head::OneWayMessage, &encode(message.into()));
    }

    /// Begins a push that announces `len` bytes, and sends the first of them.
    pub fn begin(&mut self, push: PushBlockStream, len: u64, first: &[u8]) {
        let meta = encode(push.into());
        let mut bytes = BytesMut::new();
        let head = Head::UploadStream { request: RequestId(1), meta };
        head.encode(len, &mut bytes).expect("pushes are short messages");
        bytes.extend_from_slice(first);
        self.plain.send(&bytes);
    }

    /// The same with a length that no message of ours can carry.
    pub fn begin_absurd(&mut self, push: PushBlockStream, len: u64, first: &[u8]) {
        let head = Head::UploadStream { request: RequestId(1), meta: encode(push.into()) };
        let mut bytes = BytesMut::new();
        head.encode(0, &mut bytes).expect("pushes are short messages");
        // The length of what follows is the last field.
        let at = bytes.len() - 8;
        bytes[at..].copy_from_slice(&len.to_be_bytes());
        bytes.extend_from_slice(first);
        self.plain.send(&bytes);
    }

    /// More bytes of the push that has begun, or bytes that are no frame.
    pub fn data(&mut self, bytes: &[u8]) {
        self.plain.send(bytes);
    }

    /// A whole push and its answer.
    pub fn push(&mut self, push: PushBlockStream, data: &[u8]) -> String {
        self.begin(push, data.len() as u64, data);
        self.answer()
    }

    /// The bitmaps of the chunks of a merged partition.
    pub fn meta(&mut self, app: &str, shuffle: i32, merge: i32, reduce: i32) -> String {
        let head = Head::MergedBlockMetaRequest {
            request: RequestId(1),
            app: AppId::new(app),
            shuffle: ShuffleId(shuffle),
            merge: ShuffleMergeId(merge),
            reduce: ReduceId(reduce),
        };
        self.send(&head, &[]);
        self.answer()
    }

    /// One chunk of a merged partition, in a stream of its own.
    pub fn chunk(&mut self, app: &str, shuffle: i32, merge: i32, reduce: i32, chunk: i32) -> String {
        let message = FetchShuffleBlockChunks {
            app: AppId::new(app),
            executor: ExecutorId::new("shuffle-push-merger"),
            shuffle: ShuffleId(shuffle),
            merge: ShuffleMergeId(merge),
            reduces: vec![ReduceId(reduce)],
            chunks: [[chunk]].into_iter().collect(),
        };
        self.send(&Head::RpcRequest { request: RequestId(1) }, &encode(message.into()));
        match self.next() {
            Answer::Message(BlockTransferMessage::StreamHandle(handle)) => {
                assert_eq!(handle.num_chunks, 1, "one chunk was asked for");
                self.chunk_of(handle.stream, 0)
            }
            other => self.line(other),
        }
    }

    /// A chunk of an open stream.
    pub fn chunk_of(&mut self, stream: StreamId, chunk: i32) -> String {
        self.send(&Head::ChunkFetchRequest { stream, chunk: ChunkIndex(chunk) }, &[]);
        self.answer()
    }

    /// The next answer, or that the service closed the connection.
    pub fn answer(&mut self) -> String {
        let said = self.next();
        self.line(said)
    }

    /// The next answer, where there may be none: `silence` where nothing comes and the connection stays.
    pub fn answer_within(&mut self, limit: Duration) -> String {
        match self.plain.is_silent(limit) {
            true => "silence".to_owned(),
            false => self.answer(),
        }
    }

    /// Whether the service closes the connection within a while, without a further word.
    pub fn is_closed(&mut self) -> bool {
        let reply = self.plain.rest(LIMIT);
        assert!(reply.bytes.is_empty(), "it said more: {}", reply.text());
        reply.closed
    }

    fn send(&mut self, head: &Head, body: &[u8]) {
        let mut bytes = BytesMut::new();
        head.encode(body.len() as u64, &mut bytes).expect("requests are short messages");
        bytes.extend_from_slice(body);
        self.plain.send(&bytes);
    }

    fn next(&mut self) -> Answer {
        assert!(!self.plain.is_silent(LIMIT), "no answer within {LIMIT:?}");
        self.plain.frame(LIMIT).map_or(Answer::Closed, |frame| said(&Bytes::from(frame)))
    }

    fn line(&self, said: Answer) -> String {
        match said {
            Answer::Closed => "closed".to_owned(),
            Answer::Empty => "done".to_owned(),
            Answer::Failure(text) => {
                let root = self.root.to_str().expect("test paths are text");
                let mut line = text.lines().next().unwrap_or_default();
                // Its text is the JVM's own, and another one once the code has been compiled.
                if line.starts_with(BEYOND) {
                    line = BEYOND;
                }
                format!("failure: {}", line.replace(root, "ROOT"))
            }
            Answer::Meta(count, bitmaps) => format!("{count} chunks: {}", hex(&bitmaps)),
            Answer::Chunk(bytes) => format!("chunk: {}", hex(&bytes)),
            Answer::Message(BlockTransferMessage::MergeStatuses(statuses)) => told(&statuses),
            Answer::Message(BlockTransferMessage::BlockPushReturnCode(code)) => {
                format!("{:?} {}", code.code, code.failure_block).trim_end().to_owned()
            }
            Answer::Message(BlockTransferMessage::StreamHandle(handle)) => {
                format!("a stream of {} chunks", handle.num_chunks)
            }
            Answer::Message(other) => {
                let root = self.root.to_str().expect("test paths are text");
                format!("{other:?}").replace(root, "ROOT")
            }
        }
    }
}

/// A request that a service answers at once and that changes nothing.
pub fn here(app: &str) -> GetLocalDirsForExecutors {
    let executors = Strings::try_from_iter(["1"]).expect("one name");
    GetLocalDirsForExecutors { app: AppId::new(app), executors }
}

/// Registers executor `1` as those of YARN do, of an attempt that merges.
pub fn registration(app: &str, executor: &Executor, attempt: i32) -> RegisterExecutor {
    let info = ExecutorShuffleInfo {
        local_dirs: Strings::try_from_iter(executor.dir_names()).expect("two directories"),
        sub_dirs_per_local_dir: i32::try_from(executor.sub_dirs).expect("a handful"),
        shuffle_manager: merging_manager(attempt),
    };
    RegisterExecutor { app: AppId::new(app), executor: ExecutorId::new("1"), info }
}

enum Answer {
    Message(BlockTransferMessage),
    Empty,
    Failure(String),
    Meta(i32, Bytes),
    Chunk(Bytes),
    Closed,
}

/// What a frame says: its fields begin behind the length and the type.
fn said(frame: &Bytes) -> Answer {
    let number = |at: usize| i32::from_be_bytes(frame[at..at + 4].try_into().expect("four bytes"));
    let text = |at: usize| String::from_utf8_lossy(&frame[at + 4..]).into_owned();
    match frame[8] {
        1 => Answer::Chunk(frame.slice(21..)),
        2 => Answer::Failure(text(21)),
        4 if frame.len() == 21 => Answer::Empty,
        4 => Answer::Message(
            BlockTransferMessage::decode(frame.slice(21..)).expect("Spark's answers are known"),
        ),
        5 => Answer::Failure(text(17)),
        12 => Answer::Meta(number(17), frame.slice(21..)),
        other => panic!("a frame of type {other}"),
    }
}

fn told(statuses: &MergeStatuses) -> String {
    let all = statuses.reduces.iter().zip(&statuses.bitmaps).zip(&statuses.sizes);
    let mut all: Vec<_> = all.map(|((reduce, maps), size)| (reduce.0, maps, size)).collect();
    all.sort_by_key(|(reduce, ..)| *reduce);
    let mut text = format!("shuffle {} merge {}:", statuses.shuffle, statuses.merge);
    for (reduce, maps, size) in all {
        let maps: Vec<u32> = maps.as_roaring().iter().collect();
        write!(text, " {reduce} has {size} bytes of {maps:?}").expect("text grows");
    }
    text
}

fn encode(message: BlockTransferMessage) -> Bytes {
    message.encode().expect("requests are short messages")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("text grows");
        text
    })
}
