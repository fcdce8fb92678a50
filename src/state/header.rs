//! The clear front of the store.
//!
//! ```text
//! magic (8) ‖ version (u16) ‖ salt (32) ‖ check (32) ‖ length (u16) ‖ id of the wrapping key ‖ length (u16) ‖ wrapped node key
//! ```
//!
//! Big-endian. The check is HMAC-SHA256, under a sub-key of the node key, of all that comes before it and behind it.

use sealed_shuffle_protocol::secret::Secret;
use sealed_shuffle_protocol::stored::envelope::WrappedKey;

use super::seal::{StateKeys, VERSION};

/// First bytes of the header record.
pub(super) const MAGIC: [u8; 8] = *b"\x89SSR\r\n\x1a\n";

const SALT: usize = 32;
const CHECK: usize = 32;

/// The header.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Header {
    pub(super) salt: [u8; SALT],
    check: [u8; CHECK],
    pub(super) key: WrappedKey,
}

/// The fault of a header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum HeaderFault {
    NotOurs,
    Newer(u16),
    Shape,
}

impl Header {
    pub(super) fn new(keys: &StateKeys, salt: [u8; SALT], key: WrappedKey) -> Self {
        let mut header = Self { salt, check: [0; CHECK], key };
        header.check = header.expected(keys);
        header
    }

    /// Whether it was written under these keys.
    pub(super) fn fits(&self, keys: &StateKeys) -> bool {
        Secret::new(self.check) == Secret::new(self.expected(keys))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        [&MAGIC[..], &VERSION.to_be_bytes(), &self.salt, &self.check, &self.tail()].concat()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeaderFault> {
        let (magic, rest) = bytes.split_first_chunk().ok_or(HeaderFault::NotOurs)?;
        if *magic != MAGIC {
            return Err(HeaderFault::NotOurs);
        }
        let (version, rest) = rest.split_first_chunk().ok_or(HeaderFault::Shape)?;
        match u16::from_be_bytes(*version) {
            VERSION => {}
            0 => return Err(HeaderFault::Shape),
            newer => return Err(HeaderFault::Newer(newer)),
        }
        let (salt, rest) = rest.split_first_chunk().ok_or(HeaderFault::Shape)?;
        let (check, rest) = rest.split_first_chunk().ok_or(HeaderFault::Shape)?;
        let (id, rest) = field(rest, WrappedKey::MAX_ID)?;
        let (wrapped, rest) = field(rest, WrappedKey::MAX_BYTES)?;
        if !rest.is_empty() {
            return Err(HeaderFault::Shape);
        }
        let key_id = String::from_utf8(id.to_vec()).map_err(|_| HeaderFault::Shape)?;
        let key = WrappedKey { key_id, bytes: wrapped.to_vec().into() };
        Ok(Self { salt: *salt, check: *check, key })
    }

    fn expected(&self, keys: &StateKeys) -> [u8; CHECK] {
        keys.check(&[&MAGIC, &VERSION.to_be_bytes(), &self.salt, &self.tail()])
    }

    fn tail(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for part in [self.key.key_id.as_bytes(), &self.key.bytes[..]] {
            let len = u16::try_from(part.len()).expect("lengths were checked when the key was wrapped");
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(part);
        }
        out
    }
}

fn field(bytes: &[u8], most: usize) -> Result<(&[u8], &[u8]), HeaderFault> {
    let (len, rest) = bytes.split_first_chunk().ok_or(HeaderFault::Shape)?;
    let len = usize::from(u16::from_be_bytes(*len));
    if len > most {
        return Err(HeaderFault::Shape);
    }
    rest.split_at_checked(len).ok_or(HeaderFault::Shape)
}
