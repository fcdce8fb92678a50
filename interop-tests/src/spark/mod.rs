//! Real Spark: a release of it, a JVM with its network classes, and what is done in there.

mod connection;
mod exchange;
mod io_streams;
mod peer;
mod release;
mod service;
mod store;

pub use connection::{Connection, Stream};
pub use exchange::{Credentials, Failure, Outcome};
pub use io_streams::{IoStream, spark_streams};
pub use peer::Peer;
pub(crate) use release::OPENED;
pub use release::{NoSpark, Spark};
pub use service::{spark_metrics, spark_service};
pub use store::Store;
