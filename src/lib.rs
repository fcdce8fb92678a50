//! Sealed Shuffle: a block-transfer server that speaks Spark's own protocol, sealed.
//!
//! ```text
//! data :  disk/  ───►  seal/  ───►  wire/  ───►  peer
//! calls:  wire pulls from seal, seal pulls what disk (or merge) handed out: memory is bounded by what the peer takes
//! rules:  sealed-shuffle-protocol decides every byte that is not block content, and does no IO
//! ```
//!
//! `seal` and `wire` are rooms of `sealed-shuffle-transport`, which the client library stands on, too.
//!
//! # A server within another program
//!
//! A [`ServerConfig`] says where the server differs from the defaults: secrets, roots, policy, merging, recovery, keys, the
//! operator's port. [`Server::from_config`] makes the server, and [`Listeners`] is what it listens on. No properties file
//! is read, and no variable of the environment.
//!
//! Recovery needs no file either. It is on by default: the server seals what it has to know after a restart into
//! `recovery.redb` in the state directory, under keys that lie there, too. The next server with the same state directory
//! finds the registered executors and the finalized merges again. `config.recovery = false` switches it off.
//!
//! ```no_run
//! use sealed_shuffle::{ConfiguredSecret, Listeners, MergeConfig, Server, ServerConfig};
//!
//! # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
//! let mut config = ServerConfig::new(["/data/spark".into()], "/var/lib/engine");
//! config.secret = Some(ConfiguredSecret::new("the applications' secret"));
//! config.merging = Some(MergeConfig::default());
//! config.admin.address = Some("127.0.0.1:9337".parse()?);
//! let server = Server::from_config(&config).await?;
//! let listeners = Listeners::bind(&config).await?;
//! println!("listening on {}", listeners.address());
//! listeners.serve(server, std::future::pending()).await;
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! | feature | default | is for |
//! |---|---|---|
//! | `aws-kms` | yes | envelope keys from AWS KMS |
//! | `hadoop-kms` | yes | envelope keys from Hadoop KMS |
//! | `kubernetes` | yes | `hand-over kubernetes` of the program |
//! | `program` | yes | the program `sealed-shuffle`; a program that a server is part of does without |
//! | `internals` | no | the tests and benches of this project |

// A room shows with `pub` what other rooms may use.
#![allow(unreachable_pub)]
// Whether something is needed is judged where everything is built.
#![cfg_attr(not(all(feature = "program", feature = "internals")), allow(dead_code, unused_imports))]

mod admin;
mod applications;
mod audit;
#[cfg(feature = "program")]
pub mod commands;
mod confined;
mod confinement;
mod disk;
mod handover;
#[cfg(feature = "program")]
mod inspect;
#[cfg(feature = "internals")]
pub mod internals;
#[cfg(feature = "program")]
mod io_encryption;
mod keys;
mod listeners;
mod local_socket;
mod merge;
mod private_file;
mod receipt;
mod remains;
mod sealed_files;
mod server;
mod state;
mod supervision;
mod takeover;
mod telemetry;
mod traces;
mod view;

// Ours.
pub use self::handover::{EventError, HandOverPayload, Receiver};
pub use self::listeners::{BindError, Listeners};
pub use self::server::{DrainOutcome, Server, StartError};

// Of the packages below, so that an embedder names one package.
pub use sealed_shuffle_config::{
    AdminConfig, AppPolicy, AuditConfig, ByteCount, CleanUpConfig, Clears, ConfiguredSecret, EnvelopeConfig,
    HandoverConfig, HttpEndpoint, KeySource, MergeConfig, OutagePolicy, Policy, QuotaConfig, SaslSettings,
    SecretDirectory, ServerConfig, ServerTimeouts, SocketOptions, TlsConfig, TlsFile, TlsSource,
    TracesConfig,
};
pub use sealed_shuffle_protocol::channel::SecurityLevel;
pub use sealed_shuffle_protocol::ids::AppId;
pub use sealed_shuffle_protocol::limits::Limits;
pub use sealed_shuffle_protocol::secret::AppSecret;
