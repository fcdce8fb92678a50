//! Every configuration key that is read, as one table.
//!
//! The only place in which a key's name, default, bounds and meaning stand: the parser, the suggestions for
//! mistyped names, the effective configuration that `serve` prints and the table in `docs/reference.md` are made of it.
//! Defaults of Spark's keys are those of Spark 4.3.0's standalone shuffle service and executors.

use sealed_shuffle_protocol::auth::legacy::LegacyKdf;
use sealed_shuffle_protocol::cipher::SessionCipher;
use sealed_shuffle_protocol::sasl::SaslCipher;

use std::time::Duration;

use sealed_shuffle_protocol::channel::SecurityLevel;

use super::ByteCount;
use super::envelope::{KeySourceName, OnUnavailable};
use super::key::DefaultValue::{Same, Text as Is, Unset};
use super::key::Reader::{Both, Client, Serve};
use super::key::{AnyKey, Key};
use super::tls::{ClientAuth, TlsVersions};
use super::value::{
    Address, Bool, Choice, Choices, ClientHandshake, Engine, FOREVER, Int, Ip, LARGEST, List, LogFilter,
    Secret, Size, SizeUnit, Text, Time, TimeUnit, UnknownKeys,
};

/// Every key, in the order of the documentation.
pub static ALL: &[&dyn AnyKey] = &[
    &SERVICE_PORT,
    &BIND,
    &LOCAL_DIR,
    &AUTHENTICATE,
    &AUTHENTICATE_SECRET,
    &SECRET_FILE,
    &PREVIOUS_SECRET_FILE,
    &SECRET_DIR,
    &SECRET_WAIT,
    &HANDOVER_SOCKET,
    &HANDOVER_USERS,
    &SECURITY_MINIMUM,
    &SECURITY_TARGET,
    &SECURITY_ALLOW,
    &SECURITY_APP_MINIMUM,
    &SECURITY_APP_TARGET,
    &SECURITY_APP_ALLOW,
    &SASL_CIPHERS,
    &SASL_ALWAYS_ENCRYPT,
    &SASL_MAX_BLOCK,
    &NETWORK_TIMEOUT,
    &CONNECTION_TIMEOUT,
    &BACK_LOG,
    &SERVER_THREADS,
    &RECEIVE_BUFFER,
    &SEND_BUFFER,
    &TCP_KEEP_ALIVE,
    &MAX_CHUNKS_BEING_TRANSFERRED,
    &INDEX_CACHE_SIZE,
    &FETCH_RDD,
    &VERIFY_BLOCK_PATHS,
    &DB_ENABLED,
    &MERGE_MANAGER,
    &STATE_DIR,
    &CLUSTER_NAME,
    &NODE_ID,
    &KEYS_PROVIDER,
    &KEYS_FILE,
    &KEYS_COMMAND,
    &KEYS_KMS_KEY_ID,
    &KEYS_KMS_ENDPOINT,
    &KEYS_KMS_REGION,
    &KEYS_TIMEOUT,
    &KEYS_ON_UNAVAILABLE,
    &KEYS_CACHE_TTL,
    &MERGE_MIN_CHUNK,
    &MERGE_INDEX_CACHE,
    &MERGE_IO_ERRORS,
    &MERGE_CLEANER_TIMEOUT,
    &MERGE_FSYNC,
    &ADMIN_ADDRESS,
    &APP_IDLE_TTL,
    &MEMORY_BUDGET,
    &SEGMENT_SIZE,
    &DISK_THREADS,
    &FILES_MAX_OPEN,
    &CONNECTIONS_MAX,
    &HANDSHAKE_TIMEOUT,
    &STALLED_TIMEOUT,
    &DRAIN_TIMEOUT,
    &LIMIT_HANDSHAKE_FRAME,
    &LIMIT_REQUEST_FRAME,
    &LIMIT_RESPONSE_FRAME,
    &LIMIT_PIPELINED_REQUESTS,
    &LIMIT_STREAMS,
    &LIMIT_CHUNKS,
    &LIMIT_LOCAL_DIRS,
    &LIMIT_EXECUTORS,
    &LIMIT_LEGACY_ITERATIONS,
    &APPLICATIONS_MAX,
    &UNKNOWN,
    &LOG,
    &CRYPTO_ENABLED,
    &CRYPTO_CIPHER,
    &CRYPTO_ENGINE,
    &CLIENT_HANDSHAKE,
    &CRYPTO_KEY_LENGTH,
    &CRYPTO_KEY_FACTORY,
    &CRYPTO_KEY_ITERATIONS,
    &SASL_ENCRYPTION,
    &AUTH_RPC_TIMEOUT,
    &MAX_RETRIES,
    &RETRY_WAIT,
    &CONNECTIONS_PER_PEER,
    &CONNECTION_CREATION_TIMEOUT,
    &REGISTRATION_TIMEOUT,
    &REGISTRATION_MAX_ATTEMPTS,
    &MAX_FETCH_TO_MEMORY,
    &OLD_FETCH_PROTOCOL,
    &MAX_SIZE_IN_FLIGHT,
    &MAX_REQUESTS_IN_FLIGHT,
    &MAX_BLOCKS_IN_FLIGHT,
    &MAX_BLOCK_TO_PUSH,
    &MAX_PUSH_BATCH,
    &SSL_RPC_ENABLED,
    &SSL_RPC_PROTOCOL,
    &SSL_RPC_ALGORITHMS,
    &SSL_RPC_KEY_STORE,
    &SSL_RPC_KEY_STORE_PASSWORD,
    &SSL_RPC_KEY_PASSWORD,
    &SSL_RPC_TRUST_STORE,
    &SSL_RPC_TRUST_STORE_PASSWORD,
    &SSL_RPC_PRIVATE_KEY,
    &SSL_RPC_PRIVATE_KEY_PASSWORD,
    &SSL_RPC_CERT_CHAIN,
    &SSL_PROTOCOL,
    &SSL_ALGORITHMS,
    &SSL_KEY_STORE,
    &SSL_KEY_STORE_PASSWORD,
    &SSL_KEY_PASSWORD,
    &SSL_TRUST_STORE,
    &SSL_TRUST_STORE_PASSWORD,
    &SSL_PRIVATE_KEY,
    &SSL_PRIVATE_KEY_PASSWORD,
    &SSL_CERT_CHAIN,
    &TLS_BUNDLE,
    &TLS_COMMAND,
    &TLS_CLIENT_AUTH,
    &TLS_DANGER_SKIP_HOSTNAME,
];

