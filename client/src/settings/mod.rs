//! How a client behaves: Spark's keys, with Spark's defaults, which stand in the keys alone.

mod client_config;
pub(crate) mod security;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use sealed_shuffle_config::{Values, keys};
use sealed_shuffle_protocol::limits::Limits;
use sealed_shuffle_transport::tls::LiveClientTls;

pub use self::client_config::ClientConfig;
pub use self::security::Security;

/// Stands for a deadline that was switched off.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// How a client behaves, beyond the application that it speaks for: made with Spark's defaults, changed one by one.
///
/// ```
/// use std::time::Duration;
///
/// use sealed_shuffle_client::{Security, Settings};
///
/// let settings = Settings::new(Security::Plaintext)
///     .max_retries(5)
///     .retry_wait(Duration::from_secs(1))
///     .max_fetch_to_memory(64 << 20);
/// assert_eq!(settings.protection(), "in clear");
/// ```
#[derive(Clone, Debug)]
pub struct Settings {
    pub(crate) security: Security,
    pub(crate) tls: Option<Arc<LiveClientTls>>,
    pub(crate) connect_timeout: Duration,
    pub(crate) handshake_timeout: Duration,
    pub(crate) answer_timeout: Duration,
    pub(crate) registration_timeout: Duration,
    pub(crate) registration_attempts: u32,
    pub(crate) max_retries: u32,
    pub(crate) retry_wait: Duration,
    pub(crate) connections_per_peer: usize,
    pub(crate) receive_buffer: Option<u32>,
    pub(crate) send_buffer: Option<u32>,
    pub(crate) max_fetch_to_memory: u64,
    pub(crate) max_size_in_flight: u64,
    pub(crate) max_requests_in_flight: usize,
    pub(crate) max_blocks_in_flight: usize,
    pub(crate) max_block_to_push: u64,
    pub(crate) max_push_batch: u64,
    pub(crate) old_fetch_protocol: bool,
    pub(crate) limits: Limits,
}

/// Methods that replace one setting.
macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $type:ty,)*) => {
        $(
            $(#[$doc])*
            #[must_use]
            pub fn $name(self, $name: $type) -> Self {
                Self { $name, ..self }
            }
        )*
    };
}

impl Settings {
    /// Spark's defaults, without TLS.
    pub fn new(security: Security) -> Self {
        Self::read(&mut Values::defaults(), security)
    }

    /// As the keys say. TLS is none yet: its files are opened by [`ClientConfig::settings`].
    fn read(v: &mut Values<'_>, security: Security) -> Self {
        let mut limits = Limits::default();
        limits.handshake_frame = v.bytes(&keys::LIMIT_HANDSHAKE_FRAME);
        limits.response_frame = v.bytes(&keys::LIMIT_RESPONSE_FRAME);
        Self {
            security,
            tls: None,
            connect_timeout: v.unless_zero(&keys::CONNECTION_CREATION_TIMEOUT).unwrap_or(NEVER),
            handshake_timeout: v.value(&keys::AUTH_RPC_TIMEOUT),
            answer_timeout: v.unless_zero(&keys::CONNECTION_TIMEOUT).unwrap_or(NEVER),
            registration_timeout: v.value(&keys::REGISTRATION_TIMEOUT),
            registration_attempts: v.value(&keys::REGISTRATION_MAX_ATTEMPTS),
            max_retries: v.value(&keys::MAX_RETRIES),
            retry_wait: v.value(&keys::RETRY_WAIT),
            connections_per_peer: v.count(&keys::CONNECTIONS_PER_PEER),
            receive_buffer: v.positive(&keys::RECEIVE_BUFFER),
            send_buffer: v.positive(&keys::SEND_BUFFER),
            max_fetch_to_memory: v.bytes(&keys::MAX_FETCH_TO_MEMORY),
            max_size_in_flight: v.bytes(&keys::MAX_SIZE_IN_FLIGHT),
            max_requests_in_flight: v.count(&keys::MAX_REQUESTS_IN_FLIGHT),
            max_blocks_in_flight: v.count(&keys::MAX_BLOCKS_IN_FLIGHT),
            max_block_to_push: v.bytes(&keys::MAX_BLOCK_TO_PUSH),
            max_push_batch: v.bytes(&keys::MAX_PUSH_BATCH),
            old_fetch_protocol: v.value(&keys::OLD_FETCH_PROTOCOL),
            limits,
        }
    }

