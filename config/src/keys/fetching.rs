//! A client's requests.

use std::time::Duration;

use super::sockets::CONNECTION_TIMEOUT;
use crate::ByteCount;
use crate::key::DefaultValue::{Same, Text as Is};
use crate::key::Reader::Client;
use crate::key::{AnyKey, Key};
use crate::value::{Bool, Int, LARGEST, Size, SizeUnit, Time, TimeUnit};

keys! {
    FETCHING:

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
}
