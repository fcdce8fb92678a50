//! How a client behaves. Spark's keys, with Spark's defaults.

use std::sync::Arc;
use std::time::Duration;

use sealed_shuffle_protocol::auth::EngineVersion;
use sealed_shuffle_protocol::auth::legacy::LegacySettings;
use sealed_shuffle_protocol::cipher::{SessionCipher, SessionMode};
use sealed_shuffle_protocol::limits::Limits;
use sealed_shuffle_protocol::sasl::Demand;
use sealed_shuffle_protocol::secret::AppSecret;

use sealed_shuffle_config::{ClientConfig, ClientSecurity};
use sealed_shuffle_transport::tls::{LiveClientTls, MaterialError};

/// Stands for a deadline that was switched off.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// How connections are protected. A client never falls back from one to another.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Security {
    /// In clear, proving nothing.
    Plaintext,
    /// The X25519 handshake and an AES session.
    Aes {
        /// What both ends know.
        secret: Arc<AppSecret>,
        /// Engine version and cipher; both ends must have the same.
        mode: SessionMode,
    },
    /// The PBKDF2 handshake of Spark 2.2 to 3.0 and an AES-CTR session.
    Legacy {
        /// What both ends know.
        secret: Arc<AppSecret>,
        /// What the client chooses for both ends.
        settings: LegacySettings,
    },
    /// SASL DIGEST-MD5: a proof of identity, and a privacy layer only if asked for.
    Sasl {
        /// What both ends know.
        secret: Arc<AppSecret>,
        /// Exactly that, whatever else the server offers.
        wanted: Demand,
        /// Plaintext bytes of a sealed token (`spark.network.sasl.maxEncryptedBlockSize`). 64 KiB.
        max_block: usize,
    },
}

impl Security {
    /// AES under `secret`.
    pub fn aes(secret: AppSecret, version: EngineVersion, cipher: SessionCipher) -> Self {
        Self::Aes { secret: Arc::new(secret), mode: SessionMode { version, cipher } }
    }
}

/// How a client behaves, beyond the application that it speaks for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// How connections are protected.
    pub security: Security,
    /// TLS around everything; `None` where it is not spoken (`spark.ssl.rpc.enabled`).
    pub tls: Option<Arc<LiveClientTls>>,
    /// For a TCP connection (`spark.shuffle.io.connectionCreationTimeout`). 120 s.
    pub connect_timeout: Duration,
    /// From the first byte to a verified handshake (`spark.network.auth.rpcTimeout`). 30 s.
    pub handshake_timeout: Duration,
    /// Without a byte while an answer is owed, and without a taker while blocks wait for one
    /// (`spark.shuffle.io.connectionTimeout`). 120 s.
    pub answer_timeout: Duration,
    /// For the answer to a registration (`spark.shuffle.registration.timeout`). 5 s.
    pub registration_timeout: Duration,
    /// Attempts of a registration (`spark.shuffle.registration.maxAttempts`). 3.
    pub registration_attempts: u32,
    /// Retries after the connection failed (`spark.shuffle.io.maxRetries`). 3.
    pub max_retries: u32,
    /// Wait before each retry (`spark.shuffle.io.retryWait`). 5 s.
    pub retry_wait: Duration,
    /// Connections to one server (`spark.shuffle.io.numConnectionsPerPeer`). 1.
    pub connections_per_peer: usize,
    /// `SO_RCVBUF`; `None` leaves it to the system (`spark.shuffle.io.receiveBuffer`).
    pub receive_buffer: Option<u32>,
    /// `SO_SNDBUF`; `None` leaves it to the system (`spark.shuffle.io.sendBuffer`).
    pub send_buffer: Option<u32>,
    /// The largest block that is fetched to memory (`spark.network.maxRemoteBlockSizeFetchToMem`). 200 MiB.
    pub max_fetch_to_memory: u64,
    /// Bytes of one fetch that arrived and were not taken yet, or of one push that were not answered yet; one larger
    /// block is let through (`spark.reducer.maxSizeInFlight`). 48 MiB.
    pub max_size_in_flight: u64,
    /// Requests of one fetch or push at once (`spark.reducer.maxReqsInFlight`); of a fetch never more than connections.
    /// No bound.
    pub max_requests_in_flight: usize,
    /// Blocks in one request, and blocks on their way to one merger (`spark.reducer.maxBlocksInFlightPerAddress`). No
    /// bound of its own.
    pub max_blocks_in_flight: usize,
    /// Larger blocks are not pushed (`spark.shuffle.push.maxBlockSizeToPush`). 1 MiB.
    pub max_block_to_push: u64,
    /// Bytes of blocks that are pushed as one request (`spark.shuffle.push.maxBlockBatchSize`). 3 MiB.
    pub max_push_batch: u64,
    /// Whether blocks are opened with the message of Spark 2 (`spark.shuffle.useOldFetchProtocol`). No.
    pub old_fetch_protocol: bool,
    /// What a server's numbers may cost.
    pub limits: Limits,
}

