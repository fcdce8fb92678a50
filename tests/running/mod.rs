//! A server in this process, a raw peer, and map outputs on disk.
#![allow(dead_code)] // each test crate uses its part
#![allow(clippy::unwrap_used)]

mod peer;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use sealed_shuffle::internals::disk::layout::{self, Placement};
use sealed_shuffle::internals::merge::MemoryStore;
use sealed_shuffle::{ByteCount, ConfiguredSecret, DrainOutcome, Listeners, Server, ServerConfig};
use sealed_shuffle_measure::process::anonymous_memory;
use sealed_shuffle_protocol::cipher::SessionMode;
use sealed_shuffle_protocol::ids::{AppId, ExecutorId, MapId, ReduceId, ShuffleId};
use sealed_shuffle_protocol::shuffle::{
    BlockTransferMessage, ExecutorShuffleInfo, FetchShuffleBlocks, RegisterExecutor, StreamHandle, Strings,
};
use sealed_shuffle_transport::random::random_bytes;
use sealed_shuffle_transport::tls::{LiveClientTls, TlsLayer};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

// Each test crate uses its part.
#[allow(unused_imports)]
pub(crate) use self::peer::{CTR, CTR_2, GCM, PATIENCE, Peer, message};

pub(crate) const APP: &str = "app-1";
pub(crate) const EXECUTOR: &str = "1";
const SUB_DIRS: i32 = 64;

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    /// Where the operator's port is.
    pub(crate) admin: SocketAddr,
    pub(crate) server: Server,
    /// What was merged.
    pub(crate) merged: MemoryStore,
    pub(crate) secret: String,
    /// The executor's directory, below the root.
    pub(crate) dir: PathBuf,
    pub(crate) root: PathBuf,
    pub(crate) runtime: Runtime,
    pub(crate) stop: CancellationToken,
    run: Mutex<Option<tokio::task::JoinHandle<DrainOutcome>>>,
    _temp: TempDir,
}

impl Running {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    /// A server whose configuration differs from the defaults in what `change` says. What it merges stays in memory.
    pub(crate) fn start_with(change: impl FnOnce(&mut ServerConfig)) -> Self {
        Self::start_on(change, async |config, merged| {
            Server::merging_into(config, Arc::new(merged.clone())).await.unwrap()
        })
    }

    /// The same, but for the files of what it merges, which lie beneath its root.
    pub(crate) fn start_on_disk(change: impl FnOnce(&mut ServerConfig)) -> Self {
        Self::start_on(change, async |config, _| Server::from_config(config).await.unwrap())
    }

    fn start_on(
        change: impl FnOnce(&mut ServerConfig),
        make: impl AsyncFnOnce(&ServerConfig, &MemoryStore) -> Server,
    ) -> Self {
        record_panics();
        let temp = tempfile::tempdir().unwrap();
        let base = temp.path().canonicalize().unwrap();
        let (root, state) = (base.join("root"), base.join("state"));
        let dir = root.join("spark-1/blockmgr-1");
        fs::create_dir_all(&dir).unwrap();
        fs::create_dir(&state).unwrap();
        let secret = u128::from_be_bytes(random_bytes().unwrap()).to_string();
        let mut config = ServerConfig::new([root.clone()], state);
        config.recovery = false;
        config.secret = Some(ConfiguredSecret::new(secret.clone()));
        config.memory_budget = ByteCount::mib(16);
        config.worker_threads = 2;
        config.listen = (Ipv4Addr::LOCALHOST, 0).into();
        config.admin.address = Some(config.listen);
        change(&mut config);

        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(config.worker_threads)
            .event_interval(8)
            .enable_all()
            .build()
            .unwrap();
        let merged = MemoryStore::new();
        let server = runtime.block_on(make(&config, &merged));
        let listeners = runtime.block_on(Listeners::bind(&config)).unwrap();
        let (address, admin) = (listeners.address(), listeners.admin_address().unwrap());
        let stop = CancellationToken::new();
        let run = runtime.spawn(listeners.serve(server.clone(), stop.clone().cancelled_owned()));
        let run = Mutex::new(Some(run));
        Self { address, admin, server, merged, secret, dir, root, runtime, stop, run, _temp: temp }
    }

