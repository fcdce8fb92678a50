//! Whoever is told of each call to the key service.
//!
//! A key service names a call in its own records by a request id. A provider that hears it notes it
//! ([`note_request`]), and the witness gets it with the outcome of the call.

use std::cell::RefCell;
use std::future::Future;
use std::sync::Arc;

use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::stored::envelope::{Context, DataKey, WrappedKey};

use super::error::KeyError;
use super::provider::{Answer, KeyProvider};

tokio::task_local! {
    /// The id of the call that is under way in this task.
    static REQUEST: RefCell<Option<String>>;
}

/// A provider says by which id the key service knows the call that is under way. Nothing where nobody listens.
#[cfg(any(test, feature = "aws-kms"))]
pub(super) fn note_request(id: Option<&str>) {
    let Some(id) = id else { return };
    // Without a witness there is no place for it.
    _ = REQUEST.try_with(|request| *request.borrow_mut() = Some(id.to_owned()));
}

/// A call to the key service that has ended.
#[derive(Debug)]
pub struct KeyCall<'a> {
    /// Whose key it is; the server's own keys have names with a slash.
    pub app: &'a AppId,
    /// What was done: `created`, `unwrapped` or `wrapped_anew`.
    pub done: &'static str,
    /// The name of the wrapping key, where it is known.
    pub key: Option<&'a str>,
    /// Why there is no key.
    pub error: Option<&'a KeyError>,
    /// The key service's name for the call.
    pub request: Option<String>,
    /// The provider in one word.
    pub provider: &'static str,
}

/// Whoever is told. It must not wait.
pub trait KeyWitness: Send + Sync + 'static {
    /// A call has ended.
    fn called(&self, call: &KeyCall<'_>);
}

/// A provider that tells a witness of its calls.
pub(super) struct Witnessed {
    pub(super) provider: Arc<dyn KeyProvider>,
    pub(super) witness: Arc<dyn KeyWitness>,
}

impl Witnessed {
    async fn watch<T>(
        &self,
        app: &AppId,
        done: &'static str,
        call: impl Future<Output = Result<T, KeyError>>,
        key: fn(&T) -> Option<&str>,
        asked: Option<&str>,
    ) -> Result<T, KeyError> {
        let scoped = async {
            let answer = call.await;
            (answer, REQUEST.with(RefCell::take))
        };
        let (answer, request) = REQUEST.scope(RefCell::default(), scoped).await;
        let named = answer.as_ref().ok().and_then(key).or(asked);
        let (error, provider) = (answer.as_ref().err(), self.provider.name());
        self.witness.called(&KeyCall { app, done, key: named, error, request, provider });
        answer
    }
}

impl KeyProvider for Witnessed {
    fn generate<'a>(&'a self, context: &'a Context) -> Answer<'a, (DataKey, WrappedKey)> {
        let call = self.provider.generate(context);
        Box::pin(self.watch(&context.app, "created", call, of_new, None))
    }

    fn unwrap<'a>(&'a self, wrapped: &'a WrappedKey, context: &'a Context) -> Answer<'a, DataKey> {
        let call = self.provider.unwrap(wrapped, context);
        Box::pin(self.watch(&context.app, "unwrapped", call, |_| None, Some(&wrapped.key_id)))
    }

    fn wrap<'a>(&'a self, key: &'a DataKey, context: &'a Context) -> Answer<'a, WrappedKey> {
        let call = self.provider.wrap(key, context);
        Box::pin(self.watch(&context.app, "wrapped_anew", call, of_wrapped, None))
    }

    fn wraps_with(&self) -> Answer<'_, Option<String>> {
        self.provider.wraps_with()
    }

    fn describe(&self) -> String {
        self.provider.describe()
    }

    fn name(&self) -> &'static str {
        self.provider.name()
    }
}

fn of_new((_, wrapped): &(DataKey, WrappedKey)) -> Option<&str> {
    Some(&wrapped.key_id)
}

fn of_wrapped(wrapped: &WrappedKey) -> Option<&str> {
    Some(&wrapped.key_id)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::keys::envelope::KeyErrorKind;

    /// A key service that names its calls, and has no key.
    struct Named;

    impl KeyProvider for Named {
        fn generate<'a>(&'a self, context: &'a Context) -> Answer<'a, (DataKey, WrappedKey)> {
            Box::pin(async {
                tokio::task::yield_now().await;
                note_request(Some(&format!("request of {}", context.app.as_str())));
                let wrapped = WrappedKey { key_id: "k".to_owned(), bytes: vec![1].into() };
                Ok((DataKey::new([1; 32]), wrapped))
            })
        }

        fn unwrap<'a>(&'a self, wrapped: &'a WrappedKey, _: &'a Context) -> Answer<'a, DataKey> {
            Box::pin(async { Err(KeyError::new(KeyErrorKind::Denied, &wrapped.key_id, "no", "ask")) })
        }

        fn describe(&self) -> String {
            "a key service".to_owned()
        }

        fn name(&self) -> &'static str {
            "named"
        }
    }

    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl KeyWitness for Heard {
        fn called(&self, call: &KeyCall<'_>) {
            let KeyCall { app, done, key, error, request, provider } = call;
            let error = error.map(|error| error.kind().name());
            self.0
                .lock()
                .unwrap()
                .push(format!("{} {done} {key:?} {error:?} {request:?} {provider}", app.as_str()));
        }
    }

    #[tokio::test]
    async fn witness_hears_each_call_with_the_key_services_own_name_for_it() {
        let heard = Arc::new(Heard::default());
        let witness = Arc::clone(&heard) as Arc<dyn KeyWitness>;
        let keys = Witnessed { provider: Arc::new(Named), witness };
        let context = |app: &str| Context::of(AppId::new(app));
        // At the same time, so that one could hear the other's.
        let (a, b) = (context("a"), context("b"));
        let (first, second) = tokio::join!(keys.generate(&a), keys.generate(&b));
        let wrapped = first.unwrap().1;
        second.unwrap();
        assert!(keys.unwrap(&wrapped, &a).await.is_err());
        let mut heard = heard.0.lock().unwrap().clone();
        heard.sort();
        assert_eq!(
            heard,
            [
                r#"a created Some("k") None Some("request of a") named"#,
                r#"a unwrapped Some("k") Some("denied") None named"#,
                r#"b created Some("k") None Some("request of b") named"#,
            ]
        );
        // Without a witness it is nobody's.
        note_request(Some("x"));
    }
}
