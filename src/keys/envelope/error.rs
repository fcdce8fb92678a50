//! Why a data key is not to be had.

use std::borrow::Cow;

/// What stands between us and a data key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum KeyErrorKind {
    /// The provider knows us and does not let us, or does not know us.
    Denied,
    /// The wrapping key is disabled, or waits for its deletion.
    Disabled,
    /// There is no such wrapping key.
    NotFound,
    /// The wrapped key belongs to another application, cluster or node, or was changed.
    WrongContext,
    /// No answer, or one that says to come again: the only kind that passes by itself.
    Unavailable,
    /// What was configured cannot work.
    Misconfigured,
}

impl KeyErrorKind {
    /// The word for metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Disabled => "disabled",
            Self::NotFound => "not_found",
            Self::WrongContext => "wrong_context",
            Self::Unavailable => "unavailable",
            Self::Misconfigured => "misconfigured",
        }
    }
}

/// A data key that is not to be had: what happened, with which wrapping key, and what to do. For the log: peers are
/// told [`KeyError::for_peer`]. No key is in it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{reason} (key {key}); {remedy}")]
pub struct KeyError {
    kind: KeyErrorKind,
    key: String,
    reason: String,
    remedy: Cow<'static, str>,
}

impl KeyError {
    /// With the name of the wrapping key, as its provider names it; `reason` and `remedy` are halves of a sentence.
    pub fn new(
        kind: KeyErrorKind,
        key: impl Into<String>,
        reason: impl Into<String>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { kind, key: key.into(), reason: reason.into(), remedy: remedy.into() }
    }

    /// What kind it is.
    pub fn kind(&self) -> KeyErrorKind {
        self.kind
    }

    /// Whether the same call may succeed later although nobody changes anything.
    pub fn is_retryable(&self) -> bool {
        self.kind == KeyErrorKind::Unavailable
    }

    /// What a peer is told whose request needs the key: enough to decide about trying again, and no more.
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
