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
mod certificate_age;
mod controls;
mod conversation;
mod ending;
mod errand;
mod evidence;
mod handshake;
mod housekeeping;
#[cfg(feature = "internals")]
mod internals;
mod known;
mod merging;
mod places;
mod recovery;
mod refusals;
mod reload;
mod repeats;
mod requests;
mod seats;
mod session;
mod setup;
mod start_error;
mod status;
mod streams;
mod succession;
mod uploads;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use sealed_shuffle_config::{Policy, SaslSettings, ServerTimeouts};
use sealed_shuffle_protocol::auth::legacy::LegacyLimits;
use sealed_shuffle_protocol::channel::{Channel, SecurityLevel};
use sealed_shuffle_protocol::connection::{Blame, CloseReason, ServerConnection, ServerSettings};
use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::limits::Limits;
use sealed_shuffle_transport::descriptors::Ceiling;
use sealed_shuffle_transport::lane::{Lane, LaneError};
use sealed_shuffle_transport::pot::{Pot, PotFigures};
use sealed_shuffle_transport::seal::{SegmentPool, Stack};
use sealed_shuffle_transport::tls::LiveServerTls;
use sealed_shuffle_transport::wire::{CountingSocket, WireSettings, accept_loop, drive};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

pub(crate) use self::controls::{ControlError, Controls, LogControl, ReloadRequest};
pub use self::start_error::StartError;

use crate::applications::{Applications, UsageReport};
use crate::audit::Audit;
use crate::disk::BlockStore;
use crate::keys::envelope::EnvelopeKeys;
use crate::merge::Merger;
use crate::remains::Remains;
use crate::state::KeyNeed;
use crate::supervision::Duties;
use crate::telemetry::{DiskSnapshot, Metrics, Snapshot};
use crate::traces::Traces;
use crate::view::ViewMount;

use self::evidence::Evidence;
use self::places::{Place, Places, Room, Stranger};
use self::recovery::AwaitedStore;
use self::refusals::Refusal;
use self::repeats::{Loudness, Repeats};
use self::seats::Seats;
use self::session::Session;
use self::streams::StreamIds;
use self::succession::Succession;

pub(crate) use self::succession::PauseRefusal;

/// Stands for a deadline that was switched off.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The text of a failed request, for the peer.
type Failure = String;

/// What all connections share.
pub(crate) struct Shared {
    /// Every number that a peer can press on.
    limits: Limits,
    timeouts: ServerTimeouts,
    /// What of SASL is served, where the policy lets it in.
    sasl: SaslSettings,
    /// What a client of the PBKDF2 handshake may make us compute.
    legacy_limits: LegacyLimits,
    /// Connections at once; further ones wait in the backlog.
    max_connections: usize,
    /// Where their descriptors end.
    ceiling: Ceiling,
    /// Chunks in transfer over all connections.
    max_chunks: u64,
    /// Who is served, until a reload.
    policy: ArcSwap<Policy>,
    /// Key and certificates, until a reload; none where TLS is not spoken.
    tls: ArcSwapOption<LiveServerTls>,
    /// All that lives as long as an application.
    applications: Applications,
    /// Where blocks are looked up.
    store: Arc<BlockStore>,
    /// The keys that seal what the server writes; none where it writes nothing.
    keys: Option<EnvelopeKeys>,
    /// The recovery store, where its key was not to be had at the start.
    awaited_store: Option<AwaitedStore>,
    /// Push-based merging; none where it is not switched on.
    merger: Option<Arc<Merger>>,
    /// Where executors on this host read merged data that is sealed on the disk; none where there is no view.
    view: Option<ViewMount>,
    /// What applications leave behind.
    remains: Arc<Remains>,
    pool: SegmentPool,
    metrics: Arc<Metrics>,
    /// What is written down of who did what.
    audit: Audit,
    /// Traces of requests.
    traces: Traces,
    /// What an auditor asks for.
    evidence: Evidence,
    /// Lines of the log that peers cause.
    repeats: Repeats,
    stream_ids: StreamIds,
    /// Bytes a second that a connection moves at least which holds memory that others wait for.
    min_rate: u64,
    /// Connections of peers that have proven who they are.
    connections: Pot,
    /// Who gives way where an application has all the connections that it may have; none without a quota.
    seats: Option<Arc<Seats>>,
    /// Bytes of all open streams.
    open_streams: Pot,
    /// Where slow ciphers seal.
    slow_lane: Lane,
    /// Where keys are derived for peers that have proven nothing yet.
    derivations: Lane,
    /// Where keys and certificates of TLS are looked at.
    material: Lane,
    /// What operators tell.
    told: Lane,
    draining: CancellationToken,
    succession: Succession,
    /// The program's ends, where it gave any.
    controls: OnceLock<Controls>,
    started: SystemTime,
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

