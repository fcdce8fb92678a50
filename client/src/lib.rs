//! The client: registers executors, fetches, removes and diagnoses blocks, from our server, from Spark's
//! shuffle services and from live executors.
//!
//! ```text
//! Client ─► fetch ─► opening (which message) ─► transfer (one stream) ─► connection ─► session ─► wire
//!        │       └► memory | files (where the bytes go)       ▲
//!        │                                     pool ──────────┤
//!        ├► push (to mergers) ──────────► merge_calls ────────┤
//!        └► merged (a partition, or what to fetch instead) ───┘
//! ```
//!
//! One task a connection; bodies flow through bounded channels, so that a slow reader stops the socket and
//! not the memory. Every wait has a deadline of [`Settings`]. A client never speaks weaker than it was told
//! to. A live executor takes any application id in the handshake and refuses the chunks of a wrong one, and
//! keeps cached blocks locked until they are read or the connection ends.

#![deny(missing_docs)]

mod address;
mod body;
mod calls;
mod connection;
mod error;
mod fetch;
mod files;
mod memory;
mod merge;
mod merge_calls;
mod merged;
mod opening;
mod pool;
mod probe;
mod push;
mod session;
mod settings;
mod transfer;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use sealed_shuffle_transport::seal::Ticket;

// Ours.
pub use self::address::{Address, AddressError};
pub use self::body::BlockBody;
pub use self::calls::Suspect;
pub use self::error::{ClientError, ErrorKind, FetchError};
pub use self::fetch::Fetch;
pub use self::files::{OnProgress, Progress, SavedBlock};
pub use self::merge::Merge;
pub use self::merge_calls::{MergeStatus, PushedBlock, SuspectChunk};
pub use self::merged::{FallBack, FallBackReason, MergedChunk, MergedPart, MergedRead};
pub use self::probe::{
    Judgement, Observation, Peer, Probe, ProbeConfig, ProbeReport, TlsReport, Trust, Verdict, WrongSecret,
};
pub use self::push::{BlockReport, MapOutput, PushOutcome, PushReport, merger_of};
pub use self::settings::{ClientConfig, Security, Settings};

// Of the packages below, so that an embedder names one package.
pub use bytes::Bytes;
pub use roaring::RoaringBitmap;
pub use sealed_shuffle_config::{ConfigError, Environment, ProcessEnvironment, Sources, TlsConfig};
pub use sealed_shuffle_protocol::auth::EngineVersion;
pub use sealed_shuffle_protocol::auth::legacy::{LegacyKdf, LegacySettings};
pub use sealed_shuffle_protocol::channel::{Channel, SecurityLevel, TlsVersion};
pub use sealed_shuffle_protocol::cipher::{SessionCipher, SessionMode};
pub use sealed_shuffle_protocol::ids::{
    AppId, ExecutorId, MapId, MergedPartition, ReduceId, ShuffleId, ShuffleMergeId,
};
pub use sealed_shuffle_protocol::limits::Limits;
pub use sealed_shuffle_protocol::sasl::{Demand, SaslCipher};
pub use sealed_shuffle_protocol::secret::AppSecret;
pub use sealed_shuffle_protocol::shuffle::{
    Bitmap, BlockId, BlockIdError, CorruptionCause, ExecutorShuffleInfo, ReturnCode, Strings,
};
pub use sealed_shuffle_transport::tls::{CertificateSummary, LiveClientTls, MaterialError};

use self::files::Files;
use self::memory::Memory;
use self::pool::Pool;
use self::session::Carrier;

/// A client of one application. Cheap to clone; clones share connections.
///
/// ```no_run
/// use sealed_shuffle_client::{Address, AppId, Client, ExecutorId, Security, Settings};
///
/// # async fn fetch() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::new(Settings::new(Security::Plaintext), AppId::new("app-20261122052236-0000"));
/// let server = Address::parse("node-1:7337", 7337)?;
/// let mut blocks = client.fetch(&server, &ExecutorId::new("0"), vec!["shuffle_0_0_0".parse()?]);
/// while let Some(outcome) = blocks.next().await {
///     let (block, bytes) = outcome?;
///     println!("{block}: {} bytes", bytes.len());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    app: AppId,
    pool: Pool,
    /// Bodies of pushed blocks that connections have taken and not sent.
    pushing: Arc<AtomicU64>,
}

impl Client {
    /// A client that speaks for `app`. Connects when something is asked; needs a tokio runtime then.
    pub fn new(settings: Settings, app: AppId) -> Self {
        Self { inner: Arc::new(Inner { settings, app, pool: Pool::new(), pushing: Arc::default() }) }
    }

    /// Fetches blocks of one executor to memory.
    ///
    /// The stream has one outcome for each block given, in the order of arrival. A block larger than
    /// [`Settings::max_fetch_to_memory`] fails; fetch it to a file.
    pub fn fetch(&self, server: &Address, executor: &ExecutorId, blocks: Vec<BlockId>) -> Fetch {
        let keeper = Memory::new(&self.inner.settings);
        let (server, executor) = (server.clone(), executor.clone());
        fetch::start(Arc::clone(&self.inner), server, executor, blocks, Carrier::Chunk, keeper)
    }

    /// Fetches blocks of one executor to files of `dir`, which must exist, each named like its block.
    ///
    /// Of any size, as streams. A file appears when it is whole and replaces one of the same name. Blocks
    /// whose name is no plain file name, and lists with one block twice, are refused.
    pub fn fetch_to_files(
        &self,
        server: &Address,
        executor: &ExecutorId,
        blocks: Vec<BlockId>,
        dir: impl Into<PathBuf>,
        progress: OnProgress,
    ) -> Result<Fetch<SavedBlock>, ClientError> {
        let mut seen = HashSet::with_capacity(blocks.len());
        for block in &blocks {
            files::file_name(block)?;
            if !seen.insert(block) {
                return Err(ClientError::Duplicate(block.clone()));
            }
        }
        let keeper = Files::new(dir.into(), progress);
        let (server, executor) = (server.clone(), executor.clone());
        Ok(fetch::start(Arc::clone(&self.inner), server, executor, blocks, Carrier::Stream, keeper))
    }

    /// The application that it speaks for.
    pub fn app(&self) -> &AppId {
        &self.inner.app
    }

    /// How it behaves.
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }
}

impl Inner {
    /// Counts a body on its way out.
    fn pushing(&self) -> Ticket {
        Ticket::take(&self.pushing)
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("app", self.app()).finish_non_exhaustive()
    }
}
