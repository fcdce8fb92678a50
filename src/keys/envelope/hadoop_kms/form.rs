//! The wrapped form of a data key under an encrypted key of Hadoop KMS.
//!
//! ```text
//! version 1 (1 byte) | n: 16, 24 or 32 (1 byte) | IV (16 bytes) | encrypted key (n bytes) | sealed data key (60 bytes)
//! ```
//!
//! The service opens the encrypted key. What it answers, `n` bytes, makes the key that seals the data key ([`Seal`]), with
//! HKDF-SHA256 whose info is a label and the name of the version of the service's key. So bytes that were changed, another
//! version and another context all end at the tag.

use bytes::Bytes;
use sealed_shuffle_protocol::crypto::hkdf::derive;
use sealed_shuffle_protocol::crypto::random::RandomError;
use sealed_shuffle_protocol::stored::envelope::{Context, DataKey};
use zeroize::Zeroizing;

use crate::keys::envelope::seal::{Fault, NONCE, SEALED, Seal, random_nonce};

const VERSION: u8 = 1;
const LABEL: &[u8] = b"sealed-shuffle Hadoop KMS, wrapped data key, version 1\0";
const WRAPPING: &[u8] = b"sealed-shuffle Hadoop KMS: wrapping key\0";

/// Length of an IV.
pub(super) const IV: usize = 16;

/// Lengths of a key of AES.
const KEYS: [usize; 3] = [16, 24, 32];

/// A key that the service made, as only the service can open it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct EncryptedKey {
    /// The version of the service's key that encrypts it: `KEY@N`.
    pub(super) version: String,
    pub(super) iv: [u8; IV],
    /// 16, 24 or 32 bytes.
    pub(super) material: Vec<u8>,
}

impl EncryptedKey {
    /// `None` where the bytes cannot be those of a key.
    pub(super) fn new(version: String, iv: &[u8], material: Vec<u8>) -> Option<Self> {
        let iv = iv.try_into().ok()?;
        (KEYS.contains(&material.len()) && name_of(&version).is_some()).then_some(Self {
            version,
            iv,
            material,
        })
    }

    /// The name of the service's key.
    pub(super) fn name(&self) -> &str {
        name_of(&self.version).unwrap_or(&self.version)
    }
}

/// `KEY` of `KEY@N`.
fn name_of(version: &str) -> Option<&str> {
    let (name, number) = version.rsplit_once('@')?;
    (!name.is_empty() && !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()))
        .then_some(name)
}

/// Wraps a data key: `clear` is what the service opened.
pub(super) fn wrap(
    encrypted: &EncryptedKey,
    clear: &Zeroizing<Vec<u8>>,
    data_key: &DataKey,
    context: &Context,
) -> Result<Bytes, RandomError> {
    Ok(wrap_with(encrypted, clear, data_key, context, random_nonce()?))
}

fn wrap_with(
    encrypted: &EncryptedKey,
    clear: &Zeroizing<Vec<u8>>,
    data_key: &DataKey,
    context: &Context,
    nonce: [u8; NONCE],
) -> Bytes {
    let len = u8::try_from(encrypted.material.len()).expect("a key of AES is short");
    let sealed = seal(encrypted, clear).close(data_key, context, nonce);
    [&[VERSION, len][..], &encrypted.iv, &encrypted.material, &sealed].concat().into()
}

/// The parts of a wrapped key.
pub(super) fn parse(version: &str, wrapped: &[u8]) -> Result<(EncryptedKey, [u8; SEALED]), Fault> {
    let (&[form, len], rest) = wrapped.split_first_chunk().ok_or(Fault::Shape)?;
    let (iv, rest) = rest.split_first_chunk::<IV>().ok_or(Fault::Shape)?;
    let (material, sealed) = rest.split_at_checked(len.into()).ok_or(Fault::Shape)?;
    let sealed = sealed.try_into().map_err(|_| Fault::Shape)?;
    let encrypted = EncryptedKey::new(version.to_owned(), iv, material.to_vec());
    encrypted.filter(|_| form == VERSION).map(|encrypted| (encrypted, sealed)).ok_or(Fault::Shape)
}