    /// Writes a map output; partition `n` has `lens[n]` bytes. Returns the data file.
    pub(crate) fn write_map(&self, map: i64, lens: &[u64]) -> PathBuf {
        let mut offsets = vec![0u64];
        for len in lens {
            offsets.push(offsets.last().unwrap() + len);
        }
        let index: Vec<u8> = offsets.iter().flat_map(|offset| offset.to_be_bytes()).collect();
        let data = self.place(&layout::data_name(ShuffleId(0), MapId(map)));
        fs::write(&data, content(*offsets.last().unwrap())).unwrap();
        fs::write(self.place(&layout::index_name(ShuffleId(0), MapId(map))), index).unwrap();
        data
    }

    /// A directory of another application, with everything that lies in the executor's by now.
    pub(crate) fn dir_of(&self, app: &str) -> PathBuf {
        let dir = self.root.join(app).join("blockmgr-1");
        for sub in fs::read_dir(&self.dir).unwrap().map(|entry| entry.unwrap().path()) {
            let copy = dir.join(sub.file_name().unwrap());
            fs::create_dir_all(&copy).unwrap();
            for file in fs::read_dir(sub).unwrap().map(|entry| entry.unwrap()) {
                // Another registration of the same application finds it there.
                drop(fs::hard_link(file.path(), copy.join(file.file_name())));
            }
        }
        dir
    }

    /// Writes the index of a map output anew.
    pub(crate) fn write_index(&self, map: i64, offsets: &[u64]) {
        let index: Vec<u8> = offsets.iter().flat_map(|offset| offset.to_be_bytes()).collect();
        fs::write(self.place(&layout::index_name(ShuffleId(0), MapId(map))), index).unwrap();
    }

    /// Writes the checksums of a map output.
    pub(crate) fn write_checksum(&self, map: i64, checksums: &[u64]) {
        let bytes: Vec<u8> = checksums.iter().flat_map(|checksum| checksum.to_be_bytes()).collect();
        fs::write(self.place(&layout::checksum_name(ShuffleId(0), MapId(map), "ADLER32")), bytes).unwrap();
    }

    /// Writes a cached block. Returns its file.
    pub(crate) fn write_rdd(&self, name: &str, content: &[u8]) -> PathBuf {
        let file = self.place(name);
        fs::write(&file, content).unwrap();
        file
    }

    /// Where a file of the executor lies.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.place(name)
    }

    fn place(&self, name: &str) -> PathBuf {
        let sub = self.dir.join(Placement::of(name, 1, SUB_DIRS).unwrap().sub_dir());
        fs::create_dir_all(&sub).unwrap();
        sub.join(name)
    }

    /// A peer that has proven itself.
    pub(crate) fn peer(&self, mode: SessionMode) -> Peer {
        let mut peer = Peer::connect(self.address);
        peer.handshake(APP, &self.secret, mode).unwrap();
        peer
    }

    /// A peer that has proven itself and registered the executor.
    pub(crate) fn registered(&self, mode: SessionMode) -> Peer {
        let mut peer = self.peer(mode);
        peer.rpc(&register(&[self.dir.to_str().unwrap()])).unwrap();
        peer
    }

    /// The value of a sample of the metrics page, 0 where it is not there.
    pub(crate) fn metric(&self, sample: &str) -> u64 {
        let page = self.server.metrics_page().unwrap();
        let line = page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }

    pub(crate) fn closes(&self, reason: &str) -> u64 {
        self.metric(&format!("sealed_shuffle_closes_total{{reason=\"{reason}\"}}"))
    }

    /// Closes of every reason.
    pub(crate) fn all_closes(&self) -> u64 {
        let page = self.server.metrics_page().unwrap();
        let lines = page.lines().filter(|line| line.starts_with("sealed_shuffle_closes_total"));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    pub(crate) fn refusals(&self, reason: &str) -> u64 {
        self.metric(&format!("sealed_shuffle_refusals_total{{reason=\"{reason}\"}}"))
    }

    /// A good client gets its block, nothing has panicked, and nothing is held once all have gone.
    #[track_caller]
    pub(crate) fn assert_serves(&self) {
        self.assert_still_serves();
        eventually("the budget is free again", || self.metric("sealed_shuffle_memory_in_use_bytes") == 0);
    }

    /// The same while others hold on.
    #[track_caller]
    pub(crate) fn assert_still_serves(&self) {
        self.write_map(1_000_000, &[1000, 0, 70_000]);
        let mut peer = self.registered(GCM);
        let stream = peer.open(1_000_000, &[0, 1, 2]).unwrap();
        let lens: Vec<_> = (0..3).map(|n| peer.chunk(stream.stream, n).unwrap().len()).collect();
        assert_eq!(lens, [1000, 0, 70_000]);
        assert_no_panics();
    }

    /// Stops the server and says how it drained.
    pub(crate) fn drained(&self) -> DrainOutcome {
        self.stop.cancel();
        let run = self.run.lock().unwrap().take().unwrap();
        self.runtime.block_on(run).unwrap()
    }
}