    setters! {
        /// Another way to protect connections.
        security: Security,
        /// Time for a TCP connection (`spark.shuffle.io.connectionCreationTimeout`). Default: 120 s.
        connect_timeout: Duration,
        /// Time from the first byte to a verified handshake (`spark.network.auth.rpcTimeout`). Default: 30 s.
        handshake_timeout: Duration,
        /// Time without a byte while an answer is owed, and without a taker while blocks wait for one
        /// (`spark.shuffle.io.connectionTimeout`). Default: 120 s.
        answer_timeout: Duration,
        /// Time for the answer to a registration (`spark.shuffle.registration.timeout`). Default: 5 s.
        registration_timeout: Duration,
        /// Attempts of a registration, 5 s apart (`spark.shuffle.registration.maxAttempts`). Default: 3.
        registration_attempts: u32,
        /// Retries of a request after its connection failed; each costs the wait and a new connection
        /// (`spark.shuffle.io.maxRetries`). Default: 3.
        max_retries: u32,
        /// Wait before each retry (`spark.shuffle.io.retryWait`). Default: 5 s.
        retry_wait: Duration,
        /// Connections to one server; each costs a task, a socket and a handshake
        /// (`spark.shuffle.io.numConnectionsPerPeer`). Default: 1.
        connections_per_peer: usize,
        /// Bytes of `SO_RCVBUF`, kernel memory of each connection; `None` leaves it to the system
        /// (`spark.shuffle.io.receiveBuffer`). Default: `None`.
        receive_buffer: Option<u32>,
        /// Bytes of `SO_SNDBUF`, kernel memory of each connection; `None` leaves it to the system
        /// (`spark.shuffle.io.sendBuffer`). Default: `None`.
        send_buffer: Option<u32>,
        /// Bytes of the largest block that is fetched to memory (`spark.network.maxRemoteBlockSizeFetchToMem`).
        /// Default: 200 MiB.
        max_fetch_to_memory: u64,
        /// Bytes of one fetch that arrived and were not taken yet, or of one push that were not answered yet: the memory
        /// that a call costs. One larger block is let through (`spark.reducer.maxSizeInFlight`). Default: 48 MiB.
        max_size_in_flight: u64,
        /// Requests of one fetch or push at once; of a fetch never more than connections
        /// (`spark.reducer.maxReqsInFlight`). Default: 2,147,483,647, which is no bound.
        max_requests_in_flight: usize,
        /// Blocks in one request, and blocks on their way to one merger (`spark.reducer.maxBlocksInFlightPerAddress`).
        /// Default: 2,147,483,647, which is no bound.
        max_blocks_in_flight: usize,
        /// Bytes of the largest block that is pushed (`spark.shuffle.push.maxBlockSizeToPush`). Default: 1 MiB.
        max_block_to_push: u64,
        /// Bytes of blocks that are pushed as one request (`spark.shuffle.push.maxBlockBatchSize`). Default: 3 MiB.
        max_push_batch: u64,
        /// Whether blocks are opened with the message of Spark 2 (`spark.shuffle.useOldFetchProtocol`). Default: no.
        old_fetch_protocol: bool,
        /// The most that a server's numbers may cost (`spark.sealed.limits.*`). Default: [`Limits::default`].
        limits: Limits,
    }

    /// TLS around everything (`spark.ssl.rpc.enabled`). Default: none. Costs another handshake a connection.
    #[must_use]
    pub fn tls(self, tls: impl Into<Option<Arc<LiveClientTls>>>) -> Self {
        Self { tls: tls.into(), ..self }
    }

    /// How bytes travel, for people: `sealed with AES/GCM/NoPadding v2`, `in clear`.
    pub fn protection(&self) -> String {
        match (self.tls.is_some(), self.security.protection()) {
            (true, None) => "sealed with TLS".to_owned(),
            (true, Some(own)) => format!("sealed with TLS, and {own} around it"),
            (false, Some(own)) => format!("sealed with {own}"),
            (false, None) => "in clear".to_owned(),
        }
    }
}
