//! The configuration of `serve`, typed.

use std::net::SocketAddr;
use std::time::Duration;

use sealed_shuffle_protocol::limits::Limits;

use super::authentication::{self, Authentication};
use super::envelope::{self, EnvelopeConfig};
use super::environment::Environment;
use super::error::{ConfigError, Issue};
use super::handover::HandoverConfig;
use super::key::{AnyKey, Reader};
use super::load::{IgnoredSetting, Loaded, Sources};
use super::merging::MergeConfig;
use super::notice::Notice;
use super::policy::{self, Policy};
use super::roots::{self, Roots};
use super::sasl::SaslSettings;
use super::secret::{ConfiguredSecret, SecretDirectory};
use super::tls::{self, TlsConfig};
use super::values::{Effective, Values};
use super::{ByteCount, keys};

/// Everything that a server is told from outside. Made by [`ServerConfig::from_sources`]; the key of each
/// field stands in parentheses, defaults are those of [`keys`].
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Address and port to listen on (`spark.sealed.bind`, `spark.shuffle.service.port`). `0.0.0.0:7337`.
    pub listen: SocketAddr,
    /// Directories beneath which files are opened (`spark.local.dir` or the environment). No default.
    pub roots: Roots,
    /// Whether peers must prove an application (`spark.authenticate`).
    pub authentication: Authentication,
    /// The secret of all applications (`spark.authenticate.secret` and others). This, `secret_directory` or
    /// `handover` is there when proof is required.
    pub secret: Option<ConfiguredSecret>,
    /// The secret before, which is valid, too (`spark.sealed.auth.previous-secret-file`).
    pub previous_secret: Option<ConfiguredSecret>,
    /// Where each application's own secret is (`spark.sealed.auth.secret-dir`).
    pub secret_directory: Option<SecretDirectory>,
    /// Where applications are handed over with their secrets, which come before the others; `None` nowhere
    /// (`spark.sealed.handover.*`).
    pub handover: Option<HandoverConfig>,
    /// Who is served, and who is told to do better (`spark.sealed.security.*`). AES-CTR or better, target AES-GCM.
    pub policy: Policy,
    /// How SASL is spoken where the policy serves it (`spark.sealed.sasl.ciphers` and others).
    pub sasl: SaslSettings,
    /// Iterations that the older handshake may cost (`spark.sealed.limits.legacy-iterations`). 10,000.
    pub max_legacy_iterations: u32,
    /// Rows in the table of applications (`spark.sealed.applications.max`). 10,000.
    pub max_applications: usize,
    /// Whether a restart finds its registrations again (`spark.shuffle.service.db.enabled`). True.
    pub recovery: bool,
    /// Sockets (`spark.shuffle.io.*`).
    pub sockets: SocketOptions,
    /// Deadlines.
    pub timeouts: ServerTimeouts,
    /// Threads that seal and move bytes (`spark.shuffle.io.serverThreads`). One per processor, at most 8.
    pub worker_threads: usize,
    /// Threads that wait for the disk of each root (`spark.sealed.disk.threads`). 8.
    pub disk_threads: usize,
    /// Chunks being sent on all connections (`spark.shuffle.maxChunksBeingTransferred`). No bound.
    pub max_chunks_being_transferred: u64,
    /// Memory for indexes that were read; 0 keeps none (`spark.shuffle.service.index.cache.size`). 100 MiB.
    pub index_cache_size: ByteCount,
    /// Memory for block data in flight (`spark.sealed.memory.budget`). 256 MiB, never less than two segments.
    pub memory_budget: ByteCount,
    /// Bytes read, sealed and written at a time (`spark.sealed.io.segment.size`). 256 KiB.
    pub segment_size: ByteCount,
    /// Files kept open between requests (`spark.sealed.files.max-open`). What the descriptor limit leaves.
    pub max_open_files: usize,
    /// Connections at the same time (`spark.sealed.connections.max`). 4096.
    pub max_connections: usize,
    /// Registered executors of all applications (`spark.sealed.limits.executors`). 100,000.
    pub max_executors: usize,
    /// What a peer's numbers may cost (`spark.sealed.limits.*`).
    pub limits: Limits,
    /// After so long without use an application is forgotten; `None` never (`spark.sealed.app.idle-ttl`). 7 days.
    pub app_idle_ttl: Option<Duration>,
    /// Where metrics and health are served; `None` nowhere (`spark.sealed.admin.address`).
    pub admin: Option<SocketAddr>,
    /// TLS beside all else; `None` refuses it (`spark.ssl.rpc.*`, `spark.sealed.tls.*`).
    pub tls: Option<TlsConfig>,
    /// Where data keys come from for what is sealed at rest (`spark.sealed.keys.*`). A local key file.
    pub envelope: EnvelopeConfig,
    /// Push-based merging; `None` refuses it (`spark.shuffle.push.server.*`).
    pub merging: Option<MergeConfig>,
    /// What is logged, as a filter of `tracing-subscriber` (`spark.sealed.log`). `info`.
    pub log: String,
    report: Report,
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
    /// Until a connection has authenticated (`spark.sealed.handshake.timeout`). 30 s.
    pub handshake: Duration,
    /// Without a byte moving; `None` never closes (`spark.shuffle.io.connectionTimeout`). 120 s.
    pub idle: Option<Duration>,
    /// With bytes to be sent and none taken; `None` waits for ever (`spark.sealed.stalled.timeout`). As `idle`.
    pub stalled: Option<Duration>,
    /// For answers that have begun when the server is told to stop (`spark.sealed.drain.timeout`). 30 s.
    pub drain: Duration,
}