/// Bytes that tell where they are.
pub(crate) fn content(len: u64) -> Vec<u8> {
    (0..len).map(|i| ((7 * i + i / 256) % 256) as u8).collect()
}

pub(crate) fn register(dirs: &[&str]) -> BlockTransferMessage {
    RegisterExecutor {
        app: AppId::new(APP),
        executor: ExecutorId::new(EXECUTOR),
        info: ExecutorShuffleInfo {
            local_dirs: Strings::try_from_iter(dirs).unwrap(),
            sub_dirs_per_local_dir: SUB_DIRS,
            shuffle_manager: "org.apache.spark.shuffle.sort.SortShuffleManager".to_owned(),
        },
    }
    .into()
}

pub(crate) fn fetch(app: &str, map: i64, reduces: &[i32]) -> BlockTransferMessage {
    FetchShuffleBlocks {
        app: AppId::new(app),
        executor: ExecutorId::new(EXECUTOR),
        shuffle: ShuffleId(0),
        maps: vec![MapId(map)],
        reduces: [reduces.iter().copied().map(ReduceId)].into_iter().collect(),
        batch: false,
    }
    .into()
}

static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Keeps every panic that begins in the code under test.
fn record_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let place = info.location().map_or_else(String::new, ToString::to_string);
            if !place.starts_with("tests/") {
                PANICS.lock().unwrap().push(info.to_string());
            }
            default(info);
        }));
    });
}

pub(crate) fn assert_no_panics() {
    let panics = PANICS.lock().unwrap();
    assert!(panics.is_empty(), "{panics:?}");
}

impl Peer {
    /// Speaks TLS, from the first byte on.
    pub(crate) fn start_tls(&mut self, tls: &LiveClientTls) {
        let name = ServerName::try_from("localhost").unwrap();
        self.stack.push(Box::new(TlsLayer::client(tls.current(), name, Arc::default()).unwrap()));
        self.say_pending();
        while !self.stack.is_ready() {
            assert!(self.read_some() > 0, "the server closed in the midst of TLS's handshake");
        }
    }

    pub(crate) fn open(&mut self, map: i64, reduces: &[i32]) -> Result<StreamHandle, String> {
        let answer = self.rpc(&fetch(APP, map, reduces))?;
        match BlockTransferMessage::decode(answer).unwrap() {
            BlockTransferMessage::StreamHandle(handle) => Ok(handle),
            other => panic!("{other:?}"),
        }
    }
}

/// Anonymous resident memory of this process.
pub(crate) fn resident_anonymous() -> u64 {
    anonymous_memory(std::process::id()).unwrap()
}

pub(crate) fn truncate(path: &Path, len: u64) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
}
