//! Every counter and gauge, in one struct.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use sealed_shuffle_protocol::channel::{Channel, SecurityLevel};
use sealed_shuffle_transport::pot::PotFigures;
use sealed_shuffle_transport::seal::Phases;
use sealed_shuffle_transport::wire::WireCounters;
use serde_json::{Value, json};

use super::disks::{DiskMetrics, DiskSnapshot};
use super::merging::MergeMetrics;
use super::numbers;
use super::phases;
use super::plain_text::plain_text;
use super::process::{ProcessMetrics, build};
use super::remains::RemainsMetrics;
use super::shares::ShareMetrics;
use super::state::StateMetrics;
use crate::audit::AuditCounters;
use crate::keys::envelope::KeyCalls;
use crate::merge::MergeCounters;
use crate::remains::figures::Figures;
use crate::state::StateCounters;
use crate::traces::TraceCounters;
use crate::view::ViewCounters;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// Each of them, in their order.
            const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
                self.name().encode(encoder)
            }
        }
    };
}

words! {
    /// The reason of a refusal.
    RefusalReason {
        /// The challenge does not verify: the secret is wrong, or the challenge was changed on the way.
        Authentication = "authentication_failed",
        /// The request came without a handshake, and a handshake is required.
        Unauthenticated = "unauthenticated",
        /// The channel is below `spark.sealed.security.minimum`.
        BelowMinimum = "below_minimum",
        /// The client speaks TLS, and the server has none.
        Tls = "tls_not_configured",
        /// The peer uses AES-GCM that takes one message of a connection, as that of Spark before 3.5.9, 4.0.4 and 4.1.3 does.
        BrokenGcm = "broken_gcm",
        /// The message names another application than the one that the connection proved.
        Application = "wrong_application",
        /// The connection did not open this stream.
        Stream = "foreign_stream",
        /// The local directory is outside the roots.
        LocalDir = "local_dir",
        /// The request is above a limit.
        Limit = "limit",
        /// The server does not serve such requests.
        Unsupported = "unsupported",
    }
}

words! {
    /// The kind of a request.
    RequestKind {
        /// RegisterExecutor.
        Register = "register_executor",
        /// FetchShuffleBlocks.
        FetchShuffle = "fetch_shuffle_blocks",
        /// OpenBlocks.
        OpenBlocks = "open_blocks",
        /// RemoveBlocks.
        Remove = "remove_blocks",
        /// GetLocalDirsForExecutors.
        LocalDirs = "get_local_dirs",
        /// DiagnoseCorruption.
        Diagnose = "diagnose_corruption",
        /// ChunkFetchRequest.
        Chunk = "chunk_fetch",
        /// StreamRequest.
        Stream = "stream",
        /// Any request of push-based merging.
        Merge = "push_merge",
        /// Any other request, decodable or not.
        Other = "other",
    }
}

impl RequestKind {
    /// Whether the time to its answer is measured: not of what moves blocks, since that takes as long as the client does.
    const fn is_timed(self) -> bool {
        match self {
            Self::Register
            | Self::FetchShuffle
            | Self::OpenBlocks
            | Self::Remove
            | Self::LocalDirs
            | Self::Diagnose
            | Self::Merge => true,
            Self::Chunk | Self::Stream | Self::Other => false,
        }
    }
}

/// Times from half a millisecond, which memory takes, to the ten seconds that no client waits.
fn latency() -> Histogram {
    Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
}

/// A channel as labels. Each has few values.
#[derive(Clone, Copy, Debug, EncodeLabelSet, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct ChannelLabels {
    channel: &'static str,
    handshake: &'static str,
    cipher: &'static str,
}

