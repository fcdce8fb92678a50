//! A service of ours or of Spark's with Spark's client beside it, so that the same tests run against both.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use serde_json::json;
use tempfile::TempDir;

use crate::{
    modes::{
        Auth, Mode, Service,
        matrix::{modes, other_modes},
        number,
    },
    oracle::Executor,
    ours::Server,
    spark::{Connection, Credentials, Failure, Peer, Store, spark_metrics, spark_service},
};

/// A service of one kind in one mode, a root for executors beneath it, and Spark's client beside it.
#[derive(Debug)]
pub struct Fixture {
    /// Whose service it is.
    pub service: Service,
    /// How client and service talk.
    pub mode: Mode,
    /// Where Spark's client classes run.
    pub peer: Arc<Peer>,
    address: SocketAddr,
    ours: Option<Server>,
    warnings: Mutex<Warnings>,
    root: TempDir,
}

/// What our server is announced to warn of; any other warning fails the test.
#[derive(Clone, Debug, Default)]
struct Warnings {
    expected: Vec<String>,
    allowed: Vec<String>,
}

/// The application that a fixture's clients claim to be.
pub const APP: &str = "app-20260101000000-0001";
/// The secret that it shares with the service.
pub const SECRET: &str = "a secret between the two of them";

impl Fixture {
    /// Starts the service with the secret [`SECRET`].
    pub fn start(service: Service, mode: Mode) -> Self {
        Self::start_with(service, mode, &[])
    }

    /// The same with further keys for the service.
    pub fn start_with(service: Service, mode: Mode, more: &[(&str, &str)]) -> Self {
        Self::start_on(Peer::shared(mode.version), service, mode, more)
    }

    /// The same beside a JVM of the caller's.
    pub fn start_on(peer: Arc<Peer>, service: Service, mode: Mode, more: &[(&str, &str)]) -> Self {
        let root = TempDir::with_prefix("interop-").expect("the temporary directory is writable");
        let secret = mode.authenticates().then_some(SECRET);
        let mut conf = mode.service_conf(service);
        conf.extend(more.iter().map(|(key, value)| (*key, (*value).to_owned())));
        let (address, ours) = match service {
            Service::Ours => {
                let server = Server::start(root.path(), secret, &conf);
                (server.address(), Some(server))
            }
            Service::Spark => (spark_service(&peer, root.path(), secret.unwrap_or_default(), &conf), None),
        };
        let fixture = Self { service, mode, peer, address, ours, warnings: Mutex::default(), root };
        if !mode.authenticates() {
            fixture.allow_warning("reads every registered block");
        }
        if !matches!(mode.labels()[0], "aes-gcm" | "tls") {
            fixture.allow_warning("an application is below the target");
        }
        fixture
    }

    /// Runs a test in every mode of the matrix.
    pub fn each_mode(service: Service, test: impl Fn(&Self)) {
        for mode in modes() {
            eprintln!("in mode {mode} against {service:?}");
            test(&Self::start(service, mode));
        }
    }

    /// Runs a test in every mode of the matrix and in modes of other kinds.
    pub fn each_kind_of_mode(service: Service, test: impl Fn(&Self)) {
        Self::each_mode(service, &test);
        for mode in other_modes(service) {
            eprintln!("in mode {mode} against {service:?}");
            test(&Self::start(service, mode));
        }
    }

    /// Where the service listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The directory that executors may lie beneath.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Our server, where it is ours.
    pub fn ours(&self) -> Option<&Server> {
        self.ours.as_ref()
    }

    /// Announces a text that some warning of our server will hold; without it the test fails.
    pub fn expect_warning(&self, text: &str) {
        self.announced().expected.push(text.to_owned());
    }

    /// Announces a text that warnings of our server may hold.
    pub fn allow_warning(&self, text: &str) {
        self.announced().allowed.push(text.to_owned());
    }