const SECOND: Duration = Duration::from_secs(1);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// Port of the shuffle service.
pub static SERVICE_PORT: Key<Int<u16>> = Key::new(
    "spark.shuffle.service.port",
    Int::registry(0, u16::MAX),
    Is("7337"),
    Both,
    "TCP port that is served, and at which executors' services are looked for; 0 takes any free one. \
     A taken port fails the start: no other is searched. Flag `--port`.",
);

/// Address to listen on.
pub static BIND: Key<Ip> = Key::new(
    "spark.sealed.bind",
    Ip,
    Is("0.0.0.0"),
    Serve,
    "Address that is listened on; Spark's own service always takes all of them. Flag `--bind`.",
);

/// Roots of executors' directories.
pub static LOCAL_DIR: Key<List> = Key::new(
    "spark.local.dir",
    List,
    Unset("none: refused unless the environment names directories"),
    Serve,
    "Directories beneath which executors may register theirs and files are opened. `SPARK_EXECUTOR_DIRS`, \
     `SPARK_LOCAL_DIRS` and, under YARN, `LOCAL_DIRS` come before it. Entries are trimmed.",
)
.literal();

/// Whether peers must prove an application.
pub static AUTHENTICATE: Key<Bool> = Key::new(
    "spark.authenticate",
    Bool::REGISTRY,
    Unset("true as soon as there is a secret"),
    Both,
    "Whether peers must prove that they know the secret. `false`, in so many words, also serves peers that prove \
     nothing, if `spark.sealed.security.minimum` lets their channel in; a client with `false` speaks clear text.",
);

/// The shared secret.
pub static AUTHENTICATE_SECRET: Key<Secret> = Key::new(
    "spark.authenticate.secret",
    Secret,
    Unset("none"),
    Both,
    "The secret that applications share with the service. `_SPARK_AUTH_SECRET` in the environment comes before \
     it. On a command line other users can read it.",
)
.literal();

/// A file with the secret.
pub static SECRET_FILE: Key<Text> = Key::new(
    "spark.sealed.auth.secret-file",
    Text { what: "path, or - for standard input" },
    Unset("none"),
    Both,
    "File whose whole text, a final line break included, is the secret, when neither the environment nor \
     `spark.authenticate.secret` gives one. Flag `--secret-file`.",
)
.near("spark.authenticate.secret");

/// The shared secret before this one.
pub static PREVIOUS_SECRET_FILE: Key<Text> = Key::new(
    "spark.sealed.auth.previous-secret-file",
    Text { what: "path" },
    Unset("none"),
    Serve,
    "File with the shared secret that was valid before: accepted beside the current one while a rotation lasts. \
     `sealed_shuffle_secrets_total` tells which of the two is used.",
);

/// One secret per application.
pub static SECRET_DIR: Key<Text> = Key::new(
    "spark.sealed.auth.secret-dir",
    Text { what: "directory" },
    Unset("none"),
    Serve,
    "Directory with a file per application: `ID` holds its secret, `ID.previous` the one before, which is valid, too. \
     Read at each handshake, mode 0600 or stricter; removing `ID` ends the application's access.",
);

/// Patience with a secret that comes late.
pub static SECRET_WAIT: Key<Time> = Key::new(
    "spark.sealed.auth.secret-wait",
    Time::ours(Duration::ZERO, Duration::from_secs(3600)),
    Is("10s"),
    Serve,
    "How long a handshake waits for its application's file to appear in `spark.sealed.auth.secret-dir`, or for its \
     secret to be handed over; below `spark.sealed.handshake.timeout`.",
);

/// Where applications are handed over.
pub static HANDOVER_SOCKET: Key<Text> = Key::new(
    "spark.sealed.handover.socket",
    Text { what: "path" },
    Unset("none"),
    Serve,
    "Unix socket at which a resource manager says which applications begin, with their secrets, and end: YARN does \
     through `yarn/`. Mode 0600, or 0660 where other users are named; made at start, removed at the end.",
);

/// By whom.
pub static HANDOVER_USERS: Key<List> = Key::new(
    "spark.sealed.handover.users",
    List,
    Unset("our own and root"),
    Serve,
    "Users, by name or number, that may hand over beside our own and root; they must be in the group of the socket.",
);

/// The lowest channel that is served.
pub static SECURITY_MINIMUM: Key<Choice<SecurityLevel>> = Key::new(
    "spark.sealed.security.minimum",
    Choice::LEVEL,
    Is("aes-ctr"),
    Both,
    "The weakest channel that is served; weaker ones are recognized and refused. A client never speaks less than \
     it when it is set. Flag `--allow-plaintext` is short for `plaintext`.",
)
.near("spark.network.crypto.cipher");

/// Where everybody should arrive.
pub static SECURITY_TARGET: Key<Choice<SecurityLevel>> = Key::new(
    "spark.sealed.security.target",
    Choice::LEVEL,
    Is("aes-gcm"),
    Serve,
    "Weaker channels are served, if the minimum lets them in, and reported: log, metrics, `sealed-shuffle apps`. Not \
     below the minimum, which raises it where it is not set.",
);

/// Exactly what is served.
pub static SECURITY_ALLOW: Key<Choices<SecurityLevel>> = Key::new(
    "spark.sealed.security.allow",
    Choices(Choice::LEVEL),
    Unset("everything from the minimum up"),
    Serve,
    "Exactly the channels that are served, instead of a minimum.",
);

/// A minimum for one application.
pub static SECURITY_APP_MINIMUM: Key<Choice<SecurityLevel>> = Key::new(
    "spark.sealed.security.app.*.minimum",
    Choice::LEVEL,
    Unset("the general rules"),
    Serve,
    "The minimum of one application, whose id stands in the place of `*`; for peers that have proven to be it.",
);

/// A target for one application.
pub static SECURITY_APP_TARGET: Key<Choice<SecurityLevel>> = Key::new(
    "spark.sealed.security.app.*.target",
    Choice::LEVEL,
    Unset("the general target"),
    Serve,
    "The target of one application, whose id stands in the place of `*`.",
);

/// Exactly what is served to one application.
pub static SECURITY_APP_ALLOW: Key<Choices<SecurityLevel>> = Key::new(
    "spark.sealed.security.app.*.allow",
    Choices(Choice::LEVEL),
    Unset("the general rules"),
    Serve,
    "Exactly the channels that are served to one application, whose id stands in the place of `*`.",
);

/// SASL's ciphers.
pub static SASL_CIPHERS: Key<Choices<SaslCipher>> = Key::new(
    "spark.sealed.sasl.ciphers",
    Choices(Choice::SASL_CIPHER),
    Is("3des"),
    Both,
    "Ciphers of SASL's privacy layer that the server offers where its policy serves `sasl-conf`, and that the client takes: \
     the challenge that names them is not authenticated. 3DES costs about a hundred \
     times the processor time of AES; RC4 and DES are broken.",
)
.near("spark.authenticate.enableSaslEncryption");

