//! Where random bytes come from: the caller, since this crate reaches no operating system.

use std::error::Error;

/// A source of random bytes fit for keys: unpredictable, and never the same twice.
///
/// Everything secret in this crate starts here. An implementation that repeats itself (as tests
/// have) breaks the confidentiality of GCM sessions completely.
pub trait Random: Send {
    /// Fills `out` wholly, or fails; after a failure `out` must not be used.
    fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError>;
}

impl<R: Random + ?Sized> Random for Box<R> {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
        (**self).fill(out)
    }
}

/// The random source gave nothing.
#[derive(Debug, thiserror::Error)]
#[error("the random source failed")]
pub struct RandomError(#[source] Box<dyn Error + Send + Sync>);

impl RandomError {
    /// Wraps what the source said.
    pub fn new(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}
