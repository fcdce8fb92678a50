//! The configuration of `serve`, typed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use sealed_shuffle_protocol::limits::Limits;

use super::admin::{self, AdminConfig};
use super::audit::AuditConfig;
use super::authentication::{self, Authentication};
use super::clean_up::CleanUpConfig;
use super::confinement::ConfinementConfig;
use super::descriptors::Descriptors;
use super::envelope::{self, EnvelopeConfig};
use super::environment::Environment;
use super::error::{ConfigError, Issue};
use super::handover::HandoverConfig;
use super::key::{AnyKey, Reader};
use super::load::Sources;
use super::local_socket::{SocketPlace, place};
use super::merge_config::MergeConfig;
use super::policy::{self, Policy};
use super::quota::QuotaConfig;
use super::report::Report;
use super::roots::{self, RootSource, Roots};
use super::sasl::SaslSettings;
use super::secret::{ConfiguredSecret, SecretDirectory};
use super::tls::{self, TlsConfig};
use super::traces::TracesConfig;
use super::value::{AtRest, LogFormat};
use super::values::{Values, read_sources};
use super::{ByteCount, keys};

/// All settings of a server. [`ServerConfig::from_sources`] reads them, and [`ServerConfig::new`] is for a program that a
/// server is part of. Behind each field stand its key in parentheses and its default; the defaults are those of [`keys`].
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Address and port to listen on (`spark.sealed.bind`, `spark.shuffle.service.port`). `[::]:7337`, which takes
    /// peers of IPv4, too, and `0.0.0.0:7337` on a machine without IPv6.
    pub listen: SocketAddr,
    /// Directories beneath which files are opened (`spark.local.dir` or the environment). No default.
    pub roots: Roots,
    /// Whether the path of a directory must name the application that registers it
    /// (`spark.shuffle.service.requireAppScopedLocalDirs`). True where applications are handed over.
    pub app_scoped_dirs: bool,
    /// Whether peers must prove an application (`spark.authenticate`).
    pub authentication: Authentication,
    /// The secret of all applications (`spark.authenticate.secret` and others). If proof is required, this,
    /// `secret_directory` or `handover` is set.
    pub secret: Option<ConfiguredSecret>,
    /// The previous secret, which is still valid (`spark.sealed.auth.previous-secret-file`).
    pub previous_secret: Option<ConfiguredSecret>,
    /// The directory with a secret for each application (`spark.sealed.auth.secret-dir`).
    pub secret_directory: Option<SecretDirectory>,
    /// The socket where applications are handed over with their secrets. A secret that was handed over comes before the
    /// others. `None` takes none (`spark.sealed.handover.*`).
    pub handover: Option<HandoverConfig>,
    /// The channels that are served, and the channel that applications should reach (`spark.sealed.security.*`).
    /// AES-CTR and better are served, AES-GCM is the target.
    pub policy: Policy,
    /// The settings of SASL, for a policy that serves it (`spark.sealed.sasl.ciphers` and others).
    pub sasl: SaslSettings,
    /// Most iterations of PBKDF2 in the older handshake (`spark.sealed.limits.legacy-iterations`). 10,000.
    pub max_legacy_iterations: u32,
    /// Rows in the table of applications (`spark.sealed.applications.max`). 10,000.
    pub max_applications: usize,
    /// Whether registrations outlast a restart (`spark.shuffle.service.db.enabled`). True.
    pub recovery: bool,
    /// Sockets (`spark.shuffle.io.*`).
    pub sockets: SocketOptions,
    /// Deadlines.
    pub timeouts: ServerTimeouts,
    /// Threads that seal and move bytes (`spark.shuffle.io.serverThreads`). One per processor, at most 8.
    pub worker_threads: usize,
    /// Threads that wait for the disk of each root (`spark.sealed.disk.threads`). 8.
    pub disk_threads: usize,
    /// How long a call to a disk may take (`spark.sealed.disk.timeout`).
    pub disk_timeout: Duration,
    /// Most chunks that are being sent, over all connections (`spark.shuffle.maxChunksBeingTransferred`). No bound.
    pub max_chunks_being_transferred: u64,
    /// Memory for a cache of indexes; 0 keeps none (`spark.shuffle.service.index.cache.size`). 100 MiB.
    pub index_cache_size: ByteCount,
    /// Memory for block data in flight (`spark.sealed.memory.budget`). 256 MiB, never less than two segments.
    pub memory_budget: ByteCount,
    /// Bytes a second that a connection moves at least which holds memory that others wait for
    /// (`spark.sealed.memory.min-rate`). 16 KiB.
    pub min_rate: ByteCount,
    /// What one application may have (`spark.sealed.quota.*`). Its share.
    pub quota: QuotaConfig,
    /// Bytes read, sealed and written at a time (`spark.sealed.io.segment.size`). 256 KiB.
    pub segment_size: ByteCount,
    /// Most files that are kept open between requests (`spark.sealed.files.max-open`). As many as the descriptor limit
    /// leaves.
    pub max_open_files: usize,
    /// Most connections at the same time (`spark.sealed.connections.max`). 8192, or as many as the descriptor limit leaves.
    pub max_connections: usize,
    /// Descriptors that may be open (`RLIMIT_NOFILE`); `None` is no limit.
    pub descriptor_limit: Option<u64>,
    /// Of these, descriptors that peers do not get: with them the operator's port and socket answer when peers have all
    /// others. 64, fewer where the limit is below 205.
    pub kept_descriptors: u64,
    /// Most registered executors, over all applications (`spark.sealed.limits.executors`). 100,000.
    pub max_executors: usize,
    /// The bounds of the numbers that a peer sends (`spark.sealed.limits.*`).
    pub limits: Limits,
    /// An application that was not used for this time is forgotten; `None` forgets none (`spark.sealed.app.idle-ttl`).
    /// 7 days.
    pub app_idle_ttl: Option<Duration>,
    /// Files that applications leave behind (`spark.sealed.cleanup.*` and others). They stay, and are counted.
    pub clean_up: CleanUpConfig,
    /// The operator's port (`spark.sealed.admin.*`). A socket in the state directory, and no address.
    pub admin: AdminConfig,
    /// The audit trail; `None` keeps none (`spark.sealed.audit.*`). None.
    pub audit: Option<AuditConfig>,
    /// Traces of requests; `None` makes none (`spark.sealed.traces.*`). None.
    pub traces: Option<TracesConfig>,
    /// The socket at which a successor asks for the ports; `None` takes none (`spark.sealed.takeover.socket`). In the
    /// state directory.
    pub takeover: Option<SocketPlace>,
    /// TLS, on the port of the other channels; `None` refuses it (`spark.ssl.rpc.*`, `spark.sealed.tls.*`).
    pub tls: Option<TlsConfig>,
    /// The source of the keys for files that the server seals (`spark.sealed.keys.*`). A local key file.
    pub envelope: EnvelopeConfig,
    /// What the process of `serve` gives up (`spark.sealed.confinement.*`). All that it can.
    pub confinement: ConfinementConfig,
    /// Push-based merging; `None` refuses it (`spark.shuffle.push.server.*`).
    pub merging: Option<MergeConfig>,
    /// Between two looks at the files that this was read from; `None` leaves it to where they lie
    /// (`spark.sealed.reload.interval`).
    pub reload_interval: Option<Duration>,
    /// The filter of log lines, in the grammar of `tracing-subscriber` (`spark.sealed.log`). `info`.
    pub log: String,
    /// The form of log lines (`spark.sealed.log.format`). Text.
    pub log_format: LogFormat,
    /// The origin of each setting.
    pub report: Report,
}