/// SASL without encryption.
pub static SASL_ALWAYS_ENCRYPT: Key<Bool> = Key::new(
    "spark.network.sasl.serverAlwaysEncrypt",
    Bool::TRANSPORT,
    Is("false"),
    Serve,
    "Whether SASL without encryption is refused, after its last message and with a text.",
)
.literal();

/// Size of SASL's tokens.
pub static SASL_MAX_BLOCK: Key<Size> = Key::new(
    "spark.network.sasl.maxEncryptedBlockSize",
    Size::new(SizeUnit::Bytes, ByteCount::kib(1), ByteCount::mib(16)),
    Is("64k"),
    Both,
    "Plaintext bytes in one encrypted token of SASL that is sent.",
)
.literal();

/// The parent of the network timeouts.
pub static NETWORK_TIMEOUT: Key<Time> = Key::new(
    "spark.network.timeout",
    Time::spark(TimeUnit::Seconds).negative_is_zero(),
    Is("120s"),
    Both,
    "Default of `spark.shuffle.io.connectionTimeout`.",
)
.literal();

/// Idle close.
pub static CONNECTION_TIMEOUT: Key<Time> = Key::new(
    "spark.shuffle.io.connectionTimeout",
    Time::spark(TimeUnit::Seconds).negative_is_zero(),
    Same(&NETWORK_TIMEOUT),
    Both,
    "A connection on which no byte moves for so long is closed; 0 never closes one. A client gives up an \
     unanswered request after it. An idle connection costs a descriptor and a few KiB.",
)
.literal();

/// Listen backlog.
pub static BACK_LOG: Key<Int<i32>> = Key::new(
    "spark.shuffle.io.backLog",
    Int::ANY,
    Is("-1"),
    Serve,
    "Connections that the kernel queues before they are accepted; below 1 the system's maximum.",
)
.literal();

/// Worker threads.
pub static SERVER_THREADS: Key<Int<u32>> = Key::new(
    "spark.shuffle.io.serverThreads",
    Int::transport(0, 1024),
    Is("0"),
    Serve,
    "Threads that seal and move bytes; 0 is one per processor, at most 8. Costs about 2 MiB of address space each.",
)
.literal();

/// SO_RCVBUF.
pub static RECEIVE_BUFFER: Key<Int<i32>> = Key::new(
    "spark.shuffle.io.receiveBuffer",
    Int::ANY,
    Is("-1"),
    Both,
    "Receive buffer of a socket in bytes, without a unit; below 1 the system decides. Kernel memory per connection.",
)
.literal();

/// SO_SNDBUF.
pub static SEND_BUFFER: Key<Int<i32>> = Key::new(
    "spark.shuffle.io.sendBuffer",
    Int::ANY,
    Is("-1"),
    Both,
    "Send buffer of a socket in bytes, without a unit; below 1 the system decides. Kernel memory per connection.",
)
.literal();

/// SO_KEEPALIVE.
pub static TCP_KEEP_ALIVE: Key<Bool> = Key::new(
    "spark.shuffle.io.enableTcpKeepAlive",
    Bool::TRANSPORT,
    Is("false"),
    Serve,
    "Whether the kernel probes accepted connections that are silent.",
)
.literal();

/// Chunks in flight over all connections.
pub static MAX_CHUNKS_BEING_TRANSFERRED: Key<Int<i64>> = Key::new(
    "spark.shuffle.maxChunksBeingTransferred",
    Int::transport(1, i64::MAX),
    Is("9223372036854775807"),
    Serve,
    "Chunks being sent on all connections together; a request that comes when so many are closes its connection, \
     and the client tries again.",
)
.literal();

/// Weight of the index cache.
pub static INDEX_CACHE_SIZE: Key<Size> = Key::new(
    "spark.shuffle.service.index.cache.size",
    Size::new(SizeUnit::Bytes, ByteCount::new(0), LARGEST),
    Is("100m"),
    Serve,
    "Memory for index files that were read, at most; 0 reads the index at every request.",
)
.literal();

/// Disk-persisted RDD blocks.
pub static FETCH_RDD: Key<Bool> = Key::new(
    "spark.shuffle.service.fetch.rdd.enabled",
    Bool::TRANSPORT,
    Is("false"),
    Serve,
    "Accepted, without effect on serving: RDD blocks on disk are served whenever they are asked for.",
)
.literal();

/// Confinement of paths.
pub static VERIFY_BLOCK_PATHS: Key<Bool> = Key::new(
    "spark.shuffle.service.verifyBlockPathsAtRead",
    Bool::TRANSPORT,
    Is("true"),
    Serve,
    "Only `true` is accepted: files are always opened beneath their root, with the kernel's help.",
)
.literal();

/// Recovery.
pub static DB_ENABLED: Key<Bool> = Key::new(
    "spark.shuffle.service.db.enabled",
    Bool::REGISTRY,
    Is("true"),
    Serve,
    "Whether registrations, merge state and secrets that were handed over survive a restart: sealed, in \
     `recovery.redb` under `spark.sealed.state.dir`. `false` forgets them.",
);

/// Merging.
pub static MERGE_MANAGER: Key<Text> = Key::new(
    "spark.shuffle.push.server.mergedShuffleFileManagerImpl",
    Text { what: "class name" },
    Is("org.apache.spark.network.shuffle.NoOpMergedShuffleFileManager"),
    Serve,
    "A name that ends in `RemoteBlockPushResolver` switches push-based merging on; any other leaves it off.",
)
.literal();

/// Size of merged chunks.
pub static MERGE_MIN_CHUNK: Key<Size> = Key::new(
    "spark.shuffle.push.server.minChunkSizeInMergedShuffleFile",
    Size::new(SizeUnit::Bytes, ByteCount::new(0), ByteCount::new(i32::MAX as u64)),
    Is("2m"),
    Serve,
    "A merged chunk ends with the block that makes it so long; readers fetch whole chunks.",
)
.literal();

/// Memory for merged partitions that are read.
pub static MERGE_INDEX_CACHE: Key<Size> = Key::new(
    "spark.shuffle.push.server.mergedIndexCacheSize",
    Size::new(SizeUnit::Bytes, ByteCount::new(0), LARGEST),
    Is("100m"),
    Serve,
    "Memory for the indexes of merged partitions that are being read, at most; 0 keeps none.",
)
.literal();

/// Disk errors of a partition.
pub static MERGE_IO_ERRORS: Key<Int<u32>> = Key::new(
    "spark.shuffle.push.server.ioExceptionsThresholdDuringMerge",
    Int::transport(0, i32::MAX as u32),
    Is("4"),
    Serve,
    "Disk errors that a partition being merged survives; with one more it takes no further blocks.",
)
.literal();

