//! Bytes that do not lie in a file as they go out: they are pulled, and may have to be opened first.

use std::fmt;

use thiserror::Error;

use crate::lane::{Lane, OnLane};
use crate::region::Region;

/// A body that is pulled from its begin to its end, on whichever thread may do it.
pub trait Pull: fmt::Debug + Send + Sync {
    /// Bytes that were not taken yet.
    fn remaining(&self) -> u64;

    /// Has bytes ready in [`Pull::plain`] if that takes no waiting for a disk; whether it has. At the end there are
    /// none, and it has.
    fn fill_now(&mut self) -> Result<bool, PullError>;

    /// The same, and waits. What does not authenticate is an error, and none of its bytes come out.
    fn fill_blocking(&mut self, on: &OnLane) -> Result<(), PullError>;

    /// The stretch of a file that its bytes are, where they lie there as they go out. Nothing is pulled then.
    fn region(&self) -> Option<Region> {
        None
    }

    /// Where [`Pull::fill_blocking`] is called: the lane of the disk; one of its own where nobody else waits for that.
    fn lane(&self) -> Lane {
        Lane::new(1)
    }

    /// Puts the next bytes straight into `out`: how many, and 0 where those that come together do not fit. `None` where
    /// they have to come by [`Pull::plain`], or a disk has to be waited for. What failed has left nothing in `out` that
    /// may be used.
    fn put_now(&mut self, _out: &mut [u8]) -> Result<Option<usize>, PullError> {
        Ok(None)
    }

    /// Bytes that are ready.
    fn plain(&self) -> &[u8];

    /// The first `n` of them were taken; there are as many.
    fn consume(&mut self, n: usize);
}

/// Why a body cannot be pulled to its end; the text names the file.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{0}")]
pub struct PullError(pub String);
