//! Hop 1: bytes at rest.
//!
//! Block ids go in, [`Region`](sealed_shuffle_transport::region::Region)s (a range of an open file) come out.
//! Nothing here knows a key, a socket or a message. Everything is synchronous, and what may wait for a disk takes an
//! [`OnLane`](sealed_shuffle_transport::lane::OnLane), so that it runs on the disk's own lane and on no other thread.
//!
//! | module | knows |
//! |---|---|
//! | [`layout`] | where Spark puts a file, and what it calls it |
//! | [`device`] | one disk: its handle, its lane, its caches; its coming and going |
//! | [`health`] | how a disk is, judged from what the kernel says of it |
//! | [`limits`] | what bounds all of it |
//! | [`root`] | the configured directories beneath which executors' directories must lie |
//! | `open_error` | why a file could not be opened |
//! | [`executors`] | which application and executor registered which directories, and when an application ends |
//! | `claims` | which application each directory belongs to |
//! | `scope` | which directories an application may name by the ids in their paths |
//! | [`index`], `index_cache` | the offsets of a map output, and a bounded cache of them |
//! | `far_index` | the same where there are too many to keep: two offsets are read when they are needed |
//! | [`files`] | open data files, bounded in number and time |
//! | [`search`] | block id to map output: the lookup that the server uses, a step for each disk |
//! | [`map_output`] | partition to region |
//! | `place` | where a file of an executor lies |
//! | [`block_store`] | the blocks of all registered executors, over the disks |
//! | [`purge`] | all files of certain names in a directory that Spark laid out |
//! | `weigh` | how large they are |
//! | [`own`] | files that this service makes itself, beneath the same roots |
//! | [`remains`] | what applications leave behind: finding, counting and removing it |
//! | [`remove`], [`diagnose`], [`checksum`] | the two other requests that touch files |
//! | [`lookup_error`] | why a block cannot be had |
//! | `volume` | whether a disk is encrypted below its file system |
//!
//! Invariants: a file is opened relative to a root's handle and never through a symlink; an index and a data file
//! are used together only while both are the files that were read together (device, inode, size, times); no cache
//! grows beyond its bound, and no cache keeps a deleted file open past the next sweep.

mod beside;
pub mod block_store;
mod bounded;
pub mod checksum;
mod claims;
pub mod device;
pub mod diagnose;
pub mod executors;
mod far_index;
pub mod files;
pub mod health;
pub mod index;
mod index_cache;
pub mod layout;
pub mod limits;
pub mod lookup_error;
pub mod map_output;
mod open_error;
pub mod own;
mod place;
pub mod purge;
pub mod remains;
pub mod remove;
pub mod root;
mod root_error;
mod scope;
pub mod search;
#[cfg(test)]
mod tests;
mod volume;
mod weigh;

pub use block_store::{BlockStore, DiskCounters, RegisterError, SweepReport};
pub use device::{Disk, LOOK, LOOK_THREADS, PATIENCE, Watch};
pub use diagnose::{Diagnosis, Examination};
pub use executors::{
    AppSummary, ClearingTurn, Entry, Executors, Finding, FindingReason, Leaver, LeftBy, Proof,
    RegisterRefusal, Registration, RegistrationEffect, RegistryLimits,
};
pub use health::{Condition, Health, Space};
pub use limits::DiskLimits;
pub use lookup_error::LookupError;
pub use map_output::MapOutput;
pub use open_error::OpenError;
pub use own::{OwnFile, OwnFiles, WriteError, WriteId};
pub use remove::{BATCH, Removal, RemovalStep};
pub use root::{DirRefusal, LocalDir, LockedDir, Presence, Roots};
pub use root_error::RootError;
pub use search::{Lookup, Search};
pub use volume::Volume;

pub use crate::confined::Confinement;