/// Clean-up at the end.
pub static MERGE_CLEANER_TIMEOUT: Key<Time> = Key::new(
    "spark.shuffle.push.server.mergedShuffleCleaner.shutdown.timeout",
    Time::spark(TimeUnit::Seconds),
    Is("60s"),
    Serve,
    "How long a server that stops goes on deleting merged files that nobody wants.",
)
.literal();

/// Whether finalizing waits for the disk.
pub static MERGE_FSYNC: Key<Bool> = Key::new(
    "spark.sealed.merge.fsync",
    Bool::TRANSPORT,
    Is("false"),
    Serve,
    "Whether a merge is announced as finalized only when the disk has it, so that it survives a power loss, too. \
     Without it, it survives everything that leaves the kernel running; what a power loss damaged is found out.",
);

/// Where the server keeps what outlives it.
pub static STATE_DIR: Key<Text> = Key::new(
    "spark.sealed.state.dir",
    Text { what: "directory" },
    Unset("`$STATE_DIRECTORY` (systemd); else `/var/lib/sealed-shuffle` for root, `~/.local/state/sealed-shuffle` for others"),
    Serve,
    "Directory for what the server itself keeps across restarts; made with mode 0700 when it is needed. Not on the \
     disks of `spark.local.dir`.",
)
.near("spark.shuffle.service.db.backend");

/// Name of the cluster, for keys.
pub static CLUSTER_NAME: Key<Text> = Key::new(
    "spark.sealed.cluster.name",
    Text { what: "name, at most 256 bytes" },
    Unset("none"),
    Serve,
    "Bound to every data key, so that two clusters that share a key service cannot open each other's data. It is no \
     secret: key services log it. Data that was sealed under another name waits until the name is back.",
);

/// The node that keys are bound to.
pub static NODE_ID: Key<Text> = Key::new(
    "spark.sealed.node.id",
    Text { what: "name, at most 256 bytes" },
    Unset("none: a volume may move to another node"),
    Serve,
    "Bound to every data key when it is set: a volume that moves to a node with another id does not open there.",
);

/// Where data keys come from.
pub static KEYS_PROVIDER: Key<Choice<KeySourceName>> = Key::new(
    "spark.sealed.keys.provider",
    Choice::KEY_SOURCE,
    Is("local-file"),
    Serve,
    "Who wraps the data keys of what the server seals at rest: a key file of this machine, AWS KMS, or a program that \
     stands before any other key service.",
);

/// The local key file.
pub static KEYS_FILE: Key<Text> = Key::new(
    "spark.sealed.keys.file",
    Text { what: "path" },
    Unset("`keys` in `spark.sealed.state.dir`"),
    Serve,
    "Key file of the provider `local-file`: made with mode 0600 when it is first needed, refused when other users can read it, \
     read again when it changes. Keep a copy elsewhere: what was sealed under a lost key is lost.",
);

/// A program that wraps and unwraps.
pub static KEYS_COMMAND: Key<Text> = Key::new(
    "spark.sealed.keys.command",
    Text { what: "program and arguments" },
    Unset("none"),
    Serve,
    "Program of the provider `command`: split at blanks and run without a shell, with `wrap` or `unwrap` as its last \
     argument, one line of JSON on standard input and one on standard output. Keys are in no argument and no \
     environment.",
);

/// The key of AWS KMS.
pub static KEYS_KMS_KEY_ID: Key<Text> = Key::new(
    "spark.sealed.keys.kms.key-id",
    Text { what: "key id, ARN or alias" },
    Unset("none"),
    Serve,
    "Symmetric key of the provider `aws-kms`, as an id, an ARN, `alias/NAME` or an alias's ARN. Needs \
     `kms:GenerateDataKey` and `kms:Decrypt`; with `kms:DescribeKey` a key that cannot work is refused at start.",
);

/// Where AWS KMS is.
pub static KEYS_KMS_ENDPOINT: Key<Text> = Key::new(
    "spark.sealed.keys.kms.endpoint",
    Text { what: "URL" },
    Unset("that of the region"),
    Serve,
    "Endpoint of AWS KMS, for a private one. `http://` is warned about: data keys pass it in clear.",
);

/// The region of AWS KMS.
pub static KEYS_KMS_REGION: Key<Text> = Key::new(
    "spark.sealed.keys.kms.region",
    Text { what: "name of a region" },
    Unset("that of the key's ARN, else what the AWS SDK finds"),
    Serve,
    "Region of the key. Credentials are found as the AWS SDK finds them: environment, profile, web identity, container, instance.",
);

/// Deadline of a call.
pub static KEYS_TIMEOUT: Key<Time> = Key::new(
    "spark.sealed.keys.timeout",
    Time::ours(Duration::from_millis(100), Duration::from_secs(600)),
    Is("10s"),
    Serve,
    "Time that one call to the key service has, its retries included.",
);

/// What an outage means.
pub static KEYS_ON_UNAVAILABLE: Key<Choice<OnUnavailable>> = Key::new(
    "spark.sealed.keys.on-unavailable",
    Choice::ON_UNAVAILABLE,
    Is("refuse"),
    Serve,
    "When the key service cannot be reached: `refuse` refuses applications that have no key yet and lets the others \
     go on with theirs until they end. `use-cached` asks again for each application's key at half of \
     `spark.sealed.keys.cache-ttl` and lets it go on for all of that time after the service last confirmed it; a key \
     that is withdrawn is then soon out of use. After a restart data waits under both.",
);

/// How long a key goes on without its service.
pub static KEYS_CACHE_TTL: Key<Time> = Key::new(
    "spark.sealed.keys.cache-ttl",
    Time::ours(SECOND, YEAR),
    Is("1h"),
    Serve,
    "How long a data key in memory may be used after the key service last confirmed it, with \
     `spark.sealed.keys.on-unavailable` = `use-cached`. One call per application in half of it.",
);

/// Metrics and health.
pub static ADMIN_ADDRESS: Key<Address> = Key::new(
    "spark.sealed.admin.address",
    Address,
    Unset("off"),
    Serve,
    "Where `/metrics`, `/healthz` and the forgetting of applications are served over HTTP, to everyone who reaches it. Flag `--admin`.",
);

/// Forgetting applications.
pub static APP_IDLE_TTL: Key<Time> = Key::new(
    "spark.sealed.app.idle-ttl",
    Time::ours(Duration::ZERO, YEAR),
    Is("7d"),
    Serve,
    "An application that neither registers nor reads for so long is forgotten; 0 never forgets one. A registered \
     executor costs a few hundred bytes.",
)
.near("spark.worker.cleanup.appDataTtl");

