//! A YARN cluster as it really is: ResourceManager and NodeManagers as processes of their own, on hosts of their own, with our
//! server and our auxiliary service on each node; and Spark's own handler as a second auxiliary service beside it.
//!
//! ```text
//! host edge      ResourceManager, spark-submit and with it the driver of client mode
//! host node-N    NodeManager (spark_shuffle: HandOverService, spark_shuffle_own: OwnShuffleService),
//!                sealed-shuffle serve on port 7337, containers; two directories as disks
//! ```

mod application;
mod classes;
mod cluster;
mod node;
mod site;

pub use application::{Application, Report, Submission};
pub(crate) use application::{DRIVER, PROGRAM, ROWS};
pub use cluster::Cluster;
pub use node::{Node, VIEWED};
