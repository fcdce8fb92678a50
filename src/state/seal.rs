//! Sub-keys, the names of records, and sealing their values. The format stands in [`super`].

use hmac::{Hmac, KeyInit as _, Mac as _};
use sealed_shuffle_protocol::crypto::gcm::{GcmKey, NONCE, TAG};
use sealed_shuffle_protocol::crypto::hkdf::derive;
use sealed_shuffle_protocol::crypto::random::RandomError;
use sealed_shuffle_protocol::ids::{AppId, ExecutorId, ShuffleId};
use sealed_shuffle_protocol::secret::Secret;
use sealed_shuffle_protocol::stored::envelope::DataKey;
use sealed_shuffle_transport::random::random_bytes;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::record::{Kind, Text};

/// The one version of the format that there is.
pub(super) const VERSION: u16 = 1;

/// Before what a sub-key is for.
const LABEL: &[u8] = b"sealed-shuffle recovery store: ";
const NAMES: &[u8] = b"names";
const VALUES: &[u8] = b"values";
const TALLY: &[u8] = b"tally";
const CHECK: &[u8] = b"header";
const VALUE: &[u8] = b"sealed-shuffle recovery store, value";

/// Bytes of a random salt.
const SALT: usize = 32;
/// Bytes of a name's part.
pub(super) const PART: usize = 16;
/// Bytes that sealing adds.
pub(super) const OVERHEAD: usize = SALT + TAG;

/// The sub-keys of the node key.
#[derive(Debug)]
pub(super) struct StateKeys {
    names: Secret<32>,
    values: Secret<32>,
    tally: Secret<32>,
    check: Secret<32>,
}

impl StateKeys {
    pub(super) fn derive(node: &DataKey, salt: &[u8; 32]) -> Self {
        let sub = |what: &[u8]| derive(node.as_bytes(), salt, &[LABEL, what, &VERSION.to_be_bytes()]);
        Self { names: sub(NAMES), values: sub(VALUES), tally: sub(TALLY), check: sub(CHECK) }
    }

    /// How all names of an application begin.
    pub(super) fn of(&self, app: &AppId) -> Vec<u8> {
        self.tag(&[app.as_str().as_bytes()]).to_vec()
    }

    pub(super) fn executors_of(&self, app: &AppId) -> Vec<u8> {
        self.name(Kind::Executor, app, &[])
    }

    pub(super) fn all_finalized_of(&self, app: &AppId) -> Vec<u8> {
        self.name(Kind::Finalized, app, &[])
    }

    pub(super) fn executor(&self, app: &AppId, executor: &ExecutorId) -> Vec<u8> {
        self.name(Kind::Executor, app, &[&[executor.as_str().as_bytes()]])
    }

    pub(super) fn secret(&self, app: &AppId) -> Vec<u8> {
        self.name(Kind::Secret, app, &[])
    }

    pub(super) fn attempt(&self, app: &AppId, attempt: i32) -> Vec<u8> {
        self.name(Kind::Attempt, app, &[&[&attempt.to_be_bytes()]])
    }

    pub(super) fn finalized_of(&self, app: &AppId, attempt: i32) -> Vec<u8> {
        self.name(Kind::Finalized, app, &[&[&attempt.to_be_bytes()]])
    }

    pub(super) fn finalized(&self, app: &AppId, attempt: i32, shuffle: ShuffleId) -> Vec<u8> {
        let (attempt, shuffle) = (attempt.to_be_bytes(), shuffle.0.to_be_bytes());
        self.name(Kind::Finalized, app, &[&[&attempt], &[&attempt, &shuffle]])
    }

    /// The value of the record `name`.
    pub(super) fn seal(&self, name: &[u8], text: &Text) -> Result<Vec<u8>, RandomError> {
        let salt: [u8; SALT] = random_bytes()?;
        // One allocation: nothing in clear is left behind where it grew.
        let mut out = Vec::with_capacity(text.len() + OVERHEAD);
        out.extend_from_slice(&salt);
        out.extend_from_slice(text);
        let tag = self
            .value_key(&salt)
            .seal([0; NONCE], &associated(name), &mut out[SALT..])
            .expect("a record is not too long for AES-GCM");
        out.extend_from_slice(&tag);
        Ok(out)
    }

    /// Opens the value of the record `name`.
    pub(super) fn open(&self, name: &[u8], value: &[u8]) -> Option<Text> {
        let (salt, rest) = value.split_first_chunk::<SALT>()?;
        let (text, tag) = rest.split_last_chunk::<TAG>()?;
        let mut text = Zeroizing::new(text.to_vec());
        self.value_key(salt).open([0; NONCE], &associated(name), &mut text, tag).ok()?;
        Some(text)
    }

    /// The share of a record in the sum of all.
    pub(super) fn share(&self, name: &[u8], value: &[u8]) -> [u8; 32] {
        mac(&self.tally, &[name, value])
    }

    /// The header's check.
    pub(super) fn check(&self, parts: &[&[u8]]) -> [u8; 32] {
        mac(&self.check, parts)
    }

    fn name(&self, kind: Kind, app: &AppId, parts: &[&[&[u8]]]) -> Vec<u8> {
        let app = app.as_str().as_bytes();
        let kind = kind as u8;
        let mut name = Vec::with_capacity(PART + 1 + parts.len() * PART);
        name.extend_from_slice(&self.tag(&[app]));
        name.push(kind);
        for part in parts {
            name.extend_from_slice(&self.tag(&[&[app, &[kind]], *part].concat()));
        }
        name
    }

    fn tag(&self, parts: &[&[u8]]) -> [u8; PART] {
        let mut tag = [0; PART];
        tag.copy_from_slice(&mac(&self.names, parts)[..PART]);
        tag
    }

    fn value_key(&self, salt: &[u8; SALT]) -> GcmKey {
        let key: Secret<32> = derive(self.values.as_bytes(), salt, &[VALUE]);
        GcmKey::aes_256(key.as_bytes())
    }
}

fn associated(name: &[u8]) -> Vec<u8> {
    [&VERSION.to_be_bytes()[..], name].concat()
}

/// HMAC-SHA256 of the parts, each after its length.
fn mac(key: &Secret<32>, parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes a key of any length");
    for part in parts {
        let len = u64::try_from(part.len()).expect("lengths fit into 64 bits");
        mac.update(&len.to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}