    fn announced(&self) -> MutexGuard<'_, Warnings> {
        self.warnings.lock().expect("no holder panics")
    }

    /// What [`APP`] presents.
    pub fn credentials(&self) -> Credentials {
        Credentials::new(&self.mode, APP, SECRET)
    }

    /// An authenticated connection as [`APP`].
    #[track_caller]
    pub fn connect(&self) -> Connection {
        self.connect_as(&self.credentials())
            .unwrap_or_else(|e| panic!("cannot connect in {}: {e:?}", self.mode))
    }

    /// A connection with credentials of choice.
    pub fn connect_as(&self, credentials: &Credentials) -> Result<Connection, Failure> {
        Connection::open(&self.peer, self.address, credentials)
    }

    /// Spark's block store client as [`APP`].
    pub fn store(&self) -> Store {
        Store::open(&self.peer, self.address, &self.credentials())
    }

    /// An executor with directories beneath the root, registered.
    pub fn executor(&self, exec: &str) -> Executor {
        let executor = Executor::beneath(self.root(), exec);
        self.connect().register(APP, exec, &executor).answer();
        executor
    }

    /// Whether the service is Spark's, of a version before the given one. Ours behaves as the newest.
    pub fn is_spark_before(&self, major: u32, minor: u32) -> bool {
        self.service == Service::Spark && number(self.mode.version) < (major, minor)
    }

    /// Whether the service is one that misses data files of which it would read nothing: Spark's own, where it seals
    /// with SASL or TLS and so reads files itself (`FileSegmentManagedBuffer`, Spark 4.3.0).
    pub fn needs_every_data_file(&self) -> bool {
        let copies = self.mode.tls.is_some() || matches!(self.mode.auth, Auth::SaslConf(_));
        self.service == Service::Spark && copies
    }

    /// What the service says it has sent, in bytes of blocks; ours says too in which mode, and it must be this one.
    pub fn block_bytes_served_as_configured(&self) -> u64 {
        let Some(server) = &self.ours else {
            return self.block_bytes_served();
        };
        let [channel, handshake, cipher] = self.mode.labels();
        let sample =
            format!("{BLOCK_BYTES}{{channel=\"{channel}\",handshake=\"{handshake}\",cipher=\"{cipher}\"}}");
        server.metrics().get(&sample).copied().unwrap_or_default() as u64
    }

    /// What the service says it has sent, in bytes of blocks.
    pub fn block_bytes_served(&self) -> u64 {
        match &self.ours {
            Some(server) => server.metric(BLOCK_BYTES) as u64,
            None => spark_metrics(&self.peer, self.address)["blockTransferRateBytes"],
        }
    }
}

/// The counter of block bytes on our `/metrics`.
pub const BLOCK_BYTES: &str = "sealed_shuffle_block_bytes_total";
/// The counter of blocks on our `/metrics`.
pub const BLOCKS: &str = "sealed_shuffle_blocks_total";

impl Drop for Fixture {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        match self.ours.take() {
            Some(server) => {
                let Warnings { expected, allowed } = self.announced().clone();
                let announced: Vec<&str> = expected.iter().chain(&allowed).map(String::as_str).collect();
                let log = server.finish(&announced);
                for text in expected {
                    assert!(log.iter().any(|line| line.contains(&text)), "nothing was logged of {text:?}");
                }
            }
            None => {
                self.peer.call(json!({"cmd": "service-stop", "port": self.address.port()}));
            }
        }
    }
}

/// A path as messages carry it.
pub fn text(path: &Path) -> String {
    path.to_str().expect("test paths are text").to_owned()
}

/// A directory that no root covers.
pub fn outside() -> PathBuf {
    PathBuf::from("/var/empty/blockmgr-outside")
}

/// Makes the tests of a file twice: in `ours` against our server, in `spark` against Spark's own service.
///
/// After `in every kind of mode` they run in modes other than those of the X25519 handshake, too.
#[macro_export]
macro_rules! against_both {
    (in every kind of mode: $($name:ident),* $(,)?) => {
        mod ours {
            $(#[test] fn $name() {
                use $crate::{fixture::Fixture, modes::Service};
                Fixture::each_kind_of_mode(Service::Ours, super::$name);
            })*
        }
        mod spark {
            $(#[test] fn $name() {
                use $crate::{fixture::Fixture, modes::Service};
                Fixture::each_kind_of_mode(Service::Spark, super::$name);
            })*
        }
    };
    ($($name:ident),* $(,)?) => {
        mod ours {
            $(#[test] fn $name() { $crate::fixture::Fixture::each_mode($crate::modes::Service::Ours, super::$name); })*
        }
        mod spark {
            $(#[test] fn $name() { $crate::fixture::Fixture::each_mode($crate::modes::Service::Spark, super::$name); })*
        }
    };
}
