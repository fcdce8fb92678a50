//! Real Spark on the other end of the wire.
//!
//! A room knows those that stand below it, and no other:
//!
//! ```text
//! main.rs        the program: all of that for anybody's Spark
//! suites/        Spark's own published suites, and the expectation of each of their tests
//! disks.rs       three directories of which one fails, and an application in whose midst it does
//! kubernetes/    a Kubernetes of real daemons in name spaces of its own, our manifests, and applications on it
//! yarn/          a YARN cluster of real daemons on hosts of their own, and applications on it
//! applications/  whole applications and clusters: to their end, alive, in waves, with their files at rest
//! releases/      which releases there are, and what is new in the network classes of one
//! cells/         every cell of the matrix, what came of it, and reports of that; the same at a server that runs already
//! services.rs    either service as a process of its own, for what is measured of it
//! merger.rs      either service as a merger, and the files of ours; ours as a service whose servers come and go
//! fixture.rs     one of the two services with Spark's client beside it: the same test runs against ours and Spark's
//! wire/          bare sockets and frames, a proxy that records, what an observer must see of each mode
//! ours/          our server, our client library, our program
//! spark/         a release of Spark, a JVM with its classes: its clients request by request, its service, its streams
//! oracle.rs      shuffle files as Spark lays them out, and the digests of what must come back
//! modes/         how two ends speak, the keys that say so, key material, and which of that is tried
//! kms/           AWS KMS, emulated, and a proxy before it that fails as KMS fails
//! machine/       the cache, Java, Maven, child processes, hosts of their own, turns for heavy work
//! ```
//!
//! The harness panics with the reason: its caller is a test. Nothing here outlives the test process: JVMs end with
//! their standard input, everything else is killed by its own process id.

pub mod applications;
pub mod cells;
pub mod disks;
pub mod fixture;
pub mod kms;
pub mod kubernetes;
pub mod machine;
pub mod merger;
pub mod modes;
pub mod oracle;
pub mod ours;
pub mod releases;
pub mod services;
pub mod spark;
pub mod suites;
pub mod wire;
pub mod yarn;
