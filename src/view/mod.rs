//! The view: a read-only file system (FUSE) in which executors on this host read merged partitions that are sealed on the
//! disk. Chunks are opened as they are read, and no block device sees them in clear.
//!
//! ```text
//! executor ─ open, read ─► kernel ─► calls ─► view, file ─► merge ─► sealed files, on the lane of their disk
//!                            ▲
//!         <dir>/current ─► <dir>/<mount>/<application>.<attempt>/<sub-directory>/shuffleMerged_….data, .index, .meta
//! ```
//!
//! | module | knows |
//! |---|---|
//! | [`names`] | what a path within the view stands for |
//! | [`files`] | what a name shows, to whom, and how it is opened: nothing of FUSE |
//! | [`stretch`] | one open file: stretches of it, out of chunks |
//! | `calls` | the calls of the kernel |
//! | `nodes` | the numbers that the kernel knows names by |
//! | [`mount`] | where it is mounted, what an earlier process left there, and the end |
//! | [`keeper`] | a process that unmounts when this one is gone |
//!
//! Executors keep the path that they are told as long as they live. So it is the same for every process that serves from
//! this directory: each has a mount of its own below it, and the link `current` leads to the one that serves.
//!
//! Invariants: a partition that is still merged is not there; only the user that owns the merge directories of an attempt and
//! root get to its files; nobody waits for longer than the disks may take; a process that is gone leaves readers an error.
//!
//! Origin: `ExecutorDiskUtils.getFilePath` and `DiskBlockManager.getMergedShuffleFile`, Spark 4.3.0.

mod calls;
pub mod files;
pub mod keeper;
pub mod mount;
pub mod names;
mod nodes;
pub mod stretch;
#[cfg(test)]
mod tests;

pub use files::{View, ViewCounters};
pub use keeper::wait_for_end;
pub use mount::{MountError, ViewMount, take_away};
