//! From a data key to the key of one file.
//!
//! ```text
//! file key = HKDF-SHA256(ikm = data key, salt = the header's salt, info = LABEL ‖ the header, every byte of it)
//! ```
//!
//! So whatever the header says (kind, partition, application, cluster, node, wrapped key) is bound to every segment
//! without standing in front of each: a changed header is another key.

use super::header::Salt;
use super::partition::Kind;
use crate::crypto::gcm::GcmKey;
use crate::crypto::hkdf;
use crate::secret::Secret;
use crate::stored::envelope::DataKey;

/// First part of HKDF's info.
pub const LABEL: &[u8] = b"sealed-shuffle sealed file 1";

/// The key of one file, not expanded: 32 bytes that an open partition can afford.
#[derive(Debug)]
pub(super) struct FileKey(Secret<32>);

impl FileKey {
    /// The key of the file that begins with `header`.
    pub(super) fn derive(key: &DataKey, salt: &Salt, header: &[u8]) -> Self {
        Self(hkdf::derive(key.as_bytes(), &salt.0, &[LABEL, header]))
    }

    /// The key made ready for segments: about 600 bytes, a fraction of a microsecond.
    pub(super) fn expand(&self) -> GcmKey {
        GcmKey::aes_256(self.0.as_bytes())
    }
}

/// The header of another file of the same opening, which differs in one byte.
pub(super) fn header_of(kind: Kind, header: &[u8]) -> Vec<u8> {
    let mut other = header.to_vec();
    other[super::header::KIND_AT] = kind as u8;
    other
}