/// Options of accepted and listening sockets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SocketOptions {
    /// Listen backlog; `None` is the system's maximum (`spark.shuffle.io.backLog`).
    pub backlog: Option<u32>,
    /// `SO_RCVBUF`; `None` leaves it to the system (`spark.shuffle.io.receiveBuffer`).
    pub receive_buffer: Option<u32>,
    /// `SO_SNDBUF`; `None` leaves it to the system (`spark.shuffle.io.sendBuffer`).
    pub send_buffer: Option<u32>,
    /// `SO_KEEPALIVE` (`spark.shuffle.io.enableTcpKeepAlive`). Off.
    pub keep_alive: bool,
}

/// Deadlines of a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ServerTimeouts {
    /// For a connection to authenticate (`spark.sealed.handshake.timeout`). 30 s.
    pub handshake: Duration,
    /// For a connection on which no byte moves; `None` never closes one (`spark.shuffle.io.connectionTimeout`). 120 s.
    pub idle: Option<Duration>,
    /// For a peer that takes none of the bytes that wait for it; `None` waits for ever (`spark.sealed.stalled.timeout`).
    /// As `idle`.
    pub stalled: Option<Duration>,
    /// For answers that have begun when the server stops (`spark.sealed.drain.timeout`). 30 s.
    pub drain: Duration,
}