impl Settings {
    /// Spark's defaults.
    pub fn new(security: Security) -> Self {
        Self {
            security,
            tls: None,
            connect_timeout: Duration::from_secs(120),
            handshake_timeout: Duration::from_secs(30),
            answer_timeout: Duration::from_secs(120),
            registration_timeout: Duration::from_secs(5),
            registration_attempts: 3,
            max_retries: 3,
            retry_wait: Duration::from_secs(5),
            connections_per_peer: 1,
            receive_buffer: None,
            send_buffer: None,
            max_fetch_to_memory: 200 << 20,
            max_size_in_flight: 48 << 20,
            max_requests_in_flight: usize::MAX,
            max_blocks_in_flight: usize::MAX,
            max_block_to_push: 1 << 20,
            max_push_batch: 3 << 20,
            old_fetch_protocol: false,
            limits: Limits::default(),
        }
    }
}

impl Settings {
    /// How bytes travel, for people: `sealed with AES/GCM/NoPadding v2`, `in clear`.
    pub fn protection(&self) -> String {
        let own = match &self.security {
            Security::Aes { mode, .. } => Some(mode.to_string()),
            Security::Legacy { settings, .. } => {
                Some(format!("{}, {} bits, PBKDF2 handshake", SessionCipher::Ctr, settings.key_bits))
            }
            Security::Sasl { wanted: Demand::Conf(_), .. } => Some("SASL's privacy layer".to_owned()),
            Security::Sasl { wanted: Demand::Auth, .. } | Security::Plaintext => None,
        };
        match (self.tls.is_some(), own) {
            (true, None) => "sealed with TLS".to_owned(),
            (true, Some(own)) => format!("sealed with TLS, and {own} around it"),
            (false, Some(own)) => format!("sealed with {own}"),
            (false, None) => "in clear".to_owned(),
        }
    }
}

impl TryFrom<&ClientConfig> for Settings {
    type Error = MaterialError;

    /// As it was configured. Opens key and certificates of TLS, which may fail.
    fn try_from(config: &ClientConfig) -> Result<Self, MaterialError> {
        let timeouts = &config.timeouts;
        let tls = match &config.tls {
            None => None,
            Some(tls) => Some(Arc::new(LiveClientTls::load(tls.clone())?)),
        };
        Ok(Self {
            security: Security::from(&config.security),
            tls,
            connect_timeout: timeouts.connect.unwrap_or(NEVER),
            handshake_timeout: timeouts.auth,
            answer_timeout: timeouts.idle.unwrap_or(NEVER),
            registration_timeout: timeouts.registration,
            registration_attempts: config.registration_attempts,
            max_retries: config.max_retries,
            retry_wait: config.retry_wait,
            connections_per_peer: config.connections_per_peer,
            receive_buffer: config.receive_buffer,
            send_buffer: config.send_buffer,
            max_fetch_to_memory: config.max_fetch_to_memory.as_u64(),
            max_size_in_flight: config.max_size_in_flight.as_u64(),
            max_requests_in_flight: config.max_requests_in_flight,
            max_blocks_in_flight: config.max_blocks_in_flight,
            max_block_to_push: config.max_block_to_push.as_u64(),
            max_push_batch: config.max_push_batch.as_u64(),
            old_fetch_protocol: config.old_fetch_protocol,
            limits: config.limits.clone(),
        })
    }
}

impl From<&ClientSecurity> for Security {
    fn from(security: &ClientSecurity) -> Self {
        match security {
            ClientSecurity::Plaintext => Self::Plaintext,
            ClientSecurity::Aes { secret, engine, cipher } => {
                Self::aes(AppSecret::new(secret.text.to_string()), *engine, *cipher)
            }
            ClientSecurity::Legacy { secret, kdf, iterations, key_bits } => Self::Legacy {
                secret: Arc::new(AppSecret::new(secret.text.to_string())),
                settings: LegacySettings { kdf: *kdf, iterations: *iterations, key_bits: *key_bits },
            },
            ClientSecurity::Sasl { secret, encrypt, ciphers, max_block } => Self::Sasl {
                secret: Arc::new(AppSecret::new(secret.text.to_string())),
                wanted: if *encrypt { Demand::Conf(ciphers.clone()) } else { Demand::Auth },
                max_block: max_block.as_usize(),
            },
        }
    }
}
