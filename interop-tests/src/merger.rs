//! Either service as a merger, and the files of ours; ours as a service whose servers come and go.

use std::{
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU16, Ordering},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    fixture::{BLOCK_BYTES, Fixture, SECRET},
    machine::files_named,
    modes::{Mode, Service},
    ours::Server,
};

/// A service that merges; the state of ours lies in a directory of its own.
#[derive(Debug)]
pub struct Merger {
    /// The service.
    pub f: Fixture,
    /// Keys, and what survives a restart.
    pub state: TempDir,
}

impl Merger {
    /// Starts ours with chunks of at least `min_chunk`.
    pub fn start(mode: Mode, min_chunk: &str) -> Self {
        Self::start_of(Service::Ours, mode, min_chunk, &[])
    }

    /// Starts either, with further keys. Spark's own merger is the handler of its YARN service, RemoteBlockPushResolver
    /// behind ExternalBlockHandler, of the client's release.
    pub fn start_of(service: Service, mode: Mode, min_chunk: &str, more: &[(&str, &str)]) -> Self {
        let state = TempDir::with_prefix("interop-state-").expect("the temporary directory is writable");
        let conf = conf(state.path(), min_chunk);
        let conf = conf.iter().map(|(key, value)| (*key, value.as_str()));
        let all: Vec<(&str, &str)> = conf.chain(more.iter().copied()).collect();
        let f = Fixture::start_with(service, mode, &all);
        if service == Service::Ours {
            f.allow_warning("on the same file system");
            f.expect_warning("made the key file");
        }
        Self { f, state }
    }

    /// The server.
    pub fn server(&self) -> &Server {
        self.f.ours().expect("it is ours")
    }

    /// A counter of merging, by its name without the words that all of them have.
    pub fn count(&self, name: &str) -> f64 {
        self.server().metric(&format!("sealed_shuffle_merge_{name}_total"))
    }
}

/// The handler of pushed blocks that switches merging on, in Spark and in ours.
pub const PUSH_RESOLVER: (&str, &str) = (
    "spark.shuffle.push.server.mergedShuffleFileManagerImpl",
    "org.apache.spark.network.shuffle.RemoteBlockPushResolver",
);

/// The keys that switch merging on.
pub fn conf(state: &Path, min_chunk: &str) -> [(&'static str, String); 3] {
    [
        (PUSH_RESOLVER.0, PUSH_RESOLVER.1.to_owned()),
        ("spark.shuffle.push.server.minChunkSizeInMergedShuffleFile", min_chunk.to_owned()),
        ("spark.sealed.state.dir", state.to_str().expect("test paths are text").to_owned()),
    ]
}

/// All files of merged partitions beneath a directory: what the service wrote, and not the executors.
pub fn merged_files(root: &Path) -> Vec<PathBuf> {
    files_named(root, |name| name.starts_with("shuffleMerged_"))
}

/// What servers of ours have in common that follow each other: port, roots, state and configuration.
#[derive(Debug)]
pub struct Lasting {
    port: u16,
    root: PathBuf,
    conf: Vec<(&'static str, String)>,
}

/// What each of them warns of by itself: its start, and the first one of a new key file.
pub const OF_EACH_START: [&str; 3] =
    ["on the same file system", "made the key file", "an application is below the target"];

/// A wave takes a second or two.
const SERVED_LIMIT: Duration = Duration::from_secs(60);

impl Lasting {
    /// Servers that merge in chunks of 2 KiB or more.
    pub fn new(mode: &Mode, root: &Path, state: &Path) -> Self {
        let port = port_for_long();
        let mut all = mode.service_conf(Service::Ours);
        all.push(("spark.shuffle.service.port", port.to_string()));
        all.extend(conf(state, "2k"));
        Self { port, root: root.to_owned(), conf: all }
    }

    /// With one more key; of several values of one key the last wins.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.conf.retain(|(known, _)| *known != key);
        self.conf.push((key, value.into()));
        self
    }

    /// Where they listen.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts one.
    pub fn start(&self) -> Server {
        Server::launch(&mut self.command())
    }

    /// Starts one that takes the place of the one that runs.
    pub fn succeed(&self) -> Server {
        Server::launch(self.command().arg("--takeover"))
    }

    fn command(&self) -> Command {
        let file = self.conf.iter().any(|(key, _)| *key == "spark.sealed.auth.secret-file");
        Server::command(&self.root, (!file).then_some(SECRET), &self.conf)
    }
}

/// Waits until blocks have gone through this server, and where they are merged, merged ones.
#[track_caller]
pub fn await_served(server: &Server, merged: bool) {
    let deadline = Instant::now() + SERVED_LIMIT;
    // Families with labels have no sample before their first count.
    let counts = |family: &str| {
        server.metrics().into_iter().any(|(name, value)| name.starts_with(family) && value > 0.0)
    };
    while !counts(BLOCK_BYTES) || merged && !counts("sealed_shuffle_merge_read_chunks_total") {
        assert!(Instant::now() < deadline, "the blocks go another way: {:#?}", server.metrics());
        thread::sleep(Duration::from_millis(50));
    }
}

/// A port that no socket is given by itself, so that it is free again after each end: clients that try to reach a
/// server that is away would take one of the others sooner or later, and meet themselves there.
fn port_for_long() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + u16::try_from(std::process::id() % 5000).expect("below 5000");
    (first..30_000)
        .map(|port| port + NEXT.fetch_add(1, Ordering::SeqCst))
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("some port is free")
}