impl ServerConfig {
    /// Reads all sources. The error lists every fault, not only the first one.
    pub fn from_sources(sources: &Sources, environment: &dyn Environment) -> Result<Self, ConfigError> {
        let read = |v: &mut Values<'_>| Self::read(v, roots::resolve);
        let (config, report) = read_sources(sources, environment, Reader::Serve, read)?;
        Ok(Self { report, ..config.expect("roots that could not be used were refused") })
    }

    /// The defaults of all keys, for a program that embeds a server. It reads no file and no variable. The server opens
    /// blocks beneath `roots`, and keeps the files that outlive it in `state_dir`. Every peer must prove an application,
    /// so the caller sets a secret before it starts the server. The operator's port is off, and no successor takes over.
    pub fn new(roots: impl IntoIterator<Item = PathBuf>, state_dir: impl Into<PathBuf>) -> Self {
        let roots = Roots { source: RootSource::Program, paths: roots.into_iter().collect() };
        let mut config = Self::read(&mut Values::defaults(), |_| Some(roots)).expect("there are roots");
        config.authentication = Authentication::Required;
        config.policy.anonymous = false;
        config.envelope = EnvelopeConfig::in_dir(state_dir);
        config.admin = AdminConfig::default();
        config.takeover = None;
        config
    }

