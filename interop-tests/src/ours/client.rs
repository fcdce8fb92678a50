//! Our client library as the tests use it: a call returns when everything has its outcome.
//!
//! Whether blocks are right is judged by length and hash, the form in which Spark's client reports its own.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::Duration,
};

use sealed_shuffle_client::{
    Address, Client, ClientConfig, ClientError, Fetch, FetchError, Settings, Suspect,
};
use sealed_shuffle_config::{ProcessEnvironment, Sources};
use sealed_shuffle_protocol::{
    ids::{AppId, ExecutorId, MapId, ReduceId, ShuffleId},
    shuffle::{BlockId, CorruptionCause, ExecutorShuffleInfo, Strings},
};
use tokio::runtime::Runtime;

use crate::{
    modes::Mode,
    oracle::{Digest, Executor, SORT_MANAGER, merging_manager},
};

/// Nothing on loopback takes so long, unless it never ends.
const LIMIT: Duration = Duration::from_secs(60);

/// Our client for one server, with a runtime of its own.
#[derive(Debug)]
pub struct OurClient {
    runtime: Runtime,
    client: Client,
    server: Address,
}

impl OurClient {
    /// A client that speaks as `mode` says.
    pub fn new(mode: &Mode, server: SocketAddr, app: &str, secret: &str) -> Self {
        Self::with(mode, server, app, secret, std::convert::identity)
    }

    /// The same with settings of choice. It does not try again: a test wants to see the first failure.
    pub fn with(
        mode: &Mode,
        server: SocketAddr,
        app: &str,
        secret: &str,
        change: impl FnOnce(Settings) -> Settings,
    ) -> Self {
        let settings = change(
            settings(mode, secret).max_retries(0).registration_attempts(1).registration_timeout(LIMIT),
        );
        Self {
            runtime: Runtime::new().expect("a runtime needs a few threads"),
            client: Client::new(settings, AppId::new(app)),
            server: Address::from(server),
        }
    }

    /// Does what has no method of its own here.
    #[track_caller]
    pub fn call<T>(&self, work: impl AsyncFnOnce(&Client, &Address) -> T) -> T {
        self.run(work(&self.client, &self.server))
    }

    /// Registers an executor.
    pub fn register(&self, exec: &str, executor: &Executor) -> Result<(), ClientError> {
        self.register_with(exec, executor, SORT_MANAGER)
    }

    /// The same of attempt 1 of an application that merges.
    pub fn register_merging(&self, exec: &str, executor: &Executor) -> Result<(), ClientError> {
        self.register_with(exec, executor, &merging_manager(1))
    }

    fn register_with(
        &self,
        exec: &str,
        executor: &Executor,
        shuffle_manager: &str,
    ) -> Result<(), ClientError> {
        let info = ExecutorShuffleInfo {
            local_dirs: Strings::try_from_iter(executor.dir_names()).expect("a handful of directories"),
            sub_dirs_per_local_dir: i32::try_from(executor.sub_dirs).expect("a handful"),
            shuffle_manager: shuffle_manager.into(),
        };
        self.run(self.client.register(&self.server, &ExecutorId::new(exec), info))
    }

    /// Fetches to memory: the outcome of each block.
    pub fn fetch(&self, exec: &str, names: &[&str]) -> BTreeMap<String, Result<Digest, FetchError>> {
        let ids = blocks(names);
        self.run(async {
            let fetch = self.client.fetch(&self.server, &ExecutorId::new(exec), ids);
            outcomes(fetch, |bytes| Digest::of(&bytes)).await
        })
    }

    /// Fetches to files of `dir`: the outcome of each block, read again from its file.
    pub fn fetch_to_files(
        &self,
        exec: &str,
        names: &[&str],
        dir: &Path,
    ) -> BTreeMap<String, Result<Digest, FetchError>> {
        let ids = blocks(names);
        self.run(async {
            let executor = ExecutorId::new(exec);
            let fetch = self.client.fetch_to_files(&self.server, &executor, ids, dir, Arc::new(|_| {}));
            outcomes(fetch.expect("the names are file names"), |saved| {
                let bytes = fs::read(&saved.path).expect("what was saved can be read");
                assert_eq!((saved.len, saved.crc32c), (bytes.len() as u64, crc32c::crc32c(&bytes)));
                Digest::of(&bytes)
            })
            .await
        })
    }

    /// Where executors keep their files.
    pub fn local_dirs(&self, execs: &[&str]) -> Result<HashMap<ExecutorId, Vec<String>>, ClientError> {
        let execs: Vec<ExecutorId> = execs.iter().map(|exec| ExecutorId::new(*exec)).collect();
        self.run(self.client.local_dirs(&self.server, &execs))
    }

    /// Removes blocks; says how many are gone.
    pub fn remove(&self, exec: &str, names: &[&str]) -> Result<usize, ClientError> {
        self.run(self.client.remove_blocks(&self.server, &ExecutorId::new(exec), &blocks(names)))
    }

    /// Asks where a block of shuffle 0 went wrong.
    pub fn diagnose(
        &self,
        exec: &str,
        (map, reduce): (i64, i32),
        checksum: u64,
        algorithm: &str,
    ) -> Result<CorruptionCause, ClientError> {
        let suspect = Suspect {
            shuffle: ShuffleId(0),
            map: MapId(map),
            reduce: ReduceId(reduce),
            checksum: checksum.cast_signed(),
            algorithm: algorithm.to_owned(),
        };
        self.run(self.client.diagnose(&self.server, &ExecutorId::new(exec), suspect))
    }

    /// Waits, but not for ever: a hang fails the test.
    #[track_caller]
    fn run<T>(&self, work: impl Future<Output = T>) -> T {
        let limited = async { tokio::time::timeout(LIMIT, work).await };
        self.runtime.block_on(limited).unwrap_or_else(|_| panic!("our client hangs"))
    }
}

/// The settings that the mode's keys make, as of the command line; no file and no variable has a say in them.
pub fn settings(mode: &Mode, secret: &str) -> Settings {
    let mut sources = Sources {
        properties_file: Some("/dev/null".into()),
        conf: mode.our_client_conf().into_iter().map(|(key, value)| format!("{key}={value}")).collect(),
        ..Sources::default()
    };
    if mode.authenticates() {
        sources.conf.push(format!("spark.authenticate.secret={secret}"));
    }
    let config = ClientConfig::from_sources(&sources, &ProcessEnvironment);
    let config = config.unwrap_or_else(|e| panic!("our client cannot be told to speak {mode}: {e}"));
    config.settings().unwrap_or_else(|e| panic!("our client has no TLS for {mode}: {e}"))
}

/// Every block has exactly one outcome.
async fn outcomes<T>(
    mut fetch: Fetch<T>,
    digest: impl Fn(T) -> Digest,
) -> BTreeMap<String, Result<Digest, FetchError>> {
    let mut all = BTreeMap::new();
    while let Some(outcome) = fetch.next().await {
        let (block, outcome) = match outcome {
            Ok((block, kept)) => (block.to_string(), Ok(digest(kept))),
            Err(error) => (error.block.to_string(), Err(error)),
        };
        assert!(all.insert(block.clone(), outcome).is_none(), "{block} has two outcomes");
    }
    all
}

fn blocks(names: &[&str]) -> Vec<BlockId> {
    names.iter().map(|name| name.parse().unwrap_or_else(|e| panic!("{name}: {e}"))).collect()
}
