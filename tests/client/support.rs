//! A server with a synthetic shuffle, and clients for it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sealed_shuffle::internals::disk::layout::{Placement, data_name, index_name};
use sealed_shuffle::{ConfiguredSecret, Listeners, Policy, Server, ServerConfig};
use sealed_shuffle_client::{Address, Client, ClientError, Fetch, FetchError, Security, Settings};
use sealed_shuffle_protocol::auth::EngineVersion;
use sealed_shuffle_protocol::auth::legacy::LegacySettings;
use sealed_shuffle_protocol::channel::SecurityLevel;
use sealed_shuffle_protocol::cipher::SessionCipher;
use sealed_shuffle_protocol::ids::{AppId, ExecutorId, MapId, ShuffleId};
use sealed_shuffle_protocol::sasl::{Demand, SaslCipher};
use sealed_shuffle_protocol::secret::AppSecret;
use sealed_shuffle_protocol::shuffle::{BlockId, ExecutorShuffleInfo, Strings};
use tempfile::TempDir;
use tokio::task::JoinHandle;

pub(crate) const SECRET: &str = "correct horse battery staple";
pub(crate) const SORT_MANAGER: &str = "org.apache.spark.shuffle.sort.SortShuffleManager";

/// Every mode that a client can be configured for.
pub(crate) fn modes() -> Vec<Security> {
    let mut modes = vec![Security::Plaintext];
    for version in [EngineVersion::V1, EngineVersion::V2] {
        for cipher in [SessionCipher::Ctr, SessionCipher::Gcm] {
            modes.push(Security::aes(AppSecret::new(SECRET.into()), version, cipher));
        }
    }
    for key_bits in [128, 256] {
        let settings = LegacySettings { key_bits, ..LegacySettings::default() };
        modes.push(Security::Legacy { secret: Arc::new(AppSecret::new(SECRET.into())), settings });
    }
    modes.push(sasl(Demand::Auth));
    modes.extend(SaslCipher::ALL.map(|cipher| sasl(Demand::Conf(vec![cipher]))));
    modes
}

pub(crate) fn sasl(wanted: Demand) -> Security {
    Security::Sasl { secret: Arc::new(AppSecret::new(SECRET.into())), wanted, max_block: 64 << 10 }
}

pub(crate) fn gcm() -> Security {
    Security::aes(AppSecret::new(SECRET.into()), EngineVersion::V2, SessionCipher::Gcm)
}

/// Settings that fail fast.
pub(crate) fn settings(security: Security) -> Settings {
    Settings::new(security).max_retries(0).retry_wait(Duration::from_millis(10))
}

pub(crate) fn client(security: Security) -> Client {
    Client::new(settings(security), app())
}

pub(crate) fn app() -> AppId {
    AppId::new("app-1")
}

pub(crate) fn executor() -> ExecutorId {
    ExecutorId::new("1")
}

pub(crate) fn blocks(names: &[&str]) -> Vec<BlockId> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

/// A running server over a directory of its own.
pub(crate) struct Running {
    pub(crate) address: Address,
    pub(crate) root: TempDir,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn start(security: &Security) -> Self {
        Self::start_at(security, tempfile::tempdir().unwrap(), "127.0.0.1:0").await
    }

    pub(crate) async fn start_at(security: &Security, root: TempDir, address: &str) -> Self {
        let mut config = server_config(security, &root);
        config.listen = address.parse().unwrap();
        Self::start_with(&config, root).await
    }

    pub(crate) async fn start_with(config: &ServerConfig, root: TempDir) -> Self {
        let server = Server::from_config(config).await.unwrap();
        let listeners = Listeners::bind(config).await.unwrap();
        let address = Address::from(listeners.address());
        let task = tokio::spawn(async move {
            listeners.serve(server, std::future::pending()).await;
        });
        Self { address, root, task }
    }

    /// An executor's directory with one map output.
    pub(crate) fn write_map(&self, shuffle: i32, map: i64, partitions: &[&[u8]]) {
        let (shuffle, map) = (ShuffleId(shuffle), MapId(map));
        let mut offsets = 0_u64.to_be_bytes().to_vec();
        let mut end = 0;
        for partition in partitions {
            end += partition.len() as u64;
            offsets.extend_from_slice(&end.to_be_bytes());
        }
        self.write(&data_name(shuffle, map), &partitions.concat());
        self.write(&index_name(shuffle, map), &offsets);
    }

    /// A file where Spark would put it.
    pub(crate) fn write(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        let place = Placement::of(name, 1, 64).unwrap();
        self.local_dir().join(place.sub_dir()).join(name)
    }

    pub(crate) fn local_dir(&self) -> PathBuf {
        let dir = self.root.path().join("blockmgr-1");
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    pub(crate) fn info(&self) -> ExecutorShuffleInfo {
        ExecutorShuffleInfo {
            local_dirs: Strings::try_from_iter([self.local_dir().to_str().unwrap()]).unwrap(),
            sub_dirs_per_local_dir: 64,
            shuffle_manager: SORT_MANAGER.into(),
        }
    }

    pub(crate) async fn register(&self, client: &Client) -> Result<(), ClientError> {
        client.register(&self.address, &executor(), self.info()).await
    }

    /// Stops it in the midst of whatever it does, and hands the directory on.
    pub(crate) async fn kill(self) -> TempDir {
        self.task.abort();
        drop(self.task.await);
        self.root
    }
}

/// What a server is told that serves this mode.
pub(crate) fn server_config(security: &Security, root: &TempDir) -> ServerConfig {
    let plaintext = matches!(security, Security::Plaintext);
    let minimum = match security {
        Security::Aes { .. } => SecurityLevel::AesCtr,
        _ => SecurityLevel::Plaintext,
    };
    let mut config = ServerConfig::new([root.path().to_owned()], root.path());
    config.recovery = false;
    config.listen = (Ipv4Addr::LOCALHOST, 0).into();
    config.secret = (!plaintext).then(|| ConfiguredSecret::new(SECRET));
    config.policy = Policy { anonymous: plaintext, ..Policy::at_least(minimum) };
    config.sasl.ciphers = SaslCipher::ALL.to_vec();
    config
}

/// Everything that a fetch brings, sorted by name.
pub(crate) async fn all(mut fetch: Fetch) -> (Vec<(String, Vec<u8>)>, Vec<FetchError>) {
    let (mut found, mut failed) = (Vec::new(), Vec::new());
    while let Some(outcome) = fetch.next().await {
        match outcome {
            Ok((block, bytes)) => found.push((block.to_string(), bytes.to_vec())),
            Err(error) => failed.push(error),
        }
    }
    found.sort();
    (found, failed)
}

pub(crate) fn socket_address(address: &Address) -> SocketAddr {
    format!("{}:{}", address.host(), address.port()).parse().unwrap()
}