    /// Returns `None` if the roots were refused.
    fn read(v: &mut Values<'_>, roots: impl FnOnce(&mut Values<'_>) -> Option<Roots>) -> Option<Self> {
        let listen = SocketAddr::new(bind(v), v.value(&keys::SERVICE_PORT));
        let roots = roots(v);
        let mut policy = policy::read(v);
        let (authentication, secrets) = authentication::resolve(v, &policy);
        policy.anonymous = authentication == Authentication::Optional;
        let envelope = envelope::read(v);
        let recovery = recovery(v);
        let descriptors = Descriptors::read(v);
        let app_scoped_dirs = v.optional(&keys::APP_SCOPED_DIRS).map(|(required, _)| required);
        Some(Self {
            listen,
            app_scoped_dirs: app_scoped_dirs.unwrap_or_else(|| secrets.handover.is_some()),
            authentication,
            secret: secrets.current,
            previous_secret: secrets.previous,
            secret_directory: secrets.directory,
            handover: secrets.handover,
            policy,
            sasl: SaslSettings::read(v),
            max_legacy_iterations: v.value(&keys::LIMIT_LEGACY_ITERATIONS),
            max_applications: v.count(&keys::APPLICATIONS_MAX),
            sockets: SocketOptions {
                backlog: v.positive(&keys::BACK_LOG),
                receive_buffer: v.positive(&keys::RECEIVE_BUFFER),
                send_buffer: v.positive(&keys::SEND_BUFFER),
                keep_alive: v.value(&keys::TCP_KEEP_ALIVE),
            },
            timeouts: ServerTimeouts {
                handshake: v.value(&keys::HANDSHAKE_TIMEOUT),
                idle: v.unless_zero(&keys::CONNECTION_TIMEOUT),
                stalled: v.unless_zero(&keys::STALLED_TIMEOUT),
                drain: v.value(&keys::DRAIN_TIMEOUT),
            },
            worker_threads: match v.count(&keys::SERVER_THREADS) {
                0 => v.environment().processors().clamp(1, 8),
                threads => threads,
            },
            disk_threads: v.count(&keys::DISK_THREADS),
            disk_timeout: v.value(&keys::DISK_TIMEOUT),
            max_chunks_being_transferred: v.value(&keys::MAX_CHUNKS_BEING_TRANSFERRED).unsigned_abs(),
            index_cache_size: v.value(&keys::INDEX_CACHE_SIZE),
            segment_size: v.value(&keys::SEGMENT_SIZE),
            memory_budget: memory_budget(v),
            min_rate: v.value(&keys::MEMORY_MIN_RATE),
            quota: QuotaConfig::read(v),
            max_connections: descriptors.connections,
            max_open_files: descriptors.files,
            descriptor_limit: descriptors.limit,
            kept_descriptors: descriptors.kept,
            limits: limits(v),
            max_executors: v.count(&keys::LIMIT_EXECUTORS),
            app_idle_ttl: v.unless_zero(&keys::APP_IDLE_TTL),
            admin: admin::read(v, &envelope.state_dir),
            audit: AuditConfig::read(v, &envelope.state_dir),
            traces: TracesConfig::read(v),
            takeover: place(v, &keys::TAKEOVER_SOCKET, envelope.state_dir.join(TAKEOVER_SOCKET)),
            tls: tls::resolve(v, tls::Side::Server),
            envelope,
            confinement: ConfinementConfig::read(v),
            merging: MergeConfig::read(v),
            log: v.value(&keys::LOG),
            log_format: v.value(&keys::LOG_FORMAT),
            reload_interval: v.optional(&keys::RELOAD_INTERVAL).map(|(interval, _)| interval),
            recovery,
            clean_up: CleanUpConfig::read(v, recovery),
            report: Report::default(),
            // Last, so that the faults of all other keys are found before it returns.
            roots: roots?,
        })
    }

    /// The effective configuration as lines of text: the summary first, then every key, then keys without
    /// effect, then notices. No secret is in it.
    pub fn describe(&self) -> Vec<String> {
        let mut lines = self.summary();
        lines.extend(self.report.closing());
        lines
    }

    /// The first lines that an operator needs: file, roots, secret source, policy, limits.
    pub fn summary(&self) -> Vec<String> {
        let mut lines = vec![self.report.opening()];
        let roots: Vec<_> = self.roots.paths.iter().map(|path| path.display().to_string()).collect();
        lines.push(format!("roots: {}  ({})", roots.join(", "), self.roots.source));
        lines.push(match (&self.secret, &self.previous_secret, &self.secret_directory) {
            (Some(secret), None, _) => format!("secret: from {}", secret.source),
            (Some(secret), Some(previous), _) => {
                format!("secret: from {}, the one before from {}", secret.source, previous.source)
            }
            (None, _, Some(directory)) => {
                format!("secret: of each application, in {}", directory.path.display())
            }
            (None, _, None) if self.handover.is_some() => {
                "secret: none but those that are handed over".into()
            }
            (None, _, None) => "secret: none".into(),
        });
        if let Some(handover) = &self.handover {
            lines.push(format!(
                "handed over: applications and their secrets, at {}",
                handover.socket.display()
            ));
        }
        let proof = match self.authentication {
            Authentication::Required => "every peer proves the secret",
            Authentication::Optional => "peers without proof are served",
        };
        lines.push(format!("policy: {}, {proof}", self.policy));
        if let Some(tls) = &self.tls {
            lines.push(format!("tls: {}", tls.summary()));
        }
        lines.push(format!("envelope keys: {}", self.envelope));
        lines.push(format!("admin: {}", self.admin));
        if let Some(audit) = &self.audit {
            let (dir, files, size) = (audit.dir.display(), audit.files, audit.file_size);
            lines.push(format!("audit trail: in {dir}, at most {files} files of {size}"));
        }
        if let Some(traces) = &self.traces {
            let percent = traces.sample_rate * 100.0;
            lines.push(format!("traces: of {percent} % of requests, to {}", traces.endpoint));
        }
        if let Some(merging) = &self.merging {
            let form = match (merging.at_rest, &merging.view_dir) {
                (AtRest::Sealed, None) => {
                    "sealed and without a view (spark.sealed.merge.view.dir), so merged data is of use to \
                     remote readers alone, and executors on this host read the unmerged blocks"
                        .to_owned()
                }
                (AtRest::Sealed, Some(dir)) => {
                    format!(
                        "sealed, and executors on this host read it through the view at {}",
                        dir.display()
                    )
                }
                (AtRest::Plain, _) => "plain, so executors on this host read it by themselves".to_owned(),
            };
            lines.push(format!("merging: on, in chunks of at least {}, {form}", merging.min_chunk));
        }
        lines.push(format!(
            "threads: {} for the wire, {} for disks; at most {} connections and {} cached files",
            self.worker_threads, self.disk_threads, self.max_connections, self.max_open_files
        ));
        lines.push(format!(
            "memory: {} in flight in segments of {}, {} of cached indexes; at most {} executors",
            self.memory_budget, self.segment_size, self.index_cache_size, self.max_executors
        ));
        lines
    }
}

