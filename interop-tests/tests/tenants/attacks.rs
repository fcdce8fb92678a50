//! What a tenant or a stranger does to get more than its part. None of it lasts longer than a few seconds, and none of it
//! minds how the server takes it.

use std::{
    fs::{self, File},
    io::Write,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use bytes::BytesMut;
use sealed_shuffle::internals::disk::layout::{self, Placement};
use sealed_shuffle_interop_tests::{fixture::SECRET, oracle::merging_manager};
use sealed_shuffle_protocol::{
    auth::Initiator,
    ids::{AppId, ChunkIndex, ExecutorId, MapId, ReduceId, RequestId, ShuffleId, ShuffleMergeId},
    message::Head,
    secret::AppSecret,
    shuffle::{
        BlockTransferMessage, DiagnoseCorruption, ExecutorShuffleInfo, FetchShuffleBlocks,
        GetLocalDirsForExecutors, PushBlockStream, RegisterExecutor, RemoveBlocks, StreamHandle, Strings,
    },
};
use sealed_shuffle_transport::random::OsRandom;

use crate::peer::{CTR, GCM, Peer};

const EXECUTOR: &str = "1";
/// How long it holds on to what it has got.
const HELD: Duration = Duration::from_secs(2);
const LARGE: u64 = 64 << 20;

/// One of them.
pub(crate) type Attack = fn(&mut Attacker);

/// Each with its name.
pub(crate) const ATTACKS: [(&str, Attack); 12] = [
    ("streams that nobody reads", Attacker::unread_streams),
    ("slow readers", Attacker::slow_readers),
    ("large requests that trickle", Attacker::trickles),
    ("silent sockets", Attacker::silent_sockets),
    ("connections of one application", Attacker::connections),
    ("failed handshakes with long names", Attacker::failed_handshakes),
    ("long diagnoses", Attacker::diagnoses),
    ("large removals", Attacker::removals),
    ("registrations", Attacker::registrations),
    ("answers that are never read", Attacker::unread_answers),
    ("empty pushes", Attacker::empty_pushes),
    ("noise", Attacker::noise),
];

/// A tenant with an application, a directory and a large map output of its own.
pub(crate) struct Attacker {
    address: SocketAddr,
    app: String,
    dir: PathBuf,
    random: u64,
}

impl Attacker {
    pub(crate) fn new(address: SocketAddr, root: &Path, number: u64, seed: u64) -> Self {
        let app = format!("attacker-{number}");
        let dir = root.join(&app).join("blockmgr-1");
        let attacker = Self { address, app, dir, random: seed ^ (number + 1).wrapping_mul(0x9E37_79B9) };
        let index: Vec<u8> = [0, LARGE].iter().flat_map(|offset: &u64| offset.to_be_bytes()).collect();
        fs::write(attacker.place(&layout::index_name(ShuffleId(0), MapId(1))), index).unwrap();
        let data = attacker.place(&layout::data_name(ShuffleId(0), MapId(1)));
        File::create(data).unwrap().set_len(LARGE).unwrap();
        let sums = attacker.place(&layout::checksum_name(ShuffleId(0), MapId(1), "ADLER32"));
        fs::write(sums, 7_u64.to_be_bytes()).unwrap();
        attacker
    }

    fn place(&self, name: &str) -> PathBuf {
        let sub = self.dir.join(Placement::of(name, 1, 64).unwrap().sub_dir());
        fs::create_dir_all(&sub).unwrap();
        sub.join(name)
    }

    /// A number below `below`, by xorshift.
    fn below(&mut self, below: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random % below as u64).unwrap()
    }

    pub(crate) fn choose(&mut self) -> usize {
        self.below(ATTACKS.len())
    }

    fn app(&self) -> AppId {
        AppId::new(self.app.as_str())
    }

    /// A connection that waits for nothing long; none where none is to be had.
    fn connection(&self) -> Option<Peer> {
        let socket = TcpStream::connect(self.address).ok()?;
        let mut peer = Peer::on(socket);
        peer.socket.set_read_timeout(Some(HELD)).ok()?;
        peer.socket.set_write_timeout(Some(HELD)).ok()?;
        peer.gives_up = true;
        Some(peer)
    }

    /// A connection that has proven itself; none where there is no place left for one.
    fn peer(&mut self) -> Option<Peer> {
        let mode = if self.below(2) == 0 { GCM } else { CTR };
        let mut peer = self.connection()?;
        peer.handshake(&self.app, SECRET, mode).ok()?;
        Some(peer)
    }

    fn registration(&self, executor: &str, dirs: &[&str]) -> BlockTransferMessage {
        RegisterExecutor {
            app: self.app(),
            executor: ExecutorId::new(executor),
            info: ExecutorShuffleInfo {
                local_dirs: Strings::try_from_iter(dirs).unwrap(),
                sub_dirs_per_local_dir: 64,
                shuffle_manager: "org.apache.spark.shuffle.sort.SortShuffleManager".to_owned(),
            },
        }
        .into()
    }

    fn registered(&mut self) -> Option<Peer> {
        let mut peer = self.peer()?;
        let dir = self.dir.clone();
        peer.rpc(&self.registration(EXECUTOR, &[dir.to_str().unwrap()])).ok()?;
        Some(peer)
    }

    fn open(&self, peer: &mut Peer, blocks: usize) -> Option<StreamHandle> {
        let fetch = FetchShuffleBlocks {
            app: self.app(),
            executor: ExecutorId::new(EXECUTOR),
            shuffle: ShuffleId(0),
            maps: vec![MapId(1)],
            reduces: [vec![ReduceId(0); blocks]].into_iter().collect(),
            batch: false,
        };
        match BlockTransferMessage::decode(peer.rpc(&fetch.into()).ok()?).unwrap() {
            BlockTransferMessage::StreamHandle(handle) => Some(handle),
            other => panic!("{other:?}"),
        }
    }

    fn unread_streams(&mut self) {
        let mut held = Vec::new();
        for _ in 0..3 {
            let Some(mut peer) = self.registered() else { continue };
            for _ in 0..50 {
                if self.open(&mut peer, 50_000).is_none() {
                    break;
                }
            }
            held.push(peer);
        }
        thread::sleep(HELD);
    }

    fn slow_readers(&mut self) {
        let mut held = Vec::new();
        for _ in 0..48 {
            let Some(mut peer) = self.registered() else { continue };
            if let Some(handle) = self.open(&mut peer, 1) {
                say(&mut peer, &Head::ChunkFetchRequest { stream: handle.stream, chunk: ChunkIndex(0) }, &[]);
            }
            held.push(peer);
        }
        thread::sleep(2 * HELD);
    }

    fn trickles(&mut self) {
        let mut head = BytesMut::new();
        Head::RpcRequest { request: RequestId(1) }.encode(30 << 20, &mut head).unwrap();
        let mut held: Vec<_> = (0..4).filter_map(|_| self.registered()).collect();
        held.iter_mut().for_each(|peer| drop(peer.try_say(&head)));
        for _ in 0..10 {
            thread::sleep(HELD / 10);
            held.iter_mut().for_each(|peer| drop(peer.try_say(&[0])));
        }
    }

    fn silent_sockets(&mut self) {
        let held: Vec<_> = (0..600).filter_map(|_| TcpStream::connect(self.address).ok()).collect();
        thread::sleep(HELD);
        drop(held);
    }

    fn connections(&mut self) {
        let held: Vec<_> = (0..200).filter_map(|_| self.peer()).collect();
        thread::sleep(HELD);
        drop(held);
    }

    fn failed_handshakes(&mut self) {
        for n in 0..100 {
            let name = format!("{n}-{}", "x".repeat(self.below(60_000)));
            let secret = std::sync::Arc::new(AppSecret::new("not the secret".to_owned()));
            let Ok((_, challenge)) = Initiator::start(AppId::new(name), secret, &mut OsRandom) else {
                continue;
            };
            let Some(mut stranger) = self.connection() else { continue };
            say(&mut stranger, &Head::RpcRequest { request: RequestId(0) }, &challenge.encode());
        }
    }

    fn diagnoses(&mut self) {
        let diagnosis = DiagnoseCorruption {
            app: self.app(),
            executor: ExecutorId::new(EXECUTOR),
            shuffle: ShuffleId(0),
            map: MapId(1),
            reduce: ReduceId(0),
            checksum: 1,
            algorithm: "ADLER32".to_owned(),
        };
        let body = BlockTransferMessage::from(diagnosis).encode().unwrap();
        let mut held: Vec<_> = (0..16).filter_map(|_| self.registered()).collect();
        held.iter_mut().for_each(|peer| say(peer, &Head::RpcRequest { request: RequestId(1) }, &body));
        thread::sleep(HELD);
    }

    fn removals(&mut self) {
        let names = (0..200_000).map(|n| format!("rdd_{n}_1"));
        let removal = RemoveBlocks {
            app: self.app(),
            executor: ExecutorId::new(EXECUTOR),
            blocks: Strings::try_from_iter(names).unwrap(),
        };
        let body = BlockTransferMessage::from(removal).encode().unwrap();
        let mut held: Vec<_> = (0..4).filter_map(|_| self.registered()).collect();
        held.iter_mut().for_each(|peer| say(peer, &Head::RpcRequest { request: RequestId(1) }, &body));
        thread::sleep(HELD);
    }

    fn registrations(&mut self) {
        let Some(mut peer) = self.peer() else { return };
        let dirs: Vec<String> = (0..60).map(|n| format!("{}/{n}", self.dir.display())).collect();
        let dirs: Vec<&str> = dirs.iter().map(String::as_str).collect();
        for _ in 0..200 {
            let executor = self.below(100_000).to_string();
            if peer.rpc(&self.registration(&executor, &dirs)).is_err_and(|text| text.is_empty()) {
                return;
            }
        }
    }

    fn unread_answers(&mut self) {
        let executors = Strings::try_from_iter(vec![EXECUTOR; 10_000]).unwrap();
        let asked = GetLocalDirsForExecutors { app: self.app(), executors };
        let body = BlockTransferMessage::from(asked).encode().unwrap();
        let mut held: Vec<_> = (0..8).filter_map(|_| self.registered()).collect();
        for _ in 0..10 {
            held.iter_mut().for_each(|peer| say(peer, &Head::RpcRequest { request: RequestId(1) }, &body));
        }
        thread::sleep(HELD);
    }

    fn empty_pushes(&mut self) {
        let Some(mut peer) = self.peer() else { return };
        let dir = self.dir.clone();
        let mut registration = self.registration(EXECUTOR, &[dir.to_str().unwrap()]);
        if let BlockTransferMessage::RegisterExecutor(message) = &mut registration {
            message.info.shuffle_manager = merging_manager(-1);
        }
        if peer.rpc(&registration).is_err() {
            return;
        }
        let shuffle = ShuffleId(i32::try_from(self.below(1000)).unwrap());
        for reduce in 0..2_000 {
            let push = PushBlockStream {
                app: self.app(),
                app_attempt: -1,
                shuffle,
                merge: ShuffleMergeId(0),
                map_index: 0,
                reduce: ReduceId(reduce),
                index: 0,
            };
            let meta = BlockTransferMessage::from(push).encode().unwrap();
            let request = RequestId(i64::from(reduce) + 10);
            say(&mut peer, &Head::UploadStream { request, meta }, &[]);
        }
        thread::sleep(HELD / 4);
    }

    fn noise(&mut self) {
        for _ in 0..100 {
            let mut bytes = vec![0; self.below(2000) + 1];
            bytes.iter_mut().for_each(|byte| *byte = u8::try_from(self.below(256)).unwrap());
            if let Ok(mut stranger) = TcpStream::connect(self.address) {
                // A server that has closed already is as good.
                drop(stranger.write_all(&bytes));
            }
        }
    }
}

/// Sends a message, whether the server still takes it or not.
fn say(peer: &mut Peer, head: &Head, body: &[u8]) {
    drop(peer.try_say(&crate::peer::message(head, body)));
}
