//! The wrapped form of a data key under a key of the local file.
//!
//! ```text
//! version 1 (1 byte) | nonce (12 bytes) | data key, encrypted (32 bytes) | tag (16 bytes)
//! ```
//!
//! AES-256-GCM. The associated data is a label, a zero byte, then [`Context::encode`]. The AES key is derived from
//! the key in the file (HKDF-SHA256, without salt). So is the name of the key, so that the name tells nothing about
//! the key. Nonces are random: 2^32 data keys may be wrapped under one key, and each application takes one.

use bytes::Bytes;
use sealed_shuffle_protocol::crypto::hkdf::derive;
use sealed_shuffle_protocol::crypto::random::RandomError;
use sealed_shuffle_protocol::secret::Secret;
use sealed_shuffle_protocol::stored::envelope::{Context, DataKey};

use crate::keys::envelope::seal::{Fault, NONCE, SEALED, Seal, random_nonce};

const VERSION: u8 = 1;
const KEY: usize = 32;
/// Length of a wrapped key.
const WRAPPED: usize = 1 + SEALED;
const LABEL: &[u8] = b"sealed-shuffle local key file, wrapped data key, version 1\0";
const WRAPPING: &[u8] = b"sealed-shuffle local key file: wrapping key";
const NAME: &[u8] = b"sealed-shuffle local key file: name of the key";

/// The name of a key, for [`WrappedKey::key_id`](sealed_shuffle_protocol::stored::envelope::WrappedKey).
pub(super) fn name_of(key: &Secret<KEY>) -> String {
    let name: Secret<16> = derive(key.as_bytes(), &[], &[NAME]);
    name.as_bytes().iter().fold(String::from("local:"), |name, byte| name + &format!("{byte:02x}"))
}

pub(super) fn wrap(key: &Secret<KEY>, data_key: &DataKey, context: &Context) -> Result<Bytes, RandomError> {
    Ok(wrap_with(key, data_key, context, random_nonce()?))
}

fn wrap_with(key: &Secret<KEY>, data_key: &DataKey, context: &Context, nonce: [u8; NONCE]) -> Bytes {
    let mut wrapped = Vec::with_capacity(WRAPPED);
    wrapped.push(VERSION);
    wrapped.extend_from_slice(&seal(key).close(data_key, context, nonce));
    wrapped.into()
}

pub(super) fn unwrap(key: &Secret<KEY>, wrapped: &[u8], context: &Context) -> Result<DataKey, Fault> {
    let (version, sealed) = wrapped.split_first().ok_or(Fault::Shape)?;
    let sealed: &[u8; SEALED] = sealed.try_into().map_err(|_| Fault::Shape)?;
    if *version != VERSION {
        return Err(Fault::Shape);
    }
    seal(key).open(sealed, context)
}

fn seal(key: &Secret<KEY>) -> Seal {
    Seal::new(&derive(key.as_bytes(), &[], &[WRAPPING]), LABEL)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sealed_shuffle_protocol::ids::AppId;

    use super::*;

    fn context(cluster: &str, app: &str, node: Option<&str>) -> Context {
        let mut context = Context::of(AppId::new(app));
        context.cluster = cluster.to_owned();
        context.node = node.map(str::to_owned);
        context
    }

    #[test]
    fn wrong_context_never_unwraps() {
        let (key, data_key) = (Secret::new([1; 32]), DataKey::new([2; 32]));
        let right = context("c", "app-1", Some("n"));
        let wrapped = wrap(&key, &data_key, &right).unwrap();
        assert_eq!(unwrap(&key, &wrapped, &right), Ok(DataKey::new([2; 32])));
        for wrong in [
            context("c", "app-2", Some("n")),
            context("d", "app-1", Some("n")),
            context("", "app-1", Some("n")),
            context("c", "app-1", Some("m")),
            context("c", "app-1", None),
        ] {
            assert_eq!(unwrap(&key, &wrapped, &wrong), Err(Fault::Tag), "{wrong:?}");
        }
        assert_eq!(unwrap(&Secret::new([3; 32]), &wrapped, &right), Err(Fault::Tag));
    }

    /// The bytes come from Python's hmac and cryptography 50: files of one release must open in the next.
    #[test]
    fn the_format_does_not_change() {
        let key = Secret::new([7; 32]);
        let wrapped =
            wrap_with(&key, &DataKey::new([9; 32]), &context("prod", "app-1", Some("n1")), [5; NONCE]);
        let shown = wrapped.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        assert_eq!((name_of(&key), shown), (NAMED.to_owned(), KNOWN.to_owned()));
    }

    const NAMED: &str = "local:bab1ea39ff0b66c7dd649cbbbdcec51f";
    const KNOWN: &str = "01\
        050505050505050505050505\
        0e85644b991df41b9713d1327b19b206172a84a90412b7ef5c68d236ff9d85ae\
        69c0d6623628564c6735bd8fd9b8843e";

    proptest! {
        #[test]
        fn a_changed_byte_never_unwraps(at in 0..WRAPPED, flip in 1..=u8::MAX) {
            let (key, context) = (Secret::new([1; 32]), context("", "app", None));
            let mut wrapped = wrap(&key, &DataKey::new([2; 32]), &context).unwrap().to_vec();
            wrapped[at] ^= flip;
            prop_assert!(unwrap(&key, &wrapped, &context).is_err());
        }

        #[test]
        fn hostile_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(unwrap(&Secret::new([1; 32]), &bytes, &context("", "app", None)).is_err());
        }
    }
}
