//! Envelope encryption: a data key seals files; a key service wraps the data key; the file carries the
//! wrapped form, the name of the key that wrapped it, and is useless without that service.
//!
//! The [`Context`] is authenticated with the wrapping: a wrapped key that was copied beside the files of
//! another application (or node, where one is named) does not unwrap.

use std::fmt;

use bytes::Bytes;

use crate::ids::AppId;
use crate::secret::Secret;

/// 256 bits that seal the files of one application on one node. Wiped when dropped, never logged.
pub type DataKey = Secret<32>;

/// The binding of a data key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Context {
    /// Name of the cluster: keeps two clusters that share a key service apart. May be empty.
    pub cluster: String,
    /// The application that owns the data.
    pub app: AppId,
    /// The node, where a volume must not open on another one.
    pub node: Option<String>,
}

/// The names in a key service's encryption context, in the order of the encoding.
const CLUSTER: &str = "sealed-shuffle:cluster";
const APP: &str = "sealed-shuffle:app";
const NODE: &str = "sealed-shuffle:node";

impl Context {
    /// Of `app`, in a cluster without a name, on any node.
    pub fn of(app: AppId) -> Self {
        Self { cluster: String::new(), app, node: None }
    }

    /// The names and values, for a key service that takes pairs (AWS KMS: encryption context). Empty values are
    /// left out, since such services refuse them.
    pub fn pairs(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            (CLUSTER, self.cluster.as_str()),
            (APP, self.app.as_str()),
            (NODE, self.node.as_deref().unwrap_or("")),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
    }

    /// The same as bytes, for associated data: each name and value after its length (u32, big-endian), so that
    /// no two contexts encode alike.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for text in self.pairs().flat_map(|(name, value)| [name, value]) {
            let len = u32::try_from(text.len()).expect("names are far shorter than 4 GiB");
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        out
    }
}

/// A data key as a key service returned it: only that service, given the same [`Context`], gives the key back.
#[derive(Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// Names the wrapping key, as the service does (an ARN, a fingerprint). At most [`WrappedKey::MAX_ID`] bytes.
    pub key_id: String,
    /// The service's own bytes. At most [`WrappedKey::MAX_BYTES`].
    pub bytes: Bytes,
}

impl WrappedKey {
    /// Longest name of a key: AWS KMS allows 2048 characters.
    pub const MAX_ID: usize = 2048;
    /// Longest wrapped form: AWS KMS returns at most 6144 bytes.
    pub const MAX_BYTES: usize = 6144;
}

impl fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WrappedKey({} bytes under {})", self.bytes.len(), self.key_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_contexts_encode_alike() {
        let context = |cluster: &str, app: &str, node: Option<&str>| {
            Context { cluster: cluster.into(), app: AppId::new(app), node: node.map(Into::into) }.encode()
        };
        let all = [
            context("", "app", None),
            context("app", "", None),
            context("", "app", Some("n")),
            context("a", "pp", None),
            context("ap", "p", None),
            context("", "appsealed-shuffle:node", None),
        ];
        for (n, one) in all.iter().enumerate() {
            assert!(all[n + 1..].iter().all(|other| other != one));
        }
    }

    #[test]
    fn empty_values_are_no_pairs() {
        let context = Context::of(AppId::new("app-1"));
        assert_eq!(context.pairs().collect::<Vec<_>>(), [(APP, "app-1")]);
    }
}