/// Bytes in flight.
pub static MEMORY_BUDGET: Key<Size> = Key::new(
    "spark.sealed.memory.budget",
    Size::new(SizeUnit::Bytes, ByteCount::mib(1), LARGEST),
    Is("256m"),
    Serve,
    "Memory for block data on its way from disk to sockets and for large requests, half for each, all connections together; peers wait when it is used up.",
);

/// Unit of reading and sealing.
pub static SEGMENT_SIZE: Key<Size> = Key::new(
    "spark.sealed.io.segment.size",
    Size::new(SizeUnit::Bytes, ByteCount::kib(64), ByteCount::mib(4)),
    Is("256k"),
    Serve,
    "Bytes read, sealed and written at a time. An active connection holds one or two segments; smaller ones cost \
     more system calls per byte.",
);

/// Blocking reads.
pub static DISK_THREADS: Key<Int<u32>> = Key::new(
    "spark.sealed.disk.threads",
    Int::registry(1, 1024),
    Is("8"),
    Serve,
    "Threads that wait for the disk of each root when the page cache has not got the bytes; about two per spindle or \
     more per SSD.",
);

/// Cache of descriptors.
pub static FILES_MAX_OPEN: Key<Int<u32>> = Key::new(
    "spark.sealed.files.max-open",
    Int::registry(0, 1 << 20),
    Is("0"),
    Serve,
    "Files kept open between requests, at most; 0 takes what the descriptor limit leaves beside the connections.",
);

/// Accepted connections.
pub static CONNECTIONS_MAX: Key<Int<u32>> = Key::new(
    "spark.sealed.connections.max",
    Int::registry(1, 1 << 20),
    Is("4096"),
    Serve,
    "Connections at the same time; further ones wait to be accepted. One descriptor and a few KiB each while idle.",
);

/// Deadline of authentication.
pub static HANDSHAKE_TIMEOUT: Key<Time> = Key::new(
    "spark.sealed.handshake.timeout",
    Time::ours(Duration::from_millis(100), Duration::from_secs(3600)),
    Is("30s"),
    Serve,
    "A connection that has not authenticated within it is closed.",
)
.near("spark.network.auth.rpcTimeout");

/// Deadline of a reader that does not read.
pub static STALLED_TIMEOUT: Key<Time> = Key::new(
    "spark.sealed.stalled.timeout",
    Time::ours(Duration::ZERO, FOREVER).negative_is_zero(),
    Same(&CONNECTION_TIMEOUT),
    Serve,
    "A peer that takes none of the bytes it asked for within it is cut off, since it holds memory of the budget; \
     0 waits for ever.",
)
.near("spark.shuffle.io.connectionTimeout");

/// Deadline of a stop.
pub static DRAIN_TIMEOUT: Key<Time> = Key::new(
    "spark.sealed.drain.timeout",
    Time::ours(Duration::ZERO, Duration::from_secs(86_400)),
    Is("30s"),
    Serve,
    "On SIGTERM and SIGINT, time for answers that have begun to end; what is left then is cut and reported.",
);

/// Frame collected before authentication.
pub static LIMIT_HANDSHAKE_FRAME: Key<Size> = Key::new(
    "spark.sealed.limits.handshake-frame",
    Size::new(SizeUnit::Bytes, ByteCount::kib(1), ByteCount::mib(1)),
    Is("64k"),
    Both,
    "Largest frame before authentication, and the largest stream name or upload head afterwards; memory per connection.",
);

/// Frame of a request.
pub static LIMIT_REQUEST_FRAME: Key<Size> = Key::new(
    "spark.sealed.limits.request-frame",
    Size::new(SizeUnit::Bytes, ByteCount::kib(64), ByteCount::mib(2047)),
    Is("64m"),
    Serve,
    "Largest request afterwards; a fetch of a million blocks takes about 12 MiB. Memory per connection while one arrives.",
);

/// Frame of an answer.
pub static LIMIT_RESPONSE_FRAME: Key<Size> = Key::new(
    "spark.sealed.limits.response-frame",
    Size::new(SizeUnit::Bytes, ByteCount::kib(64), ByteCount::mib(2047)),
    Is("64m"),
    Client,
    "Largest answer that is collected in memory; blocks are not, they are streamed.",
);

/// Requests read ahead.
pub static LIMIT_PIPELINED_REQUESTS: Key<Int<u32>> = Key::new(
    "spark.sealed.limits.pipelined-requests",
    Int::registry(1, 1 << 16),
    Is("64"),
    Serve,
    "Requests of one connection that are read before the first is answered; no more is read meanwhile.",
);

/// Open streams.
pub static LIMIT_STREAMS: Key<Int<u32>> = Key::new(
    "spark.sealed.limits.streams-per-connection",
    Int::registry(1, 1 << 24),
    Is("4096"),
    Serve,
    "Streams that one connection may have open; a stream costs the ids of its blocks.",
);

/// Chunks of a stream.
pub static LIMIT_CHUNKS: Key<Int<u32>> = Key::new(
    "spark.sealed.limits.chunks-per-stream",
    Int::registry(1, i32::MAX as u32),
    Is("4194304"),
    Serve,
    "Blocks that one request may ask for, and a third of what all open streams of a connection may; about 12 bytes each.",
);

/// Directories of an executor.
pub static LIMIT_LOCAL_DIRS: Key<Int<u32>> = Key::new(
    "spark.sealed.limits.local-dirs",
    Int::registry(1, 1 << 16),
    Is("1024"),
    Serve,
    "Directories that one executor may register.",
);

/// Registered executors.
pub static LIMIT_EXECUTORS: Key<Int<u32>> = Key::new(
    "spark.sealed.limits.executors",
    Int::registry(1, 1 << 24),
    Is("100000"),
    Serve,
    "Executors that may be registered at the same time, of all applications; a few hundred bytes each.",
);

/// Work of the older handshake.
pub static LIMIT_LEGACY_ITERATIONS: Key<Int<u32>> = Key::new(
    "spark.sealed.limits.legacy-iterations",
    Int::registry(1, 1 << 24),
    Is("10000"),
    Both,
    "Iterations of PBKDF2 that a peer may ask for in the handshake of Spark 2.2 to 3.0, before it has proven anything.",
)
.near("spark.network.crypto.keyFactoryIterations");

/// Rows of the table of applications.
pub static APPLICATIONS_MAX: Key<Int<u32>> = Key::new(
    "spark.sealed.applications.max",
    Int::registry(1, 1 << 20),
    Is("10000"),
    Serve,
    "Applications that `sealed-shuffle apps` remembers; those seen longest ago go first. About a KiB each.",
);

