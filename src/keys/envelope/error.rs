//! Why a data key cannot be had.

use std::borrow::Cow;

use sealed_shuffle_protocol::labels;

/// The kind of a fault.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum KeyErrorKind {
    /// The provider knows us, and denies us the call.
    Denied,
    /// The wrapping key is disabled, or waits for its deletion.
    Disabled,
    /// There is no such wrapping key.
    NotFound,
    /// The wrapped key belongs to another application, cluster or node, or was changed.
    WrongContext,
    /// There is no answer, or one that asks to come again.
    Unavailable,
    /// The provider takes our credentials for no good: they have expired, or are not there yet. They may be renewed at any
    /// time.
    Unauthenticated,
    /// The configuration cannot work.
    Misconfigured,
}

impl KeyErrorKind {
    labels! {
        /// The word for metrics and logs.
        pub fn name, NAMES {
            Self::Denied => "denied",
            Self::Disabled => "disabled",
            Self::NotFound => "not_found",
            Self::WrongContext => "wrong_context",
            Self::Unavailable => "unavailable",
            Self::Unauthenticated => "unauthenticated",
            Self::Misconfigured => "misconfigured",
        }
    }

    /// Whether the same call may succeed later although nobody changes anything here: it passes by itself, or somebody
    /// mends it at the key service. Everything else is for the operator of this server to change.
    pub const fn may_pass(self) -> bool {
        match self {
            Self::Unavailable | Self::Unauthenticated | Self::Denied | Self::Disabled => true,
            Self::NotFound | Self::WrongContext | Self::Misconfigured => false,
        }
    }
}

/// A data key cannot be had: the fault, the wrapping key and the remedy. The text is for the log; peers get
/// [`KeyError::for_peer`]. It contains no key.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{reason} (key {key}); {remedy}")]
pub struct KeyError {
    kind: KeyErrorKind,
    key: String,
    reason: String,
    remedy: Cow<'static, str>,
}

impl KeyError {
    /// `key_id` is the name of the wrapping key at its provider; `reason` and `remedy` are halves of a sentence.
    pub fn new(
        kind: KeyErrorKind,
        key: impl Into<String>,
        reason: impl Into<String>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { kind, key: key.into(), reason: reason.into(), remedy: remedy.into() }
    }

    /// The kind of the fault.
    pub fn kind(&self) -> KeyErrorKind {
        self.kind
    }

    /// Whether the same call may succeed later although nobody changes the key or what we may do with it: it was not
    /// judged at all.
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, KeyErrorKind::Unavailable | KeyErrorKind::Unauthenticated)
    }

    /// The text for a peer whose request needs the key: enough to decide whether to try again, and no more.
    pub fn for_peer(&self) -> String {
        if self.is_retryable() {
            return "the sealed data of this application waits for the key service, which gives no answer now: \
                    nothing is lost, try again"
                .to_owned();
        }
        format!(
            "the sealed data of this application cannot be opened or written: its key is refused ({}); \
             the log of the shuffle service says why",
            self.kind.name()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_learn_whether_to_try_again_and_no_names() {
        let error =
            |kind| KeyError::new(kind, "arn:secret-name", "it is off at host-7", "switch it on at host-7");
        let waits = error(KeyErrorKind::Unavailable);
        assert!(waits.is_retryable() && waits.for_peer().contains("try again"));
        let refused = error(KeyErrorKind::Disabled);
        assert!(!refused.is_retryable() && refused.for_peer().contains("disabled"));
        for text in [waits.for_peer(), refused.for_peer()] {
            assert!(!text.contains("secret-name") && !text.contains("host-7"), "{text}");
        }
        assert_eq!(refused.to_string(), "it is off at host-7 (key arn:secret-name); switch it on at host-7");
    }
}
