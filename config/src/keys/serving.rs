//! Where a server listens, and what it may cost.

use std::time::Duration;

use super::sockets::CONNECTION_TIMEOUT;
use crate::ByteCount;
use crate::key::DefaultValue::{Same, Text as Is, Unset};
use crate::key::Reader::{Both, Client, Serve};
use crate::key::{AnyKey, Key};
use crate::value::{
    Address, Choice, FOREVER, Int, Ip, LARGEST, List, LogFilter, LogFormat, Size, SizeUnit, Text, Time,
    UnknownKeys,
};

const YEAR: Duration = Duration::from_secs(365 * 86_400);

keys! {
    SERVING:

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
        Unset("all: `::`, for IPv4 too, and `0.0.0.0` on a machine without IPv6"),
        Serve,
        "Address that is listened on; Spark's own service always takes all of them. `::` takes peers of IPv4, too. Flag \
         `--bind`.",
    );

    /// Metrics and health.
    pub static ADMIN_ADDRESS: Key<Address> = Key::new(
        "spark.sealed.admin.address",
        Address,
        Unset("off"),
        Serve,
        "Where the operator's port is served over TCP: everyone who reaches it may read all that it shows, such as `/metrics`, \
         `/status` and `/applications`, but for `/directories`. Flag `--admin`.",
    );

    /// Names of the operator's port.
    pub static ADMIN_HOSTS: Key<List> = Key::new(
        "spark.sealed.admin.hosts",
        List,
        Unset("loopback and the address itself"),
        Serve,
        "Further hosts, without a port, by which TCP clients may call the operator's port: a request with another `Host` is \
         refused, since a web page may have sent it (DNS rebinding).",
    );

    /// What may change something over TCP.
    pub static ADMIN_TOKEN_FILE: Key<Text> = Key::new(
        "spark.sealed.admin.token-file",
        Text { what: "path" },
        Unset("none: no changes over TCP"),
        Serve,
        "File of mode 0600 with a token of 32 characters or more, read at start: a TCP client that sends it as \
         `Authorization: Bearer TOKEN` may end applications.",
    );

    /// Where changes are taken.
    pub static ADMIN_SOCKET: Key<Text> = Key::new(
        "spark.sealed.admin.socket",
        Text { what: "path, or `off`" },
        Unset("`admin.sock` in `spark.sealed.state.dir`"),
        Serve,
        "Unix socket of the operator's port, for reading and for changes. Mode 0600, or 0660 where other users are named; \
         made at start, removed at the end. `off` makes none. Without the key, a server starts without a socket that it cannot make.",
    );

    /// By whom.
    pub static ADMIN_USERS: Key<List> = Key::new(
        "spark.sealed.admin.users",
        List,
        Unset("our own and root"),
        Serve,
        "Users, by name or number, that may use the socket beside our own and root; they must be in its group, and may have \
         to reach its directory.",
    );

    /// Where a successor asks for the ports.
    pub static TAKEOVER_SOCKET: Key<Text> = Key::new(
        "spark.sealed.takeover.socket",
        Text { what: "path, or `off`" },
        Unset("`takeover.sock` in `spark.sealed.state.dir`"),
        Serve,
        "Unix socket at which `serve --takeover` of our own user or root asks for the listening ports and the recovery store. \
         Mode 0600. `off` makes none. Without the key, a server starts without a socket that it cannot make.",
    );

    /// Between two looks at the files of the configuration.
    pub static RELOAD_INTERVAL: Key<Time> = Key::new(
        "spark.sealed.reload.interval",
        Time::ours(Duration::ZERO, Duration::from_secs(86_400)),
        Unset("`30s` where one of the files lies in a Secret or ConfigMap that Kubernetes has mounted, else 0"),
        Serve,
        "The files that the configuration was read from, secrets among them, are looked at so often: where one has changed, \
         and stayed as it is for one more look, all is read again as at SIGHUP. 0 waits for a signal.",
    );

    /// Bytes in flight.
    pub static MEMORY_BUDGET: Key<Size> = Key::new(
        "spark.sealed.memory.budget",
        Size::new(SizeUnit::Bytes, ByteCount::mib(1), LARGEST),
        Is("256m"),
        Serve,
        "Memory for block data on its way from disk to sockets and for large requests, half for each, all connections together; peers wait when it is used up.",
    );

    /// Least movement of whoever holds memory.
    pub static MEMORY_MIN_RATE: Key<Size> = Key::new(
        "spark.sealed.memory.min-rate",
        Size::new(SizeUnit::Bytes, ByteCount::new(0), ByteCount::mib(1024)),
        Is("16k"),
        Serve,
        "Bytes a second that a connection moves at least which holds memory that others wait for. One that moves less \
         for three seconds is closed, and Spark tries again. Nobody is closed while nobody waits; 0 closes nobody.",
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

    /// Accepted connections.
    pub static CONNECTIONS_MAX: Key<Int<u32>> = Key::new(
        "spark.sealed.connections.max",
        Int::registry(1, 1 << 20),
        Is("8192"),
        Serve,
        "Connections at the same time; further ones wait to be accepted. One descriptor and a few KiB each while idle. Each \
         executor of a cluster keeps one.",
    );

    /// Deadline of authentication.
    pub static HANDSHAKE_TIMEOUT: Key<Time> = Key::new(
        "spark.sealed.handshake.timeout",
        Time::ours(Duration::from_millis(100), Duration::from_secs(3600)),
        Is("30s"),
        Serve,
        "A connection that has not authenticated and said its first request within it is closed.",
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

    /// Rows of the table of applications.
    pub static APPLICATIONS_MAX: Key<Int<u32>> = Key::new(
        "spark.sealed.applications.max",
        Int::registry(1, 1 << 20),
        Is("10000"),
        Serve,
        "Applications that `sealed-shuffle apps` remembers; those seen longest ago go first. About a KiB each.",
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
        "What is logged to standard error. `debug` and `trace` cost throughput. `sealed-shuffle log-level` changes it in a \
         server that runs.",
    );

    /// Form of log lines.
    pub static LOG_FORMAT: Key<Choice<LogFormat>> = Key::new(
        "spark.sealed.log.format",
        Choice::LOG_FORMAT,
        Is("text"),
        Serve,
        "The form of the server's log lines: for people, or one JSON object a line, with `timestamp`, `level`, `target` and \
         `fields`, which hold `message` and what it is about.",
    );
}