    /// Everything that applications share.
    fn pots(&self) -> impl Iterator<Item = &Pot> {
        let lanes = self.store.roots().lanes().map(Lane::places);
        let merging = self.merger.iter().flat_map(|merger| merger.pots());
        let own = self.pool.budget().pots().into_iter().chain([&self.connections, &self.open_streams]);
        let keys = self.keys.iter().map(EnvelopeKeys::calls);
        own.chain(lanes).chain(merging).chain(keys)
    }

    /// The recovery store, while it is waited for.
    fn awaited_store(&self) -> Option<&AwaitedStore> {
        self.awaited_store.as_ref().filter(|awaited| !awaited.is_open())
    }

    /// How long a connection may go without a byte in either direction.
    fn idle_timeout(&self) -> Duration {
        self.timeouts.idle.unwrap_or(NEVER)
    }

    /// How long work on a lane may take.
    fn patience(&self, lane: &Lane) -> Duration {
        let stalled = self.stalled_timeout();
        lane.patience().map_or(stalled, |patience| patience.min(stalled))
    }

    /// What a peer reads where a disk did not answer. Says so in the log, unless the disk is known to be down.
    fn unanswered(&self, what: &'static str, error: LaneError) -> Failure {
        if !matches!(error, LaneError::Shut { .. }) {
            warn!(%error, "a disk did not answer {what} (spark.sealed.disk.timeout)");
        }
        Refusal::Disk(error).text()
    }

    /// How long a peer may take no byte, and a disk give none.
    fn stalled_timeout(&self) -> Duration {
        self.timeouts.stalled.unwrap_or(NEVER)
    }
}

/// A server that serves as long as [`Server::run`] is polled. [`Server::from_config`] makes it.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DrainOutcome {
    /// Connections that were cut at the deadline.
    pub cut: usize,
    /// What died by a fault of ours, so that the server ended before it was told to: the name of a task that it cannot be
    /// without.
    pub lost: Option<&'static str>,
}

impl Server {
    /// Serves `listener` until `stop` resolves or there is a successor, then drains: nothing new is accepted, idle
    /// connections close, open transfers finish or are cut at the deadline. The same where a task dies that it cannot be
    /// without ([`DrainOutcome::lost`]).
    pub async fn run(&self, listener: TcpListener, stop: impl Future<Output = ()>) -> DrainOutcome {
        self.run_on(Arc::new(listener), stop).await
    }

    /// The same on a listening socket of which others may have a copy made as long as it is served.
    pub(crate) async fn run_on(
        &self,
        listener: Arc<TcpListener>,
        stop: impl Future<Output = ()>,
    ) -> DrainOutcome {
        let shared = &self.shared;
        let room = Room { ceiling: shared.ceiling, listener: Arc::downgrade(&listener) };
        let places = Places::new(shared.max_connections, room, Arc::clone(&shared.metrics));
        let tasks = TaskTracker::new();
        let cut = CancellationToken::new();
        if let Some(tls) = shared.tls() {
            housekeeping::say_tls(&tls);
        }
        let mut stop = pin!(stop);
        let mut stopped = false;
        let mut lost = None;
        loop {
            // Also where a successor has failed, which had led them to itself.
            self.leads_to_view().await;
            let mut duties = self.duties();
            let until = async {
                tokio::select! {
                    () = &mut stop => stopped = true,
                    duty = duties.first_lost() => {
                        stopped = true;
                        lost = Some(duty);
                    }
                    () = shared.succession.not_serving() => {}
                }
            };
            accept_loop(&listener, &*places, until, |socket, peer, place| {
                // Counted here, not where its task begins: a page that says that peers wait says for how many.
                let open = OpenConnection::count(Arc::clone(&shared.metrics));
                let admitted = (place, open, places.stranger(peer.ip()));
                let served = serve(Arc::clone(shared), socket, peer, admitted);
                let cut = cut.clone();
                tasks.spawn(async move { cut.run_until_cancelled(served).await });
            })
            .await;
            drop(duties);
            if !shared.succession.goes_on(stopped).await {
                break;
            }
        }
        drop(listener);
        let drained = DrainOutcome { lost, ..self.drain(&tasks, &cut).await };
        merging::end_view(shared).await;
        if !shared.succession.is_over() {
            merging::clean_up_last(shared).await;
            shared.remains.close().await;
            recovery::close(shared).await;
        }
        shared.repeats.sum_up(true);
        tokio::join!(shared.audit.close(), shared.traces.close());
        drained
    }

