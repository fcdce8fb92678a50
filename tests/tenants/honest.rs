//! The application that does nothing wrong.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sealed_shuffle::internals::disk::layout::{self, Placement};
use sealed_shuffle_protocol::ids::{
    AppId, ChunkIndex, ExecutorId, MapId, ReduceId, RequestId, ShuffleId, ShuffleMergeId,
};
use sealed_shuffle_protocol::message::Head;
use sealed_shuffle_protocol::shuffle::{
    BlockTransferMessage, ExecutorShuffleInfo, PushBlockStream, RegisterExecutor, RemoveBlocks, ReturnCode,
    Strings,
};

use crate::running::{EXECUTOR, GCM, Peer, Running, content, fetch};

const APP: &str = "app-honest";

/// A handshake, a registration and a fetch together. They take milliseconds; a busy machine gets its time.
const SOON: Duration = Duration::from_secs(5);

/// An executor's shuffle manager that merges.
pub(crate) const MERGING: &str =
    r#"org.apache.spark.shuffle.sort.SortShuffleManager:{"mergeDir":"merge_manager_1","attemptId":"1"}}}"#;

pub(crate) struct Honest<'a> {
    running: &'a Running,
    app: &'a str,
    dir: PathBuf,
}

impl<'a> Honest<'a> {
    /// With directories and a map output of its own.
    pub(crate) fn of(running: &'a Running) -> Self {
        Self::named(running, APP)
    }

    /// The same of another name.
    pub(crate) fn named(running: &'a Running, app: &'a str) -> Self {
        let dir = running.root.join(app).join("blockmgr-2");
        let honest = Self { running, app, dir };
        let index: Vec<u8> = [0_u64, 70_000].iter().flat_map(|offset| offset.to_be_bytes()).collect();
        fs::write(honest.place(&layout::index_name(ShuffleId(0), MapId(5))), index).unwrap();
        fs::write(honest.place(&layout::data_name(ShuffleId(0), MapId(5))), content(70_000)).unwrap();
        honest
    }

    fn place(&self, name: &str) -> PathBuf {
        let sub = self.dir.join(Placement::of(name, 1, 64).unwrap().sub_dir());
        fs::create_dir_all(&sub).unwrap();
        sub.join(name)
    }

    /// It proves itself, registers and fetches, all of it soon.
    #[track_caller]
    pub(crate) fn assert_served(&self) {
        let began = Instant::now();
        let mut peer = self.registered();
        let answer = peer.rpc(&fetch(self.app, 5, &[0])).unwrap();
        let BlockTransferMessage::StreamHandle(handle) = BlockTransferMessage::decode(answer).unwrap() else {
            panic!("no stream");
        };
        peer.send(&Head::ChunkFetchRequest { stream: handle.stream, chunk: ChunkIndex(0) }, &[]);
        let Some((Head::ChunkFetchSuccess { .. }, body)) = peer.next() else { panic!("no chunk") };
        assert!(body == content(70_000));
        assert!(began.elapsed() < SOON, "served after {:?}", began.elapsed());
    }

    /// The same with a request of so many bytes, which takes the server a while by itself.
    #[track_caller]
    pub(crate) fn assert_served_with_a_large_request(&self, bytes: usize, alone: Duration) {
        let took = self.large_request(bytes);
        assert!(took < SOON + 3 * alone, "served after {took:?}, and {alone:?} alone");
    }

    /// How long a request of so many bytes takes.
    pub(crate) fn large_request(&self, bytes: usize) -> Duration {
        let mut peer = self.registered();
        let began = Instant::now();
        let names = (0..bytes / 200).map(|n| format!("rdd_{n:0190}_1"));
        let request = RemoveBlocks {
            app: AppId::new(self.app),
            executor: ExecutorId::new(EXECUTOR),
            blocks: Strings::try_from_iter(names).unwrap(),
        };
        let body = BlockTransferMessage::from(request).encode().unwrap();
        assert!(body.len() > 64 << 10);
        peer.send(&Head::RpcRequest { request: RequestId(9) }, &body);
        assert!(matches!(peer.next(), Some((Head::RpcResponse { .. }, _))));
        began.elapsed()
    }

    /// It registers for merging, and pushes a block, soon.
    #[track_caller]
    pub(crate) fn assert_merges(&self, shuffle: i32) {
        for sub in 0..64 {
            fs::create_dir_all(self.dir.with_file_name("merge_manager_1").join(format!("{sub:02x}")))
                .unwrap();
        }
        let began = Instant::now();
        let mut peer = self.registered_as(MERGING);
        let push = PushBlockStream {
            app: AppId::new(self.app),
            app_attempt: 1,
            shuffle: ShuffleId(shuffle),
            merge: ShuffleMergeId(0),
            map_index: 0,
            reduce: ReduceId(0),
            index: 0,
        };
        let meta = BlockTransferMessage::from(push).encode().unwrap();
        peer.send(&Head::UploadStream { request: RequestId(7), meta }, &content(1000));
        let answer = match peer.next() {
            Some((Head::RpcResponse { .. }, answer)) => answer,
            other => panic!("the push failed: {other:?}"),
        };
        let BlockTransferMessage::BlockPushReturnCode(code) = BlockTransferMessage::decode(answer).unwrap()
        else {
            panic!("no code");
        };
        assert_eq!(code.code, ReturnCode::Success);
        assert!(began.elapsed() < SOON, "merged after {:?}", began.elapsed());
    }

    pub(crate) fn registered(&self) -> Peer {
        self.registered_as("org.apache.spark.shuffle.sort.SortShuffleManager")
    }

    fn registered_as(&self, shuffle_manager: &str) -> Peer {
        let mut peer = Peer::connect(self.running.address);
        peer.handshake(self.app, &self.running.secret, GCM).unwrap();
        let registration = RegisterExecutor {
            app: AppId::new(self.app),
            executor: ExecutorId::new(EXECUTOR),
            info: ExecutorShuffleInfo {
                local_dirs: Strings::try_from_iter([self.dir.to_str().unwrap()]).unwrap(),
                sub_dirs_per_local_dir: 64,
                shuffle_manager: shuffle_manager.to_owned(),
            },
        };
        peer.rpc(&registration.into()).unwrap();
        peer
    }
}
