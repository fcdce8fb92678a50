//! The interface of a key service.

use std::pin::Pin;

use sealed_shuffle_protocol::stored::envelope::{Context, DataKey, WrappedKey};

use super::error::KeyError;

/// The pending answer of a provider. Dropping it gives the call up.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, KeyError>> + Send + 'a>>;

/// Makes data keys and opens their wrapped forms. It is asked once per application, so a boxed answer costs nothing.
/// It is a trait, so that programs that embed the server bring their own.
///
/// Rules for every provider: a wrapped key opens with the same [`Context`] only; key bytes are in no argument list,
/// environment, file name or log; calls end by themselves.
pub trait KeyProvider: Send + Sync + 'static {
    /// Makes a new data key and its wrapped form.
    fn generate<'a>(&'a self, context: &'a Context) -> Answer<'a, (DataKey, WrappedKey)>;

    /// Opens the data key in `wrapped`.
    fn unwrap<'a>(&'a self, wrapped: &'a WrappedKey, context: &'a Context) -> Answer<'a, DataKey>;

    /// The provider and its wrapping key, for the log.
    fn describe(&self) -> String;

    /// The provider in one word, for metrics.
    fn name(&self) -> &'static str;
}