    /// What the server does beside serving, while it accepts peers.
    fn duties(&self) -> Duties {
        let shared = &self.shared;
        let mut duties = Duties::default();
        duties.take_on("housekeeping", housekeeping::run(Arc::clone(shared)));
        let removed = housekeeping::look_for_removed_secrets(Arc::clone(shared));
        duties.take_on("looking for removed secrets", removed);
        duties
            .take_on("keeping the recovery store's key wrapped", recovery::keep_wrapped(Arc::clone(shared)));
        duties.take_on("opening the recovery store", recovery::open_when_possible(Arc::clone(shared)));
        duties
    }

    async fn drain(&self, tasks: &TaskTracker, cut: &CancellationToken) -> DrainOutcome {
        let timeout = self.shared.timeouts.drain;
        tasks.close();
        info!(connections = tasks.len(), ?timeout, "draining: no new connections, open transfers may finish");
        self.shared.draining.cancel();
        if tokio::time::timeout(timeout / 2, tasks.wait()).await.is_ok() {
            return DrainOutcome { cut: 0, lost: None };
        }
        self.shared.succession.hurry();
        if tokio::time::timeout(timeout - timeout / 2, tasks.wait()).await.is_ok() {
            return DrainOutcome { cut: 0, lost: None };
        }
        let left = tasks.len();
        warn!(connections = left, "cut what did not finish within spark.sealed.drain.timeout");
        cut.cancel();
        tasks.wait().await;
        DrainOutcome { cut: left, lost: None }
    }

    /// What the metrics page shows beside the counters.
    fn snapshot(&self) -> Snapshot {
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
            applications_seen: shared
                .applications
                .usage()
                .counts(&shared.policy(), |app| shared.applications.executors(app)),
            certificate_not_after: shared
                .tls()
                .and_then(|tls| tls.own())
                .map_or(0, |own| own.not_after.as_secs()),
            merging: shared.merger.as_ref().map(|merger| merger.counters()),
            view: shared.view.as_ref().map(|view| view.counters()),
            state: shared.applications.state().map(|state| state.counters()),
            secrets_handed_over: shared.applications.secrets().handed_over() as u64,
            store_awaited: shared.awaited_store().is_some(),
            shares: self.shares(),
            remains: shared.remains.figures(),
            disks: self.disks(),
        }
    }

    fn disks(&self) -> Vec<DiskSnapshot> {
        let now = Instant::now();
        let disks = self.shared.store.roots().disks().iter();
        disks
            .map(|disk| DiskSnapshot {
                disk: disk.path().display().to_string(),
                health: disk.health(),
                space: disk.space(),
                given_up: disk.lane().calls(now).given_up as u64,
            })
            .collect()
    }

    /// Whether it serves blocks, and a text that says how each disk is.
    pub(crate) fn readiness(&self) -> (bool, String) {
        let disks = self.shared.store.roots().disks();
        let (is_ready, mut text) = match () {
            () if self.is_draining() => (false, "draining\n".to_owned()),
            () if disks.iter().any(|disk| disk.health().serves()) => (true, "ready\n".to_owned()),
            () => (false, "no local directory can be used\n".to_owned()),
        };
        for disk in disks {
            text.push_str(&format!("{} {}\n", disk.path().display(), disk.condition()));
        }
        (is_ready, text)
    }

    /// Everything that applications share, by name. The threads of all disks are one thing.
    fn shares(&self) -> Vec<(&'static str, PotFigures)> {
        let mut shares: Vec<(&'static str, PotFigures)> = Vec::new();
        for pot in self.shared.pots() {
            match shares.iter_mut().find(|(name, _)| *name == pot.name()) {
                Some((_, figures)) => *figures = figures.and(pot.figures()),
                None => shares.push((pot.name(), pot.figures())),
            }
        }
        shares.extend(self.shared.pool.turns().map(|turns| ("sending", turns.figures())));
        shares.extend(self.shared.store.executors().shares());
        shares
    }

    /// The table of applications as JSON; `target` asks what would be if that were the target, and `since` counts what was
    /// used from then on beside what is used now, and leaves out who was not seen since.
    pub fn applications(
        &self,
        target: Option<SecurityLevel>,
        since: Option<SystemTime>,
    ) -> serde_json::Value {
        let shared = &self.shared;
        let policy = shared.policy();
        let policy = match target {
            Some(target) => Arc::new(policy.aiming_at(target)),
            None => policy,
        };
        let executors = |app: &AppId| shared.applications.executors(app);
        let mut report: UsageReport = shared.applications.usage().snapshot(&policy, since, executors);
        for row in &mut report.rows {
            let used = row["app"].as_str().and_then(|app| shared.remains.usage_of(&AppId::new(app)));
            row["disk_bytes"] = used.map(|used| used.bytes).into();
            row["disk_files"] = used.map(|used| used.files).into();
        }
        serde_json::json!({
            "version": 1,
            "minimum": policy.minimum.name(),
            "target": policy.target.name(),
            "counts": report.counts(),
            "applications": report.rows,
        })
    }

    /// The roots, and the directories that belong to applications or are to be cleared here, as JSON.
    pub fn directories(&self) -> serde_json::Value {
        let shared = &self.shared;
        let roots =
            shared.store.roots().disks().iter().map(|disk| disk.path().to_string_lossy().into_owned());
        serde_json::json!({
            "roots": roots.collect::<Vec<_>>(),
            "outlasts_restart": shared.applications.state().is_some(),
            "directories": shared.store.executors().taken_paths(),
        })
    }

    /// Where [`Server::forget`] runs.
    pub(crate) fn told(&self) -> &Lane {
        &self.shared.told
    }

    /// What this server needs keys of its key service for, beside the files that are there, as JSON.
    pub(crate) fn keys_needed(&self) -> serde_json::Value {
        let shared = &self.shared;
        let store = shared.applications.state().map(|state| KeyNeed::of_store(&state.wrapping_key()));
        let apps = shared.merger.iter().flat_map(|merger| merger.wrapping_keys());
        let apps = apps.map(|(app, key)| KeyNeed::of_app(app, &key));
        let needs = store
            .into_iter()
            .chain(apps)
            .map(|KeyNeed { key, by }| serde_json::json!({"key": key, "by": by}));
        serde_json::json!({"needed": needs.collect::<Vec<_>>()})
    }

    /// What is written down of who did what.
    pub(crate) fn audit(&self) -> &Audit {
        &self.shared.audit
    }

    /// The policy as JSON.
    pub fn policy(&self) -> serde_json::Value {
        self.shared.policy().to_json()
    }

    /// The metrics page shows how many lines of the log were lost.
    pub(crate) fn counts_lost_lines(&self, lost: Arc<AtomicU64>) {
        // Only the program has a log, and it has one.
        _ = self.shared.metrics.log_lines_lost.set(lost);
    }

    /// The metrics page, in the text format of OpenMetrics 1.0.
    pub fn metrics_page(&self) -> Result<String, std::fmt::Error> {
        self.shared.metrics.render(self.snapshot())
    }

    /// The same in the older text format, for who does not ask for OpenMetrics.
    pub(crate) fn plain_metrics_page(&self) -> Result<String, std::fmt::Error> {
        self.shared.metrics.render_plain(self.snapshot())
    }

    /// Whether the server is stopping.
    pub fn is_draining(&self) -> bool {
        self.shared.draining.is_cancelled()
    }
}

