//! The server: what requests mean, and the life of the process around them.
//!
//! ```text
//! bind ─► accept ─► session per connection ─► disk
//!            │             ▲
//!      places, drain   identity, channel, streams (all of one connection)
//! ```
//!
//! One task a connection, requests in order. Everything that outlives a connection is in `Shared`.

mod admission;
mod broken_gcm;
mod conversation;
mod ending;
mod handshake;
mod housekeeping;
mod merging;
mod recovery;
mod refusals;
mod reload;
mod repeats;
mod requests;
mod session;
mod streams;
mod uploads;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use sealed_shuffle_config::{Policy, SaslSettings, ServerConfig};
use sealed_shuffle_protocol::auth::legacy::LegacyLimits;
use sealed_shuffle_protocol::channel::SecurityLevel;
use sealed_shuffle_protocol::connection::{Blame, CloseReason, ServerConnection, ServerSettings};
use sealed_shuffle_protocol::crypto::random::RandomError;
use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::limits::Limits;
use sealed_shuffle_transport::lane::{Lane, OnLane};
use sealed_shuffle_transport::random::random_bytes;
use sealed_shuffle_transport::seal::{Budget, SegmentPool, Stack};
use sealed_shuffle_transport::tls::{LiveServerTls, MaterialError};
use sealed_shuffle_transport::wire::{CountingSocket, WireSettings, accept_loop, drive};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

pub use crate::applications::ApplicationLimits;
pub use crate::keys::Secrets;

use crate::applications::Applications;
use crate::disk::{BlockStore, DiskLimits, RegistryLimits, RootError, Roots};
use crate::keys::DirectoryError;
use crate::keys::envelope::{EnvelopeKeys, KeyError};
use crate::merge::Merger;
use crate::state::{State, StateError};
use crate::telemetry::{Metrics, Snapshot};

use self::repeats::{Loudness, Repeats};
use self::session::Session;
use self::streams::StreamIds;

/// How a server behaves, beyond its port and its roots.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Every number that a peer can press on.
    pub limits: Limits,
    /// Who is served (`spark.sealed.security.*`, `spark.authenticate=false`), until a reload.
    pub policy: Policy,
    /// The table of applications (`spark.sealed.applications.max`).
    pub applications: ApplicationLimits,
    /// Key and certificates for TLS, until a reload; `None` where it is not spoken (`spark.ssl.rpc.enabled`).
    pub tls: Option<Arc<LiveServerTls>>,
    /// What of SASL is served, where the policy lets it in.
    pub sasl: SaslSettings,
    /// What a client of the PBKDF2 handshake may make us compute (`spark.sealed.limits.legacy-iterations`).
    pub legacy_limits: LegacyLimits,
    /// Connections at once; further ones wait in the backlog (`spark.sealed.connections.max`).
    pub connections: usize,
    /// Chunks in transfer over all connections (`spark.shuffle.maxChunksBeingTransferred`).
    pub max_chunks: u64,
    /// From accepting to a proven identity (`spark.sealed.handshake.timeout`).
    pub handshake_timeout: Duration,
    /// Without a byte in either direction (`spark.shuffle.io.connectionTimeout`).
    pub idle_timeout: Duration,
    /// Without the peer taking a byte (`spark.sealed.stalled.timeout`).
    pub stalled_timeout: Duration,
    /// What open transfers get to finish when the server stops (`spark.sealed.drain.timeout`).
    pub drain_timeout: Duration,
}

/// Stands for a deadline that was switched off.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Threads for slow ciphers.
const SLOW_LANE: usize = 2;

/// Threads for the key derivations of the older handshake, which strangers may ask for: they hold up each other alone.
const DERIVATIONS: usize = 1;

/// Threads that look at keys and certificates of TLS.
const MATERIAL: usize = 1;

/// Threads for what operators tell.
const TOLD: usize = 4;

/// Threads for what has a lane of its own elsewhere (secrets, keys, recovery store, cluster managers).
const OTHERS: usize = 16;

/// The threads of all lanes together: what the runtime's blocking pool must have room for. Threads are made when they
/// are needed.
pub fn blocking_threads(config: &ServerConfig) -> usize {
    // One lane a root, and the one for what concerns several.
    let disks = (config.roots.paths.len() + 1) * config.disk_threads;
    disks + SLOW_LANE + DERIVATIONS + MATERIAL + TOLD + OTHERS
}

/// Segments kept for the next transfer while nobody uses them.
const KEPT_SEGMENTS: usize = 32;

