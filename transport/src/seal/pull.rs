//! Content that does not lie in a file as it goes out: it is pulled, and may have to be opened first.

use std::fmt;

use thiserror::Error;

/// A body that is pulled from its beginning to its end, on any thread that may do it.
pub trait Pull: fmt::Debug + Send + Sync {
    /// Number of bytes that were not taken yet.
    fn remaining(&self) -> u64;

    /// Makes bytes ready in [`Pull::plain`] if that needs no wait for a disk, and returns whether it did. At the end
    /// there are no bytes, and it returns true.
    fn fill_now(&mut self) -> Result<bool, PullError>;

    /// The same, but waits. Content that does not authenticate is an error, and none of its bytes come out.
    fn fill_blocking(&mut self) -> Result<(), PullError>;

    /// Puts the next bytes directly into `out` and returns their number; 0 if the next unit does not fit. `None` if
    /// the bytes have to come by [`Pull::plain`], or a disk has to be waited for. After an error `out` holds no bytes
    /// that may be used.
    fn put_now(&mut self, _out: &mut [u8]) -> Result<Option<usize>, PullError> {
        Ok(None)
    }

    /// The bytes that are ready.
    fn plain(&self) -> &[u8];

    /// The first `n` ready bytes were taken. `n` must not be larger than their number.
    fn consume(&mut self, n: usize);
}

/// Why a body cannot be pulled to its end; the text names the file.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{0}")]
pub struct PullError(pub String);