impl From<Channel> for ChannelLabels {
    fn from(channel: Channel) -> Self {
        Self { channel: channel.level.name(), handshake: channel.handshake.name(), cipher: channel.cipher }
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct RefusalLabels {
    reason: RefusalReason,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct RequestLabels {
    request: RequestKind,
}

/// A fixed word for the reason of an end or a failure.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct Reason {
    /// The word.
    pub reason: &'static str,
}

/// Outcomes of what a resource manager tells.
const DONE: &str = "done";
const NOT_DONE: &str = "not_done";

/// Results of reading a configuration again.
const REPLACED: &str = "replaced";
const REFUSED: &str = "refused";

/// Words that label counters and that other parts give, known before anything is counted.
#[derive(Clone, Debug, Default)]
pub struct KnownLabels {
    /// Reasons for which connections end.
    pub closes: Vec<&'static str>,
    /// Reasons for which blocks fail.
    pub block_failures: Vec<&'static str>,
    /// Reasons for which applications are forgotten.
    pub forgotten: Vec<&'static str>,
    /// Messages of a resource manager.
    pub handover: Vec<&'static str>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct HandoverLabels {
    message: &'static str,
    outcome: &'static str,
}

/// Figures that other parts own. They are read when the metrics page is asked for.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Bytes of the memory budget that are in use.
    pub memory_in_use: u64,
    /// Size of the memory budget in bytes.
    pub memory_budget: u64,
    /// Bytes of index offsets in the cache.
    pub index_cache_bytes: u64,
    /// Lookups that the index cache answered.
    pub index_hits: u64,
    /// Lookups that read an index file.
    pub index_misses: u64,
    /// Data files that are held open.
    pub open_files: u64,
    /// Registered executors.
    pub executors: u64,
    /// Applications with registered executors.
    pub applications: u64,
    /// Anonymous resident memory of this process, in bytes.
    pub resident_anonymous: u64,
    /// Figures of the table of applications.
    pub applications_seen: ApplicationCounts,
    /// The last moment at which our certificate is valid, in seconds since 1970; 0 where there is none.
    pub certificate_not_after: u64,
    /// Figures of push-based merging; `None` where merging is switched off.
    pub merging: Option<MergeCounters>,
    /// Figures of the view of merged data; `None` where there is none.
    pub view: Option<ViewCounters>,
    /// Figures of the recovery store; `None` where recovery is switched off.
    pub state: Option<StateCounters>,
    /// Applications whose secret was handed over.
    pub secrets_handed_over: u64,
    /// Whether the recovery store waits for its key.
    pub store_awaited: bool,
    /// What applications share, by name.
    pub shares: Vec<(&'static str, PotFigures)>,
    /// What applications leave behind, and how much of the disks they use.
    pub remains: Figures,
    /// Each disk.
    pub disks: Vec<DiskSnapshot>,
}

/// Figures of the table of applications.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ApplicationCounts {
    /// Applications that run and use each channel, in the order of [`SecurityLevel::ALL`].
    pub by_level: [u64; SecurityLevel::ALL.len()],
    /// Applications that run and use a channel below their target.
    pub below_target: u64,
    /// Applications that run, and of which nothing was heard since the start, nor kept from before it.
    pub unheard: u64,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct LevelLabels {
    channel: &'static str,
}

words! {
    /// The secret of an application that a handshake proved.
    SecretUsed {
        /// The current secret.
        Current = "current",
        /// The previous secret, which stays valid during a rotation.
        Previous = "previous",
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct SecretLabels {
    secret: SecretUsed,
}

/// Every counter and gauge of a server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Ciphertext bytes that passed sockets.
    pub wire: Arc<WireCounters>,
    /// Chunks that are being transferred (`spark.shuffle.maxChunksBeingTransferred`).
    pub chunks_in_transfer: Arc<AtomicU64>,
    /// Open connections.
    pub connections: Gauge,
    /// Connections that may be open.
    pub connections_most: Gauge,
    /// 1 while no further one is accepted, since there is no place or no descriptor for it.
    pub connections_full: Gauge,
    /// Times of blocks on their way out.
    pub phases: Arc<Phases>,
    /// Calls to the key service.
    pub key_calls: KeyCalls,
    /// The audit trail.
    pub audit: AuditCounters,
    /// Traces of requests.
    pub traces: TraceCounters,
    /// Lines of the program's log that were lost.
    pub log_lines_lost: OnceLock<Arc<AtomicU64>>,
    connections_by_channel: Family<ChannelLabels, Counter>,
    /// The labels of those; a family does not list its own.
    connections_by_channel_seen: Mutex<BTreeSet<ChannelLabels>>,
    blocks: Family<ChannelLabels, Counter>,
    block_bytes: Family<ChannelLabels, Counter>,
    requests: Family<RequestLabels, Counter>,
    /// Those of `requests`, in the order of [`RequestKind::ALL`]: no request looks up its counter by its name.
    requests_by_kind: Vec<Counter>,
    request_seconds: Family<RequestLabels, Histogram, fn() -> Histogram>,
    /// Those of `request_seconds`, in the same order; none of requests that are not timed.
    seconds_by_kind: Vec<Option<Histogram>>,
    refusals: Family<RefusalLabels, Counter>,
    block_failures: Family<Reason, Counter>,
    closes: Family<Reason, Counter>,
    forgotten: Family<Reason, Counter>,
    secrets: Family<SecretLabels, Counter>,
    reloads: Family<Reason, Counter>,
    handover: Family<HandoverLabels, Counter>,
    gauges: SnapshotGauges,
    merging: MergeMetrics,
    state: StateMetrics,
    shares: ShareMetrics,
    remains: RemainsMetrics,
    disks: DiskMetrics,
    process: ProcessMetrics,
}

/// Counts what one connection hands out. It looks its counters up once.
#[derive(Clone, Debug)]
pub struct ServedBlocks {
    blocks: Counter,
    bytes: Counter,
}

impl ServedBlocks {
    /// One chunk of `blocks` blocks with `bytes` bytes.
    pub fn count(&self, blocks: u64, bytes: u64) {
        self.blocks.inc_by(blocks);
        self.bytes.inc_by(bytes);
    }
}

#[derive(Debug, Default)]
struct SnapshotGauges {
    sent: Counter,
    received: Counter,
    log_lines_lost: Counter,
    chunks_in_transfer: Gauge,
    memory_in_use: Gauge,
    memory_budget: Gauge,
    index_cache_bytes: Gauge,
    index_hits: Counter,
    index_misses: Counter,
    open_files: Gauge,
    executors: Gauge,
    applications: Gauge,
    resident_anonymous: Gauge,
    applications_by_channel: Family<LevelLabels, Gauge>,
    applications_below_target: Gauge,
    applications_unheard: Gauge,
    certificate_not_after: Gauge,
    secrets_handed_over: Gauge,
    store_awaited: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All figures at zero.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("sealed_shuffle"),
            wire: Arc::default(),
            chunks_in_transfer: Arc::default(),
            connections: Gauge::default(),
            connections_most: Gauge::default(),
            connections_full: Gauge::default(),
            phases: Arc::default(),
            key_calls: KeyCalls::default(),
            audit: AuditCounters::default(),
            traces: TraceCounters::default(),
            log_lines_lost: OnceLock::new(),
            connections_by_channel: Family::default(),
            connections_by_channel_seen: Mutex::default(),
            blocks: Family::default(),
            block_bytes: Family::default(),
            requests: Family::default(),
            requests_by_kind: Vec::new(),
            request_seconds: Family::new_with_constructor(latency),
            seconds_by_kind: Vec::new(),
            refusals: Family::default(),
            block_failures: Family::default(),
            closes: Family::default(),
            forgotten: Family::default(),
            secrets: Family::default(),
            reloads: Family::default(),
            handover: Family::default(),
            gauges: SnapshotGauges::default(),
            merging: MergeMetrics::default(),
            state: StateMetrics::default(),
            shares: ShareMetrics::default(),
            remains: RemainsMetrics::default(),
            disks: DiskMetrics::default(),
            process: ProcessMetrics::new(),
        };
        metrics.register();
        metrics.begin_own_at_zero();
        metrics
    }

    /// Counters with these labels are there from now on, too.
    pub fn begin_at_zero(&self, known: &KnownLabels) {
        let reasons = [
            (&self.closes, &known.closes),
            (&self.block_failures, &known.block_failures),
            (&self.forgotten, &known.forgotten),
        ];
        for (family, known) in reasons {
            for &reason in known {
                drop(family.get_or_create(&Reason { reason }));
            }
        }
        for &message in &known.handover {
            for outcome in [DONE, NOT_DONE] {
                drop(self.handover.get_or_create(&HandoverLabels { message, outcome }));
            }
        }
    }

    /// Counters whose labels are known are there from the start, so that a rate over them has a beginning.
    fn begin_own_at_zero(&mut self) {
        let of =
            |request: &RequestKind| self.requests.get_or_create_owned(&RequestLabels { request: *request });
        self.requests_by_kind = RequestKind::ALL.iter().map(of).collect();
        let timed = |request: &RequestKind| {
            let labels = RequestLabels { request: *request };
            request.is_timed().then(|| self.request_seconds.get_or_create_owned(&labels))
        };
        self.seconds_by_kind = RequestKind::ALL.iter().map(timed).collect();
        for reason in RefusalReason::ALL {
            drop(self.refusals.get_or_create(&RefusalLabels { reason: *reason }));
        }
        for secret in SecretUsed::ALL {
            drop(self.secrets.get_or_create(&SecretLabels { secret: *secret }));
        }
        for reason in [REPLACED, REFUSED] {
            drop(self.reloads.get_or_create(&Reason { reason }));
        }
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("build", "The program that runs", build());
        numbers::register(
            registry,
            &[
                ("connections", "Connections open now", &self.connections),
                (
                    "connections_most",
                    "Connections that may be open: spark.sealed.connections.max, or what the descriptor limit leaves",
                    &self.connections_most,
                ),
                (
                    "connections_full",
                    "1 while no further connection is accepted: all places or all descriptors for peers are taken",
                    &self.connections_full,
                ),
            ],
        );
        registry.register(
            "connections_by_channel",
            "Connections whose channel became known, by channel, handshake and cipher",
            self.connections_by_channel.clone(),
        );
        registry.register("blocks", "Blocks handed out, by channel", self.blocks.clone());
        registry.register_with_unit(
            "block",
            "Bytes of blocks handed out, by channel",
            Unit::Bytes,
            self.block_bytes.clone(),
        );
        registry.register("requests", "Requests, by kind", self.requests.clone());
        registry.register_with_unit(
            "request",
            "Time from a request to its answer, but for chunks and streams, by kind",
            Unit::Seconds,
            self.request_seconds.clone(),
        );
        phases::register(registry, Arc::clone(&self.phases));
        registry.register("refusals", "Peers and requests refused, by reason", self.refusals.clone());
        registry.register("block_failures", "Blocks that failed, by reason", self.block_failures.clone());
        registry.register("closes", "Connections ended, by reason", self.closes.clone());
        registry.register(
            "forgotten_applications",
            "Applications forgotten, by reason",
            self.forgotten.clone(),
        );
        registry.register("secrets", "Handshakes proven, by the secret that was used", self.secrets.clone());
        registry.register("reloads", "Configurations read again on SIGHUP, by result", self.reloads.clone());
        registry.register(
            "handover",
            "Beginnings and ends of applications that were handed over, by outcome",
            self.handover.clone(),
        );
        self.key_calls.register(registry);
        self.audit.register(registry);
        self.traces.register(registry);
        self.merging.register(registry);
        self.shares.register(registry);
        self.remains.register(registry);
        self.disks.register(registry);
        self.state.register(registry);
        let gauges = &self.gauges;
        registry.register(
            "applications_by_channel",
            "Applications that run and use a channel, by channel",
            gauges.applications_by_channel.clone(),
        );
        numbers::register(
            registry,
            &[
                ("sent_bytes", "Bytes written to sockets", &gauges.sent),
                ("received_bytes", "Bytes read from sockets", &gauges.received),
                (
                    "log_lines_lost",
                    "Lines of the log that standard error did not take",
                    &gauges.log_lines_lost,
                ),
                ("index_cache_hits", "Index lookups answered from the cache", &gauges.index_hits),
                ("index_cache_misses", "Index lookups that read the file", &gauges.index_misses),
            ],
        );
        numbers::register(
            registry,
            &[
                ("chunks_in_transfer", "Chunks being transferred now", &gauges.chunks_in_transfer),
                ("memory_in_use_bytes", "Bytes of the memory budget in use", &gauges.memory_in_use),
                ("memory_budget_bytes", "The memory budget", &gauges.memory_budget),
                ("index_cache_bytes", "Bytes of cached index offsets", &gauges.index_cache_bytes),
                ("open_files", "Data files held open", &gauges.open_files),
                ("executors", "Registered executors", &gauges.executors),
                ("applications", "Applications with registered executors", &gauges.applications),
                (
                    "applications_below_target",
                    "Applications that run and use a channel below their target",
                    &gauges.applications_below_target,
                ),
                (
                    "applications_unheard",
                    "Applications that run, and whose channel is not known yet after a restart",
                    &gauges.applications_unheard,
                ),
                (
                    "certificate_not_after_seconds",
                    "The last moment at which our certificate is valid, in time since 1970; 0 where TLS is not spoken",
                    &gauges.certificate_not_after,
                ),
                (
                    "secrets_handed_over",
                    "Applications whose secret was handed over",
                    &gauges.secrets_handed_over,
                ),
                (
                    "state_waits_for_key",
                    "1 while the recovery store waits for its key, and what was registered before is not known",
                    &gauges.store_awaited,
                ),
                (
                    "resident_anonymous_bytes",
                    "Anonymous resident memory of this process",
                    &gauges.resident_anonymous,
                ),
            ],
        );
    }

    /// Counts a connection whose channel became known.
    pub fn channel_known(&self, channel: Channel) {
        let channel = ChannelLabels::from(channel);
        self.connections_by_channel.get_or_create(&channel).inc();
        self.connections_by_channel_seen.lock().unwrap_or_else(PoisonError::into_inner).insert(channel);
    }

    /// The counters of what a connection over `channel` hands out.
    pub fn served_over(&self, channel: Channel) -> ServedBlocks {
        let channel = ChannelLabels::from(channel);
        ServedBlocks {
            blocks: self.blocks.get_or_create_owned(&channel),
            bytes: self.block_bytes.get_or_create_owned(&channel),
        }
    }

    /// Counts a request.
    pub fn request(&self, request: RequestKind) {
        if let Some(counter) = self.requests_by_kind.get(request as usize) {
            counter.inc();
        }
    }

    /// A request of that kind was answered after so long.
    pub fn answered(&self, request: RequestKind, after: Duration) {
        if let Some(Some(histogram)) = self.seconds_by_kind.get(request as usize) {
            histogram.observe(after.as_secs_f64());
        }
    }

    /// Counts a refusal.
    pub fn refused(&self, reason: RefusalReason) {
        self.refusals.get_or_create(&RefusalLabels { reason }).inc();
    }

    /// Counts a block that could not be served.
    pub fn block_failed(&self, reason: &'static str) {
        self.block_failures.get_or_create(&Reason { reason }).inc();
    }

    /// Counts the beginning or the end of an application that was handed over.
    pub fn handed_over(&self, message: &'static str, done: bool) {
        let outcome = if done { DONE } else { NOT_DONE };
        self.handover.get_or_create(&HandoverLabels { message, outcome }).inc();
    }

    /// Blocks and bytes handed out so far, over the channels on which there were any.
    pub fn served(&self) -> Vec<Value> {
        let channels = self.connections_by_channel_seen.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |channel: &ChannelLabels| {
            json!({
                "channel": channel.channel,
                "handshake": channel.handshake,
                "cipher": channel.cipher,
                "connections": self.connections_by_channel.get_or_create(channel).get(),
                "blocks": self.blocks.get_or_create(channel).get(),
                "bytes": self.block_bytes.get_or_create(channel).get(),
            })
        };
        channels.iter().map(of).collect()
    }

    /// Refusals so far, by reason.
    pub fn refusals(&self) -> Value {
        let of = |reason: &RefusalReason| {
            let count = self.refusals.get_or_create(&RefusalLabels { reason: *reason }).get();
            (reason.name().to_owned(), Value::from(count))
        };
        Value::Object(RefusalReason::ALL.iter().map(of).collect())
    }

    /// Counts a connection that ended.
    pub fn closed(&self, reason: &'static str) {
        self.closes.get_or_create(&Reason { reason }).inc();
    }

    /// Counts an application that was forgotten.
    pub fn forgot(&self, reason: &'static str) {
        self.forgotten.get_or_create(&Reason { reason }).inc();
    }

    /// Counts a handshake that proved a secret.
    pub fn proven_with(&self, secret: SecretUsed) {
        self.secrets.get_or_create(&SecretLabels { secret }).inc();
    }

    /// Counts a configuration that was read again, and whether it took the place of the one before.
    pub fn reloaded(&self, replaced: bool) {
        let reason = if replaced { REPLACED } else { REFUSED };
        self.reloads.get_or_create(&Reason { reason }).inc();
    }

    /// Lines of the program's log that were lost so far.
    pub fn log_lines_lost(&self) -> u64 {
        self.log_lines_lost.get().map_or(0, |lost| lost.load(Ordering::Relaxed))
    }

    /// The metrics page in the older text format (Prometheus 0.0.4).
    pub fn render_plain(&self, snapshot: Snapshot) -> Result<String, std::fmt::Error> {
        Ok(plain_text(&self.render(snapshot)?))
    }

    /// The metrics page in the text format of OpenMetrics 1.0.
    pub fn render(&self, snapshot: Snapshot) -> Result<String, std::fmt::Error> {
        let gauges = &self.gauges;
        // Other parts count these. They only grow.
        numbers::store(&[
            (&gauges.sent, self.wire.sent.load(Ordering::Relaxed)),
            (&gauges.received, self.wire.received.load(Ordering::Relaxed)),
            (&gauges.log_lines_lost, self.log_lines_lost()),
            (&gauges.index_hits, snapshot.index_hits),
            (&gauges.index_misses, snapshot.index_misses),
        ]);
        numbers::set(&[
            (&gauges.chunks_in_transfer, self.chunks_in_transfer.load(Ordering::Relaxed)),
            (&gauges.memory_in_use, snapshot.memory_in_use),
            (&gauges.memory_budget, snapshot.memory_budget),
            (&gauges.index_cache_bytes, snapshot.index_cache_bytes),
            (&gauges.open_files, snapshot.open_files),
            (&gauges.executors, snapshot.executors),
            (&gauges.applications, snapshot.applications),
            (&gauges.resident_anonymous, snapshot.resident_anonymous),
            (&gauges.secrets_handed_over, snapshot.secrets_handed_over),
            (&gauges.store_awaited, u64::from(snapshot.store_awaited)),
            (&gauges.applications_below_target, snapshot.applications_seen.below_target),
            (&gauges.applications_unheard, snapshot.applications_seen.unheard),
            (&gauges.certificate_not_after, snapshot.certificate_not_after),
        ]);
        for (level, count) in SecurityLevel::ALL.into_iter().zip(snapshot.applications_seen.by_level) {
            let gauge = gauges.applications_by_channel.get_or_create(&LevelLabels { channel: level.name() });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.merging.set(snapshot.merging.unwrap_or_default());
        self.merging.set_view(snapshot.view.unwrap_or_default());
        self.state.set(snapshot.state.unwrap_or_default());
        self.shares.set(&snapshot.shares);
        self.remains.set(&snapshot.remains);
        self.disks.set(&snapshot.disks);
        let mut page = String::new();
        encode_registry(&mut page, &self.registry)?;
        encode_registry(&mut page, self.process.look())?;
        encode_eof(&mut page)?;
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use sealed_shuffle_protocol::auth::EngineVersion;
    use sealed_shuffle_protocol::cipher::{SessionCipher, SessionMode};

    use super::*;

    #[test]
    fn page_shows_blocks_by_channel_and_refusals_by_reason() {
        let metrics = Metrics::new();
        let mode = SessionMode { version: EngineVersion::V2, cipher: SessionCipher::Gcm };
        metrics.served_over(Channel::aes(mode)).count(3, 4096);
        metrics.refused(RefusalReason::Authentication);
        let page = metrics.render(Snapshot { executors: 7, ..Snapshot::default() }).unwrap();
        for line in [
            r#"sealed_shuffle_blocks_total{channel="aes-gcm",handshake="aes-x25519-v2",cipher="AES/GCM/NoPadding"} 3"#,
            r#"sealed_shuffle_block_bytes_total{channel="aes-gcm",handshake="aes-x25519-v2",cipher="AES/GCM/NoPadding"} 4096"#,
            r#"sealed_shuffle_refusals_total{reason="authentication_failed"} 1"#,
            "sealed_shuffle_executors 7",
        ] {
            assert!(page.lines().any(|l| l == line), "{line} is not in\n{page}");
        }
    }
}
