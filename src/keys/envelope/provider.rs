//! The interface of a key service.

use std::future::ready;
use std::pin::Pin;

use sealed_shuffle_protocol::stored::envelope::{Context, DataKey, WrappedKey};

use super::error::{KeyError, KeyErrorKind};

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

    /// Wraps a data key that is there already: the form of it that [`KeyProvider::generate`] would have returned with it now.
    /// Not every provider can.
    fn wrap<'a>(&'a self, _key: &'a DataKey, _context: &'a Context) -> Answer<'a, WrappedKey> {
        let (name, reason) = (self.name(), "this key service wraps only keys that it makes");
        let error = KeyError::new(KeyErrorKind::Misconfigured, name, reason, "make a new key");
        Box::pin(ready(Err(error)))
    }

    /// The name of the key that wraps now, as wrapped keys carry it; `None` where that takes a call to tell.
    fn wraps_with(&self) -> Answer<'_, Option<String>> {
        Box::pin(ready(Ok(None)))
    }

    /// The provider and its wrapping key, for the log.
    fn describe(&self) -> String;

    /// The provider in one word, for metrics.
    fn name(&self) -> &'static str;
}