/// The address to listen on: all of them, unless one is named.
fn bind(v: &mut Values<'_>) -> IpAddr {
    match v.optional(&keys::BIND) {
        Some((address, _)) => address,
        None if v.environment().has_ipv6() => Ipv6Addr::UNSPECIFIED.into(),
        None => Ipv4Addr::UNSPECIFIED.into(),
    }
}

fn memory_budget(v: &mut Values<'_>) -> ByteCount {
    let segment_size = v.value(&keys::SEGMENT_SIZE);
    let budget = v.value(&keys::MEMORY_BUDGET);
    if budget.as_u64() < 2 * segment_size.as_u64() {
        let reason = format!("less than two segments of {segment_size}");
        let remedy = format!("raise it, or lower {}", keys::SEGMENT_SIZE.name());
        v.refuse(Issue::new(keys::MEMORY_BUDGET.name(), reason, remedy).with_value(budget.to_string()));
    }
    budget
}

/// Name in the state directory of the socket at which a successor asks for the ports.
const TAKEOVER_SOCKET: &str = "takeover.sock";

fn limits(v: &mut Values<'_>) -> Limits {
    let mut limits = Limits::default();
    limits.handshake_frame = v.bytes(&keys::LIMIT_HANDSHAKE_FRAME);
    limits.request_frame = v.bytes(&keys::LIMIT_REQUEST_FRAME);
    limits.pipelined_requests = v.count(&keys::LIMIT_PIPELINED_REQUESTS);
    limits.streams = v.count(&keys::LIMIT_STREAMS);
    limits.chunks = v.count(&keys::LIMIT_CHUNKS);
    limits.local_dirs = v.count(&keys::LIMIT_LOCAL_DIRS);
    limits
}

/// Whether registrations outlast a restart. Reads one more key of Spark's service, which has no effect.
fn recovery(v: &mut Values<'_>) -> bool {
    v.value(&keys::UNKNOWN);
    if !v.value(&keys::VERIFY_BLOCK_PATHS) {
        v.refuse(
            Issue::new(
                keys::VERIFY_BLOCK_PATHS.name(),
                "files are always opened beneath their root, which cannot be switched off",
                "remove the key, and name as a root every directory that the server should serve",
            )
            .with_value("false"),
        );
    }
    let recovery = v.value(&keys::DB_ENABLED);
    if !recovery {
        v.info(format!("a restart forgets registrations: {} = false", keys::DB_ENABLED.name()));
    }
    recovery
}