/// Why a server cannot be set up. The remedy is in the text.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// A root cannot be used.
    #[error(transparent)]
    Root(#[from] RootError),
    /// Key or certificates of TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] MaterialError),
    /// The directory of secrets cannot be used.
    #[error(transparent)]
    Secrets(#[from] DirectoryError),
    /// The keys that seal what is merged cannot be had.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The recovery store does not open.
    #[error(transparent)]
    State(#[from] StateError),
    /// What was recovered could not be taken up.
    #[error("what was known before the restart could not be taken up: {0}")]
    Recovery(JoinError),
    /// The system gives no randomness.
    #[error("no randomness for stream ids: {0}")]
    Random(#[from] RandomError),
}

impl StartError {
    /// Whether the next start fails, too, unless somebody changes something.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::State(error) => error.is_configuration(),
            Self::Keys(error) => !error.is_retryable(),
            Self::Random(_) | Self::Recovery(_) => false,
            Self::Root(_) | Self::Tls(_) | Self::Secrets(_) => true,
        }
    }
}

/// The text of a failed request, for the peer.
type Failure = String;

/// What all connections share.
pub(crate) struct Shared {
    settings: Settings,
    policy: ArcSwap<Policy>,
    tls: ArcSwapOption<LiveServerTls>,
    /// All that lives as long as an application.
    applications: Applications,
    /// Where blocks are looked up.
    store: Arc<BlockStore>,
    /// Push-based merging; none where it is not switched on.
    merger: Option<Arc<Merger>>,
    pool: SegmentPool,
    metrics: Arc<Metrics>,
    /// Lines of the log that peers cause.
    repeats: Repeats,
    stream_ids: StreamIds,
    /// Where slow ciphers seal.
    slow_lane: Lane,
    /// Where keys are derived for peers that have proven nothing yet.
    derivations: Lane,
    /// Where keys and certificates of TLS are looked at.
    material: Lane,
    /// What operators tell.
    told: Lane,
    draining: CancellationToken,
}

impl Shared {
    /// The key and certificates that connections are shown from now on.
    fn tls(&self) -> Option<Arc<LiveServerTls>> {
        self.tls.load_full()
    }

    /// The policy that connections are judged by from now on.
    fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }
}

/// A server that serves as long as [`Server::run`] is polled.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DrainOutcome {
    /// Connections that were cut at the deadline.
    pub cut: usize,
}

impl Server {
    /// A server over `store`. Fails only where the system gives no randomness.
    pub fn new(
        settings: Settings,
        secrets: Secrets,
        store: Arc<BlockStore>,
        pool: SegmentPool,
        metrics: Arc<Metrics>,
    ) -> Result<Self, RandomError> {
        Self::with_merger(settings, secrets, store, None, pool, metrics)
    }

    /// The same with push-based merging.
    pub fn with_merger(
        settings: Settings,
        secrets: Secrets,
        store: Arc<BlockStore>,
        merger: Option<Arc<Merger>>,
        pool: SegmentPool,
        metrics: Arc<Metrics>,
    ) -> Result<Self, RandomError> {
        Self::remembering(settings, secrets, store, (merger, None), pool, metrics)
    }

