//! What a key service must be able to do.

use std::pin::Pin;

use sealed_shuffle_protocol::stored::envelope::{Context, DataKey, WrappedKey};

use super::error::KeyError;

/// The answer of a provider, on its way. Dropping it gives the call up.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, KeyError>> + Send + 'a>>;

/// Makes data keys and opens their wrapped forms. Asked once per application, so that a boxed answer costs nothing;
/// a trait, so that programs that embed the server bring their own.
///
/// What every provider holds: a wrapped key opens with the same [`Context`] alone; key bytes are in no argument list,
/// environment, file name or log; calls come to an end by themselves.
pub trait KeyProvider: Send + Sync + 'static {
    /// A new data key with its wrapped form.
    fn generate<'a>(&'a self, context: &'a Context) -> Answer<'a, (DataKey, WrappedKey)>;

    /// The data key in `wrapped`.
    fn unwrap<'a>(&'a self, wrapped: &'a WrappedKey, context: &'a Context) -> Answer<'a, DataKey>;

    /// Which provider it is and which wrapping key it uses, for the log.
    fn describe(&self) -> String;

    /// One word for metrics.
    fn name(&self) -> &'static str;
}
