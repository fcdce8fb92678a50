//! A server with three disks, of which the first is faulty, and applications with directories on some of them.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sealed_shuffle::internals::disk::layout::{self, Placement};
use sealed_shuffle::{
    ByteCount, ConfiguredSecret, DrainOutcome, Listeners, MergeConfig, Server, ServerConfig,
};
use sealed_shuffle_faulty_disk::{FaultyDisk, mount_memory, unmount};
use sealed_shuffle_protocol::ids::{MapId, ShuffleId};
use sealed_shuffle_transport::random::random_bytes;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::running::{GCM, Peer, content};

pub(crate) const SUB_DIRS: i32 = 64;

/// What the first disk is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum First {
    /// A file system in user space.
    Faulty,
    /// One in memory of so many bytes.
    Memory(u64),
    /// A directory like the others.
    Plain,
    /// Nothing yet.
    Missing,
}

/// Three disks.
pub(crate) struct Disks {
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) faulty: Option<FaultyDisk>,
    mounted: Option<PathBuf>,
    pub(crate) state: PathBuf,
    _temp: TempDir,
}

impl Disks {
    /// `None` where the machine cannot; it says why.
    pub(crate) fn make(first: First) -> Option<Self> {
        let temp = tempfile::tempdir().unwrap();
        let base = temp.path().canonicalize().unwrap();
        let paths: Vec<PathBuf> = (0..3).map(|n| base.join(format!("mnt/d{n}"))).collect();
        paths.iter().for_each(|path| fs::create_dir_all(path).unwrap());
        let (backing, state) = (base.join("backing"), base.join("state"));
        fs::create_dir(&backing).unwrap();
        fs::create_dir(&state).unwrap();
        let (mut faulty, mut mounted) = (None, None);
        let made = match first {
            First::Faulty => FaultyDisk::mount(&backing, &paths[0]).map(|disk| faulty = Some(disk)),
            First::Memory(size) => mount_memory(&paths[0], size).map(|()| mounted = Some(paths[0].clone())),
            First::Missing => {
                fs::remove_dir(&paths[0]).unwrap();
                Ok(())
            }
            First::Plain => Ok(()),
        };
        match made {
            Ok(()) => Some(Self { paths, faulty, mounted, state, _temp: temp }),
            Err(reason) => {
                skipped(&reason);
                None
            }
        }
    }

    pub(crate) fn fault(&self) -> &FaultyDisk {
        self.faulty.as_ref().unwrap()
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        if let Some(path) = &self.mounted {
            unmount(path);
        }
    }
}

/// Says that a test did not run. `SEALED_SHUFFLE_FAULTY_DISKS=required` makes a failure of it.
pub(crate) fn skipped(reason: &str) {
    println!("SKIPPED: {reason}");
    let required = std::env::var("SEALED_SHUFFLE_FAULTY_DISKS").is_ok_and(|value| value == "required");
    assert!(!required, "{reason}");
}

/// A server on them. It ends before they do.
pub(crate) struct Machine {
    process: Process,
    pub(crate) server: Server,
    pub(crate) address: SocketAddr,
    admin: SocketAddr,
    pub(crate) secret: String,
    pub(crate) disks: Disks,
}

/// What serves.
struct Process {
    stop: CancellationToken,
    runtime: Option<Runtime>,
    run: Option<JoinHandle<DrainOutcome>>,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// How long a call of a disk may take here.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

impl Machine {
    pub(crate) fn start(first: First) -> Option<Self> {
        Disks::make(first).map(|disks| Self::on(disks, |_| {}))
    }

    pub(crate) fn on(disks: Disks, change: impl FnOnce(&mut ServerConfig)) -> Self {
        let secret = u128::from_be_bytes(random_bytes().unwrap()).to_string();
        let mut config = ServerConfig::new(disks.paths.clone(), disks.state.clone());
        config.secret = Some(ConfiguredSecret::new(secret.clone()));
        config.memory_budget = ByteCount::mib(64);
        config.listen = (Ipv4Addr::LOCALHOST, 0).into();
        config.admin.address = Some(config.listen);
        config.admin.socket = None;
        config.disk_timeout = PATIENCE;
        config.merging = Some(MergeConfig { min_chunk: ByteCount::new(16), ..MergeConfig::default() });
        change(&mut config);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(Server::blocking_threads(&config))
            .enable_all()
            .build()
            .unwrap();
        let server = runtime.block_on(Server::from_config(&config)).unwrap();
        let listeners = runtime.block_on(Listeners::bind(&config)).unwrap();
        let (address, admin) = (listeners.address(), listeners.admin_address().unwrap());
        let stop = CancellationToken::new();
        let run = runtime.spawn(listeners.serve(server.clone(), stop.clone().cancelled_owned()));
        let process = Process { stop, runtime: Some(runtime), run: Some(run) };
        Self { process, server, address, admin, secret, disks }
    }