/// Serves one connection to its end.
async fn serve(
    shared: Arc<Shared>,
    socket: TcpStream,
    peer: SocketAddr,
    (_place, open, (stranger, gives_way)): (Place, OpenConnection, (Stranger, CancellationToken)),
) {
    let wire = WireSettings {
        pipelined: shared.limits.pipelined_requests,
        budget_timeout: shared.stalled_timeout(),
        slow_lane: shared.slow_lane.clone(),
    };
    let engine_settings = ServerSettings {
        limits: shared.limits.clone(),
        handshake_timeout: shared.timeouts.handshake,
        idle_timeout: shared.idle_timeout(),
        stalled_timeout: shared.stalled_timeout(),
        authenticates: shared.applications.secrets().exist(),
        admits_anonymous: shared.policy().anonymous,
    };
    let mut socket = CountingSocket::new(socket, Arc::clone(&shared.metrics.wire));
    let mut engine = ServerConnection::new(Instant::now(), engine_settings);
    if !shared.policy().verdict(None, &Channel::PLAINTEXT).served {
        engine.set_anonymous_frame(shared.limits.handshake_frame);
    }
    let memory = shared.pool.for_connection();
    let mut session = Session::new(Arc::clone(&shared), peer, stranger, memory.clone());
    let driven = drive(&mut socket, &mut engine, &mut session, Stack::default(), memory, &wire);
    let reason = tokio::select! {
        reason = driven => reason,
        () = gives_way.cancelled() => CloseReason::GaveWay,
    };
    drop(open);
    session.judge_silence(&engine, &reason);
    shared.metrics.closed(reason.label());
    session.leave_record(Some(reason.label()));
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