/// Unknown keys of ours.
pub static UNKNOWN: Key<Choice<UnknownKeys>> = Key::new(
    "spark.sealed.config.unknown",
    Choice::UNKNOWN_KEYS,
    Is("error"),
    Both,
    "Whether an unknown `spark.sealed.` key refuses the start or is only warned about (for going back to an older \
     release).",
);

/// Log filter.
pub static LOG: Key<LogFilter> = Key::new(
    "spark.sealed.log",
    LogFilter,
    Is("info"),
    Both,
    "What is logged to standard error. `debug` and `trace` cost throughput.",
);

/// AES of the client.
pub static CRYPTO_ENABLED: Key<Bool> = Key::new(
    "spark.network.crypto.enabled",
    Bool::TRANSPORT,
    Unset("true"),
    Client,
    "Whether the client uses an AES handshake. `false`, in so many words, is SASL. What a server accepts is \
     `spark.sealed.security.minimum` alone.",
)
.literal();

/// Session cipher of the client.
pub static CRYPTO_CIPHER: Key<Choice<SessionCipher>> = Key::new(
    "spark.network.crypto.cipher",
    Choice::CIPHER,
    Is("AES/CTR/NoPadding"),
    Client,
    "Session cipher of the client; Spark's own services must have the same. CTR has no integrity (CVE-2025-55039).",
)
.literal();

/// Key derivation of the client.
pub static CRYPTO_ENGINE: Key<Engine> = Key::new(
    "spark.network.crypto.authEngineVersion",
    Engine,
    Is("1"),
    Client,
    "Key derivation of the client; Spark's own services must have the same.",
)
.literal();

/// Handshake of the client.
pub static CLIENT_HANDSHAKE: Key<Choice<ClientHandshake>> = Key::new(
    "spark.sealed.client.handshake",
    Choice::CLIENT_HANDSHAKE,
    Is("x25519"),
    Client,
    "The client's AES handshake: Spark 2.4 and 3.0 know `legacy` alone, which no later Spark does. There is no \
     falling back from one to the other.",
)
.near("spark.network.crypto.enabled");

/// Key length of the older handshake.
pub static CRYPTO_KEY_LENGTH: Key<Choice<u32>> = Key::new(
    "spark.network.crypto.keyLength",
    Choice::KEY_BITS,
    Is("128"),
    Client,
    "Bits of the keys of the `legacy` handshake.",
)
.literal();

/// Key derivation of the older handshake.
pub static CRYPTO_KEY_FACTORY: Key<Choice<LegacyKdf>> = Key::new(
    "spark.network.crypto.keyFactoryAlgorithm",
    Choice::KEY_FACTORY,
    Is("PBKDF2WithHmacSHA1"),
    Client,
    "Key derivation of the `legacy` handshake.",
)
.literal();

/// Iterations of the older handshake.
pub static CRYPTO_KEY_ITERATIONS: Key<Int<u32>> = Key::new(
    "spark.network.crypto.keyFactoryIterations",
    Int::transport(1, 1 << 24),
    Is("1024"),
    Client,
    "Iterations of the key derivation of the `legacy` handshake.",
)
.literal();

/// SASL with encryption.
pub static SASL_ENCRYPTION: Key<Bool> = Key::new(
    "spark.authenticate.enableSaslEncryption",
    Bool::REGISTRY,
    Is("false"),
    Client,
    "Whether a client that speaks SASL encrypts, with the strongest of the ciphers that the server offers.",
);

/// Deadline of an authentication message.
pub static AUTH_RPC_TIMEOUT: Key<Time> = Key::new(
    "spark.network.auth.rpcTimeout",
    Time::spark(TimeUnit::Seconds).at_least(SECOND),
    Is("30s"),
    Client,
    "How long the client waits for each answer of the handshake.",
)
.literal();

/// Retries.
pub static MAX_RETRIES: Key<Int<u32>> = Key::new(
    "spark.shuffle.io.maxRetries",
    Int::transport(0, i32::MAX as u32),
    Is("3"),
    Client,
    "How often a fetch is tried again after the connection failed.",
)
.literal();

/// Wait between retries.
pub static RETRY_WAIT: Key<Time> = Key::new(
    "spark.shuffle.io.retryWait",
    Time::spark(TimeUnit::Seconds),
    Is("5s"),
    Client,
    "How long the client waits before each retry.",
)
.literal();

/// Size of the connection pool.
pub static CONNECTIONS_PER_PEER: Key<Int<u32>> = Key::new(
    "spark.shuffle.io.numConnectionsPerPeer",
    Int::transport(1, 1024),
    Is("1"),
    Client,
    "Connections that the client opens to one server.",
)
.literal();

/// Deadline of a connect.
pub static CONNECTION_CREATION_TIMEOUT: Key<Time> = Key::new(
    "spark.shuffle.io.connectionCreationTimeout",
    Time::spark(TimeUnit::Seconds).negative_is_zero(),
    Same(&CONNECTION_TIMEOUT),
    Client,
    "How long the client waits for a TCP connection; 0 leaves it to the system.",
)
.literal();

/// Deadline of a registration.
pub static REGISTRATION_TIMEOUT: Key<Time> = Key::new(
    "spark.shuffle.registration.timeout",
    Time::spark(TimeUnit::Milliseconds).at_least(Duration::from_millis(1)),
    Is("5000"),
    Client,
    "How long the client waits for the answer to a registration.",
);

/// Attempts of a registration.
pub static REGISTRATION_MAX_ATTEMPTS: Key<Int<u32>> = Key::new(
    "spark.shuffle.registration.maxAttempts",
    Int::registry(1, i32::MAX as u32),
    Is("3"),
    Client,
    "How often a registration is tried.",
);

/// Blocks that go to disk.
pub static MAX_FETCH_TO_MEMORY: Key<Size> = Key::new(
    "spark.network.maxRemoteBlockSizeFetchToMem",
    Size::new(SizeUnit::Bytes, ByteCount::new(0), ByteCount::new(2_147_483_135)),
    Is("200m"),
    Client,
    "Requests above it are fetched as streams, to a file where there is one.",
)
.formerly(&["spark.reducer.maxReqSizeShuffleToMem", "spark.maxRemoteBlockSizeFetchToMem"]);

/// The protocol of Spark 2.
pub static OLD_FETCH_PROTOCOL: Key<Bool> = Key::new(
    "spark.shuffle.useOldFetchProtocol",
    Bool::REGISTRY,
    Is("false"),
    Client,
    "Whether the client opens blocks with the message of Spark 2.",
);

/// Bytes requested at once.
pub static MAX_SIZE_IN_FLIGHT: Key<Size> = Key::new(
    "spark.reducer.maxSizeInFlight",
    Size::new(SizeUnit::MiB, ByteCount::mib(1), LARGEST),
    Is("48m"),
    Client,
    "Bytes that the client has requested and not yet received, at most; one request asks for a fifth.",
)
.formerly(&["spark.reducer.maxMbInFlight"]);