/// Opens the data key: `clear` is what the service opened.
pub(super) fn unwrap(
    encrypted: &EncryptedKey,
    clear: &Zeroizing<Vec<u8>>,
    sealed: &[u8; SEALED],
    context: &Context,
) -> Result<DataKey, Fault> {
    seal(encrypted, clear).open(sealed, context)
}

fn seal(encrypted: &EncryptedKey, clear: &Zeroizing<Vec<u8>>) -> Seal {
    Seal::new(&derive(clear, &encrypted.iv, &[WRAPPING, encrypted.version.as_bytes()]), LABEL)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sealed_shuffle_protocol::ids::AppId;

    use super::*;

    fn encrypted(version: &str) -> EncryptedKey {
        EncryptedKey::new(version.to_owned(), &[5; IV], vec![6; 32]).unwrap()
    }

    fn clear(byte: u8) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(vec![byte; 32])
    }

    fn context(app: &str) -> Context {
        Context::of(AppId::new(app))
    }

    fn open(version: &str, bytes: &[u8], clear: &Zeroizing<Vec<u8>>, app: &str) -> Result<DataKey, Fault> {
        let (encrypted, sealed) = parse(version, bytes)?;
        unwrap(&encrypted, clear, &sealed, &context(app))
    }

    #[test]
    fn a_wrapped_key_opens_with_its_context_version_and_key_alone() {
        let data_key = DataKey::new([2; 32]);
        let wrapped = wrap(&encrypted("k@3"), &clear(9), &data_key, &context("a")).unwrap();
        assert_eq!(open("k@3", &wrapped, &clear(9), "a"), Ok(data_key));
        assert_eq!(open("k@3", &wrapped, &clear(9), "b"), Err(Fault::Tag));
        assert_eq!(open("k@4", &wrapped, &clear(9), "a"), Err(Fault::Tag));
        assert_eq!(open("k@3", &wrapped, &clear(8), "a"), Err(Fault::Tag));
        assert_eq!(open("no version", &wrapped, &clear(9), "a"), Err(Fault::Shape));
    }

    #[test]
    fn names_of_keys_may_hold_what_separates_their_versions() {
        assert_eq!(encrypted("a@b@12").name(), "a@b");
        for none in ["k", "k@", "@1", "k@x", ""] {
            assert_eq!(EncryptedKey::new(none.to_owned(), &[0; IV], vec![0; 16]), None, "{none}");
        }
        assert_eq!(EncryptedKey::new("k@1".to_owned(), &[0; IV], vec![0; 17]), None);
        assert_eq!(EncryptedKey::new("k@1".to_owned(), &[0; 12], vec![0; 16]), None);
    }

    /// Files of one release must open in the next. The bytes come from Python's hmac and cryptography 50.
    #[test]
    fn the_format_does_not_change() {
        let wrapped =
            wrap_with(&encrypted("k@3"), &clear(9), &DataKey::new([2; 32]), &context("app-1"), [7; NONCE]);
        let shown = wrapped.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        assert_eq!(shown, KNOWN);
    }

    const KNOWN: &str = "0120\
        05050505050505050505050505050505\
        0606060606060606060606060606060606060606060606060606060606060606\
        070707070707070707070707\
        d7c9fdc2415c44cd45ce517a4f9161fd70d1070968ae946f399b2eb20fec6808\
        dc0bbf8e28a5f23a0f4fe3dd3924e7c7";

    proptest! {
        #[test]
        fn a_changed_byte_never_opens(at in 0..110_usize, flip in 1..=u8::MAX) {
            let mut wrapped =
                wrap(&encrypted("k@3"), &clear(9), &DataKey::new([2; 32]), &context("a")).unwrap().to_vec();
            prop_assert_eq!(wrapped.len(), 110);
            wrapped[at] ^= flip;
            // The service would open other bytes of the encrypted key to another key.
            let other = (18..50).contains(&at);
            prop_assert!(other || open("k@3", &wrapped, &clear(9), "a").is_err());
        }

        #[test]
        fn hostile_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(open("k@3", &bytes, &clear(9), "a").is_err());
        }
    }
}
