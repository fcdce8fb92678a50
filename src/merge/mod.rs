//! Push-based shuffle: map tasks push their blocks to the server, and blocks of one reduce partition become one file.
//!
//! ```text
//! application ─► shuffle (its newest merge id) ─► open:      partition ─► one writer, others deferred or refused
//!                                             └─► finalized: the partitions that got data
//! ```
//!
//! | module | knows |
//! |---|---|
//! | [`registration`] | the merge information of an executor that registers |
//! | [`dirs`], [`names`] | the place and the names of a partition's files |
//! | `plain_form` | the form in which executors read a partition on their own host |
//! | `local` | the same of any partition, and `owner` the user who may |
//! | [`storage`] | the interface to the files; `memory` implements it for tests |
//! | `deferred` | blocks that wait in memory for the writer of their partition, within one budget |
//! | `partition` | the state of one partition that is being merged |
//! | `application` | one attempt of an application, and its shuffles |
//! | `chores` | deletions that nobody waits for, of each disk |
//! | [`merger`] | applications, attempts, shuffles: registration, clean-up |
//! | [`push`], `finalize`, `remove`, `serve` | the requests |
//! | `settings` | the bounds, with their defaults |
//! | `shares` | what merging has of memory and places, divided among applications |
//! | `merged_bytes` | what of it an application has on the disks |
//! | [`journal`] | the state that survives a restart |
//! | [`error`] | the failures, in the words of the log |
//!
//! Invariants: a partition has one writer at a time, and its bytes count only once its block is complete; a map index
//! is merged at most once; deferred blocks never exceed their budget; files are made only beneath merge directories
//! that lie beneath a root, under names that the server makes. Nothing here knows a socket or a message's bytes.
//! Every call may wait for a disk: the caller decides on which thread it runs.
//!
//! Lock order: a partition, then the shuffles of its application; never the other way round.
//!
//! Origin: RemoteBlockPushResolver, Spark 4.3.0 (3.2.4 and later answer alike, except where said).

mod application;
mod chores;
mod deferred;
pub mod dirs;
pub mod error;
mod finalize;
pub mod journal;
pub mod local;
pub mod memory;
mod merged_bytes;
pub mod merger;
pub mod names;
mod owner;
mod partition;
pub mod plain;
mod plain_form;
pub mod push;
mod readers;
pub mod registration;
mod remove;
pub mod sealed;
mod serve;
mod settings;
mod shares;
pub mod storage;
#[cfg(test)]
mod tests;

pub use crate::receipt::WriteReceipt;
pub use dirs::MergeDirs;
pub use error::{MergeError, WriteCause};
pub use finalize::{Ending, EndingStep, Finished};
pub use journal::{Journal, StoredAttempt};
pub use local::{KnownAttempt, PlainFile};
pub use memory::MemoryStore;
pub use merger::{MergeCounters, Merger};
pub use names::{PartitionId, merged_partition};
pub use plain::PlainMerges;
pub use push::{Push, PushRefusal};
pub use sealed::SealedMerges;
pub use serve::MergedMeta;
pub use settings::MergeSettings;
pub use storage::{AppStore, CreateError, MissingFiles, PartitionReader, PartitionWriter, ReadError, Store};