/// What was read, for those who ask afterwards.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) properties_file: Option<std::path::PathBuf>,
    pub(crate) effective: Vec<Effective>,
    pub(crate) notices: Vec<Notice>,
    pub(crate) ignored: Vec<IgnoredSetting>,
}

impl ServerConfig {
    /// Reads all sources. The error holds everything that is wrong, not only the first thing.
    pub fn from_sources(sources: &Sources, environment: &dyn Environment) -> Result<Self, ConfigError> {
        Self::from_loaded(&Loaded::from_sources(sources, environment, Reader::Serve), environment)
    }

    /// Reads what was loaded.
    pub fn from_loaded(loaded: &Loaded, environment: &dyn Environment) -> Result<Self, ConfigError> {
        let mut values = Values::new(loaded, environment);
        let v = &mut values;
        let listen = SocketAddr::new(v.value(&keys::BIND), v.value(&keys::SERVICE_PORT));
        let roots = roots::resolve(v);
        let mut policy = policy::read(v);
        let (authentication, secrets) = authentication::resolve(v, &policy);
        policy.anonymous = authentication == Authentication::Optional;
        let sasl = SaslSettings::read(v);
        let max_legacy_iterations = v.value(&keys::LIMIT_LEGACY_ITERATIONS);
        let max_applications = count(v.value(&keys::APPLICATIONS_MAX));
        let sockets = SocketOptions {
            backlog: positive(v.value(&keys::BACK_LOG)),
            receive_buffer: positive(v.value(&keys::RECEIVE_BUFFER)),
            send_buffer: positive(v.value(&keys::SEND_BUFFER)),
            keep_alive: v.value(&keys::TCP_KEEP_ALIVE),
        };
        let timeouts = ServerTimeouts {
            handshake: v.value(&keys::HANDSHAKE_TIMEOUT),
            idle: unless_zero(v.value(&keys::CONNECTION_TIMEOUT)),
            stalled: unless_zero(v.value(&keys::STALLED_TIMEOUT)),
            drain: v.value(&keys::DRAIN_TIMEOUT),
        };
        let worker_threads = match v.value(&keys::SERVER_THREADS) {
            0 => environment.processors().clamp(1, 8),
            threads => count(threads),
        };
        let disk_threads = count(v.value(&keys::DISK_THREADS));
        let max_chunks_being_transferred = v.value(&keys::MAX_CHUNKS_BEING_TRANSFERRED).unsigned_abs();
        let index_cache_size = v.value(&keys::INDEX_CACHE_SIZE);
        let segment_size = v.value(&keys::SEGMENT_SIZE);
        let memory_budget = memory_budget(v, segment_size);
        let max_connections = count(v.value(&keys::CONNECTIONS_MAX));
        let max_open_files = max_open_files(v, max_connections);
        let limits = limits(v);
        let max_executors = count(v.value(&keys::LIMIT_EXECUTORS));
        let app_idle_ttl = unless_zero(v.value(&keys::APP_IDLE_TTL));
        let admin = admin(v);
        let tls = tls::resolve(v, tls::Side::Server);
        let envelope = envelope::read(v);
        let merging = MergeConfig::read(v);
        let log = v.value(&keys::LOG);
        v.value(&keys::UNKNOWN);
        accepted_without_effect(v);
        let recovery = v.value(&keys::DB_ENABLED);
        if !recovery {
            v.info(format!("a restart forgets registrations: {} = false", keys::DB_ENABLED.name()));
        }

        let (effective, notices) = values.finish()?;
        let roots = roots.expect("roots that could not be used were refused");
        let report = Report {
            properties_file: loaded.properties_file().map(Into::into),
            effective,
            notices,
            ignored: loaded.ignored().to_vec(),
        };
        Ok(Self {
            listen,
            roots,
            authentication,
            secret: secrets.current,
            previous_secret: secrets.previous,
            secret_directory: secrets.directory,
            handover: secrets.handover,
            policy,
            sasl,
            max_legacy_iterations,
            max_applications,
            recovery,
            sockets,
            timeouts,
            worker_threads,
            disk_threads,
            max_chunks_being_transferred,
            index_cache_size,
            memory_budget,
            segment_size,
            max_open_files,
            max_connections,
            max_executors,
            limits,
            app_idle_ttl,
            admin,
            tls,
            envelope,
            merging,
            log,
            report,
        })
    }

