//! The application that does nothing wrong.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sealed_shuffle::internals::disk::layout::{self, Placement};
use sealed_shuffle_protocol::ids::{AppId, ChunkIndex, ExecutorId, MapId, RequestId, ShuffleId};
use sealed_shuffle_protocol::message::Head;
use sealed_shuffle_protocol::shuffle::{
    BlockTransferMessage, ExecutorShuffleInfo, RegisterExecutor, RemoveBlocks, Strings,
};

use crate::running::{EXECUTOR, GCM, Peer, Running, content, fetch};

const APP: &str = "app-honest";

/// A handshake, a registration and a fetch together. They take milliseconds; a busy machine gets its time.
const SOON: Duration = Duration::from_secs(5);

pub(crate) struct Honest<'a> {
    running: &'a Running,
    dir: PathBuf,
}

impl<'a> Honest<'a> {
    /// With directories and a map output of its own.
    pub(crate) fn of(running: &'a Running) -> Self {
        let dir = running.root.join("spark-2/blockmgr-2");
        let honest = Self { running, dir };
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
        let answer = peer.rpc(&fetch(APP, 5, &[0])).unwrap();
        let BlockTransferMessage::StreamHandle(handle) = BlockTransferMessage::decode(answer).unwrap() else {
            panic!("no stream");
        };
        peer.send(&Head::ChunkFetchRequest { stream: handle.stream, chunk: ChunkIndex(0) }, &[]);
        let Some((Head::ChunkFetchSuccess { .. }, body)) = peer.next() else { panic!("no chunk") };
        assert!(body == content(70_000));
        assert!(began.elapsed() < SOON, "served after {:?}", began.elapsed());
    }

    /// The same with a request of so many bytes.
    #[track_caller]
    pub(crate) fn assert_served_with_a_large_request(&self, bytes: usize) {
        let mut peer = self.registered();
        let began = Instant::now();
        let names = (0..bytes / 200).map(|n| format!("rdd_{n:0190}_1"));
        let request = RemoveBlocks {
            app: AppId::new(APP),
            executor: ExecutorId::new(EXECUTOR),
            blocks: Strings::try_from_iter(names).unwrap(),
        };
        let body = BlockTransferMessage::from(request).encode().unwrap();
        assert!(body.len() > 64 << 10);
        peer.send(&Head::RpcRequest { request: RequestId(9) }, &body);
        assert!(matches!(peer.next(), Some((Head::RpcResponse { .. }, _))));
        assert!(began.elapsed() < SOON, "served after {:?}", began.elapsed());
    }

    pub(crate) fn registered(&self) -> Peer {
        let mut peer = Peer::connect(self.running.address);
        peer.handshake(APP, &self.running.secret, GCM).unwrap();
        let registration = RegisterExecutor {
            app: AppId::new(APP),
            executor: ExecutorId::new(EXECUTOR),
            info: ExecutorShuffleInfo {
                local_dirs: Strings::try_from_iter([self.dir.to_str().unwrap()]).unwrap(),
                sub_dirs_per_local_dir: 64,
                shuffle_manager: "org.apache.spark.shuffle.sort.SortShuffleManager".to_owned(),
            },
        };
        peer.rpc(&registration.into()).unwrap();
        peer
    }
}
