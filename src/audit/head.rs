//! The head: a small file beside the trail that says where it begins and ends, so that a cut end is seen.
//!
//! It is made whole each time, behind the records that it tells of. So the trail may go on behind its head, and never ends
//! before it.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealed_shuffle_protocol::stored::envelope::WrappedKey;
use sealed_shuffle_transport::lane::OnLane;
use serde_json::Value;

use super::file::{VERSION, wrapped_key};
use super::line::{AuditKey, Hash, Sealed, hex, parse_hex};
use crate::private_file::{beside, read, replace};

/// Its name.
pub(super) const NAME: &str = "audit.head";

/// Longest head.
const LONGEST: u64 = 32 << 10;

/// The two ends of a trail.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Head {
    /// The oldest file that is kept.
    pub(super) first: u64,
    /// The last record, and the hash of its line.
    pub(super) seq: u64,
    pub(super) hash: Hash,
    pub(super) key: WrappedKey,
}

/// A head as it was found.
#[derive(Debug)]
pub(super) enum Found {
    None,
    /// Bytes that make no head.
    Damaged,
    Head {
        head: Head,
        text: Vec<u8>,
    },
}

pub(super) fn path_in(dir: &Path) -> PathBuf {
    dir.join(NAME)
}

impl Head {
    pub(super) fn write(&self, on: &OnLane, dir: &Path, key: &AuditKey) -> io::Result<()> {
        let text = self.encode(key);
        let path = path_in(dir);
        let file = beside(on, &path, |mut file| file.write_all(text.as_bytes()))?;
        replace(on, file, &path)
    }

    pub(super) fn encode(&self, key: &AuditKey) -> String {
        let Self { first, seq, hash, key: WrappedKey { key_id, bytes } } = self;
        let (key_id, wrapped) = (Value::from(key_id.as_str()), STANDARD.encode(bytes));
        let open = format!(
            "{{\"version\":{VERSION},\"first_file\":{first},\"seq\":{seq},\"hash\":\"{}\",\"key_id\":{key_id},\
             \"wrapped_key\":\"{wrapped}\"",
            hex(hash)
        );
        key.seal(Sealed::Head, open)
    }

    pub(super) fn look(on: &OnLane, dir: &Path) -> io::Result<Found> {
        let Some(text) = read(on, &path_in(dir), LONGEST)? else { return Ok(Found::None) };
        Ok(match Self::decode(&text) {
            Some(head) => Found::Head { head, text },
            None => Found::Damaged,
        })
    }

    fn decode(text: &[u8]) -> Option<Self> {
        let object: Value = serde_json::from_slice(text).ok()?;
        if object["version"] != VERSION {
            return None;
        }
        Some(Self {
            first: object["first_file"].as_u64()?,
            seq: object["seq"].as_u64()?,
            hash: parse_hex(object["hash"].as_str()?)?,
            key: wrapped_key(&object)?,
        })
    }
}
