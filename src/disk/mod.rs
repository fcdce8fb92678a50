//! Hop 1: bytes at rest.
//!
//! Block ids go in, [`Region`](sealed_shuffle_transport::region::Region)s (a range of an open file) come out.
//! Nothing here knows a key, a socket or a message; everything is synchronous, and the caller decides on which
//! thread it runs.
//!
//! | module | knows |
//! |---|---|
//! | [`layout`] | where Spark puts a file, and what it calls it |
//! | [`root`] | the configured directories beneath which executors' directories must lie |
//! | `confined` | opening, removing and looking at a file without leaving a root |
//! | [`executors`] | which application and executor registered which directories, and when an application ends |
//! | [`index`], `index_cache` | the offsets of a map output, and a bounded cache of them |
//! | `far_index` | the same where there are too many to keep: two offsets are read when they are needed |
//! | [`files`] | open data files, bounded in number and time |
//! | [`store`] | block id to region: the lookup that the server uses |
//! | [`purge`] | all files of certain names in a directory that Spark laid out |
//! | [`own`] | files that this service makes itself, beneath the same roots |
//! | [`remove`], [`diagnose`], [`checksum`] | the two other requests that touch files |
//! | [`lookup_error`] | why a block cannot be had |
//!
//! Invariants: a file is opened relative to a root's handle and never through a symlink; an index and a data file
//! are used together only while both are the files that were read together (device, inode, size, times); no cache
//! grows beyond its bound, and no cache keeps a deleted file open past the next sweep.

pub mod checksum;
mod confined;
pub mod diagnose;
pub mod executors;
mod far_index;
pub mod files;
pub mod index;
mod index_cache;
pub mod layout;
pub mod lookup_error;
pub mod own;
pub mod purge;
pub mod remove;
pub mod root;
pub mod store;
#[cfg(test)]
mod tests;

pub use confined::{Confinement, OpenError};
pub use diagnose::Diagnosis;
pub use executors::{
    AppSummary, Executors, Finding, FindingReason, Proof, RegisterRefused, Registered, Registration,
    RegistryLimits,
};
pub use lookup_error::LookupError;
pub use own::{OwnFile, OwnFiles, WriteError, Writing};
pub use purge::Directories;
pub use remove::Removed;
pub use root::{DirRefused, LocalDir, Presence, RootError, Roots};
pub use store::{BlockStore, DiskCounters, DiskLimits, MapOutput, RegisterError, Swept};
