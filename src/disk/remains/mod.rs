//! What applications leave behind on a disk: finding it, counting it, removing it.
//!
//! | module | knows |
//! |---|---|
//! | `names` | which names Spark gives to directories and to the files in them |
//! | `walk` | a block directory, walked in steps: counted, or removed |
//! | `orphans` | where block directories lie beneath a root |
//!
//! Which directories may be walked with the purpose of removing is no business of this room: the table of executors says
//! it ([`Executors::begin_clearing`](super::Executors::begin_clearing)), for one step at a time.
//!
//! Invariants: a directory is opened relative to its root's handle, and no link and no mount point beneath the root is
//! crossed; only what has a name of Spark's, in a sub-directory that has one, in a directory that has one, is removed; all
//! else stays and is counted; a step looks at a bounded number of names, and the memory that it takes is bounded.

mod names;
mod orphans;
#[cfg(test)]
mod tests;
mod walk;

pub use self::names::is_block_dir;
pub use self::orphans::OrphanLook;
pub use self::walk::{Purpose, Selection, Step, Tally, Walk};
