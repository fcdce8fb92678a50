//! Push-based shuffle: map tasks push their blocks here, and blocks of one reduce partition become one file.
//!
//! ```text
//! application ─► shuffle (its newest merge id) ─► open:      partition ─► one writer, others deferred or refused
//!                                             └─► finalized: the partitions that got data
//! ```
//!
//! | module | knows |
//! |---|---|
//! | [`registration`] | what an executor says about merging when it registers |
//! | [`dirs`], [`names`] | where a partition's files lie and what they are called |
//! | [`store`] | what keeps the bytes: the seam to the files; `memory` is the one for tests |
//! | `deferred` | blocks that wait in memory for the writer of their partition, within one budget |
//! | `partition` | what has been merged into one partition |
//! | [`merger`] | applications, attempts, shuffles: registration, clean-up |
//! | [`push`], `finalize`, `remove`, `serve` | the requests |
//! | [`journal`] | what survives a restart |
//! | [`error`] | what failed |
//!
//! Invariants: a partition has one writer at a time, and what it wrote counts only once it is complete; a map index is
//! merged at most once; what is deferred never exceeds its budget; files are made only beneath merge directories that
//! lie beneath a root, with names of our own making. Nothing here knows a socket or a message's bytes. Everything may
//! wait for a disk: the caller decides on which thread it runs.
//!
//! Lock order: a partition, then the shuffles of its application; never the other way round.
//!
//! Origin: RemoteBlockPushResolver, Spark 4.3.0 (3.2.4 and later answer alike, except where said).

mod deferred;
pub mod dirs;
pub mod error;
mod finalize;
pub mod journal;
pub mod memory;
pub mod merger;
pub mod names;
mod partition;
pub mod push;
mod readers;
pub mod registration;
mod remove;
pub mod sealed;
mod serve;
pub mod store;
#[cfg(test)]
mod tests;

pub use dirs::MergeDirs;
pub use error::{MergeError, WriteCause};
pub use journal::{Journal, Remembered};
pub use memory::MemoryStore;
pub use merger::{MergeCounters, MergeSettings, Merger};
pub use names::PartitionId;
pub use push::{Push, PushRefused};
pub use sealed::SealedMerges;
pub use serve::MergedMeta;
pub use store::{AppStore, Missing, PartitionReader, PartitionWriter, ReadError, Store};
