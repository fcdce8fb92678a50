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
//! A program that a server is part of says in a [`ServerConfig`](sealed_shuffle_config::ServerConfig) where it differs
//! from the defaults; no properties file is needed.
//!
//! ```no_run
//! use sealed_shuffle::server::Server;
//! use sealed_shuffle_config::{ConfiguredSecret, MergeConfig, ServerConfig};
//!
//! # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
//! let mut config = ServerConfig::new(["/data/spark".into()], "/var/lib/engine");
//! config.secret = Some(ConfiguredSecret::new("the applications' secret"));
//! config.merging = Some(MergeConfig::default());
//! let server = Server::from_config(&config).await?;
//! let listener = tokio::net::TcpListener::bind(config.listen).await?;
//! server.run(listener, std::future::pending()).await;
//! # Ok(())
//! # }
//! ```

pub mod admin;
mod applications;
pub mod confinement;
pub mod disk;
pub mod handover;
pub mod inspect;
pub mod io_encryption;
pub mod keys;
pub mod local_socket;
pub mod merge;
mod private_file;
pub mod sealed_files;
pub mod server;
pub mod state;
pub mod telemetry;