    fn remembering(
        settings: Settings,
        secrets: Secrets,
        store: Arc<BlockStore>,
        (merger, state): (Option<Arc<Merger>>, Option<Arc<State>>),
        pool: SegmentPool,
        metrics: Arc<Metrics>,
    ) -> Result<Self, RandomError> {
        let stream_ids = StreamIds::starting_at(random_bytes()?, pool.budget().total() / 2);
        let tls = ArcSwapOption::new(settings.tls.clone());
        let policy = ArcSwap::from_pointee(settings.policy.clone());
        let applications = Applications::new(
            settings.applications,
            secrets,
            Arc::clone(&store),
            merger.clone(),
            state,
            Arc::clone(&metrics),
        );
        let shared = Shared {
            settings,
            policy,
            tls,
            applications,
            store,
            merger,
            pool,
            metrics,
            repeats: Repeats::default(),
            stream_ids,
            slow_lane: Lane::new(SLOW_LANE),
            derivations: Lane::new(DERIVATIONS),
            material: Lane::new(MATERIAL),
            told: Lane::new(TOLD),
            draining: CancellationToken::new(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// What [`Server::from_config`] would refuse, as far as it can be told without making or asking anything.
    pub fn check(config: &ServerConfig) -> Result<(), StartError> {
        reload::tls(config)?;
        reload::source(config)?;
        Roots::open(&config.roots.paths)?;
        Ok(())
    }

    /// A server as it was configured: opens the roots, takes the secret, sets up the memory, has the keys at hand.
    pub async fn from_config(config: &ServerConfig) -> Result<Self, StartError> {
        let timeouts = &config.timeouts;
        let tls = reload::tls(config)?;
        let settings = Settings {
            limits: config.limits.clone(),
            policy: config.policy.clone(),
            applications: ApplicationLimits { rows: config.max_applications, idle_ttl: config.app_idle_ttl },
            tls,
            sasl: config.sasl.clone(),
            legacy_limits: LegacyLimits { iterations: config.max_legacy_iterations },
            connections: config.max_connections,
            max_chunks: config.max_chunks_being_transferred,
            handshake_timeout: timeouts.handshake,
            idle_timeout: timeouts.idle.unwrap_or(NEVER),
            stalled_timeout: timeouts.stalled.unwrap_or(NEVER),
            drain_timeout: timeouts.drain,
        };
        let source = reload::source(config)?;
        let secrets = match &config.handover {
            Some(handover) => Secrets::handed_over_or(source, handover.wait),
            None => Secrets::from_source(source),
        };
        let roots = Roots::open(&config.roots.paths)?.with_threads(config.disk_threads);
        let registry = RegistryLimits {
            executors: config.max_executors,
            idle_ttl: config.app_idle_ttl,
            ..Default::default()
        };
        let limits = DiskLimits {
            index_cache_bytes: config.index_cache_size.as_u64(),
            open_files: config.max_open_files - merging::open_files(config),
            registry,
            ..DiskLimits::default()
        };
        let budget = Budget::new(config.memory_budget.as_u64() - merging::deferred_bytes(config));
        let pool = SegmentPool::new(budget, config.segment_size.as_usize(), KEPT_SEGMENTS);
        let store = Arc::new(BlockStore::new(roots, limits));
        let metrics = Arc::new(Metrics::new());
        let keys = match config.recovery || config.merging.is_some() {
            true => Some(EnvelopeKeys::from_config(config, metrics.key_calls.clone()).await?),
            false => None,
        };
        let (state, recovered) = match keys.as_ref().filter(|_| config.recovery) {
            Some(keys) => recovery::open(config, keys).await.map(|(state, all)| (Some(state), Some(all)))?,
            None => (None, None),
        };
        let merger = keys.and_then(|keys| merging::from_config(config, keys, store.roots(), state.clone()));
        let server = Self::remembering(settings, secrets, store, (merger, state.clone()), pool, metrics)?;
        if let (Some(state), Some(recovered)) = (&state, recovered) {
            recovery::take_up(&server.shared, state, recovered).await?;
        }
        Ok(server)
    }

    /// Serves `listener` until `stop` resolves, then drains: nothing new is accepted, idle connections
    /// close, open transfers finish or are cut at the deadline.
    pub async fn run(&self, listener: TcpListener, stop: impl Future<Output = ()>) -> DrainOutcome {
        let shared = &self.shared;
        let places = Arc::new(Semaphore::new(shared.settings.connections));
        let tasks = TaskTracker::new();
        let cut = CancellationToken::new();
        if let Some(tls) = shared.tls() {
            housekeeping::say_tls(&tls);
        }
        let housekeeping = tokio::spawn(housekeeping::run(Arc::clone(shared)));
        let removed = tokio::spawn(housekeeping::look_for_removed_secrets(Arc::clone(shared)));
        accept_loop(&listener, places, stop, |socket, peer, place| {
            let served = serve(Arc::clone(shared), socket, peer, place);
            let cut = cut.clone();
            tasks.spawn(async move { cut.run_until_cancelled(served).await });
        })
        .await;
        drop(listener);
        housekeeping.abort();
        removed.abort();
        let drained = self.drain(&tasks, &cut).await;
        merging::clean_up_last(shared).await;
        recovery::close(shared).await;
        shared.repeats.sum_up(true);
        drained
    }

    async fn drain(&self, tasks: &TaskTracker, cut: &CancellationToken) -> DrainOutcome {
        let timeout = self.shared.settings.drain_timeout;
        tasks.close();
        info!(connections = tasks.len(), ?timeout, "draining: no new connections, open transfers may finish");
        self.shared.draining.cancel();
        if tokio::time::timeout(timeout, tasks.wait()).await.is_ok() {
            return DrainOutcome { cut: 0 };
        }
        let left = tasks.len();
        warn!(connections = left, "cut what did not finish within spark.sealed.drain.timeout");
        cut.cancel();
        tasks.wait().await;
        DrainOutcome { cut: left }
    }

    /// What the metrics page shows beside the counters.
    pub fn snapshot(&self) -> Snapshot {
        let shared = &self.shared;
        let disk = shared.store.counters();
        Snapshot {
            memory_in_use: shared.pool.budget().in_use(),
            memory_budget: shared.pool.budget().total(),
            index_cache_bytes: disk.index_cache_bytes,
            index_hits: disk.index_hits,
            index_misses: disk.index_misses,
            open_files: disk.files_open,
            executors: disk.executors as u64,
            applications: shared.store.executors().app_count() as u64,
            resident_anonymous: housekeeping::resident_anonymous(),
            applications_seen: shared.applications.usage().counts(&shared.policy()),
            merging: shared.merger.as_ref().map(|merger| merger.counters()),
            state: shared.applications.state().map(|state| state.counters()),
            secrets_handed_over: shared.applications.secrets().handed_over() as u64,
        }
    }

    /// The table of applications as JSON; `target` asks what would be if that were the target.
    pub fn applications(&self, target: Option<SecurityLevel>) -> serde_json::Value {
        let shared = &self.shared;
        let policy = shared.policy();
        let policy = match target {
            Some(target) => Arc::new(policy.aiming_at(target)),
            None => policy,
        };
        let executors = |app: &AppId| shared.applications.executors(app);
        serde_json::json!({
            "minimum": policy.minimum.name(),
            "target": policy.target.name(),
            "applications": shared.applications.usage().snapshot(&policy, executors),
        })
    }

    /// Where [`Server::forget`] runs.
    pub(crate) fn told(&self) -> &Lane {
        &self.shared.told
    }

    /// The policy as JSON.
    pub fn policy(&self) -> serde_json::Value {
        self.shared.policy().to_json()
    }

    /// The metrics page.
    pub fn metrics_page(&self) -> Result<String, std::fmt::Error> {
        self.shared.metrics.render(self.snapshot())
    }

    /// One sweep of housekeeping at the time `now`: closes files, and ends applications that are over. [`Server::run`] does
    /// so every few seconds.
    pub fn sweep(&self, on: &OnLane, now: Instant) {
        (0..self.shared.store.roots().disks().len())
            .for_each(|disk| housekeeping::close_files(on, &self.shared, disk, now));
        self.shared.applications.sweep(on, now);
    }

    /// Whether the server is stopping.
    pub fn is_draining(&self) -> bool {
        self.shared.draining.is_cancelled()
    }
}

/// Serves one connection to its end.
async fn serve(shared: Arc<Shared>, socket: TcpStream, peer: SocketAddr, _place: OwnedSemaphorePermit) {
    let settings = &shared.settings;
    let wire = WireSettings {
        pipelined: settings.limits.pipelined_requests,
        budget_timeout: settings.stalled_timeout,
        slow_lane: shared.slow_lane.clone(),
    };
    let engine_settings = ServerSettings {
        limits: settings.limits.clone(),
        handshake_timeout: settings.handshake_timeout,
        idle_timeout: settings.idle_timeout,
        stalled_timeout: settings.stalled_timeout,
        authenticates: shared.applications.secrets().exist(),
        admits_anonymous: shared.policy().anonymous,
    };
    let open = OpenConnection::count(Arc::clone(&shared.metrics));
    let mut socket = CountingSocket::new(socket, Arc::clone(&shared.metrics.wire));
    let mut engine = ServerConnection::new(Instant::now(), engine_settings);
    let mut session = Session::new(Arc::clone(&shared), peer);
    let reason =
        drive(&mut socket, &mut engine, &mut session, Stack::default(), shared.pool.clone(), &wire).await;
    drop(open);
    session.judge_silence(&engine, &reason);
    shared.metrics.closed(reason.label());
    log_close(&shared.repeats, peer, &session, &reason);
}

/// A peer that hangs up is nobody's fault; what the peer or we did wrong is said once, here.
fn log_close(repeats: &Repeats, peer: SocketAddr, session: &Session, reason: &CloseReason) {
    let words = format_args!("closed a connection: {reason}");
    let is_said = |loudness| repeats.is_said(loudness, reason.label(), peer, &words);
    let channel = session.channel.map_or("not known yet", |channel| channel.level.name());
    let app = session.claimed.as_ref().map_or_else(String::new, ToString::to_string);
    match reason.blame() {
        // Refusals were logged where they were decided, with the cure.
        Blame::Nobody | Blame::Policy => debug!(%peer, app, channel, %reason, "connection ended"),
        Blame::Network if is_said(Loudness::Info) => {
            info!(%peer, app, channel, %reason, "connection ended");
        }
        Blame::Peer if is_said(Loudness::Warn) => {
            warn!(%peer, app, channel, %reason, "closed a connection");
        }
        Blame::Us if repeats.is_fault_said(reason.label(), peer, &words) => {
            warn!(%peer, app, channel, %reason, "closed a connection");
        }
        Blame::Network | Blame::Peer | Blame::Us => {}
    }
}

/// Counts a connection as open while it lives, however its task ends.
struct OpenConnection(Arc<Metrics>);

impl OpenConnection {
    fn count(metrics: Arc<Metrics>) -> Self {
        metrics.connections.inc();
        Self(metrics)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections.dec();
    }
}
