//! A range of an open file, and its bytes.
//!
//! Whoever opens files (the server's disks, a client that pushes) makes an [`OpenFile`]; the outbox reads its
//! [`Region`]s. Only descriptors are used here: no path is looked up, so nothing here waits for a directory.

mod file;
mod read;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use self::file::{Identity, OpenFile, ShownPath};
pub use self::read::{ReadError, ReadNow, is_at_hand, read_blocking, read_now};

/// A range of an open file; keeps its descriptor alive. A range of no bytes needs no file.
#[derive(Clone, Debug)]
pub struct Region {
    file: Option<Arc<OpenFile>>,
    offset: u64,
    len: u64,
}

impl Region {
    /// The range of `len` bytes from `offset` on.
    pub fn new(file: Arc<OpenFile>, offset: u64, len: u64) -> Self {
        Self { file: Some(file), offset, len }
    }

    /// No bytes.
    pub fn empty() -> Self {
        Self { file: None, offset: 0, len: 0 }
    }

    /// The file; none only where [`Region::len`] is 0.
    pub fn file(&self) -> Option<&Arc<OpenFile>> {
        self.file.as_ref()
    }

    /// Where it begins in the file.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// How many bytes it has.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}