    /// What the operator should know although the configuration can be used.
    pub fn notices(&self) -> &[Notice] {
        &self.report.notices
    }

    /// Every key that is in effect, with its value and origin; secrets are not shown.
    pub fn effective(&self) -> &[Effective] {
        &self.report.effective
    }

    /// Keys of Spark's that were set and have no effect here.
    pub fn ignored(&self) -> &[IgnoredSetting] {
        &self.report.ignored
    }

    /// The effective configuration as lines of text: the summary first, then every key, then keys without
    /// effect, then notices. No secret is in it.
    pub fn describe(&self) -> Vec<String> {
        let mut lines = self.summary();
        lines.extend(self.report.closing());
        lines
    }

    /// What an operator looks for first: file, roots, secret source, policy, limits.
    pub fn summary(&self) -> Vec<String> {
        let mut lines = self.report.opening();
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
            (None, _, None) if self.handover.is_some() => "secret: none but what is handed over".into(),
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
        if let Some(merging) = &self.merging {
            lines.push(format!("merging: on, in chunks of at least {}", merging.min_chunk));
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

impl Report {
    pub(crate) fn opening(&self) -> Vec<String> {
        vec![match &self.properties_file {
            Some(path) => format!("properties file: {}", path.display()),
            None => "properties file: none".into(),
        }]
    }

    pub(crate) fn closing(&self) -> impl Iterator<Item = String> {
        let effective = self.effective.iter().map(ToString::to_string);
        let ignored = self.ignored.iter().map(|ignored| {
            format!("{} has no effect: {}  ({})", ignored.key, ignored.because, ignored.origin)
        });
        effective.chain(ignored).chain(self.notices.iter().map(ToString::to_string))
    }
}

/// Where the operator's port of a server with these sources is; `None` where it has none.
pub fn admin_address(
    sources: &Sources,
    environment: &dyn Environment,
) -> Result<Option<SocketAddr>, ConfigError> {
    let loaded = Loaded::from_sources(sources, environment, Reader::Serve);
    let mut values = Values::new(&loaded, environment);
    let address = values.optional(&keys::ADMIN_ADDRESS).map(|(address, _)| address);
    values.finish()?;
    Ok(address)
}

fn memory_budget(v: &mut Values<'_>, segment_size: ByteCount) -> ByteCount {
    let budget = v.value(&keys::MEMORY_BUDGET);
    if budget.as_u64() < 2 * segment_size.as_u64() {
        let reason = format!("less than two segments of {segment_size}");
        let remedy = format!("raise it, or lower {}", keys::SEGMENT_SIZE.name());
        v.refuse(Issue::new(keys::MEMORY_BUDGET.name(), reason, remedy).with_value(budget.to_string()));
    }
    budget
}

/// Descriptors for listeners, logs, the runtime and files that are opened for one request.
const RESERVED_DESCRIPTORS: u64 = 128;

/// More open files than this bring nothing.
const MOST_OPEN_FILES: u64 = 65_536;

fn max_open_files(v: &mut Values<'_>, connections: usize) -> usize {
    let limit = v.environment().descriptor_limit().unwrap_or(u64::MAX);
    let besides = connections as u64 + RESERVED_DESCRIPTORS;
    let asked = u64::from(v.value(&keys::FILES_MAX_OPEN));
    let files = if asked == 0 { limit.saturating_sub(besides).clamp(64, MOST_OPEN_FILES) } else { asked };
    if files + besides > limit {
        v.warn(format!(
            "the limit of {limit} open descriptors is not enough for {connections} connections and {files} files: \
             raise it to {} (LimitNOFILE= of the unit, ulimit -n), or lower {}{}",
            files + besides,
            keys::CONNECTIONS_MAX.name(),
            if asked == 0 { String::new() } else { format!(" or {}", keys::FILES_MAX_OPEN.name()) },
        ));
    }
    usize::try_from(files).unwrap_or(usize::MAX)
}

fn limits(v: &mut Values<'_>) -> Limits {
    let mut limits = Limits::default();
    limits.handshake_frame = v.value(&keys::LIMIT_HANDSHAKE_FRAME).as_u64();
    limits.request_frame = v.value(&keys::LIMIT_REQUEST_FRAME).as_u64();
    limits.pipelined_requests = count(v.value(&keys::LIMIT_PIPELINED_REQUESTS));
    limits.streams = count(v.value(&keys::LIMIT_STREAMS));
    limits.chunks = count(v.value(&keys::LIMIT_CHUNKS));
    limits.local_dirs = count(v.value(&keys::LIMIT_LOCAL_DIRS));
    limits
}

fn admin(v: &mut Values<'_>) -> Option<SocketAddr> {
    let (address, _) = v.optional(&keys::ADMIN_ADDRESS)?;
    if !address.ip().is_loopback() {
        v.warn(format!(
            "{} = {address} is not on loopback: metrics and the names of applications are open to everyone who reaches it",
            keys::ADMIN_ADDRESS.name()
        ));
    }
    Some(address)
}

/// Keys of Spark's service that are accepted, and what to say about them.
fn accepted_without_effect(v: &mut Values<'_>) {
    v.value(&keys::FETCH_RDD);
    if !v.value(&keys::VERIFY_BLOCK_PATHS) {
        v.refuse(
            Issue::new(
                keys::VERIFY_BLOCK_PATHS.name(),
                "files are always opened beneath their root, which cannot be switched off",
                "remove the key, and name every directory that is to be served as a root",
            )
            .with_value("false"),
        );
    }
}

fn positive(number: i32) -> Option<u32> {
    u32::try_from(number).ok().filter(|number| *number > 0)
}

pub(crate) fn unless_zero(time: Duration) -> Option<Duration> {
    (!time.is_zero()).then_some(time)
}

pub(crate) fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