/// Requests at once.
pub static MAX_REQUESTS_IN_FLIGHT: Key<Int<u32>> = Key::new(
    "spark.reducer.maxReqsInFlight",
    Int::registry(1, i32::MAX as u32),
    Is("2147483647"),
    Client,
    "Requests that the client has open, at most.",
);

/// Blocks at once and per server.
pub static MAX_BLOCKS_IN_FLIGHT: Key<Int<u32>> = Key::new(
    "spark.reducer.maxBlocksInFlightPerAddress",
    Int::registry(1, i32::MAX as u32),
    Is("2147483647"),
    Client,
    "Blocks that the client has requested of one server, at most.",
);

/// Blocks that are worth a push.
pub static MAX_BLOCK_TO_PUSH: Key<Size> = Key::new(
    "spark.shuffle.push.maxBlockSizeToPush",
    Size::new(SizeUnit::Bytes, ByteCount::new(0), LARGEST),
    Is("1m"),
    Client,
    "The largest block that the client pushes to be merged; larger ones are fetched as they are.",
);

/// Blocks pushed together.
pub static MAX_PUSH_BATCH: Key<Size> = Key::new(
    "spark.shuffle.push.maxBlockBatchSize",
    Size::new(SizeUnit::Bytes, ByteCount::new(1), LARGEST),
    Is("3m"),
    Client,
    "Bytes of neighbouring blocks that the client pushes as one request, at most.",
);

/// TLS.
pub static SSL_RPC_ENABLED: Key<Bool> = Key::new(
    "spark.ssl.rpc.enabled",
    Bool::REGISTRY,
    Is("false"),
    Both,
    "Whether the server also takes TLS on its port, and whether the client speaks it. `spark.ssl.enabled` does not \
     stand in for it, as in Spark.",
);

/// Versions of TLS.
pub static SSL_RPC_PROTOCOL: Key<Choice<TlsVersions>> = Key::new(
    "spark.ssl.rpc.protocol",
    Choice::TLS_VERSIONS,
    Unset("that of `spark.ssl.protocol`"),
    Both,
    "The only version of TLS that is spoken, `TLS` for both. Unset, the server takes both and the client speaks 1.3, as Spark does.",
);

/// Cipher suites.
pub static SSL_RPC_ALGORITHMS: Key<List> = Key::new(
    "spark.ssl.rpc.enabledAlgorithms",
    List,
    Unset("that of `spark.ssl.enabledAlgorithms`"),
    Both,
    "Cipher suites, by Java's names; what is not known here is left out, and where nothing is left every suite is offered.",
);

/// Own key and certificates.
pub static SSL_RPC_KEY_STORE: Key<Text> = Key::new(
    "spark.ssl.rpc.keyStore",
    Text { what: "path" },
    Unset("that of `spark.ssl.keyStore`"),
    Both,
    "PKCS12 or JKS file with our private key and certificate chain; told apart by its content. Read again when it changes.",
);

/// Its password.
pub static SSL_RPC_KEY_STORE_PASSWORD: Key<Secret> = Key::new(
    "spark.ssl.rpc.keyStorePassword",
    Secret,
    Unset("that of `spark.ssl.keyStorePassword`"),
    Both,
    "Password of the key store. `_SPARK_SSL_RPC_KEY_STORE_PASSWORD` in the environment comes before it.",
);

/// Password of the key within.
pub static SSL_RPC_KEY_PASSWORD: Key<Secret> = Key::new(
    "spark.ssl.rpc.keyPassword",
    Secret,
    Unset("that of `spark.ssl.keyPassword`"),
    Both,
    "Password of the key within a JKS store. `_SPARK_SSL_RPC_KEY_PASSWORD` in the environment comes before it.",
);

/// Trusted authorities.
pub static SSL_RPC_TRUST_STORE: Key<Text> = Key::new(
    "spark.ssl.rpc.trustStore",
    Text { what: "path" },
    Unset("that of `spark.ssl.trustStore`"),
    Both,
    "PKCS12, JKS or PEM file with the certificates whose signatures are believed. A client with a key store needs it: Spark, without, believes everybody. Read again when it changes.",
);

/// Its password.
pub static SSL_RPC_TRUST_STORE_PASSWORD: Key<Secret> = Key::new(
    "spark.ssl.rpc.trustStorePassword",
    Secret,
    Unset("that of `spark.ssl.trustStorePassword`"),
    Both,
    "Password of the trust store; a JKS store is read without one, too, unverified. `_SPARK_SSL_RPC_TRUST_STORE_PASSWORD` in the environment comes before it.",
);

/// Own key as PEM.
pub static SSL_RPC_PRIVATE_KEY: Key<Text> = Key::new(
    "spark.ssl.rpc.privateKey",
    Text { what: "path" },
    Unset("that of `spark.ssl.privateKey`"),
    Both,
    "PEM file with our private key (PKCS#8, encrypted or not, PKCS#1 or SEC1); with `certChain` it comes before the key store.",
);

/// Its password.
pub static SSL_RPC_PRIVATE_KEY_PASSWORD: Key<Secret> = Key::new(
    "spark.ssl.rpc.privateKeyPassword",
    Secret,
    Unset("that of `spark.ssl.privateKeyPassword`"),
    Both,
    "Password of an encrypted PEM key. `_SPARK_SSL_RPC_PRIVATE_KEY_PASSWORD` in the environment comes before it.",
);

/// Own certificates as PEM.
pub static SSL_RPC_CERT_CHAIN: Key<Text> = Key::new(
    "spark.ssl.rpc.certChain",
    Text { what: "path" },
    Unset("that of `spark.ssl.certChain`"),
    Both,
    "PEM file with our certificate and what stands between it and its authority. With it, as in Spark, its certificates are the trusted ones, and those of the trust store if there is one.",
);

/// Versions of TLS, for all uses.
pub static SSL_PROTOCOL: Key<Choice<TlsVersions>> = Key::new(
    "spark.ssl.protocol",
    Choice::TLS_VERSIONS,
    Unset("TLS for a server, TLSv1.3 for a client"),
    Both,
    "What `spark.ssl.rpc.protocol` is when it is not set, here and in Spark's other uses of TLS.",
);

/// Cipher suites, for all uses.
pub static SSL_ALGORITHMS: Key<List> = Key::new(
    "spark.ssl.enabledAlgorithms",
    List,
    Unset("every suite"),
    Both,
    "What `spark.ssl.rpc.enabledAlgorithms` is when it is not set, here and in Spark's other uses of TLS.",
);