    /// Stops the server; the disks stay.
    pub(crate) fn stop(self) -> Disks {
        let Self { mut process, disks, .. } = self;
        if let Some(faulty) = &disks.faulty {
            faulty.heal();
        }
        process.stop.cancel();
        if let (Some(runtime), Some(run)) = (process.runtime.take(), process.run.take()) {
            runtime.block_on(run).unwrap();
            // It lets go of its files before others open them.
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
        disks
    }

    pub(crate) fn peer(&self, app: &App) -> Peer {
        let mut peer = Peer::connect(self.address);
        peer.handshake(&app.name, &self.secret, GCM).unwrap();
        peer
    }

    /// An application with a directory on each of these disks, not registered.
    pub(crate) fn app(&self, name: &str, on: &[usize]) -> App {
        App::new(name, on.iter().map(|n| self.disks.paths[*n].as_path()))
    }

    /// Asks the operator's port: status and body.
    pub(crate) fn ask(&self, path: &str) -> (u16, String) {
        let mut socket = TcpStream::connect(self.admin).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(socket, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    /// The health of the first disk, as the metrics show it.
    pub(crate) fn health(&self) -> String {
        let page = self.server.metrics_page().unwrap();
        let begin =
            format!("sealed_shuffle_disk_health{{disk=\"{}\",health=\"", self.disks.paths[0].display());
        let of = page.lines().filter_map(|line| line.strip_prefix(&begin));
        of.filter_map(|line| line.strip_suffix("\"} 1")).next().unwrap_or("unknown").to_owned()
    }

    #[track_caller]
    pub(crate) fn becomes(&self, health: &str) {
        crate::running::eventually(health, || self.health() == health);
    }
}

/// An application and its directories.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) name: String,
    pub(crate) dirs: Vec<PathBuf>,
}

impl App {
    pub(crate) fn new<'a>(name: &str, disks: impl IntoIterator<Item = &'a Path>) -> Self {
        let dirs = disks.into_iter().map(|disk| disk.join(name).join("blockmgr-1"));
        Self { name: name.to_owned(), dirs: dirs.collect() }
    }

    /// Makes the directories as an executor does.
    pub(crate) fn make(&self) {
        for dir in &self.dirs {
            fs::create_dir_all(dir).unwrap();
            let merges = dir.parent().unwrap().join("merge_manager_1");
            (0..SUB_DIRS).for_each(|n| fs::create_dir_all(merges.join(format!("{n:02x}"))).unwrap());
        }
    }

    pub(crate) fn texts(&self) -> Vec<&str> {
        self.dirs.iter().map(|dir| dir.to_str().unwrap()).collect()
    }

    /// Which of its directories a file lies in.
    pub(crate) fn dir_of(&self, name: &str) -> usize {
        Placement::of(name, self.dirs.len(), SUB_DIRS).unwrap().dir
    }

    /// The first map task from `from` on whose files all lie in that directory.
    pub(crate) fn map_in(&self, dir: usize, from: i64) -> i64 {
        let names = |map| {
            let (shuffle, map) = (ShuffleId(0), MapId(map));
            [layout::index_name(shuffle, map), layout::data_name(shuffle, map)]
        };
        (from..from + 1000).find(|map| names(*map).iter().all(|name| self.dir_of(name) == dir)).unwrap()
    }

    /// The first partition from `from` on whose merged blocks lie in that directory.
    pub(crate) fn reduce_in(&self, dir: usize, shuffle: i32, from: i32) -> i32 {
        (from..from + 1000).find(|reduce| self.merged_in(shuffle, *reduce)[0] == dir).unwrap()
    }

    /// The first partition from `from` on of which no merged file lies in that directory.
    pub(crate) fn reduce_outside(&self, dir: usize, shuffle: i32, from: i32) -> i32 {
        (from..from + 1000).find(|reduce| !self.merged_in(shuffle, *reduce).contains(&dir)).unwrap()
    }

    /// The directories of the three files of a merged partition.
    fn merged_in(&self, shuffle: i32, reduce: i32) -> [usize; 3] {
        ["data", "index", "meta"]
            .map(|kind| self.dir_of(&format!("shuffleMerged_{}_{shuffle}_0_{reduce}.{kind}", self.name)))
    }

    /// Writes a map output of one partition.
    pub(crate) fn write_map(&self, map: i64, len: u64) {
        let (shuffle, map) = (ShuffleId(0), MapId(map));
        let index: Vec<u8> = [0, len].iter().flat_map(|offset| offset.to_be_bytes()).collect();
        for (name, bytes) in
            [(layout::data_name(shuffle, map), content(len)), (layout::index_name(shuffle, map), index)]
        {
            let place = Placement::of(&name, self.dirs.len(), SUB_DIRS).unwrap();
            let sub = self.dirs[place.dir].join(place.sub_dir());
            fs::create_dir_all(&sub).unwrap();
            fs::write(sub.join(name), bytes).unwrap();
        }
    }
}

/// How long something took.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    (work(), began.elapsed())
}
