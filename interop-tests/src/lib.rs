//! Real Spark on the other end of the wire.
//!
//! ```text
//! spark.rs      gets a Spark release and compiles jvm/ against its jars
//! peer.rs       a JVM with Spark's own client classes and its own shuffle service, told what to do line by line
//! client.rs     that JVM's connections and block stores, request by request
//! server.rs     our binary on a free port
//! service.rs    one of the two services, so that the same test runs against ours and against Spark's (the oracle)
//! mode.rs       how two ends speak: handshake, cipher, TLS, and the keys that say so
//! matrix.rs     which modes of which Spark versions
//! tls.rs        keys and certificates in every form
//! oracle.rs     shuffle files as Spark lays them out, and the checksums of what must come back
//! ours.rs       our own client library, for the same questions
//! command.rs    our binary as a client, told by --conf keys how to speak
//! sight.rs      what an observer of the wire must see of each mode
//! plain.rs      a bare socket that speaks frames, for peers that do not behave
//! pusher.rs     the same for blocks pushed piece by piece, every answer as a line of text
//! proxy.rs      records what passes on the wire
//! application.rs, cluster.rs, live.rs    whole applications, whole clusters, block managers that live
//! at_rest.rs    an application whose files stay on disk, and Spark's own streams of spark.io.encryption
//! moto.rs       AWS KMS, emulated
//! kms_proxy.rs  stands before it, writes down what is asked, and fails as KMS fails
//! log_scan.rs   no warning passes that a test did not announce
//! waves.rs      an application that goes on while its service goes away and comes back
//! suites/       Spark's own published suites, and what is expected of each of their tests
//! turn.rs       keeps the heavy tests from running all at once
//! ```
//!
//! The harness panics with the reason: its caller is a test. Nothing here outlives the test process: JVMs end with
//! their standard input, everything else is killed by its own process id.

pub mod application;
pub mod at_rest;
pub mod client;
pub mod cluster;
pub mod command;
pub mod kms_proxy;
pub mod live;
pub mod log_scan;
pub mod matrix;
pub mod merging;
pub mod mode;
pub mod moto;
pub mod oracle;
pub mod ours;
pub mod peer;
pub mod plain;
pub mod process;
pub mod proxy;
pub mod pusher;
mod python;
pub mod server;
pub mod service;
pub mod sight;
pub mod spark;
pub mod suites;
pub mod tls;
pub mod turn;
pub mod waves;