/// Own key and certificates, for all uses.
pub static SSL_KEY_STORE: Key<Text> = Key::new(
    "spark.ssl.keyStore",
    Text { what: "path" },
    Unset("none"),
    Both,
    "What `spark.ssl.rpc.keyStore` is when it is not set, here and in Spark's other uses of TLS.",
);

/// Its password, for all uses.
pub static SSL_KEY_STORE_PASSWORD: Key<Secret> = Key::new(
    "spark.ssl.keyStorePassword",
    Secret,
    Unset("none"),
    Both,
    "What `spark.ssl.rpc.keyStorePassword` is when it is not set, here and in Spark's other uses of TLS.",
);

/// Password of the key within, for all uses.
pub static SSL_KEY_PASSWORD: Key<Secret> = Key::new(
    "spark.ssl.keyPassword",
    Secret,
    Unset("that of the key store"),
    Both,
    "What `spark.ssl.rpc.keyPassword` is when it is not set, here and in Spark's other uses of TLS.",
);

/// Trusted authorities, for all uses.
pub static SSL_TRUST_STORE: Key<Text> = Key::new(
    "spark.ssl.trustStore",
    Text { what: "path" },
    Unset("none"),
    Both,
    "What `spark.ssl.rpc.trustStore` is when it is not set, here and in Spark's other uses of TLS.",
);

/// Its password, for all uses.
pub static SSL_TRUST_STORE_PASSWORD: Key<Secret> = Key::new(
    "spark.ssl.trustStorePassword",
    Secret,
    Unset("none"),
    Both,
    "What `spark.ssl.rpc.trustStorePassword` is when it is not set, here and in Spark's other uses of TLS.",
);

/// Own key as PEM, for all uses.
pub static SSL_PRIVATE_KEY: Key<Text> = Key::new(
    "spark.ssl.privateKey",
    Text { what: "path" },
    Unset("none"),
    Both,
    "What `spark.ssl.rpc.privateKey` is when it is not set, here and in Spark's other uses of TLS.",
);

/// Its password, for all uses.
pub static SSL_PRIVATE_KEY_PASSWORD: Key<Secret> = Key::new(
    "spark.ssl.privateKeyPassword",
    Secret,
    Unset("none"),
    Both,
    "What `spark.ssl.rpc.privateKeyPassword` is when it is not set, here and in Spark's other uses of TLS.",
);

/// Own certificates as PEM, for all uses.
pub static SSL_CERT_CHAIN: Key<Text> = Key::new(
    "spark.ssl.certChain",
    Text { what: "path" },
    Unset("none"),
    Both,
    "What `spark.ssl.rpc.certChain` is when it is not set, here and in Spark's other uses of TLS.",
);

/// Key, certificates and authorities in one file.
pub static TLS_BUNDLE: Key<Text> = Key::new(
    "spark.sealed.tls.bundle",
    Text { what: "path" },
    Unset("none"),
    Both,
    "Zip file of `privateKey.pem`, `certificateChain.pem` and `trustedCertificates.pem`, instead of Spark's stores and files: one file, replaced in one go. A client may leave out the first two, a server the last. Read again when it changes.",
)
.near("spark.ssl.rpc.keyStore");

/// A program that prints them.
pub static TLS_COMMAND: Key<Text> = Key::new(
    "spark.sealed.tls.command",
    Text { what: "program and arguments" },
    Unset("none"),
    Both,
    "Program that prints the same as PEM: the private key; our certificate and those between it and its authority; self-issued certificates after the first are the trusted ones. Split at blanks and run without a shell, within 30 s, again at half the time that our certificate has left and every hour.",
)
.near("spark.ssl.rpc.keyStore");

/// Certificates of clients.
pub static TLS_CLIENT_AUTH: Key<Choice<ClientAuth>> = Key::new(
    "spark.sealed.tls.client-auth",
    Choice::CLIENT_AUTH,
    Is("none"),
    Serve,
    "Whether the server asks TLS clients for a certificate: `want` serves those that have none, `need` does not; one that does not verify is refused by both. `needClientAuth` has no effect on Spark's own transport.",
)
.near("spark.ssl.rpc.needClientAuth");

/// Names of servers.
pub static TLS_DANGER_SKIP_HOSTNAME: Key<Bool> = Key::new(
    "spark.sealed.tls.danger-skip-hostname-verification",
    Bool::REGISTRY,
    Is("false"),
    Client,
    "Whether the client takes any server whose certificate comes from a trusted authority, whatever host it is for: whoever has a certificate of that authority can pose as every server. Spark's clients do.",
);

/// The key of that name, or the family that it is a member of.
pub fn find(name: &str) -> Option<&'static dyn AnyKey> {
    let exact = ALL.iter().find(|key| key.name() == name);
    exact.or_else(|| ALL.iter().find(|key| member(key.name(), name).is_some())).copied()
}

/// What stands in the place of the star in `name`, where `family` is the name of a family of keys
/// (`spark.sealed.security.app.*.minimum`) and `name` one of its members.
pub(crate) fn member<'a>(family: &str, name: &'a str) -> Option<&'a str> {
    let (before, after) = family.split_once('*')?;
    let middle = name.strip_prefix(before)?.strip_suffix(after)?;
    (!middle.is_empty() && middle != "*").then_some(middle)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_begin_with_spark() {
        let names: BTreeSet<_> = ALL.iter().map(|key| key.name()).collect();
        assert_eq!(names.len(), ALL.len());
        assert!(names.iter().all(|name| name.starts_with("spark.")));
    }

    #[test]
    fn a_family_has_every_name_with_something_in_the_place_of_its_star() {
        let family = SECURITY_APP_MINIMUM.name();
        assert_eq!(member(family, "spark.sealed.security.app.app-1.minimum"), Some("app-1"));
        assert_eq!(member(family, "spark.sealed.security.app.a.b.minimum"), Some("a.b"));
        for other in ["spark.sealed.security.app..minimum", "spark.sealed.security.app.minimum", family] {
            assert_eq!(member(family, other), None, "{other}");
        }
        assert!(find("spark.sealed.security.app.x.target").is_some());
        assert!(find("spark.sealed.security.app.x.maximum").is_none());
    }

    #[test]
    fn every_default_is_a_value_of_its_key() {
        for key in ALL {
            let text = match key.default() {
                Is(text) => text,
                Same(other) => {
                    assert!(find(other.name()).is_some());
                    continue;
                }
                Unset(_) => continue,
            };
            assert_eq!(key.check(text), Ok(()), "{}", key.name());
        }
    }

    #[test]
    fn every_key_says_what_it_means() {
        for key in ALL {
            assert!(key.meaning().len() > 20 && !key.shape().is_empty(), "{}", key.name());
            assert!(!key.meaning().contains('|'), "{} would break the table", key.name());
        }
    }
}
