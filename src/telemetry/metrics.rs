//! Every counter and gauge, in one struct.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use sealed_shuffle_protocol::channel::{Channel, SecurityLevel};
use sealed_shuffle_transport::pot::PotFigures;
use sealed_shuffle_transport::wire::WireCounters;

use super::disks::{DiskMetrics, DiskSnapshot};
use super::merging::MergeMetrics;
use super::numbers;
use super::remains::RemainsMetrics;
use super::shares::ShareMetrics;
use super::state::StateMetrics;
use crate::keys::envelope::KeyCalls;
use crate::merge::MergeCounters;
use crate::remains::figures::Figures;
use crate::state::StateCounters;

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
        /// The peer uses AES-GCM that takes one message of a connection, as Spark 3.4's does.
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

/// A channel as labels. Each has few values.
#[derive(Clone, Copy, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
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
    /// Figures of push-based merging; `None` where merging is switched off.
    pub merging: Option<MergeCounters>,
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
    /// Applications that used each channel, in the order of [`SecurityLevel::ALL`].
    pub by_level: [u64; SecurityLevel::ALL.len()],
    /// Applications that used a channel below their target.
    pub below_target: u64,
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
    /// Calls to the key service.
    pub key_calls: KeyCalls,
    /// Lines of the program's log that were lost.
    pub log_lines_lost: OnceLock<Arc<AtomicU64>>,
    connections_by_channel: Family<ChannelLabels, Counter>,
    blocks: Family<ChannelLabels, Counter>,
    block_bytes: Family<ChannelLabels, Counter>,
    requests: Family<RequestLabels, Counter>,
    /// Those of `requests`, in the order of [`RequestKind::ALL`]: no request looks up its counter by its name.
    requests_by_kind: Vec<Counter>,
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
            key_calls: KeyCalls::default(),
            log_lines_lost: OnceLock::new(),
            connections_by_channel: Family::default(),
            blocks: Family::default(),
            block_bytes: Family::default(),
            requests: Family::default(),
            requests_by_kind: Vec::new(),
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
        };
        metrics.register();
        metrics.begin_at_zero();
        metrics
    }

    /// Counters whose labels are known are there from the start, so that a rate over them has a beginning.
    fn begin_at_zero(&mut self) {
        let of =
            |request: &RequestKind| self.requests.get_or_create_owned(&RequestLabels { request: *request });
        self.requests_by_kind = RequestKind::ALL.iter().map(of).collect();
        for reason in RefusalReason::ALL {
            drop(self.refusals.get_or_create(&RefusalLabels { reason: *reason }));
        }
        for secret in SecretUsed::ALL {
            drop(self.secrets.get_or_create(&SecretLabels { secret: *secret }));
        }
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("connections", "Connections open now", self.connections.clone());
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
        self.merging.register(registry);
        self.shares.register(registry);
        self.remains.register(registry);
        self.disks.register(registry);
        self.state.register(registry);
        let gauges = &self.gauges;
        registry.register(
            "applications_by_channel",
            "Applications in the table that used a channel, by channel",
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
                    "Applications in the table that used a channel below their target",
                    &gauges.applications_below_target,
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
        self.connections_by_channel.get_or_create(&ChannelLabels::from(channel)).inc();
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
        let outcome = if done { "done" } else { "not_done" };
        self.handover.get_or_create(&HandoverLabels { message, outcome }).inc();
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

    /// Counts a configuration that was read again; the result is `replaced` or `refused`.
    pub fn reloaded(&self, result: &'static str) {
        self.reloads.get_or_create(&Reason { reason: result }).inc();
    }

    /// The metrics page in the text format that Prometheus reads (OpenMetrics 1.0).
    pub fn render(&self, snapshot: Snapshot) -> Result<String, std::fmt::Error> {
        let gauges = &self.gauges;
        // Other parts count these. They only grow.
        numbers::store(&[
            (&gauges.sent, self.wire.sent.load(Ordering::Relaxed)),
            (&gauges.received, self.wire.received.load(Ordering::Relaxed)),
            (
                &gauges.log_lines_lost,
                self.log_lines_lost.get().map_or(0, |lost| lost.load(Ordering::Relaxed)),
            ),
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
        ]);
        for (level, count) in SecurityLevel::ALL.into_iter().zip(snapshot.applications_seen.by_level) {
            let gauge = gauges.applications_by_channel.get_or_create(&LevelLabels { channel: level.name() });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.merging.set(snapshot.merging.unwrap_or_default());
        self.state.set(snapshot.state.unwrap_or_default());
        self.shares.set(&snapshot.shares);
        self.remains.set(&snapshot.remains);
        self.disks.set(&snapshot.disks);
        let mut page = String::new();
        encode(&mut page, &self.registry)?;
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
